"""Whether anything can be seen on a picture."""

from __future__ import annotations

import numpy as np

_FEW = 0.005
"""Share of the pixels that the network's scaling leaves out at either end."""


def require_contrast(pixels: np.ndarray) -> None:
    """Raise ``ValueError`` if all pixels of a picture, (H, W) or (H, W, 3), have the same value."""
    if pixels.size and pixels.min() == pixels.max():
        raise ValueError("all pixels have the same value: nothing can be seen; export the image again")


def has_greys(pixels: np.ndarray) -> bool:
    """Whether more than stray pixels of a picture lie between its darkest and its brightest value."""
    return bool(((pixels > pixels.min()) & (pixels < pixels.max())).mean() >= _FEW)
