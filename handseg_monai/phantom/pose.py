"""How a hand lies on the detector: joint angles of wrist, fingers and thumb, and the posed bones.

The wrist's deviation is split between the radiocarpal and the midcarpal joint, and the proximal row turns with it: in
radial deviation scaphoid, lunate and triquetrum flex, in ulnar deviation they extend (for the directions see Kobayashi
et al., Normal kinematics of carpal bones, J Biomech 30, 1997). The joint spaces are set again afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handseg_monai.bones import INDEX, NUM_BONES
from handseg_monai.phantom.anatomy import CAPITATE, CARPALS, RADIUS, RAYS, ULNA, rotation
from handseg_monai.phantom.carpus import INTERCARPAL, KEPT_APART, RADIOCARPAL, settle
from handseg_monai.phantom.mesh import Array
from handseg_monai.phantom.ranges import PhantomRanges
from handseg_monai.phantom.subject import Subject, draw

_SCAPHOID, _LUNATE = INDEX["Scaphoid"], INDEX["Lunate"]
_TRIQUETRUM, _PISIFORM = INDEX["Triquetrum"], INDEX["Pisiform"]
_RADIOCARPAL_PART = (0.62, 0.42)
"""The radiocarpal joint's share of ulnar and of radial deviation."""
_FLEXION_PART = {
    _SCAPHOID: (0.85, 0.55),
    _LUNATE: (0.35, 0.25),
    _TRIQUETRUM: (0.2, 0.2),
    _PISIFORM: (0.2, 0.2),
}
"""Turn of each bone of the proximal row per degree: extension in ulnar, flexion in radial deviation."""

_BRIDGE = (0.25, 0.1)
"""Share of the (ulnar, radial) deviation by which the scaphoid, which bridges the rows, follows the distal one."""


@dataclass(frozen=True)
class Pose:
    """Joint angles in degrees.

    Attributes
    ----------
    deviation
        Wrist deviation, positive towards the thumb.
    spread
        Turn of the index, middle, ring and little finger in the palm's plane, positive towards the thumb.
    flexion
        (5, 3): flexion at the proximal joint of each ray's last three bones (for the thumb: metacarpal and the two
        phalanges).
    thumb_abduction, thumb_opposition
        First metacarpal away from the second, and about its own axis.
    tilt
        Turns of the whole hand about the image's horizontal and vertical axis.
    turn
        Turn of the whole hand in the image, positive counter-clockwise for a right hand.
    """

    deviation: float
    spread: tuple[float, float, float, float]
    flexion: tuple[tuple[float, float, float], ...]
    thumb_abduction: float
    thumb_opposition: float
    tilt: tuple[float, float]
    turn: float


@dataclass(frozen=True)
class PosedHand:
    """Bones of a right hand in the PA frame (millimetres; x right, y up, z to the tube), posed.

    Attributes
    ----------
    outer
        29 arrays (N, 3): outline of each bone; all in one point where nothing of it is ossified.
    pieces
        For each bone surface and marrow cavity, (N, 3) each, of its separate parts.
    anchors, ends
        (29, 3): proximal and distal joint of each bone.
    """

    outer: tuple[Array, ...]
    pieces: tuple[tuple[tuple[Array, Array], ...], ...]
    anchors: Array
    ends: Array


def draw_pose(rng: np.random.Generator, ranges: PhantomRanges) -> Pose:
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
        (draw(rng, ranges.tilt), draw(rng, ranges.tilt)),
        draw(rng, ranges.turn) - 0.6 * deviation,
    )


def _finger(rng: np.random.Generator, ranges: PhantomRanges, amount: float) -> tuple[float, float, float]:
    first, second, third = (
        amount * rng.uniform(0.0, 0.6),
        amount * rng.uniform(0.3, 1.0),
        amount * rng.uniform(0.2, 0.8),
    )
    if rng.random() < ranges.curled_share:
        second = draw(rng, ranges.curled_flexion)
        third = second * rng.uniform(0.1, 1.0)
    return first, second, third


class _Motion:
    """A rigid motion p -> R p + t."""

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
    motions = _wrist(subject, pose.deviation)
    hand = motions[CAPITATE]
    for number, ray in enumerate(RAYS):
        motion = hand
        hinges = ray if number == 0 else ray[1:]
        for place, bone in enumerate(hinges):
            pivot = anatomy.anchors[bone]
            turn = rotation(anatomy.flexion[bone], pose.flexion[number][place])
            if place == 0 and number == 0:
                axis = anatomy.ends[bone] - pivot
                turn = rotation([0, 0, 1], pose.thumb_abduction) @ rotation(axis, pose.thumb_opposition) @ turn
            elif place == 0:
                turn = rotation([0, 0, 1], pose.spread[number - 1]) @ turn
            motion = motion.after(_Motion.about(pivot, turn))
            motions[bone] = motion
        if number:
            motions[ray[0]] = hand
    seat = _thumb_seat(subject, motions)
    for bone in RAYS[0]:
        motions[bone] = seat.after(motions[bone])
    whole = _Motion(
        rotation([0, 0, 1], pose.turn) @ rotation([0, 1, 0], pose.tilt[1]) @ rotation([1, 0, 0], pose.tilt[0])
    )
    motions = [whole.after(motion) for motion in motions]
    return PosedHand(
        tuple(motion(bone.surface) for motion, bone in zip(motions, subject.bones, strict=True)),
        tuple(
            tuple((motion(surface), motion(cavity)) for surface, cavity in bone.pieces)
            for motion, bone in zip(motions, subject.bones, strict=True)
        ),
        np.stack([motion(point) for motion, point in zip(motions, anatomy.anchors, strict=True)]),
        np.stack([motion(point) for motion, point in zip(motions, anatomy.ends, strict=True)]),
    )


def _thumb_seat(subject: Subject, motions: list[_Motion]) -> _Motion:
    """Return the shift that brings the turned thumb back to the joint space at its base."""
    anatomy = subject.anatomy
    thumb, trapezium, index = RAYS[0][0], INDEX["Trapezium"], RAYS[1][0]
    empty = np.zeros((0, 3))
    used = (thumb, trapezium, index)
    points = [motions[b](anatomy.meshes[b].vertices) if b in used else empty for b in range(NUM_BONES)]
    normals = [anatomy.normals[b] @ motions[b].matrix.T if b in used else empty for b in range(NUM_BONES)]
    body = [1 if bone == thumb else 0 for bone in range(NUM_BONES)]
    pairs, apart = [(trapezium, thumb)], [(index, thumb)]
    shifts = settle(points, normals, body, pairs, [1.2 * subject.carpal_gap], apart, least=0.3, rounds=15, firm=pairs)
    return _Motion(shift=shifts[1])


def _wrist(subject: Subject, deviation: float) -> list[_Motion]:
    """Return the motion of every bone by the wrist's deviation alone; the forearm rests."""
    anatomy, scale = subject.anatomy, subject.scale
    proximal_pivot = anatomy.anchors[CAPITATE] + scale * np.array([1.5, 1.4, 0.0])
    distal_pivot = anatomy.anchors[CAPITATE] + scale * np.array([0.0 if deviation > 0 else -4.0, -5.5, 0.0])
    part = _RADIOCARPAL_PART[deviation > 0]
    row = _Motion.about(proximal_pivot, rotation([0, 0, 1], part * deviation))
    hand = row.after(_Motion.about(distal_pivot, rotation([0, 0, 1], (1 - part) * deviation)))
    motions = [hand] * NUM_BONES
    motions[RADIUS] = motions[ULNA] = _Motion()
    for bone, parts in _FLEXION_PART.items():
        pivot = anatomy.anchors[_TRIQUETRUM if bone == _PISIFORM else bone]
        turn = rotation([1, 0, 0], -parts[deviation > 0] * deviation)
        if bone == _SCAPHOID:
            turn = rotation([0, 0, 1], _BRIDGE[deviation > 0] * deviation) @ turn
        motions[bone] = row.after(_Motion.about(pivot, turn))

    body = [0 if bone in (RADIUS, ULNA) else 4 for bone in range(NUM_BONES)]
    for number, bone in enumerate(_FLEXION_PART, 1):
        # The pisiform rides on the triquetrum.
        body[bone] = 3 if bone == _PISIFORM else number
    used = (*CARPALS, RADIUS, ULNA)
    empty = np.zeros((0, 3))
    points = [motions[b](anatomy.meshes[b].vertices) if b in used else empty for b in range(NUM_BONES)]
    normals = [anatomy.normals[b] @ motions[b].matrix.T if b in used else empty for b in range(NUM_BONES)]
    pairs = INTERCARPAL + RADIOCARPAL
    gaps = [subject.radiocarpal_gap if RADIUS in pair else max(subject.carpal_gap, 0.2) for pair in pairs]
    apart = [pair for pair in KEPT_APART if pair[0] in CARPALS and pair[1] in used]
    shifts = settle(
        points,
        normals,
        body,
        pairs,
        gaps,
        apart,
        least=0.3,
        rounds=50,
        firm=(*RADIOCARPAL, (_SCAPHOID, INDEX["Trapezium"])),
    )
    return [_Motion(m.matrix, m.shift + shifts[body[b]]) for b, m in enumerate(motions)]
