"""Orthographic rasteriser: thickness and silhouettes of closed triangle meshes on a pixel grid.

The thickness of a closed mesh along the beam at a pixel centre is the sum over the faces there of sign(n_z) * z.
Faces are scan-converted with half-open spans whose ends depend on an edge alone, so that two faces that share an edge
never both own a pixel, nor leave it out.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float, float]


@numba.njit(cache=True, nogil=True, inline="always")
def _crossing(a: Point, b: Point, row: int) -> float:
    # The end points come sorted, so that both faces of an edge compute the same bits.
    if b[1] < a[1] or (b[1] == a[1] and b[0] < a[0]):
        a, b = b, a
    return a[0] + (row - a[1]) * (b[0] - a[0]) / (b[1] - a[1])


@numba.njit(cache=True, nogil=True, inline="always")
def _columns(a: Point, b: Point, c: Point, row: int, width: int) -> range:
    """Return the columns of a row whose pixel centres a triangle covers."""
    left, right = np.inf, -np.inf
    for start, end in ((a, b), (b, c), (c, a)):
        if (start[1] <= row) != (end[1] <= row):
            x = _crossing(start, end, row)
            left, right = min(left, x), max(right, x)
    return range(max(0, math.ceil(left)), min(width, math.ceil(right)))


@numba.njit(cache=True, nogil=True, inline="always")
def _rows(a: Point, b: Point, c: Point, height: int) -> range:
    """Return the rows that a triangle crosses."""
    return range(max(0, math.ceil(min(a[1], b[1], c[1]))), min(height, math.ceil(max(a[1], b[1], c[1]))))


@numba.njit(cache=True, nogil=True, inline="always")
def _corner(vertices: NDArray[np.float64], index: int, x0: int, y0: int) -> Point:
    return vertices[index, 0] - x0, vertices[index, 1] - y0, vertices[index, 2]


@numba.njit(cache=True, nogil=True, inline="always")
def _area(a: Point, b: Point, c: Point) -> float:
    """Return twice the area of a triangle in the image plane, negative where it looks away from the tube."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@numba.njit(cache=True, nogil=True, inline="always")
def _slope(a: Point, b: Point, c: Point, area: float) -> tuple[float, float]:
    """Return by how much the plane of a triangle rises along x and along y."""
    along_x = ((b[2] - a[2]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[2] - a[2])) / area
    along_y = ((b[0] - a[0]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[0] - a[0])) / area
    return along_x, along_y


@numba.njit(cache=True, nogil=True)
def add_thickness(
    out: NDArray[np.float32], vertices: NDArray[np.float64], faces: NDArray[np.int32], x0: int, y0: int, sign: float
) -> None:
    """Add the thickness of a closed mesh to an image, in place.

    Parameters
    ----------
    out
        (H, W) float32, millimetres along the beam.
    vertices
        (N, 3) float64: x and y in pixels of the whole image (pixel centres at whole numbers), z in millimetres.
    faces
        (M, 3) int32, wound counter-clockwise seen from outside.
    x0, y0
        Pixel of the whole image at ``out[0, 0]``.
    sign
        Factor of what is added: 1 or -1, by the handedness of the frame.
    """
    height, width = out.shape
    for f in range(faces.shape[0]):
        a = _corner(vertices, faces[f, 0], x0, y0)
        b = _corner(vertices, faces[f, 1], x0, y0)
        c = _corner(vertices, faces[f, 2], x0, y0)
        area = _area(a, b, c)
        if area == 0.0:
            continue
        zx, zy = _slope(a, b, c, area)
        if abs(zx) > 1e4 or abs(zy) > 1e4:
            # A face on edge: its plane has no stable slope.
            zx, zy = 0.0, 0.0
        factor = sign if area > 0.0 else -sign
        for row in _rows(a, b, c, height):
            for column in _columns(a, b, c, row, width):
                out[row, column] += factor * (a[2] + zx * (column - a[0]) + zy * (row - a[1]))


@numba.njit(cache=True, nogil=True)
def add_silhouette(
    out: NDArray[np.uint8], vertices: NDArray[np.float64], faces: NDArray[np.int32], x0: int, y0: int
) -> None:
    """Set the pixels whose centre lies under a mesh to 1, in place.

    Parameters are those of :func:`add_thickness`; ``out`` is (H, W) uint8.
    """
    height, width = out.shape
    for f in range(faces.shape[0]):
        a = _corner(vertices, faces[f, 0], x0, y0)
        b = _corner(vertices, faces[f, 1], x0, y0)
        c = _corner(vertices, faces[f, 2], x0, y0)
        if _area(a, b, c) <= 0.0:
            # Of a closed mesh the faces that look at the tube cover the whole silhouette.
            continue
        for row in _rows(a, b, c, height):
            for column in _columns(a, b, c, row, width):
                out[row, column] = 1


@numba.njit(cache=True, nogil=True)
def depth_range(
    low: NDArray[np.float32], high: NDArray[np.float32], vertices: NDArray[np.float64], faces: NDArray[np.int32]
) -> None:
    """Lower and raise the least and the greatest z of a mesh at each cell centre, in place.

    ``low`` and ``high`` are (H, W) float32, infinite where nothing lies yet; the rest is as for :func:`add_thickness`.
    """
    height, width = low.shape
    for f in range(faces.shape[0]):
        a, b, c = (
            _corner(vertices, faces[f, 0], 0, 0),
            _corner(vertices, faces[f, 1], 0, 0),
            _corner(vertices, faces[f, 2], 0, 0),
        )
        area = _area(a, b, c)
        if area == 0.0:
            continue
        zx, zy = _slope(a, b, c, area)
        bottom, top = min(a[2], b[2], c[2]), max(a[2], b[2], c[2])
        for row in _rows(a, b, c, height):
            for column in _columns(a, b, c, row, width):
                z = min(max(a[2] + zx * (column - a[0]) + zy * (row - a[1]), bottom), top)
                low[row, column] = min(low[row, column], z)
                high[row, column] = max(high[row, column], z)
