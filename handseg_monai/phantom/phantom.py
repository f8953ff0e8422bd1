"""One phantom: subject, pose, view and exposure drawn from a key, and the labels that belong to the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from handseg_monai.bones import NUM_BONES
from handseg_monai.phantom.anatomy import myohand
from handseg_monai.phantom.exposure import expose
from handseg_monai.phantom.pose import Pose, PosedHand, apply_pose, draw_pose
from handseg_monai.phantom.radiograph import Polygon, bone_attenuation, bone_polygons, soft_attenuation
from handseg_monai.phantom.ranges import PhantomRanges
from handseg_monai.phantom.subject import Subject, make_subject
from handseg_monai.phantom.tissue import make_tissue
from handseg_monai.phantom.view import Side, View, place

MIN_SIZE = 64
_RENDERED = 1024
"""Smaller radiographs are rendered at a multiple of their size of at least this, and averaged down."""


@dataclass(frozen=True)
class Phantom:
    """A synthetic radiograph with its truth.

    Attributes
    ----------
    image
        (H, W) uint8 radiograph.
    planes
        (H, W) int32, bit k = bone k; silhouettes overlap.
    polygons
        For each of the 29 bones its outlines, (N, 2) int32 in pixels; none for a bone outside of the image.
    side
        ``"left"`` or ``"right"``.
    pose
        Joint angles in degrees, the wrist's deviation among them.
    spacing
        Millimetres per pixel.
    hand, view
        The posed bones (millimetres) and their place in the image.
    """

    image: NDArray[np.uint8]
    planes: NDArray[np.int32]
    polygons: tuple[tuple[Polygon, ...], ...]
    side: Side
    pose: Pose
    spacing: float
    hand: PosedHand
    view: View


@lru_cache(maxsize=4)
def subject_of(seed: int, number: int, ranges: PhantomRanges) -> Subject:
    """Return the person of a seed and a number; both hands of a person share it."""
    return make_subject(np.random.default_rng([seed, number, 0]), ranges, myohand())


def render_phantom(
    seed: int, number: int, side: Side, ranges: PhantomRanges, size: int, *, pose: Pose | None = None
) -> Phantom:
    """Render one hand of one person.

    Everything is a function of (seed, number, side): the two hands of a person have the same anatomy, mirrored, each
    with a pose and an exposure of its own.

    Parameters
    ----------
    seed, number
        Seed of the data set and number of the person, both >= 0.
    side
        ``"left"`` or ``"right"``; in a PA view a right hand has its thumb on the left of the image.
    ranges
        What to draw from, for example ``PRESETS["standard"]``.
    size
        Side of the image in pixels, >= 64.
    pose
        Pose to use in place of a drawn one.

    Raises
    ------
    ValueError
        When the side is neither, or the size or a number is too small.
    ImportError
        When a package of the extra ``phantom`` is missing.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side: expected 'left' or 'right', got {side!r}")
    if size < MIN_SIZE:
        raise ValueError(f"size: expected at least {MIN_SIZE} pixels, got {size}")
    if seed < 0 or number < 0:
        raise ValueError(f"seed and number: expected 0 or more, got {seed} and {number}")
    subject = subject_of(seed, number, ranges)
    key = [seed, number, 1 if side == "right" else 2]
    # One stream a step: a change in one leaves the others' draws alone.
    posing, placing, fleshing, texturing, exposing = (
        np.random.default_rng(child) for child in np.random.SeedSequence(key).spawn(5)
    )
    drawn = draw_pose(posing, ranges)
    pose = drawn if pose is None else pose
    hand = apply_pose(subject, pose)
    view = place(placing, ranges, hand, side, size)
    polygons = bone_polygons(subject.anatomy, hand, view)
    planes = fill_polygons(polygons, size)
    fine = view.resized(size * -(-_RENDERED // size) if size < _RENDERED else size)
    tissue = make_tissue(fleshing, subject, hand, fine)
    soft = soft_attenuation(tissue, subject.flesh.fat, fine.size)
    bone = bone_attenuation(texturing, subject, hand, fine)
    image = expose(exposing, ranges, soft, bone, fine)
    if fine.size != size:
        image = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    return Phantom(image, planes, polygons, side, pose, view.spacing, hand, view)


def fill_polygons(polygons: tuple[tuple[Polygon, ...], ...], size: int) -> NDArray[np.int32]:
    """Return (size, size) int32 bit planes of 29 bones' polygons, filled by ``cv2.fillPoly``, union per bone."""
    planes = np.zeros((size, size), np.int32)
    for bone in range(NUM_BONES):
        for polygon in polygons[bone]:
            x0, y0 = polygon.min(axis=0)
            x1, y1 = polygon.max(axis=0) + 1
            mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
            cv2.fillPoly(mask, [polygon - (x0, y0)], 1)
            planes[y0:y1, x0:x1] |= mask.astype(np.int32) << bone
    return planes
