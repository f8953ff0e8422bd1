"""Dictionary transform that turns a network's logits into bit planes at the radiograph's own size."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch.nn.functional import interpolate

from handseg_monai.bones import NUM_BONES


def logits_to_planes(logits: torch.Tensor, size: tuple[int, int], threshold: float = 0.5) -> torch.Tensor:
    """Bring logits to ``size`` and threshold their sigmoid, bone by bone.

    Parameters
    ----------
    logits
        float (29, H, W), on any device.
    size
        (height, width) of the result.
    threshold
        Of the probability; a pixel belongs to a bone where it is above.

    Returns
    -------
    planes
        int32, ``size``, on the device of the logits. Interpolation is bilinear, pixel centres aligned. The sigmoid is
        monotonic, so that the logits are compared with the threshold's logit instead.
    """
    limit = math.log(threshold / (1 - threshold))
    planes = torch.zeros(size, dtype=torch.int32, device=logits.device)
    for bone in range(NUM_BONES):
        channel = logits[None, None, bone].float()
        if channel.shape[-2:] != size:
            channel = interpolate(channel, size, mode="bilinear", align_corners=False)
        planes |= (channel[0, 0] > limit).to(torch.int32) << bone
    return planes


class LogitsToPlanesd(MapTransform):
    """Turn logits into bit planes at the radiograph's own size.

    Parameters
    ----------
    keys
        Keys of logits, float (29, H, W). The result is int32 (1, H, W) at ``image_size``.
    threshold
        See :func:`logits_to_planes`.

    Items that carry ``failure`` pass unchanged.
    """

    def __init__(self, keys: KeysCollection, threshold: float = 0.5) -> None:
        super().__init__(keys)
        if not 0 < threshold < 1:
            raise ValueError(f"expected a threshold between 0 and 1, got {threshold}")
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        if "failure" in result:
            return result
        height, width = (int(n) for n in result["image_size"])
        for key in self.keys:
            result[key] = logits_to_planes(result[key], (height, width), self.threshold)[None]
        return result
