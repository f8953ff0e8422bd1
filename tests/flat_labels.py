"""Labels that lost their overlaps, as label maps and flattened masks do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from handseg_monai.bones import NAMES, NUM_BONES
from tests.faults import images_of, label_of

UP, DOWN = tuple(range(NUM_BONES)), tuple(reversed(range(NUM_BONES)))
"""Orders of drawing: a later bone hides an earlier one."""


def flattened(planes: np.ndarray, order: Iterable[int] = UP) -> np.ndarray:
    """Bit planes of which each pixel keeps the bone that was drawn last."""
    flat = np.zeros_like(planes)
    for k in order:
        flat[(planes >> k) & 1 > 0] = 1 << k
    return flat


def label_map(planes: np.ndarray, order: Iterable[int] = UP) -> np.ndarray:
    """uint8 (H, W): 1 + index of the bone that was drawn last, 0 for none."""
    flat = flattened(planes, order)
    return np.where(flat > 0, np.round(np.log2(np.maximum(flat, 1))) + 1, 0).astype(np.uint8)


def flatten_labels(root: Path, order: Iterable[int] = UP) -> None:
    """Replace the JSON labels of a dataset in the competition's layout by the outlines of their label maps."""
    for image in images_of(root):
        label = label_of(image)
        planes = np.zeros(cv2.imread(str(image), cv2.IMREAD_GRAYSCALE).shape, np.int32)
        content = json.loads(label.read_text())
        for annotation in content["annotations"]:
            mask = np.zeros(planes.shape, np.uint8)
            cv2.fillPoly(mask, [np.array(annotation["points"], np.int32)], 1)
            planes |= mask.astype(np.int32) << NAMES.index(annotation["label"])
        classes = label_map(planes, order)
        content["annotations"] = [
            {**content["annotations"][0], "label": name, "points": contour[:, 0].tolist()}
            for k, name in enumerate(NAMES)
            for contour in cv2.findContours(
                (classes == k + 1).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )[0]
            if len(contour) > 2
        ]
        label.write_text(json.dumps(content))
