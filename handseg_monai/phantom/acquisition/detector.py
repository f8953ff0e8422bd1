"""From attenuation to the detector's log signal: blur, scatter, heel, vignette, grid and noise."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from handseg_monai.phantom.acquisition.ranges import ExposureRanges
from handseg_monai.phantom.ranges import draw
from handseg_monai.phantom.resample import Floats, averaged, blurred, enlarged, limited

_SCATTER = 18.0
"""Spread of scattered radiation, standard deviation in millimetres."""


@numba.njit(cache=True, nogil=True, fastmath=True)
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
    # All in float32: exponentials and logarithms take half the time.
    primary, scatter = np.float32(1.0 / (1.0 + share)), np.float32(share / (1.0 + share))
    fall, sigma = np.float32(vignette), np.float32(noise)
    for row in range(height):
        v = np.float32(row / height - 0.5)
        across = rows[row] + fall * v * v
        for column in range(width):
            u = np.float32(column / width - 0.5)
            signal = primary * np.exp(-attenuation[row, column]) + scatter * scattered[row, column]
            field = across + columns[column] + fall * u * u
            attenuation[row, column] = field - np.log(signal) + grain[row, column] * sigma / np.sqrt(signal)


def detect(rng: np.random.Generator, ranges: ExposureRanges, signal: Floats, spacing: float) -> Floats:
    """Return the log signal of an attenuation, (H, W) float32, which may be used up; spacing in millimetres a pixel."""
    height, width = signal.shape
    shape, field = (height, width), spacing * max(signal.shape)
    blur = draw(rng, ranges.blur) / spacing
    if blur > 0.25:
        signal = blurred(signal, blur)
    coarse = np.exp(-averaged(signal, limited(shape, 96)))
    scattered = enlarged(blurred(coarse, min(_SCATTER * 96 / field, 24.0)), shape)
    share, noise = draw(rng, ranges.scatter), draw(rng, ranges.noise) * 0.13 / spacing
    grain = blurred(rng.standard_normal(shape, np.float32), float(rng.uniform(0.5, 0.75)))
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
