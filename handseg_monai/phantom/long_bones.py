"""Mean proportions of adults' long bones, as factors of the MyoHand's meshes."""

from __future__ import annotations

from typing import NamedTuple


class LongBoneFactors(NamedTuple):
    """Proportions of one long bone."""

    length: float = 1.0
    base: float = 1.0
    waist: float = 1.0
    head: float = 1.0
    """Length along the bone's axis, and widths of its proximal end, waist and distal end, factors."""
    gap: float = 0.0
    """Widening of the joint at its proximal end, millimetres."""


LONG_BONES: dict[str, LongBoneFactors] = {
    "finger-1": LongBoneFactors(1.188, 1.686, 1.461, 1.729, -0.25),
    "finger-2": LongBoneFactors(1.075, 1.425, 1.33, 1.33, -0.76),
    "finger-3": LongBoneFactors(1.0, 0.86, 1.14, 1.185, 0.0),
    "finger-4": LongBoneFactors(1.081, 1.326, 1.254, 1.354, -0.39),
    "finger-5": LongBoneFactors(0.966, 1.37, 1.103, 1.204, -0.35),
    "finger-6": LongBoneFactors(1.029, 1.246, 0.998, 1.142, -0.42),
    "finger-7": LongBoneFactors(1.035, 1.07, 1.045, 1.24, 0.0),
    "finger-8": LongBoneFactors(1.074, 1.079, 1.293, 1.222, -0.03),
    "finger-9": LongBoneFactors(0.968, 1.32, 1.165, 1.29, 0.16),
    "finger-10": LongBoneFactors(1.091, 1.18, 1.006, 1.196, -1.34),
    "finger-11": LongBoneFactors(1.0, 1.065, 1.045, 1.263, 0.0),
    "finger-12": LongBoneFactors(1.102, 0.964, 1.35, 1.436, 0.08),
    "finger-13": LongBoneFactors(1.074, 1.354, 1.2, 1.333, -0.5),
    "finger-14": LongBoneFactors(1.138, 1.231, 1.019, 1.21, -1.36),
    "finger-15": LongBoneFactors(0.94, 1.13, 1.022, 1.161, 0.0),
    "finger-16": LongBoneFactors(1.127, 1.327, 1.055, 1.238, -0.47),
    "finger-17": LongBoneFactors(0.932, 1.54, 1.045, 1.219, 0.08),
    "finger-18": LongBoneFactors(1.002, 1.345, 1.037, 1.177, -1.35),
    "finger-19": LongBoneFactors(0.961, 1.09, 1.096, 1.167, 0.0),
}
