"""What lies too far from all that it articulates with to be that bone."""

from __future__ import annotations

import numpy as np

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import NEIGHBOURS
from handseg_monai.transforms.drop_small import Box, area_scale


def drop_apart(planes: np.ndarray, most: float) -> np.ndarray:
    """Drop bones that lie far from each bone that they articulate with, or where none is there, from all others.

    A fingertip that the network sees at the end of the forearm is none. Distances are those between the bones'
    bounding boxes, which are never larger than those between the bones. On phantoms of ``hard``, adults' and
    children's, bones that are drawn right lie at most 24 mm apart.

    Parameters
    ----------
    planes
        int32 (H, W) bit planes; they are left as they are, and returned where nothing goes.
    most
        Distance beyond which a bone goes, millimetres of a hand of median size.
    """
    found = dict(boxes(planes))
    scale = area_scale(planes, found)
    if not scale:
        return planes
    farthest = most * np.sqrt(scale)
    gone = 0
    for bone, box in found.items():
        beside = [other for pair in NEIGHBOURS if bone in pair for other in pair if other != bone and other in found]
        others = beside or [other for other in found if other != bone]
        if min(_distance(box, found[other]) for other in others) > farthest:
            gone |= 1 << bone
    return planes & np.int32(~gone) if gone else planes


def _distance(a: Box, b: Box) -> float:
    """Distance between two boxes, pixels; 0 where they meet."""
    gaps = [max(one.start - other.stop, other.start - one.stop, 0) for one, other in zip(a, b, strict=True)]
    return float(np.hypot(*gaps))
