"""Dictionary transform that takes from predicted masks what no hand has."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from handseg_monai.transforms.drop_apart import drop_apart
from handseg_monai.transforms.drop_covered import drop_covered
from handseg_monai.transforms.drop_pieces import drop_pieces
from handseg_monai.transforms.drop_small import drop_small
from handseg_monai.transforms.fill_holes import fill_holes


class CleanPlanesd(MapTransform):
    """Drop covered pieces, stray pieces, small bones and bones apart, then fill holes: one copy to the CPU and back.

    All shares are from 0 to 1.

    Parameters
    ----------
    keys
        Keys of bit planes, int32 (K, H, W), each of one hand, on any device. Items that carry ``failure`` pass
        unchanged.
    most_covered
        Of :func:`drop_covered`; 1 keeps everything.
    least_piece, least_carpal_piece
        Of :func:`drop_pieces`; 0 and 0 keep everything.
    least_bone
        Of :func:`drop_small`; 0 keeps everything.
    most_apart
        Of :func:`drop_apart`, millimetres of a hand of median size; 0 keeps everything.
    most_hole
        Of :func:`fill_holes`; 0 fills none.
    """

    def __init__(
        self,
        keys: KeysCollection,
        most_covered: float,
        least_piece: float,
        least_carpal_piece: float,
        least_bone: float,
        most_apart: float,
        most_hole: float,
    ) -> None:
        super().__init__(keys)
        shares = {
            "most_covered": most_covered,
            "least_piece": least_piece,
            "least_carpal_piece": least_carpal_piece,
            "least_bone": least_bone,
            "most_hole": most_hole,
        }
        for name, share in shares.items():
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {share!r}")
        if isinstance(most_apart, bool) or not isinstance(most_apart, int | float) or not 0 <= most_apart < math.inf:
            raise ValueError(f"most_apart: expected millimetres, 0 or more, got {most_apart!r}")
        self.most_apart = most_apart
        self.most_covered, self.least_bone, self.most_hole = most_covered, least_bone, most_hole
        self.least_piece, self.least_carpal_piece = least_piece, least_carpal_piece

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        if "failure" in result:
            return result
        for key in self.keys:
            cleaned = [torch.from_numpy(self._clean(planes)) for planes in result[key].cpu().numpy()]
            result[key] = torch.stack(cleaned).to(result[key].device)
        return result

    def _clean(self, planes: np.ndarray) -> np.ndarray:
        if self.most_covered < 1:
            planes = drop_covered(planes, self.most_covered)
        if self.least_piece > 0 or self.least_carpal_piece > 0:
            planes = drop_pieces(planes, self.least_piece, self.least_carpal_piece)
        if self.least_bone > 0:
            planes = drop_small(planes, self.least_bone)
        if self.most_apart > 0:
            planes = drop_apart(planes, self.most_apart)
        if self.most_hole > 0:
            planes = fill_holes(planes, self.most_hole)
        return planes
