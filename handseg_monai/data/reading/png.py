"""PNG as stored: every depth and kind of colour, interlaced too, with its palette and what is transparent."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from handseg_monai.data.reading.png_filters import unfilter
from handseg_monai.data.reading.stored import CheckSize, Content, Samples, damaged, require_dense, several, unpack

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _PALETTE: (1, 2, 4, 8)}
_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row and column, and the steps from one to the next, of the passes of an interlaced picture."""


@dataclass(frozen=True)
class _Header:
    height: int
    width: int
    bits: int
    colours: int
    interlaced: bool

    @property
    def channels(self) -> int:
        return _CHANNELS[self.colours]

    def length(self, width: int) -> int:
        """Bytes of a row of so many pixels."""
        return (width * self.channels * self.bits + 7) // 8

    def passes(self) -> list[tuple[slice, slice, int, int]]:
        """Rows and columns that each pass fills, and how many these are."""
        steps = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        parts = [
            (slice(y, None, dy), slice(x, None, dx), -((y - self.height) // dy), -((x - self.width) // dx))
            for y, x, dy, dx in steps
        ]
        return [part for part in parts if part[2] > 0 and part[3] > 0]


def png_size(content: Content) -> tuple[int, int]:
    """(height, width) of a PNG, from its first bytes; raises as :func:`read_png`."""
    header = _header(content)
    return header.height, header.width


def checksums_suffice(content: bytes) -> bool:
    """Compare the checksums of a PNG; whether that says all, because it has no palette and nothing transparent.

    Quicker than decoding it. Raises as :func:`read_png`.
    """
    kinds = {kind for kind, _ in _chunks(content)}
    return _header(content).colours in (_GREY, _RGB) and b"tRNS" not in kinds


def read_png(content: bytes, check_size: CheckSize) -> Samples:
    """Read the samples of a PNG.

    Text, colour profiles, gamma and all else that is no sample are passed over unread.

    Raises
    ------
    ValueError
        The file is cut short or damaged, is animated, needs an extension of the format, or is what ``check_size``
        refuses.
    """
    header = _header(content)
    check_size((header.height, header.width))
    parts: dict[bytes, list[memoryview]] = {}
    for kind, data in _chunks(content):
        parts.setdefault(kind, []).append(data)
    pixels = _pixels(header, b"".join(parts.get(b"IDAT", ())))
    palette = None
    if header.colours == _PALETTE:
        palette = _palette(bytes(parts.get(b"PLTE", [memoryview(b"")])[0]))
    alpha = None
    if header.colours in (_GREY_ALPHA, _RGB_ALPHA):
        pixels, alpha = pixels[..., :-1], np.ascontiguousarray(pixels[..., -1])
    if pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if alpha is None and b"tRNS" in parts:
        alpha = _transparent(pixels, header, bytes(parts[b"tRNS"][0]))
    return Samples(np.ascontiguousarray(pixels), header.bits, palette, alpha)


def _header(content: Content) -> _Header:
    if len(content) < 33 or content[8:16] != b"\0\0\0\x0dIHDR":
        raise damaged("a PNG without a header")
    width, height, bits, colours, compression, filters, interlaced = struct.unpack(">IIBBBBB", content[16:29])
    if zlib.crc32(content[12:29]) != int.from_bytes(content[29:33], "big"):
        raise damaged("the header's checksum is wrong")
    right = colours in _CHANNELS and bits in _DEPTHS.get(colours, (8, 16)) and interlaced < 2
    if not (width and height and right) or compression or filters:
        raise damaged(f"a PNG of {width} x {height} pixels, {bits} bits and colour type {colours}")
    return _Header(height, width, bits, colours, bool(interlaced))


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kinds and data of the chunks from the first to the last, their checksums compared."""
    view = memoryview(content)
    at, frames, shown = len(SIGNATURE), 0, b""
    while True:
        if at + 12 > len(view):
            raise damaged("the file ends before the picture does")
        length = int.from_bytes(view[at : at + 4], "big")
        kind = bytes(view[at + 4 : at + 8])
        end = at + 8 + length
        if end + 4 > len(view):
            raise damaged("the file ends before the picture does")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise damaged("a checksum is wrong")
        data = view[at + 8 : end]
        if kind[:1].isupper() and kind not in _NEEDED:
            raise ValueError(
                f"a PNG with {kind.decode('ascii', 'replace')}, an extension that few programs read; save it anew"
            )
        if kind == b"acTL" and len(data) >= 4 and (frames := int.from_bytes(data[:4], "big")) > 1:
            raise several(frames)
        shown = shown or (kind if kind in (b"IDAT", b"fcTL") else b"")
        if frames and kind == b"fcTL" and shown == b"IDAT":  # what other programs show is no frame of the animation
            raise several(frames + 1)
        yield kind, data
        if kind == b"IEND":
            return
        at = end + 4


def _pixels(header: _Header, deflated: bytes) -> np.ndarray:
    """Samples (H, W, C)."""
    from imagecodecs import ZlibngError, zlibng_decode

    passes = header.passes()
    wanted = sum(rows * (1 + header.length(columns)) for _, _, rows, columns in passes)
    require_dense(wanted, len(deflated))
    filtered = np.empty(wanted, np.uint8)
    try:
        got = len(zlibng_decode(deflated, out=filtered))  # type: ignore[arg-type]  # its stub knows no arrays
    except ZlibngError as error:
        raise damaged("the pixels can't be inflated to the picture's size") from error
    if got != wanted:
        raise damaged(f"{got} bytes of pixels; expected {wanted}")
    pixels = np.empty((0, 0, 0), np.uint8)
    at = 0
    for rows_at, columns_at, rows, columns in passes:
        length = header.length(columns)
        flat = filtered[at : at + rows * length]  # in place: an image of the largest size takes its own memory only
        if not unfilter(filtered[at:], rows, length, max(1, header.channels * header.bits // 8), flat):
            raise damaged("a row has an unknown filter")
        at += rows * (1 + length)
        part = _samples(flat.reshape(rows, length), columns * header.channels, header.bits)
        part = part.reshape(rows, columns, header.channels)
        if not header.interlaced:
            return part
        if not pixels.size:
            pixels = np.empty((header.height, header.width, header.channels), part.dtype)
        pixels[rows_at, columns_at] = part
    return pixels


def _samples(rows: np.ndarray, count: int, bits: int) -> np.ndarray:
    if bits < 8:
        return unpack(rows, count, bits)
    if bits == 8:
        return rows
    words = rows.view(np.uint16)
    return words.byteswap(inplace=True) if sys.byteorder == "little" else words


def _palette(data: bytes) -> np.ndarray:
    if not data or len(data) % 3 or len(data) > 768:
        raise damaged(f"a palette of {len(data)} bytes")
    return np.frombuffer(data, np.uint8).reshape(-1, 3)


def _transparent(pixels: np.ndarray, header: _Header, data: bytes) -> np.ndarray:
    """Alpha, uint8 (H, W), by a table of the palette's, or by the one value that is transparent."""
    if header.colours == _PALETTE:
        table = np.full(256, 255, np.uint8)
        table[: len(data[:256])] = np.frombuffer(data[:256], np.uint8)
        return table[pixels]
    if len(data) != 2 * header.channels:
        raise damaged(f"a transparent value of {len(data)} bytes")
    key = np.frombuffer(data, ">u2")
    same = (pixels == key).all(axis=2) if header.colours == _RGB else pixels == key[0]
    return np.where(same, np.uint8(0), np.uint8(255))
