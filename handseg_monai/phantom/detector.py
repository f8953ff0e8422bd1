"""From attenuation to the detector's log signal: blur, scatter, heel, vignette, grid and noise."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from handseg_monai.phantom.ranges import PhantomRanges
from handseg_monai.phantom.resample import Floats, averaged, blurred, enlarged, within
from handseg_monai.phantom.subject import draw

_SCATTER = 18.0
"""Spread of scattered radiation, standard deviation in millimetres."""


@numba.njit(cache=True, nogil=True)
def _detect(
    attenuation: NDArray[np.float32],
    scattered: NDArray[np.float32],
    grain: NDArray[np.float32],
    share: float,
    noise: float,
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
    vignette: float,
) -> None:
    """Replace attenuation with the log signal of the detector, in place."""
    height, width = attenuation.shape
    for row in range(height):
        v = row / height - 0.5
        for column in range(width):
            u = column / width - 0.5
            signal = np.exp(-attenuation[row, column]) + share * scattered[row, column]
            signal = signal / (1.0 + share)
            field = rows[row] + columns[column] + vignette * (u * u + v * v)
            attenuation[row, column] = -np.log(signal) + field + grain[row, column] * noise / np.sqrt(signal)


def detect(rng: np.random.Generator, ranges: PhantomRanges, signal: Floats, spacing: float) -> Floats:
    """Return the log signal of an attenuation.

    Parameters
    ----------
    rng, ranges
        Source and ranges of the draws.
    signal
        (H, W) float32 attenuation; it may be used up.
    spacing
        Millimetres per pixel.
    """
    shape = int(signal.shape[0]), int(signal.shape[1])
    field = spacing * max(shape)
    blur = draw(rng, ranges.blur) / spacing
    if blur > 0.25:
        signal = blurred(signal, blur)
    coarse = np.exp(-averaged(signal, within(shape, 96)))
    scattered = enlarged(blurred(coarse, min(_SCATTER * 96 / field, 24.0)), shape)
    share, noise = draw(rng, ranges.scatter), draw(rng, ranges.noise) * 0.13 / spacing
    grain = blurred(rng.standard_normal(shape, np.float32), float(rng.uniform(0.5, 0.75)))
    height, width = shape
    rows = (draw(rng, ranges.heel) * (np.arange(height) / height - 0.5)).astype(np.float32)
    columns = (draw(rng, ranges.heel) * (np.arange(width) / width - 0.5)).astype(np.float32)
    lines = rows if rng.random() < 0.5 else columns
    pitch, phase = float(rng.uniform(2.2, 9.0)), float(rng.uniform(0.0, 6.3))
    depth = draw(rng, ranges.grid_lines)
    if rng.random() < ranges.grid_share:
        lines += (depth * np.sin(2 * np.pi / pitch * np.arange(len(lines)) + phase)).astype(np.float32)
    # The noise of fine pixels averages out in coarse ones, of magnified ones it does not exceed a few per cent.
    _detect(signal, scattered, grain, share, min(noise, 0.25), rows, columns, draw(rng, ranges.vignette))
    return signal
