"""Long bones of the hand: their own axes, lengths and waists, the spaces of their joints, the metacarpal sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from handseg_monai.bones import INDEX, NAMES
from handseg_monai.measure.measures import NotMeasured
from handseg_monai.measure.outline import Outline, bridges, centre, line, nearest
from handseg_monai.plausibility.bone_order import RAYS
from handseg_monai.plausibility.hand_measures import CARPAL

SHAFT = np.linspace(0.3, 0.7, 9)
"""Where the middles of a bone's widths give its axis, shares of its length from the proximal end."""
WAIST = np.linspace(0.3, 0.75, 46)
"""Where its waist is looked for."""
_ROUNDS = 4
_FACING = 0.3
"""Share of a bone's length at its end in which the nearest point of a joint is looked for."""
_THUMB_HEAD = 0.75
"""Of the first metacarpal's head, what lies within so many waists of its axis: beyond are the sesamoid bones, which are
part of its label."""
_FIRST_METACARPAL = INDEX["finger-3"]
_CARPALS = [int(k) for k in np.flatnonzero(CARPAL)]


@dataclass(frozen=True)
class Shaft:
    """A long bone and its axis."""

    outline: Outline
    origin: complex
    """A point of the axis."""
    way: complex
    """Unit vector of the axis, towards the fingertip."""
    start: float
    end: float
    """Proximal and distal end, measured along the axis from the origin."""
    waist: float
    """Least width across the axis."""
    waist_ends: tuple[complex, complex]

    @property
    def length(self) -> float:
        """From end to end."""
        return self.end - self.start

    def at(self, share: float) -> complex:
        """Point of the axis at a share of the length from the proximal end."""
        return self.origin + self.way * (self.start + share * self.length)

    def near(self, distal: bool) -> np.ndarray:
        """Points of the outline near one of the ends, complex128 (N,)."""
        turned = self.outline.seen_from(self.origin, self.way)
        share = (turned.real - self.start) / self.length
        chosen = share > 1 - _FACING if distal else share < _FACING
        return self.outline.ring[chosen]


def shaft(bone: int, outlines: Mapping[int, Outline]) -> Shaft:
    """Find the axis, the ends and the waist of one of the 19 long bones.

    The axis is the line through the middles of the widths over :data:`SHAFT`. An end is the furthest point along it of
    what lies within half of the waist on either side of it: the joint surface, but no styloid or tubercle beside it,
    and no sesamoid bone.
    """
    outline = outlines[bone]
    origin, way = outline.middle, _distal(bone, outlines)
    band = np.inf
    for _ in range(_ROUNDS):
        start, end = outline.ends(origin, way, band)
        places = start + SHAFT * (end - start)
        low, high = outline.cuts(origin, way, places)
        _require_shaft(bone, low)
        slope, offset = line(places, 0.5 * (low + high))
        origin = origin + 1j * way * offset
        way = way * (1 + 1j * slope) / abs(1 + 1j * slope)
        start, end = outline.ends(origin, way, band)
        places = start + WAIST * (end - start)
        low, high = outline.cuts(origin, way, places)
        _require_shaft(bone, low)
        narrow = int(np.argmin(high - low))
        waist = float(high[narrow] - low[narrow])
        band = 0.5 * waist
    waist_ends = (
        origin + way * complex(places[narrow], low[narrow]),
        origin + way * complex(places[narrow], high[narrow]),
    )
    start, end = outline.ends(origin, way, band)
    return Shaft(outline, origin, way, start, end, waist, waist_ends)


def _require_shaft(bone: int, crossed: np.ndarray) -> None:
    if np.isnan(crossed).any():
        raise NotMeasured(f"{NAMES[bone]} has not the shape of a long bone")


def _distal(bone: int, outlines: Mapping[int, Outline]) -> complex:
    """Main direction of a bone, towards the fingertip: away from its neighbours on the wrist's side."""
    outline = outlines[bone]
    ray = next(ray for ray in RAYS if bone in ray)
    place = ray.index(bone)
    below = [outlines[k] for k in ray[place - 1 : place] if k in outlines]
    above = [outlines[k] for k in ray[place + 1 : place + 2] if k in outlines]
    carpals = [outlines[k] for k in _CARPALS if k in outlines]
    if below or carpals:
        towards = outline.middle - centre(below or carpals)
    elif above:
        towards = centre(above) - outline.middle
    else:
        return outline.main
    return outline.main if (towards * np.conj(outline.main)).real >= 0 else -outline.main


def joint_space(proximal: tuple[int, Shaft], distal: tuple[int, Shaft]) -> tuple[complex, complex]:
    """Return the nearest points of a bone's distal end and the next one's proximal end: of each its index and shaft."""
    (bone, lower), (_, upper) = proximal, distal
    head, base = lower.near(distal=True), upper.near(distal=False)
    if bone == _FIRST_METACARPAL:
        off = ((head - lower.origin) * np.conj(lower.way)).imag
        head = head[np.abs(off) <= _THUMB_HEAD * lower.waist]
    return nearest(head, base)


def metacarpal_sign(third: Shaft, fourth: Shaft, fifth: Shaft) -> tuple[float, complex, complex]:
    """Measure how far the tangent to the heads of two metacarpals cuts the third one's.

    Returns
    -------
    depth
        Distance, along the third metacarpal's axis, from its distal end to the tangent: positive where the tangent
        cuts the head, a positive sign; negative where it passes distal to it.
    start, end
        The tangent: where it touches the fifth head, and where it meets the third metacarpal's axis.
    """
    touching = bridges(fourth.outline, fifth.outline)
    if not touching:
        raise NotMeasured("the heads of finger-15 and finger-19 have no common tangent")
    on_fourth, on_fifth = max(touching, key=lambda pair: float(((pair[0] + pair[1]) * np.conj(third.way)).real))
    along = ((on_fourth - third.origin) * np.conj(third.way), (on_fifth - third.origin) * np.conj(third.way))
    if abs(along[0].imag - along[1].imag) < 1e-9:
        raise NotMeasured("the tangent to the heads of finger-15 and finger-19 does not cross finger-11")
    share = along[0].imag / (along[0].imag - along[1].imag)
    met = along[0].real + share * (along[1].real - along[0].real)
    return third.end - met, on_fifth, third.origin + third.way * met
