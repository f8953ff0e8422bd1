"""Metrics on bit planes and on submissions."""

from handseg_monai.metrics.planes_dice import PlanesDice, dice, known_bones

__all__ = ["PlanesDice", "dice", "known_bones"]
