"""Dictionary transform that drops carpal bones drawn over one another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import APART, BONES, Group

_CARPALS = [bone.index for bone in BONES if bone.group is Group.CARPAL]


def drop_covered(planes: np.ndarray, most: float, alike: float) -> np.ndarray:
    """Drop carpal bones that are drawn over another one, as happens in children whose bone has not ossified yet.

    Of two bones that lie apart in a hand (:data:`~handseg_monai.bones.APART`) the smaller is dropped where it lies
    mostly within the other one. Of any two the smaller is dropped where both have nearly the same outline: pisiform and
    triquetrum lie over one another, yet no two bones of a hand cover the same pixels. Bones that the image's border
    cuts are left: what it leaves of two may well be the part that they share.

    Parameters
    ----------
    planes
        int32 (H, W) bit planes; they are left as they are.
    most
        Greatest share of the smaller of two bones that lie apart which the larger one may cover, 0 to 1; 1 keeps all.
    alike
        Greatest intersection over union of any two, 0 to 1; 1 keeps all.
    """
    cut = np.bitwise_or.reduce(np.concatenate([planes[0], planes[-1], planes[:, 0], planes[:, -1]]))
    where = {k: box for k, box in boxes(planes) if not cut >> k & 1}
    area = {k: int(np.count_nonzero(planes[box] & np.int32(1 << k))) for k, box in where.items()}
    dropped = 0
    for pair in combinations([k for k in _CARPALS if k in area], 2):
        small, large = sorted(pair, key=lambda k: area[k])
        both = np.int32(1 << small | 1 << large)
        shared = int(np.count_nonzero((planes[where[small]] & both) == both))
        covered = pair in APART and shared > most * area[small]
        if covered or shared > alike * (area[small] + area[large] - shared):
            dropped |= 1 << small
    return planes & np.int32(~dropped)


class DropCoveredd(MapTransform):
    """Drop carpal bones that are drawn over another one; see :func:`drop_covered`.

    Parameters
    ----------
    keys
        Keys of bit planes, int32 (1, H, W), on any device. Items that carry ``failure`` pass unchanged.
    most, alike
        See :func:`drop_covered`; 1 and 1 keep everything.
    """

    def __init__(self, keys: KeysCollection, most: float, alike: float) -> None:
        super().__init__(keys)
        for name, share in (("most", most), ("alike", alike)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {share}")
        self.most, self.alike = most, alike

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        if "failure" in result or self.most == self.alike == 1:
            return result
        for key in self.keys:
            planes = result[key]
            kept = drop_covered(planes[0].cpu().numpy(), self.most, self.alike)
            result[key] = torch.from_numpy(kept)[None].to(planes.device)
        return result
