"""Lovász hinge: the Jaccard index, made convex in the logits."""

from __future__ import annotations

import torch
from torch import nn


class LovaszHingeLoss(nn.Module):
    """Lovász extension of 1 - Jaccard index, of the hinge errors of each item's pixels.

    M. Berman, A. Rannen Triki and M. B. Blaschko, The Lovász-softmax loss: a tractable surrogate for the optimization
    of the intersection-over-union measure in neural networks, CVPR 2018, for binary masks. Each item is sorted on its
    own, the mean is taken over the items.

    An absent bone's loss is the hinge error of its most certain false pixel, which alone has a gradient.
    """

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Mean over items and channels, a scalar, of logits and masks of 0 and 1, both (N, C, H, W)."""
        logits, target = logits.flatten(2), target.flatten(2)
        errors, order = (1 - logits * (2 * target - 1)).sort(dim=-1, descending=True)
        weights = _jaccard_steps(target.gather(-1, order))
        return (errors.relu() * weights).sum(dim=-1).mean()


def _jaccard_steps(target: torch.Tensor) -> torch.Tensor:
    """What 1 - Jaccard gains as each pixel of sorted masks (N, C, P) becomes wrong, after those before it.

    Written out, since differences of the index itself would be lost in rounding where a mask has a million pixels.
    """
    total = target.sum(dim=-1, keepdim=True)
    intersection = total - target.cumsum(dim=-1)
    union = total + (1 - target).cumsum(dim=-1)
    before = union - (1 - target)
    missed = 1 / union
    false = torch.where(before > 0, intersection / (union * before.clamp_min(1)), 1)
    return torch.where(target > 0, missed, false)
