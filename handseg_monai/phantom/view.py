"""A view: millimetres of the PA frame to pixels, mirrored for a left hand, turned at will."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handseg_monai.bones import Side
from handseg_monai.phantom.mesh import Array
from handseg_monai.phantom.resample import Shape

OPPOSITE: dict[Side, Side] = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class View:
    """Placement of the hand in an image."""

    height: int
    width: int
    """Pixels of the image."""
    spacing: float
    """Millimetres per pixel."""
    middle: tuple[float, float]
    """The image's middle in the mirrored PA frame (x to the right, y up), millimetres."""
    side: Side
    """Which hand; the left one is mirrored, so that its thumb points to the right when its fingers point up."""
    angle: float = 0.0
    """Turn of the hand in the image, clockwise, degrees; 0: fingers up."""

    @property
    def size(self) -> int:
        """The longer side, pixels."""
        return max(self.height, self.width)

    @property
    def shape(self) -> Shape:
        """(height, width) in pixels."""
        return self.height, self.width

    @property
    def sign(self) -> float:
        """1 of a right hand, -1 of a left one, whose PA frame is mirrored."""
        return 1.0 if self.side == "right" else -1.0

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3): x and y of the PA frame, not mirrored, in millimetres to pixels; pixel centres at whole numbers."""
        turn, sign = np.radians(self.angle), self.sign
        cosine, sine = np.cos(turn) / self.spacing, np.sin(turn) / self.spacing
        linear = np.array([[sign * cosine, sine], [sign * sine, -cosine]])
        middle = np.array([sign * self.middle[0], self.middle[1]])
        centre = np.array([0.5 * (self.width - 1), 0.5 * (self.height - 1)])
        return np.column_stack([linear, centre - linear @ middle])

    def __call__(self, points: Array) -> Array:
        """Map (N, 3) millimetres to (x px, y px, z mm); the centre of the first pixel is (0, 0)."""
        pixels = points.copy()
        matrix = self.matrix
        pixels[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return pixels

    def resized(self, size: int) -> View:
        """Return the same field of view with another longer side in pixels."""
        share = size / self.size
        height, width = max(round(self.height * share), 1), max(round(self.width * share), 1)
        return replace(self, height=height, width=width, spacing=self.spacing / share)

    def upright(self) -> View:
        """Return an upright, square view of the same middle and spacing that covers this one."""
        if self.angle == 0.0 and self.height == self.width:
            return self
        turn = np.radians(self.angle)
        cosine, sine = abs(np.cos(turn)), abs(np.sin(turn))
        reach = max(self.width * cosine + self.height * sine, self.width * sine + self.height * cosine)
        size = int(np.ceil(reach))
        return replace(self, height=size, width=size, angle=0.0)
