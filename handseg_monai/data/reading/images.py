"""Finding radiographs in a folder and reading them as stored."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import cv2
import kornia_rs
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from handseg_monai.data.reading.dicom import DICOM_SUFFIXES, dicom_size, is_dicom, may_be_dicom, require_dicom
from handseg_monai.data.reading.dicom_pixels import read_dicom
from handseg_monai.files import find_files

_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"
_RGB_8 = b"\x08\x02\0\0\0"
"""Bit depth, colours, compression, filter and interlacing of a PNG."""
_LARGEST, _DEFLATED = 2**28, 1100
"""Bytes of pixels that are decoded at most, and as many for one byte of the file: deflate can't give more."""
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
IMAGE_SUFFIXES = (*_PICTURES, *DICOM_SUFFIXES)


class UnreadableImageError(ValueError):
    """A file that is not an image, is cut short or damaged, or holds more than one picture."""


def find_images(folder: str | Path) -> list[Path]:
    """List the image files below a folder, sorted by path; a path of one file is that file.

    Links are followed, each folder once. Hidden files and folders are passed over; what is an image is told by the
    suffix (:data:`IMAGE_SUFFIXES`), and of files without one, or with a number for it, by the mark of DICOM. Raises as
    :func:`~handseg_monai.files.find_files`.
    """
    folder = Path(folder)
    return [folder] if folder.is_file() else find_files(folder, _is_image)


def _is_image(path: Path) -> bool:
    if path.name.lower().endswith(IMAGE_SUFFIXES):
        return True
    return may_be_dicom(path) and path.is_file() and is_dicom(path)


def without_suffix(name: str) -> str:
    """Drop an image's suffix from its name; anything else after a dot, such as the last number of a UID, stays."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def require_readers(paths: Iterable[Path]) -> None:
    """Raise ``ValueError`` where one of the images is DICOM, and what reads it is not installed."""
    first = next((path for path in paths if may_be_dicom(path) and is_dicom(path)), None)
    if first is not None:
        try:
            require_dicom()
        except ValueError as error:
            raise ValueError(f"{first}: {error}") from error


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the stored pixel grid, from the header where it tells; raises as :func:`read_radiograph`."""
    if is_dicom(path):
        try:
            return dicom_size(path)
        except ValueError as error:
            raise UnreadableImageError(f"{path}: {error}") from error
    try:
        with Image.open(path) as image:
            if isinstance(image, TiffImageFile):  # its width and height are those after rotation
                return image.tag_v2[IMAGELENGTH], image.tag_v2[IMAGEWIDTH]
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        height, width = read_radiograph(path).shape
        return height, width


def read_radiograph(path: str | Path, any_body_part: bool = True) -> np.ndarray:
    """Read a radiograph as one grey channel.

    Parameters
    ----------
    path
        PNG, JPEG, BMP or TIFF; grey, RGB or RGBA, with 8 or 16 bits a channel. Or DICOM, see
        :func:`~handseg_monai.data.reading.dicom_pixels.read_dicom`.
    any_body_part
        Whether to accept DICOM whose header names a part of the body other than the hand.

    Returns
    -------
    radiograph
        uint8 or uint16 (float32 where a TIFF or DICOM holds it), (H, W), the stored pixel grid: an EXIF rotation is
        ignored. Three equal channels give that channel, colours their luminance; alpha is dropped.

    Raises
    ------
    UnreadableImageError
        The file is missing, is not an image, is cut short or damaged, or holds several pictures. The message names
        the file and says which.
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableImageError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise UnreadableImageError(f"{path}: the file is empty")
    try:
        pixels = (
            read_dicom(path, any_body_part) if is_dicom(path) or path.suffix.lower() in DICOM_SUFFIXES else _read(path)
        )
    except (
        cv2.error,
        struct.error,
        OSError,
        ValueError,
        SyntaxError,
        MemoryError,
        Image.DecompressionBombError,
    ) as error:
        raise UnreadableImageError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from error
    if pixels is None or pixels.size == 0:
        raise UnreadableImageError(f"{path}: not an image, or cut short or damaged")
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise UnreadableImageError(f"{path}: pixels are {pixels.dtype}; expected 8 or 16 bits a channel")
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise UnreadableImageError(f"{path}: pixels hold NaN or infinity")
    return _grey(pixels)


def _read(path: Path) -> np.ndarray | None:
    content = path.read_bytes()  # its first bytes say the format; a suffix may lie
    if content.startswith(b"\xff\xd8"):
        return _read_by_pillow(content)  # OpenCV fills up a JPEG that is cut short without an error; Pillow raises
    if content.startswith((b"II*\0", b"MM\0*")):
        return _read_tiff(path, _without_orientation(content))
    if content.startswith((b"II+\0", b"MM\0+")):
        raise ValueError("BigTIFF is not read; save it as TIFF or PNG")
    if (pixels := _read_rgb_png(content)) is not None:
        return pixels
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def _read_rgb_png(content: bytes) -> np.ndarray | None:
    """Decode an 8-bit PNG of three channels, not interlaced, to grey in half of OpenCV's time; None for any other."""
    if not content.startswith(_PNG) or len(content) < 33 or content[24:29] != _RGB_8:
        return None
    width, height = struct.unpack(">II", content[16:24])
    if 3 * width * height > min(_LARGEST, _DEFLATED * len(content)):
        return None
    try:
        pixels = kornia_rs.io.decode_image_png_u8(content, (height, width), "rgb")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # a panic of Rust is no Exception; what is wrong with the file OpenCV says
        return None
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def _read_tiff(path: Path, content: bytes) -> np.ndarray | None:
    if (pages := cv2.imcount(str(path), cv2.IMREAD_UNCHANGED)) > 1:
        raise ValueError(f"holds {pages} pictures; expected one")
    # OpenCV multiplies 8-bit colours by alpha; Pillow has no 16-bit colours.
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is not None and pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 4:
        return _read_by_pillow(content)
    return pixels


def _read_by_pillow(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content)) as image:
        if image.mode == "L":
            return np.asarray(image)
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])


def _without_orientation(tiff: bytes) -> bytes:
    """Set a TIFF's orientation tag to upright: OpenCV and Pillow both turn the pixels by it, unasked."""
    order = "<" if tiff[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    for entry in range(first + 2, first + 2 + 12 * count, 12):
        if struct.unpack_from(f"{order}H", tiff, entry)[0] == 274:
            upright = bytearray(tiff)
            struct.pack_into(f"{order}H", upright, entry + 8, 1)
            return bytes(upright)
    return tiff


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Reduce OpenCV's channels (none, BGR or BGRA) to one."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 2:  # grey and alpha
        return np.ascontiguousarray(pixels[..., 0])
    if pixels.dtype == np.float32 and all(np.array_equal(pixels[..., 0], pixels[..., k]) for k in (1, 2)):
        return np.ascontiguousarray(pixels[..., 0])
    # The weights of whole numbers sum to 1 exactly: three equal channels give that channel.
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY if pixels.shape[2] == 3 else cv2.COLOR_BGRA2GRAY)
