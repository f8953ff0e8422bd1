"""The shipped weights on two frozen sets of phantoms: ``python -m tests.benchmarks.frozen_sets --out DIR``.

``standard`` and ``hard``, 50 subjects each, two radiographs a subject, from seeds of their own that no training uses.
Radiographs, labels, submission and evaluation stay in the folder.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from handseg_monai import bundle_root
from handseg_monai.bones import BONES
from handseg_monai.metrics.evaluation import Evaluation, evaluate
from handseg_monai.phantom import write_dataset

SEEDS = {"standard": 900001, "hard": 900002}
SUBJECTS = 50
_SIZE = {"standard": 2048, "hard": None}


def main() -> None:
    """Write the sets where they are missing, infer, evaluate, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/frozen"))
    parser.add_argument("--checkpoint", type=Path, default=bundle_root() / "models" / "model.pt")
    parser.add_argument("--preset", choices=[*SEEDS, "both"], default="both")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.checkpoint}")
    for name in SEEDS if options.preset == "both" else [options.preset]:
        data, result = options.out / name / "data", options.out / name / "result"
        if not (data / "meta_data.xlsx").exists():
            # What a kill left is begun anew.
            shutil.rmtree(data, ignore_errors=True)
            write_dataset(data, subjects=SUBJECTS, size=_SIZE[name], seed=SEEDS[name], preset=name)
        command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(bundle_root())]
        command += ["--config_file", str(bundle_root() / "configs" / "inference.json")]
        command += ["--dataset_dir", str(data / "train" / "DCM"), "--output_dir", str(result)]
        command += ["--overlays", "false", "--checkpoint", str(options.checkpoint)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        evaluation = evaluate(result / "submission.csv", data / "train")
        evaluation.write(result)
        print_set(name, evaluation, data)


def print_set(name: str, evaluation: Evaluation, data: Path) -> None:
    """Print mean Dice over bones present with its interval, each bone, and the false positives of absent bones."""
    subject = {path.name: path.parent.name for path in (data / "train" / "DCM").rglob("*.png")}
    present = evaluation.truth > 0
    dice = np.where(present, evaluation.dice, np.nan)
    subjects = sorted(set(subject.values()))
    rows = [[i for i, image in enumerate(evaluation.names) if subject[image] == one] for one in subjects]
    absent = ~present
    false = (evaluation.predicted > 0) & absent
    rate = f"{false.sum()} of {absent.sum()}" + (f" ({false.sum() / absent.sum():.3f})" if absent.any() else "")
    low, high = interval(dice, rows)
    table = Table(title=f"{name}: Dice {np.nanmean(dice):.4f} (95 % {low:.4f} to {high:.4f}), false positives {rate}")
    for heading in ("bone", "Dice", "95 %", "5th percentile", "images", "false positives"):
        table.add_column(heading, justify="left" if heading == "bone" else "right")
    for bone in BONES:
        k = bone.index
        low, high = interval(dice[:, [k]], rows)
        table.add_row(
            f"{bone.name} ({bone.english})",
            f"{np.nanmean(dice[:, k]):.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{np.nanpercentile(dice[:, k], 5):.3f}",
            str(int(present[:, k].sum())),
            f"{int(false[:, k].sum())} of {int(absent[:, k].sum())}",
        )
    Console(width=120).print(table)


def interval(dice: np.ndarray, subjects: list[list[int]], rounds: int = 1000) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of `dice` (N, K), resampling subjects; NaN is left out."""
    rng = np.random.default_rng(0)
    sums = np.array([np.nansum(dice[rows]) for rows in subjects])
    counts = np.array([np.isfinite(dice[rows]).sum() for rows in subjects])
    picks = rng.integers(len(subjects), size=(rounds, len(subjects)))
    means = sums[picks].sum(axis=1) / np.maximum(counts[picks].sum(axis=1), 1)
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


if __name__ == "__main__":
    main()
