"""Dictionary transform that reads a label into bit planes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from handseg_monai.bones import ALL_KNOWN
from handseg_monai.data.layouts import read_truth
from handseg_monai.transforms.load_radiograph import fitted_shape


class LoadBonePlanesd(MapTransform):
    """Read a label file into bit planes at the working size.

    Comes after :class:`~handseg_monai.transforms.LoadRadiographd`, whose ``image_size`` says which pixels the
    label refers to. ``known`` becomes an int32 scalar: the item's own, or all 29 bones where it has none.
    Raises as :func:`~handseg_monai.data.layouts.read_truth`.

    Parameters
    ----------
    keys
        Keys of paths of label files, of the competition or converted. The result is int32 (1, H, W), bit k = bone k.
    size
        Long side in pixels, the same as the image's; None keeps the stored size.
    """

    def __init__(self, keys: KeysCollection, size: int | None = None) -> None:
        super().__init__(keys)
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        height, width = (int(n) for n in result["image_size"])
        for key in self.keys:
            planes = read_truth(result[key], (height, width), fitted_shape((height, width), self.size))
            result[key] = torch.from_numpy(planes[None])
        result["known"] = torch.tensor(int(result.get("known", ALL_KNOWN)), dtype=torch.int32)
        return result
