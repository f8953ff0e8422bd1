"""An inferer that runs the network in a lower precision, on CPU and CUDA alike."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer

from handseg_monai.bones import NUM_BONES
from handseg_monai.networks import heads_of


class AutocastInferer(Inferer):
    """Run another inferer under autocast and give its result as float32.

    MONAI's engines know autocast on CUDA only: with ``amp`` they train in float32 on a CPU. Wrapped so, the network
    runs in bfloat16 there and the loss stays in float32.

    Parameters
    ----------
    inferer
        The inferer that does the work.
    enabled
        Off: the network's own precision.
    dtype
        ``bfloat16`` or ``float16``.

    An empty image, (1, 1, 0, 0), stands for one that could not be read; the network doesn't see it.
    """

    def __init__(self, inferer: Inferer, enabled: bool = True, dtype: str = "bfloat16") -> None:
        super().__init__()
        if dtype not in ("bfloat16", "float16"):
            raise ValueError(f"expected dtype bfloat16 or float16, got {dtype!r}")
        self.inferer = inferer
        self.enabled = enabled
        self.dtype = getattr(torch, dtype)

    def __call__(
        self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any
    ) -> torch.Tensor | list[torch.Tensor]:
        """Logits, float32, of ``inputs`` (B, 1, H, W); a stack or a list where the network gives several heads."""
        if inputs.numel() == 0:
            return inputs.new_zeros((inputs.shape[0], NUM_BONES, *inputs.shape[2:]))
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=self.enabled):
            logits = self.inferer(inputs, network, *args, **kwargs)
        return logits.float() if isinstance(logits, torch.Tensor) else [head.float() for head in heads_of(logits)]
