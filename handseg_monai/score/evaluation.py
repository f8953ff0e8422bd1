"""Dice of a submission CSV against the labels of a dataset, or against another CSV."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from handseg_monai.bitplanes import areas, shared_areas
from handseg_monai.bones import BONES, FLAT, NAMES, NUM_BONES
from handseg_monai.data.labels.flat import visible
from handseg_monai.data.reading.dicom import pixel_spacing
from handseg_monai.data.reading.images import image_size
from handseg_monai.data.wrist import hand_side, wrist_deviation
from handseg_monai.rle import count_images, decode_image, hand_of, read_csv
from handseg_monai.score.dice import dice_of_areas, known_bones
from handseg_monai.score.surfaces import Surfaces, surfaces
from handseg_monai.score.truth import Truth, expected_truths, pair_rows

Missing = Literal["error", "zero", "skip"]
OVERLAP = 0.01
_COMMON = 0.25
_LOOKED_AT = 512
"""Pixels to a side that tell the hand and its wrist."""


@dataclass(frozen=True)
class Detail:
    """What takes longer than Dice, for N images; NaN where the bone is not known or its row was skipped."""

    nsd_pixels: np.ndarray
    nsd_mm: np.ndarray
    hd95: np.ndarray
    """float64 (N, 29) each, see :class:`~handseg_monai.score.surfaces.Surfaces`."""
    pairs: list[tuple[int, int]]
    """Bones that overlap in nature, as index pairs: those that share :data:`OVERLAP` of the smaller one's area in at
    least a quarter of the labels that show both."""
    pair_dice: np.ndarray
    """float64 (N, pairs): Dice of the area that the two share."""


@dataclass(frozen=True)
class Evaluation:
    """Dice of each label and bone."""

    names: list[str]
    """Of the N labels compared: of images, or of both hands of one."""
    dice: np.ndarray
    """float64 (N, 29); NaN where the bone is not known or a missing row was skipped. 1 where prediction and truth
    are both empty."""
    predicted: np.ndarray
    truth: np.ndarray
    """Areas in pixels, int64 (N, 29)."""
    missing_images: list[str]
    missing_rows: list[tuple[str, str]]
    without_truth: list[str]
    """Images without any row; rows missing from images that have others, as (image, bone); images of the CSV that
    have no label."""
    missing: Missing
    """What was done with them."""
    known: np.ndarray
    """Boolean (N, 29): whether the bone is labelled in the image, present or absent."""
    subjects: list[str]
    """Of the images."""
    sides: list[str]
    """Hand that the label shows, ``left`` or ``right``; empty where it does not tell."""
    deviations: np.ndarray
    """Wrist deviation on the label, degrees, float64 (N,); NaN where it can't be measured."""
    detail: Detail | None = None
    """Outlines and overlaps, where they were asked for."""
    chosen: dict[str, str] = field(default_factory=dict)
    """Rows that were compared with a label of one hand, by its name, of images with rows of both hands."""
    flat: int = 0
    """Images whose label holds no overlaps; pixels in which a bone may lie beneath another are left out of them."""

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


@dataclass(frozen=True)
class _Compared:
    """What is kept of one image."""

    areas: np.ndarray
    side: str
    deviation: float
    surfaces: Surfaces | None
    shared: np.ndarray | None


def evaluate(
    prediction: str | Path,
    truth: str | Path,
    missing: Missing = "error",
    progress: bool = True,
    *,
    detail: bool = False,
    spacing: float | None = None,
    images: str | Path | None = None,
) -> Evaluation:
    """Compare a submission with labels, at each image's own size.

    Hands of one image are compared one by one where the labels have both too (``#left`` and ``#right`` in a CSV). Where
    the label has one, the hand that lies over it is compared, and the other one is left out.

    Parameters
    ----------
    prediction
        Submission CSV.
    truth
        Dataset in the competition's layout, or one of its splits, or converted. Of a whole dataset those splits are
        expected whose images the CSV names. Or a CSV in the form of a submission, with ``images``. Bones that are not
        known in an image are left out, and so are, of labels without overlaps, pixels in which a bone may lie beneath
        another.
    missing
        What to do with images or rows that the CSV lacks: ``error``; ``zero`` takes them as empty masks; ``skip``
        leaves them out, and images of the CSV without a label too.
    progress
        Show a progress bar on a terminal.
    detail
        Compare outlines and overlaps too.
    spacing
        Millimetres a pixel, of all images; by default what each image tells, which DICOM alone does.
    images
        Folder of the images of a ``truth`` in a CSV; not used with a dataset.

    Raises
    ------
    ValueError
        The CSV or a label breaks the contract, no image of the CSV has a label, or something is missing.
    """
    if spacing is not None and not 0 < spacing < 10:
        raise ValueError(f"--spacing: expected millimetres per pixel, above 0 and below 10, got {spacing}")
    rows = read_csv(prediction)
    truths = expected_truths(rows.keys(), truth, images)
    texts, chosen = pair_rows(prediction, rows, truths)
    missing_images = sorted(truths.keys() - texts.keys())
    without_truth = sorted(texts.keys() - truths.keys())
    missing_rows = rows_lacking({name: of_image for name, of_image in texts.items() if name in truths})
    if missing != "skip":
        _refuse_one_hand(prediction, truth, missing_images, without_truth)
    if without_truth and missing != "skip":
        raise ValueError(
            f"{prediction}: no label in {truth} for {_some(without_truth)}; --missing skip leaves them out"
        )
    if missing == "error":
        refuse_missing(prediction, missing_images, missing_rows)
    names = [name for name in sorted(truths) if name in texts or missing == "zero"]

    def compare(name: str) -> _Compared:
        planes = partial(decode_image, prediction, chosen.get(name, name), texts.get(name, [None] * NUM_BONES))
        return _compare(truths[name], planes, detail, spacing)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hidden = None if progress else True
        compared = list(tqdm(pool.map(compare, names), "evaluate", len(names), unit="image", disable=hidden))
    pixels = np.array([one.areas for one in compared], np.int64).reshape(-1, 3, NUM_BONES)
    intersection, predicted, true = pixels.swapaxes(0, 1)
    dice = dice_of_areas(intersection, predicted, true)
    known = np.array([known_bones(truths[name].known) for name in names]).reshape(-1, NUM_BONES)
    counted = known.copy()
    if missing == "skip":
        for name, bone in missing_rows:
            counted[names.index(name), NAMES.index(bone)] = False
    if not counted.any():
        raise ValueError(f"{truth}: none of the bones in {prediction} is labelled there")
    dice[~counted] = np.nan
    return Evaluation(
        names,
        dice,
        predicted,
        true,
        missing_images,
        missing_rows,
        without_truth,
        missing,
        known,
        [truths[name].subject for name in names],
        [one.side for one in compared],
        np.array([one.deviation for one in compared]),
        _detail(compared, counted) if detail else None,
        chosen,
        sum(truths[name].known & FLAT > 0 for name in names),
    )


def _detail(compared: list[_Compared], counted: np.ndarray) -> Detail:
    def stacked(values: list[np.ndarray]) -> np.ndarray:
        return np.where(counted, np.array(values).reshape(-1, NUM_BONES), np.nan)

    of_image = [one.surfaces for one in compared if one.surfaces is not None]
    shared = np.array([one.shared for one in compared]).reshape(-1, 3, NUM_BONES, NUM_BONES)
    both, predicted, true = shared.swapaxes(0, 1)
    own = np.diagonal(true, axis1=1, axis2=2)
    smaller = np.minimum(own[:, :, None], own[:, None])
    shown = smaller > 0
    overlapping = ((true >= OVERLAP * smaller) & shown & (true > 0)).sum(axis=0)
    often = (overlapping >= _COMMON * shown.sum(axis=0)) & (overlapping > 0)
    pairs = [(int(a), int(b)) for a, b in zip(*np.nonzero(np.triu(often, 1)), strict=True)]
    of_pairs = [
        np.where(counted[:, a] & counted[:, b], dice_of_areas(both[:, a, b], predicted[:, a, b], true[:, a, b]), np.nan)
        for a, b in pairs
    ]
    return Detail(
        stacked([s.nsd_pixels for s in of_image]),
        stacked([s.nsd_mm for s in of_image]),
        stacked([s.hd95 for s in of_image]),
        pairs,
        np.array(of_pairs).reshape(len(pairs), len(compared)).T,
    )


def rows_lacking(texts: Mapping[str, Sequence[str | None]]) -> list[tuple[str, str]]:
    """List the rows, (image, bone), that images of a submission lack."""
    return [(name, NAMES[k]) for name, of_image in texts.items() for k, text in enumerate(of_image) if text is None]


def _refuse_one_hand(
    prediction: str | Path, truth: str | Path, missing: Sequence[str], without_truth: Sequence[str]
) -> None:
    """Raise a ValueError where a submission has one hand of an image, and the truth has both."""
    if both := [image for name in missing if (image := hand_of(name).image) in without_truth]:
        raise ValueError(
            f"{prediction}: rows of one hand of {_some(sorted(set(both)))}, in {truth} of both; run inference with "
            "--hands both, or --missing skip leaves them out"
        )


def refuse_missing(prediction: str | Path, images: list[str], rows: list[tuple[str, str]]) -> None:
    """Raise a ValueError that names the images and rows that a submission lacks, if there are any."""
    lacks = [_some(images)] if images else []
    if rows:
        count = f"{len(rows)} row{'' if len(rows) == 1 else 's'}"
        lacks.append(_some([f"{name} {bone}" for name, bone in rows], count))
    if lacks:
        raise ValueError(
            f"{prediction}: lacks {' and '.join(lacks)}; --missing zero counts them as empty, skip leaves them out"
        )


def _compare(
    label: Truth, decoded: Callable[[tuple[int, int]], np.ndarray], detail: bool, spacing: float | None
) -> _Compared:
    shape = image_size(label.image)
    truth = label.draw(shape)
    if detail and spacing is None:
        spacing = pixel_spacing(label.image)
    planes = visible(decoded(shape), truth, label.known)
    step = max(1, max(shape) // _LOOKED_AT)
    coarse = np.ascontiguousarray(truth[::step, ::step])
    return _Compared(
        np.stack([areas(planes & truth), areas(planes), areas(truth)]),
        hand_side(coarse) or "",
        wrist_deviation(coarse),
        surfaces(planes, truth, spacing) if detail else None,
        np.stack([shared_areas(of) for of in (planes & truth, planes, truth)]) if detail else None,
    )


def _some(names: list[str], count: str | None = None) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{count or count_images(names)} ({shown})"
