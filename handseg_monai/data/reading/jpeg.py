"""JPEG as stored: grey, or its colours as red, green and blue."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from handseg_monai.data.reading.stored import CheckSize, Content, Samples, damaged, require_dense, several

_HUFFMAN = (0xC0, 0xC1, 0xC2)
_OTHER_FRAMES = {
    0xC3: "lossless JPEG",
    0xF7: "JPEG-LS",
    0xC9: "JPEG in arithmetic coding",
    0xCA: "JPEG in arithmetic coding",
}
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}
_SCAN, _END, _APP2 = 0xDA, 0xD9, 0xE2
_MPF_COUNT = 0xB001
_PIXELS_A_BYTE = 512
"""At most: a block of 8 x 8 pixels takes a bit or more."""


@dataclass(frozen=True)
class _Frame:
    height: int
    width: int


def jpeg_size(content: Content) -> tuple[int, int]:
    """(height, width) of a JPEG, from its header; raises as :func:`read_jpeg`."""
    frame = _frame(content)
    return frame.height, frame.width


def read_jpeg(content: bytes, check_size: CheckSize) -> Samples:
    """Read the samples of a JPEG of 8 bits.

    Raises
    ------
    ValueError
        The file is cut short or damaged, holds several pictures (MPO), is of another kind of JPEG, or is what
        ``check_size`` refuses.
    """
    from PIL.JpegImagePlugin import JpegImageFile

    frame = _frame(content)
    check_size((frame.height, frame.width))
    require_dense(frame.height * frame.width, len(content), _PIXELS_A_BYTE)
    try:
        with JpegImageFile(BytesIO(content)) as image:  # raises for data that OpenCV would fill up
            pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, IndexError, struct.error) as error:
        raise damaged(str(error)) from error
    if pixels.shape[:2] != (frame.height, frame.width):
        raise damaged(f"pixels of shape {pixels.shape}; its header says {frame.width} x {frame.height}")
    return Samples(pixels, 8, lossy=True)


def _frame(content: Content) -> _Frame:
    """Find the header of the frame, which lies behind all that other programs have put into the file."""
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            raise damaged("a JPEG without a marker where one is due")
        marker = content[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (_SCAN, _END):
            break
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        data = content[at + 4 : at + 2 + length]
        if marker in _FRAMES:
            return _read_frame(marker, data)
        if marker == _APP2 and data[:4] == b"MPF\0" and (count := _pictures(data[4:])) > 1:
            raise several(count)
        at += 2 + length
    raise damaged("a JPEG without a header")


def _read_frame(marker: int, data: bytes) -> _Frame:
    if marker not in _HUFFMAN:
        raise ValueError(f"a {_OTHER_FRAMES.get(marker, 'hierarchical JPEG')}; expected an ordinary JPEG, or PNG")
    if len(data) < 6:
        raise damaged("a JPEG whose header is cut short")
    bits, height, width, components = struct.unpack(">BHHB", data[:6])
    if bits != 8:
        raise ValueError(f"a JPEG of {bits} bits; expected 8, or PNG or TIFF")
    if not (height and width) or components not in (1, 3, 4):
        raise damaged(f"a JPEG of {width} x {height} pixels and {components} components")
    return _Frame(height, width)


def _pictures(index: bytes) -> int:
    """Return the number of pictures that an index of the Multi-Picture Format (CIPA DC-007) names."""
    order = "<" if index[:2] == b"II" else ">"
    try:
        (first,) = struct.unpack_from(f"{order}I", index, 4)
        (entries,) = struct.unpack_from(f"{order}H", index, first)
        for at in range(first + 2, first + 2 + 12 * entries, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHII", index, at)
            if tag == _MPF_COUNT:
                return int(value)
    except struct.error as error:
        raise damaged("an index of pictures that is not whole") from error
    return 1
