"""From attenuation to the grey values of a radiograph: scatter, blur, noise, processing, collimator and marker."""

from __future__ import annotations

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from handseg_monai.phantom.components import Components
from handseg_monai.phantom.ranges import PhantomRanges
from handseg_monai.phantom.resample import Floats, averaged, blurred, enlarged, within
from handseg_monai.phantom.subject import draw


@numba.njit(cache=True, nogil=True)
def _detect(
    attenuation: NDArray[np.float32],
    scattered: NDArray[np.float32],
    grain: NDArray[np.float32],
    share: float,
    noise: float,
    heel_x: float,
    heel_y: float,
) -> None:
    """Replace attenuation with the log signal of the detector, in place."""
    height, width = attenuation.shape
    for row in range(height):
        for column in range(width):
            signal = np.exp(-attenuation[row, column]) + share * scattered[row, column]
            signal = signal / (1.0 + share)
            tilt = heel_x * (column / width - 0.5) + heel_y * (row / height - 0.5)
            attenuation[row, column] = -np.log(signal) + tilt + grain[row, column] * noise / np.sqrt(signal)


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


def expose(rng: np.random.Generator, ranges: PhantomRanges, parts: Components) -> NDArray[np.uint8]:
    """Return the radiograph of a view.

    Parameters
    ----------
    rng
        Source of the draws.
    ranges
        Ranges of the exposure.
    parts
        The view, at least 64 pixels in either direction; it is left as it is.

    Returns
    -------
    NDArray
        (H, W) uint8, bones bright.
    """
    shape, spacing = parts.shape, parts.spacing
    free = averaged(parts.soft, 64) < 1e-4
    signal = parts.soft + np.float32(draw(rng, ranges.contrast)) * parts.bone
    blur = draw(rng, ranges.blur) / spacing
    if blur > 0.25:
        signal = blurred(signal, blur)
    coarse = np.exp(-averaged(signal, within(shape, 96)))
    scattered = enlarged(blurred(coarse, 18.0 / (spacing * max(shape) / 96)), shape)
    share, noise = draw(rng, ranges.scatter), draw(rng, ranges.noise) * 0.13 / spacing
    grain = blurred(rng.standard_normal(shape, np.float32), 0.6)
    _detect(signal, scattered, grain, share, noise, draw(rng, ranges.heel), draw(rng, ranges.heel))
    image = _process(rng, ranges, signal, spacing)
    _collimate(rng, ranges, image, free, parts)
    _mark(rng, ranges, image, free, parts)
    return np.asarray(cv2.convertScaleAbs(image, alpha=255.0), np.uint8)


def _process(rng: np.random.Generator, ranges: PhantomRanges, signal: Floats, spacing: float) -> Floats:
    shape = int(signal.shape[0]), int(signal.shape[1])
    half = averaged(signal, within(shape, max(shape) // 2))
    side = int(rng.uniform(1.5, 4.0) / (2 * spacing)) * 2 + 1
    # Two box filters: near a Gaussian, at a cost that does not grow with its width.
    smooth = enlarged(np.asarray(cv2.blur(cv2.blur(half, (side, side)), (side, side)), np.float32), shape)
    # Levelling broad differences is what makes fingers and forearm readable in one picture.
    broad = blurred(averaged(half, within(shape, 128)), 23.0 / (spacing * max(shape) / 128)) * np.float32(
        draw(rng, ranges.equalisation)
    )
    small = within(shape, 256)
    few = averaged(half, small) - enlarged(broad, small)
    low = float(np.percentile(few, 2.0)) - 0.02
    high = float(np.percentile(few, 99.7)) * 1.03
    dark, bright, gamma = draw(rng, ranges.background), draw(rng, ranges.brightness), draw(rng, ranges.gamma)
    ramp = np.linspace(0, 1, 1025)
    curve = ramp**gamma
    # A soft shoulder and toe, as of film.
    bend = rng.uniform(0.0, 0.6)
    curve = (1 - bend) * curve + bend * (3 * curve**2 - 2 * curve**3)
    table = (dark + (bright - dark) * curve).astype(np.float32)
    out = np.empty_like(signal)
    level = enlarged(broad, shape)
    signal -= level
    smooth -= level
    _tone(signal, smooth, draw(rng, ranges.edge_boost), low, max(high, low + 0.3), table, out)
    return out


def _collimate(
    rng: np.random.Generator, ranges: PhantomRanges, image: Floats, free: NDArray[np.bool_], parts: Components
) -> None:
    """Shade the border beyond a tilted collimator, in place.

    It never covers the hand, and leaves the lower edge open.
    """
    present = rng.random() < ranges.collimation_share
    tilt, bright = draw(rng, ranges.collimation_tilt), rng.random() < 0.3
    depth, grey, soft = rng.uniform(0.2, 0.95, 3), rng.uniform(0.75, 1.0), rng.uniform(0.15, 1.2)
    if not present:
        return
    size = max(parts.shape)
    height, width = parts.shape
    taken = np.argwhere(~free)
    turn = np.radians(tilt)
    rows, columns = (taken[:, 0] - 31.5) * height / 64, (taken[:, 1] - 31.5) * width / 64
    upper = rows < 0.25 * height
    along = columns * np.cos(turn) + rows * np.sin(turn)
    down = -columns * np.sin(turn) + rows * np.cos(turn)
    pad = size / 40.0
    edges = (-along[upper].min() + pad, along[upper].max() + pad, -down.min() + pad)
    reach = [max(edge, edge + (0.56 * size - edge) * float(depth[k])) for k, edge in enumerate(edges)]
    x = np.arange(width, dtype=np.float32) - np.float32(0.5 * (width - 1))
    y = np.arange(height, dtype=np.float32) - np.float32(0.5 * (height - 1))
    inside = np.ones(parts.shape, np.float32)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u = x[None, :] * cosine + y[:, None] * sine
    v = y[:, None] * cosine - x[None, :] * sine
    ramp = np.float32(max(soft / parts.spacing, 1.0))
    for distance in (u + np.float32(reach[0]), np.float32(reach[1]) - u, v + np.float32(reach[2])):
        inside = np.minimum(inside, np.clip(distance / ramp, 0, 1))
    outside = np.float32(grey if bright else 0.0) + (image * np.float32(0.25))
    image += (1 - inside) * (np.minimum(outside, 1) - image)


def _mark(
    rng: np.random.Generator, ranges: PhantomRanges, image: Floats, free: NDArray[np.bool_], parts: Components
) -> None:
    """Lay a lead letter for the side beside the hand, in place."""
    present = rng.random() < ranges.marker_share
    letter = "R" if parts.side == "right" else "L"
    letters_high = rng.uniform(9.0, 15.0) / parts.spacing
    angle, plate, grey = rng.normal(0.0, 9.0), rng.random() < 0.4, rng.uniform(0.85, 1.0)
    initials = "".join(chr(65 + int(k)) for k in rng.integers(0, 26, 2)) if rng.random() < 0.4 else ""
    spot = rng.random()
    if not present:
        return
    side = int(2.2 * letters_high)
    tall, broad = (int(np.ceil(side * 64 / edge)) + 2 for edge in parts.shape)
    clear = cv2.erode(
        free.astype(np.uint8), np.ones((tall, broad), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    places = np.argwhere(clear)
    if not len(places):
        return
    row, column = places[int(spot * len(places))]
    canvas = np.zeros((side, side), np.uint8)
    font, weight = cv2.FONT_HERSHEY_DUPLEX, max(1, int(letters_high / 8))
    scale = cv2.getFontScaleFromHeight(font, max(int(letters_high), 8), weight)
    (w, h), _ = cv2.getTextSize(letter, font, scale, weight)
    base = side // 2 + (h // 2 if not initials else h // 4)
    cv2.putText(canvas, letter, ((side - w) // 2, base), font, scale, 255, weight, cv2.LINE_AA)
    if initials:
        (w, h), _ = cv2.getTextSize(initials, font, scale * 0.45, max(1, weight // 2))
        cv2.putText(
            canvas,
            initials,
            ((side - w) // 2, base + int(1.6 * h)),
            font,
            scale * 0.45,
            255,
            max(1, weight // 2),
            cv2.LINE_AA,
        )
    frame = np.zeros_like(canvas)
    cv2.rectangle(frame, (side // 8, side // 10), (side - side // 8, side - side // 10), 255, -1)
    warp = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1.0)
    letters, plateau = (
        np.asarray(cv2.warpAffine(layer, warp, (side, side), flags=cv2.INTER_LINEAR), np.float32)
        for layer in (canvas, frame)
    )
    height, width = parts.shape
    y0, x0 = int((row + 0.5) * height / 64) - side // 2, int((column + 0.5) * width / 64) - side // 2
    y0, x0 = min(max(y0, 0), height - side), min(max(x0, 0), width - side)
    patch = image[y0 : y0 + side, x0 : x0 + side]
    if plate:
        patch *= 1 - np.float32(0.6 / 255) * plateau
    patch += letters * np.float32(1 / 255) * (grey - patch)
