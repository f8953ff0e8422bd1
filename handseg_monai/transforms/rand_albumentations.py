"""Dictionary transform that runs albumentations on a radiograph and its bit planes together."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, RandomizableTransform

# Set before the import: albumentations asks a server for its newest version as it loads.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A


class RandAlbumentationsd(RandomizableTransform, MapTransform):
    """Run albumentations' transforms on a radiograph and its bit planes together.

    Geometric transforms take bit planes with nearest neighbour, which is exact; pixel transforms leave them alone.
    The draw comes from MONAI's random state, and so is reproducible whatever the number of workers. (Left to itself
    albumentations copies its generator into forked workers and repeats it in every epoch.)

    Parameters
    ----------
    image_key, label_key
        Keys of float32 (1, H, W) in [0, 1] and of int32 (1, H, W).
    transforms
        Albumentations' transforms, in the order in which they run. Those that choose an interpolation for masks are
        set to nearest neighbour.
    """

    def __init__(self, image_key: str, label_key: str, transforms: Sequence[A.BasicTransform | A.BaseCompose]) -> None:
        MapTransform.__init__(self, (image_key, label_key))
        RandomizableTransform.__init__(self, prob=1.0)
        self.image_key, self.label_key = image_key, label_key
        self.compose = A.Compose(list(transforms), mask_interpolation=0)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        self.compose.set_random_seed(int(self.R.randint(2**31 - 1)))
        image, planes = (np.asarray(result[key])[0] for key in (self.image_key, self.label_key))
        warped = self.compose(image=image[..., None], mask=planes)
        # Overshoot of cubic or noise transforms must not leave the range that the network sees in inference.
        image = np.clip(warped["image"][..., 0], 0, 1)
        result[self.image_key] = torch.from_numpy(np.ascontiguousarray(image)[None])
        result[self.label_key] = torch.from_numpy(np.ascontiguousarray(warped["mask"])[None])
        return result
