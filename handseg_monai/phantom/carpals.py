"""Carpal bones as smooth solids: an outline in the PA view, swollen along the beam.

The MyoHand's carpus lies in a cupped hand, too loosely for a radiograph of a flat one. Here every bone is a pillow over
an outline that was laid out on paper, neighbour against neighbour: the round head of the capitate in the cup of
scaphoid and lunate, three carpal arcs, level carpometacarpal joints. Sizes follow common anthropometry of adult wrists
(capitate about 24 mm by 15 mm, scaphoid 26 by 12, lunate 17 by 12, trapezium 18 by 14, pisiform 12 by 10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from handseg_monai.phantom.mesh import Array, Mesh, ball

_SIZE = 0.95
"""The outlines are those of a large hand; the MyoHand's is of middle size."""


_RIM = 0.7
"""Breadth of a rim, radians."""
LUNATE_CORNER = (62.0, 0.45)
"""Direction (degrees) and breadth (radians) of the lunate's corner at the hamate."""
_GROWN = 0.35
"""What the joint spaces of the drawing are too wide by, on each side, millimetres."""


@dataclass(frozen=True)
class _Solid:
    """A bone: outline (x ulnar, y distal), and its shape along z (dorsal), millimetres."""

    outline: tuple[tuple[float, float], ...]
    """Points of the outline, counter-clockwise, around `middle`."""
    middle: tuple[float, float]
    """Point from which the whole outline is seen."""
    level: float
    half: float
    """z of the middle, and half the depth."""
    slope: tuple[float, float] = (0.0, 0.0)
    """Rise of the bone's mid-plane along x and y."""
    taper: float = 0.0
    """How much wider than the middle plane the dorsal side is, share; negative where the palmar one is."""
    box: float = 2.6
    """Exponent of the section along the beam: 2 is an ellipse, more is squarer."""
    lean: tuple[float, float] = (0.0, 0.0)
    """Shift in x and y for each millimetre towards dorsal."""
    cup: tuple[float, float] = (0.0, 0.0)
    """How far (x, y) the dorsal and the palmar rim stand over the middle of a hollow joint surface, millimetres."""
    wedge: tuple[float, float] = (0.0, 0.0)
    """Change of the depth for each millimetre from the middle along x and y, share."""
    size: float = 1.0
    """Of the whole bone about its middle, over that of its outline: radiographs show some smaller than drawn."""
    stretch: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    """From the drawing to the bone as adults' radiographs show it: stretch along x, y and the diagonal, degrees
    counter-clockwise, millimetres."""
    rims: tuple[tuple[float, float], ...] = ()
    """Where the bone reaches over a neighbour or stays behind the drawing: direction in degrees, millimetres."""


_SOLIDS = {
    "Capitate": _Solid(
        ((0.0, -12.3), (4.6, -10.5), (6.7, -5.8), (6.1, 0.0), (6.5, 6.0), (6.9, 10.6), (5.5, 12.0), (-0.5, 12.3),
         (-6.6, 12.6), (-7.9, 11.0), (-7.0, 4.5), (-5.9, -0.5), (-6.6, -5.5), (-4.7, -10.4)),
        (0.0, 0.5), 0.0, 9.0, taper=0.05, box=3.6, lean=(-0.05, 0.13),
        stretch=(-0.035, -0.006, 0.003), turn=5.4,
        rims=((15.0, 0.48), (133.0, -0.26), (54.0, 1.49),),
    ),
    "Hamate": _Solid(
        ((8.6, -7.2), (10.4, -6.8), (15.5, -1.4), (20.2, 3.8), (23.6, 7.6), (22.8, 11.2), (17.5, 12.2), (10.5, 12.8),
         (8.6, 11.4), (8.0, 6.0), (7.5, 0.5), (7.7, -5.5)),
        (12.2, 4.5), -0.5, 8.6, taper=0.03, box=3.4, lean=(-0.1, 0.13),
        stretch=(0.1, -0.037, 0.01), turn=7.1, shift=(-0.69, -0.09),
        rims=((53.0, 0.28), (-109.0, -0.1), (97.0, -0.24),),
    ),
    "Lunate": _Solid(
        ((-4.1, -13.5), (0.0, -13.4), (4.2, -12.4), (7.0, -10.4), (9.6, -11.2), (11.5, -14.4), (10.6, -18.6),
         (6.9, -22.4), (1.5, -23.8), (-3.8, -22.7), (-6.2, -18.8), (-5.9, -15.0)),
        (2.2, -17.6), -1.0, 8.6, box=2.4, lean=(0.0, 0.08), cup=(0.0, 1.8), size=0.93,
        stretch=(-0.028, 0.165, -0.131), turn=2.8, shift=(1.72, 1.48),
        rims=((109.0, 0.35), (34.0, -0.29), (-90.0, -0.11),),
    ),
    "Scaphoid": _Solid(
        ((-6.9, -16.6), (-6.2, -13.2), (-7.4, -9.6), (-8.4, -5.0), (-8.3, -0.6), (-9.8, 1.2), (-14.0, 1.5),
         (-18.6, 1.6), (-21.4, -0.8), (-21.4, -4.4), (-19.4, -8.8), (-18.2, -12.8), (-16.2, -17.0), (-12.0, -20.4),
         (-8.6, -20.0)),
        (-12.4, -8.5), -2.6, 7.6, slope=(0.05, -0.92), box=2.3, lean=(-0.1, 0.0), cup=(1.2, 0.0),
        stretch=(0.112, -0.209, -0.062), turn=-8.7, shift=(3.3, -0.22),
        rims=((135.0, -0.37), (50.0, 0.64), (-20.0, 0.23), (-90.0, -0.64), (105.0, -0.5), (-110.0, 0.31),
              (-70.0, -0.45),),
    ),
    "Triquetrum": _Solid(
        ((11.7, -11.6), (13.6, -8.4), (17.2, -3.6), (20.4, -0.2), (23.2, -0.2), (25.4, -4.6), (24.2, -10.0),
         (20.8, -14.9), (16.4, -18.2), (12.8, -16.2)),
        (18.4, -9.0), -2.0, 6.0, slope=(-0.15, 0.0), box=2.4, lean=(0.06, -0.06), wedge=(-0.02, -0.04),
        stretch=(0.045, -0.084, -0.13), turn=-7.4, shift=(-0.85, 1.38),
        rims=((112.0, -0.06),),
    ),
    "Pisiform": _Solid(
        ((19.6, -17.3), (23.7, -15.4), (25.0, -11.2), (23.4, -6.8), (19.5, -5.1), (15.7, -6.8), (14.3, -11.2),
         (15.6, -15.5)),
        (19.6, -11.2), -13.4, 4.4, box=2.1,
        stretch=(-0.085, -0.031, -0.008), turn=1.6, shift=(-1.67, 0.6),
        rims=((-153.0, -0.2),),
    ),
    "Trapezoid": _Solid(
        ((-9.6, 3.2), (-13.8, 2.9), (-18.6, 3.8), (-21.0, 7.2), (-20.4, 11.2), (-17.2, 13.4), (-14.0, 14.2),
         (-10.8, 13.0), (-9.2, 10.4), (-8.6, 6.4))[::-1],
        (-14.6, 8.4), 1.0, 8.0, taper=0.13, box=3.2, lean=(0.0, 0.13), size=0.93,
        stretch=(0.042, 0.135, -0.036), turn=-0.2, shift=(1.22, -2.21),
        rims=((-75.0, -1.2), (96.0, -0.35), (-16.0, 0.1),),
    ),
    "Trapezium": _Solid(
        ((-17.6, 3.4), (-16.6, 7.4), (-18.0, 11.6), (-20.8, 14.4), (-24.0, 14.2), (-27.0, 12.0), (-30.6, 9.6),
         (-34.0, 7.6), (-34.2, 4.8), (-31.0, 1.6), (-26.6, -0.4), (-23.0, 0.8), (-20.0, 2.6)),
        (-25.0, 6.4), -8.5, 6.4, slope=(-0.3, -0.05), box=2.4, lean=(0.0, 0.08),
        stretch=(0.035, 0.088, -0.121), turn=-13.8, shift=(2.74, -2.5),
        rims=((69.0, 0.05), (151.0, 0.08),),
    ),
}  # fmt: skip
_HOOK = (15.6, 5.6, 2.9, 7.0)
"""Hook of the hamate: x and y of its middle, radius, and how far it stands towards the palm, millimetres."""


def _reach(solid: _Solid, angle: Array) -> Array:
    """Return how far the outline lies from the middle at each angle, millimetres."""
    points = np.array([*solid.outline, solid.outline[0]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    curve = CubicSpline(along, points, bc_type="periodic")(np.linspace(0, along[-1], 400, endpoint=False))
    arms = curve - np.array(solid.middle)
    order = np.argsort(np.arctan2(arms[:, 1], arms[:, 0]))
    turned = np.arctan2(arms[order, 1], arms[order, 0])
    return np.interp(angle, turned, np.linalg.norm(arms[order], axis=1), period=2 * np.pi)


def carpal(name: str) -> Mesh:
    """Return a carpal bone of the right hand in the PA frame; the origin is the middle of the capitate."""
    solid = _SOLIDS[name]
    sphere = ball(4)
    x, y, z = sphere.vertices.T
    planar = np.hypot(x, y)
    swell = 1.0 / (planar**solid.box + np.abs(z) ** solid.box) ** (1.0 / solid.box)
    angle = np.arctan2(y, x)
    out = planar * swell * (1.0 + solid.taper * (z * swell - 0.3)) * (_reach(solid, angle) + _GROWN)
    points = np.stack([out * np.cos(angle), out * np.sin(angle), solid.half * z * swell], axis=1)
    points[:, 2] *= 1.0 + points[:, :2] @ np.array(solid.wedge)
    points[:, 2] += solid.level + points[:, :2] @ np.array(solid.slope)
    hollow = np.array(solid.cup)
    depth = float(np.hypot(*hollow))
    if depth:
        toward = np.clip((np.cos(angle) * hollow[0] + np.sin(angle) * hollow[1]) / depth, 0, 1)
        points[:, :2] += (toward * (np.minimum(np.abs(z * swell), 0.9) ** 2) * planar * swell)[:, None] * hollow
    points[:, :2] += solid.middle + (solid.half * z * swell)[:, None] * np.array(solid.lean)
    if name == "Hamate":
        far = np.hypot(points[:, 0] - _HOOK[0], (points[:, 1] - _HOOK[1]) / 1.3) / _HOOK[2]
        points[:, 2] -= (z < 0) * _HOOK[3] * np.clip(1.6 * (1.0 - far**2), 0.0, 1.0)
    pivot = np.array([*solid.middle, solid.level])
    points = _SIZE * (pivot + solid.size * (points - pivot))
    return Mesh(_laid(points, solid), sphere.faces)


def _laid(points: Array, solid: _Solid) -> Array:
    """Return the points of a bone as drawn with its rims, stretched, turned and shifted to its place."""
    middle = points.mean(axis=0)
    offset = points - middle
    for at, out in solid.rims:
        offset = reaching(offset, out, at)
    xx, yy, xy = solid.stretch
    turn = np.radians(solid.turn)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    offset[:, :2] @= (turned @ np.array([[1.0 + xx, xy], [xy, 1.0 + yy]])).T
    return np.asarray(middle + offset + [*solid.shift, 0.0])


def reaching(offset: Array, out: float, at: float, breadth: float = _RIM) -> Array:
    """Return a bone's points, (N, 3) from its middle, whose rim reaches farther out in one direction of the PA view.

    `at` is that direction in degrees, counter-clockwise from the ulna in a right hand; `out` is in millimetres, and
    `breadth` in radians.
    """
    angle, usual = np.arctan2(offset[:, 1], offset[:, 0]), float(np.hypot(offset[:, 0], offset[:, 1]).mean())
    away = (angle - np.radians(at) + np.pi) % (2 * np.pi) - np.pi
    factor = 1.0 + out / usual * np.exp(-((away / breadth) ** 2))
    return offset * np.stack([factor, factor, np.ones_like(factor)], axis=1)
