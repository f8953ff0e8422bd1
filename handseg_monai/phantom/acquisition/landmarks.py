"""Where the bones of a view lie, from its planes alone."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from handseg_monai.bones import BONES, INDEX, NUM_BONES, Group
from handseg_monai.phantom.components import Components

Vector = NDArray[np.float64]
_CARPALS = [bone.index for bone in BONES if bone.group is Group.CARPAL]
_FOREARM = [INDEX["Radius"], INDEX["Ulna"]]
_RAYS = [bone.index for bone in BONES if bone.ray is not None]


@dataclass(frozen=True)
class Landmark:
    """A bone in the image."""

    centre: Vector
    """(x, y) of its centroid, pixels."""
    axis: Vector
    """Unit vector (x, y) along it, to the fingertips where that can be told."""
    length: float
    width: float
    """Of an ellipse with its moments, millimetres."""


@numba.njit(cache=True, nogil=True)
def _moments(planes: NDArray[np.int32], step: int, sums: NDArray[np.float64]) -> None:
    """Add count, x, y, xx, xy and yy of each bone's pixels, every `step`-th in either direction, to (29, 6)."""
    height, width = planes.shape
    for row in range(step // 2, height, step):
        for column in range(step // 2, width, step):
            bits = planes[row, column]
            bone = 0
            while bits:
                if bits & 1:
                    sums[bone, 0] += 1.0
                    sums[bone, 1] += column
                    sums[bone, 2] += row
                    sums[bone, 3] += column * column
                    sums[bone, 4] += column * row
                    sums[bone, 5] += row * row
                bits >>= 1
                bone += 1


def locate(parts: Components) -> dict[int, Landmark]:
    """Return the landmarks of the bones in view, by index; bones of a few pixels are left out."""
    sums = np.zeros((NUM_BONES, 6))
    step = max(1, max(parts.shape) // 256)
    _moments(parts.planes, step, sums)
    found: dict[int, Landmark] = {}
    for bone in np.flatnonzero(sums[:, 0] >= 12):
        count, x, y, xx, xy, yy = sums[bone]
        x, y = x / count, y / count
        spread = np.array([[xx / count - x * x, xy / count - x * y], [xy / count - x * y, yy / count - y * y]])
        values, vectors = np.linalg.eigh(spread)
        width, length = 4.0 * np.sqrt(np.maximum(values, 0.1)) * parts.spacing
        found[int(bone)] = Landmark(np.array([x, y]), vectors[:, 1], float(length), float(width))
    return {bone: _distalward(bone, found) for bone in found}


def wrist(marks: dict[int, Landmark]) -> tuple[Vector, Vector] | None:
    """Return the middle of the carpus (x, y) in pixels and the unit vector to the elbow; None where it is not seen."""
    carpals = [marks[bone].centre for bone in _CARPALS if bone in marks]
    forearm = [marks[bone].centre for bone in _FOREARM if bone in marks]
    if len(carpals) < 3 or len(forearm) < 2:
        return None
    centre = np.mean(carpals, axis=0)
    axis = np.mean(forearm, axis=0) - centre
    length = float(np.hypot(*axis))
    return (centre, axis / length) if length > 1.0 else None


def rotated(axis: Vector, degrees: float) -> Vector:
    """Return an axis (x, y) turned clockwise in the image."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([cosine * axis[0] - sine * axis[1], sine * axis[0] + cosine * axis[1]])


def _distalward(bone: int, found: dict[int, Landmark]) -> Landmark:
    """Return the bone's landmark with its axis away from the next bone of its ray, or from the carpus."""
    mark = found[bone]
    if bone not in _RAYS:
        return mark
    same = bone + 1 if bone + 1 in found and BONES[bone + 1].ray == BONES[bone].ray else None
    base = [found[same]] if same is not None else [found[k] for k in _CARPALS if k in found]
    if not base:
        return mark
    away = mark.centre - np.mean([b.centre for b in base], axis=0)
    return mark if away @ mark.axis >= 0 else Landmark(mark.centre, -mark.axis, mark.length, mark.width)
