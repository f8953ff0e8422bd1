"""Hands that still grow: what of each bone is ossified at an age, and the growth plates between epiphysis and shaft.

Cartilage takes the room of the adult's bones, so a child's hand has an adult's joints and is ossified afterwards. Ages
follow W. W. Greulich and S. I. Pyle, *Radiographic Atlas of Skeletal Development of the Hand and Wrist* (1959), and
V. Gilsanz and O. Ratib, *Hand Bone Age* (2005), both sexes taken together and rounded; widths are estimates of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from handseg_monai.bones import BONES, INDEX, NUM_BONES, Group
from handseg_monai.phantom.mesh import Array

_APPEARS = {
    "Capitate": 0.2,
    "Hamate": 0.3,
    "Triquetrum": 2.5,
    "Lunate": 3.5,
    "Trapezium": 4.8,
    "Trapezoid": 5.0,
    "Scaphoid": 5.0,
    "Pisiform": 9.5,
}
"""Age at which a carpal bone starts to ossify, years."""
_CARPUS_GROWN, _PISIFORM_GROWN = 13.5, 14.5
SESAMOIDS_APPEAR = 12.0
"""Years, too."""
_ULNA_APPEARS = 6.0
"""Age at which the epiphysis of the ulna starts to ossify; the others have by three."""
_FUSED = {Group.DISTAL_PHALANX: 14.8, Group.METACARPAL: 15.4, Group.FOREARM: 17.0}
"""Age at which growth plates close; those of other phalanges at 15.2."""
_SIZE = (2.0, 5.0, 9.0, 13.0, 16.0), (0.52, 0.64, 0.77, 0.92, 1.0)
"""Age, and size of the hand over the adult's."""
_PLACE = {Group.METACARPAL: 9.5, Group.PROXIMAL_PHALANX: 5.8, Group.MIDDLE_PHALANX: 3.8, Group.DISTAL_PHALANX: 3.2}
_FOREARM_PLACE = {"Radius": 17.0, "Ulna": 9.5}
"""Distance of the growth plate from the end of an adult's bone (radius and ulna: from the styloid's tip), mm."""
_WALL = 0.35
"""Bone that closes a shaft or an epiphysis towards its growth plate, millimetres."""


@dataclass(frozen=True)
class Bone:
    """What is ossified of one bone."""

    surface: Array
    """(N, 3) vertices of its outline, growth plate included; all in one point where nothing is ossified."""
    pieces: tuple[tuple[Array, Array], ...]
    """Surface and marrow cavity, (N, 3) each, of every separate part of it. They have the mesh's faces."""


@dataclass(frozen=True)
class Plate:
    """A growth plate across one end of a bone, lengths in millimetres."""

    distal: bool
    """Whether it lies at the bone's distal end."""
    place: float
    """Distance of its shaft side from the end of the adult's bone."""
    gap: float
    """Its width."""
    thickness: float
    """Thickness of the epiphysis along the bone; 0 where it has not appeared."""
    width: float
    """Width of the epiphysis over the adult's."""
    bow: float
    wave: float
    length: float
    phase: tuple[float, float]
    """Shape, in turn: how much nearer to the end its rim lies than its middle, at 10 mm from the middle; height and
    length of waves, and their phases in radians."""


@dataclass(frozen=True)
class Growth:
    """How far the skeleton of a hand has come."""

    carpals: Mapping[int, float]
    """Ossified size of carpal bones over the adult's by index, 0 where a bone has not appeared."""
    plates: Mapping[int, Plate]
    """Open growth plates by index."""

    def ossified(self, bone: int, surface: Array, cavity: Array, axis: Array) -> Bone:
        """Return what is ossified of a bone whose adult form has the vertices `surface` and `cavity`, (N, 3).

        `axis` is the unit vector from its proximal to its distal end.
        """
        wall = surface - cavity
        if bone in self.carpals:
            size = self.carpals[bone]
            middle = surface.mean(axis=0)
            offset = surface - middle
            reach = np.linalg.norm(offset, axis=1, keepdims=True)
            # The less there is of a bone the rounder it is.
            roundness = float(np.clip((0.95 - size) / 0.5, 0.0, 0.85))
            grown = middle + size * offset * (1 + roundness * (reach.mean() / np.maximum(reach, 1e-9) - 1))
            return Bone(grown, ((grown, grown - size * wall),))
        if bone in self.plates:
            return _with_plate(self.plates[bone], surface, wall, axis)
        return Bone(surface, ((surface, cavity),))


def _with_plate(plate: Plate, surface: Array, wall: Array, axis: Array) -> Bone:
    """Narrow and flatten the epiphysis, and part it from the shaft.

    Vertices beyond the end of a part are laid flat onto it, where they enclose nothing: both keep the mesh's faces.
    """
    inwards = -axis if plate.distal else axis
    depth = surface @ inwards
    end = depth.min()
    level = end + plate.place
    # The core of the bone at the plate.
    near = np.abs(depth - level) < 0.25 * plate.place
    core = surface[near].mean(axis=0) if near.any() else surface.mean(axis=0)
    core = core - (core @ inwards) * inwards
    # Two unit vectors at right angles to the axis and to one another.
    first = np.cross(axis, [0.0, 0.0, 1.0])
    first = first / max(float(np.linalg.norm(first)), 1e-9)
    second = np.cross(axis, first)

    def height(points: Array) -> Array:
        u, v = (points - core) @ first, (points - core) @ second
        waves = np.sin(2 * np.pi * u / plate.length + plate.phase[0])
        waves += np.sin(2 * np.pi * (0.6 * u + v) / plate.length + plate.phase[1])
        return level - plate.bow * np.minimum((u**2 + v**2) / 100.0, 1.5) + 0.5 * plate.wave * waves

    beyond = np.maximum(level - depth, 0.0)
    left = plate.gap + plate.thickness if plate.thickness else 0.0
    share = min(left / plate.place, 1.0)
    lateral = surface - depth[:, None] * inwards - core
    taper = np.clip(beyond * share / max(plate.gap, 0.4), 0.0, 1.0)
    grown = surface + ((1 - share) * beyond)[:, None] * inwards
    grown += (taper * (plate.width - 1.0))[:, None] * lateral
    inner = grown - wall

    def cut(points: Array, margin: float, *, shaft: bool) -> Array:
        own, to = points @ inwards, height(points) + margin
        return points + ((np.maximum if shaft else np.minimum)(own, to) - own)[:, None] * inwards

    pieces = [(cut(grown, 0.0, shaft=True), cut(inner, _WALL, shaft=True))]
    if plate.thickness:
        pieces.append((cut(grown, -plate.gap, shaft=False), cut(inner, -plate.gap - _WALL, shaft=False)))
    return Bone(grown, tuple(pieces))


def size_at(age: float) -> float:
    """Return the size of a hand over the adult's at a skeletal age in years."""
    return float(np.interp(age, *_SIZE))


def draw_growth(rng: np.random.Generator, age: float) -> Growth:
    """Draw how far each bone has come at a skeletal age in years; bones are up to a year ahead of it or behind."""
    carpals, plates = {}, {}
    (pacing,) = rng.spawn(1)
    for name, appears in _APPEARS.items():
        own = age + rng.uniform(-0.8, 0.8)
        grown = _PISIFORM_GROWN if name == "Pisiform" else _CARPUS_GROWN
        come, pace = (own - appears) / (grown - appears), pacing.uniform(0.5, 0.75)
        # A dot of a millimetre or two at first.
        carpals[INDEX[name]] = min(0.1 + 0.9 * float(come**pace), 1.0) if come > 0 else 0.0
    stature = size_at(age)
    for bone in range(NUM_BONES):
        described = BONES[bone]
        if bone in carpals:
            continue
        own = age + rng.uniform(-0.6, 0.6)
        gap = float(np.interp(own, (4.0, 9.0, 13.0, 15.0), (1.9, 1.2, 0.7, 0.3))) * rng.uniform(0.7, 1.3)
        thickness = float(np.interp(own, (3.0, 9.0, 13.0), (0.4, 0.72, 1.0))) * rng.uniform(0.85, 1.1)
        width = float(np.interp(own, (3.0, 7.0, 11.0, 14.0), (0.55, 0.8, 1.0, 1.04))) * rng.uniform(0.95, 1.04)
        bow, wave = rng.uniform(-0.5, 1.5), rng.uniform(0.1, 0.5)
        length, phase = rng.uniform(5.0, 12.0), rng.uniform(0.0, 2 * np.pi, 2)
        if own >= _FUSED.get(described.group, 15.2):
            continue
        place = stature * _FOREARM_PLACE.get(described.name, _PLACE.get(described.group, 0.0))
        first = described.group is Group.METACARPAL and described.ray == 1
        place *= 0.65 if first else 1.0
        beyond = gap + min(thickness, 1.0) * max(place - gap, 0.5)
        gap = min(gap, 0.45 * beyond)
        absent = described.name == "Ulna" and own < _ULNA_APPEARS
        plates[bone] = Plate(
            described.group is Group.FOREARM or (described.group is Group.METACARPAL and not first),
            place,
            gap,
            0.0 if absent else beyond - gap,
            width,
            bow,
            wave * (1.6 if described.group is Group.FOREARM else 1.0),
            length,
            (float(phase[0]), float(phase[1])),
        )
    return Growth(carpals, plates)
