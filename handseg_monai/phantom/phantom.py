"""One phantom: subject, pose, view and exposure drawn from a key, and the labels that belong to the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handseg_monai.bones import Side
from handseg_monai.phantom.acquisition.exposure import expose
from handseg_monai.phantom.components import (
    MIN_SIZE,
    components_of,
    fill_polygons,
    posed_hand,
    render_components,
)
from handseg_monai.phantom.placement import place
from handseg_monai.phantom.pose import Pose, PosedHand
from handseg_monai.phantom.presets import PhantomRanges
from handseg_monai.phantom.processes import check_numbers
from handseg_monai.phantom.radiograph import Polygon, bone_polygons
from handseg_monai.phantom.second_hand import add_second_hand
from handseg_monai.phantom.view import OPPOSITE, View

_OTHER = 1024
"""A second hand that reaches into the image is rendered at this size at most, pixels."""


@dataclass(frozen=True)
class Phantom:
    """A synthetic radiograph with its truth."""

    image: NDArray[np.uint8]
    """(H, W) uint8 radiograph."""
    planes: NDArray[np.int32]
    """(H, W) int32, bit k = bone k; silhouettes overlap."""
    polygons: tuple[tuple[Polygon, ...], ...]
    """For each of the 29 bones its outlines, (N, 2) int32 in pixels; none for a bone outside of the image."""
    side: Side
    """``"left"`` or ``"right"``."""
    pose: Pose
    """Joint angles in degrees, the wrist's deviation among them."""
    spacing: float
    """Millimetres per pixel."""
    hand: PosedHand
    view: View
    """The posed bones (millimetres) and their place in the image."""


def render_planes(
    seed: int, number: int, side: Side, ranges: PhantomRanges, size: int
) -> tuple[NDArray[np.int32], float]:
    """Return bit planes (H, W) int32 and millimetres per pixel of :func:`render_phantom`, without a radiograph."""
    source, subject, _, hand = posed_hand(seed, number, side, ranges)
    view = place(source.placing, ranges, hand, side, size)
    return fill_polygons(bone_polygons(subject, hand, view), view.shape), view.spacing


def render_phantom(
    seed: int, number: int, side: Side, ranges: PhantomRanges, size: int | None = None, *, pose: Pose | None = None
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
        Longer side of the image in pixels, >= 64; None draws it from ``ranges.long_side``.
    pose
        Pose to use in place of a drawn one.

    Raises
    ------
    ValueError
        When the side is neither, or the size or a number is too small.
    ImportError
        When a package of the extra ``phantom`` is missing.
    """
    if size is not None:
        check_numbers(size=(size, MIN_SIZE))
    source, subject, pose, hand = posed_hand(seed, number, side, ranges, pose)
    view = place(source.placing, ranges, hand, side, size)
    polygons = bone_polygons(subject, hand, view)
    parts = components_of(source, subject, hand, view, polygons)
    if source.joining.random() < ranges.second_hand_share:
        other = render_components(seed, number, OPPOSITE[side], ranges, min(view.size, _OTHER))
        parts = add_second_hand(source.joining, parts, other)
    image = expose(source.exposing, ranges, parts)
    return Phantom(image, parts.planes, polygons, side, pose, view.spacing, hand, view)
