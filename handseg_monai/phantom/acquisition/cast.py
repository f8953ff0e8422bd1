"""A plaster, splint or bandage over wrist and forearm, added to the attenuation."""

from __future__ import annotations

import cv2
import numpy as np

from handseg_monai.phantom.acquisition.landmarks import wrist
from handseg_monai.phantom.acquisition.patches import Scene
from handseg_monai.phantom.resample import averaged, blurred, enlarged, limited

_COARSE = 192
"""Longer side of the grid on which the cast's outline is found, pixels."""


def add_cast(rng: np.random.Generator, scene: Scene) -> None:
    """Add a cast from the palm or the wrist to the elbow, in place."""
    place = wrist(scene.marks)
    if place is None:
        return
    shape = int(scene.soft.shape[0]), int(scene.soft.shape[1])
    small = limited(shape, _COARSE)
    pitch = scene.spacing * shape[0] / small[0]
    body = (averaged(scene.soft, small) > 0.02).astype(np.uint8)
    start, wall, slab = float(rng.uniform(-75.0, 10.0)), float(rng.uniform(2.0, 9.0)), rng.random() < 0.3
    lean, off = float(rng.normal(0.0, 0.12)), float(rng.normal(0.0, 4.0))
    scale = small[0] / shape[0]
    x = np.arange(small[1], dtype=np.float32)[None, :] - np.float32(place[0][0] * scale)
    y = np.arange(small[0], dtype=np.float32)[:, None] - np.float32(place[0][1] * scale)
    a, b = (np.float32(v * pitch) for v in place[1])
    along, across = x * a + y * b, y * a - x * b
    reach = np.float32(rng.uniform(34.0, 60.0))
    # Rounded like the limb: distance to the outline of the limb, grown by the wall.
    outer = cv2.distanceTransform(1 - body, cv2.DIST_L2, 3) * np.float32(pitch)
    inner = cv2.distanceTransform(body, cv2.DIST_L2, 3) * np.float32(pitch)
    depth = inner - outer + np.float32(wall)
    if slab:
        # A straight slab on one face, which shows the arm's outline through.
        depth = np.float32(rng.uniform(24.0, 42.0)) - np.abs(across - np.float32(off))
    chord = np.sqrt(np.clip(depth, 0, 25)) - np.sqrt(np.clip(depth - np.float32(wall), 0, 25))
    shell = np.clip(depth, 0, 1) * (np.float32(0.6) + np.float32(rng.uniform(0.3, 1.3)) * chord)
    edge = np.clip((along + np.float32(lean) * across - np.float32(start)) / np.float32(pitch) + 0.5, 0, 1)
    shell *= edge * np.clip((reach - np.abs(across)) / np.float32(3.0), 0, 1)
    shell = blurred(shell.astype(np.float32), 0.8)
    cells = max(8, int(max(shape) * scene.spacing / rng.uniform(1.2, 5.0)))
    grid = limited(shape, min(cells, max(shape)))
    weave = rng.standard_normal(grid, np.float32)
    if rng.random() < 0.5:
        # Layers of bandage: long cells.
        weave = np.asarray(cv2.blur(weave, (7, 1) if rng.random() < 0.5 else (1, 7)), np.float32) * 2
    texture = 1 + np.float32(rng.uniform(0.03, 0.22)) * enlarged(blurred(weave, 0.7), shape)
    scene.signal[:] += np.float32(np.exp(rng.uniform(np.log(0.2), np.log(0.9)))) * enlarged(shell, shape) * texture
