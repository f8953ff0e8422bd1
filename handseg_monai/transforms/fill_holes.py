"""Filling the holes of bones."""

from __future__ import annotations

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes


def fill_holes(planes: np.ndarray, most: float) -> np.ndarray:
    """Fill the holes of each bone in a copy of bit planes, int32 (H, W): the silhouette of a bone has none.

    ``most`` is the area of the largest hole to fill, share of the bone's, 0 to 1. Pixels of a hole hang together at
    their sides; what opens to the outside at a corner alone is a hole.
    """
    result = planes.copy()
    for bone, box in boxes(planes):
        mask = ((planes[box] >> bone) & 1).astype(np.uint8)
        outside = cv2.copyMakeBorder(1 - mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=4)
        if count < 3:
            continue
        hole = stats[:, cv2.CC_STAT_AREA] <= most * np.count_nonzero(mask)
        # Label 0 is the bone; what lies in the corner of the border is the outside.
        hole[[0, labels[0, 0]]] = False
        result[box] |= hole[labels[1:-1, 1:-1]].astype(np.int32) << np.int32(bone)
    return result
