"""Losses that MONAI lacks."""

from handseg_monai.losses.bone_weights import weights_of_bones
from handseg_monai.losses.deep_supervision import DeepSupervisionLoss
from handseg_monai.losses.focal_tversky import FocalTverskyLoss
from handseg_monai.losses.lovasz import LovaszHingeLoss
from handseg_monai.losses.per_bone import PerBoneLoss
from handseg_monai.losses.weighted import WeightedLoss, check_loss_weights

__all__ = [
    "DeepSupervisionLoss",
    "FocalTverskyLoss",
    "LovaszHingeLoss",
    "PerBoneLoss",
    "WeightedLoss",
    "check_loss_weights",
    "weights_of_bones",
]
