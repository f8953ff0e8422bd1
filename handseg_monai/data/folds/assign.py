"""Folds that never part the images of one subject."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from handseg_monai.data.exclude import excluding
from handseg_monai.data.folds.exchange import exchange
from handseg_monai.data.folds.traits import SubjectTraits, Traits, as_columns, read_traits
from handseg_monai.data.items import Item
from handseg_monai.data.layouts import dataset_splits, items_of_split, training_split
from handseg_monai.data.reading.images import find_images
from handseg_monai.files import nfc, write_json
from handseg_monai.words import counted


def assign_folds(
    subjects: Sequence[str], num_folds: int, seed: int = 0, traits: Mapping[str, Traits] | None = None
) -> dict[str, int]:
    """Deal subjects into folds, 0 to ``num_folds - 1``, of about as many images, alike in the subjects' traits.

    Parameters
    ----------
    subjects
        The subject of each image.
    num_folds
        Number of folds, at least 2.
    seed
        Of the order in which subjects are dealt. The result depends on nothing else but the traits.
    traits
        Sex, height and wrist deviation of each subject; subjects are then exchanged between folds until no exchange
        makes the folds more alike (:func:`~handseg_monai.data.folds.exchange.exchange`). None deals by number alone.

    Raises
    ------
    ValueError
        Fewer than 2 folds, or fewer subjects than folds.
    """
    names, counts = np.unique(np.asarray(subjects), return_counts=True)
    if num_folds < 2:
        raise ValueError(f"expected at least 2 folds, got {num_folds}")
    if len(names) < num_folds:
        raise ValueError(
            f"{counted(len(names), 'subject')} can't fill {num_folds} folds; expected at least {num_folds}, or fewer "
            "folds (--num_folds; --k of handseg folds and cross-validate)"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    images_in = np.zeros(num_folds, np.int64)
    folds = np.zeros(len(names), np.int64)
    for i in order:
        folds[i] = images_in.argmin()
        images_in[folds[i]] += counts[i]
    if traits is not None:
        folds = exchange(folds, counts, as_columns([traits[str(name)] for name in names]))
    return {str(name): int(fold) for name, fold in zip(names, folds, strict=True)}


def split_items(
    items: Sequence[Item], fold: int, num_folds: int, seed: int = 0, folds_file: str | Path | None = None
) -> tuple[list[Item], list[Item]]:
    """Split a datalist into training and validation, which have no subject in common.

    Parameters
    ----------
    items
        Labelled items.
    fold
        The fold to validate on; the others train.
    num_folds, seed
        See :func:`assign_folds`. Not used with ``folds_file``.
    folds_file
        A file that :func:`write_folds` wrote; its folds are used unchanged.

    Raises
    ------
    ValueError
        ``fold`` is out of range, a subject is missing from the file, or in two of its folds.
    """
    if folds_file:
        fold_of = read_folds(folds_file)
        num_folds = max(fold_of.values()) + 1
    else:
        fold_of = assign_folds([item["subject"] for item in items], num_folds, seed)
    if not 0 <= fold < num_folds:
        raise ValueError(f"fold {fold} is out of range; expected 0 to {num_folds - 1}")
    if missing := sorted({item["subject"] for item in items} - fold_of.keys()):
        raise ValueError(f"{folds_file}: no fold for subject {', '.join(missing[:5])}; run handseg folds again")
    training = [item for item in items if fold_of[item["subject"]] != fold]
    validation = [item for item in items if fold_of[item["subject"]] == fold]
    return training, validation


def write_folds(
    path: str | Path,
    dataset_dir: str | Path,
    num_folds: int,
    seed: int = 0,
    exclude: str | Path | None = None,
    traits: SubjectTraits | None = None,
) -> dict[str, int]:
    """Write a dataset as a datalist with folds, in the form of MONAI's Auto3DSeg.

    ``{"training": [{"image", "label", "subject", "fold"}, …], "testing": [{"image"}, …]}``, paths relative to
    ``dataset_dir``. Returns the fold of each subject.

    Parameters
    ----------
    path
        File to write.
    dataset_dir
        Dataset in the competition's layout.
    num_folds, seed
        See :func:`assign_folds`.
    exclude
        List of images to leave out; see :func:`~handseg_monai.data.exclude.read_exclude`.
    traits
        Those of :func:`dataset_traits`, which are read if None.

    Raises
    ------
    ValueError
        The dataset has no labelled images, an image or a label stands alone, or there are too few subjects.
    """
    root = Path(dataset_dir)
    items = _training_items(root, exclude)
    if traits is None:
        traits = dataset_traits(root, exclude)
    fold_of = assign_folds([item["subject"] for item in items], num_folds, seed, traits.of)
    training = [
        {
            "image": Path(os.path.relpath(item["image"], root)).as_posix(),
            "label": Path(os.path.relpath(item["label"], root)).as_posix(),
            "subject": item["subject"],
            "fold": fold_of[item["subject"]],
        }
        for item in items
    ]
    test = dataset_splits(root).get("test") if training_split(root) != root else None
    testing = [{"image": p.relative_to(root).as_posix()} for p in find_images(test / "DCM")] if test else []
    write_json(path, {"training": training, "testing": testing})
    return fold_of


def dataset_traits(dataset_dir: str | Path, exclude: str | Path | None = None, progress: bool = True) -> SubjectTraits:
    """Traits of the subjects of a dataset, by its ``meta_data.xlsx`` and its labels; raises as :func:`write_folds`."""
    root = Path(dataset_dir)
    items = _training_items(root, exclude)
    metadata = root / "meta_data.xlsx"
    if (root / "DCM").is_dir() and not metadata.is_file():
        metadata = root.parent / "meta_data.xlsx"
    return read_traits(items, metadata, progress)


def _training_items(root: Path, exclude: str | Path | None) -> list[Item]:
    train = training_split(root)
    items, faults = items_of_split(train, excluding(exclude, root)) if train else ([], [])
    if faults:
        raise ValueError("\n".join(faults))
    if not items:
        raise ValueError(f"no labelled images in {root}; looked for train/DCM and train/outputs_json")
    return items


def read_folds(path: str | Path) -> dict[str, int]:
    """Read the fold of each subject from a datalist of :func:`write_folds`.

    ``ValueError`` for another file, or a subject in two folds.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))["training"]
        pairs = [(nfc(str(entry["subject"])), int(entry["fold"])) for entry in entries]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: not a datalist with 'training' entries that hold 'subject' and 'fold'") from error
    if not pairs:
        raise ValueError(f"{path}: the list 'training' is empty")
    fold_of: dict[str, int] = {}
    for subject, fold in pairs:
        if fold_of.setdefault(subject, fold) != fold:
            raise ValueError(f"{path}: subject {subject} is in folds {fold_of[subject]} and {fold}")
    return fold_of
