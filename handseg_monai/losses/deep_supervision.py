"""Deep supervision for networks that return their heads as a list or as one stack."""

from __future__ import annotations

import monai.losses
import torch


class DeepSupervisionLoss(monai.losses.DeepSupervisionLoss):
    """MONAI's ``DeepSupervisionLoss`` for DynUNet too, which stacks its heads into one tensor while it trains."""

    def forward(self, input: torch.Tensor | list[torch.Tensor] | None, target: torch.Tensor) -> torch.Tensor:
        """Weighted sum of the heads' losses.

        Parameters
        ----------
        input
            Logits of one head (B, 29, H, W), a list of them with the full resolution first, or a stack
            (B, heads, 29, H, W).
        target
            (B, 29, H, W).
        """
        if isinstance(input, torch.Tensor):
            input = list(torch.unbind(input, 1)) if input.ndim == target.ndim + 1 else input
        return super().forward(input, target)
