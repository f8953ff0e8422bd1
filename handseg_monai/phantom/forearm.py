"""Radius and ulna as smooth lofts: the meshes of the MyoHand are too coarse for a radiograph.

Cross-sections follow the common dimensions of the distal forearm; the radius' articular surface is laid around the
scaphoid and the lunate that it carries, so that the joint space is even.
"""

from __future__ import annotations

import numpy as np

from handseg_monai.phantom.mesh import Array, Mesh, smoothed, tube

# Distance from the joint (mm): half width in the PA view, half depth along the beam, position of the middle (mm).
_RADIUS = np.array(
    [
        (0.0, 13.6, 8.6, -7.6),
        (3.0, 14.9, 9.6, -7.4),
        (7.0, 15.4, 10.3, -7.2),
        (12.0, 14.5, 10.0, -7.2),
        (18.0, 12.6, 8.8, -7.4),
        (26.0, 10.2, 7.4, -7.9),
        (36.0, 8.4, 6.5, -8.5),
        (50.0, 7.3, 6.0, -9.3),
        (80.0, 7.0, 6.0, -10.5),
        (130.0, 7.4, 6.3, -10.5),
        (210.0, 7.4, 6.3, -6.0),
    ]
)
_ULNA = np.array(
    [
        (0.0, 7.1, 6.6, 18.3),
        (3.0, 8.1, 7.6, 18.2),
        (7.0, 8.1, 7.6, 18.2),
        (12.0, 7.2, 6.8, 18.5),
        (20.0, 6.0, 5.8, 19.0),
        (30.0, 5.4, 5.4, 19.5),
        (50.0, 5.3, 5.4, 20.0),
        (80.0, 5.7, 5.9, 19.6),
        (130.0, 6.6, 7.0, 17.5),
        (210.0, 7.4, 8.0, 13.0),
    ]
)
_DISH = (26.0, 20.0)
"""Radius of curvature (mm) of the radius' articular surface in the PA view and along the beam."""
_INCLINATION = (-0.38, -0.2)
"""Slope of the articular surface in the PA view (radial inclination of 11 to 21 degrees)."""
_AROUND = 72
_DOWN = np.concatenate([np.arange(0, 12, 0.6), np.arange(12, 40, 1.5), np.arange(40, 205, 6.0)])


def _section(table: Array, down: Array) -> tuple[Array, Array, Array]:
    # A short moving average rounds the corners that linear interpolation leaves.
    def column(k: int) -> Array:
        shifts = np.linspace(-2.5, 2.5, 7) * np.clip(down[:, None] / 8, 0, 1)
        return np.interp(down[:, None] + shifts, table[:, 0], table[:, k]).mean(axis=1)

    return column(1), column(2), column(3)


def _loft(table: Array, height: Array, base: float, depth: float, cap: Array) -> Mesh:
    """Loft from the cap's middle over the rim (heights (A,)) down the shaft; `cap` is (rings, A) heights."""
    angle = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
    # Slightly squared ellipses, as in cross-sections of the distal radius.
    cosine, sine = (np.sign(wave) * np.abs(wave) ** 0.9 for wave in (np.cos(angle), np.sin(angle)))
    width, thick, middle = _section(table, _DOWN)
    fade = np.exp(-_DOWN / 7.0)
    wall = np.empty((len(_DOWN), _AROUND, 3))
    wall[:, :, 0] = middle[:, None] + width[:, None] * cosine
    wall[:, :, 1] = base - _DOWN[:, None] + (height - base)[None, :] * fade[:, None]
    wall[:, :, 2] = depth + thick[:, None] * sine
    shares = np.linspace(0.08, 0.96, len(cap))
    top = np.empty((len(cap), _AROUND, 3))
    top[:, :, 0] = middle[0] + shares[:, None] * width[0] * cosine
    top[:, :, 1] = cap
    top[:, :, 2] = depth + shares[:, None] * thick[0] * sine
    # Seen from the joint (from +y) the rings run clockwise in (x, z): reverse them.
    return smoothed(tube(np.concatenate([top, wall])[:, ::-1]), 6)


def radius(carried: Array, gap: float) -> Mesh:
    """Return the radius under the bones that it carries.

    Parameters
    ----------
    carried
        (N, 3), millimetres: vertices of scaphoid and lunate in the PA frame (x right, y distal, z dorsal) of a right
        hand.
    gap
        Joint space, millimetres.
    """
    lowest = _proximal(carried)
    width, thick, middle = (float(column[0]) for column in _section(_RADIUS, _DOWN[:1]))
    depth = float(np.median(carried[:, 2])) - 0.5
    level, slope = _support(lowest, middle, depth)

    def surface(share: Array | float) -> Array:
        x, z = share * width * cosine, share * thick * sine
        dish = level - gap + slope * x + x**2 / (2 * _DISH[0]) + z**2 / (2 * _DISH[1]) + 0.12 * z
        # The styloid tapers, and its border is rounded.
        return dish - 0.9 * np.clip(share, 0, 1) ** 6 - 2.2 * share**6 * np.clip(-cosine, 0, 1) ** 2

    angle = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    cap, rim = surface(np.linspace(0.08, 0.96, 12)[:, None]), surface(1.03)
    return _loft(_RADIUS, rim, float(np.median(rim)), depth, cap)


def _support(lowest: Array, middle: float, depth: float) -> tuple[float, float]:
    """Return height and slope of the dish that touches the carried bones on its radial and on its ulnar half."""
    x, z = lowest[:, 0] - middle, lowest[:, 2] - depth
    left = lowest[:, 1] - x**2 / (2 * _DISH[0]) - z**2 / (2 * _DISH[1]) - 0.12 * z
    inside = (x > -15) & (x < 15) & (np.abs(z) < 9)
    slopes = np.linspace(*_INCLINATION, 41)
    levels = [float((left - slope * x)[inside].min()) for slope in slopes]
    # Touching on both halves means that the lowest level over the slopes is the highest one.
    best = int(np.argmax(levels))
    return levels[best], float(slopes[best])


def ulna(joint_height: float, depth: float) -> Mesh:
    """Return the ulna, its head at a height (y, mm) and a depth (z, mm) of the PA frame; the styloid stands higher."""
    angle = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
    shares = np.linspace(0.08, 0.96, 12)[:, None]
    # Styloid on the ulnar and dorsal side.
    toward = np.exp(-(((angle - 0.5 + np.pi) % (2 * np.pi) - np.pi) ** 2) / (2 * 0.36**2))
    bump = 4.8 * toward[None, :] * np.exp(-((shares - 0.84) ** 2) / (2 * 0.17**2))
    cap = joint_height - 2.0 * shares**4 + bump
    rim = joint_height - 2.6 + 3.9 * toward
    return _loft(_ULNA, rim, joint_height - 1.0, depth, cap)


def _proximal(points: Array) -> Array:
    """Return the points of the lower surface: the lowest of each 1.5 mm column of the projection along the forearm."""
    cells = np.round(points[:, [0, 2]] / 1.5).astype(np.int64)
    order = np.lexsort((points[:, 1], cells[:, 1], cells[:, 0]))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(cells[order], axis=0) != 0).any(axis=1)
    lowest = points[order[first]]
    return lowest[lowest[:, 1] < np.percentile(points[:, 1], 45)]
