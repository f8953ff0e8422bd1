"""Pictures of radiographs with their bones: overlays and contact sheets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes, reduce
from handseg_monai.bones import BONES
from handseg_monai.files import atomic_path

_SHIFT = 4
"""Bits of a pixel's fraction that OpenCV draws by."""
_SUBPIXELS = 1 << _SHIFT
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL = 22
"""Pixels of its capitals' height at scale 1."""
_FILLED = 0.6
"""Share of the distance of two lines that capitals take, at most."""
_LEADER = (150, 150, 150)
"""Colour of lines from a note to what it is about."""


def grey8(radiograph: np.ndarray, black: float = 0.0, white: float = 1.0) -> np.ndarray:
    """Stretch a radiograph of any dtype, (H, W), to uint8 for showing.

    ``black`` and ``white`` are shares of its range of grey values, from percentile 0.5 (0) to 99.5 (1).
    """
    bottom, top = np.percentile(radiograph, (0.5, 99.5))
    low, high = (bottom + share * (top - bottom) for share in (black, white))
    return (np.clip((radiograph - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def overlay(radiograph: np.ndarray, planes: np.ndarray, fill: float = 0.25) -> np.ndarray:
    """Draw each bone over a radiograph: its area tinted, its outline in full colour.

    Parameters
    ----------
    radiograph
        uint8 (H, W).
    planes
        Bit planes, int32 (H, W).
    fill
        Opacity of the tint, 0 to 1.

    Returns
    -------
    picture
        uint8 (H, W, 3), red, green, blue. Overlapping bones show both outlines.
    """
    if radiograph.dtype != np.uint8 or radiograph.shape != planes.shape:
        raise ValueError(
            f"expected a uint8 radiograph of the planes' shape {planes.shape}, got {radiograph.dtype} "
            f"{radiograph.shape}"
        )
    picture = np.repeat(radiograph[..., None], 3, axis=2)
    for k, box in boxes(planes):
        mask = planes[box] >> k & 1 > 0
        picture[box][mask] = ((1 - fill) * picture[box][mask] + fill * np.array(BONES[k].colour)).astype(np.uint8)
    _outline(picture, planes)
    return picture


def _outline(picture: np.ndarray, planes: np.ndarray, colour: tuple[int, int, int] | None = None) -> None:
    thickness = max(1, round(max(planes.shape) / 700))
    for k, (rows, columns) in boxes(planes):
        mask = (planes[rows, columns] >> k & 1).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(columns.start, rows.start))
        cv2.drawContours(picture, contours, -1, colour or BONES[k].colour, thickness, cv2.LINE_AA)


MISSED, ADDED = (64, 156, 255), (255, 92, 60)
"""Colours, red, green, blue, of what a prediction lacks, and of what it has too much."""


def difference(radiograph: np.ndarray, planes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Draw where the bones of a prediction and those of the truth differ.

    Parameters
    ----------
    radiograph
        uint8 (H, W).
    planes, truth
        Bit planes, int32 (H, W).

    Returns
    -------
    picture
        uint8 (H, W, 3), red, green, blue: outlines of the truth in white, those of the prediction in the bones'
        colours over them, and between the two :data:`MISSED` where the prediction lacks a bone of the truth,
        :data:`ADDED` where the truth lacks one of the prediction.
    """
    picture = np.repeat(radiograph[..., None], 3, axis=2)
    for colour, only in ((MISSED, truth & ~planes), (ADDED, planes & ~truth)):
        picture[only != 0] = (0.4 * picture[only != 0] + 0.6 * np.array(colour)).astype(np.uint8)
    _outline(picture, truth, (255, 255, 255))
    _outline(picture, planes)
    return picture


def draw_lines(
    picture: np.ndarray, lines: Iterable[tuple[tuple[float, float], tuple[float, float]]], thickness: int | None = None
) -> None:
    """Draw segments into a picture, uint8 (H, W, 3), white with a dark edge.

    Each is a pair of points (x, y) in pixels; the upper left corner of the first pixel is (0, 0).
    """
    thickness = thickness or max(1, round(max(picture.shape) / 1000))
    ends = [[tuple(round(_SUBPIXELS * (value - 0.5)) for value in point) for point in line] for line in lines]
    for colour, width in (((0, 0, 0), thickness + 2), ((255, 255, 255), thickness)):
        for start, end in ends:
            cv2.line(picture, start, end, colour, width, cv2.LINE_AA, _SHIFT)


def write_above(picture: np.ndarray, text: str, planes: np.ndarray) -> None:
    """Write a text into a picture, uint8 (H, W, 3), above the bones in bit planes, int32 (H, W), or over their tips."""
    rows, columns = np.nonzero(planes)
    if not len(rows):
        return
    scale = max(planes.shape) / 900
    (width, height), below = cv2.getTextSize(text, _FONT, scale, 2)
    x = int(np.clip(0.5 * (columns.min() + columns.max() - width), 0, max(picture.shape[1] - width, 0)))
    y = max(int(rows.min()) - below, height)
    for colour, thickness in (((0, 0, 0), 5), ((255, 255, 255), 2)):
        cv2.putText(picture, text, (x, y), _FONT, scale, colour, thickness, cv2.LINE_AA)


def with_notes(picture: np.ndarray, notes: Sequence[tuple[str, tuple[float, float]]]) -> np.ndarray:
    """Widen a picture by black margins, and write notes there, each with a thin line to its point of the picture.

    Parameters
    ----------
    picture
        uint8 (H, W, 3).
    notes
        Texts with their points (x, y), as in :func:`draw_lines`. The half of them that lies further left is written on
        the left, from top to bottom as the points lie.

    Returns
    -------
    wider
        uint8 (H, W + 2 margins, 3).
    """
    if not notes:
        return picture
    height, width = picture.shape[:2]
    from_left = sorted(notes, key=lambda note: note[1][0])
    half = len(notes) // 2
    room = height / (len(notes) - half)
    scale = min(max(height, width) / 1800, _FILLED * room / _CAPITAL)
    step = _CAPITAL * scale / _FILLED
    sizes = {text: cv2.getTextSize(text, _FONT, scale, 1)[0] for text, _ in notes}
    gap = round(_CAPITAL * scale)
    margin = max(across for across, _ in sizes.values()) + 2 * gap
    wider = cv2.copyMakeBorder(picture, 0, 0, margin, margin, cv2.BORDER_CONSTANT)
    for on_right, of_side in enumerate((from_left[:half], from_left[half:])):
        ordered = sorted(of_side, key=lambda note: note[1][1])
        middles = _apart([y for _, (_, y) in ordered], step, height)
        for (text, (x, y)), middle in zip(ordered, middles, strict=True):
            across, tall = sizes[text]
            left = width + margin + gap if on_right else margin - gap - across
            edge = left - gap // 2 if on_right else margin - gap // 2
            cv2.line(wider, (edge, round(middle)), (round(x + margin), round(y)), _LEADER, 1, cv2.LINE_AA)
            cv2.putText(wider, text, (left, round(middle + tall / 2)), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return wider


def _apart(wanted: Sequence[float], step: float, end: float) -> list[float]:
    """Places of rising values, moved so that they lie ``step`` apart, and half of that from 0 and from the end."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + step if places else 0.5 * step))
    last = end + 0.5 * step
    for number, place in reversed(list(enumerate(places))):
        places[number] = last = min(place, last - step)
    return places


def shrink(radiograph: np.ndarray, long_side: int) -> np.ndarray:
    """Bring a radiograph of any dtype, (H, W), to at most ``long_side`` pixels for showing."""
    height, width = radiograph.shape
    scale = min(1.0, long_side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return radiograph if size == (height, width) else cv2.resize(radiograph, size[::-1], interpolation=cv2.INTER_AREA)


def fit(radiograph: np.ndarray, planes: np.ndarray, long_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Bring a radiograph, (H, W), and its bit planes, int32 (H, W), to at most ``long_side`` pixels for showing."""
    small = shrink(radiograph, long_side)
    size = small.shape[0], small.shape[1]
    return small, planes if size == planes.shape else reduce(planes, size)


def sheet(pictures: Sequence[np.ndarray], columns: int, gap: int = 6) -> np.ndarray:
    """Arrange pictures, uint8 (H, W) or (H, W, 3) of any size, in a grid on black: uint8 (H, W, 3)."""
    colour = [p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=2) for p in pictures]
    height, width = (max(p.shape[axis] for p in colour) for axis in (0, 1))
    rows = -(-len(colour) // columns)
    result = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), np.uint8)
    for i, picture in enumerate(colour):
        top = (i // columns) * (height + gap) + (height - picture.shape[0]) // 2
        left = (i % columns) * (width + gap) + (width - picture.shape[1]) // 2
        result[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return result


def webp(picture: np.ndarray, quality: int) -> bytes:
    """Encode a picture, uint8 (H, W), as WebP of a quality from 1 to 100."""
    done, encoded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise OSError("a picture could not be encoded")
    return encoded.tobytes()


def save(path: str | Path, picture: np.ndarray, comment: bytes = b"") -> None:
    """Write a picture, uint8 (H, W) or (H, W, 3) in red, green, blue, atomically; the suffix says the format.

    A JPEG may hold a comment, at its beginning.
    """
    path = Path(path)
    bgr = picture if picture.ndim == 2 else picture[..., ::-1]
    encoded = cv2.imencode(path.suffix, np.ascontiguousarray(bgr))[1].tobytes()
    if comment:
        encoded = encoded[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + encoded[2:]
    with atomic_path(path) as part:
        part.write_bytes(encoded)
