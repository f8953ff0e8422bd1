"""Datalists of a bundle run, and what is checked of them before it begins."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from handseg_monai.data.exclude import ExcludeError, excluding
from handseg_monai.data.flat_sources import mark_flat
from handseg_monai.data.folds import split_items
from handseg_monai.data.items import Item, LabelError
from handseg_monai.data.label_fit import TELLING
from handseg_monai.data.labels.converted import DATALIST
from handseg_monai.data.labels.flat import FLAT_SOURCE
from handseg_monai.data.layouts import check_label, elsewhere_on, is_converted, items_of_split, training_split
from handseg_monai.data.pseudo_labels import with_pseudo_labels
from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.images import (
    IMAGE_SUFFIXES,
    UnreadableImageError,
    checked_size,
    find_images,
    require_readers,
)
from handseg_monai.data.reading.orientation import UPRIGHT, orientation
from handseg_monai.files import find_files, nfc
from handseg_monai.words import counted

logger = logging.getLogger(__name__)

_UNREADABLE = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that a name in a CSV can't hold, or that a terminal obeys."""


class DatasetError(ValueError):
    """A dataset that a run can't begin with. The message says what was looked for and where."""


def inference_datalist(dataset_dir: str | Path, relative_names: bool = False) -> list[Item]:
    """List the radiographs below a folder, or one file.

    With ``relative_names`` they are named by their path relative to ``dataset_dir`` rather than by base name.

    Raises
    ------
    DatasetError
        No such folder, no images in it, two images of one name (both are named), or DICOM where pydicom is missing.
    """
    root = Path(str(dataset_dir))
    if not root.exists():
        raise DatasetError(f"no such folder: {root} (--dataset_dir, looked for radiographs)")
    images = find_images(root)
    if not images:
        raise DatasetError(f"no images in {root} or below; looked for {', '.join(IMAGE_SUFFIXES)}")
    try:
        require_readers(images)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    paths: dict[str, Path] = {}
    items = []
    for image in images:
        name = image.relative_to(root).as_posix() if relative_names and image != root else image.name
        if (other := paths.setdefault(nfc(name), image)) is not image:
            advice = "give --relative_names (in inference: --relative_names true)"
            raise DatasetError(f"two images of the name {name}: {other} and {image}; {advice}")
        require_name(name, image)
        items.append(Item(image=str(image), name=name))
    return items


def require_name(name: str, path: str | Path) -> None:
    """Raise :class:`DatasetError` where a submission can't hold the name of an image, which lies at ``path``."""
    if _UNREADABLE.search(name):
        raise DatasetError(f"{str(path)!a}: a CSV can't hold this name; expected UTF-8, no control characters")


def training_datalist(
    dataset_dir: str | Path,
    fold: int = 0,
    num_folds: int = 5,
    seed: int = 0,
    folds_file: str | Path | None = None,
    exclude: str | Path | None = None,
    pseudo_labels: str | Path | None = None,
    *,
    verify: bool = False,
    world_size: int = 1,
    max_pixels: int = MAX_PIXELS,
) -> dict[str, list[Item]]:
    """List a dataset's labelled radiographs as ``training`` and ``validation``; for the rest see :func:`split_items`.

    Images that ``exclude`` lists (:func:`~handseg_monai.data.exclude.read_exclude`) are left out of both; their number
    is logged. A source without overlaps is marked (:func:`~handseg_monai.data.flat_sources.mark_flat`), and logged too.
    Those of ``pseudo_labels``, a converted data set, are added to ``training``
    (:func:`~handseg_monai.data.pseudo_labels.with_pseudo_labels`). With ``verify`` every image is
    found whole first, of at most ``max_pixels`` pixels, and every label to keep the contract.

    Raises
    ------
    DatasetError
        No such folder, no labelled images in it, a list of images to leave out that does not fit it, folds that can't
        be made, pseudo-labels that don't fit, or fewer images than ranks (``world_size``). With ``verify`` it names all
        faults of all files, a line each.
    """
    faults: list[str] = []

    def labelled(folder: str | Path, left_out: str | Path | None = None) -> list[Item]:
        items, found = _labelled(folder, left_out)
        faults.extend(found + (check_items(items, max_pixels) if verify else []))
        return items

    items = labelled(dataset_dir, exclude)
    pseudo = labelled(pseudo_labels) if pseudo_labels else []
    if faults:
        summary = [f"{dataset_dir}: {counted(len(faults), 'fault')}, training does not begin:"] if verify else []
        raise DatasetError("\n".join(summary + faults))
    try:
        training, validation = split_items(items, fold, num_folds, seed, folds_file)
        if pseudo:
            training = with_pseudo_labels(training, validation, pseudo)
    except ValueError as error:
        raise DatasetError(f"{dataset_dir}: {error}") from error
    if exclude:
        split = Path(str(training_split(dataset_dir)))
        listed = [p for p in excluding(exclude, dataset_dir) if is_converted(split) or p.is_relative_to(split / "DCM")]
        message = "%s: %s left out, %d of training and validation remain"
        logger.info(message, exclude, counted(len(listed), "image"), len(items))
    lists = {"training": training, "validation": validation}
    for name, data in lists.items():
        if len(data) < world_size:
            raise DatasetError(
                f"{dataset_dir}: {counted(len(data), f'{name} image')} for {world_size} ranks; expected one each"
            )
    return lists


def phantom_datalist(dataset_dir: str | Path, held_out: float = 0.03) -> dict[str, list[Item]]:
    """List phantoms before exposure (``handseg phantom --components``) as ``training`` and ``validation``.

    ``dataset_dir`` holds ``<subject>_<side>.npz``, or several folders of them, say adults and children. Of each folder
    the last subjects validate, the share ``held_out`` of them and at least one.

    Raises
    ------
    DatasetError
        No such folder, or fewer than two subjects in one.
    """
    root = Path(str(dataset_dir))
    folders: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in find_files(root, ".npz") if root.is_dir() else []:
        folders[path.parent].append(path)
    lists: dict[str, list[Item]] = {"training": [], "validation": []}
    for folder, paths in (folders or {root: []}).items():
        subject = {path: path.stem.rpartition("_")[0] for path in paths}
        subjects = sorted(set(subject.values()))
        if len(subjects) < 2:
            raise DatasetError(
                f"{folder} holds phantoms of {counted(len(subjects), 'subject')}, expected two or more; "
                f"make them with: handseg phantom {folder} --subjects 1000 --components"
            )
        last = set(subjects[-max(1, round(held_out * len(subjects))) :])
        for path in paths:
            item = Item(image=str(path), name=path.relative_to(root).with_suffix("").as_posix())
            lists["validation" if subject[path] in last else "training"].append(item)
    return lists


def _labelled(dataset_dir: str | Path, exclude: str | Path | None = None) -> tuple[list[Item], list[str]]:
    root = Path(str(dataset_dir))
    if not root.is_dir():
        raise DatasetError(f"no such folder: {root} (--dataset_dir, looked for train/DCM and train/outputs_json)")
    split = training_split(root)
    if split is None:
        raise DatasetError(
            f"no labelled radiographs in {root}: looked for {root}/train/DCM, {root}/DCM and {root}/{DATALIST}, "
            "which handseg convert makes of labels in other forms"
        )
    if not is_converted(split) and not (split / "outputs_json").is_dir():
        raise DatasetError(f"no labels in {split}: looked for {split}/outputs_json")
    try:
        excluded = excluding(exclude, root)
        items, faults = items_of_split(split, excluded)
    except (ExcludeError, LabelError) as error:
        raise DatasetError(str(error)) from error
    if not items and not faults and excluded:
        raise DatasetError(f"no images left in {split}: {exclude} leaves out all of them")
    if not items and not faults:
        if is_converted(split):
            raise DatasetError(f"{split}/{DATALIST}: the list 'training' is empty")
        raise DatasetError(f"no images in {split}/DCM; looked for {', '.join(IMAGE_SUFFIXES)}")
    items, flat = mark_flat(items)
    if flat:
        logger.info("%s: %s", root, FLAT_SOURCE)
    return items, faults


def check_items(items: Sequence[Item], max_pixels: int = MAX_PIXELS) -> list[str]:
    """Check images, of at most ``max_pixels`` pixels, and labels of a datalist; a sentence for each file at fault.

    Where outlines lie on their images is looked at in :data:`~handseg_monai.data.label_fit.TELLING` of them or somewhat
    more, evenly spread: that takes the pixels of the image, and outlines are mostly written alike in all of a data set.
    """
    faults = []
    labelled = []
    step = max(1, len(items) // TELLING)
    for number, item in enumerate(tqdm(items, desc="checking labels", unit="image", leave=False, disable=None)):
        try:
            shape = checked_size(item["image"], max_pixels)
            labelled.append(check_label(item["label"], shape))
            faults += _turned(item)
            if number % step == 0 and (text := elsewhere_on(item["image"], item["label"], shape, max_pixels)):
                faults.append(text)
        except (UnreadableImageError, LabelError) as error:
            faults.append(str(error))
    if items and not faults and not any(labelled):
        faults.append("no label holds any annotation")
    return faults + _twins(items)


def _turned(item: Item) -> list[str]:
    """Say that an image is stored turned whose outlines may have been drawn on it as viewers show it."""
    if Path(item["label"]).suffix == ".npz" or (stated := orientation(item["image"])) == UPRIGHT:
        return []
    return [
        f"{item['image']}: stored turned (orientation {stated} in its EXIF or TIFF header): outlines may lie on it as "
        "viewers show it; store it upright, or drop the orientation if they lie on the stored pixels"
    ]


def _twins(items: Sequence[Item]) -> list[str]:
    paths = defaultdict(list)
    for item in items:
        paths[item["name"]].append(item["image"])
    twins = [f"two images of the name {name}: {' and '.join(p)}" for name, p in paths.items() if len(p) > 1]
    files: dict[tuple[int, int], str] = {}
    for item in items:
        if Path(item["image"]).exists():
            stat = Path(item["image"]).stat()
            if (other := files.setdefault((stat.st_dev, stat.st_ino), item["image"])) != item["image"]:
                twins.append(f"{other} and {item['image']} are one file, by a link; take one out")
    return twins
