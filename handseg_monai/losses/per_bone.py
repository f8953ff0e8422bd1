"""A binary loss taken bone by bone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from handseg_monai.bitplanes import unpack
from handseg_monai.bones import FLAT, NUM_BONES
from handseg_monai.data.labels.flat import hidden
from handseg_monai.losses.bone_weights import weights_of_bones

Target = tuple[torch.Tensor, torch.Tensor]
"""Bit planes, int32 (B, 1, H, W), and what is known of each image, int32 (B,), bit k set where bone k is labelled, and
the bit :data:`~handseg_monai.bones.FLAT` where the label holds no overlaps."""

_SURELY_NOT = -100.0
"""Logit of a pixel that is unknown: absent, as the mask has it, so that it adds nothing to any loss of masks."""


class PerBoneLoss(nn.Module):
    """Fold the bones into the batch axis, so that a loss sees each of them as a binary problem of its own.

    MONAI's ``DiceCELoss(sigmoid=True)`` takes a softmax cross-entropy across channels where there are several, which
    is wrong for bones that overlap; of one channel it takes the binary cross-entropy. Folded, (B, 29, H, W) ->
    (B·29, 1, H, W), it is Dice + binary cross-entropy per image and bone, each bone with equal weight.

    Bones that are not known in an image are left out: the loss is that of the known ones alone, and the gradient of the
    others is exactly 0.

    In a label without overlaps a pixel of one bone says nothing about another that may lie beneath it
    (:func:`~handseg_monai.data.labels.flat.hidden`). There the loss takes the other bone for absent and predicted as
    absent, whatever its logit, whose gradient is exactly 0. So the pixel counts in the number of pixels that a mean is
    taken over, and in nothing else.

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

    def forward(self, logits: torch.Tensor, target: Target) -> torch.Tensor:
        """Loss, a scalar; 0 where no bone is known.

        Parameters
        ----------
        logits
            (B, C, H, W), of the first C bones; all 29 with ``bone_weights``.
        target
            Bit planes, int32 (B, 1, H, W), and what is known of each image, int32 (B,).

        Raises
        ------
        TypeError
            The planes are not int32.
        ValueError
            The shapes don't fit each other, or there are weights and not 29 channels.
        """
        planes, known = target
        if planes.dtype != torch.int32:
            raise TypeError(f"planes: expected bit planes, int32, got {planes.dtype}")
        batch, bones, *sides = logits.shape
        if bones > NUM_BONES or planes.shape != (batch, 1, *sides) or known.shape != (batch,):
            raise ValueError(
                f"expected logits (B, {NUM_BONES}, H, W), planes (B, 1, H, W) and known (B,), got "
                f"{tuple(logits.shape)}, {tuple(planes.shape)} and {tuple(known.shape)}"
            )
        if self.bone_weights is not None and bones != NUM_BONES:
            raise ValueError(f"bone_weights need {NUM_BONES} channels, got logits {tuple(logits.shape)}")
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        if self.stride > 1:
            grid = strided(self.stride, logits.shape)
            logits, planes = logits[grid], planes[grid]
        if (unknown := hidden_masks(planes, known)) is not None:
            logits = torch.where(unknown[:, :bones], _SURELY_NOT, logits)
        of_known = bits_of(known)[:, :bones].flatten()
        masks = unpack(planes[:, 0])[:, :bones].to(logits.dtype).flatten(0, 1).unsqueeze(1)
        logits = logits.flatten(0, 1).unsqueeze(1)
        if not of_known.any():
            return logits.sum() * 0
        if self.bone_weights is not None:
            return self._weighted(logits, masks, of_known, logits.new_tensor(self.bone_weights).repeat(batch))
        if not of_known.all():
            logits, masks = logits[of_known], masks[of_known]
        return self.loss(logits, masks)

    def _weighted(
        self, logits: torch.Tensor, masks: torch.Tensor, known: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """Weighted mean, of losses that are means themselves: bones of one weight are taken together."""
        total, number = logits[:0].sum(), weights[known].sum()
        for weight in sorted({*(self.bone_weights or ())} - {0.0}):
            chosen = known & (weights == weights.new_tensor(weight))
            if chosen.any():
                total = total + weight * chosen.sum() / number * self.loss(logits[chosen], masks[chosen])
        return total


def bits_of(known: torch.Tensor) -> torch.Tensor:
    """Return which bones are known, bool (B, 29), of int32 (B,)."""
    return unpack(known[:, None, None])[..., 0, 0].bool()


def hidden_masks(planes: torch.Tensor, known: torch.Tensor) -> torch.Tensor | None:
    """Return where a bone may lie beneath another in flat labels, bool (B, 29, H, W); None if no label is flat."""
    flat = (known & FLAT).ne(0).tolist()
    if not any(flat):
        return None
    images = planes[:, 0]
    of_images = [hidden(image) if of_flat else image & 0 for image, of_flat in zip(images, flat, strict=True)]
    return unpack(torch.stack(of_images))


def strided(stride: int, shape: Sequence[int]) -> tuple[Any, slice, slice]:
    """Return the index of every ``stride``-th pixel of every ``stride``-th row of (..., H, W), from a drawn corner."""
    corner = torch.randint(stride, (2,)).tolist()
    y, x = (place % min(stride, side) for place, side in zip(corner, shape[-2:], strict=True))
    return ..., slice(y, None, stride), slice(x, None, stride)
