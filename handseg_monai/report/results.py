"""A page of a submission's results: every radiograph with the outlines of its bones, and how good they are."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from handseg_monai import __version__
from handseg_monai.bitplanes import areas
from handseg_monai.bones import NUM_BONES, Side
from handseg_monai.data.reading.images import image_size, read_radiograph
from handseg_monai.data.reading.submission_images import SubmissionImage, images_without_rows, submission_images
from handseg_monai.drawing import grey8, shrink, webp
from handseg_monai.files import atomic_open
from handseg_monai.measure import Spacing, fitting_spacing, measure_hand, spacing_of
from handseg_monai.plausibility.judge import plausibility
from handseg_monai.report import content
from handseg_monai.report.document import Document
from handseg_monai.report.outlines import outlines
from handseg_monai.rle import by_image, decode_image, read_csv
from handseg_monai.score.dice import known_bones
from handseg_monai.score.evaluation import Evaluation, Missing, evaluate, refuse_missing, rows_lacking
from handseg_monai.score.truth import Truth, expected_truths, pair_rows

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
    """What is to be shown: rows of the submission, images with the names of their rows, and labels if any."""

    prediction: Path
    texts: Mapping[str, Sequence[str | None]]
    images: dict[str, SubmissionImage]
    truths: dict[str, Truth] | None
    chosen: dict[str, str]
    missing: Missing
    missing_images: list[str]
    missing_rows: list[tuple[str, str]]

    def label(self, image: str, row: str) -> str | None:
        """Name of the label that a hand's rows are compared with, if there is one."""
        name = image if self.chosen.get(image) == row else row
        return name if self.truths is not None and name in self.truths else None


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

    Each image has the outlines of its bones, of both hands where the submission has both, as vectors at its own size,
    their plausibility and measures, and with a truth that one's outlines, and Dice as
    :func:`~handseg_monai.score.evaluation.evaluate` has it.

    Parameters
    ----------
    prediction
        Submission CSV.
    images
        Folder of its images.
    out
        HTML file to write; an older one stays whole until the new one is complete.
    truth
        Dataset or CSV as :func:`~handseg_monai.score.evaluation.evaluate` takes it; bones that are not known have no
        Dice and no outline of a truth.
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
    evaluation = evaluate(prediction, truth, missing, progress, images=images) if truth is not None else None
    overviews = []
    with atomic_open(out) as file:
        document = Document(file)
        for overview, drawing in tqdm(
            _draw_all(job, evaluation, long_side),
            total=len(job.images),
            desc="report",
            unit="image",
            disable=None if progress else True,
        ):
            overviews.append(overview)
            document.add(drawing)
        document.finish(_summary(job, evaluation, overviews))
    return Report(list(job.images), evaluation, job.missing_images, job.missing_rows, out.stat().st_size)


def _plan(prediction: Path, folder: str | Path, truth: str | Path | None, missing: Missing) -> _Job:
    texts = read_csv(prediction, empty=False)
    extra = images_without_rows(texts, folder)
    truths: dict[str, Truth] | None = None
    chosen: dict[str, str] = {}
    rows = [*texts, *extra] if missing == "zero" else list(texts)
    if truth is not None:
        truths = expected_truths(texts.keys(), truth, folder)
        paired, chosen = pair_rows(prediction, texts, truths)
        shown = [name for name in truths if name in paired or missing == "zero"]
        images = by_image(texts, truths)
        rows = [row for name in shown for row in (images[name].values() if name in chosen else [name])]
    lacking = rows_lacking({name: texts[name] for name in rows if name in texts})
    found = submission_images(rows, folder)  # a folder of other images is no fault of the submission
    if missing == "error":
        refuse_missing(prediction, extra, lacking)
    return _Job(prediction, texts, found, truths, chosen, missing, extra, lacking)


def _draw_all(job: _Job, evaluation: Evaluation | None, long_side: int) -> Iterator[_Drawn]:
    dice: dict[str, np.ndarray] = {}
    if evaluation is not None:
        dice = dict(zip(evaluation.names, evaluation.dice, strict=True))

    def draw(name: str) -> _Drawn:
        return _draw(job, name, dice, long_side)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(draw, job.images)


def _draw(job: _Job, name: str, dice: Mapping[str, np.ndarray], long_side: int) -> _Drawn:
    image = job.images[name]
    radiograph = read_radiograph(image.path)
    shape = radiograph.shape[0], radiograph.shape[1]
    spacing = spacing_of(image.path)
    hands = [
        _draw_hand(job, row, side, job.label(name, row), dice, radiograph, spacing) for side, row in image.rows.items()
    ]
    overview: dict[str, object] = {"name": name, "height": shape[0], "width": shape[1]}
    overview["hands"] = [of_hand for of_hand, _ in hands]
    return overview, {"picture": _picture(shrink(radiograph, long_side)), "hands": [drawing for _, drawing in hands]}


def _draw_hand(
    job: _Job,
    row: str,
    side: Side | None,
    label: str | None,
    dice: Mapping[str, np.ndarray],
    radiograph: np.ndarray,
    spacing: Spacing | None,
) -> _Drawn:
    shape = radiograph.shape[0], radiograph.shape[1]
    texts = job.texts.get(row, [None] * NUM_BONES)
    truth, known = _truth(job, label, shape)  # first: a label that fits tells best whose size is wrong
    planes = decode_image(job.prediction, row, texts, shape)
    given = np.array([text is not None for text in texts]) | (job.missing == "zero")
    of_bones = dice.get(label) if label is not None else None
    judgement = plausibility(planes)
    spacing = None if spacing is None else fitting_spacing(planes, spacing)
    overview: dict[str, object] = {
        "side": side,
        "score": round(judgement.score, 4),
        "plausible": judgement.plausible,
        "predicted": _where(given, areas(planes)),
        "truth": None if truth is None else _where(known, areas(truth)),
        "dice": None if of_bones is None else _where(np.isfinite(of_bones), of_bones),
    }
    drawing: dict[str, object] = {
        "predicted": outlines(planes),
        "truth": {} if truth is None else outlines(truth),
        "findings": content.findings(judgement),
        "measures": content.measures(measure_hand(planes, radiograph, spacing, judgement), spacing),
    }
    if side:
        drawing["corner"] = _corner(planes, side)
    return overview, drawing


def _corner(planes: np.ndarray, side: Side) -> tuple[int, int] | None:
    """(x, y) of the upper corner of the hand's box on the thumb's side, which is free: there its side is written."""
    rows, columns = (np.flatnonzero((planes != 0).any(axis=axis)) for axis in (1, 0))
    return (int(columns[-1 if side == "left" else 0]), int(rows[0])) if rows.size else None


def _truth(job: _Job, name: str | None, shape: tuple[int, int]) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the bit planes of the label, if there is one, and which bones are known."""
    if job.truths is None or name is None:
        return None, known_bones(0)
    label = job.truths[name]
    if (expected := image_size(label.image)) != shape:
        raise ValueError(f"image {name}: {_size(shape)} pixels; {label.image}, which has the label, {_size(expected)}")
    return label.draw(shape) & np.int32(label.known), known_bones(label.known)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _where(given: np.ndarray, values: np.ndarray) -> list[float | int | None]:
    return [value if is_given else None for is_given, value in zip(given, values.tolist(), strict=True)]


def _picture(radiograph: np.ndarray) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp(grey8(radiograph), _QUALITY)).decode()}"


def _summary(job: _Job, evaluation: Evaluation | None, overviews: list[dict[str, object]]) -> dict[str, object]:
    return {
        "version": __version__,
        "prediction": job.prediction.name,
        "scored": evaluation is not None,
        "meanDice": _number(evaluation.mean_dice) if evaluation is not None else None,
        "meanDicePresent": _number(evaluation.mean_dice_present) if evaluation is not None else None,
        "groups": content.groups(),
        "bones": content.bones(),
        "references": content.references(),
        "images": overviews,
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
