"""Dictionary transform that takes stray pieces off the bones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from handseg_monai.bitplanes import boxes


def drop_pieces(planes: np.ndarray, least: float) -> np.ndarray:
    """Take off each bone the pieces that are small beside its largest one.

    Parameters
    ----------
    planes
        int32 (H, W) bit planes; they are left as they are.
    least
        Area of the smallest piece to keep, share of the largest one's, 0 to 1; 1 keeps the largest one alone (of
        several as large: all). Pixels that touch at a corner belong to one piece.
    """
    result = planes.copy()
    for bone, box in boxes(planes):
        mask = ((planes[box] >> bone) & 1).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        if count < 3:
            continue
        area = stats[:, cv2.CC_STAT_AREA]
        stray = area < least * area[1:].max()
        stray[0] = False
        if stray.any():
            result[box] &= ~(stray[labels].astype(np.int32) << np.int32(bone))
    return result


class DropPiecesd(MapTransform):
    """Take off each bone the pieces that are small beside its largest one; see :func:`drop_pieces`.

    Parameters
    ----------
    keys
        Keys of bit planes, int32 (1, H, W), on any device. Items that carry ``failure`` pass unchanged.
    least
        See :func:`drop_pieces`; 0 keeps everything.
    """

    def __init__(self, keys: KeysCollection, least: float) -> None:
        super().__init__(keys)
        if not 0 <= least <= 1:
            raise ValueError(f"least: expected a share from 0 to 1, got {least}")
        self.least = least

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        if "failure" in result or self.least == 0:
            return result
        for key in self.keys:
            planes = result[key]
            kept = drop_pieces(planes[0].cpu().numpy(), self.least)
            result[key] = torch.from_numpy(kept)[None].to(planes.device)
        return result
