"""The metacarpal cortical index: how much of a shaft's width is cortex, from the grey values across its middle."""

from __future__ import annotations

import cv2
import numpy as np

from handseg_monai.measure.long_bones import Shaft
from handseg_monai.measure.measures import NotMeasured
from handseg_monai.measure.spacing import Spacing

MIDDLE = np.linspace(0.45, 0.55, 31)
"""Where the shaft is crossed, shares of the bone's length."""
_BEYOND = 0.3
"""How far the profile goes on beyond the bone on either side, in its widths."""
_SAMPLES = 641
_LEAST_WIDTH = 12
"""Pixels across a shaft whose cortices can be told."""
_CORTEX = 0.05, 0.45
"""Where the inner edge of a cortex may lie, in widths of the bone from its outer edge."""
_FALLEN = 0.04
"""How far the profile has fallen at the inner edge, as a share of its way from the peak to the marrow: less, and noise
on a broad peak counts; more, and where the marrow begins gently the edge lies too far in."""
_LEAST_FALL = 0.04
"""How far the grey value must fall from a cortex to the marrow, as a share of what bone adds to the soft tissue."""
_LEAST_ADDED = 4
"""How much brighter than what lies beside it a shaft must be, of 255 steps of grey."""
_CLIPPED = 0.1
"""Share of a shaft at the end of the image's grey values from which on the exposure has clipped it."""


def cortical_index(
    image: np.ndarray, shaft: Shaft, spacing: Spacing
) -> tuple[float, tuple[complex, complex, complex, complex]]:
    """Measure the combined width of both cortices over the width of the bone.

    The outline gives the outer edges. From there the mean of the profiles over :data:`MIDDLE` rises to the inner edge
    of each cortex, where the beam runs through most of it, and falls towards the marrow: the inner edge is where it
    starts to fall.

    Parameters
    ----------
    image
        Radiograph, (H, W), of any dtype; a negative is turned round.
    shaft
        Of a metacarpal.
    spacing
        Of the image.

    Returns
    -------
    index
        0 to 1.
    points
        Outer and inner edge on one side, inner and outer edge on the other, at the middle of the bone.

    Raises
    ------
    NotMeasured
        The shaft has too few pixels across, or the profile does not fall from a cortex to marrow on both sides.
    """
    places = shaft.start + MIDDLE * shaft.length
    low, high = shaft.outline.cuts(shaft.origin, shaft.way, places)
    width = float(np.mean(high - low))
    pixel = max(spacing.row, spacing.column)
    if width < _LEAST_WIDTH * pixel:
        raise NotMeasured(f"the shaft is {width / pixel:.0f} pixels wide; its cortices take {_LEAST_WIDTH}")
    share = np.linspace(-_BEYOND, 1 + _BEYOND, _SAMPLES)
    across = low[:, None] + share * (high - low)[:, None]
    points = shaft.origin + shaft.way * (places[:, None] + 1j * across)
    sampled = _sampled(image, points, spacing)
    profile = sampled.mean(axis=0)
    inside = (share > 0) & (share < 1)
    outside = (share < -0.5 * _BEYOND) | (share > 1 + 0.5 * _BEYOND)
    soft = float(profile[outside].mean())
    added = float(profile[inside].mean()) - soft
    grey = float(np.ptp(image)) / 255
    if abs(added) <= _LEAST_ADDED * grey:
        raise NotMeasured("the shaft is as bright as what lies beside it")
    limit = float(image.max() if added > 0 else image.min())
    if (np.abs(sampled[:, inside] - limit) < grey).mean() > _CLIPPED:
        raise NotMeasured("the exposure clips the shaft: much of it has the same grey value")
    profile = (profile - soft) / added
    # Over two samples of the image, so that noise has no edges.
    step = width / pixel / (share.size / (1 + 2 * _BEYOND))
    profile = cv2.GaussianBlur(profile[None], (0, 0), 0.6 / step, borderType=cv2.BORDER_REPLICATE)[0]
    first, second = _inner_edge(share, profile), 1 - _inner_edge(1 - share[::-1], profile[::-1])
    edges = np.array([0.0, first, second, 1.0])
    middle = len(places) // 2
    drawn = shaft.at(float(MIDDLE[middle])) + 1j * shaft.way * (low[middle] + edges * (high - low)[middle])
    return first + 1 - second, (complex(drawn[0]), complex(drawn[1]), complex(drawn[2]), complex(drawn[3]))


def _sampled(image: np.ndarray, points: np.ndarray, spacing: Spacing) -> np.ndarray:
    x, y = points.real / spacing.column - 0.5, points.imag / spacing.row - 0.5
    left, top = max(int(x.min()) - 2, 0), max(int(y.min()) - 2, 0)
    part = image[top : int(y.max()) + 4, left : int(x.max()) + 4].astype(np.float32)
    return np.asarray(
        cv2.remap(
            part,
            (x - left).astype(np.float32),
            (y - top).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float64,
    )


def _inner_edge(share: np.ndarray, profile: np.ndarray) -> float:
    """Find where a profile starts to fall from the cortex that it begins with, in widths of the bone."""
    where = np.flatnonzero((share > _CORTEX[0]) & (share < _CORTEX[1]))
    peak = int(where[np.argmax(profile[where])])
    fall = profile[peak : int(np.searchsorted(share, 0.5))]
    marrow = float(fall.min())
    if profile[peak] - marrow < _LEAST_FALL:
        raise NotMeasured("the profile across the shaft shows no two cortices with marrow between")
    level = profile[peak] - _FALLEN * (profile[peak] - marrow)
    below = int(np.argmax(fall < level))
    before, after = fall[below - 1], fall[below]
    return float(share[peak + below] - (level - after) / (before - after) * (share[1] - share[0]))
