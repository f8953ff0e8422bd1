"""Measures of the wrist: variance, inclination and height of the radius, heights and angle of the carpus, deviation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from handseg_monai.bones import INDEX
from handseg_monai.measure.long_bones import Shaft
from handseg_monai.measure.measures import NotMeasured
from handseg_monai.measure.outline import Outline, bridges, centre, line
from handseg_monai.plausibility.bone_order import ACROSS
from handseg_monai.plausibility.hand_measures import CARPAL

RADIUS, ULNA = INDEX["Radius"], INDEX["Ulna"]
_CARPALS = [int(k) for k in np.flatnonzero(CARPAL)]
SHAFT = 0.8, 1.4
"""Depths below the radius' tip between which the middles of its widths give its axis, in widths of its distal end."""
_LEAST_SEEN = 1.15
"""Depth to which the radius must be seen, in these widths."""
_MARGIN = 0.02
"""How far off the border of the image a width must lie, in these widths."""
_CROOKED = 0.02
"""How far the middles of the radius' widths may lie off its axis, in these widths, root mean square; those of real
hands and of phantoms lie 0.001 to 0.007 off."""
_STEPS, _CUTS = 25, 60
_ROUNDS = 6
_DISTAL_END = 0.6
"""Depth of the end of radius or ulna, in these widths: its borders and tips are looked for in it."""
_SURFACE = np.linspace(0.05, 0.35, 31)
"""Where the ulnar third of the radius' joint surface is taken: how far from the ulnar border, in these widths. The
edge between is rounded, and masks cut or spill it; one line through the whole third hardly follows such a mask."""
_HEAD = 0.5
"""Share of the ulna's end, from its border towards the radius, that is head and not styloid."""


@dataclass(frozen=True)
class Forearm:
    """The distal end of the radius, and the frame that it gives."""

    distal: complex
    """Unit vector of the radius' axis."""
    radial: complex
    """Unit vector across it, towards the thumb."""
    origin: complex
    """A point of the axis."""
    seen: tuple[float, float]
    """Between which places along the axis, from the origin, its middles were taken."""
    width: float
    """Of the distal end."""
    corner: complex
    """Ulnar end of the joint surface, C: where the line along its ulnar third meets the ulnar border."""
    styloid: complex
    """Tip of the styloid, S."""


def forearm(outlines: Mapping[int, Outline]) -> Forearm:
    """Find axis, corner and styloid of the radius, whose outline is there.

    The axis is the line through the middles of the widths over :data:`SHAFT`. The corner is where the line through the
    joint surface over :data:`_SURFACE` meets the ulnar border of the distal end; the tip of the styloid is its most
    distal point towards the thumb.
    """
    radius = outlines[RADIUS]
    others = [outlines[k] for k in _CARPALS if k in outlines]
    if not others:
        raise NotMeasured("no carpal bone tells which end of the radius is the distal one")
    way = radius.main
    if ((centre(others) - radius.middle) * np.conj(way)).real < 0:
        way = -way
    origin, width = radius.middle, np.inf
    for _ in range(_ROUNDS):
        turned = radius.seen_from(origin, way)
        tip, lowest = float(turned.real.max()), float(turned.real.min())
        if radius.at_border.any():
            lowest = float(turned.real[radius.at_border].max())
        deepest = max(lowest, tip - SHAFT[1] * width)
        low, high = radius.cuts(origin, way, np.linspace(deepest, tip, _CUTS + 2)[1:-1])
        width = float(np.max(high - low))
        top, bottom = tip - SHAFT[0] * width, max(tip - SHAFT[1] * width, lowest + _MARGIN * width)
        if not bottom <= tip - _LEAST_SEEN * width:
            raise NotMeasured("too little of the radius is seen to tell the axis of its shaft")
        places = np.linspace(bottom, top, _STEPS)
        middles = np.mean(radius.cuts(origin, way, places), axis=0)
        slope, offset = line(places, middles)
        off = float(np.std(middles - slope * places))
        origin = origin + 1j * way * offset
        way = way * (1 + 1j * slope) / abs(1 + 1j * slope)
    if not off <= _CROOKED * width:
        raise NotMeasured("the mask of the radius' shaft is not straight, so that it has no axis")
    radial = _radial(outlines, way)
    along = radius.seen_from(origin, way).real
    end = along > along.max() - _DISTAL_END * width
    across = ((radius.ring - origin) * np.conj(radial)).real
    half = end & (across > 0)
    if not half.any():
        raise NotMeasured("the radius' styloid can't be told")
    border = float(across[end].min())
    corner = origin + radial * border + way * _level(radius, origin + radial * border, way, radial, width)
    return Forearm(way, radial, origin, (bottom, top), width, corner, radius.furthest(way, half))


def _level(radius: Outline, border: complex, way: complex, radial: complex, width: float) -> float:
    """Return how far beyond a point of the ulnar border the line along the joint surface meets that border."""
    places = _SURFACE * width
    distal = np.sign((way * np.conj(1j * radial)).real)
    surface = np.max(distal * np.stack(radius.cuts(border, radial, places)), axis=0)
    return line(places, surface)[1]


def _radial(outlines: Mapping[int, Outline], way: complex) -> complex:
    across = 1j * way
    votes = [
        np.sign(((outlines[a].middle - outlines[b].middle) * np.conj(across)).real)
        for a, b in ACROSS
        if a in outlines and b in outlines
    ]
    if not votes or sum(votes) == 0:
        raise NotMeasured("no two bones tell which side of the hand is the thumb's")
    return across if sum(votes) > 0 else -across


def ulnar_head(ulna: Outline, arm: Forearm) -> complex:
    """Find the most distal point of the ulnar head, H: the styloid, on the side away from the radius, is left out."""
    turned = (ulna.ring - arm.origin) * np.conj(arm.distal)
    across = ((ulna.ring - arm.origin) * np.conj(arm.radial)).real
    end = turned.real > turned.real.max() - _DISTAL_END * arm.width
    if ulna.at_border[end].any():
        raise NotMeasured("the head of the ulna is cut by the image's border")
    low, high = float(across[end].min()), float(across[end].max())
    head = end & (across > high - _HEAD * (high - low))
    return ulna.furthest(arm.distal, head)


def deviation(third: Shaft, arm: Forearm) -> float:
    """Degrees from the radius' axis to the third metacarpal's, positive towards the thumb, negative to the ulna."""
    along, across = ((third.way * np.conj(axis)).real for axis in (arm.distal, arm.radial))
    return float(np.degrees(np.arctan2(across, along)))


def carpal_height(third: Shaft, radius: Outline) -> tuple[complex, complex]:
    """Return the base of the third metacarpal, and where its axis meets the joint surface of the radius."""
    low, _ = radius.cuts(third.origin, 1j * third.way, np.array([0.0]))
    # Across the quarter turn of the axis lies the axis itself, the other way round.
    met = -float(low[0])
    if np.isnan(met) or met > third.start:
        raise NotMeasured("the axis of finger-11 does not meet the radius below its base")
    return third.at(0.0), third.origin + third.way * met


def greatest_length(outline: Outline) -> tuple[complex, complex]:
    """Return the ends of a bone along its main direction, on a line through its middle."""
    start, end = outline.ends(outline.middle, outline.main, np.inf)
    return outline.middle + outline.main * start, outline.middle + outline.main * end


def carpal_angle(
    scaphoid: Outline, lunate: Outline, triquetrum: Outline, distal: complex
) -> tuple[float, list[complex]]:
    """Measure the angle of the tangents to the proximal edges of scaphoid and lunate, and of lunate and triquetrum.

    Returns
    -------
    angle
        In degrees, on the side of the carpus: the flatter its proximal edge, the nearer to 180.
    points
        Where the tangents touch the scaphoid and the lunate, and the lunate and the triquetrum.
    """
    points: list[complex] = []
    ways: list[complex] = []
    for other in (scaphoid, triquetrum):
        touching = bridges(lunate, other)
        if not touching:
            raise NotMeasured("the proximal edges have no common tangent")
        on_lunate, on_other = min(touching, key=lambda pair: float(((pair[0] + pair[1]) * np.conj(distal)).real))
        points += [on_other, on_lunate]
        ways.append(on_other - on_lunate)
    return float(abs(np.degrees(np.angle(ways[0] / ways[1])))), points
