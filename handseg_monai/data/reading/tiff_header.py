"""The header of a TIFF or BigTIFF: what its samples are, and where they lie."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from handseg_monai.data.reading.stored import Content, damaged, several

CLASSIC, BIG = (b"II*\0", b"MM\0*"), (b"II+\0", b"MM\0+")
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
NONE, RLE, FAX3, FAX4, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 2, 3, 4, 5, 7, 8, 32946, 32773
_COMPRESSIONS = (NONE, RLE, FAX3, FAX4, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS)
_NAMES = {6: "old JPEG", 34676: "SGI LogL", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 50000: "Zstandard"}
_NAMES |= {50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"}
_PHOTOMETRICS = {4: "a transparency mask", 5: "CMYK", 6: "YCbCr", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*"}
_PHOTOMETRICS |= {32803: "a camera's raw mosaic", 34892: "a camera's raw pixels", 32844: "LogL", 32845: "LogLuv"}
_FORMATS = {1: "u", 2: "i", 3: "f", 4: "u"}
_TYPES = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}
"""Types of the tags that are read, none of which has a sign or a fraction."""
_ENTRY = {False: ("HHI4s", "I"), True: ("HHQ8s", "Q")}
"""Of a TIFF or BigTIFF: an entry of a directory, which is tag, type, number and value, and a place in the file."""
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANAR, _T4 = 273, 277, 278, 279, 284, 292
_PREDICTOR, _COLOURS, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 317, 320, 322, 323, 324, 325
_KIND, _FORMAT, _JPEG_TABLES, _DEPTH = 254, 339, 347, 32997
_DESCRIPTION, _ORIENTATION = 270, 274
_STACK = re.compile(rb"ImageJ=.*^images=(\d+)$", re.DOTALL | re.MULTILINE)
_SHAPED = re.compile(rb'\{"shape": \[([\d, ]+)\]')
"""Descriptions of a stack: those of ImageJ, and of tifffile."""
_LONGEST = 4096
"""Bytes of a description that are looked at."""
_WANTED = {
    _WIDTH,
    _HEIGHT,
    _BITS,
    _COMPRESSION,
    _PHOTOMETRIC,
    _FILL_ORDER,
    _STRIPS,
    _SAMPLES,
    _STRIP_ROWS,
    _STRIP_BYTES,
}
_WANTED |= {_PLANAR, _T4, _PREDICTOR, _COLOURS, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _KIND, _FORMAT}
_WANTED |= {_JPEG_TABLES, _DEPTH}
_REDUCED, _MASK = 1, 4
_LARGE_TILE = 2**20

Tags = dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """What a TIFF's samples are, and how they lie in its segments, which are strips or tiles."""

    height: int
    width: int
    samples: int
    """Of a pixel."""
    dtype: np.dtype
    """Of a sample, in the file's order of bytes; of fewer than 8 or 16 bits the unsigned number that holds it."""
    bits: int
    """Of a sample."""
    photometric: int
    compression: int
    predictor: int
    reversed_bits: bool
    planar: bool
    """Whether each sample of the pixels has segments of its own."""
    fax_options: int
    colours: tuple[int, ...]
    jpeg_tables: bytes
    segment: tuple[int, int]
    """Height and width of a segment."""
    tiled: bool
    """Whether segments at the edges reach beyond it."""
    places: tuple[tuple[int, int], ...]
    """Offset and bytes of each segment."""


def tiff_size(content: Content) -> tuple[int, int]:
    """(height, width) of a TIFF as stored, whatever its orientation; raises as :func:`read_layout`."""
    tags = _tags(content)
    return _one(tags, _HEIGHT), _one(tags, _WIDTH)


def tiff_orientation(content: Content) -> int | None:
    """Orientation that a TIFF states, whatever its samples are; None where it states none. Raises ``ValueError``."""
    return _tags(content, {_ORIENTATION}).get(_ORIENTATION, (None,))[0]


def read_layout(content: bytes) -> Layout:
    """Read the header of a TIFF of one picture.

    Raises
    ------
    ValueError
        The header is damaged, or holds a thumbnail or several pictures, or samples of a kind that is not read.
    """
    tags = _tags(content)
    height, width = _one(tags, _HEIGHT), _one(tags, _WIDTH)
    samples = _one(tags, _SAMPLES, 1)
    compression, planar = _one(tags, _COMPRESSION, NONE), _one(tags, _PLANAR, 1) == 2 and samples > 1
    if compression not in _COMPRESSIONS:
        raise ValueError(
            f"a TIFF compressed with {_NAMES.get(compression, f'method {compression}')}; "
            "expected none, LZW, deflate, PackBits, fax or JPEG"
        )
    photometric = _photometric(tags, compression)
    dtype, bits = _sample(tags, samples, "<" if content[:2] == b"II" else ">")
    if photometric == PALETTE and (dtype.kind != "u" or bits > 16):
        raise damaged(f"a palette of {bits} bits")
    expected = 3 if photometric in (RGB, YCBCR) else 1
    if samples not in (expected, expected + 1):
        raise ValueError(f"a TIFF of {samples} samples a pixel; expected {expected}, or one more for alpha")
    if compression in (RLE, FAX3, FAX4) and (bits, samples) != (1, 1):
        raise damaged(f"fax of {samples} samples of {bits} bits")
    if compression == JPEG and (bits != 8 or dtype.kind != "u" or samples not in (1, 3) or planar):
        raise ValueError(f"a TIFF of JPEG of {samples} samples of {bits} bits; expected 1 or 3 of 8")
    # libtiff passes over the tag where no codec of its own reads it.
    predictor = _one(tags, _PREDICTOR, 1) if compression in (LZW, DEFLATE, OLD_DEFLATE) else 1
    if not (predictor == 1 or (predictor == 2 and bits in (8, 16, 32, 64)) or (predictor == 3 and dtype.kind == "f")):
        raise damaged(f"predictor {predictor} of {bits} bits")
    tiled = _TILES in tags
    if tiled:
        segment = _one(tags, _TILE_HEIGHT), _one(tags, _TILE_WIDTH)
        at, sizes = tags[_TILES], tags.get(_TILE_BYTES, ())
        if segment[0] * segment[1] > 16 * height * width + _LARGE_TILE:
            raise damaged(f"tiles of {segment[1]} x {segment[0]} pixels for {width} x {height}")
    else:
        segment = min(_one(tags, _STRIP_ROWS, height), height), width
        at, sizes = tags.get(_STRIPS, ()), tags.get(_STRIP_BYTES, ())
    down, across = -(-height // segment[0]), -(-width // segment[1])
    count = down * across * (samples if planar else 1)
    if len(at) < count or len(sizes) < count:
        raise damaged(f"places of {min(len(at), len(sizes))} segments; expected {count}")
    pictures = max([_described(text, height * width * samples) for text in _descriptions(content)], default=1)
    # A single picture of a stack may have kept the description.
    if pictures > 1 and compression == NONE and min(at[:count]) + pictures * sum(sizes[:count]) <= len(content):
        raise several(pictures)
    return Layout(
        height,
        width,
        samples,
        dtype,
        bits,
        photometric,
        compression,
        predictor,
        _one(tags, _FILL_ORDER, 1) == 2,
        planar,
        tags.get(_T4, (0,))[0],
        tags.get(_COLOURS, ()),
        bytes(tags.get(_JPEG_TABLES, ())),
        segment,
        tiled,
        tuple(zip(at[:count], sizes[:count], strict=True)),
    )


def _described(description: bytes, samples: int) -> int:
    """Pictures of so many samples that a description states, ImageJ's or tifffile's; 1 of any other."""
    if stack := _STACK.match(description):
        return int(stack[1])
    if shaped := _SHAPED.match(description):
        return math.prod(int(n) for n in shaped[1].split(b",") if n.strip()) // samples
    return 1


def _photometric(tags: Tags, compression: int) -> int:
    kind = tags.get(_KIND, (0,))[0]
    if kind & _REDUCED or kind & _MASK:
        raise ValueError(f"its first picture is a {'mask' if kind & _MASK else 'thumbnail'}; save the image itself")
    if _one(tags, _DEPTH, 1) != 1:
        raise several(_one(tags, _DEPTH))
    if _PHOTOMETRIC not in tags:
        raise ValueError("a TIFF that does not say what its samples are (no PhotometricInterpretation)")
    photometric = tags[_PHOTOMETRIC][0]
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE) and (photometric, compression) != (YCBCR, JPEG):
        raise ValueError(
            f"a TIFF of {_PHOTOMETRICS.get(photometric, f'photometric interpretation {photometric}')}; "
            "expected grey, RGB or a palette"
        )
    return photometric


def _sample(tags: Tags, samples: int, order: str) -> tuple[np.dtype, int]:
    """Type and bits of a sample."""
    depths, formats = set(tags.get(_BITS, (1,))[:samples]), set(tags.get(_FORMAT, (1,))[:samples])
    if len(depths) > 1 or len(formats) > 1:
        raise ValueError("a TIFF whose samples differ in bits or type; expected equal ones")
    bits, kind = depths.pop(), _FORMATS.get(formats.pop(), "complex")
    if kind == "u" and 1 <= bits <= 16:
        return np.dtype(f"{order}u{1 if bits <= 8 else 2}"), bits
    if (kind in ("u", "i") and bits in (8, 16, 32, 64)) or (kind == "f" and bits in (16, 32, 64)):
        return np.dtype(f"{order}{kind}{bits // 8}"), bits
    name = {"u": "whole", "i": "signed", "f": "floating-point"}.get(kind, kind)
    raise ValueError(f"a TIFF of {name} numbers of {bits} bits")


def _descriptions(content: Content) -> Iterator[bytes]:
    """Beginnings of the texts that the first directory holds as descriptions; tifffile may write two."""
    order, big, first = _start(content)
    layout, word = _ENTRY[big]
    entries, _ = _directory(content, first, order, big)
    for place in entries:
        tag, _, size, value = struct.unpack(f"{order}{layout}", content[place : place + entries.step])
        if tag == _DESCRIPTION:
            (start,) = struct.unpack(f"{order}{word}", value)
            yield value[:size] if size <= len(value) else content[start : start + min(size, _LONGEST)]


def _start(content: Content) -> tuple[str, bool, int]:
    """Order of bytes, whether it is a BigTIFF, and where the first directory lies."""
    order, big = "<" if content[:2] == b"II" else ">", content[:4] in BIG
    (first,) = struct.unpack(f"{order}Q", content[8:16]) if big else struct.unpack(f"{order}I", content[4:8])
    return order, big, first


def _tags(content: Content, wanted: Collection[int] = frozenset(_WANTED)) -> Tags:
    """Tags of the first directory that are wanted; there must be no second one."""
    try:
        order, big, first = _start(content)
        entries, following = _directory(content, first, order, big)
        seen = {first}
        while following and following not in seen:
            seen.add(following)
            _, following = _directory(content, following, order, big)
        tags = _read_tags(content, entries, order, big, wanted)
    except (struct.error, MemoryError, OverflowError) as error:
        raise damaged("a TIFF whose header reaches beyond the file") from error
    if len(seen) > 1:
        raise several(len(seen))
    return tags


def _directory(content: Content, at: int, order: str, big: bool) -> tuple[range, int]:
    """Places of the entries of a directory, and where the next directory lies, 0 for nowhere."""
    head, word, step = ("Q", "Q", 20) if big else ("H", "I", 12)
    start = at + struct.calcsize(head)
    (count,) = struct.unpack(f"{order}{head}", content[at:start])
    end = start + count * step
    (following,) = struct.unpack(f"{order}{word}", content[end : end + struct.calcsize(word)])
    return range(start, end, step), following


def _read_tags(content: Content, entries: range, order: str, big: bool, wanted: Collection[int]) -> Tags:
    layout, word = _ENTRY[big]
    tags: Tags = {}
    for place in entries:
        tag, kind, number, value = struct.unpack(f"{order}{layout}", content[place : place + entries.step])
        if tag not in wanted or tag in tags:
            continue
        if kind not in _TYPES or not number:
            raise damaged(f"tag {tag} has no value that can be read")
        size = number * struct.calcsize(_TYPES[kind])
        if size > len(value):
            (start,) = struct.unpack(f"{order}{word}", value)
            value = content[start : start + size]
        tags[tag] = struct.unpack(f"{order}{number}{_TYPES[kind]}", value[:size])
    return tags


def _one(tags: Tags, tag: int, default: int | None = None) -> int:
    """Value of a tag that is a positive whole number."""
    value = tags[tag][0] if tag in tags else default
    if not isinstance(value, int) or value < 1:
        raise damaged(f"tag {tag} is {'missing' if value is None else value}")
    return value
