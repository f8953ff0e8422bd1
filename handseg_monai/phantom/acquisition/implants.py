"""Plates with screws, wires, cannulas and finger splints, added to the attenuation."""

from __future__ import annotations

import numpy as np

from handseg_monai.bones import BONES, INDEX, Group
from handseg_monai.phantom.acquisition.landmarks import rotated
from handseg_monai.phantom.acquisition.patches import Scene
from handseg_monai.phantom.resample import Floats

_LONG = [bone.index for bone in BONES if bone.group is not Group.CARPAL and bone.index != INDEX["Ulna"]]
_METACARPALS = [bone.index for bone in BONES if bone.group is Group.METACARPAL]
_DISTAL = [bone.index for bone in BONES if bone.group is Group.DISTAL_PHALANX]


def add_plate(rng: np.random.Generator, scene: Scene) -> None:
    """Add a plate with screws along a phalanx, a metacarpal or the radius, in place."""
    mark = scene.mark_of_one(rng, _LONG)
    if mark is None:
        return
    axis = rotated(mark.axis, rng.normal(0.0, 3.0))
    width = float(np.clip(rng.uniform(0.3, 0.75) * mark.width, 2.0, 11.0))
    length = float(np.clip(rng.uniform(0.45, 1.0) * mark.length, 3.0 * width, 75.0))
    centre = mark.centre + axis * float(rng.uniform(-0.12, 0.12)) * mark.length / scene.spacing
    metal = float(rng.uniform(0.5, 2.0))
    patch = scene.patch(centre, axis, 0.5 * length + 1.0, max(width, 0.5 * mark.width + 6.0))
    if patch is None:
        return
    plate = patch.box(0.5 * length, 0.5 * width)
    count = max(2, int(length / (1.4 * width)))
    for place in (np.arange(count) - 0.5 * (count - 1)) * length / count:
        filled = rng.random() < 0.75
        plate -= np.float32(0.9) * patch.disc(float(place), 0.0, 0.27 * width) * plate
        if filled:
            # A screw runs away from the tube, a little askew: a rod with a head.
            lean, reach = float(rng.normal(0.0, 0.25)), float(rng.uniform(0.3, 0.6) * mark.width)
            run = patch.across * np.float32(np.sign(lean) or 1.0)
            rod = np.float32(0.16 * width) - np.abs(patch.along - np.float32(place) - run * np.float32(lean))
            plate += patch.inside(np.minimum(rod, np.minimum(run + 0.3, np.float32(reach) - run)))
            plate += np.float32(0.9) * patch.disc(float(place), 0.0, 0.3 * width)
    patch.image[:] += np.float32(metal) * plate


def add_wires(rng: np.random.Generator, scene: Scene) -> None:
    """Add one to three Kirschner wires through a bone, in place."""
    mark = scene.mark_of_one(rng, _LONG)
    if mark is None:
        return
    thick, metal = float(rng.uniform(0.8, 2.2)), float(rng.uniform(1.0, 3.0))
    for _ in range(int(rng.integers(1, 4))):
        axis = rotated(mark.axis, rng.normal(0.0, 14.0) + (180.0 if rng.random() < 0.3 else 0.0))
        half = 0.5 * float(np.clip(rng.uniform(0.7, 1.7) * mark.length, 15.0, 90.0))
        centre = mark.centre + axis * float(rng.uniform(-0.1, 0.5)) * mark.length / scene.spacing
        patch = scene.patch(centre, axis, half + 6.0, 8.0)
        if patch is None:
            continue
        wire = patch.box(half, 0.5 * thick)
        if rng.random() < 0.4:
            # The end outside of the skin is bent over.
            hook = np.minimum(np.float32(0.5 * thick) - np.abs(patch.along - np.float32(half)), patch.across + 0.3)
            wire = np.maximum(wire, patch.inside(np.minimum(hook, np.float32(rng.uniform(3, 7)) - patch.across)))
        patch.image[:] += np.float32(metal) * wire


def add_cannula(rng: np.random.Generator, scene: Scene) -> None:
    """Add a cannula in the back of the hand with its hub and line, in place."""
    mark = scene.mark_of_one(rng, _METACARPALS)
    if mark is None:
        return
    axis = -rotated(mark.axis, rng.normal(0.0, 20.0))
    centre = mark.centre + rng.normal(0.0, 5.0, 2) / scene.spacing
    plastic, hub = float(rng.uniform(0.05, 0.35)), float(rng.uniform(15.0, 28.0))
    patch = scene.patch(centre, axis, 110.0, 30.0)
    if patch is None:
        return

    def tube(low: float, high: float, radius: float, bore: float) -> Floats:
        off = np.abs(patch.across - bend * np.minimum(patch.along + np.float32(hub), 0) ** 2)
        ends = np.minimum(patch.along - np.float32(low), np.float32(high) - patch.along)
        shell = np.sqrt(np.maximum(radius**2 - off**2, 0)) - np.sqrt(np.maximum((bore * radius) ** 2 - off**2, 0))
        return np.asarray(shell / radius * patch.inside(ends), np.float32)

    bend = np.float32(rng.normal(0.0, 0.004))
    patch.image[:] += np.float32(4 * plastic) * tube(0.0, float(rng.uniform(15.0, 32.0)), 0.7, 0.5)
    patch.image[:] += np.float32(2 * plastic) * tube(-hub, 0.0, float(rng.uniform(2.0, 3.8)), 0.6)
    patch.image[:] += np.float32(1.5 * plastic) * tube(-110.0, -hub, float(rng.uniform(1.2, 2.0)), 0.65)
    if rng.random() < 0.6:
        patch.image[:] += np.float32(plastic) * patch.box(3.0, float(rng.uniform(8.0, 14.0)))


def add_finger_splint(rng: np.random.Generator, scene: Scene) -> None:
    """Add a strip of metal with foam along a finger, in place."""
    tips = [bone for bone in _DISTAL if bone in scene.marks and bone + 1 in scene.marks]
    if not tips:
        return
    tip = int(rng.choice(tips))
    base = scene.marks[
        min(tip + int(rng.integers(1, 4)), max(k for k in scene.marks if BONES[k].ray == BONES[tip].ray))
    ]
    ends = scene.marks[tip].centre + scene.marks[tip].axis * 12.0 / scene.spacing, base.centre
    axis = ends[0] - ends[1]
    half = 0.5 * float(np.hypot(*axis)) * scene.spacing
    width, metal = float(rng.uniform(11.0, 20.0)), float(rng.uniform(0.08, 0.5))
    patch = scene.patch(0.5 * (ends[0] + ends[1]), axis / np.hypot(*axis), half + 2.0, width)
    if patch is None:
        return
    rim = float(rng.uniform(0.6, 1.8))
    strip = patch.box(half, 0.5 * width)
    edge = strip - patch.box(half - rim, 0.5 * width - rim)
    patch.image[:] += np.float32(metal) * (strip + np.float32(rng.uniform(0.5, 3.0)) * edge)
