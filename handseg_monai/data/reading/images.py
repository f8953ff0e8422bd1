"""Finding radiographs in a folder and reading them as stored."""

from __future__ import annotations

import logging
import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np

from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.contrast import in_range
from handseg_monai.data.reading.dicom import (
    DICOM_SUFFIXES,
    begins_unmarked,
    dicom_size,
    has_mark,
    is_dicom,
    require_dicom,
)
from handseg_monai.data.reading.dicom_pixels import read_dicom
from handseg_monai.data.reading.png import SIGNATURE, checksums_suffice
from handseg_monai.data.reading.samples import (
    grey_of,
    is_picture,
    kind_not_read,
    picture_size,
    read_samples,
    require_seen,
)
from handseg_monai.data.reading.stored import Samples, require_pixels
from handseg_monai.files import find_files

logger = logging.getLogger(__name__)

_PICTURES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff")
IMAGE_SUFFIXES = (*_PICTURES, *DICOM_SUFFIXES)
_NO_PICTURE = re.compile(
    r"\.(txt|md|rst|log|jsonl?|[ct]sv|xls[xm]?|ods|docx?|odt|pptx?|html?|xml|ya?ml|toml|ini|cfg|py|ipynb|js|css|sh|bat|"
    r"exe|dll|so|lnk|url|db|sqlite|np[yz]|nii|mat|h5|hdf5|pkl|pickle|pth?|ckpt|onnx|zip|gz|tar|7z|rar|bz2|xz|zst|bak|tmp|"
    r"part|old|orig|swp|lock|crdownload|download|md5|sha256|svg|mp[34]|avi|mov|wav)"
)
"""Suffixes of files that are never opened to see whether they are images."""
START = 132
"""Bytes that tell a picture's kind."""
_NAMED = 8
_SPREAD = (1, 2, 4)
"""Bits of grey values that are spread over the range of 8, of which theirs is a whole part."""


class UnreadableImageError(ValueError):
    """A file that is not an image, is cut short or damaged, or holds more than one picture."""


def find_images(folder: str | Path) -> list[Path]:
    """List the image files below a folder, sorted by path; a path of one file is that file.

    Links are followed, each folder once. Hidden files and folders are passed over. The suffix tells what is an image
    (:data:`IMAGE_SUFFIXES`) or can be none, such as ``.txt``; of files with another one, or without any, the first
    bytes tell. A warning in the log names pictures of kinds that are not read, such as GIF. Raises as
    :func:`~handseg_monai.files.find_files`.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    others: dict[Path, str] = {}

    def is_image(path: Path) -> bool:
        told = by_name(path.name)
        if told is not None:
            return told
        if not path.is_file():
            return False
        kind = _kind(path)
        if kind:
            others[path] = kind
        return kind == ""

    found = find_files(folder, is_image)
    say_left_out(folder, [(str(path.relative_to(folder)), others[path]) for path in sorted(others)])
    return found


def say_left_out(folder: str | Path, others: Sequence[tuple[str, str]]) -> None:
    """Log which pictures of a folder are not read, by their paths from there, and their kinds; if there are some."""
    if others:
        named = [f"{path} ({kind})" for path, kind in others]
        _say(
            f"{folder}: left out pictures of kinds that are not read; save them as PNG: {', '.join(named[:_NAMED])}",
            max(len(named) - _NAMED, 0),
        )


def by_name(name: str) -> bool | None:
    """Whether a file of this name is an image; None where its first bytes have to tell, see :func:`by_start`."""
    suffix = Path(name).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    return False if _NO_PICTURE.fullmatch(suffix) or name.upper() == "DICOMDIR" else None


def _kind(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return by_start(file.read(START))
    except OSError as error:
        return error.strerror or "can't be opened"


def by_start(start: bytes) -> str | None:
    """Kind of a picture that is not read, in words, by the :data:`START` bytes that its file begins with.

    Empty where it is read, None where a file is no picture.
    """
    if has_mark(start) or is_picture(start):
        return ""
    return "DICOM without its mark, DICM" if begins_unmarked(start) else kind_not_read(start)


@cache
def _say(message: str, more: int) -> None:
    """Log a warning once in a process."""
    logger.warning("%s%s", message, f" and {more} more" if more else "")


def without_suffix(name: str) -> str:
    """Drop an image's suffix from its name; anything else after a dot, such as the last number of a UID, stays."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def require_readers(paths: Iterable[Path]) -> None:
    """Raise ``ValueError`` where one of the images is DICOM, and what reads it is not installed."""
    first = next((path for path in paths if path.suffix.lower() not in _PICTURES and is_dicom(path)), None)
    if first is not None:
        try:
            require_dicom()
        except ValueError as error:
            raise ValueError(f"{first}: {error}") from error


def image_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) of the stored pixel grid, from the header; raises as :func:`read_radiograph`."""
    with _naming(path):
        _require_file(Path(path))
        if _is_to_be_dicom(Path(path)):
            return dicom_size(path, max_pixels)
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            shape = picture_size(content)
        require_pixels(shape, max_pixels)
        return shape


def checked_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return :func:`image_size` of an image that is whole; checksums say so of a PNG, the pixels of any other.

    Raises as :func:`read_radiograph`.
    """
    shape = image_size(path, max_pixels)
    with _naming(path):
        content = Path(path).read_bytes()
        if content.startswith(SIGNATURE) and checksums_suffice(content):
            return shape
    height, width = read_radiograph(path, max_pixels=max_pixels).shape
    return height, width


def read_radiograph(path: str | Path, any_body_part: bool = True, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a radiograph as one grey channel.

    Parameters
    ----------
    path
        PNG, JPEG, BMP or TIFF, see :func:`~handseg_monai.data.reading.samples.read_samples`; grey, RGB or with a
        palette, of 1 to 16 bits, signed, or floating-point of 16 or 32 bits. Or DICOM, see
        :func:`~handseg_monai.data.reading.dicom_pixels.read_dicom`.
    any_body_part
        Whether to accept DICOM whose header names a part of the body other than the hand.
    max_pixels
        Pixels of the image at most; the header says how many it has, before anything is decoded.

    Returns
    -------
    radiograph
        uint8 or uint16, or float32 of floating-point and negative numbers, (H, W), the stored pixel grid: an EXIF
        rotation is ignored. 0 is black, bright is more: WhiteIsZero of TIFF is turned round. Samples of 1, 2 and 4 bits
        are spread over 0 to 255, values beyond 1e30 scaled to 0 to 1. Three equal channels give that channel, colours
        their luminance.

    Raises
    ------
    UnreadableImageError
        The file is missing, is not an image, is cut short or damaged, holds several pictures, more pixels than
        ``max_pixels``, or an alpha channel that would change the picture. The message names the file and says which.
    """
    path = Path(path)
    with _naming(path):
        _require_file(path)
        if _is_to_be_dicom(path):
            return _one_channel(read_dicom(path, any_body_part, max_pixels))
        return _grey(read_samples(path.read_bytes(), partial(require_pixels, max_pixels=max_pixels)))


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    try:
        yield
    except UnreadableImageError:
        raise
    except (cv2.error, OSError, ValueError, MemoryError) as error:
        raise UnreadableImageError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from error


def _is_to_be_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or is called so and begins as no picture does."""
    if is_dicom(path) or path.suffix.lower() not in DICOM_SUFFIXES:
        return is_dicom(path)
    with path.open("rb") as file:
        return not is_picture(file.read(START))


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError("no such file")
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")


def _grey(samples: Samples) -> np.ndarray:
    grey = grey_of(samples)
    if grey.dtype not in (np.uint8, np.uint16, np.int8, np.int16, np.float16, np.float32):
        raise ValueError(f"pixels are {grey.dtype}; expected 8 or 16 bits a channel, or float32")
    if grey.dtype.kind == "f" and not np.isfinite(grey).all():
        raise ValueError("pixels hold NaN or infinity")
    require_seen(grey, samples.alpha)
    if samples.palette is None and samples.bits in _SPREAD:
        return grey * np.uint8(255 // (2**samples.bits - 1))
    if grey.dtype.kind == "i" and grey.min() >= 0:
        return grey.astype(f"uint{8 * grey.dtype.itemsize}")
    return grey if grey.dtype.kind == "u" else in_range(grey)


def _one_channel(pixels: np.ndarray) -> np.ndarray:
    """Reduce DICOM's colours, blue, green and red, to one channel."""
    return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
