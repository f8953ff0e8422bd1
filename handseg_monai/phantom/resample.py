"""OpenCV's resizing and blurring of float32 images, with the types that the rest relies on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def enlarged(image: Floats, size: int, *, smooth: bool = False) -> Floats:
    """Return a square image interpolated to (size, size), linearly or, if `smooth`, with cubics."""
    method = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=method), np.float32)


def averaged(image: Floats, size: int) -> Floats:
    """Return a square image reduced to (size, size) by area."""
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def blurred(image: Floats, deviation: float) -> Floats:
    """Return the image under a Gaussian of a standard deviation in pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), deviation), np.float32)
