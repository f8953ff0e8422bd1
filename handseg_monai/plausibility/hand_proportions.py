"""Proportions of the masks of one hand: figures that depend neither on pixels nor on the hand's size.

Lengths are in units of the third metacarpal's, widths over their own bone's length, areas over the third metacarpal's
length squared; what two bones share is over the smaller one's area.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes, largest_piece
from handseg_monai.bones import BONES, INDEX, NAMES, NEIGHBOURS, OVERLAPS, Group
from handseg_monai.plausibility.hand_measures import BORDER, FOREARM, canvas, overlaps

CANVAS = 1024
"""Long side (pixels) that the hand's bounding box is reduced to where it is larger."""
STRAIGHT, BENT = 14.0, -26.0
"""Deviation (degrees, negative towards the ulna) up to which a wrist is straight, and from which it is bent."""
SLACK = 0.01, 0.1
"""How far a figure may lie beyond its range: this much (an area 5 % of the range's middle), and this share of the
range's width."""
_LEAST = 30
"""Pixels of a bone that can be measured."""
_CELLS = 20
"""Parts of a long bone whose widths are compared."""
_DEPTHS = 0.1, 0.2, 0.3, 0.5
_SLICE = 0.04
"""Where the widths of radius and ulna are taken below their tips, and over which part; lengths of the metacarpal."""
_LONG = [bone for bone in BONES if bone.ray is not None]
_CARPALS = [bone.index for bone in BONES if bone.group is Group.CARPAL]
_UNIT, _CAPITATE = INDEX["finger-11"], INDEX["Capitate"]
_RADIUS, _ULNA = INDEX["Radius"], INDEX["Ulna"]
_ACROSS = [
    (INDEX[a], INDEX[b])
    for a, b in (("finger-3", "finger-19"), ("finger-7", "finger-15"), ("Trapezium", "Hamate"), ("Radius", "Ulna"))
]
"""Pairs whose first bone lies on the thumb's side."""
_PAIRS = sorted(NEIGHBOURS | OVERLAPS)


@dataclass(frozen=True)
class _Bone:
    """The largest component of one bone: its pixels and edge as complex numbers, middle, and main direction."""

    pixels: np.ndarray
    edge: np.ndarray
    middle: complex
    axis: complex
    whole: bool
    """Not cut by the image's border, or of the forearm, which always is."""

    def along(self, axis: complex) -> np.ndarray:
        return np.asarray(((self.pixels - self.middle) * axis.conjugate()).real)

    def tip_seen(self, wrist: complex, corner: complex, shape: tuple[float, float]) -> bool:
        """Tell of a bone of the forearm whether it is longer than wide, and its end at the wrist off the border."""
        along = self.along(self.axis)
        if np.ptp(along) < 1.3 * np.ptp(self.along(1j * self.axis)):
            return False
        towards = self.axis if ((wrist - self.middle) * self.axis.conjugate()).real > 0 else -self.axis
        height = self.along(towards)
        end = self.pixels[height > height.max() - 0.1 * np.ptp(along)] + corner
        sides = end.real, end.imag, shape[1] - 1 - end.real, shape[0] - 1 - end.imag
        return min(float(side.min()) for side in sides) > BORDER


@dataclass(frozen=True)
class Proportions:
    """Of one hand."""

    of: dict[str, float]
    """Figures by name, as ``finger-9 head width`` or ``Lunate|Capitate overlap``. Bones that are missing or cut by
    the border have none; without the whole third metacarpal and the whole capitate there are none at all."""
    deviation: float | None
    """Of the wrist in degrees, negative towards the ulna; None where the forearm, or the side of the hand, can't be
    told."""


def proportions(planes: np.ndarray) -> Proportions:
    """Measure the masks of one hand in PA view: bit planes, int32 (H, W)."""
    # SciPy takes 0.3 s to import; commands that only read stay without it.
    from scipy.spatial import cKDTree

    small, factor, corner = canvas(planes, CANVAS)
    shape = planes.shape[0] * factor, planes.shape[1] * factor
    bones = _bones(small, corner, shape)
    if not {_UNIT, _CAPITATE} <= bones.keys() or not bones[_UNIT].whole or not bones[_CAPITATE].whole:
        return Proportions({}, None)
    capitate = bones[_CAPITATE].middle
    figures: dict[str, float] = {}
    length, distal = _length(bones[_UNIT], capitate)
    for described in _LONG:
        bone = bones.get(described.index)
        if bone is not None and bone.whole:
            _add_long(figures, described.name, bone, capitate, length)
    radial = _radial(bones, distal)
    for k in _CARPALS:
        if k in bones and bones[k].whole:
            _add_carpal(figures, NAMES[k], bones[k], capitate, distal, radial, length)
    seen = {k for k, bone in bones.items() if (bone.tip_seen(capitate, corner, shape) if FOREARM[k] else bone.whole)}
    shared = overlaps(small)
    for a, b in _PAIRS:
        if a in seen and b in seen:
            figures[f"{NAMES[a]}|{NAMES[b]} overlap"] = overlap = float(shared[a, b])
            apart = 0.0 if overlap else float(cKDTree(_xy(bones[a].edge)).query(_xy(bones[b].edge))[0].min())
            figures[f"{NAMES[a]}|{NAMES[b]} gap"] = apart / length
    if radial is None or not {_RADIUS, _ULNA} <= seen:
        return Proportions(figures, None)
    deviation = _add_forearm(figures, bones[_RADIUS], bones[_ULNA], capitate, distal, radial, length)
    return Proportions(figures, deviation)


def view_of(deviation: float | None) -> str:
    """Return the view that a wrist's deviation in degrees belongs to: ``straight``, ``bent`` or ``any``."""
    if deviation is None:
        return "any"
    return "straight" if abs(deviation) < STRAIGHT else "bent" if deviation < BENT else "any"


def beyond(figures: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> tuple[list[str], int]:
    """Return the figures that lie beyond their ranges, the furthest first, and how many have a range."""
    excess = {}
    known = [name for name in figures if name in ranges]
    for name in known:
        low, high = ranges[name]
        margin = 0.025 * (low + high) if name.endswith(" area") else SLACK[0]
        slack = margin + SLACK[1] * (high - low)
        off = max(low - figures[name], figures[name] - high)
        if off > slack:
            excess[name] = off / (high - low + margin)
    return sorted(excess, key=lambda name: -excess[name]), len(known)


def _xy(points: np.ndarray) -> np.ndarray:
    return np.stack([points.real, points.imag], axis=1)


def _bones(planes: np.ndarray, corner: complex, shape: tuple[float, float]) -> dict[int, _Bone]:
    """Find the bones of a canvas whose upper left corner lies in an image of (height, width) pixels of its size."""
    found = {}
    for k, (rows, columns) in boxes(planes):
        part = largest_piece((planes[rows, columns] >> k) & 1)
        if cv2.countNonZero(part) < _LEAST:
            continue
        y, x = np.nonzero(part)
        x, y = x + columns.start, y + rows.start
        contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        edge = np.concatenate(contours)[:, 0].astype(np.float64)
        pixels = x + 1j * y
        middle = complex(pixels.mean())
        # The direction of largest variance, from the second moment of complex offsets.
        axis = complex(np.exp(0.5j * np.angle(((pixels - middle) ** 2).mean())))
        left, top = x.min() + corner.real, y.min() + corner.imag
        right, bottom = shape[1] - 1 - corner.real - x.max(), shape[0] - 1 - corner.imag - y.max()
        whole = min(left, top, right, bottom) > BORDER or FOREARM[k]
        found[k] = _Bone(pixels, edge[:, 0] + columns.start + 1j * (edge[:, 1] + rows.start), middle, axis, bool(whole))
    return found


def _length(bone: _Bone, capitate: complex) -> tuple[float, complex]:
    """Return the length of a bone in pixels, and the unit vector from its end near the wrist to the other one."""
    along = bone.along(bone.axis)
    near, far = (abs(bone.middle + bone.axis * end - capitate) for end in (along.min(), along.max()))
    return float(np.ptp(along)) + 1.0, bone.axis if near <= far else -bone.axis


def _add_long(figures: dict[str, float], name: str, bone: _Bone, capitate: complex, unit: float) -> None:
    length, axis = _length(bone, capitate)
    along, across = bone.along(axis), bone.along(1j * axis)
    cell = np.clip(((along - along.min()) / length * _CELLS).astype(np.int64), 0, _CELLS - 1)
    low, high = np.full(_CELLS, np.inf), np.full(_CELLS, -np.inf)
    np.minimum.at(low, cell, across)
    np.maximum.at(high, cell, across)
    width = np.where(high >= low, high - low + 1.0, np.nan) / length
    figures[f"{name} length"] = length / unit
    figures[f"{name} area"] = len(bone.pixels) / unit**2
    if length >= _CELLS:
        figures[f"{name} base width"] = float(np.nanmax(width[:6]))
        figures[f"{name} waist width"] = float(np.nanmin(width[6:15]))
        figures[f"{name} head width"] = float(np.nanmax(width[14:]))


def _add_carpal(
    figures: dict[str, float],
    name: str,
    bone: _Bone,
    capitate: complex,
    distal: complex,
    radial: complex | None,
    unit: float,
) -> None:
    figures[f"{name} area"] = len(bone.pixels) / unit**2
    figures[f"{name} long"] = (float(np.ptp(bone.along(bone.axis))) + 1.0) / unit
    figures[f"{name} wide"] = (float(np.ptp(bone.along(1j * bone.axis))) + 1.0) / unit
    if name != NAMES[_CAPITATE]:
        away = bone.middle - capitate
        figures[f"{name} distal of capitate"] = (away * distal.conjugate()).real / unit
        if radial is not None:
            figures[f"{name} radial of capitate"] = (away * radial.conjugate()).real / unit


def _radial(bones: Mapping[int, _Bone], distal: complex) -> complex | None:
    """Return the unit vector towards the thumb's side, across the hand; None where no two bones tell it."""
    for first, second in _ACROSS:
        if first in bones and second in bones:
            towards = ((bones[first].middle - bones[second].middle) * (-1j * distal).conjugate()).real
            return -1j * distal if towards > 0 else 1j * distal
    return None


def _add_forearm(
    figures: dict[str, float],
    radius: _Bone,
    ulna: _Bone,
    capitate: complex,
    distal: complex,
    radial: complex,
    unit: float,
) -> float:
    """Add the widths of radius and ulna below their tips, and return the wrist's deviation in degrees."""
    middle = np.concatenate([radius.pixels, ulna.pixels]).mean()
    along = radius.axis
    if ((capitate - middle) * along.conjugate()).real < 0:
        along = -along
    across = -1j * along
    if (across * radial.conjugate()).real < 0:
        across = -across
    tips = {}
    for name, bone in (("Radius", radius), ("Ulna", ulna)):
        height = (bone.pixels * along.conjugate()).real
        tips[name] = float(height.max())
        depth = (tips[name] - height) / unit
        for below in _DEPTHS:
            cut = (depth > below) & (depth < below + _SLICE)
            if cut.any():
                side = (bone.pixels[cut] * across.conjugate()).real
                figures[f"{name} width {below} below its tip"] = float(np.ptp(side)) / unit
    figures["Ulna tip below radius tip"] = (tips["Radius"] - tips["Ulna"]) / unit
    turn = complex((distal * along.conjugate()).real, (distal * across.conjugate()).real)
    return float(np.degrees(np.angle(turn)))
