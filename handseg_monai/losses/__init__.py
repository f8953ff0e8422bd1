"""Losses that MONAI lacks."""

from handseg_monai.losses.deep_supervision import DeepSupervisionLoss
from handseg_monai.losses.per_bone import PerBoneLoss

__all__ = ["DeepSupervisionLoss", "PerBoneLoss"]
