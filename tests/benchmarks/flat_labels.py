"""What labels without overlaps teach: ``python -m tests.benchmarks.flat_labels [--steps 400] [--order up]``.

A small U-Net is trained on wrists of phantoms three times: on flattened masks whose hidden pixels count as absent, on
the same with hidden pixels unknown, and on the true masks. All are compared with the true masks of other phantoms. On
one core a training takes three minutes. Before that: what the loss costs with and without unknown pixels, in one run.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from rich.console import Console
from rich.table import Table

from handseg_monai.bones import ALL_KNOWN, BONES, FLAT, NUM_BONES, Group
from handseg_monai.losses import PerBoneLoss
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.score.dice import dice
from tests.flat_labels import DOWN, UP, flattened

SIDE, BATCH = 128, 4
CARPALS = [bone.index for bone in BONES if bone.group is Group.CARPAL]
View = tuple[np.ndarray, np.ndarray, tuple[float, float]]
"""Radiograph, float32 (H, W) from 0 to 1, its bit planes, and the centre of the carpus, x and y."""


def wrists(seed: int, subjects: int) -> list[View]:
    """Both hands of each subject."""
    views = []
    for subject in range(subjects):
        for side in ("left", "right"):
            phantom = render_phantom(seed, subject, side, PRESETS["standard"], 512)
            low, high = np.percentile(phantom.image, (0.5, 99.5))
            image = np.clip((phantom.image.astype(np.float32) - low) / (high - low), 0, 1).astype(np.float32)
            y, x = np.nonzero(phantom.planes & np.int32(sum(1 << k for k in CARPALS)))
            views.append((image, phantom.planes, (float(x.mean()), float(y.mean()))))
    return views


def cut(view: View, angle: float = 0, scale: float = 1, shift: tuple[float, float] = (0, 0)) -> list[np.ndarray]:
    """Image and planes about the carpus, (128, 128)."""
    image, planes, centre = view
    matrix = cv2.getRotationMatrix2D(centre, angle, scale)
    matrix[:, 2] += np.array([SIDE / 2, SIDE / 2]) - centre + shift
    return [
        cv2.warpAffine(image, matrix, (SIDE, SIDE)),
        cv2.warpAffine(planes, matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST),
    ]


def trained(views: list[View], known: int, steps: int) -> torch.nn.Module:
    """Train on views, turned, scaled, moved and mirrored."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    net = BasicUNet(spatial_dims=2, in_channels=1, out_channels=NUM_BONES, features=(16, 32, 48, 64, 96, 16))
    torch.nn.init.constant_(net.final_conv.bias, -4.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    loss = PerBoneLoss(DiceCELoss(sigmoid=True))
    for step in range(steps):
        pairs = [
            cut(views[i], rng.uniform(-15, 15), rng.uniform(0.85, 1.2), rng.uniform(-8, 8, 2))
            for i in rng.integers(len(views), size=BATCH)
        ]
        if step % 2:
            pairs = [[array[:, ::-1] for array in pair] for pair in pairs]
        images, planes = (torch.from_numpy(np.stack([pair[i] for pair in pairs])[:, None].copy()) for i in (0, 1))
        optimizer.zero_grad()
        loss(net(images), (planes, torch.full((BATCH,), known, dtype=torch.int32))).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def figures(net: torch.nn.Module, views: list[View]) -> tuple[float, float]:
    """Dice of the pixels in which bones overlap, over all views, and mean Dice of the carpal bones."""
    both = total = 0
    of_carpals = []
    for view in views:
        image, truth = cut(view)
        masks = (net(torch.from_numpy(image)[None, None])[0] > 0).numpy()
        planes = sum((masks[k].astype(np.int32) << k for k in range(NUM_BONES)), np.zeros((SIDE, SIDE), np.int32))
        shared, found = ((p & (p - 1)) != 0 for p in (truth, planes))
        both += 2 * int((shared & found).sum())
        total += int(shared.sum() + found.sum())
        of_carpals.append(dice(planes, truth)[CARPALS])
    return both / max(total, 1), float(np.mean(of_carpals))


def seconds(view: View, known: int, size: int = 512) -> float:
    """Seconds of the processor that loss and gradient take for two flat labels, the least of five times."""
    planes = torch.from_numpy(np.stack([flattened(view[1])[None, :size, :size]] * 2))
    logits = torch.randn(2, NUM_BONES, *planes.shape[-2:], requires_grad=True)
    loss = PerBoneLoss(DiceCELoss(sigmoid=True))
    taken = []
    for _ in range(5):
        start = time.process_time()
        loss(logits, (planes, torch.full((2,), known, dtype=torch.int32))).backward()
        taken.append(time.process_time() - start)
    return min(taken)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--order", choices=("up", "down"), default="up", help="later bones cover earlier ones, or not")
    options = parser.parse_args()
    torch.set_num_threads(1)
    views = wrists(77, 25) + wrists(78, 20)
    others = wrists(79, 15)
    plain, with_unknown = (seconds(views[0], known) for known in (ALL_KNOWN, ALL_KNOWN | FLAT))
    print(f"loss of 2 x 29 x 512 x 512: {plain:.2f} s, with unknown pixels {with_unknown:.2f} s", end=", ")
    print(f"{with_unknown / plain:.2f} times as long")
    order = UP if options.order == "up" else DOWN
    flat = [(image, flattened(planes, order), centre) for image, planes, centre in views]
    table = Table("trained on", "Dice of the overlaps", "Dice of the carpal bones")
    for name, data, known in (
        ("flat masks, hidden pixels absent", flat, ALL_KNOWN),
        ("flat masks, hidden pixels unknown", flat, ALL_KNOWN | FLAT),
        ("true masks", views, ALL_KNOWN),
    ):
        table.add_row(name, *(f"{value:.3f}" for value in figures(trained(data, known, options.steps), others)))
    Console().print(table)


if __name__ == "__main__":
    main()
