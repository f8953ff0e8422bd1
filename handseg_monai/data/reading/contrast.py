"""Whether anything can be seen on a picture, and in which range its greys lie."""

from __future__ import annotations

import numpy as np

_FEW = 0.005
"""Share of the pixels that the network's scaling leaves out at either end."""
_GREATEST = 1e30
"""Beyond it sums and squares of float32 may overflow."""


def require_contrast(pixels: np.ndarray) -> None:
    """Raise ``ValueError`` if all pixels of a picture, (H, W) or (H, W, 3), have the same value."""
    if pixels.size and pixels.min() == pixels.max():
        raise ValueError("all pixels have the same value: nothing can be seen; export the image again")


def has_greys(pixels: np.ndarray) -> bool:
    """Whether more than stray pixels of a picture lie between its darkest and its brightest value."""
    return bool(((pixels > pixels.min()) & (pixels < pixels.max())).mean() >= _FEW)


def in_range(pixels: np.ndarray) -> np.ndarray:
    """Return greys in float32, those of a size with which float32 can't calculate scaled to the range 0 to 1."""
    low, high = float(pixels.min()), float(pixels.max())
    if max(abs(low), abs(high)) > _GREATEST:
        pixels = (pixels.astype(np.float64) - low) / ((high - low) or 1.0)
    return pixels.astype(np.float32, copy=False)
