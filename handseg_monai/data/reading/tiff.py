"""TIFF and BigTIFF as stored, but for WhiteIsZero, which is turned round: 0 is black."""

from __future__ import annotations

import numpy as np

from handseg_monai.data.reading.jpeg import read_jpeg
from handseg_monai.data.reading.stored import DEFLATED, CheckSize, Samples, damaged, require_dense, unpack
from handseg_monai.data.reading.tiff_header import (
    DEFLATE,
    FAX3,
    FAX4,
    JPEG,
    LZW,
    NONE,
    OLD_DEFLATE,
    PACKBITS,
    PALETTE,
    RGB,
    RLE,
    WHITE_IS_ZERO,
    YCBCR,
    Layout,
    read_layout,
)

_RATIOS = {NONE: 1, LZW: 1400, PACKBITS: 64, DEFLATE: DEFLATED, OLD_DEFLATE: DEFLATED}
"""Bytes that one byte holds at most. Fax and JPEG, whose pixels are few bits, have none."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""Segment of a JPEG that says, in the byte after it, whether its colours are RGB (0) or YCbCr (1)."""


def read_tiff(content: bytes, check_size: CheckSize) -> Samples:
    """Read the samples of a TIFF of one picture; an orientation in the header changes nothing.

    Raises
    ------
    ValueError
        As :func:`~handseg_monai.data.reading.tiff_header.read_layout`; or the file is cut short or damaged, or is what
        ``check_size`` refuses.
    """
    layout = read_layout(content)
    check_size((layout.height, layout.width))
    if layout.compression in _RATIOS:
        wanted = layout.height * ((layout.width * layout.samples * layout.bits + 7) // 8)
        require_dense(wanted, sum(size for _, size in layout.places), _RATIOS[layout.compression])
    pixels = np.empty((layout.height, layout.width, layout.samples), layout.dtype.newbyteorder("="))
    high, wide = layout.segment
    down, across = -(-layout.height // high), -(-layout.width // wide)
    for number, (at, size) in enumerate(layout.places):
        plane, inside = divmod(number, down * across)
        y, x = inside // across * high, inside % across * wide
        rows = high if layout.tiled else min(high, layout.height - y)
        data = content[at : at + size]
        if len(data) < size or not size:
            raise damaged(f"{len(data)} bytes of a segment; expected {size or 'more'}")
        try:
            segment = _segment(data, layout, rows, wide)
        except RuntimeError as error:  # of imagecodecs
            raise damaged(f"a segment can't be decoded ({error})") from error
        part = segment[: layout.height - y, : layout.width - x]
        own = slice(plane, plane + 1) if layout.planar else slice(None)
        pixels[y : y + part.shape[0], x : x + part.shape[1], own] = part
    return _meaning(pixels, layout)


def _meaning(pixels: np.ndarray, layout: Layout) -> Samples:
    channels = 3 if layout.photometric in (RGB, YCBCR) else 1
    alpha = np.ascontiguousarray(pixels[..., channels]) if layout.samples > channels else None
    values = np.ascontiguousarray(pixels[..., :channels] if channels == 3 else pixels[..., 0])
    lossy = layout.compression == JPEG
    if layout.photometric == PALETTE:
        return Samples(values, layout.bits, _palette(layout), alpha, lossy)
    if layout.photometric == WHITE_IS_ZERO:
        values = _turned(values, layout.bits)
    return Samples(values, layout.bits, None, alpha, lossy, layout.photometric == WHITE_IS_ZERO)


def _turned(values: np.ndarray, bits: int) -> np.ndarray:
    """Turn grey values round: in the range of their bits, or, where they have a sign, in their own."""
    if values.dtype.kind == "u":
        return values.dtype.type(2**bits - 1) - values
    if values.dtype.kind == "i":
        return ~values
    finite = values[np.isfinite(values)]
    return finite.min() + finite.max() - values if finite.size else values


def _palette(layout: Layout) -> np.ndarray:
    """uint8 (N, 3)."""
    count = 2**layout.bits
    if len(layout.colours) < 3 * count:
        raise damaged(f"a palette of {len(layout.colours) // 3} colours; expected {count}")
    colours = np.array(layout.colours[: 3 * count], np.uint16).reshape(3, count).T
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def _segment(data: bytes, layout: Layout, rows: int, columns: int) -> np.ndarray:
    """Samples (``rows``, ``columns``, S) of one segment, in this machine's order of bytes."""
    samples = 1 if layout.planar else layout.samples
    if layout.compression == JPEG:
        return _jpeg(data, layout, rows, columns)
    count = columns * samples
    length = (count * layout.bits + 7) // 8
    data = data.translate(_REVERSED) if layout.reversed_bits else data
    if layout.compression in (RLE, FAX3, FAX4):
        return _fax(data, layout, rows, columns)
    flat = _inflated(data, layout, layout.segment[0] * length)
    if len(flat) < rows * length:
        raise damaged(f"{len(flat)} bytes of a segment; expected {rows * length}")
    lines = np.frombuffer(flat, np.uint8, rows * length).reshape(rows, length)
    if layout.bits not in (8, 16, 32, 64):
        return unpack(lines, count, layout.bits).reshape(rows, columns, samples)
    if layout.predictor == 3:
        return _float_differences(lines.reshape(rows, -1, samples), layout).reshape(rows, columns, samples)
    values = lines.view(layout.dtype).astype(layout.dtype.newbyteorder("=")).reshape(rows, columns, samples)
    if layout.predictor == 2:
        whole = values.view(f"u{values.dtype.itemsize}")
        return np.cumsum(whole, axis=1, dtype=whole.dtype).view(values.dtype)
    return values


def _float_differences(lines: np.ndarray, layout: Layout) -> np.ndarray:
    """Undo predictor 3 (Adobe, TIFF Technical Note 3): differences of bytes, the highest of all numbers first."""
    rows, size = len(lines), layout.dtype.itemsize
    planes = np.cumsum(lines, axis=1, dtype=np.uint8).reshape(rows, size, -1)
    values = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">f{size}")
    return values.astype(layout.dtype.newbyteorder("="))


def _inflated(data: bytes, layout: Layout, most: int) -> bytes | bytearray:
    """Bytes of a segment; no decoder gives more than ``most``, those of a full segment, whatever the data hold."""
    import imagecodecs

    if layout.compression == LZW:
        return imagecodecs.lzw_decode(data, out=most)
    if layout.compression in (DEFLATE, OLD_DEFLATE):
        return imagecodecs.zlibng_decode(data, out=most)
    if layout.compression == PACKBITS:
        return imagecodecs.packbits_decode(data, out=most)
    return data


def _fax(data: bytes, layout: Layout, rows: int, columns: int) -> np.ndarray:
    import imagecodecs

    if layout.compression == RLE:
        pixels = imagecodecs.ccittrle_decode(data, rows, columns)
    elif layout.compression == FAX3:
        pixels = imagecodecs.ccittfax3_decode(data, rows, columns, t4options=layout.fax_options)
    else:
        pixels = imagecodecs.ccittfax4_decode(data, rows, columns)
    return np.asarray(pixels).reshape(rows, columns, 1)


def _jpeg(data: bytes, layout: Layout, rows: int, columns: int) -> np.ndarray:
    def check(shape: tuple[int, int]) -> None:
        if shape != (rows, columns):
            raise damaged(f"a segment of {shape[1]} x {shape[0]} pixels; expected {columns} x {rows}")

    start = data[:2] + (_ADOBE + bytes([layout.photometric == YCBCR]) if layout.samples == 3 else b"")
    tables = layout.jpeg_tables
    pixels = read_jpeg(start + tables[2:-2] + data[2:], check).values
    return pixels.reshape(rows, columns, layout.samples)
