"""Deep supervision for networks that return their heads as a list or as one stack."""

from __future__ import annotations

import monai.losses
import torch

Target = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


class DeepSupervisionLoss(monai.losses.DeepSupervisionLoss):
    """MONAI's ``DeepSupervisionLoss`` for DynUNet too, which stacks its heads into one tensor while it trains.

    Beside masks it takes bit planes, which a smaller head sees at the nearest pixels.
    """

    def forward(self, input: torch.Tensor | list[torch.Tensor] | None, target: Target) -> torch.Tensor:
        """Weighted sum of the heads' losses.

        Parameters
        ----------
        input
            Logits of one head (B, 29, H, W), a list of them with the full resolution first, or a stack
            (B, heads, 29, H, W).
        target
            (B, 29, H, W), or what :func:`~handseg_monai.data.prepare_packed` gives.
        """
        if isinstance(input, torch.Tensor):
            input = list(torch.unbind(input, 1)) if input.ndim == 5 else input
        if isinstance(target, torch.Tensor):
            return super().forward(input, target)
        if input is None:
            raise ValueError("expected logits, got none")
        heads = [input] if isinstance(input, torch.Tensor) else input
        losses = [
            weight * self.get_loss(head.float(), target)
            for weight, head in zip(self.get_weights(len(heads)), heads, strict=True)
        ]
        return torch.stack(losses).sum()

    def get_loss(self, input: torch.Tensor, target: Target) -> torch.Tensor:
        """Loss of one head."""
        if isinstance(target, torch.Tensor):
            return super().get_loss(input, target)
        planes, known = target
        if input.shape[-2:] != planes.shape[-2:]:
            down, across = (
                ((torch.arange(n, device=planes.device) + 0.5) * m / n).long()
                for n, m in zip(input.shape[-2:], planes.shape[-2:], strict=True)
            )
            planes = planes[..., down[:, None], across]
        loss: torch.Tensor = self.loss(input, (planes, known))
        return loss
