"""Triangle meshes: normals, smoothing, closing, and lofts along an axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]
Indices = NDArray[np.int32]


@dataclass(frozen=True)
class Mesh:
    """A closed triangle mesh."""

    vertices: Array
    """(N, 3) float64, millimetres."""
    faces: Indices
    """(M, 3) int32, counter-clockwise seen from outside."""


def vertex_normals(vertices: Array, faces: Indices) -> Array:
    """Return outward unit normals (N, 3), each the mean of its faces' weighted by area."""
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = [np.bincount(faces.ravel(), np.repeat(part, 3), minlength=len(vertices)) for part in face_normals.T]
    normals = np.stack(sums, axis=1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(length, 1e-12)


def averaging_matrix(count: int, faces: Indices) -> sparse.csr_matrix:
    """Return the (N, N) matrix that replaces each vertex value with the mean over its neighbours."""
    rows = faces[:, [0, 1, 2, 1, 2, 0]].T.ravel()
    columns = faces[:, [1, 2, 0, 0, 1, 2]].T.ravel()
    links = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    links.data[:] = 1.0
    degree = np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1.0)
    return sparse.diags(1.0 / degree) @ links


def smoothed(mesh: Mesh, rounds: int) -> Mesh:
    """Return the mesh after Taubin's smoothing (a shrinking and a growing step a round), which keeps its size."""
    mean = averaging_matrix(len(mesh.vertices), mesh.faces)
    vertices = mesh.vertices
    for _ in range(rounds):
        vertices = vertices + 0.5 * (mean @ vertices - vertices)
        vertices = vertices - 0.53 * (mean @ vertices - vertices)
    return Mesh(vertices, mesh.faces)


def closed(mesh: Mesh) -> Mesh:
    """Return the mesh with each boundary loop closed by a fan; doubled and degenerate faces are dropped."""
    faces = mesh.faces
    edges = set(zip(faces.ravel().tolist(), np.roll(faces, -1, axis=1).ravel().tolist(), strict=True))
    follow = {b: a for a, b in sorted(edges) if (b, a) not in edges}
    vertices, added = [mesh.vertices], []
    count = len(mesh.vertices)
    while follow:
        start = min(follow)
        loop, here = [start], follow.pop(start)
        while here != start and here in follow:
            loop.append(here)
            here = follow.pop(here)
        vertices.append(mesh.vertices[loop].mean(axis=0, keepdims=True))
        added += [(a, b, count) for a, b in zip(loop, loop[1:] + loop[:1], strict=True)]
        count += 1
    if added:
        faces = np.concatenate([faces, np.array(added, np.int32)])
    return Mesh(np.concatenate(vertices), faces)


def subdivided(mesh: Mesh) -> Mesh:
    """Return the mesh with every face cut into four at its edges' middles."""
    faces = mesh.faces
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    middles = mesh.vertices[unique].mean(axis=1)
    ab, bc, ca = (inverse.reshape(3, -1) + len(mesh.vertices)).astype(np.int32)
    a, b, c = faces.T
    cut = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return Mesh(
        np.concatenate([mesh.vertices, middles]), np.concatenate([np.stack(t, axis=1) for t in cut]).astype(np.int32)
    )


def ball(rounds: int) -> Mesh:
    """Return the unit sphere: an octahedron whose faces are cut into four, `rounds` times."""
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    faces = [(0, 1, 2), (1, 3, 2), (3, 4, 2), (4, 0, 2), (1, 0, 5), (3, 1, 5), (4, 3, 5), (0, 4, 5)]
    mesh = Mesh(corners, np.array(faces, np.int32))
    for _ in range(rounds):
        mesh = subdivided(mesh)
        mesh = Mesh(mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True), mesh.faces)
    return mesh


def tube(rings: Array) -> Mesh:
    """Return the closed mesh through rings of points.

    Parameters
    ----------
    rings
        (R, A, 3), millimetres; the first and the last ring are closed by their mean point. Rings run down the axis, and
        each ring counter-clockwise seen from the first one's side, so that faces are wound outwards.
    """
    count, around, _ = rings.shape
    vertices = np.concatenate([rings.reshape(-1, 3), rings[[0, -1]].mean(axis=1)])
    column = np.arange(around)
    after = (column + 1) % around
    start = around * np.arange(count - 1)[:, None]
    a, b = start + column, start + after
    sides = np.stack([np.stack([a, a + around, b], -1), np.stack([b, a + around, b + around], -1)], axis=1)
    last, (top, bottom) = (count - 1) * around, np.full((around, 2), count * around + np.arange(2)).T
    caps = np.stack([column, after, top], 1), np.stack([last + after, last + column, bottom], 1)
    return Mesh(vertices, np.concatenate([sides.reshape(-1, 3), *caps]).astype(np.int32))
