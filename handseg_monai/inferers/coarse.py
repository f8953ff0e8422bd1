"""What networks saw in an image, as probabilities on a coarse grid: for curves and confidences, not for masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from handseg_monai.bones import NUM_BONES
from handseg_monai.inferers.looks import Look, probabilities_of_looks
from handseg_monai.transforms import fitted_shape

FAINT = 0.01
"""Probability that counts as none where no other one near it is larger."""


def coarse_probabilities(members: Sequence[Sequence[Look]], shape: tuple[int, int], long_side: int) -> torch.Tensor:
    """Return each bone's mean probability over the networks of an ensemble, or the only one: float32 (29, h, w).

    Where none of them comes to :data:`FAINT` near a bone, it is 0. For ``members`` and ``shape`` see
    :func:`~handseg_monai.inferers.looks.planes_of_looks`.
    """
    return probabilities_of_looks(members, shape, fitted_shape(shape, long_side), FAINT)


def coarse_masks(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return the bits of bit planes, int (H, W), at the middles of a grid's pixels: boolean (29, h, w)."""
    rows, columns = (
        ((torch.arange(count, device=planes.device) + 0.5) * (pixels / count)).long()
        for pixels, count in zip(planes.shape, size, strict=True)
    )
    bits = torch.tensor([1 << bone for bone in range(NUM_BONES)], dtype=torch.int32, device=planes.device)
    return planes[rows[:, None], columns].int() & bits[:, None, None] != 0


def confidences(probabilities: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """Say how sure the networks were of the masks that were made of what they saw: float32 (29,), 0 to 1.

    Of a bone with a mask m and probabilities p it is the Dice that is to be expected if p are right,
    ``2 sum(p m) / (sum(p) + sum(m))``; of one without a mask ``1 - max(p)``. The probabilities are those of
    :func:`coarse_probabilities`, the masks bit planes, int32 (H, W), at any size.
    """
    masks = coarse_masks(planes, (probabilities.shape[-2], probabilities.shape[-1])).float()
    inside, mass, area = (probabilities * masks).sum((1, 2)), probabilities.sum((1, 2)), masks.sum((1, 2))
    return torch.where(area > 0, 2 * inside / (mass + area), 1 - probabilities.amax((1, 2)))
