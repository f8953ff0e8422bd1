"""A binary loss taken bone by bone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from handseg_monai.bones import NUM_BONES
from handseg_monai.losses.bone_weights import weights_of_bones


def strided(stride: int, shape: Sequence[int]) -> tuple[Any, slice, slice]:
    """Return the index of every ``stride``-th pixel of every ``stride``-th row of (..., H, W), from a drawn corner."""
    corner = torch.randint(stride, (2,)).tolist()
    y, x = (place % min(stride, side) for place, side in zip(corner, shape[-2:], strict=True))
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
        A loss of logits and target, both (N, 1, H, W), for example ``monai.losses.DiceCELoss(sigmoid=True)``. With
        ``bone_weights`` it must be a mean over N.
    stride
        Take the loss on every ``stride``-th pixel of every ``stride``-th row, from a corner that is drawn anew each
        time: on a CPU the loss over 29 channels costs as much as the network, and its expectation stays the same for
        the cross-entropy.
    bone_weights
        Weights by name for the mean over images and known bones, see :func:`weights_of_bones`; the others weigh 1.

    Logits of 16 bits are taken to 32 first: sums over a mask's pixels are beyond what they hold.
    """

    def __init__(self, loss: nn.Module, stride: int = 1, bone_weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride: expected at least 1, got {stride}")
        self.loss = loss
        self.stride = stride
        self.bone_weights = weights_of_bones(bone_weights)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss of logits (B, C, H, W) and target (B, C, H, W): a scalar if ``loss`` gives one.

        A target is 0 and 1, or NaN all over for an image and bone that is not known. 0 where none is known.

        Raises
        ------
        ValueError
            The shapes differ, or there are weights and not 29 channels.
        """
        if logits.shape != target.shape:
            raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} differ in shape")
        if self.bone_weights is not None and logits.shape[1] != NUM_BONES:
            raise ValueError(f"bone_weights need {NUM_BONES} channels, got logits {tuple(logits.shape)}")
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        if self.stride > 1:
            grid = strided(self.stride, logits.shape)
            logits, target = logits[grid], target[grid]
        images = len(logits)
        logits, target = logits.flatten(0, 1).unsqueeze(1), target.flatten(0, 1).unsqueeze(1)
        known = ~target[:, 0, 0, 0].isnan()
        if self.bone_weights is not None:
            return self._weighted(logits, target, known, logits.new_tensor(self.bone_weights).repeat(images))
        if not known.all():
            logits, target = logits[known], target[known]
            if not known.any():
                return logits.sum()
        return self.loss(logits, target)

    def _weighted(
        self, logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """Weighted mean, of losses that are means themselves: bones of one weight are taken together."""
        total, number = logits[:0].sum(), weights[known].sum()
        for weight in sorted({*(self.bone_weights or ())} - {0.0}):
            chosen = known & (weights == weights.new_tensor(weight))
            if chosen.any():
                total = total + weight * chosen.sum() / number * self.loss(logits[chosen], target[chosen])
        return total
