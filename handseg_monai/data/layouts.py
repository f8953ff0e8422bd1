"""A labelled dataset on disk, in the competition's layout or converted (``handseg convert``), read alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from handseg_monai.bitplanes import rasterise, reduce
from handseg_monai.data.items import Item
from handseg_monai.data.label_fit import misplaced
from handseg_monai.data.labels.competition import find_splits, labelled_items, read_checked
from handseg_monai.data.labels.converted import DATALIST, converted_items, read_planes
from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.patients import say_parted, united


def is_converted(folder: str | Path) -> bool:
    """Whether a folder holds the datalist of ``handseg convert``."""
    return Path(folder, DATALIST).is_file()


def dataset_splits(dataset_dir: str | Path) -> dict[str, Path]:
    """Find the splits of a dataset; one that was converted is a single split, the folder itself."""
    root = Path(dataset_dir)
    return {root.name: root} if is_converted(root) else find_splits(root)


def training_split(dataset_dir: str | Path) -> Path | None:
    """Find the split that training takes; None where there is none."""
    root = Path(dataset_dir)
    if is_converted(root) or (root / "DCM").is_dir():
        return root
    return find_splits(root).get("train")


def items_of_split(split: str | Path, excluded: Collection[Path] = ()) -> tuple[list[Item], list[str]]:
    """List the labelled images of a split but those of `excluded`, and faults of its files, of either layout.

    Of the competition's layout subjects who are one patient by DICOM are one; of a converted one that is said.

    Raises as :func:`~handseg_monai.data.labels.converted.converted_items`.
    """
    if not is_converted(split):
        items, faults = labelled_items(split, excluded)
        subjects = united([item["subject"] for item in items], [Path(item["image"]) for item in items])
        return [Item(**{**item, "subject": of}) for item, of in zip(items, subjects, strict=True)], faults
    items, faults = converted_items(split)
    kept = [item for item in items if Path(item["image"]) not in excluded]
    say_parted({Path(item["image"]): item["subject"] for item in kept})
    return kept, faults


def check_label(label: str | Path, shape: tuple[int, int]) -> bool:
    """Whether a label holds any bone; checked, and refused, as by :func:`read_truth`, without filling polygons."""
    if Path(label).suffix != ".npz":
        return bool(_polygons(label, shape))
    return bool(read_planes(label, shape).any())


def elsewhere_on(image: str | Path, label: str | Path, shape: tuple[int, int], max_pixels: int = MAX_PIXELS) -> str:
    """Say that outlines lie on the bones of their image, of ``shape``, only once they are turned or scaled.

    As :func:`~handseg_monai.data.label_fit.misplaced`; bit planes were looked at when they were converted.
    """
    if Path(label).suffix == ".npz":
        return ""
    text = misplaced(Path(image), read_truth(label, shape), max_pixels=max_pixels)
    return f"{label}: {text}" if text else ""


def read_truth(label: str | Path, shape: tuple[int, int], size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a label of either layout into bit planes, int32 (H, W).

    :class:`LabelError` where the file can't be read, or breaks its contract.

    Parameters
    ----------
    label
        Polygons of the competition (``.json``), or bit planes (``.npz``).
    shape
        (height, width) of the image that it belongs to.
    size
        (height, width) of the result, ``shape`` if None; for what belongs to a pixel there see
        :func:`handseg_monai.bitplanes.rasterise`.
    """
    if Path(label).suffix != ".npz":
        return rasterise(_polygons(label, shape), shape, size)
    planes = read_planes(label, shape)
    return planes if size is None or size == shape else reduce(planes, size)


def _polygons(label: str | Path, shape: tuple[int, int]) -> Sequence[tuple[int, np.ndarray]]:
    """Polygons of a label, which is parsed once for being checked and for being drawn."""
    path = Path(label)
    return _parsed(path, path.stat().st_mtime_ns, shape) if path.is_file() else read_checked(path, shape)


@lru_cache(maxsize=4096)
def _parsed(path: Path, changed: int, shape: tuple[int, int]) -> Sequence[tuple[int, np.ndarray]]:
    return tuple(read_checked(path, shape))
