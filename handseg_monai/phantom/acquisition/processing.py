"""From the log signal to grey values: equalisation, edge enhancement, window and tone curve."""

from __future__ import annotations

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from handseg_monai.phantom.acquisition.ranges import ExposureRanges
from handseg_monai.phantom.ranges import draw
from handseg_monai.phantom.resample import Floats, averaged, blurred, enlarged, limited

_BROAD = 23.0
"""Scale of the differences that equalisation levels, standard deviation in millimetres."""


@numba.njit(cache=True, nogil=True)
def _tone(
    log_signal: NDArray[np.float32],
    smooth: NDArray[np.float32],
    boost: float,
    low: float,
    high: float,
    table: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    height, width = out.shape
    scale = (len(table) - 1) / (high - low)
    for row in range(height):
        for column in range(width):
            value = log_signal[row, column]
            value += boost * (value - smooth[row, column])
            place = min(max((value - low) * scale, 0.0), len(table) - 1.001)
            cell = int(place)
            out[row, column] = table[cell] + (place - cell) * (table[cell + 1] - table[cell])


def process(rng: np.random.Generator, ranges: ExposureRanges, signal: Floats, spacing: float) -> Floats:
    """Return the picture, 0 to 1, of a log signal, (H, W) float32, which is used up; spacing in millimetres a pixel."""
    height, width = signal.shape
    shape, field = (height, width), spacing * max(signal.shape)
    half = averaged(signal, limited(shape, max(shape) // 2))
    boost, radius = draw(rng, ranges.edge_boost), float(rng.uniform(1.5, 4.0))
    strong, wide = draw(rng, ranges.halo_boost), float(rng.uniform(0.5, 9.0))
    if rng.random() < ranges.halo_share:
        boost, radius = strong, wide
    side = int(radius / (2 * spacing)) * 2 + 1
    # Two box filters: near a Gaussian, at a cost that does not grow with its width.
    smooth = enlarged(np.asarray(cv2.blur(cv2.blur(half, (side, side)), (side, side)), np.float32), shape)
    # Levelling broad differences is what makes fingers and forearm readable in one picture.
    broad = blurred(averaged(half, limited(shape, 128)), min(_BROAD * 128 / field, 32.0))
    broad *= np.float32(draw(rng, ranges.equalisation))
    small = limited(shape, 256)
    few = averaged(half, small) - enlarged(broad, small)
    low, high = _window(rng, ranges, few)
    level = enlarged(broad, shape)
    signal -= level
    smooth -= level
    out = np.empty_like(signal)
    _tone(signal, smooth, boost, low, high, _curve(rng, ranges), out)
    return out


def _window(rng: np.random.Generator, ranges: ExposureRanges, few: Floats) -> tuple[float, float]:
    """Return the log signals of black and white."""
    low, densest = (float(v) for v in np.percentile(few, (2.0, 99.7)))
    low, high = low - 0.02, densest * 1.03
    cut, loose, bright = float(rng.uniform(0.05, 0.22)), float(rng.uniform(1.2, 2.2)), float(rng.uniform(0.6, 0.88))
    if rng.random() < ranges.burnt_share:
        high = low + (high - low) * bright
    elif rng.random() < ranges.flat_share:
        high = low + (high - low) * loose
    if rng.random() < ranges.cut_share:
        low += (high - low) * cut
    return low, max(high, low + 0.3)


def _curve(rng: np.random.Generator, ranges: ExposureRanges) -> NDArray[np.float32]:
    """Return the grey of 1025 even steps from black to white."""
    dark, bright, gamma = draw(rng, ranges.background), draw(rng, ranges.brightness), draw(rng, ranges.gamma)
    floor, span = float(rng.uniform(0.3, 0.62)), float(rng.uniform(0.15, 0.4))
    faint = float(rng.uniform(0.12, 0.4))
    if rng.random() < ranges.washed_share:
        dark, bright = floor, min(floor + span, 1.0)
    elif rng.random() < ranges.dark_share:
        dark, bright = 0.0, faint
    curve = np.linspace(0, 1, 1025) ** gamma
    # A soft shoulder and toe, as of film; less than none flattens the middle.
    bend = draw(rng, ranges.s_curve)
    curve = (1 - bend) * curve + bend * (3 * curve**2 - 2 * curve**3)
    return (dark + (bright - dark) * curve).astype(np.float32)
