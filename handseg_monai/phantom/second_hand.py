"""Another hand that reaches into a view; its bones are not labelled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from handseg_monai.phantom.components import Components, warped

_TRIES = 12
_MOST = 0.06
"""Greatest share of the labelled bones that the other hand may lie over."""


def add_second_hand(rng: np.random.Generator, parts: Components, other: Components) -> Components:
    """Return a view into which another hand, upright and cut by its image's lower edge, reaches from a side.

    It has the attenuations of both and the planes of the first. Where a dozen draws find no place off the hand's bones,
    it is the view itself.
    """
    rows = np.flatnonzero(other.soft.max(axis=1) > 0)
    if not len(rows):
        return parts
    tip = np.array([float(np.flatnonzero(other.soft[rows[0]] > 0).mean()), float(rows[0])])
    step = max(1, max(parts.shape) // 96)
    bones = parts.planes[step // 2 :: step, step // 2 :: step] != 0
    coarse = np.array([[step, 0.0, step // 2], [0.0, step, step // 2], [0.0, 0.0, 1.0]])
    light = replace(other, bone=other.soft)
    for _ in range(_TRIES):
        matrix = _drawn(rng, parts, other, tip)
        shadow = warped(light, (np.vstack([matrix, (0, 0, 1)]) @ coarse)[:2], bones.shape).soft > 0
        if shadow.mean() > 0.01 and (shadow & bones).sum() <= _MOST * max(int(bones.sum()), 1):
            moved = warped(other, matrix, parts.shape)
            return replace(parts, soft=parts.soft + moved.soft, bone=parts.bone + moved.bone)
    return parts


def _drawn(
    rng: np.random.Generator, parts: Components, other: Components, tip: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a map from the view's pixels to the other's that brings its fingertips in from a side."""
    height, width = parts.shape
    sides = ((0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0))
    out = np.array(sides[int(rng.integers(0, 4))])
    size = np.array([width, height], float)
    depth = float(rng.uniform(0.08, 0.5)) * float(abs(out) @ size)
    # On the side, somewhere along it, and from there into the image.
    place = 0.5 * size + out * (0.5 * size) - out * depth
    place += out[::-1] * float(rng.uniform(-0.5, 0.5)) * size
    # Fingers point up in the other view; here they point inwards, give or take.
    angle = np.arctan2(-out[0], out[1]) + float(rng.normal(0.0, 0.3))
    cosine, sine = np.cos(angle), np.sin(angle)
    scale = parts.spacing / other.spacing * float(rng.uniform(0.93, 1.07))
    linear = scale * np.array([[cosine, sine], [-sine, cosine]])
    return np.column_stack([linear, tip - linear @ place])
