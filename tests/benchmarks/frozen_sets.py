"""The shipped weights on two frozen sets of phantoms: ``python -m tests.benchmarks.frozen_sets --out DIR``.

``standard`` and ``hard``, 50 subjects each, two radiographs a subject, from seeds of their own that no training uses.
Radiographs, labels, submission and evaluation stay in the folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from handseg_monai import bundle_root
from handseg_monai.bitplanes import rasterise
from handseg_monai.bones import BONES
from handseg_monai.data import labelled_items
from handseg_monai.data.labels.competition import read_polygons
from handseg_monai.data.reading.images import read_radiograph
from handseg_monai.drawing import fit, overlay, save, sheet
from handseg_monai.phantom import write_dataset
from handseg_monai.rle import decode_planes, read_csv
from handseg_monai.run.machine import processor
from handseg_monai.score.bootstrap import interval
from handseg_monai.score.evaluation import Evaluation, evaluate
from handseg_monai.score.tables import write_evaluation

SEEDS = {"standard": 900001, "hard": 900002}
SUBJECTS = 50
_SIZE = {"standard": 2048, "hard": None}


def main() -> None:
    """Write the sets where they are missing, infer, evaluate, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/frozen"))
    parser.add_argument("--checkpoint", type=Path, default=bundle_root() / "models" / "model.pt")
    parser.add_argument("--preset", choices=[*SEEDS, "both"], default="both")
    parser.add_argument("--failures", type=Path, help="draw the worst radiographs of each set into this folder")
    options = parser.parse_args()
    print(f"{processor()}, {os.cpu_count()} cores, {options.checkpoint}")
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
        write_evaluation(evaluation, result)
        print_set(name, evaluation)
        if options.failures:
            save(options.failures / f"worst_{name}.jpg", worst(evaluation, data, result / "submission.csv"))


def print_set(name: str, evaluation: Evaluation) -> None:
    """Print mean Dice over bones present with its interval, each bone, and the false positives of absent bones."""
    present = evaluation.truth > 0
    dice = np.where(present, evaluation.dice, np.nan)
    absent = ~present
    false = (evaluation.predicted > 0) & absent
    rate = f"{false.sum()} of {absent.sum()}" + (f" ({false.sum() / absent.sum():.3f})" if absent.any() else "")
    low, high = interval(dice, evaluation.subjects)
    table = Table(title=f"{name}: Dice {np.nanmean(dice):.4f} (95 % {low:.4f} to {high:.4f}), false positives {rate}")
    for heading in ("bone", "Dice", "95 %", "5th percentile", "images", "false positives"):
        table.add_column(heading, justify="left" if heading == "bone" else "right")
    for bone in BONES:
        k = bone.index
        low, high = interval(dice[:, [k]], evaluation.subjects)
        table.add_row(
            f"{bone.name} ({bone.english})",
            f"{np.nanmean(dice[:, k]):.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{np.nanpercentile(dice[:, k], 5):.3f}",
            str(int(present[:, k].sum())),
            f"{int(false[:, k].sum())} of {int(absent[:, k].sum())}",
        )
    Console(width=120).print(table)


def worst(evaluation: Evaluation, data: Path, submission: Path, count: int = 4) -> np.ndarray:
    """Return a picture of the radiographs with the lowest Dice over bones present, truth beside prediction."""
    dice = np.nanmean(np.where(evaluation.truth > 0, evaluation.dice, np.nan), axis=1)
    items = {item["name"]: item for item in labelled_items(data / "train")[0]}
    runs = read_csv(submission)
    pictures = []
    for place in np.argsort(dice)[:count]:
        item = items[evaluation.names[place]]
        radiograph = read_radiograph(item["image"])
        shape = radiograph.shape[0], radiograph.shape[1]
        truth = rasterise(read_polygons(item["label"], shape), shape)
        found = decode_planes(runs[evaluation.names[place]], shape)
        pictures += [overlay(*fit(radiograph, planes, 420)) for planes in (truth, found)]
    return sheet(pictures, 4)


if __name__ == "__main__":
    main()
