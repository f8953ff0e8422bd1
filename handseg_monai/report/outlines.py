"""Outlines of masks as paths of SVG, in pixels of the image, holes included."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes

TOLERANCE = 0.75
"""Pixels by which an outline may leave out corners of the mask's edge."""


def outlines(planes: np.ndarray, tolerance: float = TOLERANCE) -> dict[int, str]:
    """Outline each bone of bit planes.

    Parameters
    ----------
    planes
        Bit planes, int32 (H, W).
    tolerance
        Pixels by which an outline may deviate; at 0 it has every corner, and filling it at the centres of the pixels
        gives the mask again.

    Returns
    -------
    paths
        Path data of SVG by index of the bone, of those that are there. A pixel in row r and column c covers (c, r) to
        (c + 1, r + 1). Pieces and holes are rings of one path, to be filled by the rule ``evenodd``.
    """
    # scikit-image takes 0.3 s to import; nothing else of the page needs it.
    from skimage.measure import find_contours

    paths = {}
    for bone, (rows, columns) in boxes(planes):
        mask = planes[rows, columns] >> np.int32(bone) & np.int32(1)
        # The frame closes the rings; it shifts the mask by a pixel, and the middle of a pixel is at a half.
        rings = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
        corner = np.array([columns.start, rows.start]) - 0.5
        paths[bone] = "".join(_path(_simplify(ring[:-1, ::-1], tolerance) + corner) for ring in rings)
    return paths


def _simplify(ring: np.ndarray, tolerance: float) -> np.ndarray:
    simple = cv2.approxPolyDP(ring.astype(np.float32)[:, None], tolerance, True)[:, 0].astype(np.float64)
    return simple if len(simple) >= 3 else ring  # specks and pinholes would vanish


def _path(ring: np.ndarray) -> str:
    """Write a ring, (N, 2) in half pixels: its first point, then steps."""
    points = [(int(x), int(y)) for x, y in np.rint(2 * ring)]
    steps = "".join(_halves(x - before_x) + _halves(y - before_y) for (before_x, before_y), (x, y) in pairwise(points))
    x, y = points[0]
    return f"M{x / 2:.10g},{y / 2:.10g}l{steps.removeprefix(' ')}z"


def _halves(value: int) -> str:
    """Write half of a whole number as briefly as path data allows; a minus parts it from the number before."""
    text = f"{abs(value) // 2 or ''}{'.5' if value % 2 else ''}" or "0"
    return f"-{text}" if value < 0 else f" {text}"
