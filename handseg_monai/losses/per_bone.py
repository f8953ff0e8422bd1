"""A binary loss taken bone by bone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def strided(stride: int) -> tuple[Any, slice, slice]:
    """Return the index of every ``stride``-th pixel of every ``stride``-th row, from a drawn corner."""
    y, x = (int(k) for k in torch.randint(stride, (2,)))
    return ..., slice(y, None, stride), slice(x, None, stride)


class PerBoneLoss(nn.Module):
    """Fold the bones into the batch axis, so that a loss sees each of them as a binary problem of its own.

    MONAI's ``DiceCELoss(sigmoid=True)`` takes a softmax cross-entropy across channels where there are several, which
    is wrong for bones that overlap; of one channel it takes the binary cross-entropy. Folded, (B, 29, H, W) ->
    (B·29, 1, H, W), it is Dice + binary cross-entropy per image and bone, each bone with equal weight.

    Bones that are not known in an image, whose target is NaN, are left out: the loss is that of the known ones alone,
    and the gradient of the others is exactly 0.

    Parameters
    ----------
    loss
        A loss of logits and target, both (N, 1, H, W), for example ``monai.losses.DiceCELoss(sigmoid=True)``.
    stride
        Take the loss on every ``stride``-th pixel of every ``stride``-th row, from a corner that is drawn anew each
        time: on a CPU the loss over 29 channels costs as much as the network, and its expectation stays the same for
        the cross-entropy.
    """

    def __init__(self, loss: nn.Module, stride: int = 1) -> None:
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride: expected at least 1, got {stride}")
        self.loss = loss
        self.stride = stride

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss of logits (B, C, H, W) and target (B, C, H, W): a scalar if ``loss`` gives one.

        A target is 0 and 1, or NaN all over for an image and bone that is not known. 0 where none is known.

        Raises
        ------
        ValueError
            The shapes differ.
        """
        if logits.shape != target.shape:
            raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} differ in shape")
        if self.stride > 1:
            grid = strided(self.stride)
            logits, target = logits[grid], target[grid]
        logits, target = logits.flatten(0, 1).unsqueeze(1), target.flatten(0, 1).unsqueeze(1)
        known = ~target[:, 0, 0, 0].isnan()
        if not known.all():
            logits, target = logits[known], target[known]
            if not known.any():
                return logits.sum()
        return self.loss(logits, target)
