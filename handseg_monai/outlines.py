"""Filling an outline that runs over itself, once: traced twice, too far, or there and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

_APART = 1 / 16
"""Share of its length by which an outline, which runs there and back, may miss its own line."""
_TWO_ROUNDS = 8
"""Corners that an outline has at least which goes round twice."""
_PICK = 8
"""Pixels by which a simple outline's fill may differ from Pick's theorem, and no overlap of a pixel's size does."""


def fill_outline(mask: np.ndarray, ring: np.ndarray) -> None:
    """Fill an outline, int32 (N, 2), by ``cv2.fillPoly`` in a mask, uint8 (H, W)."""
    cv2.fillPoly(mask, [ring], 1)


def fill_overlaps(
    mask: np.ndarray, ring: np.ndarray, fill: Callable[[np.ndarray, np.ndarray], None] = fill_outline
) -> None:
    """Fill what an even-odd fill with outline has left open because the outline runs over itself, in place.

    That is where the outline winds round a pixel an even number of times but not 0, and all of an outline that runs
    there and back along itself (:func:`rounds`). Simple outlines stay as they are.

    Parameters
    ----------
    mask
        uint8 (H, W), 1 where the even-odd fill of ``ring`` is.
    ring
        Corners, int32 (N, 2), x and y in pixels of the mask; they may lie outside.
    fill
        The even-odd fill.
    """
    area, length = _area_and_length(ring)
    # Pick's theorem: a simple outline holds as many pixels, but for lines that are neither straight nor diagonal.
    expected = abs(area) + length / 2 + 1
    if abs(expected - cv2.countNonZero(mask)) < _PICK and length < abs(area):
        return
    for part in rounds(ring):
        if part is not ring:
            fill(mask, part)
        turns = _windings(part, mask.shape)
        mask |= (turns != 0) & (turns % 2 == 0)


def rounds(ring: np.ndarray) -> list[np.ndarray]:
    """Part an outline that runs there and back along itself, and so winds round nothing, where it turns.

    Any other outline, corners (N, 2), is its only part.
    """
    area, length = _area_and_length(ring)
    if length == 0 or length < abs(area) or len(ring) < _TWO_ROUNDS:
        return [ring]
    x, y = (ring - ring.mean(axis=0)).T
    swept = np.cumsum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2
    first, last = sorted((int(swept.argmin()) + 1, int(swept.argmax()) + 1))
    turned, turn = np.roll(ring, -first, axis=0), last - first
    there, back = turned[: turn + 1], np.append(turned[turn:], turned[:1], axis=0)
    apart = [there[0] - there[-1], there.min(axis=0) - back.min(axis=0), there.max(axis=0) - back.max(axis=0)]
    # Of a figure of eight the two parts lie side by side.
    same = np.abs(apart).max() <= _APART * length and np.ptp(swept) >= max(2 * abs(area), length / 2)
    return [there, back] if same else [ring]


def wind(x: np.ndarray, y: np.ndarray, sign: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Count how often an outline winds round each pixel: int32 ``shape``.

    It crosses column ``x`` above row ``y`` towards the right (sign 1) or the left (-1), all int64 (N,).
    """
    height, width = shape
    turns = np.zeros((height + 1, width), np.int32)
    seen = (x >= 0) & (x < width)
    np.add.at(turns, (np.clip(y[seen], 0, height), x[seen]), sign[seen])
    return np.cumsum(turns[:-1], axis=0, dtype=np.int32)


def _windings(ring: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Windings of integer corners round pixels at integer places."""
    start, end = ring, np.roll(ring, -1, axis=0)
    across, down = (end - start).T
    count = np.abs(across)
    edge = np.repeat(np.arange(len(ring)), count)
    x = np.minimum(start[:, 0], end[:, 0])[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    y = start[edge, 1] + (x - start[edge, 0]) * down[edge] / across[edge]
    return wind(x, np.ceil(y).astype(np.int64), np.sign(across)[edge], shape)


def length_of(ring: np.ndarray) -> float:
    """Pixels that a closed outline, corners (N, 2), runs through, each as often as it does."""
    return _area_and_length(ring)[1]


def _area_and_length(ring: np.ndarray) -> tuple[float, float]:
    """Signed area within an outline, and the number of pixels that it runs through."""
    x, y = ring.T.astype(np.float64)
    next_x, next_y = np.append(x[1:], x[0]), np.append(y[1:], y[0])
    steps = np.maximum(np.abs(next_x - x), np.abs(next_y - y))
    return float(x @ next_y - y @ next_x) / 2, float(steps.sum())
