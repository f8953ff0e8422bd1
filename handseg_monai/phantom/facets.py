"""Joint surfaces that fit each other: bones grow towards their neighbours until a joint space is left.

Bones of simple shape touch at a point and leave wedges of nothing beside it; on a radiograph of a wrist the neighbours'
borders run side by side. Here every surface point moves along its normal by half of what lies between it and the
nearest other bone but the joint space, so that no two can meet; where two overlap, they draw back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from handseg_monai.phantom.mesh import Array, Indices, vertex_normals

_NEAR, _FAR = 5.0, 10.0
"""Distances (mm) up to which a gap is closed as far as wanted, and from which on it is left alone."""
_DEEP = 3.0
"""Deepest overlap (mm) that is undone."""
_ROUNDS = 3


def grown(
    points: Mapping[int, Array],
    faces: Sequence[Indices],
    softeners: Sequence[sparse.csr_matrix],
    weights: Mapping[int, Array],
    gap: float,
) -> dict[int, Array]:
    """Return bones grown towards each other.

    Parameters
    ----------
    points
        Bone index to surface points (N, 3), millimetres.
    faces, softeners
        Of all bones; see :class:`handseg_monai.phantom.anatomy.Anatomy`.
    weights
        Bone index to how far each of its points may grow (N,): share of the way, 0 to 1.
    gap
        Joint space to leave, millimetres.
    """
    points = dict(points)
    for _ in range(_ROUNDS):
        grown_points = {}
        outward = {bone: vertex_normals(own, faces[bone]) for bone, own in points.items()}
        for bone, own in points.items():
            others = np.concatenate([theirs for other, theirs in points.items() if other != bone])
            their_normals = np.concatenate([theirs for other, theirs in outward.items() if other != bone])
            normals = outward[bone]
            distance, nearest = cKDTree(others).query(own, distance_upper_bound=_FAR)
            found = np.isfinite(distance)
            way = np.zeros_like(own)
            way[found] = (others[nearest[found]] - own[found]) / np.maximum(distance[found, None], 1e-9)
            # Only where two surfaces face each other, and less the further apart they are.
            facing = np.clip(((way * normals).sum(axis=1) - 0.2) / 0.5, 0, 1)
            fade = np.clip((_FAR - np.where(found, distance, _FAR)) / (_FAR - _NEAR), 0, 1)
            step = 0.5 * np.maximum(np.where(found, distance, gap) - gap, 0) * facing * fade * weights[bone]
            step = np.minimum(softeners[bone] @ step, 0.5 * np.maximum(np.where(found, distance, _FAR) - gap, 0))
            # Where two overlap, both draw back.
            inside = found & (distance < _DEEP)
            inside[inside] = (way[inside] * their_normals[nearest[inside]]).sum(axis=1) > 0.2
            back = np.where(inside, 0.5 * (np.where(found, distance, 0) + gap), 0) * (weights[bone] > 0)
            step = np.where(inside, 0, step) - softeners[bone] @ back
            grown_points[bone] = own + step[:, None] * normals
        points = grown_points
    return points
