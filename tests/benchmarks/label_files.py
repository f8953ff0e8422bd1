"""Size and speed of label files of one radiograph of 2048 x 2048 pixels: ``python -m tests.benchmarks.label_files``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from handseg_monai.data.labels.competition import labelled_items
from handseg_monai.data.labels.converted import read_planes, write_planes
from handseg_monai.data.layouts import read_truth
from handseg_monai.phantom import write_dataset

SHAPE = (2048, 2048)


def milliseconds(function: Callable[[], object], count: int = 9) -> float:
    """Shortest of several calls."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


def main() -> None:
    """Print a table for the label of a phantom."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_dataset(root, subjects=1, size=SHAPE[0], workers=1, progress=False)
        label = Path(labelled_items(root / "train")[0][0]["label"])
        planes = read_truth(label, SHAPE)
        write_planes(root / "runs.npz", planes)
        np.savez_compressed(root / "pixels.npz", planes=planes)
        cv2.imwrite(str(root / "pixels.png"), planes.view(np.uint8).reshape(*SHAPE, 4))
        print(f"{'':>24} {'kB':>6} {'ms to read':>11}")
        for name, path, read in (
            ("polygons, JSON", label, lambda: read_truth(label, SHAPE)),
            ("runs, npz", root / "runs.npz", lambda: read_planes(root / "runs.npz", SHAPE)),
            ("pixels, npz", root / "pixels.npz", lambda: np.load(root / "pixels.npz")["planes"]),
            ("pixels, PNG", root / "pixels.png", lambda: cv2.imread(str(root / "pixels.png"), cv2.IMREAD_UNCHANGED)),
        ):
            print(f"{name:>24} {path.stat().st_size / 1000:>6.1f} {milliseconds(read):>11.1f}")


if __name__ == "__main__":
    main()
