"""Outlines of bones with parts of a pixel, and what is measured on one: extents, cuts, tangents, distances.

Points in the plane are complex numbers, x + iy, y down, in millimetres, or in pixels where no spacing is known; the
upper left corner of the image is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes, largest_piece
from handseg_monai.compiled import compiled
from handseg_monai.measure.measures import NotMeasured
from handseg_monai.measure.spacing import Spacing

LEAST_PIXELS = 30
"""Pixels of a bone that can be measured."""
_SMOOTH = 1.0
"""Pixels by which the stairs of a mask's edge are smoothed."""
_FRAME = 5
"""Pixels around a mask that hold what smoothing spreads."""
_WHOLE = 0.8
"""Share of a bone's pixels that its smoothed outline must hold: smoothing parts a bone of one or two pixels' width."""
_AT_BORDER = 1.5
"""Pixels within which the border of the image cuts a bone."""
_ALONG, _ACROSS = 0, 1
"""Of a complex number, the part in memory by which an outline is cut: real or imaginary."""


@dataclass(frozen=True)
class Outline:
    """Outline of the largest piece of a bone, without its holes."""

    ring: np.ndarray
    """Its points, complex128 (N,), about a pixel apart; the first follows the last."""
    at_border: np.ndarray
    """Bool (N,): the image's border cuts the bone here."""
    whole: bool = True
    """Whether smoothing left the bone in one piece."""

    @cached_property
    def _moments(self) -> tuple[complex, complex]:
        """Centre of the area within, and its main direction."""
        points = np.stack([self.ring.real, self.ring.imag], axis=1)
        corner = points.min(axis=0)
        scale = 1e3 / float(np.ptp(points))
        m = cv2.moments(((points - corner) * scale).astype(np.float32)[:, None])
        if not m["m00"]:
            raise NotMeasured("the outline of a bone holds no area")
        centre = complex(m["m10"], m["m01"]) / m["m00"] / scale + complex(*corner)
        # An angle of twice the direction's, for a direction and its opposite are the same.
        way = np.exp(0.5j * np.angle(complex(m["mu20"] - m["mu02"], 2 * m["mu11"])))
        return complex(centre), complex(way)

    @property
    def middle(self) -> complex:
        """Centre of the area within."""
        return self._moments[0]

    @property
    def main(self) -> complex:
        """Unit vector of the direction in which the area spreads most; its sign means nothing."""
        return self._moments[1]

    def seen_from(self, origin: complex, way: complex) -> np.ndarray:
        """Points as complex128 (N,): real along a unit vector from an origin, imaginary a quarter turn clockwise."""
        return (self.ring - origin) * np.conj(way)

    def furthest(self, way: complex, among: np.ndarray | None = None) -> complex:
        """Return the point that lies furthest along a vector, of all or of some, bool (N,)."""
        points = self.ring if among is None else self.ring[among]
        if not points.size:
            raise NotMeasured("the outline of a bone has no point where its end should lie")
        return complex(points[int(np.argmax((points * np.conj(way)).real))])

    def cuts(self, origin: complex, way: complex, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cut the bone across a line.

        Parameters
        ----------
        origin, way
            A point of the line, and its unit vector.
        at
            Places along the line, float64 (K,).

        Returns
        -------
        low, high
            float64 (K,): where a line across enters and leaves the outline, measured a quarter turn clockwise from
            ``way``; NaN where it misses it.
        """
        return _crossed(self.seen_from(origin, way), _ALONG, at)

    def ends(self, origin: complex, way: complex, band: float) -> tuple[float, float]:
        """Return the least and the greatest extent along a line of what lies within ``band`` on either side of it."""
        turned = self.seen_from(origin, way)
        low, high = _crossed(turned, _ACROSS, np.array([-band, 0.0, band]))
        every = np.concatenate([low, high, turned.real[np.abs(turned.imag) <= band]])
        return float(np.fmin.reduce(every)), float(np.fmax.reduce(every))


def _crossed(turned: np.ndarray, part: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where an outline, complex128 (N,), crosses each value of one part, the least and the greatest other part."""
    places, points = np.array(at, np.float64), np.ascontiguousarray(turned, np.complex128)
    low, high = np.empty_like(places), np.empty_like(places)
    _cross(points.view(np.float64), points.size, part, places, places.size, low, high)
    return low, high


@compiled("int64", "float64*", "int64", "int64", "float64*", "int64", "float64*", "float64*")
def _cross(points, count, part, at, places, low, high):  # type: ignore[no-untyped-def]  # pragma: no cover
    for k in range(places):
        low[k] = high[k] = np.nan
    for end in range(count):
        start = end - 1 if end else count - 1
        near, far = points[2 * start + part], points[2 * end + part]
        for k in range(places):
            if (near > at[k]) != (far > at[k]):
                other = points[2 * start + 1 - part]
                crossed = other + (at[k] - near) / (far - near) * (points[2 * end + 1 - part] - other)
                if not low[k] <= crossed:
                    low[k] = crossed
                if not high[k] >= crossed:
                    high[k] = crossed
    return 0


def bone_outlines(planes: np.ndarray, spacing: Spacing) -> dict[int, Outline]:
    """Outline the bones of bit planes, int32 (H, W), of more than :data:`LEAST_PIXELS`, by their index."""
    return dict(_outlines(planes, spacing))


def _outlines(planes: np.ndarray, spacing: Spacing) -> Iterator[tuple[int, Outline]]:
    # scikit-image takes 0.3 s to import; commands that measure nothing stay without it.
    from skimage.measure import find_contours

    height, width = planes.shape
    for bone, (rows, columns) in boxes(planes):
        main = largest_piece((planes[rows, columns] >> bone) & 1)
        if cv2.countNonZero(main) < LEAST_PIXELS:
            continue
        # What lies beyond the border is taken to go on as it is there, and is cut off again.
        top, left = (_FRAME * (part.start == 0) for part in (rows, columns))
        bottom, right = (_FRAME * (part.stop == size) for part, size in ((rows, height), (columns, width)))
        piece = cv2.copyMakeBorder(main.astype(np.float32), top, bottom, left, right, cv2.BORDER_REPLICATE)
        piece = np.pad(piece, _FRAME)
        smooth = cv2.GaussianBlur(piece, (0, 0), _SMOOTH, borderType=cv2.BORDER_CONSTANT)
        rings = find_contours(smooth, 0.5)
        if not rings:
            continue
        ring = max(rings, key=len)[:-1]
        held = abs(float(np.sum(ring[:, 0] * np.roll(ring[:, 1], 1) - ring[:, 1] * np.roll(ring[:, 0], 1)))) / 2
        y = ring[:, 0] + rows.start - _FRAME - top + 0.5
        x = ring[:, 1] + columns.start - _FRAME - left + 0.5
        x, y = np.clip(x, 0, width), np.clip(y, 0, height)
        at_border = np.minimum.reduce([x, y, width - x, height - y]) < _AT_BORDER
        yield bone, Outline(spacing.placed(x, y), at_border, held >= _WHOLE * float(piece.sum()))


def bridges(first: Outline, second: Outline) -> list[tuple[complex, complex]]:
    """Return the tangents that touch two outlines on the same side: a point of the first and one of the second."""
    both = np.concatenate([first.ring, second.ring])
    scaled = np.stack([both.real, both.imag], axis=1).astype(np.float32)
    hull = cv2.convexHull(scaled[:, None], returnPoints=False)[:, 0]
    found = []
    for one, other in zip(hull, np.roll(hull, -1), strict=True):
        if (one < len(first.ring)) != (other < len(first.ring)):
            start, end = (one, other) if one < len(first.ring) else (other, one)
            found.append((complex(both[start]), complex(both[end])))
    return found


def nearest(first: np.ndarray, second: np.ndarray) -> tuple[complex, complex]:
    """Return the two points that lie nearest, one of each, of complex128 (N,) and (M,)."""
    best = np.inf, 0, 0
    for begin in range(0, len(first), 256):  # in parts, or memory would grow with the product
        apart = np.abs(first[begin : begin + 256, None] - second[None])
        i, j = np.unravel_index(int(np.argmin(apart)), apart.shape)
        if apart[i, j] < best[0]:
            best = float(apart[i, j]), begin + int(i), int(j)
    return complex(first[best[1]]), complex(second[best[2]])


def line(places: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Slope of the line of least squares through float64 (K,), and its value at 0."""
    middle, mean = places.mean(), values.mean()
    off = places - middle
    slope = float(off @ values / (off @ off))
    return slope, float(mean - slope * middle)


def segment(start: complex, end: complex, spacing: Spacing) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return a line between two points as ((x, y), (x, y)) in pixels of the image."""
    return spacing.pixel(start), spacing.pixel(end)


def centre(outlines: Iterable[Outline]) -> complex:
    """Return the mean of some outlines' middles."""
    return complex(np.mean([outline.middle for outline in outlines]))
