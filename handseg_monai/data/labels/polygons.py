"""Outlines, as label files hold them: checked against the image that they belong to, and filled by each form's rule.

============== ==================== ============================================================================
rule           a corner's 0 is      a pixel belongs to the bone where
============== ==================== ============================================================================
COCO           the image's edge     its centre lies inside, as ``pycocotools`` tells on a grid of fifths of pixels
LabelMe        the image's edge     it lies inside or the outline runs through it, as LabelMe draws by Pillow
pixel centres  a pixel's centre     it lies inside or the outline runs through it, as ``cv2.fillPoly`` tells
============== ==================== ============================================================================

In all of them an outline that runs over itself is filled once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageDraw

from handseg_monai.bitplanes import Polygon
from handseg_monai.outlines import fill_outline, fill_overlaps, length_of, rounds, wind

OUTSIDE_TOLERANCE = 2
"""Pixels by which a point may lie outside the image; it is then moved to the edge."""
_FIFTHS = 5
_TINY, _LARGE = 3, 200
"""Sides of an image, in pixels, from which a label within 0 to 1 is one in shares, within 0 to 100 one in percent."""
_MOST_LENGTH, _LEAST_BOX = 100, 100
"""Length of an outline at most, as a multiple of the width and height of its box, which count as so many pixels."""

Box = tuple[slice, slice]
"""Rows and columns."""
Fill = Callable[[np.ndarray, tuple[int, int]], tuple[Box, np.ndarray]]
"""From corners, float64 (N, 2), and the image's (height, width): a box within the image, and a mask of it, 0 and 1."""


def corners(points: object) -> np.ndarray:
    """Check that points are [x, y] pairs of finite numbers, at least 3: float64 (N, 2). ``ValueError`` otherwise."""
    found = pairs(points)
    if len(found) < 3:
        raise ValueError(f"a polygon of {len(found)} points; expected at least 3")
    return found


def pairs(points: object) -> np.ndarray:
    """Check that points are [x, y] pairs of finite numbers: float64 (N, 2). ``ValueError`` otherwise."""
    try:
        found = np.array(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.empty(0)
    if found.ndim != 2 or found.shape[1] != 2:
        raise ValueError("'points' is not a list of [x, y] pairs")
    if not np.isfinite(found).all():
        raise ValueError("some points are NaN or infinite")
    return found


def require_inside(points: np.ndarray, shape: tuple[int, int], last: int = 0) -> None:
    """Raise ``ValueError`` where points lie more than :data:`OUTSIDE_TOLERANCE` outside an image of ``shape``.

    Its last column is at ``width - last``: 1 where coordinates count pixels' centres, 0 where they count their edges.
    """
    edge = np.array(shape[::-1]) - last
    outside = np.maximum(-points, points - edge).max(initial=0)
    if outside > OUTSIDE_TOLERANCE:
        swapped = np.maximum(-points[:, ::-1], points[:, ::-1] - edge).max() <= OUTSIDE_TOLERANCE
        hint = "; x and y may be exchanged: expected [x, y]" if swapped else ""
        raise ValueError(f"a point lies {outside:.0f} pixels outside the image of {shape[1]} x {shape[0]} pixels{hint}")


def require_traced(points: np.ndarray) -> None:
    """Raise ``ValueError`` where an outline, (N, 2), runs to and fro in its box as no bone's does.

    Time and memory that filling takes grow with an outline's length, so this bounds them by the image's sides.
    """
    length, (width, height) = length_of(points), np.ptp(points, axis=0)
    if length > _MOST_LENGTH * max(width + height, _LEAST_BOX):
        raise ValueError(
            f"an outline of {len(points)} points that runs through {length:.0f} pixels in a box of {width:.0f} x "
            f"{height:.0f}; expected one that goes round the bone: draw it again"
        )


def require_pixels(outlines: Iterable[tuple[str, np.ndarray]], shape: tuple[int, int]) -> None:
    """Raise ``ValueError`` where points are shares of the image's size, of one class or of all, or percent.

    Parameters
    ----------
    outlines
        Class and points, float64 (N, 2), of each outline of an image.
    shape
        (height, width).
    """
    of_class: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    for name, points in outlines:
        of_class[name].append(points)
    joined = {name: np.concatenate(points) for name, points in of_class.items()}
    shares = [name for name, points in joined.items() if min(shape) > _TINY and _within(points, 1)]
    if shares:
        which = "all coordinates" if len(shares) == len(joined) else f"all coordinates of {', '.join(shares)}"
        raise ValueError(f"{which} lie within 0 to 1, as shares of the image's size do; expected pixels")
    if joined and min(shape) > _LARGE and all(_within(points, 100) for points in joined.values()):
        raise ValueError(
            f"all coordinates lie within 0 to 100 in an image of {shape[1]} x {shape[0]} pixels, as percent do; "
            "expected pixels"
        )


def _within(points: np.ndarray, most: float) -> bool:
    return bool(points.min() >= 0 and points.max() <= most)


def require_drawn(planes: np.ndarray, outlined: Iterable[tuple[str, int]]) -> None:
    """Raise ``ValueError`` where bit planes, int32 (H, W), lack a bone that is outlined: it would count as absent.

    ``outlined`` holds class and bone index of each outline.
    """
    drawn = int(np.bitwise_or.reduce(planes, axis=None))
    if empty := sorted({name for name, bone in outlined if not drawn >> bone & 1}):
        raise ValueError(f"{', '.join(empty)}: outlined, but covers no pixel; correct the outline or delete it")


def polygon(points: object, shape: tuple[int, int]) -> Polygon:
    """Check points, [x, y] pairs of pixel centres of an image of ``shape``, and round them: int32 (N, 2) inside it.

    Raises
    ------
    ValueError
        No pairs, fewer than 3, not finite, more than :data:`OUTSIDE_TOLERANCE` pixels outside the image, or an outline
        that runs to and fro.
    """
    found = np.rint(corners(points))
    require_inside(found, shape, last=1)
    require_traced(found)
    return np.clip(found, 0, (shape[1] - 1, shape[0] - 1)).astype(np.int32)


def fill_centres(points: np.ndarray, shape: tuple[int, int]) -> tuple[Box, np.ndarray]:
    """Fill an outline whose coordinates count pixels' centres, as the competition does; see :data:`Fill`."""
    return _fill_whole(polygon(points, shape), shape, fill_outline)


def fill_labelme(points: np.ndarray, shape: tuple[int, int]) -> tuple[Box, np.ndarray]:
    """Fill an outline as LabelMe does, the pixels that it runs through included; see :data:`Fill`."""
    require_inside(points, shape)
    require_traced(points)

    whole = np.trunc(points).astype(np.int32)
    corner = np.maximum(whole.min(axis=0), 0)

    def fill(mask: np.ndarray, ring: np.ndarray) -> None:
        # Pillow's lines depend on where in the picture they lie: in the box alone a pixel may differ.
        left, top = corner.tolist()
        picture = Image.new("L", (left + mask.shape[1], top + mask.shape[0]))
        ImageDraw.Draw(picture).polygon([(x, y) for x, y in (ring + corner).tolist()], outline=1, fill=1)
        mask |= np.asarray(picture)[top:, left:]

    return _fill_whole(whole, shape, fill)


def fill_coco(points: np.ndarray, shape: tuple[int, int]) -> tuple[Box, np.ndarray]:
    """Fill an outline as ``pycocotools`` does: pixels whose centre lies inside; see :data:`Fill`."""
    require_inside(points, shape)
    require_traced(points)
    parts = [_crossings(part, shape) for part in rounds(points)]
    x, y, _ = np.concatenate(parts, axis=1)
    if not x.size:
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.uint8)
    left, top, right, bottom = int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max())
    mask = np.zeros((bottom - top, right - left), np.uint8)
    for columns, rows, sign in parts:
        mask |= wind(columns - left, rows - top, sign, mask.shape) != 0
    return (slice(top, bottom), slice(left, right)), mask


def _fill_whole(
    ring: np.ndarray, shape: tuple[int, int], fill: Callable[[np.ndarray, np.ndarray], None]
) -> tuple[Box, np.ndarray]:
    left, top = np.maximum(ring.min(axis=0), 0).tolist()
    right, bottom = np.minimum(ring.max(axis=0) + 1, shape[::-1]).tolist()
    mask = np.zeros((max(bottom - top, 0), max(right - left, 0)), np.uint8)
    if mask.size:
        ring = ring - np.array([left, top], np.int32)
        fill(mask, ring)
        fill_overlaps(mask, ring, fill)
    return (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])), mask


def _crossings(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Where an outline crosses the middle of a column of pixels: column, first row below, sign, int64 (3, N).

    Corners are rounded to fifths of a pixel, and lines between them run in such steps, as in ``pycocotools``.
    """
    start = np.trunc(_FIFTHS * points + 0.5).astype(np.int64)
    end = np.roll(start, -1, axis=0)
    span = np.abs(end - start)
    steps = span.max(axis=1)
    line = np.repeat(np.arange(len(start)), steps + 1)
    step = np.arange(len(line)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    long = (span[:, 1] > span[:, 0]).astype(np.int64)  # the axis that a line takes whole steps along
    one, two = (np.take_along_axis(of, long[:, None], axis=1)[:, 0] for of in (start, end))
    back = one > two
    low, high = np.where(back[:, None], end, start), np.where(back[:, None], start, end)
    along = np.where(back[line], steps[line] - step, step)
    slope = (high - low) / np.maximum(steps, 1)[:, None]
    place = np.trunc(low[line] + slope[line] * along[:, None] + 0.5).astype(np.int64)
    exact = low[line] + along[:, None]
    u, v = (np.where(long[line] == axis, exact[:, axis], place[:, axis]) for axis in (0, 1))
    across = np.diff(u)
    x, y = np.minimum(u[1:], u[:-1]), np.minimum(v[1:], v[:-1])
    at = (across != 0) & (x % _FIFTHS == _FIFTHS // 2) & (x >= 0) & (x // _FIFTHS < shape[1])
    rows = np.ceil(np.clip((y[at] + 0.5) / _FIFTHS - 0.5, 0, shape[0])).astype(np.int64)
    return np.stack([x[at] // _FIFTHS, rows, np.sign(across[at])])
