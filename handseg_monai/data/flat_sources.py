"""Datasets whose labels hold no overlaps: found out, and marked in what is known of each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from handseg_monai.bones import ALL_KNOWN, FLAT
from handseg_monai.data.items import Item, LabelError
from handseg_monai.data.labels.flat import is_flat
from handseg_monai.data.layouts import read_truth
from handseg_monai.data.reading.images import UnreadableImageError, image_size


def mark_flat(items: Sequence[Item]) -> tuple[list[Item], bool]:
    """Mark the items of a source as flat (:data:`~handseg_monai.bones.FLAT`) if no bones overlap in its labels.

    Returns the items, and whether they are flat. Reads the labels, in the layout of the competition or converted, as
    far as it must; a conversion has the mark already where it is flat. Passes over what it can't read, which others
    report.
    """
    flat = bool(items) and all(item.get("known", 0) & FLAT for item in items)
    if not flat and is_flat(_labels(items), len(items)):
        items = [Item(**{**item, "known": item.get("known", ALL_KNOWN) | FLAT}) for item in items]
        flat = True
    return list(items), flat


def _labels(items: Sequence[Item]) -> Iterator[np.ndarray]:
    for item in items:
        try:
            yield read_truth(item["label"], image_size(item["image"]))
        except (LabelError, UnreadableImageError):
            continue
