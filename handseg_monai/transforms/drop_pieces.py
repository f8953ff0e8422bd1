"""Dictionary transform that takes stray pieces off the bones."""

from __future__ import annotations

import cv2
import numpy as np
from monai.config import KeysCollection

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import BONES, Group
from handseg_monai.transforms.map_planes import MapPlanesd


def drop_pieces(planes: np.ndarray, least: float, least_carpal: float) -> np.ndarray:
    """Take off each bone the pieces that are small beside its largest one.

    Parameters
    ----------
    planes
        int32 (H, W) bit planes; they are left as they are.
    least
        Area of the smallest piece to keep, share of the largest one's, 0 to 1; 1 keeps the largest one alone (of
        several as large: all). Pixels that touch at a corner belong to one piece.
    least_carpal
        The same of carpal bones, which no ring or splint crosses.
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


class DropPiecesd(MapPlanesd):
    """Take off each bone the pieces that are small beside its largest one; see :func:`drop_pieces`.

    Parameters
    ----------
    keys
        Keys of bit planes, int32 (1, H, W), on any device. Items that carry ``failure`` pass unchanged.
    least, least_carpal
        See :func:`drop_pieces`; 0 and 0 keep everything.
    """

    def __init__(self, keys: KeysCollection, least: float, least_carpal: float) -> None:
        super().__init__(keys, least == least_carpal == 0, least=least, least_carpal=least_carpal)
        self.least, self.least_carpal = least, least_carpal

    def changed(self, planes: np.ndarray) -> np.ndarray:
        """See :class:`~handseg_monai.transforms.map_planes.MapPlanesd`."""
        return drop_pieces(planes, self.least, self.least_carpal)
