"""A page of a submission's results: every radiograph with the outlines of its bones, and how good they are."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from handseg_monai import __version__
from handseg_monai.bitplanes import areas
from handseg_monai.bones import ALL_KNOWN, BONES, INDEX, NUM_BONES, Group
from handseg_monai.data.items import Item
from handseg_monai.data.layouts import read_truth
from handseg_monai.data.reading.image_sizes import image_paths
from handseg_monai.data.reading.images import find_images, image_size, read_radiograph
from handseg_monai.drawing import grey8, shrink
from handseg_monai.files import atomic_open, nfc
from handseg_monai.plausibility.judge import Severity, plausibility
from handseg_monai.report.document import Document
from handseg_monai.report.outlines import outlines
from handseg_monai.rle import decode_image, read_csv
from handseg_monai.score.dice import known_bones
from handseg_monai.score.evaluation import Evaluation, Missing, evaluate, expected_items, refuse_missing, rows_lacking

_QUALITY = 80
"""Of WebP: 10 to 40 kB for a radiograph of 1024 pixels."""


@dataclass(frozen=True)
class Report:
    """What was written."""

    names: list[str]
    """Of the images shown."""
    evaluation: Evaluation | None
    """As ``handseg evaluate`` has it, where a truth was given."""
    missing_images: list[str]
    """Images of the folder that the submission lacks."""
    missing_rows: list[tuple[str, str]]
    """(image, bone) that it lacks."""
    size: int
    """Of the page in bytes."""


@dataclass(frozen=True)
class _Job:
    """What is to be shown: ``rows`` of the submission by image, where the images are, and their labels if any."""

    prediction: Path
    rows: dict[str, list[str | None]]
    paths: dict[str, Path]
    items: dict[str, Item] | None
    missing: Missing
    missing_images: list[str]
    missing_rows: list[tuple[str, str]]


_Drawn = tuple[dict[str, object], dict[str, object]]
"""Data of one image: what the page shows at once, and what it shows when somebody opens the image."""


def write_report(
    prediction: str | Path,
    images: str | Path,
    out: str | Path,
    truth: str | Path | None = None,
    missing: Missing = "error",
    *,
    long_side: int = 1024,
    progress: bool = True,
) -> Report:
    """Write a page, one HTML file that needs no network, which shows a submission on its radiographs.

    Each image has the outlines of its bones, as vectors at its own size, its plausibility, and with a truth that one's
    outlines, and Dice as :func:`~handseg_monai.score.evaluation.evaluate` has it.

    Parameters
    ----------
    prediction
        Submission CSV.
    images
        Folder of its images.
    out
        HTML file to write; an older one stays whole until the new one is complete.
    truth
        Dataset as :func:`~handseg_monai.score.evaluation.evaluate` takes it; bones that are not known in an image
        have no Dice and no outline of a truth.
    missing
        What to do with images or rows that the CSV lacks: ``error``; ``zero`` shows them as empty masks; ``skip``
        leaves them out, and with a truth images without a label too.
    long_side
        Pixels of the pictures' longer side, at most.
    progress
        Show a progress bar on a terminal.

    Raises
    ------
    ValueError
        The CSV or a label breaks the contract, an image is not there, is damaged or has not the size of its label's,
        or something is missing.
    OSError
        A file can't be read or written.
    """
    if not 64 <= long_side <= 8192:
        raise ValueError(f"--size: expected a longer side of 64 to 8192 pixels, got {long_side}")
    out = Path(out)
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; expected the HTML file to write")
    job = _plan(Path(prediction), images, truth, missing)
    evaluation = evaluate(prediction, truth, missing, progress) if truth is not None else None
    overviews = []
    with atomic_open(out) as file:
        document = Document(file)
        for overview, drawing in tqdm(
            _draw_all(job, evaluation, long_side),
            total=len(job.rows),
            desc="report",
            unit="image",
            disable=None if progress else True,
        ):
            overviews.append(overview)
            document.add(drawing)
        document.finish(_summary(job, evaluation, overviews))
    return Report(list(job.rows), evaluation, job.missing_images, job.missing_rows, out.stat().st_size)


def _plan(prediction: Path, images: str | Path, truth: str | Path | None, missing: Missing) -> _Job:
    texts = read_csv(prediction, empty=False)
    # Images may be named by base name or by path.
    relative = ((nfc(path.name), nfc(path.relative_to(images).as_posix())) for path in find_images(images))
    extra = [name for name, path in relative if name not in texts and path not in texts]
    items = None
    if truth is not None:
        items = expected_items(texts.keys(), truth)
        names = [name for name in sorted(items) if name in texts or missing == "zero"]
    else:
        names = [*texts, *extra] if missing == "zero" else list(texts)
    paths = image_paths(names, images)
    lacking = rows_lacking({name: texts[name] for name in names if name in texts})
    if missing == "error":
        refuse_missing(prediction, extra, lacking)
    rows = {name: texts.get(name, [None] * NUM_BONES) for name in names}
    return _Job(prediction, rows, paths, items, missing, extra, lacking)


def _draw_all(job: _Job, evaluation: Evaluation | None, long_side: int) -> Iterator[_Drawn]:
    dice: dict[str, np.ndarray] = {}
    if evaluation is not None:
        dice = dict(zip(evaluation.names, evaluation.dice, strict=True))

    def draw(name: str) -> _Drawn:
        return _draw(job, name, dice.get(name), long_side)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(draw, job.rows)


def _draw(job: _Job, name: str, dice: np.ndarray | None, long_side: int) -> _Drawn:
    radiograph = read_radiograph(job.paths[name])
    shape = radiograph.shape[0], radiograph.shape[1]
    planes = decode_image(job.prediction, name, job.rows[name], shape)
    truth, known = _truth(job, name, shape)
    given = np.array([text is not None for text in job.rows[name]]) | (job.missing == "zero")
    judgement = plausibility(planes)
    overview: dict[str, object] = {
        "name": name,
        "height": shape[0],
        "width": shape[1],
        "score": round(judgement.score, 4),
        "plausible": judgement.plausible,
        "predicted": _where(given, areas(planes)),
        "truth": None if truth is None else _where(known, areas(truth)),
        "dice": None if dice is None else _where(np.isfinite(dice), dice),
    }
    drawing: dict[str, object] = {
        "picture": _picture(shrink(radiograph, long_side)),
        "predicted": outlines(planes),
        "truth": {} if truth is None else outlines(truth),
        "findings": [
            {
                "part": finding.part,
                "bones": [INDEX[bone] for bone in finding.bones],
                "wrong": finding.severity is Severity.WRONG,
                "text": finding.text,
            }
            for finding in judgement.findings
        ],
    }
    return overview, drawing


def _truth(job: _Job, name: str, shape: tuple[int, int]) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the bit planes of the label, if there is one, and which bones are known."""
    if job.items is None:
        return None, known_bones(0)
    item = job.items[name]
    if (expected := image_size(item["image"])) != shape:
        raise ValueError(
            f"{job.paths[name]}: {_size(shape)} pixels; {item['image']}, which has the label, {_size(expected)}"
        )
    known = item.get("known", ALL_KNOWN)
    return read_truth(item["label"], shape) & np.int32(known), known_bones(known)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _where(given: np.ndarray, values: np.ndarray) -> list[float | int | None]:
    return [value if is_given else None for is_given, value in zip(given, values.tolist(), strict=True)]


def _picture(radiograph: np.ndarray) -> str:
    done, encoded = cv2.imencode(".webp", grey8(radiograph), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    if not done:
        raise OSError("a picture could not be encoded")
    return f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _summary(job: _Job, evaluation: Evaluation | None, overviews: list[dict[str, object]]) -> dict[str, object]:
    return {
        "version": __version__,
        "prediction": job.prediction.name,
        "scored": evaluation is not None,
        "meanDice": _number(evaluation.mean_dice) if evaluation is not None else None,
        "meanDicePresent": _number(evaluation.mean_dice_present) if evaluation is not None else None,
        "groups": [{"id": group.value, "en": group.value, "ko": group.korean} for group in Group],
        "bones": [
            {
                "name": bone.name,
                "en": bone.english,
                "ko": bone.korean,
                "group": bone.group.value,
                "colour": f"#{bytes(bone.colour).hex()}",
            }
            for bone in BONES
        ],
        "images": overviews,
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
