"""Compiled loop that undoes the filters of PNG's rows, for :mod:`handseg_monai.data.reading.png`."""

from __future__ import annotations

import numpy as np

from handseg_monai.compiled import compiled


@compiled("int64", "uint8*", "int64", "int64", "int64", "uint8*")
def unfilter(filtered, rows, length, step, pixels):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Undo the filters of the rows of an image (PNG specification, section 9).

    Parameters
    ----------
    filtered
        uint8 (rows · (length + 1),): before each row, its filter.
    rows, length
        Rows, and bytes in each.
    step
        Bytes from a byte to the one of the pixel before it that belongs to it.
    pixels
        uint8 (rows · length,), filled; may be the beginning of ``filtered``.

    Returns
    -------
    right
        Whether all filters are known; where not, what was filled means nothing.
    """
    for row in range(rows):
        source = row * (length + 1)
        kind = filtered[source]
        source += 1
        target = row * length
        above = target - length
        first = min(step, length)
        if kind == 0:
            for k in range(length):
                pixels[target + k] = filtered[source + k]
        elif kind == 1 or (kind == 4 and row == 0):  # nothing above is nearer than what is to the left
            for k in range(first):
                pixels[target + k] = filtered[source + k]
            for k in range(first, length):
                pixels[target + k] = (filtered[source + k] + pixels[target + k - step]) & 255
        elif kind == 2:
            for k in range(length):
                up = pixels[above + k] if row else 0
                pixels[target + k] = (filtered[source + k] + up) & 255
        elif kind == 3:
            for k in range(length):
                left = np.int32(pixels[target + k - step]) if k >= step else np.int32(0)
                up = np.int32(pixels[above + k]) if row else np.int32(0)
                pixels[target + k] = (filtered[source + k] + ((left + up) >> 1)) & 255
        elif kind == 4:
            for k in range(first):
                pixels[target + k] = (filtered[source + k] + pixels[above + k]) & 255
            for k in range(first, length):
                left = np.int32(pixels[target + k - step])
                up = np.int32(pixels[above + k])
                corner = np.int32(pixels[above + k - step])
                by_up = up - corner
                by_left = left - corner
                to_left = abs(by_up)
                to_up = abs(by_left)
                to_corner = abs(by_up + by_left)
                nearest = up if to_up <= to_corner else corner
                nearest = left if to_left <= min(to_up, to_corner) else nearest
                pixels[target + k] = (filtered[source + k] + nearest) & 255
        else:
            return False
    return True
