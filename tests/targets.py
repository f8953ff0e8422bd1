"""Targets of losses as batches hold them, from masks in which NaN says that nobody has labelled the bone."""

from __future__ import annotations

import torch

from handseg_monai.bitplanes import pack
from handseg_monai.bones import ALL_KNOWN, NUM_BONES


def packed(masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return bit planes, int32 (B, 1, H, W), and what is known, int32 (B,), of masks (B, C, H, W), C up to 29."""
    unknown = masks[..., 0, 0].isnan()
    full = masks.new_zeros(len(masks), NUM_BONES, *masks.shape[2:])
    full[:, : masks.shape[1]] = masks.nan_to_num()
    known = [ALL_KNOWN - sum(1 << k for k in row.nonzero()[:, 0].tolist()) for row in unknown]
    return pack(full.bool())[:, None], torch.tensor(known, dtype=torch.int32)
