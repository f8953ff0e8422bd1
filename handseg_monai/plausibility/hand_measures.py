"""What can be measured on the masks of a hand without its truth: areas, centres, gaps and overlaps in millimetres.

A submission has no pixel spacing. The hand's own bones give it: the millimetres of this module are those of a hand
whose bones have the phantom's median areas. Points in the plane are complex numbers, x + iy, y down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes, reduce, shared_areas
from handseg_monai.bones import BONES, NUM_BONES, Group

CANVAS = 512
"""Masks are measured on their bounding box, reduced to this long side where it is larger: a hand of 200 mm then has
pixels of 0.4 mm, finer than any tolerance here, and specks below half of such a pixel vanish."""
LEAST_WHOLE = 3
"""Bones that must lie whole in the image for the scale to be known."""
BORDER = 2.0
"""A bone that comes within so many pixels of the canvas to the image's border counts as cut by it."""
FOREARM_END = 12.0
"""Radius and ulna are located by the centre of their end: what lies within so many millimetres of its tip."""

FOREARM = np.array([bone.group is Group.FOREARM for bone in BONES])
CARPAL = np.array([bone.group is Group.CARPAL for bone in BONES])


@dataclass(frozen=True)
class HandMeasures:
    """Measures of one image; lengths and areas in (square) millimetres of the median hand."""

    found: np.ndarray
    """Bool (29,): the bone has a mask."""
    whole: np.ndarray
    """Bool (29,): found, and not cut by the image's border."""
    placed: np.ndarray
    """Bool (29,): its centre says where it is: whole, or the forearm with its end off the border."""
    area: np.ndarray
    """float64 (29,), of the largest component."""
    stray: np.ndarray
    """float64 (29,), share of the mask outside of the largest component (of a bone of hand or wrist that the border
    cuts, and may cut into several, what lies off the border)."""
    centre: np.ndarray
    """complex128 (29,), of the largest component (of its end for radius and ulna); NaN where not placed."""
    outlines: tuple[np.ndarray, ...]
    """Pixels on the edge of the largest component, complex128 (N,) each."""
    overlap: np.ndarray
    """float64 (29, 29): area shared by two masks over the area of the smaller one."""
    frame: tuple[float, float, float, float]
    """Left, top, right and lower edge of the image."""
    pixel: float
    """Millimetres per pixel of the canvas that was measured."""

    def gap(self, a: int, b: int) -> float:
        """Width of the gap between two bones, in millimetres; 0 where they touch or overlap."""
        if self.overlap[a, b] > 0:
            return 0.0
        p, q = self.outlines[a], self.outlines[b]
        squared = (p.real[:, None] - q.real) ** 2 + (p.imag[:, None] - q.imag) ** 2
        return max(0.0, float(np.sqrt(squared.min())) - self.pixel)

    def exchanged(self, pairs: Iterable[tuple[int, int]]) -> HandMeasures:
        """Measures of the same hand with the labels of two bones exchanged, for each pair.

        A bone of the forearm is located by its end, the others by their centre: such a pair can't be exchanged.
        """
        order = np.arange(NUM_BONES)
        for a, b in pairs:
            order[[a, b]] = order[[b, a]]
        return replace(
            self,
            found=self.found[order],
            whole=self.whole[order],
            placed=self.placed[order],
            area=self.area[order],
            stray=self.stray[order],
            centre=self.centre[order],
            outlines=tuple(self.outlines[k] for k in order),
            overlap=self.overlap[np.ix_(order, order)],
        )

    def inside(self, point: complex, margin: float) -> bool:
        """Tell whether a point lies inside of the image, ``margin`` millimetres off its border."""
        left, top, right, bottom = self.frame
        return left + margin <= point.real <= right - margin and top + margin <= point.imag <= bottom - margin


def measure_hand(planes: np.ndarray, reference: np.ndarray) -> HandMeasures | None:
    """Measure the masks of one image.

    Parameters
    ----------
    planes
        Bit planes, int32 (H, W).
    reference
        Area of each bone in the median hand, float64 (29,), square millimetres; that of radius and ulna is not used.

    Returns
    -------
    measures
        None where fewer than :data:`LEAST_WHOLE` bones of hand and wrist lie whole in the image, so that nothing
        tells the scale.
    """
    small, factor, origin = canvas(planes, CANVAS)
    shape = (planes.shape[0] * factor, planes.shape[1] * factor)
    masks: dict[int, tuple[np.ndarray, complex]] = {}
    total, largest, stray = (np.zeros(NUM_BONES) for _ in range(3))
    whole = np.zeros(NUM_BONES, np.bool_)
    for k, (rows, columns) in boxes(small):
        mask = ((small[rows, columns] >> k) & 1).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        x, y, width, height, area = stats[1:].T
        left, top = x + columns.start + origin.real, y + rows.start + origin.imag
        off = np.minimum.reduce([left, top, shape[1] - left - width, shape[0] - top - height]) > BORDER
        main = int(np.argmax(area))
        total[k], largest[k], whole[k] = area.sum(), area[main], off[main]
        # The border may cut one bone of the hand into several pieces.
        stray[k] = total[k] - largest[k] if off[main] or FOREARM[k] else area[off].sum()
        part = labels[y[main] : y[main] + height[main], x[main] : x[main] + width[main]] == main + 1
        masks[k] = part.astype(np.uint8), complex(left[main], top[main])
    telling = np.flatnonzero(whole & ~FOREARM)
    if telling.size < LEAST_WHOLE:
        return None
    pixel = float(1 / np.median(np.sqrt(largest[telling] / reference[telling])))
    pixels: dict[int, np.ndarray] = {k: (_pixels(mask) + corner) * pixel for k, (mask, corner) in masks.items()}
    centre: np.ndarray = np.full(NUM_BONES, complex(np.nan, np.nan))
    for k in telling.tolist():
        centre[k] = pixels[k].mean()
    placed = whole & ~FOREARM
    hub = np.nanmean(centre[CARPAL]) if placed[CARPAL].any() else np.nanmean(centre)
    for k in np.flatnonzero(FOREARM & (total > 0)).tolist():
        away = np.abs(pixels[k] - hub)
        end = pixels[k][away < away.min() + FOREARM_END]
        placed[k] = whole[k] or _off_border(end / pixel, shape)
        if placed[k]:
            centre[k] = end.mean()
    outlines: list[np.ndarray] = [np.zeros(0, np.complex128)] * NUM_BONES
    for k, (mask, corner) in masks.items():
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        points = np.concatenate(contours)[:, 0].astype(np.float64)
        outlines[k] = (points[:, 0] + 1j * points[:, 1] + 0.5 + 0.5j + corner) * pixel
    return HandMeasures(
        total > 0,
        whole,
        placed,
        largest * pixel**2,
        stray / np.maximum(total, 1),
        centre,
        tuple(outlines),
        overlaps(small),
        (0.0, 0.0, shape[1] * pixel, shape[0] * pixel),
        pixel,
    )


def canvas(planes: np.ndarray, size: int) -> tuple[np.ndarray, float, complex]:
    """Cut planes, int32 (H, W), to the bones, and reduce them to a long side of `size` pixels where it is larger.

    Returns the canvas, its pixels per pixel of the image, and its upper left corner.
    """
    rows = np.flatnonzero(np.bitwise_or.reduce(planes, axis=1))
    columns = np.flatnonzero(np.bitwise_or.reduce(planes, axis=0))
    if not rows.size:
        return np.zeros((1, 1), np.int32), 1.0, 0j
    cut = planes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    factor = min(1.0, size / max(cut.shape))
    shape = max(1, round(cut.shape[0] * factor)), max(1, round(cut.shape[1] * factor))
    return reduce(cut, shape), factor, complex(columns[0], rows[0]) * factor


def _off_border(points: np.ndarray, shape: tuple[float, float]) -> bool:
    sides = points.real, points.imag, shape[1] - points.real, shape[0] - points.imag
    return min(float(side.min()) for side in sides) > BORDER


def _pixels(mask: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(mask)
    return x + 0.5 + 1j * (y + 0.5)


def overlaps(planes: np.ndarray) -> np.ndarray:
    """Return what each two masks of bit planes, int32 (H, W), share over the area of the smaller one: float64 (29, 29).

    0 for a mask and itself, and where one is empty.
    """
    shared = shared_areas(planes).astype(np.float64)
    area = shared.diagonal().copy()
    np.fill_diagonal(shared, 0)
    return shared / np.maximum(np.minimum(area[:, None], area), 1)
