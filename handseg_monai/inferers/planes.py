"""An inferer that gives masks at each radiograph's own size, as bit planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from monai.inferers import Inferer

from handseg_monai.bones import NUM_BONES
from handseg_monai.inferers.looks import Look, planes_of_looks, whole_view


class Looking(Protocol):
    """An inferer that tells what the network saw, and where: :class:`~handseg_monai.inferers.HandInferer`."""

    def looks(self, inputs: torch.Tensor, network: Any) -> list[list[Look]]:
        """Looks at each of ``inputs``."""
        ...


class PlanesInferer(Inferer):
    """Infer, and draw the masks of each image at its own size straight from what the network saw.

    Logits never exist at the image's size, but for one bone at a time and inside of its own box.

    Parameters
    ----------
    inferer
        :class:`~handseg_monai.inferers.HandInferer`, or any inferer that returns logits (B, 29, h, w) of the whole
        image, as MONAI's do.
    threshold
        Of the probability, one for all bones or 29: a pixel belongs to a bone where it is above.
    enabled, dtype
        Autocast of the network, see :class:`~handseg_monai.inferers.AutocastInferer`.
    """

    def __init__(
        self,
        inferer: Inferer | Looking,
        threshold: float | Sequence[float] = 0.5,
        enabled: bool = True,
        dtype: str = "bfloat16",
    ) -> None:
        super().__init__()
        if dtype not in ("bfloat16", "float16"):
            raise ValueError(f"expected dtype bfloat16 or float16, got {dtype!r}")
        self.inferer, self.enabled, self.dtype = inferer, enabled, getattr(torch, dtype)
        self.thresholds = thresholds_of(threshold)

    def __call__(
        self, inputs: torch.Tensor, network: Any, *args: Any, image_size: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        """Bit planes, int32 (1, 1, H, W).

        Parameters
        ----------
        inputs
            float32 (1, 1, h, w), grey values in [0, 1]. An empty image, (1, 1, 0, 0), stands for one that could not
            be read; the network doesn't see it.
        network
            What to infer with.
        image_size
            int64 (1, 2): height and width of the radiograph, H and W.
        """
        if inputs.numel() == 0:
            return inputs.new_zeros((len(inputs), 1, *inputs.shape[2:]), dtype=torch.int32)
        if len(inputs) != 1:
            raise ValueError(f"expected one image at a time, as their sizes differ; got {len(inputs)}")
        shape = (inputs.shape[-2], inputs.shape[-1])
        height, width = (int(n) for n in image_size[0])
        return planes_of_looks(self.members(inputs, network), shape, (height, width), self.thresholds)[None, None]

    def members(self, inputs: torch.Tensor, network: Any) -> list[list[Look]]:
        """What each network of an ensemble saw, here the only one, in the one image of ``inputs``."""
        return [self.looks(inputs, network)]

    def looks(self, inputs: torch.Tensor, network: Any) -> list[Look]:
        """What a network saw in the one image of ``inputs``."""
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=self.enabled):
            if not isinstance(self.inferer, Inferer) or hasattr(self.inferer, "looks"):
                return self.inferer.looks(inputs, network)[0]
            logits = self.inferer(inputs, network)[0].float()
        view, shape = (logits.shape[-2], logits.shape[-1]), (inputs.shape[-2], inputs.shape[-1])
        return [Look(whole_view(view, shape), logits)]


def thresholds_of(threshold: float | Sequence[float]) -> tuple[float, ...]:
    """Return the threshold of each bone.

    Raises
    ------
    ValueError
        Not one or 29, or one that is no probability strictly between 0 and 1.
    """
    values = tuple(float(t) for t in threshold) if isinstance(threshold, Sequence) else (float(threshold),) * NUM_BONES
    if len(values) != NUM_BONES:
        raise ValueError(f"expected one threshold or {NUM_BONES}, got {len(values)}")
    if wrong := [value for value in values if not 0 < value < 1]:
        raise ValueError(f"expected a threshold between 0 and 1, got {wrong[0]:g}")
    return values
