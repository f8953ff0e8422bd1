"""Deviation of the wrist, and which hand it is, measured on the label of a radiograph."""

from __future__ import annotations

import numpy as np

from handseg_monai.bones import BONES, INDEX, Group, Side

BENT = 15.0
"""Degrees of deviation, to either side, from which a wrist counts as bent."""
_SLENDER = 1.6
"""Standard deviation along a bone over that across it, from which its mask has an axis."""
_FOREARM = INDEX["Radius"], INDEX["Ulna"]
_THIRD = INDEX["finger-11"]
_BELOW = (*_FOREARM, *(bone.index for bone in BONES if bone.group is Group.CARPAL))
_INDEX_SIDE, _LITTLE_SIDE = INDEX["finger-7"], INDEX["finger-19"]


def wrist_deviation(planes: np.ndarray) -> float:
    """Angle between the forearm and the third metacarpal in bit planes, int32 (H, W): degrees, positive to the thumb.

    The axes are the principal ones of the masks: that of the third metacarpal, and the mean of those of radius and
    ulna, weighted by the masks' areas, of which each must be long enough to have one. The thumb's side is that of the
    second metacarpal, seen from the fifth. Some hundred pixels to a side are enough.

    NaN where a bone that it needs is missing, or so little of the forearm is seen that it has no axis.
    """
    pixels = {}
    for bone in (*_FOREARM, _THIRD, _INDEX_SIDE, _LITTLE_SIDE):
        y, x = np.nonzero(planes & np.int32(1 << bone))
        pixels[bone] = x + 1j * y
    if any(pixels[bone].size < 2 for bone in (_THIRD, _INDEX_SIDE, _LITTLE_SIDE)):
        return float("nan")
    hand = pixels[_THIRD].mean()
    forearm = 0j
    for bone in _FOREARM:
        axis, slender = _axis(pixels[bone])
        if slender >= _SLENDER:
            forearm += axis * _towards(axis, hand - pixels[bone].mean()) * pixels[bone].size
    axis, slender = _axis(pixels[_THIRD])
    if forearm == 0 or slender < _SLENDER:
        return float("nan")
    third = axis * _towards(axis, forearm)
    thumbward = pixels[_INDEX_SIDE].mean() - pixels[_LITTLE_SIDE].mean()
    side = np.sign((forearm.conjugate() * thumbward).imag)
    return float(np.degrees(np.angle(third / forearm)) * side)


def hand_side(planes: np.ndarray) -> Side | None:
    """Tell which hand a PA radiograph shows, seen from its back: a right one has the thumb on the left of the fingers.

    The fingers' direction is that from the forearm or the carpal bones to the metacarpals, the thumb's side that of
    the second metacarpal, seen from the fifth. None where bones that tell it are missing. The bit
    planes, int32 (H, W), may be turned, but not mirrored.
    """
    middles = []
    for bones in ((_THIRD,), _BELOW, (_INDEX_SIDE,), (_LITTLE_SIDE,)):
        y, x = np.nonzero(planes & np.int32(sum(1 << bone for bone in bones)))
        if not y.size:
            return None
        middles.append(complex(x.mean(), y.mean()))
    third, below, towards_thumb, towards_little = middles
    turn = ((third - below).conjugate() * (towards_thumb - towards_little)).imag
    return None if turn == 0 else "right" if turn < 0 else "left"


def _axis(points: np.ndarray) -> tuple[complex, float]:
    """Principal axis of points in the plane, modulus 1, and their spread along it over that across it."""
    if points.size < 2:
        return 1 + 0j, 0.0
    centred = points - points.mean()
    values, vectors = np.linalg.eigh(np.cov(centred.real, centred.imag))
    along = complex(vectors[0, 1], vectors[1, 1])
    return along, float(np.sqrt(values[1] / max(values[0], 1e-9)))


def _towards(axis: complex, direction: complex) -> float:
    return 1.0 if (axis.conjugate() * direction).real >= 0 else -1.0
