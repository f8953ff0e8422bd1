"""What every adapter gives: one label of one image, not yet drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Missing = Literal["absent", "unknown"]
"""What a bone is that a source labels in some images, and not in this one."""


@dataclass(frozen=True)
class Label:
    """One label of one image."""

    image: Path
    """The radiograph."""
    source: str
    """The file, and the place in it, that errors name."""
    known: int
    """Bit k is set where bone k is labelled here; 0 where the source holds nothing of the image."""
    draw: Callable[[tuple[int, int]], np.ndarray]
    """Bit planes, int32 (H, W), of an image of (height, width). Raises ``ValueError`` for what can't be drawn, or does
    not fit an image of this size; the message leaves out the source."""
    upright: bool | None = None
    """Whether it lies on the image as viewers show it, turned by its EXIF orientation, or on the stored pixels; None
    where the form does not tell."""


def require_size(got: tuple[int, ...], shape: tuple[int, int]) -> None:
    """Raise ``ValueError`` for a label of another (height, width) than its image."""
    if tuple(got) != tuple(shape):
        raise ValueError(
            f"a label of {' x '.join(map(str, got[::-1]))} pixels for an image of {shape[1]} x {shape[0]}; "
            "expected the image's own size"
        )


def require_stated_size(stated: tuple[object, object], shape: tuple[int, int]) -> None:
    """Raise ``ValueError`` where a file states another (height, width) than its image's, or none in whole numbers.

    None states nothing.
    """
    if stated == (None, None):
        return
    try:
        numbers = [float(str(n)) for n in stated]
    except ValueError:
        numbers = [math.nan]
    if not all(n.is_integer() for n in numbers):
        raise ValueError(f"a label of height {stated[0]!r} and width {stated[1]!r}; expected whole numbers of pixels")
    require_size(tuple(int(n) for n in numbers), shape)
