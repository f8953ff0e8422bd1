"""Dictionary transform that reads a radiograph and brings its long side to the working size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.images import read_radiograph
from handseg_monai.drawing import grey8, shrink


def fitted_shape(shape: tuple[int, int], size: int | None) -> tuple[int, int]:
    """(height, width) of an image of ``shape`` once its long side is ``size``; ``shape`` itself if that is None.

    A short side never falls below one pixel.
    """
    if size is None:
        return shape
    scale = size / max(shape)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


class LoadRadiographd(MapTransform):
    """Read a radiograph and bring its long side to ``size``, aspect kept.

    A smaller image is averaged over areas, a larger one interpolated linearly; pixel centres are aligned. Beside the
    image the transform sets ``image_size``, int64 (2,): height and width as stored, which labels and results refer
    to. Raises as :func:`~handseg_monai.data.reading.images.read_radiograph`.

    Parameters
    ----------
    keys
        Keys of paths, or of radiographs (H, W) as
        :func:`~handseg_monai.data.reading.images.read_radiograph` gives them. The result is float32 (1, H, W), grey
        values as stored.
    size
        Long side in pixels; None keeps the stored size.
    any_body_part
        Whether DICOM that says to show another part of the body than the hand is taken.
    picture_side
        Long side, at most, of a ``picture`` to show, uint8 (h, w), that the transform sets too, so that whoever draws
        on the radiograph need not read it again; None sets none.
    max_pixels
        Pixels of an image at most; see :func:`~handseg_monai.data.reading.images.read_radiograph`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int | None = None,
        any_body_part: bool = True,
        picture_side: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__(keys)
        self.size = size
        self.any_body_part = any_body_part
        self.picture_side = picture_side
        self.max_pixels = max_pixels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.keys:
            given = result[key]
            is_read = isinstance(given, np.ndarray)
            stored = given if is_read else read_radiograph(given, self.any_body_part, self.max_pixels)
            if self.picture_side is not None:
                result["picture"] = torch.from_numpy(grey8(shrink(stored, self.picture_side)))
            if stored.dtype != np.uint8:  # 12 bits and 16 are averaged alike
                stored = stored.astype(np.float32)
            height, width = fitted_shape((stored.shape[0], stored.shape[1]), self.size)
            image = stored
            if (height, width) != stored.shape:
                smaller = height < stored.shape[0] or width < stored.shape[1]
                image = cv2.resize(
                    stored, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
                )
            result[key] = torch.from_numpy(image.astype(np.float32)[None])
            result["image_size"] = torch.tensor(stored.shape)
        return result
