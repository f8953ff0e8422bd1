"""How a viewer turns a picture for display: the orientation in EXIF or TIFF, which the project's pixels ignore."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from handseg_monai.data.reading.tiff_header import BIG, CLASSIC, tiff_orientation

UPRIGHT = 1
_STORED_FROM_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda planes: planes,
    2: np.fliplr,
    3: lambda planes: np.rot90(planes, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda planes: np.rot90(planes, 1),
    7: lambda planes: np.rot90(planes.T, 2),
    8: lambda planes: np.rot90(planes, -1),
}


def orientation(path: str | Path) -> int:
    """Orientation of a picture, 1 to 8, from its header; 1, upright, where it states none or can't be read."""
    # Pillow opens fewer kinds of TIFF than are read.
    stated = _of_tiff(Path(path)) or _by_pillow(path)
    return stated if stated in _STORED_FROM_UPRIGHT else UPRIGHT


def _of_tiff(path: Path) -> int | None:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return tiff_orientation(content) if content[:4] in (*CLASSIC, *BIG) else None
    except (OSError, ValueError):
        return None


def _by_pillow(path: str | Path) -> int:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # which is about decoding
    try:
        with Image.open(path) as image:
            if image.format == "PNG" and not _holds_exif(path):  # Pillow would decode all of it in search of one
                return UPRIGHT
            stated = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
            stated = stated[0] if isinstance(stated, bytes) and stated else stated
            return int(stated) if stated in _STORED_FROM_UPRIGHT else UPRIGHT
    except (OSError, ValueError, SyntaxError, TypeError):
        return UPRIGHT
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _holds_exif(path: str | Path) -> bool:
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(mark) >= 0 for mark in (b"eXIf", b"Raw profile type", b"tiff:Orientation"))


def upright_shape(shape: tuple[int, int], stated: int) -> tuple[int, int]:
    """(height, width) that a viewer shows of a picture of ``shape``, turned by its orientation."""
    return (shape[1], shape[0]) if stated > 4 else shape


def stored_from_upright(planes: np.ndarray, stated: int) -> np.ndarray:
    """Turn what lies on the picture as a viewer shows it, (H, W), onto the stored pixels."""
    return np.ascontiguousarray(_STORED_FROM_UPRIGHT[stated](planes))
