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
    """Whether a picture has values between its darkest and its brightest, and more than stray pixels of each kind."""
    above, below = pixels > pixels.min(), pixels < pixels.max()
    return min(above.mean(), below.mean()) >= _FEW and bool((above & below).any())
