"""Radius and ulna of bent wrists, with a long forearm in view: ``python -m tests.benchmarks.forearm``.

Phantoms of ``standard`` at 42 degrees of ulnar deviation with 70 mm of forearm; the shipped weights through the bundle.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from handseg_monai import bundle_root
from handseg_monai.bones import BONES, INDEX
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.rle import decode_planes, read_csv

SEED = 900004
RANGES = replace(
    PRESETS["standard"], bent_share=1.0, bent_deviation=(-42.0, -42.0), forearm=(70.0, 70.0), turned_share=0.0
)


def main() -> None:
    """Render, infer, and print Dice of radius and ulna."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=15)
    parser.add_argument("--checkpoint", type=Path, default=bundle_root() / "models" / "model.pt")
    options = parser.parse_args()
    truth: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder) / "images", Path(folder) / "out"
        images.mkdir()
        for number in tqdm(range(options.subjects), unit="subject"):
            for side in ("left", "right"):
                phantom = render_phantom(SEED, number, side, RANGES, 2048)
                name = f"{number}_{side}.png"
                cv2.imwrite(str(images / name), phantom.image)
                truth[name] = phantom.planes
        command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(bundle_root())]
        command += ["--config_file", str(bundle_root() / "configs" / "inference.json"), "--overlays", "false"]
        command += ["--dataset_dir", str(images), "--output_dir", str(out), "--checkpoint", str(options.checkpoint)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        runs = read_csv(out / "submission.csv")
        found = {name: decode_planes(runs[name], planes.shape) for name, planes in truth.items()}
    dice = np.array([[_dice(truth[name], found[name], bone.index) for bone in BONES] for name in truth])
    for name in ("Radius", "Ulna"):
        one = dice[:, INDEX[name]]
        print(f"{name}: Dice {one.mean():.4f}, lowest {one.min():.4f}, of {len(one)} radiographs")
    print(f"all bones: Dice {np.nanmean(dice):.4f}")


def _dice(truth: np.ndarray, found: np.ndarray, bone: int) -> float:
    a, b = ((planes >> bone) & 1 for planes in (truth, found))
    whole = int(a.sum() + b.sum())
    return float(2 * (a & b).sum() / whole) if whole else float("nan")


if __name__ == "__main__":
    main()
