"""A view before it is exposed: attenuation of soft tissue and of bones, and the labels; and how it is warped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from handseg_monai.bones import NUM_BONES, SIDES, Side
from handseg_monai.phantom.anatomy import myohand
from handseg_monai.phantom.placement import place_upright
from handseg_monai.phantom.pose import Pose, PosedHand, apply_pose, draw_pose
from handseg_monai.phantom.presets import PhantomRanges
from handseg_monai.phantom.processes import check_numbers
from handseg_monai.phantom.radiograph import Polygon, bone_attenuation, bone_polygons, soft_attenuation
from handseg_monai.phantom.resample import Floats, Shape, averaged
from handseg_monai.phantom.subject import Subject, make_subject
from handseg_monai.phantom.tissue import make_tissue
from handseg_monai.phantom.view import OPPOSITE, View

MIN_SIZE = 64
_RENDERED = 1024
"""Smaller views are rendered at a multiple of their size of at least this, and averaged down."""


@dataclass(frozen=True)
class Components:
    """A view before it is exposed."""

    soft: Floats
    """(H, W) float32 attenuation of the soft tissue along the beam, 0 outside of the skin."""
    bone: Floats
    """(H, W) float32, what the bones add to it."""
    planes: NDArray[np.int32]
    """(H, W) int32, bit k = bone k."""
    spacing: float
    """Millimetres per pixel."""
    side: Side
    """``"left"`` or ``"right"``; which hand it is (in a mirrored view: which it seems to be)."""

    @property
    def shape(self) -> Shape:
        """(height, width) in pixels."""
        return int(self.soft.shape[0]), int(self.soft.shape[1])


@lru_cache(maxsize=4)
def subject_of(seed: int, number: int, ranges: PhantomRanges) -> Subject:
    """Return the person of a seed and a number; both hands of a person share it."""
    return make_subject(np.random.default_rng([seed, number, 0]), ranges, myohand())


@dataclass(frozen=True)
class Streams:
    """The sources of a hand's draws, one a step: a change in one leaves the others' draws alone."""

    posing: np.random.Generator
    placing: np.random.Generator
    fleshing: np.random.Generator
    texturing: np.random.Generator
    exposing: np.random.Generator
    joining: np.random.Generator


def posed_hand(
    seed: int, number: int, side: Side, ranges: PhantomRanges, pose: Pose | None = None
) -> tuple[Streams, Subject, Pose, PosedHand]:
    """Return the streams of one hand, the person, and the hand in a drawn pose or the one given.

    Raises
    ------
    ValueError
        When the side is neither ``"left"`` nor ``"right"``, or a number is negative.
    """
    if side not in SIDES:
        raise ValueError(f"side: expected 'left' or 'right', got {side!r}")
    check_numbers(seed=(seed, 0), number=(number, 0))
    key = [seed, number, 1 if side == "right" else 2]
    source = Streams(*(np.random.default_rng(child) for child in np.random.SeedSequence(key).spawn(6)))
    subject = subject_of(seed, number, ranges)
    pose = draw_pose(source.posing, ranges) if pose is None else pose
    return source, subject, pose, apply_pose(subject, pose)


def render_components(seed: int, number: int, side: Side, ranges: PhantomRanges, size: int) -> Components:
    """Render one hand of one person upright and fully in view, before any acquisition.

    The view is `size` pixels wide and a quarter higher, for the forearm. Parameters and errors are those of
    :func:`~handseg_monai.phantom.phantom.render_phantom`.
    """
    check_numbers(size=(size, MIN_SIZE))
    source, subject, _, hand = posed_hand(seed, number, side, ranges)
    view = place_upright(hand, side, size)
    return components_of(source, subject, hand, view, bone_polygons(subject, hand, view))


def components_of(
    source: Streams, subject: Subject, hand: PosedHand, view: View, polygons: tuple[tuple[Polygon, ...], ...]
) -> Components:
    """Render a posed hand in a view; `polygons` are its bones' outlines there."""
    size = view.size
    fine = view.resized(size * -(-_RENDERED // size) if size < _RENDERED else size)
    upright = fine.upright()
    tissue = make_tissue(source.fleshing, subject, hand, upright)
    soft = soft_attenuation(tissue, subject.flesh.fat, fine, upright)
    bone = bone_attenuation(source.texturing, subject, hand, fine)
    if fine.size != size:
        soft, bone = averaged(soft, view.shape), averaged(bone, view.shape)
    return Components(soft, bone, fill_polygons(polygons, view.shape), view.spacing, view.side)


def fill_polygons(polygons: tuple[tuple[Polygon, ...], ...], shape: Shape) -> NDArray[np.int32]:
    """Return (H, W) int32 bit planes of 29 bones' polygons, filled by ``cv2.fillPoly``, union per bone."""
    planes = np.zeros(shape, np.int32)
    for bone in range(NUM_BONES):
        for polygon in polygons[bone]:
            x0, y0 = polygon.min(axis=0)
            x1, y1 = polygon.max(axis=0) + 1
            mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
            cv2.fillPoly(mask, [polygon - (x0, y0)], 1)
            planes[y0:y1, x0:x1] |= mask.astype(np.int32) << bone
    return planes


def warped(parts: Components, matrix: NDArray[np.float64], shape: Shape) -> Components:
    """Return a view resampled by an affine map.

    Parameters
    ----------
    parts
        The view; its attenuations may be float16.
    matrix
        (2, 3): pixel (x, y) of the output to pixel of the input; the centre of the first pixel is (0, 0). One that
        mirrors makes a left hand a right one.
    shape
        (height, width) of the output.

    Returns
    -------
    Components
        Attenuations interpolated linearly, averaged first where the map reduces more than 1.3 times; planes from the
        nearest pixel, exact in value. Outside of the input everything is 0.
    """
    matrix = np.asarray(matrix, np.float64)
    determinant = float(np.linalg.det(matrix[:, :2]))
    reduction = float(np.sqrt(abs(determinant)))
    height, width = parts.shape
    inner, map_ = (height, width), matrix
    if reduction > 1.3:
        inner = max(round(height / reduction), 1), max(round(width / reduction), 1)
        scale = np.array([[inner[1] / width], [inner[0] / height]])
        map_ = matrix * scale
        map_[:, 2:] += 0.5 * scale - 0.5

    def linear(image: Floats) -> Floats:
        image = np.asarray(image, np.float32)
        small = averaged(image, inner) if reduction > 1.3 else image
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(small, map_, (shape[1], shape[0]), flags=flags), np.float32)

    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    planes = np.asarray(cv2.warpAffine(parts.planes, matrix, (shape[1], shape[0]), flags=flags), np.int32)
    side = OPPOSITE[parts.side] if determinant < 0 else parts.side
    return Components(linear(parts.soft), linear(parts.bone), planes, parts.spacing * reduction, side)
