"""Radius and ulna as smooth lofts: the meshes of the MyoHand are too coarse for a radiograph.

Cross-sections follow the common dimensions of the distal forearm; the radius' articular surface is laid around the
scaphoid and the lunate that it carries, and its dorsal rim covers them in the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from handseg_monai.phantom.mesh import Array, Mesh, smoothed, tube

# Height over the radius' ulnar corner (mm): borders towards the thumb and towards the ulna, half depth along the beam.
_RADIUS = np.array(
    [
        (16.0, -15.13, 8.91, 7.0),
        (12.0, -17.59, 9.07, 8.0),
        (9.0, -19.23, 9.21, 8.8),
        (5.0, -20.57, 9.35, 9.4),
        (0.0, -21.09, 8.77, 10.0),
        (-3.0, -21.4, 8.8, 10.3),
        (-6.0, -21.49, 8.29, 10.3),
        (-10.0, -21.26, 7.06, 10.0),
        (-15.0, -20.3, 4.7, 9.2),
        (-22.0, -18.97, 2.17, 8.0),
        (-30.0, -17.86, 0.36, 7.0),
        (-40.0, -17.07, -1.13, 6.3),
        (-55.0, -16.79, -2.41, 6.0),
        (-80.0, -17.29, -3.11, 6.0),
        (-130.0, -17.79, -3.31, 6.3),
        (-215.0, -13.38, 1.28, 6.3),
    ]
)
# Height over the head's highest point but the styloid (mm).
_ULNA = np.array(
    [
        (6.0, 10.05, 25.75, 6.0),
        (0.0, 10.03, 26.17, 6.8),
        (-2.5, 9.63, 26.47, 7.4),
        (-6.0, 9.57, 26.13, 7.6),
        (-9.0, 10.23, 25.47, 7.2),
        (-13.0, 11.74, 24.66, 6.5),
        (-20.0, 13.13, 23.87, 5.7),
        (-30.0, 14.07, 23.73, 5.3),
        (-50.0, 14.3, 24.3, 5.3),
        (-80.0, 14.0, 24.9, 5.7),
        (-130.0, 11.12, 23.68, 7.0),
        (-215.0, 5.74, 20.26, 8.0),
    ]
)
_DISH = (21.0, 26.0)
"""Radius of curvature (mm) of the radius' articular surface in the PA view and along the beam."""
_GIVE = 0.1
"""How much the slope of the articular surface may differ from a person's, to carry both bones."""
_DORSAL = 0.301
"""Slope of the articular surface along the beam: its dorsal lip stands over the proximal row."""
_RIDGE = (-1.3, 3.3)
"""x from the middle of the joint surface, and breadth, of the ridge on its dorsal rim, millimetres."""
_MIDDLE = -6.2
"""x of the middle of the radius' joint surface, millimetres."""
_AROUND = 72
_DOWN = np.concatenate([np.arange(0, 12, 0.6), np.arange(12, 40, 1.5), np.arange(40, 205, 6.0)])


@dataclass(frozen=True)
class ForearmShape:
    """What varies in radius and ulna; lengths in millimetres."""

    gap: float = 1.8
    radioulnar: float = 1.5
    """Spaces between the outlines of radius and carpus, and of radius and ulna; negative where they overlap."""
    variance: float = 0.0
    """Height of the ulna's head over the radius' ulnar corner."""
    radius_width: float = 1.0
    ulna_width: float = 1.0
    """Factors of their widths."""
    inclination: float = 22.0
    """Slope of the radius' joint surface in the PA view, degrees."""
    dorsal_ridge: float = 0.0
    """How far the radius' dorsal rim stands up between the facets of scaphoid and lunate."""
    radial_styloid: float = 0.0
    """Length of the radius' styloid over the usual one."""
    ulnar_styloid: float = 5.0
    """Length of the ulna's styloid."""
    bowing: float = 0.0
    """How far both shafts bow towards the ulna in their middle."""
    radius_wedge: float = 0.0
    ulna_wedge: float = 0.0
    """How much less deep along the beam the end of the bone is on the side of its styloid, share."""


def _section(table: Array, height: Array) -> tuple[Array, Array, Array]:
    """Return middle, half width and half depth of a shaft at heights over its joint, millimetres."""
    spline = PchipInterpolator(table[::-1, 0], table[::-1, 1:])
    left, right, thick = np.moveaxis(spline(np.clip(height, table[-1, 0], table[0, 0])), -1, 0)
    return 0.5 * (left + right), 0.5 * (right - left), thick


def _loft(table: Array, cap: Array, zero: float, depth: float, bowing: float, wedge: float) -> Mesh:
    """Loft over a joint surface and down the shaft.

    `cap` are the heights of the joint surface from its middle to its rim, (rings, A); `zero` is the y of the table's
    height 0, `depth` the z of the bone's middle. A positive `wedge` makes the end less deep on the thumb's side.
    """
    angle = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
    # Slightly squared ellipses, as in cross-sections of the distal radius.
    cosine, sine = (np.sign(wave) * np.abs(wave) ** 0.9 for wave in (np.cos(angle), np.sin(angle)))
    fade = np.exp(-_DOWN / 9.0)[:, None]
    height = np.concatenate([cap, -_DOWN[:, None] + cap[-1:] * fade])
    shares = np.concatenate([np.linspace(0.06, 0.985, len(cap)), np.ones(len(_DOWN))])[:, None]
    middle, width, thick = _section(table, height)
    middle[: len(cap)] = middle[len(cap)] * shares[: len(cap)] + middle[0].mean() * (1 - shares[: len(cap)])
    width[: len(cap)], thick[: len(cap)] = width[len(cap)], thick[len(cap)]
    middle = middle + bowing * np.sin(np.pi * np.clip(-height / 200.0, 0, 1)) ** 2
    end = np.concatenate([np.ones((len(cap), 1)), np.exp(-((_DOWN / 18.0) ** 2))[:, None]])
    deep = thick * (1.0 - abs(wedge) * end * np.clip(0.5 - 0.5 * np.sign(wedge) * shares * cosine, 0, 1))
    rings = np.stack([middle + shares * width * cosine, zero + height, depth + shares * deep * sine], axis=2)
    # Seen from the joint (from +y) the rings run clockwise in (x, z): reverse them.
    return smoothed(tube(rings[:, ::-1]), 5)


def radius(carried: Array, shape: ForearmShape) -> Mesh:
    """Return the radius under the bones that it carries: (N, 3) vertices of scaphoid and lunate in the PA frame."""
    lowest = _proximal(carried)
    depth = float(np.median(carried[:, 2])) + 1.0
    level, slope = _support(lowest, _MIDDLE, depth, shape.inclination)
    angle = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    share = np.linspace(0.06, 1.0, 14)[:, None]
    x, z = share * 14.6 * shape.radius_width * cosine, share * 9.0 * sine
    surface = level - shape.gap + slope * x + x**2 / (2 * _DISH[0]) + z**2 / (2 * _DISH[1]) + _DORSAL * z
    surface += shape.dorsal_ridge * np.exp(-(((x - _RIDGE[0]) / _RIDGE[1]) ** 2)) * share * np.clip(sine, 0, 1)
    # The styloid tapers, and its border is rounded.
    surface -= 1.1 * share**6 + (3.0 - shape.radial_styloid) * share**5 * np.clip(-cosine, 0, 1) ** 2
    corner = float(surface[-1, 0])
    table = _widened(_RADIUS, _MIDDLE, shape.radius_width)
    return _loft(table, surface - corner, corner, depth, shape.bowing, shape.radius_wedge)


def _widened(table: Array, middle: float, factor: float) -> Array:
    table = table.copy()
    table[:, 1:3] = middle + factor * (table[:, 1:3] - middle)
    table[:, 3] *= factor
    return table


def _support(lowest: Array, middle: float, depth: float, inclination: float) -> tuple[float, float]:
    """Return height and slope of the dish that touches the carried bones on its radial and on its ulnar half."""
    x, z = lowest[:, 0] - middle, lowest[:, 2] - depth
    left = lowest[:, 1] - x**2 / (2 * _DISH[0]) - z**2 / (2 * _DISH[1]) - _DORSAL * z
    inside = (x > -15) & (x < 15) & (np.abs(z) < 9)
    usual = -float(np.tan(np.radians(inclination)))
    slopes = np.linspace(usual - _GIVE, usual + _GIVE, 21)
    levels = [float((left - slope * x)[inside].min()) for slope in slopes]
    # Touching on both halves means that the lowest level over the slopes is the highest one.
    best = int(np.argmax(levels))
    return levels[best], float(slopes[best])


def ulna(joint_height: float, depth: float, beside: float, shape: ForearmShape) -> Mesh:
    """Return the ulna; `joint_height` and `depth` are y and z of its head, `beside` x of the radius' border there."""
    angle = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
    shares = np.linspace(0.06, 1.0, 14)[:, None]
    # Styloid on the ulnar and dorsal side.
    toward = np.exp(-(((angle - 0.5 + np.pi) % (2 * np.pi) - np.pi) ** 2) / (2 * 0.42**2))[None, :]
    bump = (shape.ulnar_styloid + 0.6) * toward * np.exp(-((shares - 0.8) ** 2) / (2 * 0.18**2))
    table = _widened(_ULNA, float(_ULNA[3, 1]), shape.ulna_width)
    table[:, 1:3] += beside + shape.radioulnar - table[3, 1]
    return _loft(table, bump - 3.4 * shares**4, joint_height, depth, shape.bowing, -shape.ulna_wedge)


def _proximal(points: Array) -> Array:
    """Return the points of the lower surface: the lowest of each 1.5 mm column of the projection along the forearm."""
    cells = np.round(points[:, [0, 2]] / 1.5).astype(np.int64)
    order = np.lexsort((points[:, 1], cells[:, 1], cells[:, 0]))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(cells[order], axis=0) != 0).any(axis=1)
    lowest = points[order[first]]
    return lowest[lowest[:, 1] < np.percentile(points[:, 1], 45)]
