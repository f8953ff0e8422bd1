"""Rings, bracelets and watches: hoops around a finger or the wrist, added to the attenuation."""

from __future__ import annotations

import numpy as np

from handseg_monai.bones import BONES, Group
from handseg_monai.phantom.acquisition.landmarks import Vector, rotated, wrist
from handseg_monai.phantom.acquisition.patches import Patch, Scene
from handseg_monai.phantom.resample import Floats

_PROXIMAL = [bone.index for bone in BONES if bone.group is Group.PROXIMAL_PHALANX]


def add_rings(rng: np.random.Generator, scene: Scene) -> None:
    """Add one to three rings around proximal phalanges, in place."""
    fingers = [bone for bone in _PROXIMAL if bone in scene.marks]
    if not fingers:
        return
    count = min(len(fingers), 1 + int(rng.integers(0, 3)) * int(rng.random() < 0.35))
    for bone in rng.permutation(fingers)[:count]:
        mark = scene.marks[int(bone)]
        axis = rotated(mark.axis, rng.normal(0.0, 6.0))
        centre = mark.centre - axis * float(rng.uniform(-0.1, 0.3)) * mark.length / scene.spacing
        middle, radius = _girth(scene, centre, axis, 0.5 * mark.width, 0.5 * mark.width + 5.5)
        wall, half = float(rng.uniform(0.8, 2.2)), float(rng.uniform(1.0, 4.0))
        patch = scene.patch(middle, axis, half + 5.0, radius + wall + 4.0)
        if patch is None:
            continue
        density = float(np.exp(rng.uniform(np.log(0.15), np.log(2.0))))
        patch.image[:] += _hoop(patch, radius, wall, half, density)
        if rng.random() < 0.3:
            stone = float(rng.uniform(-0.9, 0.9)) * radius
            patch.image[:] += np.float32(rng.uniform(0.3, 2.5)) * patch.disc(0.0, stone, float(rng.uniform(1.5, 4.0)))


def add_wristband(rng: np.random.Generator, scene: Scene) -> None:
    """Add a bracelet, a hospital's band or a watch around the wrist, in place."""
    place = wrist(scene.marks)
    if place is None:
        return
    axis = rotated(place[1], rng.normal(0.0, 7.0))
    centre = place[0] + axis * float(rng.uniform(22.0, 65.0)) / scene.spacing
    middle, radius = _girth(scene, centre, axis, 18.0, 42.0)
    wall, half = float(rng.uniform(0.6, 2.5)), float(rng.uniform(1.5, 11.0))
    watch, links = rng.random() < 0.4, rng.random() < 0.5
    disc, off = float(rng.uniform(11.0, 19.0)), float(rng.uniform(-0.5, 0.5)) * radius
    patch = scene.patch(middle, axis, max(half, disc) + 3.0, radius + wall + 3.0)
    if patch is None:
        return
    density = float(np.exp(rng.uniform(np.log(0.03), np.log(0.9))))
    band = _hoop(patch, radius + 1.0, wall, half, density)
    if links:
        pitch, depth = float(rng.uniform(2.5, 9.0)), float(rng.uniform(0.2, 0.8))
        turn = np.arcsin(np.clip(patch.across / np.float32(radius + wall + 1.0), -1, 1)) * np.float32(radius)
        band *= 1 - np.float32(depth) * (np.cos(turn * np.float32(2 * np.pi / pitch)) > 0.6)
    patch.image[:] += band
    if watch:
        case = patch.disc(0.0, off, disc) - np.float32(rng.uniform(0.1, 0.7)) * patch.disc(0.0, off, 0.82 * disc)
        patch.image[:] += np.float32(rng.uniform(0.6, 3.0)) * case
        patch.image[:] += np.float32(rng.uniform(0.0, 1.0)) * patch.disc(0.0, off, 0.4 * disc)


def _girth(scene: Scene, centre: Vector, axis: Vector, narrow: float, wide: float) -> tuple[Vector, float]:
    """Return middle (x, y) and half width, `narrow` to `wide` millimetres, of the soft tissue across an axis."""
    across = np.array([-axis[1], axis[0]])
    ends = []
    for sign in (1.0, -1.0):
        reach = np.arange(0.0, wide, 0.5)
        points = np.rint(centre + sign * reach[:, None] / scene.spacing * across).astype(int)
        points = np.clip(points, 0, np.array(scene.soft.shape[::-1]) - 1)
        empty = np.flatnonzero(scene.soft[points[:, 1], points[:, 0]] <= 0)
        ends.append(max(float(reach[empty[0]]) if len(empty) else wide, narrow))
    return centre + 0.5 * (ends[0] - ends[1]) / scene.spacing * across, 0.5 * (ends[0] + ends[1])


def _hoop(patch: Patch, radius: float, wall: float, half: float, density: float) -> Floats:
    """Return the attenuation of a hoop seen from its side: the chord of a ring, densest at either end."""
    outer = np.sqrt(np.maximum(np.float32((radius + wall) ** 2) - patch.across**2, 0))
    inner = np.sqrt(np.maximum(np.float32(radius**2) - patch.across**2, 0))
    return 2 * np.float32(density) * (outer - inner) * patch.box(half, radius + wall)
