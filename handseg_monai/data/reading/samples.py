"""One reader of what a picture stores, whatever its format; radiographs, masks and label maps stand on it."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from handseg_monai.data.reading.bmp import bmp_size, read_bmp
from handseg_monai.data.reading.jpeg import jpeg_size, read_jpeg
from handseg_monai.data.reading.png import SIGNATURE, png_size, read_png
from handseg_monai.data.reading.stored import CheckSize, Content, Samples, damaged
from handseg_monai.data.reading.tiff import read_tiff
from handseg_monai.data.reading.tiff_header import BIG, CLASSIC, tiff_size

_FORMATS = (
    (SIGNATURE, png_size, read_png),
    (b"\xff\xd8", jpeg_size, read_jpeg),
    (b"BM", bmp_size, read_bmp),
    *((start, tiff_size, read_tiff) for start in (*CLASSIC, *BIG)),
)
_OTHERS = {
    b"GIF8": "a GIF",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 file",
    b"\xff\x4f\xff\x51": "a JPEG 2000 file",
    b"\xff\x0a": "a JPEG XL file",
    b"\0\0\0\x0cJXL ": "a JPEG XL file",
    b"8BPS": "a Photoshop file",
    b"\x76\x2f\x31\x01": "an OpenEXR file",
    b"%PDF": "a PDF",
    b"II\xbc\x01": "a JPEG XR file",
}
_ARCHIVES = {b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "a gzip archive"}


def read_samples(content: bytes, check_size: CheckSize) -> Samples:
    """Read the samples of a PNG, TIFF, BigTIFF, BMP or JPEG; its first bytes say which, a suffix may lie.

    Parameters
    ----------
    content
        The whole file.
    check_size
        Called with (height, width) before anything is decoded.

    Raises
    ------
    ValueError
        The file is another one, is cut short or damaged, holds several pictures or samples that are not read, or is
        what ``check_size`` refuses. The message says which.
    """
    for start, _, read in _FORMATS:
        if content[: len(start)] == start:
            try:
                return read(content, check_size)
            except (struct.error, MemoryError, OverflowError) as error:
                raise damaged(" ".join(str(error).split()) or type(error).__name__) from error
    raise _not_read(content)


def is_picture(start: bytes) -> bool:
    """Whether a file begins as one of the formats that :func:`read_samples` reads."""
    # The two letters of BMP begin words too.
    return start.startswith(tuple(mark for mark, _, _ in _FORMATS)) and (start[:2] != b"BM" or start[6:10] == bytes(4))


def kind_not_read(content: Content) -> str | None:
    """Kind of a picture that :func:`read_samples` does not read, in words; None of any other file."""
    return next((name for start, name in _OTHERS.items() if content[: len(start)] == start), None) or _of_boxes(content)


def picture_size(content: Content) -> tuple[int, int]:
    """(height, width) of a picture as stored, from its header; raises as :func:`read_samples`."""
    for start, size, _ in _FORMATS:
        if content[: len(start)] == start:
            return size(content)
    raise _not_read(content)


def grey_of(samples: Samples) -> np.ndarray:
    """Grey values (H, W) as a viewer shows them: colours, of a palette too, are their luminance (ITU-R 601).

    Three equal channels give that channel; alpha is not looked at. Raises ``ValueError`` for an index beyond the
    palette.
    """
    if samples.palette is not None:
        require_indices(samples.values, samples.palette)
        return luminance(samples.palette[None])[0][samples.values]
    return samples.values if samples.values.ndim == 2 else luminance(samples.values)


def require_indices(indices: np.ndarray, palette: np.ndarray) -> None:
    """Raise ``ValueError`` for an index beyond the palette."""
    if (highest := int(indices.max())) >= len(palette):
        raise damaged(f"index {highest} of a palette of {len(palette)} colours")


def luminance(colours: np.ndarray) -> np.ndarray:
    """(H, W) of red, green and blue, (H, W, 3), in the type of the colours."""
    if colours.dtype in (np.uint8, np.uint16):  # its weights of whole numbers sum to 1 exactly
        return cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY)
    if (colours[..., :1] == colours).all():
        return np.ascontiguousarray(colours[..., 0])
    return (colours.astype(np.float64) @ [0.299, 0.587, 0.114]).astype(colours.dtype)


def require_seen(values: np.ndarray, alpha: np.ndarray | None) -> None:
    """Make sure that an alpha channel changes nothing: it is constant, or hides only pixels of the value 0.

    Raises
    ------
    ValueError
        It hides other pixels, or is all that there is to see.
    """
    if alpha is None or (alpha == alpha.flat[0]).all():
        return
    if (values == values.flat[0]).all():
        raise ValueError(
            "the picture is in its alpha channel, all pixels have one value; save it as grey, without alpha"
        )
    if values[alpha < alpha.max()].any():
        raise ValueError(
            "its alpha channel hides pixels that are not black; put the picture on black, and save it without alpha"
        )


def _of_boxes(content: Content) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "a WebP file"
    return "a HEIF, AVIF or video file" if content[4:8] == b"ftyp" else None


def _not_read(content: Content) -> ValueError:
    archive = next((name for start, name in _ARCHIVES.items() if content[: len(start)] == start), None)
    if name := kind_not_read(content) or archive:
        return ValueError(f"{name}; expected PNG, JPEG, TIFF, BMP or DICOM: save it as PNG")
    return ValueError("not an image, or cut short or damaged")
