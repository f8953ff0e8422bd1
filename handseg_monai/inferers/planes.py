"""An inferer that gives masks at each radiograph's own size, as bit planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from handseg_monai.inferers.coarse import coarse_probabilities
from handseg_monai.inferers.looks import Look, LookingInferer, planes_of_looks, whole_view
from handseg_monai.inferers.thresholds import Threshold, thresholds_of
from handseg_monai.inferers.windows import WindowsInferer

FAINT = 1e-4
"""Probability below which what a network saw may count as nothing in the mean of several."""


class PlanesInferer(Inferer):
    """Infer, and draw the masks of each image at its own size straight from what the network saw.

    Logits never exist at the image's size, but for one bone at a time and inside of its own box.

    Parameters
    ----------
    inferer
        :class:`~handseg_monai.inferers.HandInferer`; :class:`~handseg_monai.inferers.WindowsInferer`, which keeps
        logits near bones alone; or any inferer that returns logits (B, 29, h, w) of the whole image, as MONAI's do.
    threshold
        Of the probability, see :func:`~handseg_monai.inferers.thresholds_of`: a pixel belongs to a bone where it is
        above.
    enabled, dtype
        Autocast of the network, see :class:`~handseg_monai.inferers.AutocastInferer`.
    """

    def __init__(
        self, inferer: Inferer, threshold: Threshold = 0.5, enabled: bool = True, dtype: str = "bfloat16"
    ) -> None:
        super().__init__()
        if dtype not in ("bfloat16", "float16"):
            raise ValueError(f"expected dtype bfloat16 or float16, got {dtype!r}")
        self.inferer, self.enabled, self.dtype = inferer, enabled, getattr(torch, dtype)
        self.thresholds = thresholds_of(threshold)

    def __call__(
        self,
        inputs: torch.Tensor,
        network: Any,
        *args: Any,
        image_size: torch.Tensor,
        coarse_side: int | None = None,
        **kwargs: Any,
    ) -> torch.Tensor | dict[str, torch.Tensor]:
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
        coarse_side
            Long side of a grid on which the probabilities are wanted too. Then the result is a dictionary: ``planes``,
            and ``probabilities``, float32 (1, 29, h, w), of
            :func:`~handseg_monai.inferers.coarse.coarse_probabilities`.
        """
        if inputs.numel() == 0:
            none = inputs.new_zeros((len(inputs), 1, *inputs.shape[2:]), dtype=torch.int32)
            return none if coarse_side is None else {"planes": none, "probabilities": none.float()}
        if len(inputs) != 1:
            raise ValueError(f"expected one image at a time, as their sizes differ; got {len(inputs)}")
        shape = (inputs.shape[-2], inputs.shape[-1])
        height, width = (int(n) for n in image_size[0])
        # Below it nothing is drawn, nor counted for a probability.
        least = min(min(each) for each in self._drawn_at())
        if coarse_side is not None:
            least = min(least, FAINT)
        members = self.members(inputs, network, (height, width), least)
        drawn = [planes_of_looks(members, shape, (height, width), each) for each in self._drawn_at()]
        planes = torch.stack(drawn)[None]
        if coarse_side is None:
            return planes
        return {"planes": planes, "probabilities": coarse_probabilities(members, shape, coarse_side)[None]}

    def _drawn_at(self) -> Sequence[tuple[float, ...]]:
        return [self.thresholds]

    def members(self, inputs: torch.Tensor, network: Any, size: tuple[int, int], least: float) -> list[list[Look]]:
        """What each network, here the only one, saw in the one image of ``inputs``; see :meth:`looks`."""
        return [self.looks(inputs, network, size, least)]

    def looks(self, inputs: torch.Tensor, network: Any, size: tuple[int, int], least: float = FAINT) -> list[Look]:
        """What a network saw in the one image of ``inputs``, to draw at ``size`` where it is above a probability."""
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=self.enabled):
            if isinstance(self.inferer, WindowsInferer):
                # What an interpolated value may depend on, and one that is averaged first where the image is smaller.
                reach = 2 + math.ceil(2 * max(inputs.shape[-2] / size[0], inputs.shape[-1] / size[1]))
                return self.inferer.looks(inputs, network, math.log(least / (1 - least)), reach)[0]
            if isinstance(self.inferer, LookingInferer):
                return self.inferer.looks(inputs, network)[0]
            logits = self.inferer(inputs, network)[0].float()
        view, shape = (logits.shape[-2], logits.shape[-1]), (inputs.shape[-2], inputs.shape[-1])
        return [Look(whole_view(view, shape), logits)]


class SweepInferer(PlanesInferer):
    """Draw the masks of each image at T thresholds, each of all bones, to find the best ones: int32 (1, T, H, W).

    For the rest see :class:`PlanesInferer`.
    """

    def __init__(self, inferer: Inferer, sweep: Sequence[float], enabled: bool = True, dtype: str = "bfloat16") -> None:
        super().__init__(inferer, 0.5, enabled, dtype)
        self.sweep = [thresholds_of(threshold) for threshold in sweep]

    def _drawn_at(self) -> Sequence[tuple[float, ...]]:
        return self.sweep
