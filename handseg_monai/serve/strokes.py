"""Strokes of a hand that corrects a bone: brush, eraser and polygon, as the bone's new mask within a box.

Points are x and y in pixels of the image, as outlines on the page are: a pixel in row r and column c covers (c, r) to
(c + 1, r + 1), and belongs to a stroke where its centre does. Points may lie outside of the image.
"""

from __future__ import annotations

import numpy as np

from handseg_monai.outlines import wind
from handseg_monai.serve.state import Box

LEAST_RADIUS = 0.5**0.5
"""Half a pixel's diagonal: the pixel that a point lies in always belongs to the stroke."""
FARTHEST = 1e6
"""Pixels by which points may lie from the image's corner."""
_AT_ONCE = 1 << 16
"""Rows of pieces of a line that are looked at together."""


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
        Points or radius are not finite numbers of the image's neighbourhood.
    """
    points = _points(points, 1)
    if not 0 <= radius <= FARTHEST:
        raise ValueError(f"radius {radius}; expected a number of pixels from 0 to {FARTHEST:.0f}")
    radius = max(float(radius), LEAST_RADIUS)
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
        Points are fewer than three, or not finite numbers of the image's neighbourhood.
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
        raise ValueError(f"points of shape {points.shape}; expected {least} or more pairs of x and y")
    if not (np.abs(points) <= FARTHEST).all():
        raise ValueError(f"points beyond the image; expected finite numbers of pixels up to {FARTHEST:.0f}")
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
    """Pixels of a box whose centre lies within a radius of a line: boolean, of the box's size.

    The pixels of a row that lie near one piece of the line are neighbours: their first and last one are found for all
    pieces and rows at once.
    """
    rows, columns = box
    height, width = rows.stop - rows.start, columns.stop - columns.start
    edges = np.zeros((height, width + 1), np.int32)
    start, end = (points[:-1], points[1:]) if len(points) > 1 else (points, points)
    top = np.floor(np.minimum(start[:, 1], end[:, 1]) - radius).astype(np.int64)
    bottom = np.ceil(np.maximum(start[:, 1], end[:, 1]) + radius).astype(np.int64)
    top, bottom = np.clip(top, rows.start, rows.stop), np.clip(bottom, rows.start, rows.stop)
    piece = np.repeat(np.arange(len(start)), bottom - top)
    row = np.arange(len(piece)) - np.repeat(np.cumsum(bottom - top) - (bottom - top), bottom - top) + top[piece]
    for first in range(0, len(piece), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        _span(edges, start[piece[part]], end[piece[part]], row[part], radius, box)
    return np.cumsum(edges[:, :-1], axis=1, dtype=np.int32) > 0


def _span(edges: np.ndarray, start: np.ndarray, end: np.ndarray, row: np.ndarray, radius: float, box: Box) -> None:
    """Enter where the pixels within the radius of pieces of a line begin (1) and end (-1) in a row of each."""
    y = row + 0.5
    nearest = _nearest(start, end, y, radius)
    reached = np.isfinite(nearest[0])
    start, end, row, y = start[reached], end[reached], row[reached], y[reached]

    def within(column: np.ndarray) -> np.ndarray:
        return _is_within(column + 0.5, y, start, end, radius)

    left, right = (np.round(side[reached] - 0.5).astype(np.int64) for side in nearest)
    for step in (-1, 1):  # rounding may have gone a pixel too far, or not far enough
        side = left if step < 0 else right
        side += np.where(within(side + step), step, 0)
        side -= np.where(within(side), 0, step)
    found = within(left) & within(right) & (left <= right)
    rows, columns = box
    first = np.clip(left[found] - columns.start, 0, columns.stop - columns.start)
    last = np.clip(right[found] + 1 - columns.start, 0, columns.stop - columns.start)
    np.add.at(edges, (row[found] - rows.start, first), 1)
    np.add.at(edges, (row[found] - rows.start, last), -1)


def _nearest(start: np.ndarray, end: np.ndarray, y: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Where a row at height ``y`` enters and leaves what lies within the radius of a piece, but for rounding.

    That is a circle round each end, and the two sides between them.
    """
    down = end[:, 1] - start[:, 1]
    aside = (end - start)[:, ::-1] * (-1, 1)
    length = np.hypot(aside[:, 0], aside[:, 1])
    aside = np.divide(radius * aside, length[:, None], out=np.zeros_like(aside), where=length[:, None] > 0)
    found = []
    for centre in (start, end):
        reach = radius * radius - (y - centre[:, 1]) ** 2
        half = np.sqrt(np.where(reach >= 0, reach, np.nan))
        found += [centre[:, 0] - half, centre[:, 0] + half]
    for side in (start + aside, start - aside):
        share = np.divide(y - side[:, 1], down, out=np.full_like(y, np.nan), where=down != 0)
        share[(share < 0) | (share > 1)] = np.nan
        found.append(side[:, 0] + share * (end - start)[:, 0])
    return np.fmin.reduce(found), np.fmax.reduce(found)


def _is_within(x: np.ndarray, y: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    """Whether points lie within a radius of pieces of a line, (N, 2) each: boolean (N,)."""
    across, down = (end - start).T
    from_x, from_y = x - start[:, 0], y - start[:, 1]
    to_x, to_y = x - end[:, 0], y - end[:, 1]
    along, length = from_x * across + from_y * down, across * across + down * down
    beside = from_x * down - from_y * across
    square = radius * radius
    return np.asarray(
        (from_x * from_x + from_y * from_y <= square)
        | (to_x * to_x + to_y * to_y <= square)
        | ((along > 0) & (along < length) & (beside * beside <= square * length))
    )


def _enclosed(points: np.ndarray, box: Box) -> np.ndarray:
    """Pixels of a box whose centre a polygon winds round: boolean, of the box's size."""
    rows, columns = box
    start = points - (columns.start + 0.5, rows.start + 0.5)
    end = np.roll(start, -1, axis=0)
    width = columns.stop - columns.start
    first = np.clip(np.ceil(np.minimum(start[:, 0], end[:, 0])), 0, width).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(start[:, 0], end[:, 0])), 0, width).astype(np.int64)
    edge = np.repeat(np.arange(len(start)), last - first)
    x = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - last, last - first)
    across, down = (end - start)[edge].T
    y = start[edge, 1] + (x - start[edge, 0]) * down / across
    turns = wind(x, np.ceil(y).astype(np.int64), np.sign(across).astype(np.int64), (rows.stop - rows.start, width))
    return np.asarray(turns != 0)
