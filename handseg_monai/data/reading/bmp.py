"""BMP as stored: palettes, and colours of 16, 24 and 32 bits."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from handseg_monai.data.reading.stored import CheckSize, Content, Samples, damaged, unpack

_PLAIN, _MASKED = 0, (3, 6)
_COMPRESSED = {1: "run-lengths", 2: "run-lengths", 4: "JPEG", 5: "PNG"}
_USUAL_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_OF_OS2, _WITH_MASKS = 12, 52


@dataclass(frozen=True)
class _Header:
    height: int
    """Negative where the first row comes first."""
    width: int
    bits: int
    """Of a pixel."""
    masks: tuple[int, ...]
    """Bits of red, green, blue and alpha."""
    colours: slice
    """Place of the palette."""
    colour_bytes: int
    pixels: int
    """Place of the pixels."""


def bmp_size(content: Content) -> tuple[int, int]:
    """(height, width) of a BMP, from its header; raises as :func:`read_bmp`."""
    header = _header(content)
    return abs(header.height), header.width


def read_bmp(content: bytes, check_size: CheckSize) -> Samples:
    """Read the samples of a BMP.

    Raises
    ------
    ValueError
        The file is cut short or damaged, is compressed, or is what ``check_size`` refuses.
    """
    header = _header(content)
    height = abs(header.height)
    check_size((height, header.width))
    length = (header.width * header.bits + 31) // 32 * 4
    data = content[header.pixels : header.pixels + height * length]
    if len(data) < height * length:
        raise damaged(f"{len(data)} bytes of pixels; expected {height * length}")
    rows = np.frombuffer(data, np.uint8).reshape(height, length)
    if header.height > 0:
        rows = rows[::-1]
    if header.bits <= 8:
        used = np.ascontiguousarray(rows[:, : (header.width * header.bits + 7) // 8])
        entries = content[header.colours]
        entries = entries[: len(entries) // header.colour_bytes * header.colour_bytes]
        palette = np.frombuffer(entries, np.uint8).reshape(-1, header.colour_bytes)[:, 2::-1]
        return Samples(unpack(used, header.width, header.bits), header.bits, np.ascontiguousarray(palette))
    if header.bits == 24:
        colours = rows[:, : 3 * header.width].reshape(height, header.width, 3)[..., ::-1]
        return Samples(np.ascontiguousarray(colours), 8)
    wide = np.ascontiguousarray(rows[:, : header.width * header.bits // 8]).view(f"<u{header.bits // 8}")
    channels = [_channel(wide, mask) for mask in header.masks]
    alpha = channels[3] if header.masks[3] else None
    return Samples(np.dstack(channels[:3]), 8, alpha=alpha)


def _channel(pixels: np.ndarray, mask: int) -> np.ndarray:
    """Bring the bits of a mask to the range of 8."""
    if not mask:
        return np.zeros(pixels.shape, np.uint8)
    lowest = (mask & -mask).bit_length() - 1
    highest = mask >> lowest
    values = (pixels & mask) >> lowest
    return (values if highest == 255 else (values.astype(np.uint32) * 255 + highest // 2) // highest).astype(np.uint8)


def _header(content: Content) -> _Header:
    try:
        pixels, size = struct.unpack_from("<II", content[:30], 10)
        if size == _OF_OS2:
            width, height, _, bits = struct.unpack_from("<HHHH", content[:30], 18)
            compression, used = _PLAIN, 0
        else:
            width, height, _, bits, compression = struct.unpack_from("<iiHHI", content[:70], 18)
            (used,) = struct.unpack_from("<I", content[:70], 46)
        if compression in _COMPRESSED:
            raise ValueError(
                f"a BMP compressed with {_COMPRESSED[compression]}; save it without compression, or as PNG"
            )
        masks = _USUAL_MASKS.get(bits, ())
        if compression in _MASKED:
            count = 4 if size > _WITH_MASKS or compression == _MASKED[1] else 3
            masks = (*struct.unpack_from(f"<{count}I", content[:70], 54), 0)[:4]
    except struct.error as error:
        raise damaged("a BMP whose header is cut short") from error
    depths = (1, 4, 8, 16, 24, 32) if compression == _PLAIN else (16, 32) if compression in _MASKED else ()
    if bits not in depths or width <= 0 or not height:
        raise damaged(f"a BMP of {width} x {height} pixels of {bits} bits")
    if any(mask >> ((mask & -mask).bit_length() - 1) > 255 for mask in masks if mask):
        raise ValueError("a BMP of more than 8 bits a channel; save it as PNG")
    colour_bytes = 3 if size == _OF_OS2 else 4
    count = min(used, 256) or 1 << min(bits, 8)
    palette = slice(14 + size, min(14 + size + count * colour_bytes, pixels))
    return _Header(height, width, bits, masks, palette, colour_bytes, pixels)
