"""Taking stray pieces off the bones."""

from __future__ import annotations

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import BONES, Group


def drop_pieces(planes: np.ndarray, least: float, least_carpal: float) -> np.ndarray:
    """Take off each bone, in a copy of bit planes, int32 (H, W), the pieces that are small beside its largest one.

    ``least`` is the area of the smallest piece to keep, share of the largest one's, 0 to 1; 1 keeps the largest one
    alone (of several as large: all). Pixels that touch at a corner belong to one piece. ``least_carpal`` is the same of
    carpal bones, which no ring or splint crosses.
    """
    result = planes.copy()
    for bone, box in boxes(planes):
        mask = ((planes[box] >> bone) & 1).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        if count < 3:
            continue
        area = stats[:, cv2.CC_STAT_AREA]
        share = least_carpal if BONES[bone].group is Group.CARPAL else least
        stray = area < share * area[1:].max()
        stray[0] = False
        if stray.any():
            result[box] &= ~(stray[labels].astype(np.int32) << np.int32(bone))
    return result
