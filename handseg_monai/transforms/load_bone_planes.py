"""Dictionary transform that reads a competition label into bit planes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from handseg_monai.bitplanes import rasterise
from handseg_monai.data.competition import read_polygons
from handseg_monai.transforms.load_radiograph import fitted_shape


class LoadBonePlanesd(MapTransform):
    """Read a label file into bit planes at the working size.

    Comes after :class:`~handseg_monai.transforms.LoadRadiographd`, whose ``image_size`` says which pixels the
    polygons refer to.

    Parameters
    ----------
    keys
        Keys of paths of JSON files. The result is int32 (1, H, W), bit k = bone k.
    size
        Long side in pixels, the same as the image's; None keeps the stored size.

    Raises
    ------
    LabelError
        See :func:`handseg_monai.data.competition.read_polygons`.
    """

    def __init__(self, keys: KeysCollection, size: int | None = None) -> None:
        super().__init__(keys)
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        height, width = (int(n) for n in result["image_size"])
        for key in self.keys:
            polygons = read_polygons(result[key], (height, width))
            planes = rasterise(polygons, (height, width), fitted_shape((height, width), self.size))
            result[key] = torch.from_numpy(planes[None])
        return result
