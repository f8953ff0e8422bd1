"""Side markers of lead beside the hand: letters, initials, plates, frames and balls in a circle."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from handseg_monai.phantom.acquisition.lettering import FONTS, lay, turned, words
from handseg_monai.phantom.acquisition.ranges import OverlayRanges
from handseg_monai.phantom.components import Components
from handseg_monai.phantom.ranges import draw
from handseg_monai.phantom.resample import Floats


def mark(
    rng: np.random.Generator, ranges: OverlayRanges, image: Floats, free: NDArray[np.bool_], parts: Components
) -> None:
    """Lay a side marker into a picture (0 to 1) beside the hand, in place; `free` (64, 64) says where there is none."""
    present, kind = rng.random() < ranges.marker_share, rng.random()
    height = draw(rng, ranges.marker_height) / parts.spacing
    tilt, quarter, odd = float(rng.normal(0.0, 9.0)), 90.0 * int(rng.integers(1, 4)), rng.random()
    lying = odd < ranges.marker_turned_share
    angle = float(rng.uniform(-180, 180)) if lying and odd < 0.6 * ranges.marker_turned_share else tilt
    angle += quarter if lying else 0.0
    mirrored = lying and rng.random() < 0.4
    if not present:
        return
    height = float(np.clip(height, 7.0, 0.12 * max(parts.shape)))
    letters, plate, plate_grey, weight = _marker(rng, parts.side, height, kind)
    letters, plate = (turned(layer, angle, mirrored=mirrored) for layer in (letters, plate))
    spot = _free_spot(rng, free, letters.shape, parts.shape)
    if spot is None:
        return
    lay(image, plate * np.float32(weight), *spot, plate_grey)
    lay(image, letters, *spot, float(rng.uniform(0.8, 1.0)))


def _marker(rng: np.random.Generator, side: str, height: float, kind: float) -> tuple[Floats, Floats, float, float]:
    """Return the canvas of the lead, that of the plate, the plate's grey and its opacity."""
    font, heavy = int(rng.choice(FONTS[:4])), float(rng.uniform(0.09, 0.24))
    letter = words("R" if side == "right" else "L", height, font, heavy=heavy)
    count = int(rng.integers(2, 4))
    initials = "".join(chr(65 + int(k)) for k in rng.integers(0, 26, count))
    rows = [letter]
    if rng.random() < 0.5:
        rows.append(words(initials, height * float(rng.uniform(0.3, 0.55)), font, heavy=heavy))
    ball = kind > 0.75
    if ball:
        rows.insert(int(rng.integers(0, 2)), _ball(rng, height))
    gap = max(1, round(0.2 * height))
    beside = rng.random() < 0.2
    stack = [np.pad(row, gap) for row in rows]
    axis = 1 if beside else 0
    other = max(row.shape[1 - axis] for row in stack)
    spares = [other - row.shape[1 - axis] for row in stack]
    pads = [np.roll([(0, 0), (spare // 2, spare - spare // 2)], axis, axis=0) for spare in spares]
    padded = [np.pad(row, pad) for row, pad in zip(stack, pads, strict=True)]
    margin = max(2, round(float(rng.uniform(0.1, 0.5)) * height))
    letters = np.pad(np.asarray(np.concatenate(padded, axis=axis), np.float32), margin)
    plate = np.zeros_like(letters)
    inner = max(1, margin // 3)
    plate[inner:-inner, inner:-inner] = 1.0
    if kind < 0.35:
        plate[:] = 0
    if rng.random() < (0.5 if ball else 0.2):
        frame = plate.copy()
        line = max(1, round(float(rng.uniform(0.02, 0.08)) * height))
        frame[inner + line : -inner - line, inner + line : -inner - line] = 0
        letters = np.maximum(letters, frame * np.float32(rng.uniform(0.3, 1.0)))
    dark = rng.random() < 0.6
    return letters, plate, (0.0 if dark else 1.0), float(rng.uniform(0.2, 0.85) if dark else rng.uniform(0.05, 0.3))


def _ball(rng: np.random.Generator, height: float) -> Floats:
    """Return a circle with a ball in it, as tells a standing patient from a lying one."""
    size = max(7, round(height * float(rng.uniform(0.8, 1.3))))
    canvas, middle = np.zeros((size, size), np.uint8), size // 2
    cv2.circle(canvas, (middle, middle), middle - 1, 255, max(1, size // 9), cv2.LINE_AA)
    off = rng.uniform(-0.25, 0.25, 2) * size
    cv2.circle(canvas, (middle + int(off[0]), middle + int(off[1])), max(1, size // 8), 255, -1, cv2.LINE_AA)
    return canvas.astype(np.float32) / np.float32(255)


def _free_spot(
    rng: np.random.Generator, free: NDArray[np.bool_], size: tuple[int, ...], shape: tuple[int, int]
) -> tuple[int, int] | None:
    """Return x and y of the upper left corner of a box that lies clear of the hand, or None."""
    rows, columns = (int(np.ceil(size[k] * 64 / shape[k])) + 2 for k in (0, 1))
    kernel = np.ones((rows, columns), np.uint8)
    clear = cv2.erode(free.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    places = np.argwhere(clear)
    if not len(places):
        return None
    row, column = places[int(rng.integers(0, len(places)))]
    y = int((row + 0.5) * shape[0] / 64) - size[0] // 2
    x = int((column + 0.5) * shape[1] / 64) - size[1] // 2
    return min(max(x, 0), max(shape[1] - size[1], 0)), min(max(y, 0), max(shape[0] - size[0], 0))
