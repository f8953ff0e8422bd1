"""Dictionary transform that fills holes of bones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from handseg_monai.bitplanes import boxes


def fill_holes(planes: np.ndarray, most: float) -> np.ndarray:
    """Fill the holes of each bone: the silhouette of a bone has none.

    Parameters
    ----------
    planes
        int32 (H, W) bit planes; they are left as they are.
    most
        Area of the largest hole to fill, share of the bone's, 0 to 1. Pixels of a hole hang together at their sides;
        what opens to the outside at a corner alone is a hole.
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


class FillHolesd(MapTransform):
    """Fill the holes of each bone; see :func:`fill_holes`.

    Parameters
    ----------
    keys
        Keys of bit planes, int32 (1, H, W), on any device. Items that carry ``failure`` pass unchanged.
    most
        See :func:`fill_holes`; 0 fills none.
    """

    def __init__(self, keys: KeysCollection, most: float) -> None:
        super().__init__(keys)
        if not 0 <= most <= 1:
            raise ValueError(f"most: expected a share from 0 to 1, got {most}")
        self.most = most

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        if "failure" in result or self.most == 0:
            return result
        for key in self.keys:
            planes = result[key]
            filled = fill_holes(planes[0].cpu().numpy(), self.most)
            result[key] = torch.from_numpy(filled)[None].to(planes.device)
        return result
