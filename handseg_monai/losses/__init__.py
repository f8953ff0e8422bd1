"""Losses that MONAI lacks."""

from handseg_monai.losses.deep_supervision import DeepSupervisionLoss
from handseg_monai.losses.per_bone import PerBoneLoss
from handseg_monai.losses.planes_dice_ce import PlanesDiceCELoss

__all__ = ["DeepSupervisionLoss", "PerBoneLoss", "PlanesDiceCELoss"]
