"""How a hand lies on the detector: joint angles of wrist, fingers and thumb, and the posed bones.

As the wrist deviates, carpal bones follow :mod:`handseg_monai.phantom.carpus`; bones that cover one another then part
along the beam (:mod:`handseg_monai.phantom.depth`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handseg_monai.bones import NUM_BONES
from handseg_monai.phantom.anatomy import CAPITATE, RADIUS, RAYS, ULNA, Anatomy, rotation
from handseg_monai.phantom.carpus import HAND_SHIFT, MOTIONS, PIVOT, SLIDES, share_of
from handseg_monai.phantom.depth import parted
from handseg_monai.phantom.mesh import Array
from handseg_monai.phantom.ranges import Range, draw
from handseg_monai.phantom.subject import Subject

_WALL = 0.4
"""Bone between a marrow cavity and where its bone gives way to another one, millimetres."""
_FARTHEST = -50.0
"""Deviation beyond which a lean of the metacarpals does not bend the carpus further, degrees."""


@dataclass(frozen=True)
class PoseRanges:
    """Joint angles in degrees; positive deviation is towards the thumb."""

    usual_deviation: Range = (-11.0, 7.0)
    bent_deviation: Range = (-54.0, -30.0)
    """Deviation of a bent wrist."""
    bent_share: float = 0.5
    """Share of bent wrists."""
    spread: Range = (-8.0, 12.0)
    """Fan of the fingers about the middle finger."""
    finger_jitter: Range = (-3.0, 3.0)
    """Spread of one finger on its own."""
    finger_flexion: Range = (0.0, 8.0)
    """Flexion of the finger joints."""
    curled_share: float = 0.0
    """Share of fingers that are curled."""
    curled_flexion: Range = (15.0, 50.0)
    """Flexion of the middle joint of a curled finger; its last joint bends up to as far."""
    thumb_abduction: Range = (-7.0, 17.0)
    """Thumb away from the index finger."""
    thumb_opposition: Range = (-20.0, 25.0)
    """Turn of the thumb about its own axis."""
    thumb_flexion: Range = (-6.0, 30.0)
    """Flexion of the thumb's two hinge joints."""
    metacarpal_lean: Range = (-5.5, 5.5)
    """Turn of the four fingers' metacarpals together on the carpus, in the palm's plane."""
    pitch: Range = (-2.6, 2.6)
    """Turn of the whole hand about the image's horizontal axis, off which the table keeps a hand."""
    tilt: Range = (-6.0, 6.0)
    """The same about its vertical axis."""
    turn: Range = (-14.0, 14.0)
    """Turn of the whole hand in the image plane."""


@dataclass(frozen=True)
class Pose:
    """Joint angles in degrees."""

    deviation: float
    """Wrist deviation: of the third metacarpal on the forearm, positive towards the thumb."""
    spread: tuple[float, float, float, float]
    """Turn of the index, middle, ring and little finger in the palm's plane, positive towards the thumb."""
    flexion: tuple[tuple[float, float, float], ...]
    """(5, 3): flexion at the proximal joint of each ray's last three bones (for the thumb: metacarpal and the two
    phalanges)."""
    thumb_abduction: float
    thumb_opposition: float
    """First metacarpal away from the second, and about its own axis."""
    metacarpal_lean: float
    """Turn of the four fingers' metacarpals on the carpus, positive towards the thumb."""
    tilt: tuple[float, float]
    """Turns of the whole hand about the image's horizontal and vertical axis."""
    turn: float
    """Turn of the whole hand in the image, positive counter-clockwise for a right hand."""


@dataclass(frozen=True)
class PosedHand:
    """Bones of a right hand in the PA frame (millimetres; x right, y up, z to the tube), posed."""

    outer: tuple[Array, ...]
    """29 arrays (N, 3): outline of each bone; all in one point where nothing of it is ossified."""
    pieces: tuple[tuple[tuple[Array, Array], ...], ...]
    """For each bone surface and marrow cavity, (N, 3) each, of its separate parts."""
    anchors: Array
    ends: Array
    """(29, 3): proximal and distal joint of each bone."""


def draw_pose(rng: np.random.Generator, ranges: PoseRanges) -> Pose:
    """Draw the pose of one hand."""
    bent = rng.random() < ranges.bent_share
    deviation = draw(rng, ranges.bent_deviation if bent else ranges.usual_deviation)
    fan = draw(rng, ranges.spread)
    index, middle, ring, little = (fan * weight + draw(rng, ranges.finger_jitter) for weight in (1.0, 0.1, -0.6, -1.2))
    amount = draw(rng, ranges.finger_flexion)
    fingers = tuple(_finger(rng, ranges, amount) for _ in range(4))
    thumb = (0.0, draw(rng, ranges.thumb_flexion), draw(rng, ranges.thumb_flexion))
    return Pose(
        deviation,
        (index, middle, ring, little),
        (thumb, *fingers),
        draw(rng, ranges.thumb_abduction),
        draw(rng, ranges.thumb_opposition),
        draw(rng, ranges.metacarpal_lean),
        (draw(rng, ranges.pitch), draw(rng, ranges.tilt)),
        draw(rng, ranges.turn) - 0.6 * deviation,
    )


def _finger(rng: np.random.Generator, ranges: PoseRanges, amount: float) -> tuple[float, float, float]:
    first, second, third = (amount * rng.uniform(*part) for part in ((0.0, 0.6), (0.3, 1.0), (0.2, 0.8)))
    if rng.random() < ranges.curled_share:
        second = draw(rng, ranges.curled_flexion)
        third = second * rng.uniform(0.1, 1.0)
    return first, second, third


class _Motion:
    """An affine motion p -> A p + t."""

    def __init__(self, matrix: Array | None = None, shift: Array | None = None) -> None:
        self.matrix = np.eye(3) if matrix is None else matrix
        self.shift = np.zeros(3) if shift is None else shift

    @classmethod
    def about(cls, pivot: Array, matrix: Array) -> _Motion:
        return cls(matrix, pivot - matrix @ pivot)

    def after(self, first: _Motion) -> _Motion:
        return _Motion(self.matrix @ first.matrix, self.matrix @ first.shift + self.shift)

    def __call__(self, points: Array) -> Array:
        return points @ self.matrix.T + self.shift


def apply_pose(subject: Subject, pose: Pose) -> PosedHand:
    """Return the subject's right hand in a pose; the forearm points down the image before the whole hand is turned."""
    anatomy = subject.anatomy
    # The third metacarpal deviates by what is asked for; the carpus under it by the rest, never onto the ulna.
    motions = _wrist(subject, max(pose.deviation - pose.metacarpal_lean, min(pose.deviation, _FARTHEST)))
    reach = subject.scale * share_of(pose.deviation)
    for number, ray in enumerate(RAYS):
        motion = motions[CAPITATE]
        for place, bone in enumerate(ray):
            motion = motion.after(_Motion(shift=reach * np.array([*SLIDES.get(bone, (0.0, 0.0)), 0.0])))
            motion = motion.after(_Motion.about(anatomy.anchors[bone], _turn(anatomy, pose, number, place)))
            motions[bone] = motion
    laid = _Motion(
        rotation([0, 0, 1], pose.turn) @ rotation([0, 1, 0], pose.tilt[1]) @ rotation([1, 0, 0], pose.tilt[0])
    )
    outer = [motion(bone.surface) for motion, bone in zip(motions, subject.bones, strict=True)]
    pieces = [
        tuple((motion(surface), motion(cavity)) for surface, cavity in bone.pieces)
        for motion, bone in zip(motions, subject.bones, strict=True)
    ]
    for bone, move in parted(outer, [mesh.faces for mesh in anatomy.meshes]).items():
        outer[bone] = move(outer[bone], 0.0)
        pieces[bone] = tuple((move(surface, 0.0), move(cavity, _WALL)) for surface, cavity in pieces[bone])
    anchors, ends = (
        np.stack([motion(point) for motion, point in zip(motions, points, strict=True)])
        for points in (anatomy.anchors, anatomy.ends)
    )
    return PosedHand(
        tuple(laid(points) for points in outer),
        tuple(tuple((laid(surface), laid(cavity)) for surface, cavity in parts) for parts in pieces),
        laid(anchors),
        laid(ends),
    )


def _turn(anatomy: Anatomy, pose: Pose, ray: int, place: int) -> Array:
    """Return the turn of a ray's bone in the joint at its proximal end; ray and place count from 0."""
    bone, upright = RAYS[ray][place], [0, 0, 1]
    if ray and place == 0:
        return rotation(upright, pose.metacarpal_lean)
    turn = rotation(anatomy.flexion[bone], pose.flexion[ray][place - 1 if ray else place])
    if place == 0:
        axis = anatomy.ends[bone] - anatomy.anchors[bone]
        return rotation(upright, pose.thumb_abduction) @ rotation(axis, pose.thumb_opposition) @ turn
    return rotation(upright, pose.spread[ray - 1]) @ turn if ray and place == 1 else turn


def _wrist(subject: Subject, deviation: float) -> list[_Motion]:
    """Return the motion of every bone by the wrist's deviation alone; the forearm rests."""
    anatomy, scale = subject.anatomy, subject.scale
    pivot = anatomy.anchors[CAPITATE] + scale * np.array([*PIVOT, 0.0])
    slide = scale * share_of(deviation) * np.array([*HAND_SHIFT, 0.0])
    hand = _Motion(shift=slide).after(_Motion.about(pivot, rotation([0, 0, 1], deviation)))
    motions = [hand] * NUM_BONES
    motions[RADIUS] = motions[ULNA] = _Motion()
    for bone, motion in MOTIONS.items():
        linear, shift = motion.at(deviation)
        motions[bone] = hand.after(_Motion(shift=scale * shift).after(_Motion.about(anatomy.anchors[bone], linear)))
    return motions
