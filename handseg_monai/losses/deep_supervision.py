"""Deep supervision for networks that return their heads as a list, a dictionary or one stack."""

from __future__ import annotations

from collections.abc import Sequence

import monai.losses
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from handseg_monai.bitplanes import unpack
from handseg_monai.losses.per_bone import Target, bits_of, hidden_masks
from handseg_monai.networks import heads_of
from handseg_monai.networks.heads import Output


class DeepSupervisionLoss(monai.losses.DeepSupervisionLoss):
    """MONAI's ``DeepSupervisionLoss`` for every form in which networks return their heads (:func:`heads_of`).

    A smaller head sees the bit planes at the nearest pixels. A head of one pixel says for each bone whether it is
    there, as the classification-guided module of UNet 3+ does: whatever the loss, its own is the binary cross-entropy
    with that, over the bones that are known, and its weight is 1.
    """

    def forward(self, input: Output | None, target: Target) -> torch.Tensor:  # type: ignore[override]
        """Weighted sum of the heads' losses, with the target of :class:`~handseg_monai.losses.PerBoneLoss`.

        Logits are those of one head (B, 29, H, W), a list or dictionary of them, or a stack (B, heads, 29, H, W).
        """
        if input is None:
            raise ValueError("expected logits, got none")
        heads = heads_of(input)
        masks = [head for head in heads if head.shape[-2:] != (1, 1)] or heads[:1]
        losses = [
            weight * self.get_loss(head, target)
            for weight, head in zip(self.get_weights(len(masks)), masks, strict=True)
        ]
        weights = getattr(self.loss, "bone_weights", None)
        losses += [presence_loss(head.float(), target, weights) for head in heads[len(masks) :]]
        return torch.stack(losses).sum()

    def get_loss(self, input: torch.Tensor, target: Target) -> torch.Tensor:  # type: ignore[override]
        """Loss of one head."""
        planes, known = target
        if input.shape[-2:] != planes.shape[-2:]:
            down, across = (
                ((torch.arange(n, device=planes.device) + 0.5) * m / n).long()
                for n, m in zip(input.shape[-2:], planes.shape[-2:], strict=True)
            )
            planes = planes[..., down[:, None], across]
        return self.loss(input, (planes, known))


def presence_loss(logits: torch.Tensor, target: Target, weights: Sequence[float] | None = None) -> torch.Tensor:
    """Binary cross-entropy of logits (B, 29, 1, 1) with whether each bone is there; of known ones alone, 0 of none.

    A bone that a flat label lacks, and which may lie beneath another, is not known. ``weights`` are 29, how far each
    bone counts; None: all alike.
    """
    planes, images_known = target
    there = unpack(planes[:, 0]).flatten(2).any(2)
    known = bits_of(images_known)
    if (unknown := hidden_masks(planes, images_known)) is not None:
        known = known & (there | ~unknown.flatten(2).any(2))
    losses = binary_cross_entropy_with_logits(logits.flatten(1), there.to(logits.dtype), reduction="none")
    counts = known.to(losses.dtype) * (1 if weights is None else losses.new_tensor(weights))
    return (losses * counts).sum() / torch.where(counts.sum() > 0, counts.sum(), 1)
