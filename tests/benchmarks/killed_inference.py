"""Inference killed again and again: ``python -m tests.benchmarks.killed_inference [--kills 50]``.

Two ranks under torchrun infer many small radiographs with a small network. All of their processes are killed at random
moments by a signal that can't be caught, and started again. In the end each image must have come exactly once,
with the rows that one quiet run gives it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from handseg_monai.rle import read_csv
from tests.bundle_runs import CONFIGS, TINY, save_untrained
from tests.conftest import draw_radiograph

RANKS = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "monai.bundle", "run"]


def command(ranks: bool, images: Path, checkpoint: Path, out: Path) -> list[str]:
    """Return the command line of a run."""
    names = ["inference.json", "multi_gpu_inference.json"] if ranks else ["inference.json"]
    files = str([str(CONFIGS / name) for name in names])
    start = RANKS if ranks else ["-m", "monai.bundle", "run"]
    options = ["--dataset_dir", str(images), "--checkpoint", str(checkpoint), "--output_dir", str(out), *TINY]
    return [sys.executable, *start, "--config_file", files, *options, "--overlays", "false", "--amp", "false"]


def kill_all(launcher: int) -> None:
    """Kill a launcher and its ranks, which are in sessions of their own."""
    for process in [*psutil.Process(launcher).children(recursive=True), psutil.Process(launcher)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def done(out: Path) -> int:
    """Count the images that have a record."""
    return sum(1 for _ in (out / ".submission.parts").glob("*/*.json"))


def main() -> None:
    """Kill, start again, and compare."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--images", type=int, default=20000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    draw = random.Random(given.seed)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder) / "images", Path(folder) / "out"
        images.mkdir()
        pictures = [draw_radiograph(number, (96, 72))[0] for number in range(16)]
        for number in range(given.images):
            cv2.imwrite(str(images / f"{number:05d}.png"), np.roll(pictures[number % 16], number // 16, 1))
        checkpoint = save_untrained(Path(folder) / "model.pt", "dynunet")
        kills = amid = 0
        while not (out / "submission.csv").exists():
            process = subprocess.Popen(
                command(True, images, checkpoint, out),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            before = done(out)
            if kills < given.kills:
                # Half of the kills come as soon as the ranks write, half at any time, while they start too.
                until = time.monotonic() + draw.uniform(1, 40)
                waits = draw.random() < 0.5
                while time.monotonic() < until and process.poll() is None:
                    if not waits and done(out) > before:
                        time.sleep(draw.uniform(0, 1.5))
                        break
                    time.sleep(0.05)
                if process.poll() is None:
                    kill_all(process.pid)
                    kills += 1
                    amid += done(out) > before
                    print(f"kill {kills}: {done(out)} of {given.images} images are done", flush=True)
            process.wait()
        killed = (out / "submission.csv").read_bytes()
        subprocess.run(
            command(False, images, checkpoint, Path(folder) / "quiet"), check=True, capture_output=True, env=environment
        )
        same = killed == (Path(folder) / "quiet" / "submission.csv").read_bytes()
        table = Table("what", "count")
        for what, count in (
            ("kills", kills),
            ("of these while images were being written", amid),
            ("images", given.images),
            ("images in the CSV", len(read_csv(out / "submission.csv"))),
            ("same file as one quiet run", "yes" if same else "NO"),
        ):
            table.add_row(what, str(count))
        Console().print(table)
        sys.exit(not same)


if __name__ == "__main__":
    main()
