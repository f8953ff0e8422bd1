"""Draw the picture of the README: a hand that the weights have not seen, what they find, and its wrist enlarged.

Usage: ``python -m tests.benchmarks.results_picture OUT.jpg [--number 3] [--side right]``. The hand is a phantom of
preset ``standard``, from the seed of the frozen set.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from handseg_monai import bundle_root
from handseg_monai.bitplanes import boxes, reduce
from handseg_monai.bones import BONES, Group
from handseg_monai.drawing import fit, overlay, save, sheet
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.rle import decode_planes, read_csv
from tests.benchmarks.frozen_sets import SEEDS

SIZE, TILE = 2048, 640


def found_in(image: np.ndarray) -> np.ndarray:
    """Return what inference finds in a radiograph, bit planes of its size, by the bundle's command."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "images").mkdir()
        cv2.imwrite(str(folder / "images" / "hand.png"), image)
        command = [sys.executable, "-m", "handseg_monai", "infer", str(folder / "images"), "--out", str(folder / "out")]
        command += ["--", "--checkpoint", str(bundle_root() / "models" / "model.pt")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        texts = read_csv(folder / "out" / "submission.csv")["hand.png"]
    return decode_planes(texts, (image.shape[0], image.shape[1]))


def wrist_of(planes: np.ndarray) -> tuple[slice, slice]:
    """Return a square window around the carpal bones."""
    carpal = [box for bone, box in boxes(planes) if BONES[bone].group is Group.CARPAL]
    ends = np.array([[(axis.start, axis.stop) for axis in box] for box in carpal])
    middle = (ends[..., 0].min(axis=0) + ends[..., 1].max(axis=0)) // 2
    reach = int(0.75 * max(ends[..., 1].max(axis=0) - ends[..., 0].min(axis=0)))
    rows, columns = (slice(max(int(at) - reach, 0), int(at) + reach) for at in middle)
    return rows, columns


def main() -> None:
    """Draw and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--number", type=int, default=3)
    parser.add_argument("--side", choices=["left", "right"], default="right")
    options = parser.parse_args()
    image = render_phantom(SEEDS["standard"], options.number, options.side, PRESETS["standard"], SIZE).image
    planes = found_in(image)
    window = wrist_of(planes)
    radiograph, small = fit(image, planes, TILE)
    wrist = cv2.resize(np.ascontiguousarray(image[window]), (TILE, TILE), interpolation=cv2.INTER_CUBIC)
    enlarged = reduce(np.ascontiguousarray(planes[window]), (TILE, TILE))
    pictures = [radiograph, overlay(radiograph, small), overlay(wrist, enlarged)]
    save(options.out, sheet(pictures, 3), b"a phantom, not a person; found by the shipped weights")
    print(f"{options.out}: {options.out.stat().st_size / 1e3:.0f} kB, {bundle_root() / 'models' / 'model.pt'}")


if __name__ == "__main__":
    main()
