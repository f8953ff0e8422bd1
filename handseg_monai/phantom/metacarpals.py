"""Metacarpals as smooth lofts through the sections of the MyoHand's, with bases that fit the distal carpal row."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import ConvexHull

from handseg_monai.phantom.mesh import Array, Mesh, smoothed, tube

_AROUND, _RINGS = 44, 56
_FACING = 0.17
"""Slope of the joint surface of a base from the palm to the back of the hand."""
_BASES = (
    # Half width and half depth of the base (mm); how far its joint surface is hollowed in the middle, and leans
    # (mm for each mm towards the ulna).
    (8.3, 7.6, 1.2, 0.0),
    (7.9, 8.2, 2.0, 0.12),
    (6.8, 8.0, 0.2, 0.1),
    (5.4, 6.6, 0.2, 0.18),
    (6.1, 6.4, 0.5, -0.16),
)


def metacarpal(ray: int, mesh: Mesh, frame: Array, origin: Array) -> Mesh:
    """Return the metacarpal of a ray, 1 to 5, as a loft that follows a mesh whose base has its middle at `origin`.

    The columns of `frame` (3, 3) are unit vectors along the bone, towards the ulna, and the third of a right-handed
    frame.
    """
    local = (mesh.vertices - origin) @ frame
    wide, deep, hollow, lean = _BASES[ray - 1]
    top = float(local[:, 0].max())
    angle = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
    way = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # Stations lie close together in the head, which ends in a dome.
    share = np.linspace(0, 1, _RINGS)
    station = 2.5 + (top - 2.7) * np.sin(0.5 * np.pi * share) ** 1.15
    middle, reach = np.empty((_RINGS, 2)), np.empty((_RINGS, _AROUND))
    for k, at in enumerate(station):
        window = max(0.35, min(1.4, 0.6 * (top - at)))
        while len(section := local[np.abs(local[:, 0] - at) < window][:, 1:]) < 12:
            window *= 1.5
        hull = ConvexHull(section)
        middle[k] = section[hull.vertices].mean(axis=0)
        planes = hull.equations
        offset = -planes[:, 2] - planes[:, :2] @ middle[k]
        reach[k] = (offset / np.maximum(way @ planes[:, :2].T, 1e-9)).min(axis=1)
    middle, reach = gaussian_filter1d(middle, 1.5, axis=0), gaussian_filter1d(reach, 1.0, axis=0)
    reach = gaussian_filter1d(reach, 1.2, axis=1, mode="wrap")
    # A round base of the wanted size takes over towards the wrist.
    base = 1.0 / (np.abs(way[:, 0] / wide) ** 2.8 + np.abs(way[:, 1] / deep) ** 2.8) ** (1 / 2.8)
    weight = np.clip(1.0 - (station - 2.5) / 11.5, 0, 1)[:, None] ** 1.4
    middle *= 1.0 - weight * 0.85
    reach = (1 - weight) * reach + weight * base
    rings = np.empty((_RINGS, _AROUND, 3))
    rings[:, :, 0] = station[:, None]
    rings[:, :, 1:] = middle[:, None] + reach[:, :, None] * way
    shares = np.array([0.1, 0.3, 0.5, 0.68, 0.83, 0.93])[:, None]
    cap = np.empty((len(shares), _AROUND, 3))
    cap[:, :, 1:] = middle[0] + shares[:, :, None] * reach[0][None, :, None] * way
    across = cap[:, :, 1]
    cap[:, :, 0] = 2.3 * shares**5 + hollow * np.exp(-((across / (0.45 * wide)) ** 2)) - 0.4
    # The joint surface faces a little towards the palm, as the carpus' faces the back of the hand.
    rings[:, :, 0] += (lean * rings[:, :, 1] - _FACING * rings[:, :, 2]) * weight
    cap[:, :, 0] += lean * across - _FACING * cap[:, :, 2]
    points = np.concatenate([cap, rings])[:, ::-1]
    loft = smoothed(tube(points), 4)
    return Mesh(loft.vertices @ frame.T + origin, loft.faces)
