"""Weighted sum of losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from handseg_monai.losses.bone_weights import check_weight


class WeightedLoss(nn.Module):
    """Sum of named losses, each a mean over the items, times their weights; those of weight 0 are not computed.

    Raises as :func:`check_loss_weights`.
    """

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        check_loss_weights(weights, list(losses))
        self.losses = nn.ModuleDict(losses)
        self.weights = dict(weights)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss, a scalar, of logits and target as the losses take them."""
        parts = [self.weights[name] * loss(logits, target) for name, loss in self.losses.items() if self.weights[name]]
        return torch.stack(parts).sum()


def check_loss_weights(weights: Mapping[str, float], names: list[str]) -> None:
    """Raise ``ValueError`` unless each loss has a weight, a finite number from 0, and one is above 0."""
    if not isinstance(weights, Mapping) or set(weights) != set(names):
        raise ValueError(f"--loss_weights {weights!r}: expected a weight for each of {', '.join(names)}, by name")
    for name, weight in weights.items():
        check_weight("loss_weights", name, weight)
    if not any(weights.values()):
        raise ValueError("--loss_weights: all losses weigh 0; at least one must count")
