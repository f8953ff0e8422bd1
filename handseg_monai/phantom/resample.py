"""OpenCV's resizing and blurring of float32 images, with the types that the rest relies on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shape = tuple[int, int]


def enlarged(image: Floats, shape: int | Shape, *, smooth: bool = False) -> Floats:
    """Return an image interpolated to (height, width), or to a square, linearly or, if `smooth`, with cubics."""
    method = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, _wide_high(shape), interpolation=method), np.float32)


def averaged(image: Floats, shape: int | Shape) -> Floats:
    """Return an image reduced to (height, width), or to a square, by area."""
    return np.asarray(cv2.resize(image, _wide_high(shape), interpolation=cv2.INTER_AREA), np.float32)


def blurred(image: Floats, deviation: float) -> Floats:
    """Return the image under a Gaussian of a standard deviation in pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), deviation), np.float32)


def limited(shape: Shape, longest: int) -> Shape:
    """Return the shape of the same aspect whose longer side is at most `longest` pixels, the other at least 4."""
    share = min(1.0, longest / max(shape))
    return max(round(shape[0] * share), 4), max(round(shape[1] * share), 4)


def _wide_high(shape: int | Shape) -> Shape:
    return (shape, shape) if isinstance(shape, int) else (shape[1], shape[0])
