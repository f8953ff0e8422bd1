"""A whole data set of phantoms on disk, in the layout of the 29-bone hand competition, its quirks included.

``train/DCM/ID001/image….png`` and ``train/outputs_json/ID001/image….json``, the same below ``test``, and
``meta_data.xlsx``. A folder is a person and holds both hands; ids of the test people follow those of the training set.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from handseg_monai.bones import BONES, NUM_BONES, SIDES, Side
from handseg_monai.files import atomic_path
from handseg_monai.phantom.components import MIN_SIZE
from handseg_monai.phantom.metadata import new_workbook, write_metadata
from handseg_monai.phantom.phantom import Phantom, render_phantom
from handseg_monai.phantom.presets import preset as ranges_of
from handseg_monai.phantom.processes import check_numbers, in_processes

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 2, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
"""Fast, and within a tenth of the smallest file for a noisy radiograph."""
_PREVIEWED = 8
"""Radiographs on a preview sheet, at most."""


@dataclass(frozen=True)
class _Job:
    """What all subjects of a data set have in common."""

    out: Path
    subjects: int
    size: int | None
    seed: int
    preset: str


def write_dataset(
    out: str | Path,
    *,
    subjects: int,
    test_subjects: int = 0,
    size: int | None = None,
    seed: int = 0,
    workers: int = 2,
    preset: str = "standard",
    preview: str | Path | None = None,
    progress: bool = True,
) -> list[Path]:
    """Write a data set of phantoms in the competition's layout.

    Every draw is a function of (seed, subject, hand): the bytes of PNG and JSON files don't depend on the number of
    workers, and a longer data set begins with the images of a shorter one.

    Parameters
    ----------
    out
        Folder to write to; it is made, and must not hold a data set yet.
    subjects, test_subjects
        People in ``train`` (at least 1) and in ``test``; two images each. The truth of the test images is written too.
    size
        Longer side of the images, pixels; None draws it as the preset says (2048 in ``easy`` and ``standard``, whose
        images are square).
    seed
        Seed of the data set, >= 0.
    workers
        Processes; with 1 everything happens in this one.
    preset
        Name of the ranges, a key of ``handseg_monai.phantom.PRESETS``.
    preview
        Where to write a contact sheet (PNG) of the first radiographs, plain and with their bones; None for none.
    progress
        Show a progress bar on standard error.

    Returns
    -------
    list of Path
        The PNG files, in order of subject and side.

    Raises
    ------
    ValueError
        When a number is too small, the preset is unknown, or the preview is no PNG file.
    FileExistsError
        When ``out`` already holds a data set, or is a file.
    ImportError
        When a package of the extra ``phantom`` is missing.
    """
    out = Path(out)
    ranges_of(preset)
    pixels = MIN_SIZE if size is None else size
    check_numbers(
        subjects=(subjects, 1),
        test_subjects=(test_subjects, 0),
        size=(pixels, MIN_SIZE),
        seed=(seed, 0),
        workers=(workers, 1),
    )
    if preview is not None and Path(preview).suffix.lower() != ".png":
        raise ValueError(f"preview: expected a file name that ends in .png, got {preview}")
    # What is missing should show before the rendering, not after it.
    new_workbook()
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; a data set needs a folder")
    held = [name for name in ("train", "test", "meta_data.xlsx") if (out / name).exists()]
    if held:
        raise FileExistsError(
            f"{out} already holds a data set ({', '.join(held)}); choose another folder, or remove that one first"
        )
    total = subjects + test_subjects
    job = _Job(out, subjects, size, seed, preset)
    out.mkdir(parents=True, exist_ok=True)
    files: dict[int, tuple[Path, Path]] = {}
    with tqdm(total=2 * total, unit="radiograph", disable=not progress, desc="phantoms") as bar:
        # Compiled code and meshes are made here once, not by each worker.
        render_phantom(seed, 0, "left", ranges_of(preset), MIN_SIZE)
        for number, pair in in_processes(partial(_write_subject, job, total), total, workers):
            files[number] = pair
            bar.update(2)
    write_metadata(out / "meta_data.xlsx", [subject_id(number, total) for number in range(total)], seed)
    if preview is not None:
        _write_preview(job, total, Path(preview))
    return [path for number in range(total) for path in files[number]]


def subject_id(number: int, total: int) -> str:
    """Return the name of a subject's folder: ``ID001`` for number 0."""
    return f"ID{number + 1:0{max(3, len(str(total)))}d}"


def _write_subject(job: _Job, total: int, number: int) -> tuple[Path, Path]:
    """Write both hands of a subject; returns the two PNG files, left and right."""
    left, right = (_write_hand(job, number, total, side) for side in SIDES)
    return left, right


def _write_hand(job: _Job, number: int, total: int, side: Side) -> Path:
    phantom = render_phantom(job.seed, number, side, ranges_of(job.preset), job.size)
    part = "train" if number < job.subjects else "test"
    subject = subject_id(number, total)
    stem = _stem(job.seed, number, side)
    image = job.out / part / "DCM" / subject / f"{stem}.png"
    label = job.out / part / "outputs_json" / subject / f"{stem}.json"
    done, encoded = cv2.imencode(".png", cv2.merge([phantom.image] * 3), _PNG)
    if not done:
        raise OSError(f"OpenCV could not encode {image}")
    with atomic_path(image) as path:
        path.write_bytes(encoded.tobytes())
    record = annotation_record(phantom, stem, subject, np.random.default_rng([job.seed, number, SIDES.index(side), 9]))
    with atomic_path(label) as path:
        path.write_text(json.dumps(record, separators=(",", ":")), encoding="utf-8")
    return image


def _stem(seed: int, number: int, side: Side) -> str:
    """Return an image's name: a time stamp that grows with number and side; one in 25 people has the side in it."""
    rng = np.random.default_rng([seed, number, 7])
    told = rng.random() < 0.04
    place = SIDES.index(side)
    stamp = 1661392000000 + (2 * number + place) * 9000 + int(rng.integers(0, 9000, 2)[place])
    return f"image{stamp}" + (f"_{side[0].upper()}" if told else "")


def annotation_record(phantom: Phantom, stem: str, subject: str, rng: np.random.Generator) -> dict[str, object]:
    """Return what the competition's JSON file of an image holds; `stem` is the image's name without suffix.

    The order of the annotations and their ids are drawn.
    """
    annotations: list[dict[str, object]] = [
        {
            "id": f"{int(rng.integers(0, 2**63)):016x}",
            "type": "poly_seg",
            "attributes": {},
            "points": polygon.tolist(),
            "label": BONES[bone].name,
        }
        for bone in range(NUM_BONES)
        for polygon in phantom.polygons[bone]
    ]
    order = rng.permutation(len(annotations))
    return {
        "annotations": [annotations[k] for k in order],
        "attributes": {},
        "file_id": f"{int(rng.integers(0, 2**63)):016x}",
        # The competition's files say so, whatever the image's own name and size.
        "filename": f"{stem}.jpg",
        "parent_path": f"/{subject}",
        "last_modifier_id": f"{int(rng.integers(0, 2**63)):016x}",
        "metadata": {"height": 3060, "width": 3060},
        "last_workers": [],
    }


def _write_preview(job: _Job, total: int, path: Path) -> None:
    from handseg_monai.drawing import fit, overlay, save, sheet

    hands = [(number, side) for number in range(total) for side in SIDES][:_PREVIEWED]
    pictures = []
    for number, side in hands:
        phantom = render_phantom(job.seed, number, side, ranges_of(job.preset), min(job.size or 1024, 1024))
        picture, planes = fit(phantom.image, phantom.planes, 512)
        pictures.append((picture, overlay(picture, planes)))
    columns = min(4, len(pictures))
    rows: list[np.ndarray] = []
    for start in range(0, len(pictures), columns):
        row = pictures[start : start + columns]
        blank = [np.zeros_like(row[0][0])] * (columns - len(row))
        rows += [plain for plain, _ in row] + blank + [labelled for _, labelled in row] + blank
    save(path, sheet(rows, columns))
