"""Focal Tversky loss of binary masks."""

from __future__ import annotations

import torch
from monai.losses import TverskyLoss
from torch import nn

_LEAST = 1e-7
"""Of 1 - Tversky index: below, its root has a slope without bounds, and rounding may have made it negative."""


class FocalTverskyLoss(nn.Module):
    """``(1 - T) ** (1 / gamma)`` with T the Tversky index of MONAI's ``TverskyLoss``, for each item and channel.

    With ``gamma`` above 1 the slope grows as a mask becomes good, so that the last gaps still close; small bones gain
    most. N. Abraham and N. M. Khan, A novel focal Tversky loss function with improved attention U-Net for lesion
    segmentation, ISBI 2019. MONAI's ``AsymmetricFocalTverskyLoss`` is another one: its exponent is on the foreground
    of two channels alone.

    Parameters
    ----------
    alpha, beta
        Weights of false positives and false negatives, as MONAI has them. (The paper has them the other way round:
        its alpha, 0.7, is that of false negatives.)
    gamma
        Above 0; 1 to 3 in the paper, which found 4/3 best.
    smooth
        Added to the index' numerator and denominator, in pixels. With less than a pixel, bones that are absent have
        hardly any gradient.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, gamma: float = 4 / 3, smooth: float = 1.0) -> None:
        super().__init__()
        if gamma <= 0:
            raise ValueError(f"gamma: expected above 0, got {gamma}")
        self.tversky = TverskyLoss(
            sigmoid=True, alpha=alpha, beta=beta, smooth_nr=smooth, smooth_dr=smooth, reduction="none"
        )
        self.gamma = gamma

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Mean over items and channels, a scalar, of logits and masks of 0 and 1, both (N, C, H, W)."""
        return self.tversky(logits, target).clamp_min(_LEAST).pow(1 / self.gamma).mean()
