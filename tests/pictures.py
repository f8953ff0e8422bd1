"""Pictures to read: random samples, and writers of PNG, TIFF and BMP of kinds that libraries seldom write."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from handseg_monai.data.reading.samples import picture_size, read_samples
from handseg_monai.data.reading.stored import Samples

SHAPE = (43, 37)
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
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


def draw(dtype: str, *channels: int, bits: int | None = None) -> np.ndarray:
    """Random samples of the whole range, (H, W) or (H, W, C)."""
    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    if kind.kind == "f":
        return (rng.random((*SHAPE, *channels)) * 1000 - 200).astype(kind)
    info = np.iinfo(kind)
    highest = info.max if bits is None else 2**bits - 1
    return rng.integers(info.min, highest, (*SHAPE, *channels), dtype=kind, endpoint=True)


def colours(count: int) -> np.ndarray:
    """Palette, uint8 (count, 3), whose first entry is black."""
    table = np.random.default_rng(1).integers(0, 256, (count, 3), dtype=np.uint8)
    table[0] = 0
    return table


def luminance(rgb: np.ndarray) -> np.ndarray:
    """ITU-R 601, as float64."""
    return rgb.astype(np.float64) @ [0.299, 0.587, 0.114]


def read(content: bytes) -> Samples:
    """Read all that a file stores; its header tells the same size."""
    seen: list[tuple[int, int]] = []
    samples = read_samples(content, seen.append)
    assert seen == [samples.values.shape[:2]] == [picture_size(content)]
    return samples


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def bmp(
    values: np.ndarray, bits: int, size: int, from_top: bool, palette: bytes, masks: tuple[int, ...] | None = None
) -> bytes:
    """A BMP of samples, or of bytes of colours, with a header of ``size`` bytes."""
    rows = packed(values, bits) if bits <= 8 else values.tobytes()
    length = len(rows) // len(values)
    lines = [rows[at : at + length] + bytes(-length % 4) for at in range(0, len(rows), length)]
    data = b"".join(lines if from_top else lines[::-1])
    width = values.shape[1] if bits <= 8 else 8 * length // bits
    if size == 12:
        header = struct.pack("<IHHHH", size, width, len(values), 1, bits)
    else:
        height = -len(values) if from_top else len(values)
        header = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, 3 if masks else 0, len(data), 0, 0, 0, 0)
        header += b"".join(struct.pack("<I", mask) for mask in masks or ())
        header += bytes(max(0, size - len(header)))
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data
