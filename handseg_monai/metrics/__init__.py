"""Metrics on bit planes and on submissions."""

from handseg_monai.metrics.planes_dice import PlanesDice, dice

__all__ = ["PlanesDice", "dice"]
