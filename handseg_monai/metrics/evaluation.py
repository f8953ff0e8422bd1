"""Dice of a submission CSV against the labels of a dataset."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from handseg_monai.bitplanes import areas
from handseg_monai.bones import ALL_KNOWN, BONES, NAMES, NUM_BONES
from handseg_monai.data.converted import DATALIST
from handseg_monai.data.images import image_size
from handseg_monai.data.items import Item
from handseg_monai.data.layouts import dataset_splits, items_of_split, read_truth
from handseg_monai.files import atomic_open
from handseg_monai.metrics.planes_dice import dice_of_areas, known_bones
from handseg_monai.rle import decode_planes, read_csv

Missing = Literal["error", "zero", "skip"]


@dataclass(frozen=True)
class Evaluation:
    """Dice of each image and bone.

    Attributes
    ----------
    names
        Of the N images compared.
    dice
        float64 (N, 29); NaN where the bone is not known or a missing row was skipped. 1 where prediction and truth
        are both empty.
    predicted, truth
        Areas in pixels, int64 (N, 29).
    missing_images, missing_rows, without_truth
        Images without any row; rows missing from images that have others, as (image, bone); images of the CSV that
        have no label.
    missing
        What was done with them.
    known
        Boolean (N, 29): whether the bone is labelled in the image, present or absent.
    """

    names: list[str]
    dice: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray
    missing_images: list[str]
    missing_rows: list[tuple[str, str]]
    without_truth: list[str]
    missing: Missing
    known: np.ndarray

    @property
    def mean_dice(self) -> float:
        """The contract's figure: mean over images and bones, of those that are known."""
        return float(np.nanmean(self.dice))

    @property
    def mean_dice_present(self) -> float:
        """Mean over those images and bones where the bone is there."""
        return float(np.nanmean(self.dice[self.truth > 0]))

    def of_bones(self) -> list[dict[str, float | int | str]]:
        """For each bone: name, mean and lowest Dice, number of images that show it, false positives where absent."""
        rows: list[dict[str, float | int | str]] = []
        for bone in BONES:
            dice, absent = self.dice[:, bone.index], (self.truth == 0)[:, bone.index] & self.known[:, bone.index]
            rows.append(
                {
                    "bone": bone.name,
                    "name": bone.english,
                    "dice": float(np.nanmean(dice)) if np.isfinite(dice).any() else float("nan"),
                    "lowest": float(np.nanmin(dice)) if np.isfinite(dice).any() else float("nan"),
                    "images": int((self.truth[:, bone.index] > 0).sum()),
                    "false_positives": int((self.predicted[absent, bone.index] > 0).sum()),
                }
            )
        return rows

    def write(self, folder: str | Path) -> None:
        """Write ``evaluation.json``, the summary, and ``evaluation.csv``, a row for each image and bone."""
        folder = Path(folder)
        summary = {
            "mean_dice": self.mean_dice,
            "mean_dice_of_bones_present": self.mean_dice_present,
            "images": len(self.names),
            "missing": self.missing,
            "missing_images": self.missing_images,
            "missing_rows": self.missing_rows,
            "images_without_truth": self.without_truth,
            "unknown": int((~self.known).sum()),
            "bones": self.of_bones(),
        }
        with atomic_open(folder / "evaluation.json") as file:
            # JSON has no NaN; a bone that was skipped in every image has no Dice.
            json.dump(_without_nan(summary), file, indent=1, allow_nan=False)
            file.write("\n")
        with atomic_open(folder / "evaluation.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("image_name", "class", "dice", "predicted_pixels", "truth_pixels"))
            for i, name in enumerate(self.names):
                for k, bone in enumerate(NAMES):
                    dice = "" if np.isnan(self.dice[i, k]) else f"{self.dice[i, k]:.6f}"
                    truth = self.truth[i, k] if self.known[i, k] else ""
                    writer.writerow((name, bone, dice, self.predicted[i, k], truth))


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def evaluate(
    prediction: str | Path, truth_dir: str | Path, missing: Missing = "error", progress: bool = True
) -> Evaluation:
    """Compare a submission with the labels of a dataset, at each image's own size.

    Parameters
    ----------
    prediction
        Submission CSV.
    truth_dir
        Dataset in the competition's layout, or one of its splits, or converted. Of a whole dataset those splits are
        expected whose images the CSV names. Bones that are not known in an image are left out.
    missing
        What to do with images or rows that the CSV lacks: ``error``; ``zero`` takes them as empty masks; ``skip``
        leaves them out, and images of the CSV without a label too.
    progress
        Show a progress bar on a terminal.

    Raises
    ------
    ValueError
        The CSV or a label breaks the contract, no image of the CSV has a label, or something is missing.
    """
    texts = read_csv(prediction)
    truth = _expected(texts.keys(), truth_dir)
    missing_images = sorted(truth.keys() - texts.keys())
    without_truth = sorted(texts.keys() - truth.keys())
    missing_rows = [
        (name, NAMES[k]) for name in texts if name in truth for k, text in enumerate(texts[name]) if text is None
    ]
    if without_truth and missing != "skip":
        raise ValueError(
            f"{prediction}: no label in {truth_dir} for {_some(without_truth)}; --missing skip passes over"
        )
    if (missing_images or missing_rows) and missing == "error":
        lacks = [_some(missing_images, "image")] if missing_images else []
        lacks += [_some([f"{name} {bone}" for name, bone in missing_rows], "row")] if missing_rows else []
        raise ValueError(
            f"{prediction}: lacks {' and '.join(lacks)}; --missing zero takes empty masks, skip leaves out"
        )
    names = [name for name in sorted(truth) if name in texts or missing == "zero"]

    def compare(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _compare(truth[name], texts.get(name, [None] * NUM_BONES), str(prediction))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(
            pool.map(compare, names),
            total=len(names),
            desc="evaluate",
            unit="image",
            disable=None if progress else True,
        )
        compared = np.array(list(bar), np.int64).reshape(len(names), 3, NUM_BONES)
    intersection, predicted, true = compared[:, 0], compared[:, 1], compared[:, 2]
    dice = dice_of_areas(intersection, predicted, true)
    known = np.array([known_bones(truth[name].get("known", ALL_KNOWN)) for name in names]).reshape(-1, NUM_BONES)
    dice[~known] = np.nan
    if missing == "skip":
        for name, bone in missing_rows:
            dice[names.index(name), NAMES.index(bone)] = np.nan
    return Evaluation(names, dice, predicted, true, missing_images, missing_rows, without_truth, missing, known)


def _expected(predicted: Collection[str], truth_dir: str | Path) -> dict[str, Item]:
    """Labelled items by name, of those splits whose images are predicted."""
    splits = dataset_splits(truth_dir)
    if not splits:
        raise ValueError(f"{truth_dir}: no dataset; looked for train/DCM, test/DCM, DCM and {DATALIST}")
    found: dict[str, Item] = {}
    for folder in splits.values():
        items, faults = items_of_split(folder)
        if not any(item["name"] in predicted for item in items):
            continue
        if alone := [fault for fault in faults if ": no image" in fault or ": no label " in fault]:
            raise ValueError("\n".join(alone))
        for item in items:
            if item["name"] in found:
                both = f"{found[item['name']]['image']} and {item['image']}"
                raise ValueError(f"two labelled images of the name {item['name']}: {both}")
            found[item["name"]] = item
    if not found:
        raise ValueError(
            f"{truth_dir}: no image of the CSV has a label; looked in {', '.join(map(str, splits.values()))}"
        )
    return found


def _compare(item: Item, texts: list[str | None], prediction: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = image_size(item["image"])
    truth = read_truth(item["label"], shape)
    try:
        planes = decode_planes(texts, shape)
    except ValueError as error:
        raise ValueError(f"{prediction}: image {item['name']}: {error}") from error
    return areas(planes & truth), areas(planes), areas(truth)


def _some(names: list[str], noun: str = "image") -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'} ({shown})"


def print_evaluation(result: Evaluation) -> None:
    """Print a table of the bones, and what was missing."""
    table = Table()
    for heading in ("bone", "name", "Dice", "lowest", "images", "false positives"):
        table.add_column(heading, justify="left" if heading in ("bone", "name") else "right")
    for row in result.of_bones():
        table.add_row(
            str(row["bone"]),
            str(row["name"]),
            f"{row['dice']:.4f}",
            f"{row['lowest']:.4f}",
            str(row["images"]),
            str(row["false_positives"]),
        )
    console = Console()
    console.print(table)
    what_was_done = {"zero": "taken as empty", "skip": "left out"}.get(result.missing, "")
    for number, what in (
        (len(result.missing_images), "images that the CSV lacks"),
        (len(result.missing_rows), "rows that the CSV lacks"),
        (len(result.without_truth), "images of the CSV without a label"),
    ):
        if number:
            print(f"{number} {what}: {what_was_done}")
    if not result.known.all():
        print(f"{(~result.known).sum()} of {result.known.size} pairs of image and bone are not labelled: left out")
    print(
        f"mean Dice {result.mean_dice:.6f} of {len(result.names)} images and 29 bones, thresholded, at their own size"
    )
    print(f"mean Dice {result.mean_dice_present:.6f} of the bones present")
