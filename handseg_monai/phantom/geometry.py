"""What a phantom measures: lengths, gaps and angles of its bones as the projection shows them, from its meshes.

Landmarks are parts of the meshes, chosen on the resting hand and carried along by shape and pose; where a measure asks
for the outermost point of a part, it is that of the projected part. Nothing here looks at pixels or masks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from handseg_monai.bones import BONES, INDEX, NAMES
from handseg_monai.phantom import forearm
from handseg_monai.phantom.anatomy import CAPITATE, RADIUS, RAYS, ULNA, myohand
from handseg_monai.phantom.mesh import Array
from handseg_monai.phantom.pose import PosedHand

SCAPHOID, LUNATE, TRIQUETRUM = (INDEX[name] for name in ("Scaphoid", "Lunate", "Triquetrum"))
_, SECOND, THIRD, FOURTH, FIFTH = (ray[0] for ray in RAYS)
JOINTS = {
    **{f"joint space MCP-{number}": (ray[0], ray[1]) for number, ray in enumerate(RAYS, 1)},
    **{f"joint space {'PIP' if number > 1 else 'IP'}-{number}": (ray[1], ray[2]) for number, ray in enumerate(RAYS, 1)},
}
"""The two bones of each joint that is measured, the proximal one first."""
_SHAFT = np.linspace(0.3, 0.7, 9)
"""Where the middles of a long bone's widths give its axis, shares of its length from its proximal end."""
_WAIST = np.linspace(0.3, 0.75, 46)
"""Where its waist is looked for."""
_BAND = np.linspace(-0.5, 0.5, 21)
"""Lines beside the axis on which its ends are looked for, in waists: the joint surface, and no tubercle beside it."""
_MIDDLE = np.linspace(0.45, 0.55, 5)
"""Where the cortex of a metacarpal is measured, shares of its length."""
_FOREARM = np.linspace(0.8, 1.4, 13)
"""Where the middles of the radius' widths give its axis: depth below its tip, in widths of its distal end."""
_SURFACE = np.linspace(0.05, 0.35, 31)
"""Where the ulnar third of its joint surface is: how far from its ulnar border, in these widths."""
_END = 16.0
"""What is the distal end of the radius: so many millimetres of the resting bone."""
_STIRS = 0.01
"""The styloid of the ulna is what moves by more than this share where it grows longer."""


@dataclass(frozen=True)
class _Shadow:
    """A mesh, projected: x towards the ulna, y distal, millimetres."""

    points: Array
    """(N, 2)."""
    faces: NDArray[np.int32]
    """(M, 3)."""

    def furthest(self, way: Array, part: NDArray[np.bool_] | None = None) -> Array:
        """Return the point (2,) of the bone, or of a part of its vertices, that lies furthest along a vector."""
        points = self.points if part is None else self.points[part]
        return np.asarray(points[int(np.argmax(points @ way))])

    def reach(self, way: Array) -> float:
        return float((self.points @ way).max())

    def chord(self, point: Array, way: Array) -> tuple[float, float]:
        """Return where the line from a point along a unit vector enters and leaves the bone; NaN where it misses."""
        offset = self.points - point
        off, along = offset @ _left(way), offset @ way
        a, b = self.faces[:, [0, 1, 2, 1, 2, 0]].reshape(-1, 2, 3).transpose(1, 0, 2).reshape(2, -1)
        cut = (off[a] > 0) != (off[b] > 0)
        if not cut.any():
            return np.nan, np.nan
        a, b = a[cut], b[cut]
        at = along[a] + off[a] / (off[a] - off[b]) * (along[b] - along[a])
        return float(at.min()), float(at.max())

    def border(self) -> Array:
        """Return the segments (S, 2, 2) where the surface turns away from the tube; the outline is among them."""
        corners = self.points[self.faces]
        front = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) > 0
        edges = np.concatenate([self.faces[front][:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
        unique, count = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
        return np.asarray(self.points[unique[count == 1]])

    def holds(self, point: Array) -> bool:
        """Tell whether a point (2,) lies inside of the bone."""
        a, b, c = self.points[self.faces].transpose(1, 0, 2) - point
        turns = np.stack([_cross(a, b), _cross(b, c), _cross(c, a)])
        return bool(((turns > 0).all(axis=0) | (turns < 0).all(axis=0)).any())


@dataclass(frozen=True)
class _Axis:
    """Axis of a long bone."""

    start: Array
    """(2,): its proximal end."""
    way: Array
    """Unit vector towards the fingertip."""
    length: float
    waist: float = np.inf
    """Least width across it."""

    def at(self, share: float) -> Array:
        """Return the point (2,) at a share of the length from the proximal end."""
        return np.asarray(self.start + share * self.length * self.way)


def true_measures(hand: PosedHand) -> dict[str, float]:
    """Return the measures of a posed hand by the names of ``handseg_monai.measure``.

    Lengths are in millimetres, which over a view's ``spacing`` are pixels; angles in degrees. Which way the hand lies
    in an image, and on which side, plays no part. A measure that needs a bone which is not ossified is left out.

    Parameters
    ----------
    hand
        Of a phantom, :attr:`~handseg_monai.phantom.phantom.Phantom.hand`.
    """
    meshes = myohand().meshes
    bones = {
        bone: _Shadow(hand.outer[bone][:, :2], mesh.faces)
        for bone, mesh in enumerate(meshes)
        if np.ptp(hand.outer[bone], axis=0).max() > 0
    }
    axes = {
        bone: _axis(bones[bone], (hand.ends[bone] - hand.anchors[bone])[:2])
        for bone in bones
        if BONES[bone].ray is not None
    }
    measures: dict[str, float] = {}
    for bone, axis in axes.items():
        measures[f"length {NAMES[bone]}"] = axis.length
        measures[f"width {NAMES[bone]}"] = axis.waist
    for name, (first, second) in {"scapholunate gap": (SCAPHOID, LUNATE), **JOINTS}.items():
        if {first, second} <= bones.keys():
            measures[name] = _gap(bones[first], bones[second])
    for number, bone in enumerate((SECOND, THIRD, FOURTH), 2):
        surface, marrow = (_Shadow(points[:, :2], meshes[bone].faces) for points in hand.pieces[bone][0])
        outer, inner = (np.mean(_widths(shadow, axes[bone], _MIDDLE)) for shadow in (surface, marrow))
        measures[f"cortical index {number}"] = float((outer - inner) / outer)
    heads = _tangent(bones[FOURTH], bones[FIFTH], axes[THIRD].way)
    beyond = axes[THIRD].at(1.0) @ heads - bones[FOURTH].reach(heads)
    measures["metacarpal sign"] = float(beyond / (axes[THIRD].way @ heads))
    forearm_way = _forearm_way(bones[RADIUS], (hand.ends[RADIUS] - hand.anchors[RADIUS])[:2])
    return measures | _of_the_wrist(bones, axes[THIRD], forearm_way)


def _of_the_wrist(bones: dict[int, _Shadow], third: _Axis, way: Array) -> dict[str, float]:
    """Return what is measured against the forearm, whose unit vector towards the hand is `way`."""
    thumbwards = _left(way)
    corner = _ulnar_corner(bones[RADIUS], way)
    head, styloid = bones[ULNA].furthest(way, _ulnar_head()), bones[RADIUS].furthest(way)
    rise = styloid - corner
    measures = {
        "ulnar variance": float((head - corner) @ way),
        "radial inclination": float(np.degrees(np.arctan2(rise @ way, rise @ thumbwards))),
        "radial height": float(rise @ way),
        "wrist deviation": float(np.degrees(np.arctan2(_cross(way, third.way), way @ third.way))),
    }
    below = bones[RADIUS].chord(third.at(0.0), third.way)[1]
    if not np.isnan(below):
        measures["carpal height ratio"] = -below / third.length
        if CAPITATE in bones:
            capitate, main = bones[CAPITATE], _main_way(bones[CAPITATE])
            measures["carpal height to capitate"] = -below / (capitate.reach(main) + capitate.reach(-main))
    if {SCAPHOID, LUNATE, TRIQUETRUM} <= bones.keys():
        radial = _tangent(bones[LUNATE], bones[SCAPHOID], -way)
        ulnar = _tangent(bones[TRIQUETRUM], bones[LUNATE], -way)
        measures["carpal angle"] = 180.0 - float(np.degrees(np.arctan2(_cross(radial, ulnar), radial @ ulnar)))
    return measures


@cache
def _distal_end() -> NDArray[np.bool_]:
    """Return which vertices of the radius are of its distal end."""
    y = myohand().meshes[RADIUS].vertices[:, 1]
    return np.asarray(y > y.max() - _END)


@cache
def _ulnar_head() -> NDArray[np.bool_]:
    """Return which vertices of the ulna are not of its styloid: those that stay where that grows by a millimetre."""
    short, long = (forearm.ulna(0.0, 0.0, 0.0, forearm.ForearmShape(ulnar_styloid=length)) for length in (4.0, 5.0))
    return np.asarray(np.linalg.norm(long.vertices - short.vertices, axis=1) < _STIRS)


def _axis(bone: _Shadow, way: Array) -> _Axis:
    """Return the axis of a long bone that runs roughly along a vector: through the middles of its shaft's widths."""
    found = _between_ends(bone, bone.points.mean(axis=0), _unit(way), np.inf)
    for _ in range(6):
        point, way = _middle_line(bone, found.way, [found.at(share) for share in _SHAFT])
        found = _between_ends(bone, point, way, found.waist)
        found = replace(found, waist=min(_widths(bone, found, _WAIST)))
    return _between_ends(bone, point, way, found.waist)


def _between_ends(bone: _Shadow, point: Array, way: Array, waist: float) -> _Axis:
    """Return the part of a line that lies in a bone, to the furthest points at most half of its waist off the line."""
    if np.isinf(waist):
        low, high = -bone.reach(-way) - point @ way, bone.reach(way) - point @ way
    else:
        low, high = np.array([bone.chord(point + waist * off * _left(way), way) for off in _BAND]).T
        low, high = np.nanmin(low), np.nanmax(high)
    return _Axis(point + low * way, way, float(high - low), waist)


def _forearm_way(radius: _Shadow, way: Array) -> Array:
    """Return the unit vector of the radius' shaft towards the hand."""
    way = _unit(way)
    part = radius.points[_distal_end()]
    for _ in range(6):
        tip, wide = radius.furthest(way), float(np.ptp(part @ _left(way)))
        _, way = _middle_line(radius, way, [tip - depth * wide * way for depth in _FOREARM])
    return way


def _ulnar_corner(radius: _Shadow, way: Array) -> Array:
    """Return where the line along the ulnar third of the radius' joint surface meets its ulnar border, (2,)."""
    thumbwards = _left(way)
    across = radius.points[_distal_end()] @ thumbwards
    places = _SURFACE * np.ptp(across)
    surface = [radius.chord((across.min() + place) * thumbwards, way)[1] for place in places]
    return np.asarray(across.min() * thumbwards + np.polyfit(places, surface, 1)[1] * way)


def _middle_line(bone: _Shadow, way: Array, points: list[Array]) -> tuple[Array, Array]:
    """Return point and unit vector of the line through the middles of a bone's widths at points, by least squares."""
    across = _left(way)
    middles = np.array([point + np.mean(bone.chord(point, across)) * across for point in points])
    middle = middles.mean(axis=0)
    along, off = (middles - middle) @ way, (middles - middle) @ across
    return middle, _unit(way + (along @ off) / (along @ along) * across)


def _widths(bone: _Shadow, axis: _Axis, shares: Array) -> list[float]:
    chords = [bone.chord(axis.at(share), _left(axis.way)) for share in shares]
    return [high - low for low, high in chords]


def _tangent(left: _Shadow, right: _Shadow, way: Array) -> Array:
    """Return the unit vector at right angles to the line that touches two bones from the side that `way` points to.

    The first bone lies on the left as one looks along `way`, whose angle to the result is at most 60 degrees.
    """
    low, high = -np.radians(60.0), np.radians(60.0)
    for _ in range(50):
        angle = 0.5 * (low + high)
        turned = np.cos(angle) * way + np.sin(angle) * _left(way)
        # Turned to the left, the left bone reaches further.
        low, high = (low, angle) if left.reach(turned) > right.reach(turned) else (angle, high)
    return np.asarray(turned)


def _gap(first: _Shadow, second: _Shadow) -> float:
    """Return the least distance of two bones; 0 where they touch or lie over one another."""
    a, b = first.border(), second.border()
    p, q = a[:, None, 0], a[:, None, 1]
    r, s = b[None, :, 0], b[None, :, 1]
    crossing = (_cross(q - p, r - p) * _cross(q - p, s - p) < 0) & (_cross(s - r, p - r) * _cross(s - r, q - r) < 0)
    if crossing.any() or first.holds(second.points[0]) or second.holds(first.points[0]):
        return 0.0
    return float(min(_distance(a.reshape(-1, 2), b).min(), _distance(b.reshape(-1, 2), a).min()))


def _distance(points: Array, segments: Array) -> Array:
    """Return the distance (N, S) of points (N, 2) to segments (S, 2, 2)."""
    start, run = segments[:, 0], segments[:, 1] - segments[:, 0]
    offset = points[:, None] - start
    share = np.clip((offset * run).sum(axis=-1) / np.maximum((run**2).sum(axis=-1), 1e-12), 0.0, 1.0)
    return np.asarray(np.linalg.norm(offset - share[..., None] * run, axis=-1))


def _main_way(bone: _Shadow) -> Array:
    """Return a unit vector along which the area of a bone spreads most: from the faces that look to the tube."""
    corners = bone.points[bone.faces]
    area = np.maximum(_cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), 0.0)
    middle = np.average(corners.mean(axis=1), axis=0, weights=area)
    corners = corners - middle
    whole = corners.sum(axis=1)
    # Second moments of a triangle about the middle, over a twelfth of its area.
    moments = np.einsum("mki,mkj->mij", corners, corners) + whole[:, :, None] * whole[:, None]
    return np.asarray(np.linalg.eigh(np.average(moments, axis=0, weights=area))[1][:, 1])


def _cross(a: Array, b: Array) -> Array:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def _left(way: Array) -> Array:
    return np.array([-way[1], way[0]])


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector))
