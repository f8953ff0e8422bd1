"""Dictionary transform that drops carpal bones drawn over one another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import APART


def drop_covered(planes: np.ndarray, most: float) -> np.ndarray:
    """Drop carpal bones that lie mostly within another one, where in a hand the two lie apart.

    Of two such bones the smaller is dropped: it is drawn where it is not, as happens in young children whose bone has
    not ossified yet. Which pairs lie apart says :data:`~handseg_monai.bones.APART`. Bones that the image's border cuts
    are left: what it leaves of two may well be the part that they share.

    Parameters
    ----------
    planes
        int32 (H, W) bit planes; they are left as they are.
    most
        Greatest share of the smaller bone that the larger one may cover, 0 to 1; 1 keeps everything.
    """
    cut = np.bitwise_or.reduce(np.concatenate([planes[0], planes[-1], planes[:, 0], planes[:, -1]]))
    where = {k: box for k, box in boxes(planes) if not cut >> k & 1}
    area = {k: int(np.count_nonzero(planes[box] & np.int32(1 << k))) for k, box in where.items()}
    dropped = 0
    for pair in APART:
        if pair[0] in area and pair[1] in area:
            small = min(pair, key=lambda k: area[k])
            both = np.int32(1 << pair[0] | 1 << pair[1])
            shared = int(np.count_nonzero((planes[where[small]] & both) == both))
            if shared > most * area[small]:
                dropped |= 1 << small
    return planes & np.int32(~dropped)


class DropCoveredd(MapTransform):
    """Drop carpal bones that lie mostly within another one; see :func:`drop_covered`.

    Parameters
    ----------
    keys
        Keys of bit planes, int32 (1, H, W), on any device. Items that carry ``failure`` pass unchanged.
    most
        See :func:`drop_covered`; 1 keeps everything.
    """

    def __init__(self, keys: KeysCollection, most: float) -> None:
        super().__init__(keys)
        if not 0 <= most <= 1:
            raise ValueError(f"most: expected a share from 0 to 1, got {most}")
        self.most = most

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        if "failure" in result or self.most == 1:
            return result
        for key in self.keys:
            planes = result[key]
            kept = drop_covered(planes[0].cpu().numpy(), self.most)
            result[key] = torch.from_numpy(kept)[None].to(planes.device)
        return result
