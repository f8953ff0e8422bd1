"""Where the hand lies in the image: millimetres of the PA frame to pixels, mirrored for a left hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from handseg_monai.bones import BONES, Group
from handseg_monai.phantom.mesh import Array
from handseg_monai.phantom.pose import PosedHand
from handseg_monai.phantom.ranges import PhantomRanges
from handseg_monai.phantom.subject import draw

Side = Literal["left", "right"]
_HAND = [bone.index for bone in BONES if bone.group is not Group.FOREARM]
_FLESH = 9.0
"""Soft tissue beyond the bones at fingertips and sides, millimetres."""
_WRIST = 45.0
"""Least height of the image below the carpus, millimetres."""


@dataclass(frozen=True)
class View:
    """Placement of the hand in a square image.

    Attributes
    ----------
    size
        Side of the image, pixels.
    spacing
        Millimetres per pixel.
    left, top
        Position of the image's left and upper edge in the mirrored PA frame, millimetres.
    side
        Which hand; the left one is mirrored, so that its thumb points to the right.
    """

    size: int
    spacing: float
    left: float
    top: float
    side: Side

    def __call__(self, points: Array) -> Array:
        """Map (N, 3) millimetres to (x px, y px, z mm); the centre of the first pixel is (0, 0)."""
        pixels = points.copy()
        sign = 1.0 if self.side == "right" else -1.0
        pixels[:, 0] = (sign * points[:, 0] - self.left) / self.spacing - 0.5
        pixels[:, 1] = (self.top - points[:, 1]) / self.spacing - 0.5
        return pixels

    def resized(self, size: int) -> View:
        """Return the same field of view at another size in pixels."""
        return View(size, self.spacing * self.size / size, self.left, self.top, self.side)


def place(rng: np.random.Generator, ranges: PhantomRanges, hand: PosedHand, side: Side, size: int) -> View:
    """Draw a placement: fingers up, the hand near the middle, the forearm cut by the image's edge."""
    points = np.concatenate([hand.outer[bone][::5] for bone in _HAND])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = draw(rng, ranges.top_margin)
    field, shift = draw(rng, ranges.field), draw(rng, ranges.side_shift)
    field = max(field, high[0] - low[0] + 4 * _FLESH, high[1] - low[1] + _FLESH + margin + _WRIST)
    middle = 0.5 * (low[0] + high[0])
    room = 0.5 * (field - (high[0] - low[0])) - 1.5 * _FLESH
    middle += float(np.clip(shift, -room, room))
    if side == "left":
        middle = -middle
    return View(size, field / size, middle - 0.5 * field, high[1] + _FLESH + margin, side)
