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

Floats = NDArray[np.float32]


@numba.njit(cache=True, nogil=True, inline="always")
def _crossing(ax: float, ay: float, bx: float, by: float, row: float) -> float:
    # The end points come sorted, so that both faces of an edge compute the same bits.
    if by < ay or (by == ay and bx < ax):
        ax, ay, bx, by = bx, by, ax, ay
    return ax + (row - ay) * (bx - ax) / (by - ay)


@numba.njit(cache=True, nogil=True)
def _span(ax: float, ay: float, bx: float, by: float, cx: float, cy: float, row: int) -> tuple[float, float]:
    """Where a triangle's edges cross a row: the leftmost and the rightmost x; (inf, -inf) if none does."""
    left, right = np.inf, -np.inf
    if (ay <= row) != (by <= row):
        x = _crossing(ax, ay, bx, by, row)
        left, right = min(left, x), max(right, x)
    if (by <= row) != (cy <= row):
        x = _crossing(bx, by, cx, cy, row)
        left, right = min(left, x), max(right, x)
    if (cy <= row) != (ay <= row):
        x = _crossing(cx, cy, ax, ay, row)
        left, right = min(left, x), max(right, x)
    return left, right


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
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = vertices[i, 0] - x0, vertices[i, 1] - y0, vertices[i, 2]
        bx, by, bz = vertices[j, 0] - x0, vertices[j, 1] - y0, vertices[j, 2]
        cx, cy, cz = vertices[k, 0] - x0, vertices[k, 1] - y0, vertices[k, 2]
        low, high = min(ay, by, cy), max(ay, by, cy)
        first, last = max(0, math.ceil(low)), min(height, math.ceil(high))
        if first >= last:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        zx = ((bz - az) * (cy - ay) - (by - ay) * (cz - az)) / area
        zy = ((bx - ax) * (cz - az) - (bz - az) * (cx - ax)) / area
        if abs(zx) > 1e4 or abs(zy) > 1e4:
            # A face on edge: its plane has no stable slope.
            zx, zy = 0.0, 0.0
        factor = sign if area > 0.0 else -sign
        for row in range(first, last):
            left, right = _span(ax, ay, bx, by, cx, cy, row)
            if left > right:
                continue
            for column in range(max(0, math.ceil(left)), min(width, math.ceil(right))):
                out[row, column] += factor * (az + zx * (column - ax) + zy * (row - ay))


@numba.njit(cache=True, nogil=True)
def add_silhouette(
    out: NDArray[np.uint8], vertices: NDArray[np.float64], faces: NDArray[np.int32], x0: int, y0: int
) -> None:
    """Set the pixels whose centre lies under a mesh to 1, in place.

    Parameters are those of :func:`add_thickness`; ``out`` is (H, W) uint8.
    """
    height, width = out.shape
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay = vertices[i, 0] - x0, vertices[i, 1] - y0
        bx, by = vertices[j, 0] - x0, vertices[j, 1] - y0
        cx, cy = vertices[k, 0] - x0, vertices[k, 1] - y0
        if (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) <= 0.0:
            # Of a closed mesh the faces that look at the tube cover the whole silhouette.
            continue
        first = max(0, math.ceil(min(ay, by, cy)))
        last = min(height, math.ceil(max(ay, by, cy)))
        for row in range(first, last):
            left, right = _span(ax, ay, bx, by, cx, cy, row)
            for column in range(max(0, math.ceil(left)), min(width, math.ceil(right))):
                out[row, column] = 1


@numba.njit(cache=True, nogil=True)
def depth_range(
    low: NDArray[np.float32], high: NDArray[np.float32], vertices: NDArray[np.float64], faces: NDArray[np.int32]
) -> None:
    """Lower and raise the least and the greatest z of a mesh at each cell centre, in place.

    Parameters
    ----------
    low, high
        (H, W) float32, millimetres; infinite where nothing lies yet.
    vertices, faces
        As for :func:`add_thickness`.
    """
    height, width = low.shape
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        bx, by, bz = vertices[j, 0], vertices[j, 1], vertices[j, 2]
        cx, cy, cz = vertices[k, 0], vertices[k, 1], vertices[k, 2]
        first, last = max(0, math.ceil(min(ay, by, cy))), min(height, math.ceil(max(ay, by, cy)))
        if first >= last:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        zx = ((bz - az) * (cy - ay) - (by - ay) * (cz - az)) / area
        zy = ((bx - ax) * (cz - az) - (bz - az) * (cx - ax)) / area
        least, most = min(az, bz, cz), max(az, bz, cz)
        for row in range(first, last):
            left, right = _span(ax, ay, bx, by, cx, cy, row)
            if left > right:
                continue
            for column in range(max(0, math.ceil(left)), min(width, math.ceil(right))):
                z = min(max(az + zx * (column - ax) + zy * (row - ay), least), most)
                low[row, column] = min(low[row, column], z)
                high[row, column] = max(high[row, column], z)
