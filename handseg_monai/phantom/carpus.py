"""Joint spaces of the wrist: carpal bones are moved until neighbours lie a joint space apart.

The MyoHand's wrist moves as one rigid block. Here each bone (or rigid group of bones) is free to slide: neighbours that
are further apart than their joint space attract each other, nearer or overlapping ones repel. Gaps are signed distances
between surface points, negative inside the neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from handseg_monai.bones import INDEX
from handseg_monai.phantom.mesh import Array

_NEAR = 7.0
"""Surface points further than this (mm) from a neighbour need no check, unless that is far off itself; those of the
neighbour itself reach further, so that the nearest one of any point is among them."""
_REACH = 11.0
_DEEP = 5.0
"""Deepest overlap (mm) that is told from a distance."""
_SURE = 1.0
"""Distance (mm) within which the normal of the nearest point alone tells inside from outside."""
_SPRING = 0.05
"""Share of a bone's shift that the first round takes back."""
_MOST = 420
"""Surface points of a bone that face one neighbour, at most."""


def _index_pairs(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((INDEX[a], INDEX[b]) for a, b in (pair.split("/") for pair in text.split()))


INTERCARPAL = _index_pairs(
    "Scaphoid/Lunate Lunate/Triquetrum Triquetrum/Pisiform Scaphoid/Capitate Scaphoid/Trapezium Scaphoid/Trapezoid "
    "Lunate/Capitate Triquetrum/Hamate Capitate/Hamate Capitate/Trapezoid Trapezium/Trapezoid"
)
CARPOMETACARPAL = _index_pairs(
    "Trapezium/finger-3 Trapezoid/finger-7 Capitate/finger-11 Hamate/finger-15 Hamate/finger-19 finger-7/finger-11 "
    "finger-11/finger-15 finger-15/finger-19"
)
RADIOCARPAL = _index_pairs("Scaphoid/Radius Lunate/Radius")
KEPT_APART = _index_pairs(
    "Lunate/Hamate Lunate/Ulna Triquetrum/Ulna Triquetrum/Radius Triquetrum/Capitate Scaphoid/Hamate Lunate/Trapezoid "
    "Trapezium/finger-7 Capitate/finger-7 Capitate/finger-15 Pisiform/Hamate Pisiform/Lunate"
)
"""Pairs that may lie far from each other, but not inside each other."""


@numba.njit(cache=True, nogil=True)
def _contact(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    normals: NDArray[np.float64],
    shift: NDArray[np.float64],
    apart: NDArray[np.float64],
    seen: NDArray[np.float64],
) -> tuple[float, float, float, float]:
    """Return the least signed distance of points `a + shift` from surface `b`, and the direction that opens it.

    Where surfaces touch or overlap, the nearest normal is a poor guide at ridges: the unit vector `apart`, from the
    middle of `b` to that of `a`, has a say.

    `seen` (N, 4) keeps each point's signed distance and the shift at which it was measured (zeros at first): a point
    that can't have come nearer than the least one since is left out.
    """
    least, gx, gy, gz = 1e9, 0.0, 0.0, 0.0
    sx, sy, sz = 0.0, 0.0, 0.0
    for i in range(a.shape[0]):
        moved = (shift[0] - seen[i, 1]) ** 2 + (shift[1] - seen[i, 2]) ** 2 + (shift[2] - seen[i, 3]) ** 2
        if seen[i, 0] - np.sqrt(moved) > max(least, 0.0):
            continue
        x, y, z = a[i, 0] + shift[0], a[i, 1] + shift[1], a[i, 2] + shift[2]
        near, at = 1e18, 0
        for j in range(b.shape[0]):
            square = (x - b[j, 0]) ** 2 + (y - b[j, 1]) ** 2 + (z - b[j, 2]) ** 2
            if square < near:
                near, at = square, j
        distance = np.sqrt(near)
        side = (x - b[at, 0]) * normals[at, 0] + (y - b[at, 1]) * normals[at, 1] + (z - b[at, 2]) * normals[at, 2]
        # Normals tell inside from outside near the surface, or straight behind it.
        behind = side < 0.0 and distance < _DEEP and (distance < _SURE or side < -0.9 * distance)
        signed = side if behind else distance
        seen[i, 0], seen[i, 1], seen[i, 2], seen[i, 3] = signed, shift[0], shift[1], shift[2]
        if signed < 0.0:
            sx, sy, sz = sx - signed * normals[at, 0], sy - signed * normals[at, 1], sz - signed * normals[at, 2]
        if signed < least:
            least, gx, gy, gz = signed, normals[at, 0], normals[at, 1], normals[at, 2]
            if signed > 0.3:
                gx, gy, gz = (x - b[at, 0]) / signed, (y - b[at, 1]) / signed, (z - b[at, 2]) / signed
            else:
                gx, gy, gz = 0.6 * gx + 0.5 * apart[0], 0.6 * gy + 0.5 * apart[1], 0.6 * gz + 0.5 * apart[2]
    length = np.sqrt(sx * sx + sy * sy + sz * sz)
    if least < 0.0 and length > 0.0:
        # Out of an overlap the way leads along the mean normal of what overlaps.
        gx, gy, gz = (
            0.8 * sx / length + 0.3 * apart[0],
            0.8 * sy / length + 0.3 * apart[1],
            0.8 * sz / length + 0.3 * apart[2],
        )
    return least, gx, gy, gz


def _facing(a: Array, b: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices of the points of each surface that lie near the other."""
    rough_a, rough_b = cKDTree(a[::7]), cKDTree(b[::7])
    far = max(0.0, float(rough_b.query(a[::7])[0].min()) + 4.0 - _NEAR)
    near_a = np.flatnonzero(rough_b.query(a, distance_upper_bound=_NEAR + far)[0] < _NEAR + far)
    near_b = np.flatnonzero(rough_a.query(b, distance_upper_bound=_REACH + far)[0] < _REACH + far)
    return near_a[:: max(1, len(near_a) // _MOST)], near_b[:: max(1, len(near_b) // _MOST)]


def settle(
    points: Sequence[Array],
    normals: Sequence[Array],
    body: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    gaps: Sequence[float],
    apart: Sequence[tuple[int, int]],
    *,
    least: float,
    rounds: int,
    firm: Sequence[tuple[int, int]] = (),
) -> Array:
    """Return the shift of each rigid body that brings neighbours to their joint spaces.

    Parameters
    ----------
    points, normals
        29 arrays (N, 3): surface points (mm) and outward normals; bones with empty normals take no part.
    body
        Rigid body of each bone; body 0 does not move.
    pairs, gaps
        Pairs (i, j) that articulate, and the joint space of each (mm).
    apart
        Pairs that only must not come nearer than `least` (mm).
    rounds
        Relaxation rounds.
    firm
        Those of the pairs whose joint space is kept to the last round; the others' attraction fades.

    Returns
    -------
    Array
        (bodies, 3) shifts, millimetres.
    """
    work = [(i, j, gap, True) for (i, j), gap in zip(pairs, gaps, strict=True)] + [
        (i, j, least, False) for i, j in apart
    ]
    work = [item for item in work if body[item[0]] != body[item[1]] and all(len(normals[k]) for k in item[:2])]
    facing = []
    for i, j, _, _ in work:
        near_i, near_j = _facing(points[i], points[j])
        apart_by: Array = points[i].mean(axis=0) - points[j].mean(axis=0)
        apart_by /= float(np.linalg.norm(apart_by))
        facing.append((points[i][near_i], points[j][near_j], normals[j][near_j], apart_by, np.zeros((len(near_i), 4))))
    shifts = np.zeros((max(body) + 1, 3))
    give = np.array([0.0] + [1.0] * (len(shifts) - 1))
    for turn in range(rounds):
        # Attraction fades, so that the last rounds only open what overlaps; a weak spring holds bones in their place.
        fading = 0.35 * max(0.0, 1.0 - turn / (0.7 * rounds))
        shifts *= 1.0 - _SPRING * max(0.0, 1.0 - turn / (0.7 * rounds))
        for (i, j, gap, attract), (a, b, b_normals, apart_by, seen) in zip(work, facing, strict=True):
            if not len(a) or not len(b):
                continue
            first, second = body[i], body[j]
            found, x, y, z = _contact(a, b, b_normals, shifts[first] - shifts[second], apart_by, seen)
            error = gap - found
            pull = 0.35 if (i, j) in firm else fading
            if error < 0.0 and not attract:
                continue
            step = (0.7 if error > 0.0 else pull) * min(max(error, -1.5), 1.5)
            push = step * np.array([x, y, z])
            share = give[first] + give[second]
            shifts[first] += push * (give[first] / share)
            shifts[second] -= push * (give[second] / share)
    return shifts
