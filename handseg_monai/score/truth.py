"""What a submission is compared with: the labels of a dataset, or a CSV of the same form."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from handseg_monai.bones import ALL_KNOWN
from handseg_monai.data.flat_sources import mark_flat
from handseg_monai.data.items import Item
from handseg_monai.data.labels.converted import DATALIST
from handseg_monai.data.labels.named_images import Images, Subjects
from handseg_monai.data.layouts import dataset_splits, items_of_split, read_truth
from handseg_monai.data.reading.images import image_size
from handseg_monai.data.reading.submission_images import image_paths
from handseg_monai.rle import by_image, decode_image, hand_of, read_csv

Texts = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True)
class Truth:
    """Label of one hand."""

    image: Path
    """The radiograph."""
    source: str
    """The file of the label."""
    subject: str
    """Who it is of."""
    known: int
    """Bit k is set where bone k is labelled, present or absent; :data:`~handseg_monai.bones.FLAT` without overlaps."""
    draw: Callable[[tuple[int, int]], np.ndarray]
    """Bit planes, int32 (H, W), of an image of (height, width); raises ``ValueError`` where they don't fit it."""


def expected_truths(
    predicted: Collection[str], truth: str | Path, images: str | Path | None = None
) -> dict[str, Truth]:
    """Labels by name, of those splits of a dataset whose images are predicted, or all that a CSV holds.

    Parameters
    ----------
    predicted
        Names of rows.
    truth
        Dataset, one of its splits, or converted; or a CSV in the form of a submission, in which a bone without a row is
        not known, and an image may have rows of both hands.
    images
        Folder of the images of a CSV; not used with a dataset.

    Raises
    ------
    ValueError
        No dataset, an image or a label without the other, two images of one name, or no image predicted has a label.
    """
    if Path(truth).is_file():
        return _truths_of_csv(truth, images)
    names = {name for row in predicted for name in (row, hand_of(row).image)}
    return {name: _of_item(item) for name, item in _expected_items(names, truth).items()}


def _truths_of_csv(truth: str | Path, images: str | Path | None) -> dict[str, Truth]:
    texts = read_csv(truth, empty=False)
    if images is None:
        raise ValueError(f"{truth}: a CSV holds no sizes of images; give their folder with --images")
    people = Subjects(Images(images))
    return {
        name: Truth(
            path,
            str(truth),
            people.of(path),
            sum(1 << k for k, text in enumerate(texts[name]) if text is not None),
            partial(decode_image, truth, name, texts[name]),
        )
        for name, path in image_paths(texts, images).items()
    }


def _of_item(item: Item) -> Truth:
    known = item.get("known", ALL_KNOWN)
    return Truth(Path(item["image"]), item["label"], item["subject"], known, partial(read_truth, item["label"]))


def _expected_items(predicted: Collection[str], truth_dir: str | Path) -> dict[str, Item]:
    splits = dataset_splits(truth_dir)
    if not splits:
        raise ValueError(f"{truth_dir}: no dataset; looked for train/DCM, test/DCM, DCM and {DATALIST}")
    found: dict[str, Item] = {}
    for folder in splits.values():
        items, faults = items_of_split(folder)
        if not any(item["name"] in predicted for item in items):
            continue
        items, _ = mark_flat(items)
        if alone := [fault for fault in faults if ": no image" in fault or ": no label " in fault]:
            raise ValueError("\n".join(alone))
        for item in items:
            if item["name"] in found:
                both = f"{found[item['name']]['image']} and {item['image']}"
                raise ValueError(f"two labelled images of the name {item['name']}: {both}")
            found[item["name"]] = item
    if not found:
        raise ValueError(f"no image of the CSV has a label; looked in {', '.join(map(str, splits.values()))}")
    return found


def pair_rows(
    prediction: str | Path, texts: Texts, truths: Mapping[str, Truth]
) -> tuple[dict[str, Sequence[str | None]], dict[str, str]]:
    """Find the rows of a submission that each label is compared with.

    Of an image that has rows of both hands and a label of one, the hand that shares more pixels with the label is
    compared: a label doesn't say of which hand it is, but where it lies.

    Returns
    -------
    paired
        29 run-length texts by the name of the label; those without a label by their own name.
    chosen
        The rows that were chosen of two hands, by the name of the label.

    Raises
    ------
    ValueError
        An image has rows of its own name and of ``#left`` or ``#right``, rows do not fit their image, or a label covers
        both hands.
    """
    paired: dict[str, Sequence[str | None]] = {}
    chosen: dict[str, str] = {}
    for image, rows in by_image(texts, truths).items():
        if image not in truths or None in rows:
            paired.update((name, texts[name]) for name in rows.values())
            continue
        chosen[image] = _at_label(prediction, {name: texts[name] for name in rows.values()}, truths[image])
        paired[image] = texts[chosen[image]]
    return paired, chosen


def _at_label(prediction: str | Path, texts: Texts, truth: Truth) -> str:
    """Name of the rows whose masks share most pixels with a label, the larger ones where none does."""
    shape = image_size(truth.image)
    label = truth.draw(shape) != 0
    hands = {name: decode_image(prediction, name, of_hand, shape) != 0 for name, of_hand in texts.items()}
    shared = {name: (int((hand & label).sum()), int(hand.sum())) for name, hand in hands.items()}
    # One hand that was found twice is a fault of the submission, not of the label.
    apart = not np.logical_and.reduce(list(hands.values())).any()
    if len(hands) > 1 and apart and all(2 * both > own > 0 for both, own in shared.values()):
        raise ValueError(
            f"{truth.source}: the label covers both hands of {truth.image}; expected the bones of one hand"
        )
    return max(shared, key=lambda name: shared[name])
