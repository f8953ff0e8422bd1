"""Writers of PNG and TIFF of kinds that libraries seldom write, by the words of the standards."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def packed(values: np.ndarray, bits: int) -> bytes:
    """Rows of samples, the first in the highest bits, each row in whole bytes."""
    rows = []
    for row in values.reshape(len(values), -1):
        text = "".join(f"{int(value):0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return b"".join(rows)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colours: int, filtered: bytes, *between: bytes) -> bytes:
    """A PNG of rows that are filtered already, with other chunks before its pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(filtered))
    return b"".join([SIGNATURE, chunk(b"IHDR", header), *between, pixels, chunk(b"IEND", b"")])


def plain_png(values: np.ndarray, bits: int, colours: int, *between: bytes) -> bytes:
    """A PNG without filters of samples (H, W) or (H, W, C)."""
    rows = packed(values, bits)
    length = len(rows) // len(values)
    filtered = b"".join(b"\0" + rows[at : at + length] for at in range(0, len(rows), length))
    return png(values.shape[1], len(values), bits, colours, filtered, *between)


def tiff(data: bytes, shape: tuple[int, int], **tags: int | list[int]) -> bytes:
    """A little-endian TIFF of one strip; ``tags`` are ``t262=1``."""
    all_tags: dict[int, list[int]] = {256: [shape[1]], 257: [shape[0]], 258: [8], 259: [1], 262: [1], 277: [1]}
    all_tags |= {278: [shape[0]], 279: [len(data)], 273: [0]}
    all_tags |= {int(k[1:]): v if isinstance(v, list) else [v] for k, v in tags.items()}
    end = 8 + 2 + 12 * len(all_tags) + 4
    beyond = b""
    entries = b""
    for tag, values in sorted(all_tags.items()):
        if tag == 273:
            values = [0xFFFFFFFF]
        content = struct.pack(f"<{len(values)}I", *values)
        if len(content) > 4:
            content, beyond = struct.pack("<I", end + len(beyond)), beyond + content
        entries += struct.pack("<HHI", tag, 4, len(values)) + content
    entries = entries.replace(b"\xff\xff\xff\xff", struct.pack("<I", end + len(beyond)))
    return b"II*\0" + struct.pack("<IH", 8, len(all_tags)) + entries + bytes(4) + beyond + data
