"""Corner points of an outline, as label files hold them, checked against the image that they belong to."""

from __future__ import annotations

import numpy as np

from handseg_monai.bitplanes import Polygon

OUTSIDE_TOLERANCE = 2
"""Pixels by which a point may lie outside the image; it is then moved to the edge."""


def polygon(points: object, shape: tuple[int, int]) -> Polygon:
    """Check points, [x, y] pairs in pixels of an image of ``shape``, and round them to pixels inside it: int32 (N, 2).

    Raises
    ------
    ValueError
        No pairs, fewer than 3, not finite, or more than :data:`OUTSIDE_TOLERANCE` pixels outside the image.
    """
    try:
        corners = np.array(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        corners = np.empty(0)
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise ValueError("'points' is not a list of [x, y] pairs")
    if len(corners) < 3:
        raise ValueError(f"a polygon of {len(corners)} points; expected at least 3")
    if not np.isfinite(corners).all():
        raise ValueError("some points are NaN or infinite")
    corners = np.rint(corners)
    edge = np.array([shape[1] - 1, shape[0] - 1])
    outside = np.maximum(-corners, corners - edge).max()
    if outside > OUTSIDE_TOLERANCE:
        raise ValueError(f"a point lies {outside:.0f} pixels outside the image of {shape[1]} x {shape[0]} pixels")
    return np.clip(corners, 0, edge).astype(np.int32)
