"""Where the hand lies in the image, and how much of it: draws a view of a posed hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handseg_monai.bones import BONES, INDEX, Group, Side
from handseg_monai.phantom.mesh import Array
from handseg_monai.phantom.pose import PosedHand
from handseg_monai.phantom.ranges import Range, draw
from handseg_monai.phantom.view import View

_FLESH = 9.0
"""Soft tissue beyond the bones at fingertips and sides, millimetres."""
_LEAST = 64
"""Least height and width of an image, pixels."""
_UPRIGHT_FIELD, _UPRIGHT_MARGIN, _UPRIGHT_FOREARM = 270.0, 8.0, 45.0
_BEYOND = 0.24
"""What an upright view shows of the forearm beyond a square, share of its width."""
_SHORT = 150.0
"""Hands shorter than this (millimetres from carpus to fingertip), which are children's, get smaller fields."""
_GROUPS = {group: [bone.index for bone in BONES if bone.group is group] for group in Group}
_HAND = [bone.index for bone in BONES if bone.group is not Group.FOREARM]
_PHALANGES = [bone.index for bone in BONES if bone.group.value.endswith("phalanx")]
_FOREARM = [INDEX["Radius"], INDEX["Ulna"]]


@dataclass(frozen=True)
class PlacementRanges:
    """Geometry of the image."""

    long_side: Range = (2048.0, 2048.0)
    """Longer side of the image where no size is asked for, pixels."""
    aspect: Range = (1.0, 1.0)
    """Width by height; of a hand that lies sideways mostly height by width."""
    field: Range = (245.0, 290.0)
    """Longer side of the field of view, millimetres; grows where a hand would not fit."""
    top_margin: Range = (6.0, 26.0)
    """Fingertips to the edge beyond them, millimetres."""
    side_shift: Range = (-12.0, 12.0)
    """Hand off the middle line along its fingers, millimetres."""
    forearm: Range = (45.0, 45.0)
    """Least length of the image beyond the carpus towards the elbow, millimetres."""
    angle: Range = (-14.0, 14.0)
    """Turn of the image against the hand, degrees; comes to the pose's own turn."""
    turned_share: float = 0.08
    """Share of images turned by another 90, 180 or 270 degrees."""
    any_angle_share: float = 0.0
    """Share of images turned by any angle."""
    part_share: float = 0.0
    """Share of images of a part: the wrist, the fingers, or one or two rays."""


def place_upright(hand: PosedHand, side: Side, size: int) -> View:
    """Return the upright view of a whole hand, `size` pixels wide; the forearm is cut by the lower edge."""
    points = _surface(hand, _HAND)
    low, high = points.min(axis=0), points.max(axis=0)
    wide, tall = high[0] - low[0] + 4 * _FLESH, high[1] - low[1] + _FLESH + _UPRIGHT_MARGIN + _UPRIGHT_FOREARM
    field = max(_UPRIGHT_FIELD * shortness(float(high[1] - low[1])), float(wide), float(tall))
    middle = 0.5 * float(low[0] + high[0])
    top = float(high[1]) + _FLESH + _UPRIGHT_MARGIN
    spacing, height = field / size, round((1.0 + _BEYOND) * size)
    return View(height, size, spacing, (middle if side == "right" else -middle, top - 0.5 * height * spacing), side)


def shortness(length: float) -> float:
    """Return the factor of fields of view for a hand of a length in millimetres; 1 for an adult's."""
    return min(1.0, length / _SHORT)


def place(
    rng: np.random.Generator, ranges: PlacementRanges, hand: PosedHand, side: Side, size: int | None = None
) -> View:
    """Draw a placement: turn, shape and field of the image, and the hand's place in it.

    The left hand is mirrored. `size` is the longer side in pixels; None draws it.
    """
    long_side = round(draw(rng, ranges.long_side))
    angle = draw(rng, ranges.angle)
    spin, quarter = rng.uniform(-180.0, 180.0), 90.0 * int(rng.integers(1, 4))
    if rng.random() < ranges.turned_share:
        angle += quarter
    if rng.random() < ranges.any_angle_share:
        angle = spin
    partly = rng.random() < ranges.part_share
    aspect, follows = draw(rng, ranges.aspect), rng.random() < 0.8
    margin, forearm = draw(rng, ranges.top_margin), draw(rng, ranges.forearm)
    field, shift = draw(rng, ranges.field), draw(rng, ranges.side_shift)
    field *= shortness(float(np.ptp(_surface(hand, _HAND)[:, 1])))
    if partly:
        points, flesh = _part(rng, hand), float(rng.uniform(3.0, 20.0))
    else:
        points, flesh = _surface(hand, _HAND), _FLESH + min(margin, 3.0)
    sign = 1.0 if side == "right" else -1.0
    low, high = points.min(axis=0), points.max(axis=0)
    if partly:
        middle = 0.5 * (low + high)[:2]
        field = float((high - low)[:2].max() + 2 * flesh) * float(rng.uniform(1.0, 1.4))
        middle = middle + rng.uniform(-0.1, 0.1, 2) * field
    else:
        field = max(field, high[0] - low[0] + 4 * _FLESH, high[1] - low[1] + _FLESH + margin + forearm)
        room = max(0.5 * (field - (high[0] - low[0])) - 1.5 * _FLESH, 0.0)
        x = 0.5 * (low[0] + high[0]) + float(np.clip(shift, -room, room))
        middle = np.array([x, high[1] + _FLESH + margin - 0.5 * field])
    # Right and down in the image, millimetres from the origin of the PA frame.
    turn = np.radians(angle)
    to_image = np.array([[np.cos(turn) * sign, np.sin(turn)], [np.sin(turn) * sign, -np.cos(turn)]])
    if abs(np.sin(turn)) > 0.75 and follows:
        aspect = 1.0 / aspect
    frame = field * np.array([min(1.0, aspect), min(1.0, 1.0 / aspect)])
    placed = points[:, :2] @ to_image.T
    near, far = placed.min(axis=0) - flesh, placed.max(axis=0) + flesh
    if angle != 0.0 or aspect != 1.0:
        frame *= max(1.0, float(((far - near) / frame).max()))
        middle = to_image @ middle
        middle = np.clip(middle, far - 0.5 * frame, near + 0.5 * frame)
        middle = np.linalg.solve(to_image, middle)
    size = long_side if size is None else size
    spacing = float(frame.max()) / size
    width, height = (max(round(float(edge) / spacing), _LEAST) for edge in frame)
    return View(height, width, spacing, (sign * float(middle[0]), float(middle[1])), side, angle)


def _surface(hand: PosedHand, bones: list[int]) -> Array:
    """Return every fifth point of bones' surfaces, (N, 3) millimetres."""
    return np.concatenate([hand.outer[bone][::5] for bone in bones])


def _part(rng: np.random.Generator, hand: PosedHand) -> Array:
    """Return the points that a part view shows at least: the wrist, the fingers, or one or two rays, (N, 3)."""
    kind, first, beyond = rng.random(), int(rng.integers(1, 6)), float(rng.uniform(5.0, 60.0))
    if kind < 0.45:
        # The wrist, with the bases of the metacarpals and a piece of the forearm.
        share = float(rng.uniform(0.1, 0.6))
        bones = _GROUPS[Group.METACARPAL]
        bases = hand.anchors[bones] + share * (hand.ends[bones] - hand.anchors[bones])
        arm = hand.anchors[_FOREARM] - hand.ends[_FOREARM]
        shafts = hand.ends[_FOREARM] + beyond * arm / np.linalg.norm(arm, axis=1, keepdims=True)
        return np.concatenate([_surface(hand, _GROUPS[Group.CARPAL]), bases, shafts])
    if kind < 0.75:
        heads = hand.ends[_GROUPS[Group.METACARPAL]]
        return np.concatenate([_surface(hand, _PHALANGES), heads])
    rays = {first, min(first + int(rng.integers(0, 2)), 5)}
    with_metacarpal = rng.random() < 0.5
    return _surface(
        hand,
        [bone.index for bone in BONES if bone.ray in rays and (with_metacarpal or bone.group is not Group.METACARPAL)],
    )
