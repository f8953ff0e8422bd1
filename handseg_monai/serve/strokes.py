"""Strokes of a hand that corrects a bone: brush, eraser and polygon, as the bone's new mask within a box.

Points are x and y in pixels of the image, as outlines on the page are: a pixel in row r and column c covers (c, r) to
(c + 1, r + 1), and belongs to a stroke where its centre does. Points may lie outside of the image.
"""

from __future__ import annotations

import numpy as np

from handseg_monai.compiled import compiled
from handseg_monai.serve.state import Box, RequestError

LEAST_RADIUS = 0.5**0.5
"""Half a pixel's diagonal: the pixel that a point lies in always belongs to the stroke."""
FARTHEST = 1e6
"""Pixels by which points may lie from the image's corner."""
MOST_POINTS = 10_000
"""Of one stroke."""
_MOST_WORK = 1e9
"""Pixels that the points of a line may cover, each counted for itself: about a second."""


def brush(
    planes: np.ndarray, bone: int, points: np.ndarray, radius: float, erase: bool = False
) -> tuple[Box, np.ndarray]:
    """Draw a line with round ends on a bone's mask, or rub it out.

    Parameters
    ----------
    planes
        Bit planes, int32 (H, W); they stay as they are.
    bone
        Index of the bone.
    points
        Of the line, (N, 2), one or more.
    radius
        Half the line's width in pixels, :data:`LEAST_RADIUS` at least.
    erase
        Whether to rub out.

    Returns
    -------
    box
        Rows and columns around the line in the image; they may be empty.
    mask
        Boolean, of the size of ``box``: the bone's new mask there.

    Raises
    ------
    ValueError
        Points or radius are not finite numbers of the image's neighbourhood, or are too much at once.
    """
    points = _points(points, 1)
    if not 0 <= radius <= FARTHEST:
        raise RequestError(f"radius {radius}; expected a number of pixels from 0 to {FARTHEST:.0f}")
    radius = max(float(radius), LEAST_RADIUS)
    if len(points) * min((2 * radius) ** 2, planes.size) > _MOST_WORK:
        raise RequestError(f"a line of {len(points)} points is too much at a radius of {radius:g}; draw it in parts")
    box = _box_around(points, radius, planes.shape)
    return box, _changed(planes, bone, box, _line(points, radius, box), erase)


def polygon(planes: np.ndarray, bone: int, points: np.ndarray, cut: bool = False) -> tuple[Box, np.ndarray]:
    """Add what a polygon encloses to a bone's mask, or cut it out.

    A pixel is enclosed where the polygon winds round its centre, however often and whichever way.

    Parameters
    ----------
    planes, bone
        See :func:`brush`.
    points
        Corners, (N, 2), three or more.
    cut
        Whether to cut out.

    Returns
    -------
    box, mask
        See :func:`brush`.

    Raises
    ------
    ValueError
        Points are fewer than three, too many, or not finite numbers of the image's neighbourhood.
    """
    points = _points(points, 3)
    box = _box_around(points, 0, planes.shape)
    return box, _changed(planes, bone, box, _enclosed(points, box), cut)


def clear(planes: np.ndarray, bone: int) -> tuple[Box, np.ndarray]:
    """Rub out all of a bone; for parameters and results see :func:`brush`."""
    there = planes & np.int32(1 << bone)
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    if not rows.size:
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), bool)
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return box, np.zeros((box[0].stop - box[0].start, box[1].stop - box[1].start), bool)


def _points(points: np.ndarray, least: int) -> np.ndarray:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < least:
        raise RequestError(f"points of shape {points.shape}; expected {least} or more pairs of x and y")
    if len(points) > MOST_POINTS:
        raise RequestError(f"{len(points)} points; expected at most {MOST_POINTS} in a stroke")
    if not (np.abs(points) <= FARTHEST).all():
        raise RequestError(f"points beyond the image; expected finite numbers of pixels up to {FARTHEST:.0f}")
    return points


def _box_around(points: np.ndarray, radius: float, shape: tuple[int, ...]) -> Box:
    """Rows and columns of the image whose pixels may have their centre within a radius of the points."""
    left, top = np.floor(points.min(axis=0) - radius).astype(int)
    right, bottom = np.ceil(points.max(axis=0) + radius).astype(int)
    (first_row, last_row), (first_column, last_column) = (
        np.clip(ends, 0, size) for ends, size in zip(((top, bottom), (left, right)), shape, strict=True)
    )
    return slice(int(first_row), int(last_row)), slice(int(first_column), int(last_column))


def _changed(planes: np.ndarray, bone: int, box: Box, stroke: np.ndarray, away: bool) -> np.ndarray:
    mask = (planes[box] & np.int32(1 << bone)) != 0
    return mask & ~stroke if away else mask | stroke


def _line(points: np.ndarray, radius: float, box: Box) -> np.ndarray:
    """Pixels of a box whose centre lies within a radius of a line: boolean, of the box's size."""
    rows, columns = box
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    centred = np.ascontiguousarray(points - (columns.start + 0.5, rows.start + 0.5))
    _draw_line(mask, *mask.shape, centred, len(centred), radius)
    return mask.view(bool)


@compiled("int64", "uint8*", "int64", "int64", "float64*", "int64", "float64")
def _draw_line(mask, height, width, points, count, radius):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set the pixels of a mask whose place lies within a radius of the pieces between one point and the next."""
    square = radius * radius
    for piece in range(max(count - 1, 1)):
        ax, ay = points[2 * piece], points[2 * piece + 1]
        last = min(piece + 1, count - 1)
        bx, by = points[2 * last], points[2 * last + 1]
        across, down = bx - ax, by - ay
        length = across * across + down * down
        for y in range(max(int(np.ceil(min(ay, by) - radius)), 0), min(int(max(ay, by) + radius) + 1, height)):
            # Only what of the piece lies within the radius of the row can be near.
            near, far = ax, bx
            if down != 0:
                before, after = (y - radius - ay) / down, (y + radius - ay) / down
                near = ax + min(max(before, 0.0), 1.0) * across
                far = ax + min(max(after, 0.0), 1.0) * across
            left, right = min(near, far) - radius, max(near, far) + radius
            for x in range(max(int(left) - 1, 0), min(int(right) + 2, width)):
                if mask[y * width + x]:
                    continue
                from_x, from_y, to_x, to_y = x - ax, y - ay, x - bx, y - by
                along, beside = from_x * across + from_y * down, from_x * down - from_y * across
                if (
                    from_x * from_x + from_y * from_y <= square
                    or to_x * to_x + to_y * to_y <= square
                    or (0 < along < length and beside * beside <= square * length)
                ):
                    mask[y * width + x] = 1
    return 0


def _enclosed(points: np.ndarray, box: Box) -> np.ndarray:
    """Pixels of a box whose centre a polygon winds round: boolean, of the box's size."""
    rows, columns = box
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    centred = np.ascontiguousarray(points - (columns.start + 0.5, rows.start + 0.5))
    _draw_polygon(mask, np.zeros(mask.shape, np.int16), *mask.shape, centred, len(centred))
    return mask.view(bool)


@compiled("int64", "uint8*", "int16*", "int64", "int64", "float64*", "int64")
def _draw_polygon(mask, turns, height, width, points, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set the pixels of a mask whose place a polygon winds round; ``turns`` are zeros of the mask's size.

    A side that crosses a row left of a pixel, or on it, turns round this and all pixels to the right of it.
    """
    for corner in range(count):
        other = (corner + 1) % count
        ax, ay, bx, by = points[2 * corner], points[2 * corner + 1], points[2 * other], points[2 * other + 1]
        sign = 1 if ay < by else -1
        for y in range(max(int(np.ceil(min(ay, by))), 0), min(int(np.ceil(max(ay, by))), height)):
            x = max(int(np.ceil(ax + (y - ay) * (bx - ax) / (by - ay))), 0)
            if x < width:
                turns[y * width + x] += sign
    for y in range(height):
        turn = 0
        for x in range(width):
            turn += turns[y * width + x]
            mask[y * width + x] = turn != 0
    return 0
