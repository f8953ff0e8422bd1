"""Dice + binary cross-entropy of each bone, straight from bit planes, a few bones at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import softplus

from handseg_monai.bitplanes import NUM_BONES
from handseg_monai.losses.bone_weights import weights_of_bones
from handseg_monai.losses.per_bone import strided

_ON_CUDA = 8
"""Bones that a GPU takes at once; a CPU takes one, which stays in its cache."""


class PlanesDiceCELoss(nn.Module):
    """Equal to :class:`PerBoneLoss` of MONAI's ``DiceCELoss(sigmoid=True)``, at a fraction of its memory and time.

    That one needs the 29 masks as floats, and as many probabilities, products and gradients beside them. Here each bone
    is unpacked, compared and forgotten, forward and backward; nothing of the size of the logits is kept but their
    gradient.

    Parameters
    ----------
    smooth_nr, smooth_dr
        Added to the numerator and denominator of the Dice, as in MONAI.
    lambda_dice, lambda_ce
        Weights of the two terms, as in MONAI.
    stride, bone_weights
        As :class:`PerBoneLoss` has them.
    """

    def __init__(
        self,
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        lambda_dice: float = 1.0,
        lambda_ce: float = 1.0,
        stride: int = 1,
        bone_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride: expected at least 1, got {stride}")
        self.stride = stride
        self.bone_weights = weights_of_bones(bone_weights)
        self.smooth_nr, self.smooth_dr = smooth_nr, smooth_dr
        self.lambda_dice, self.lambda_ce = lambda_dice, lambda_ce

    def forward(self, logits: torch.Tensor, target: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Loss, a float32 scalar; 0 where no bone is known.

        Parameters
        ----------
        logits
            (B, 29, H, W) in any float type.
        target
            Bit planes, int32 (B, 1, H, W), or these and what is known of each image, int32 (B,): a bone whose bit is
            not set there is left out of the loss, and its gradient is 0.

        Raises
        ------
        TypeError
            The planes are not int32.
        ValueError
            The shapes don't fit each other.
        """
        planes, known = target if isinstance(target, tuple) else (target, None)
        if planes.dtype != torch.int32:
            raise TypeError(f"planes: expected bit planes, int32, got {planes.dtype}")
        batch, bones, height, width = logits.shape
        if bones != NUM_BONES or planes.shape != (batch, 1, height, width):
            raise ValueError(
                f"expected logits (B, {NUM_BONES}, H, W) and planes (B, 1, H, W), got {tuple(logits.shape)} and "
                f"{tuple(planes.shape)}"
            )
        if self.stride > 1:
            grid = strided(self.stride, logits.shape)
            logits, planes = logits[grid], planes[grid]
        bits = torch.arange(NUM_BONES, device=logits.device)
        counted = torch.ones(batch, NUM_BONES, device=logits.device) if known is None else known[:, None] >> bits & 1
        counted = counted.float()
        if self.bone_weights is not None:
            counted = counted * counted.new_tensor(self.bone_weights)
        loss: torch.Tensor = _DiceCE.apply(
            logits, planes, counted, self.smooth_nr, self.smooth_dr, self.lambda_dice, self.lambda_ce
        )
        return loss


def _chunks(logits: torch.Tensor) -> list[slice]:
    step = _ON_CUDA if logits.is_cuda else 1
    return [slice(start, min(start + step, NUM_BONES)) for start in range(0, NUM_BONES, step)]


def _masks(planes: torch.Tensor, bones: slice) -> torch.Tensor:
    """Return the masks (bones, H, W), float32, of planes (1, H, W)."""
    bits = 1 << torch.arange(bones.start, bones.stop, dtype=torch.int32, device=planes.device)
    return (planes & bits[:, None, None]).ne(0).float()


class _DiceCE(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        planes: torch.Tensor,
        counted: torch.Tensor,
        smooth_nr: float,
        smooth_dr: float,
        lambda_dice: float,
        lambda_ce: float,
    ) -> torch.Tensor:
        batch, bones = logits.shape[:2]
        # Per image and bone: the Dice's numerator and denominator.
        above = torch.empty(batch, bones, device=logits.device)
        below, entropy = torch.empty_like(above), torch.empty_like(above)
        for image in range(batch):
            for chunk in _chunks(logits):
                x, mask = logits[image, chunk].float().flatten(1), _masks(planes[image], chunk).flatten(1)
                probability = x.sigmoid()
                above[image, chunk] = 2 * torch.linalg.vecdot(probability, mask) + smooth_nr
                below[image, chunk] = probability.sum(dim=1) + mask.sum(dim=1) + smooth_dr
                entropy[image, chunk] = softplus(x).sum(dim=1) - torch.linalg.vecdot(x, mask)
        ctx.save_for_backward(logits, planes, counted, above, below)
        number = counted.sum()
        number = torch.where(number > 0, number, 1)
        ctx.weights = lambda_dice / number, lambda_ce / (number * logits.shape[-2] * logits.shape[-1])
        return (counted * (ctx.weights[0] * (1 - above / below) + ctx.weights[1] * entropy)).sum()

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        logits, planes, counted, above, below = ctx.saved_tensors
        dice, entropy = (weight * upstream[0] * counted for weight in ctx.weights)
        # Slope of the Dice term by a probability: `even` everywhere, and `there` on top where the bone is.
        even, there = dice * above / below.square(), -2 * dice / below
        gradient = torch.empty_like(logits)
        for image in range(len(logits)):
            for chunk in _chunks(logits):
                x, mask = logits[image, chunk].float(), _masks(planes[image], chunk)
                probability = x.sigmoid()
                slope = torch.addcmul(even[image, chunk, None, None], there[image, chunk, None, None], mask)
                slope.mul_(torch.addcmul(probability, probability, probability, value=-1))
                gradient[image, chunk] = slope.addcmul_(probability.sub_(mask), entropy[image, chunk, None, None])
        return gradient, None, None, None, None, None, None
