"""Dictionary transform that stretches the grey values between two percentiles to [0, 1]."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform


class ScalePercentilesd(MapTransform):
    """Map two percentiles of an image's grey values to 0 and 1, linearly, and cut what lies beyond.

    The result is that of MONAI's ``ScaleIntensityRangePercentilesd`` with ``clip=True`` to float32's precision, but for
    an image whose two percentiles are one value, which becomes 0 up to that value and 1 above, rather than keep its
    grey values. Whole values of 8 bits, which most radiographs have after loading, are counted instead of sorted.

    Parameters
    ----------
    keys
        Keys of images, float32 (..., H, W), finite. The result has the same shape and dtype.
    lower, upper
        Percentiles, 0 <= lower < upper <= 100.
    """

    def __init__(self, keys: KeysCollection, lower: float, upper: float) -> None:
        super().__init__(keys)
        if not 0 <= lower < upper <= 100:
            raise ValueError(f"lower and upper are percentiles, 0 <= lower < upper <= 100; got {lower} and {upper}")
        self.percentiles = (lower, upper)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.keys:
            image = np.asarray(result[key])
            flat = image.reshape(-1, image.shape[-1])
            with np.errstate(invalid="ignore"):  # values beyond those of bytes
                bytes_ = flat.astype(np.uint8)
            if np.array_equal(bytes_, flat):
                low, high = _percentiles_of_bytes(bytes_, self.percentiles)
                scaled = cv2.LUT(bytes_, _scaled(np.arange(256, dtype=np.float32), low, high))
            else:
                low, high = np.percentile(flat, self.percentiles)
                scaled = _scaled(flat, low, high)
            result[key] = torch.from_numpy(scaled.reshape(image.shape))
        return result


def _percentiles_of_bytes(values: np.ndarray, percentiles: tuple[float, float]) -> tuple[float, float]:
    """Percentiles of uint8 (M, N), interpolated linearly as NumPy does."""
    up_to = np.cumsum(cv2.calcHist([values], [0], None, [256], [0, 256]).ravel().astype(np.int64))
    places = np.array(percentiles) / 100 * (values.size - 1)
    below = np.searchsorted(up_to, np.floor(places), side="right")
    above = np.searchsorted(up_to, np.ceil(places), side="right")
    low, high = below + (above - below) * (places - np.floor(places))
    return float(low), float(high)


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    first, last = np.float32(low), np.float32(high)
    if last <= first:
        return (values > first).astype(np.float32)
    return (np.clip(values, first, last) - first) / (last - first)
