"""The width of the images that run-lengths were made of: at another one masks are sheared, or stripes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LEAST_RUNS, _LEAST_CROSSING = 50, 3
_NEAR = 16
"""Pixels by which runs of slanting bones move from row to row."""
_GOOD = 0.6
"""Share of runs that have the bone below them, from which a width fits; that of the true width is 0.9 or more."""
_TALLEST = 4
"""Rows to a column of an image."""


def other_width(runs: Sequence[np.ndarray], width: int) -> int | None:
    """Tell the width of the images that masks belong to, where it is another one.

    At the true width no run reaches from one row into the next, and nearly every run has the bone below it.

    Parameters
    ----------
    runs
        Of each bone, int64 (N, 2): 0-based start and length in pixels, ascending.
    width
        Of the image that they shall be masks of, in pixels.

    Returns
    -------
    other
        A width that fits where this one does not; None where this one does, or none can be told.
    """
    start, length = np.concatenate([np.empty((0, 2), np.int64), *runs]).T
    if len(start) < _LEAST_RUNS:
        return None
    end, middle = start + length, start + length // 2
    pixels = int(end.max())
    apart = np.repeat(np.arange(len(runs)), [len(one) for one in runs]) * (3 * pixels)  # so that no bone meets another

    def crossing(wide: int) -> int:
        return int(np.sum(start // wide != (end - 1) // wide))

    def fit(wide: int) -> float:
        below = middle + apart + wide
        at = np.searchsorted(start + apart, below, side="right") - 1
        return float(np.mean(below < (end + apart)[at]))

    step = round(float(np.median(np.concatenate([np.diff(one[:, 0] + one[:, 1] // 2) for one in runs]))))
    near = abs(step - width) <= _NEAR
    if near and crossing(width) < _LEAST_CROSSING:
        return None
    low = max(step - _NEAR, round((pixels / _TALLEST) ** 0.5), 1)
    fitting = {wide: fit(wide) for wide in range(low, step + _NEAR + 1) if not crossing(wide)}
    best = max(fitting, key=lambda wide: fitting[wide], default=width)
    if best == width or fitting[best] < _GOOD or not (near or fitting[best] > fit(width)):
        return None
    return best
