"""What dictionary transforms that change predicted bit planes have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform


class MapPlanesd(MapTransform):
    """Change the bit planes of an image by a function of NumPy arrays, :meth:`changed`.

    Parameters
    ----------
    keys
        Keys of bit planes, int32 (1, H, W), on any device. Items that carry ``failure`` pass unchanged.
    idle
        Whether nothing would change: planes pass as they are.
    shares
        Arguments that must be 0 to 1, by name.
    """

    def __init__(self, keys: KeysCollection, idle: bool, **shares: float) -> None:
        super().__init__(keys)
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {share}")
        self.idle = idle

    @abstractmethod
    def changed(self, planes: np.ndarray) -> np.ndarray:
        """Return the changed planes of int32 (H, W), which are left as they are."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        if "failure" in result or self.idle:
            return result
        for key in self.keys:
            planes = result[key]
            result[key] = torch.from_numpy(self.changed(planes[0].cpu().numpy()))[None].to(planes.device)
        return result
