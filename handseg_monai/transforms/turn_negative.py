"""Dictionary transform that turns a radiograph whose bones are dark into one whose bones are bright."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from handseg_monai.data.polarity import NEGATIVE, bone_brightness
from handseg_monai.options import Invert


class TurnNegatived(MapTransform):
    """Turn a labelled radiograph's grey values round where its bones are dark, so that training sees bright bones.

    Parameters
    ----------
    keys
        Keys of images, float32 (1, H, W), grey values in [0, 1].
    label_key
        Key of the bit planes, int32 (1, H, W).
    invert
        ``"yes"``, ``"no"``, or ``"auto"``: where the labels lie on what is darker than its surroundings
        (:func:`~handseg_monai.data.polarity.bone_brightness`).
    """

    def __init__(self, keys: KeysCollection, label_key: str, invert: Invert = "auto") -> None:
        super().__init__(keys)
        self.label_key = label_key
        self.invert = invert

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.keys:
            if self.invert == "yes" or (self.invert == "auto" and self._is_negative(result[key], result)):
                result[key] = 1 - result[key]
        return result

    def _is_negative(self, image: Any, data: Mapping[Hashable, Any]) -> bool:
        return bone_brightness(image[0].numpy(), data[self.label_key][0].numpy()) < NEGATIVE
