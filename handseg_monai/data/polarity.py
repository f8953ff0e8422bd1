"""Whether bones are bright or dark in a radiograph whose bones are known."""

from __future__ import annotations

import math

import cv2
import numpy as np

_SIDE = 384
"""Long side at which is measured, pixels."""
_AROUND = 25
"""Side of the square whose middle counts as around a bone where the square touches it, in pixels of :data:`_SIDE`."""
NEGATIVE = -0.05
"""Brightness of bones below which a radiograph is a negative: bones are dark in it."""


def bone_brightness(image: np.ndarray, planes: np.ndarray) -> float:
    """By how much bones are brighter than what lies around them.

    Parameters
    ----------
    image
        Grey values, number (H, W).
    planes
        Bit planes of its bones, int32 (H, W).

    Returns
    -------
    brightness
        Difference of the mean grey values, -1 to 1, where 1 is that of the image's percentiles 0.5 and 99.5; NaN
        without bones, without anything around them, or of an even image.
    """
    scale = min(1.0, _SIDE / max(image.shape))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize((planes != 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    around = (cv2.dilate(inside, np.ones((_AROUND, _AROUND), np.uint8)) > 0) & (inside == 0)
    low, high = np.percentile(small, (0.5, 99.5))
    if not inside.any() or not around.any() or high <= low:
        return math.nan
    small = np.clip((small - low) / (high - low), 0, 1)
    return float(small[inside > 0].mean() - small[around].mean())
