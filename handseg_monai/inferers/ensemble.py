"""An inferer for several networks: the mean of their probabilities, image by image."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch.nn.functional import interpolate

from handseg_monai.inferers.hand import HandInferer
from handseg_monai.inferers.looks import Look, moved
from handseg_monai.inferers.planes import FAINT, PlanesInferer
from handseg_monai.inferers.thresholds import Threshold
from handseg_monai.inferers.windows import WindowsInferer
from handseg_monai.options import Hands, Invert
from handseg_monai.transforms import fitted_shape


class Viewer(Protocol):
    """How a network sees its images: see :class:`handseg_monai.checkpoints.Checkpoint`."""

    @property
    def views(self) -> str:
        """``"hand"`` or ``"image"``."""
        ...

    @property
    def size(self) -> int | None:
        """Long side of the whole image in pixels, with views of it."""
        ...

    @property
    def window(self) -> int:
        """Side of the network's input in pixels."""
        ...


class EnsembleInferer(PlanesInferer):
    """Infer with several networks, each as it was trained, and draw the masks of their mean probability.

    Nothing of one image is kept once its masks are drawn, and what the networks saw is averaged bone by bone: an
    ensemble takes one pass over the data, and no disk.

    Parameters
    ----------
    viewers
        How each of the networks sees its images.
    hand_inferer, window_inferer
        What those see through that see hands, or windows of the whole image; each at its own window.
    threshold, enabled, dtype, invert, hands
        See :class:`PlanesInferer`.
    """

    def __init__(
        self,
        viewers: Sequence[Viewer],
        hand_inferer: HandInferer,
        window_inferer: WindowsInferer,
        threshold: Threshold = 0.5,
        enabled: bool = True,
        dtype: str = "bfloat16",
        invert: Invert = "auto",
        hands: Hands = "one",
    ) -> None:
        super().__init__(hand_inferer, threshold, enabled, dtype, invert, hands)
        self._viewers = [
            (viewer, PlanesInferer(_at_window(viewer, hand_inferer, window_inferer), threshold, enabled, dtype))
            for viewer in viewers
        ]

    def members(self, inputs: torch.Tensor, network: Any, size: tuple[int, int], least: float) -> list[list[Look]]:
        """What each of the networks saw in the one image of ``inputs``, (1, 1, h, w); ``network`` lists them."""
        networks: Iterable[Any] = network
        # The others may be sure of what one finds faint.
        least = min(least, FAINT)
        return [
            _seen(inputs, one, viewer, inferer, size, least)
            for one, (viewer, inferer) in zip(networks, self._viewers, strict=True)
        ]

    def with_arms(self, inputs: torch.Tensor, network: Any, members: Sequence[Sequence[Look]]) -> list[list[Look]]:
        """What each of the networks saw of one hand of two, and a look at hand and forearm of those that see hands."""
        networks: Iterable[Any] = network
        return [
            inferer.with_arm(inputs, one, looks)
            for one, looks, (_, inferer) in zip(networks, members, self._viewers, strict=True)
        ]


def _at_window(
    viewer: Viewer, hand_inferer: HandInferer, window_inferer: WindowsInferer
) -> HandInferer | WindowsInferer:
    if viewer.views == "hand":
        hand = copy.copy(hand_inferer)
        hand.window = viewer.window
        return hand
    windows = copy.copy(window_inferer)
    windows.roi_size = (viewer.window, viewer.window)
    return windows


def _seen(
    inputs: torch.Tensor, network: Any, viewer: Viewer, inferer: PlanesInferer, size: tuple[int, int], least: float
) -> list[Look]:
    shape = (inputs.shape[-2], inputs.shape[-1])
    own = fitted_shape(shape, viewer.size) if viewer.views == "image" else shape
    if own == shape:
        return inferer.looks(inputs, network, size, least)
    image = interpolate(inputs, own, mode="bilinear", antialias=True, align_corners=False)
    return [moved(look, own, shape) for look in inferer.looks(image, network, size, least)]
