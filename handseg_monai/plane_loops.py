"""Loops over the pixels of bit planes, compiled by Numba, whose import takes 0.3 s: imported where they run."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def paint_majority(
    planes: np.ndarray, bit: np.int32, mask: np.ndarray, top: int, left: int, scale_y: float, scale_x: float
) -> None:
    """Set a bit where a mask of 0 and 1 at (top, left) covers more than half of the scale_y x scale_x pixels below.

    Exact halves go to the side that the pixel's centre lies on: all to the bone would fatten it, by 2 % at half the
    size. The centre lies in the input pixel before it where it lies between two.
    """
    rows, columns = mask.shape
    first_row, first_column = int(top / scale_y), int(left / scale_x)
    last_row = min(int(np.ceil((top + rows) / scale_y)), planes.shape[0])
    last_column = min(int(np.ceil((left + columns) / scale_x)), planes.shape[1])
    whole = scale_y * scale_x
    for y in range(first_row, last_row):
        upper, lower = y * scale_y - top, (y + 1) * scale_y - top
        for x in range(first_column, last_column):
            begin, end = x * scale_x - left, (x + 1) * scale_x - left
            covered = 0.0
            for i in range(max(int(np.floor(upper)), 0), min(int(np.ceil(lower)), rows)):
                line = 0.0
                for j in range(max(int(np.floor(begin)), 0), min(int(np.ceil(end)), columns)):
                    if mask[i, j]:
                        line += min(end, j + 1.0) - max(begin, float(j))
                covered += line * (min(lower, i + 1.0) - max(upper, float(i)))
            share = covered / whole
            if abs(share - 0.5) < 1e-4:
                i = int(np.ceil((y + 0.5) * scale_y - 1e-6)) - 1 - top
                j = int(np.ceil((x + 0.5) * scale_x - 1e-6)) - 1 - left
                if 0 <= i < rows and 0 <= j < columns and mask[i, j]:
                    planes[y, x] |= bit
            elif share > 0.5:
                planes[y, x] |= bit
