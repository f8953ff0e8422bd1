"""What a picture file stores: samples and their meaning, and the checks that readers of all formats make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap

import numpy as np

Content = bytes | mmap
"""The bytes of a file, or a map of the file, of which only the header is looked at."""
CheckSize = Callable[[tuple[int, int]], None]
"""Raises ``ValueError`` for a (height, width) that is not wanted; readers call it before they decode anything."""
DEFLATED = 1032
"""Bytes that one byte of deflate holds at most."""


@dataclass(frozen=True)
class Samples:
    """Samples of one picture in its stored pixel grid."""

    values: np.ndarray
    """(H, W): grey values, 0 is black, or indices of the palette. Or (H, W, 3): red, green, blue. Numbers of fewer than
    8 or 16 bits are as stored, in uint8 or uint16."""
    bits: int
    """Of a sample."""
    palette: np.ndarray | None = None
    """uint8 (N, 3): red, green, blue."""
    alpha: np.ndarray | None = None
    """(H, W)."""
    lossy: bool = False
    """Whether the file has not kept the values that were written to it."""
    turned: bool = False
    """Whether 0 is white in the file."""


def damaged(detail: str) -> ValueError:
    """Make the error for a file that is not whole."""
    return ValueError(f"not an image, or cut short or damaged ({detail})")


def several(count: int) -> ValueError:
    """Make the error for a file of more than one picture."""
    return ValueError(f"holds {count} pictures; expected one")


def require_pixels(shape: tuple[int, int], max_pixels: int) -> None:
    """Raise ``ValueError`` for a picture of more than ``max_pixels`` pixels."""
    if shape[0] * shape[1] > max_pixels:
        raise ValueError(
            f"{shape[1]} x {shape[0]} pixels are more than {max_pixels}, the most that the command reads; "
            "shrink the image, or raise --max_pixels where the command has it"
        )


def require_dense(wanted: int, stored: int, ratio: int = DEFLATED) -> None:
    """Raise ``ValueError`` where ``stored`` bytes can't hold the ``wanted`` bytes that the header promises."""
    if wanted > ratio * stored:
        raise damaged(f"its header promises {wanted} bytes of pixels, and {stored} bytes can't hold them")


def unpack(rows: np.ndarray, count: int, bits: int) -> np.ndarray:
    """Unpack samples of fewer than 16 bits, the first in the highest bits.

    Parameters
    ----------
    rows
        uint8 (H, B): rows of whole bytes.
    count
        Samples in a row.
    bits
        Of a sample.

    Returns
    -------
    samples
        uint8, or uint16 of more than 8 bits: (H, ``count``).
    """
    from imagecodecs import packints_decode

    flat = packints_decode(rows.tobytes(), "uint8" if bits <= 8 else "uint16", bits, runlen=count)
    return np.asarray(flat).reshape(len(rows), count)
