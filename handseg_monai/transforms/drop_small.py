"""What is too small to be a bone of the hand that it lies in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from handseg_monai.bitplanes import areas, boxes
from handseg_monai.bones import BONES, Group
from handseg_monai.plausibility.ranges import load_ranges

Box = tuple[slice, slice]
_LONG = frozenset(bone.index for bone in BONES if bone.group not in (Group.CARPAL, Group.FOREARM))
_FOREARM = frozenset(bone.index for bone in BONES if bone.group is Group.FOREARM)
_TELLING = 3
"""Bones of hand and wrist that must lie whole in the image for its scale to be known."""
_COVERED = 0.5
"""Share of a cut bone that others may cover."""
_SPECK = 0.08
"""Share of the least area of a finger bone below which anything is a speck; carpal bones begin as small dots."""


def drop_small(planes: np.ndarray, least: float) -> np.ndarray:
    """Drop bones that are too small beside the others of the hand: phalanges, metacarpals, and specks of any bone.

    Each bone's area is compared with its usual one (:class:`~handseg_monai.plausibility.ranges.PlausibleRanges`), and
    the median over the bones that lie whole in the image is the hand's scale. Of phantoms no finger bone that lies
    whole in the image, however bent, has less than 0.38 of its usual area. A bone that the image's border cuts may
    well be small; of those, finger bones go that other bones mostly cover, and specks.

    Parameters
    ----------
    planes
        int32 (H, W) bit planes; they are left as they are, and returned where nothing goes.
    least
        Area below which a phalanx or metacarpal goes, share of the usual one, 0 to 1. Carpal bones are small when they
        begin to ossify: they, the forearm, and bones that the border cuts go below 8 % of that.
    """
    found = dict(boxes(planes))
    ratio = areas(planes) / load_ranges().area
    scale = area_scale(planes, found)
    if not scale:
        return planes
    ratio /= scale
    gone = 0
    for bone, box in found.items():
        if ratio[bone] >= least:
            continue
        is_whole = _is_whole(box, planes.shape)
        small = bone in _LONG and (is_whole or _covered(planes[box], bone) > _COVERED)
        if small or ratio[bone] < _SPECK * least:
            gone |= 1 << bone
    return planes & np.int32(~gone) if gone else planes


def area_scale(planes: np.ndarray, found: Mapping[int, Box]) -> float:
    """Area of a hand's bones relative to those of a hand of median size, by the bones that lie whole in the image.

    Parameters
    ----------
    planes
        int32 (H, W) bit planes.
    found
        Box of each bone that is there, as :func:`~handseg_monai.bitplanes.boxes` gives them.

    Returns
    -------
    scale
        Pixels for each square millimetre of a hand of median size; 0 where fewer than three bones of hand and wrist
        lie whole in the image.
    """
    telling = [bone for bone, box in found.items() if bone not in _FOREARM and _is_whole(box, planes.shape)]
    if len(telling) < _TELLING:
        return 0.0
    return float(np.median((areas(planes) / load_ranges().area)[telling]))


def _is_whole(box: Box, shape: tuple[int, ...]) -> bool:
    return all(side.start > 0 and side.stop < length for side, length in zip(box, shape, strict=True))


def _covered(planes: np.ndarray, bone: int) -> float:
    """Share of a bone that lies under others."""
    own = planes[planes & np.int32(1 << bone) != 0]
    return float(np.mean(own != np.int32(1 << bone)))
