"""How the carpal bones move in the hand as the wrist deviates.

The distal row follows the metacarpals; the proximal one stays behind with the forearm, slides and turns out of the
plane: in ulnar deviation scaphoid and lunate extend, and show longer (Kobayashi et al., Normal kinematics of carpal
bones, J Biomech 30, 1997). Motions are given for a wrist bent far towards the ulna and hold in proportion to the
deviation, towards the thumb by 0.6 of that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handseg_monai.bones import INDEX
from handseg_monai.phantom.anatomy import rotation
from handseg_monai.phantom.mesh import Array

BENT = -42.0
"""Deviation (degrees) that the motions below are given for, the median of views in ulnar deviation."""
_RADIALLY = 0.6
"""How far bones move in radial deviation, per degree of the ulnar one."""


@dataclass(frozen=True)
class Motion:
    """Of a carpal bone against the capitate, from a straight wrist to a bent one."""

    shift: tuple[float, float] = (0.0, 0.0)
    """Millimetres along x (ulnar) and y (distal)."""
    turn: float = 0.0
    """In the image plane, degrees, counter-clockwise in a right hand."""
    extension: float = 0.0
    """Out of it, degrees: the distal end towards the back of the hand."""
    stretch: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """What its outline grows by along x, y and the diagonal: the projection of what turns out of the plane."""

    def at(self, deviation: float) -> tuple[Array, Array]:
        """Return the linear map (3, 3) about the bone's middle, and its shift (3,) in millimetres, at a deviation."""
        share = share_of(deviation)
        xx, yy, xy = (share * part for part in self.stretch)
        outline = np.array([[1.0 + xx, xy, 0.0], [xy, 1.0 + yy, 0.0], [0.0, 0.0, 1.0]])
        turned = rotation([0, 0, 1], share * self.turn) @ rotation([1, 0, 0], share * self.extension)
        return outline @ turned, share * np.array([*self.shift, 0.0])


MOTIONS: dict[int, Motion] = {
    INDEX["Scaphoid"]: Motion((0.9, -2.95), 9.6, 20.0, (0.012, -0.139, -0.074)),
    INDEX["Lunate"]: Motion((2.6, 2.36), 11.5, 15.0, (0.215, -0.115, -0.136)),
    INDEX["Triquetrum"]: Motion((1.55, 4.78), -2.0, 8.0, (-0.027, 0.0, 0.016)),
    INDEX["Pisiform"]: Motion((5.11, 6.8), 20.2, 0.0, (0.028, 0.033, 0.006)),
    INDEX["Trapezium"]: Motion((2.23, -1.0), -16.3, 0.0, (-0.028, 0.102, -0.059)),
    INDEX["Trapezoid"]: Motion((0.56, -0.21), -3.6, 0.0, (0.052, 0.123, 0.005)),
    INDEX["Hamate"]: Motion((-0.31, 0.57), 6.3, 0.0, (-0.003, -0.054, -0.005)),
}
SLIDES: dict[int, tuple[float, float]] = {
    INDEX["finger-3"]: (0.3, -1.6),
    INDEX["finger-7"]: (0.85, -0.1),
    INDEX["finger-11"]: (0.0, -0.2),
    INDEX["finger-15"]: (0.35, 0.12),
    INDEX["finger-19"]: (0.5, 0.0),
    INDEX["finger-18"]: (0.0, -0.36),
}
"""How far long bones slide in the joint at their proximal end, with all beyond, at that deviation: millimetres along x
and y. The thumb follows the trapezium, the second metacarpal closes up to the third, the little finger to its own."""
PIVOT = (-2.0, -3.0)
"""x and y about which the hand turns on the forearm, from the middle of the capitate, millimetres."""
HAND_SHIFT = (0.66, 1.9)
"""How far the hand also slides on the forearm at that deviation, millimetres."""


def share_of(deviation: float) -> float:
    """Return how far bones have moved at a deviation in degrees: 1 in a wrist bent far towards the ulna."""
    share = deviation / BENT
    return share if share > 0 else _RADIALLY * share
