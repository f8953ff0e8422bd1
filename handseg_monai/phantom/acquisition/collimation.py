"""Collimators, corners and borders of a picture; what is opaque never covers a bone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handseg_monai.phantom.acquisition.ranges import OverlayRanges
from handseg_monai.phantom.components import Components
from handseg_monai.phantom.ranges import draw
from handseg_monai.phantom.resample import Floats, averaged

_CELLS = 64
"""The hand's extent is found on a grid of this many cells in either direction."""


@dataclass(frozen=True)
class _Shutter:
    """A tilted rectangle and what is seen beyond it: ``grey + gain * image``; `ramp` in pixels."""

    tilt: float
    grey: float
    gain: float
    ramp: float
    line: float


def shade(rng: np.random.Generator, ranges: OverlayRanges, image: Floats, parts: Components) -> None:
    """Shade what lies beyond a collimator, and the corners of a turned picture, in place."""
    tilt, kind = draw(rng, ranges.collimation_tilt), rng.random()
    line = float(rng.uniform(0.1, 0.6)) if rng.random() < ranges.glow_share else 0.0
    ramp, gain = max(float(rng.uniform(0.15, 1.2)) / parts.spacing, 1.0), float(rng.uniform(0.0, 0.3))
    grey = 0.0 if kind < 0.7 else float(rng.uniform(0.6, 1.0))
    depth, faint = rng.uniform(0.15, 0.98, 4), float(rng.uniform(0.35, 0.75))
    present, cuts = rng.random() < ranges.collimation_share, rng.random() < ranges.cutting_share
    if present:
        if cuts:
            # Bones beyond stay to be seen, if faintly, and keep their labels.
            grey, gain = (0.0 if kind < 0.6 else float(0.9 - faint)), faint
        _close(image, parts, _Shutter(tilt, grey, gain, ramp, line), depth, cut=cuts)
    tilt, depth = float(rng.uniform(-45.0, 45.0)), rng.uniform(0.3, 1.1, 4)
    grey = 0.0 if rng.random() < 0.8 else float(rng.uniform(0.0, 1.0))
    if rng.random() < ranges.corner_share:
        _close(image, parts, _Shutter(tilt, grey, 0.0, 1.0, 0.0), depth, cut=False)


def _close(image: Floats, parts: Components, shutter: _Shutter, depth: NDArray[np.float64], *, cut: bool) -> None:
    height, width = parts.shape
    turn = np.radians(shutter.tilt)
    cosine, sine = float(np.cos(turn)), float(np.sin(turn))
    taken = np.argwhere(averaged(parts.soft + parts.bone, _CELLS) > 1e-4)
    rows, columns = (taken[:, 0] - 31.5) * height / _CELLS, (taken[:, 1] - 31.5) * width / _CELLS
    along, down = columns * cosine + rows * sine, rows * cosine - columns * sine
    corners = [0.5 * abs(np.array([a * cosine, b * sine])).sum() for a, b in ((width, height), (height, width))]
    pad = max(height, width) / 40.0
    x = np.arange(width, dtype=np.float32) - np.float32(0.5 * (width - 1))
    y = np.arange(height, dtype=np.float32) - np.float32(0.5 * (height - 1))
    u = x[None, :] * np.float32(cosine) + y[:, None] * np.float32(sine)
    v = y[:, None] * np.float32(cosine) - x[None, :] * np.float32(sine)
    inside: Floats | None = None
    for k, (across, places, sign) in enumerate(((u, along, 1.0), (u, along, -1.0), (v, down, 1.0), (v, down, -1.0))):
        corner = corners[k // 2]
        hand = float((sign * places).max()) + pad if len(places) else 0.0
        if cut and depth[k] < 0.6:
            hand = float(max(0.45 * corner, hand * (0.75 + 0.4 * depth[k])))
        if hand >= corner:
            continue
        reach = np.float32(hand + (corner - hand) * depth[k])
        distance = reach - np.float32(sign) * across
        inside = distance if inside is None else np.minimum(inside, distance)
    if inside is None:
        return
    open_ = np.clip(inside / np.float32(shutter.ramp), 0, 1)
    beyond = np.minimum(np.float32(shutter.grey) + image * np.float32(shutter.gain), 1)
    image += (1 - open_) * (beyond - image)
    if shutter.line > 0:
        glow = np.clip(1 - np.abs(inside) / np.float32(4.0 * shutter.ramp), 0, 1)
        image += np.float32(shutter.line) * glow * (1 - image)


def border(rng: np.random.Generator, ranges: OverlayRanges, image: Floats, parts: Components) -> None:
    """Draw bars without content and bright edges of the film at some sides, in place; bars spare bones."""
    bars, lines = rng.random() < ranges.bar_share, rng.random() < ranges.film_edge_share
    grey = float(rng.choice((0.0, 0.0, 1.0, rng.uniform(0.0, 1.0))))
    widths, shares = rng.uniform(0.01, 0.13, 4), rng.random(4)
    glow, thick, fade = rng.uniform(0.5, 1.0, 4), rng.uniform(0.001, 0.014, 4), rng.uniform(0.2, 3.0, 4)
    views = image, image[::-1], image.T, image.T[::-1]
    bones = parts.planes, parts.planes[::-1], parts.planes.T, parts.planes.T[::-1]
    for k, (picture, planes) in enumerate(zip(views, bones, strict=True)):
        side = picture.shape[0]
        if bars and shares[k] < 0.45:
            count = max(1, int(widths[k] * side))
            if not planes[:count].any():
                picture[:count] = grey
        if lines and (shares[k] > 0.65 or k == int(4 * shares[0])):
            edge = np.arange(max(2, int(side * thick[k] * (1 + fade[k]))), dtype=np.float32)
            ramp = np.clip((1 + fade[k]) - edge / max(side * thick[k], 1.0), 0, 1) * np.float32(glow[k])
            strip = picture[: len(edge)]
            strip += ramp.astype(np.float32)[:, None] * (1 - strip)
