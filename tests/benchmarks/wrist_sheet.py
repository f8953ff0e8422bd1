"""Draw wrists of phantoms over their range of deviation, plain and with outlines, to look at.

Usage: ``python -m tests.benchmarks.wrist_sheet OUT.png [--preset standard] [--seed 5] [--subjects 3] [--whole]``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import cv2
import numpy as np

from handseg_monai.bones import INDEX
from handseg_monai.drawing import overlay
from handseg_monai.phantom import PRESETS, Phantom, render_phantom

_DEVIATIONS = (-42.0, -20.0, 0.0)


def _window(phantom: Phantom, reach: int) -> tuple[slice, slice]:
    rows, columns = np.nonzero(phantom.planes >> INDEX["Capitate"] & 1)
    y, x = int(rows.mean()) + reach // 6, int(columns.mean())
    return slice(max(y - reach, 0), y + reach), slice(max(x - reach, 0), x + reach)


def sheet(preset: str, seed: int, subjects: int, *, whole: bool, tile: int = 440) -> np.ndarray:
    """Return a picture (H, W, 3) uint8: a row of wrists for each subject, deviations side by side, then outlines."""
    rows = []
    for number in range(subjects):
        plain, drawn = [], []
        for deviation in _DEVIATIONS:
            usual = render_phantom(seed, number, "right", PRESETS[preset], 64).pose
            pose = replace(usual, deviation=deviation, turn=-0.6 * deviation)
            phantom = render_phantom(seed, number, "right", PRESETS[preset], 1500, pose=pose)
            window = (slice(None), slice(None)) if whole else _window(phantom, round(33.0 / phantom.spacing))
            image, planes = (np.ascontiguousarray(array[window]) for array in (phantom.image, phantom.planes))
            plain.append(cv2.resize(cv2.merge([image] * 3), (tile, tile), interpolation=cv2.INTER_AREA))
            drawn.append(cv2.resize(overlay(image, planes, 0.12), (tile, tile), interpolation=cv2.INTER_AREA))
        rows.append(np.hstack(plain + drawn))
    return np.vstack(rows)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--preset", default="standard", choices=sorted(PRESETS))
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="whole hands in place of wrists")
    arguments = parser.parse_args()
    picture = sheet(arguments.preset, arguments.seed, arguments.subjects, whole=arguments.whole)
    cv2.imwrite(arguments.out, np.ascontiguousarray(picture[..., ::-1]))


if __name__ == "__main__":
    main()
