"""Bones of the wrist that cover one another in a radiograph part along the beam, as horns and rims of bones do.

Outlines of neighbours overlap in a radiograph by millimetres: the horns of the lunate lie before and behind the head of
the capitate, the dorsal rim of the radius lies behind the lunate. There each bone keeps to its side of a surface
between the two, so that the place that they share is hardly brighter than one bone is. Triangles that reach over the
other bone's border, about a millimetre wide, still pass through it: a radiograph does not show that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from handseg_monai.phantom.anatomy import CARPALS, RADIUS, RAYS, ULNA
from handseg_monai.phantom.mesh import Array
from handseg_monai.phantom.raster import depth_range
from handseg_monai.phantom.resample import Floats, blurred

_CELL = 0.5
"""Grid on which depths are compared, millimetres."""
_GAP = 0.6
"""Left between two bones along the beam, millimetres."""
_RAMP = 0.5
"""Distance from the border of the other bone over which a bone gives way, millimetres."""
_MARGIN = 12.0
"""How far beyond the carpal bones the bones beside them are looked at, millimetres."""
_WRIST = (*CARPALS, RADIUS, ULNA, *(ray[0] for ray in RAYS))


def parted(outer: Sequence[Array], faces: Sequence[NDArray[np.int32]]) -> dict[int, Callable[[Array, float], Array]]:
    """Return for bones of the wrist how their points move along the beam (z), so that no two bones share a place.

    Of each of the 29 bones `outer` are the surface points, (N, 3) millimetres, and `faces` its triangles. The result
    maps a bone's index to a function of points (N, 3) and of the distance (mm) that they keep from the surface between
    two bones; it returns the points in their new place.
    """
    carpus = np.concatenate([outer[bone] for bone in CARPALS])[:, :2]
    low = carpus.min(axis=0) - _MARGIN
    shape = tuple(int(n) for n in np.ceil((np.ptp(carpus, axis=0) + 2 * _MARGIN) / _CELL)[::-1])
    ranges = {}
    for bone in _WRIST:
        points = outer[bone].copy()
        points[:, :2] = (points[:, :2] - low) / _CELL
        bottom, top = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
        depth_range(bottom, top, points, faces[bone])
        ranges[bone] = bottom, top
    inside = {
        bone: np.asarray(cv2.distanceTransform((bottom <= top).astype(np.uint8), cv2.DIST_L2, 3), np.float32) * _CELL
        for bone, (bottom, top) in ranges.items()
    }
    # Of each bone the sides of others that it keeps to: -1 below, the surface in between, and how far it gives way.
    sheets: dict[int, list[tuple[float, Floats, Floats]]] = {}
    for first, second in combinations(_WRIST, 2):
        both = np.nonzero((inside[first] > 0) & (inside[second] > 0))
        (a_low, a_high), (b_low, b_high) = (tuple(depth[both] for depth in ranges[bone]) for bone in (first, second))
        shared_low, shared_high = np.maximum(a_low, b_low), np.minimum(a_high, b_high)
        if not (shared_low - _GAP < shared_high).any():
            continue
        below, above = (first, second) if (a_low + a_high - b_low - b_high).mean() < 0 else (second, first)
        height, known = np.zeros(shape, np.float32), np.zeros(shape, bool)
        height[both], known[both] = 0.5 * (shared_low + shared_high), shared_low - _GAP < shared_high
        height = _spread(height, known)
        near = cv2.dilate(known.astype(np.uint8), np.ones((3, 3), np.uint8))
        for bone, other, side in ((below, above, -1.0), (above, below, 1.0)):
            weight = np.clip(inside[other] / _RAMP, 0, 1).astype(np.float32) * near
            sheets.setdefault(bone, []).append((side, height, weight))

    def mover(bone: int) -> Callable[[Array, float], Array]:
        def move(points: Array, margin: float) -> Array:
            cells = ((points[:, :2] - low) / _CELL).astype(np.float32)
            moved = points.copy()
            for side, *grids in sheets[bone]:
                height, weight = (cv2.remap(grid, cells[:, 0], cells[:, 1], cv2.INTER_LINEAR).ravel() for grid in grids)
                limit = height + side * (0.5 * _GAP + margin)
                past = np.maximum(side * (limit - moved[:, 2]), 0.0)
                moved[:, 2] += side * weight * past
            return moved

        return move

    return {bone: mover(bone) for bone in sheets}


def _spread(height: Floats, known: NDArray[np.bool_]) -> Floats:
    """Return heights that go on smoothly beyond the cells where they are known."""
    weight = known.astype(np.float32)
    filled = np.where(known, height, 0.0).astype(np.float32)
    smooth = np.full(height.shape, float(height[known].mean()), np.float32)
    for deviation in (16.0, 6.0, 2.0):
        share = blurred(weight, deviation)
        smooth = np.where(share > 0.02, blurred(filled, deviation) / np.maximum(share, 1e-6), smooth)
    return smooth.astype(np.float32)
