"""Measures of every hand of a submission: a table, and pictures with the lines drawn."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from handseg_monai.bones import Side
from handseg_monai.data.reading.images import read_radiograph
from handseg_monai.data.reading.submission_images import SubmissionImage, submission_images
from handseg_monai.drawing import draw_lines, grey8, overlay, save, with_notes
from handseg_monai.files import atomic_open, with_ending
from handseg_monai.measure.fitting import fitting_spacing
from handseg_monai.measure.hand import measure_hand
from handseg_monai.measure.measures import Measure
from handseg_monai.measure.spacing import Spacing, spacing_of
from handseg_monai.rle import decode_image, read_csv
from handseg_monai.words import counted

HEADER = ("image", "hand", "measure", "value", "unit", "plane", "reason", "reference", "z", "source")
LONG_SIDE = 1400, 2048
"""Of a radiograph in the pictures, in pixels: at least, so that what stands beside it can be read, and at most."""
_PLACES = {"mm": 1, "px": 0, "degrees": 0, "": 2}
"""Decimal places of a value there, by its unit."""
_TINT = 0.08
_REASONS = 5
"""Of those why measures were not taken, how many are printed."""
_FAILURES = ValueError, ArithmeticError, LookupError, MemoryError, cv2.error
"""What one image can fail by: it can't be read, its masks do not fit it, or their outlines have no shape."""


class IncompleteMeasuresError(Exception):
    """All images but some were measured; the text says why not these."""


@dataclass
class Tally:
    """What was measured."""

    images: int = 0
    hands: int = 0
    taken: int = 0
    measures: int = 0
    planes: Counter[str] = field(default_factory=Counter)
    """Images by what holds of the size of their pixels."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How often a measure could not be taken for a reason."""
    failures: dict[str, str] = field(default_factory=dict)
    """Images that can't be measured, and why."""

    def add(self, measures: Sequence[Measure]) -> None:
        """Count the measures of one hand."""
        self.hands += 1
        self.measures += len(measures)
        self.taken += sum(measure.value is not None for measure in measures)
        self.reasons.update(measure.reason for measure in measures if measure.reason)


def measure_submission(
    prediction: str | Path,
    images: str | Path,
    out: str | Path,
    overlays: str | Path | None = None,
    progress: bool = True,
) -> Tally:
    """Measure each hand of a submission by :func:`~handseg_monai.measure.hand.measure_hand`.

    Parameters
    ----------
    prediction
        Submission CSV.
    images
        Folder of its images, which give their sizes, grey values and, if they are DICOM, millimetres.
    out
        CSV file to write: a row for each image, hand and measure.
    overlays
        Folder to write pictures to, ``<name of the rows>.jpg``; None for none.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    tally
        Counts of what was measured, and of what was not, and why.

    Raises
    ------
    IncompleteMeasuresError
        Some images can't be read, or their run-lengths do not fit; the others are written.
    ValueError, OSError
        A picture would replace one of the images, or another file in their folder; as
        :func:`~handseg_monai.rle.read_csv` and
        :func:`~handseg_monai.data.reading.submission_images.submission_images`; or no image can be measured.
    """
    texts = read_csv(prediction, empty=False)
    shown = submission_images(texts, images)
    if overlays is not None:
        _require_free(overlays, images, shown.values())
    tally = Tally()
    with atomic_open(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for name, image in tqdm(shown.items(), "measure", unit="image", disable=None if progress else True):
            try:
                radiograph, stated = read_radiograph(image.path), spacing_of(image.path)
                hands = []
                for side, row in image.rows.items():
                    planes = decode_image(prediction, row, texts[row], radiograph.shape)
                    spacing = fitting_spacing(planes, stated)
                    unknown = sum(1 << bone for bone, text in enumerate(texts[row]) if text is None)
                    measures = measure_hand(planes, radiograph, spacing, unknown=unknown)
                    hands.append((side, row, planes, spacing, measures))
            except _FAILURES as error:
                tally.failures[name] = (str(error) or type(error).__name__).removeprefix(f"{image.path}: ")
                continue
            tally.images += 1
            tally.planes.update({spacing.says for *_, spacing, _ in hands})
            for side, row, planes, spacing, measures in hands:
                tally.add(measures)
                writer.writerows(table_rows(name, side, measures, spacing))
                if overlays is not None:
                    save(_place(overlays, row), picture(radiograph, planes, measures))
        if len(tally.failures) == len(shown):
            name, why = next(iter(tally.failures.items()))
            raise ValueError(f"no image can be measured; {name}: {why}")
    if tally.failures:
        listed = "".join(f"\n  {name}: {why}" for name, why in tally.failures.items())
        raise IncompleteMeasuresError(f"{len(tally.failures)} of {counted(len(shown), 'image')} not measured:{listed}")
    return tally


def print_tally(tally: Tally) -> None:
    """Print how many measures were taken, in which plane, and the reasons why most of the others were not."""
    hands = "" if tally.hands == tally.images else f"{counted(tally.hands, 'hand')} of "
    print(f"{tally.taken} of {counted(tally.measures, 'measure')} taken of {hands}{counted(tally.images, 'image')}")
    for says, number in tally.planes.most_common():
        print(f"lengths {says}: {counted(number, 'image')}")
    for reason, number in tally.reasons.most_common(_REASONS):
        print(f"not taken: {number} x {reason}")
    if others := sum(number for _, number in tally.reasons.most_common()[_REASONS:]):
        print(f"not taken: {others} for other reasons, which the CSV holds")


def picture(radiograph: np.ndarray, planes: np.ndarray, measures: Sequence[Measure]) -> np.ndarray:
    """Draw the lines of some measures over a radiograph of any dtype, (H, W), and its bones, bit planes int32 (H, W).

    Beside the radiograph stands what each line measures. Returns uint8 (h, w, 3); the radiograph in it has a long side
    within :data:`LONG_SIDE`.
    """
    drawn = overlay(grey8(radiograph), planes, _TINT)
    long_side = max(planes.shape)
    scale = min(max(long_side, LONG_SIDE[0]), LONG_SIDE[1]) / long_side
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    drawn = cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=way)
    lines = [[[scale * np.array(end) for end in line] for line in measure.lines] for measure in measures]
    notes = [
        (f"{measure.name}  {measure.value:z.{_PLACES[measure.unit]}f} {measure.unit}".strip(), of_measure[0])
        for measure, of_measure in zip(measures, lines, strict=True)
        if of_measure
    ]
    noted = with_notes(drawn, [(text, tuple(0.5 * (start + end))) for text, (start, end) in notes])
    margin = np.array([(noted.shape[1] - drawn.shape[1]) // 2, 0])
    draw_lines(noted, [(tuple(start + margin), tuple(end + margin)) for ends in lines for start, end in ends])
    return noted


def _require_free(overlays: str | Path, images: str | Path, shown: Iterable[SubmissionImage]) -> None:
    """Refuse, before the work, pictures that would replace an image, by whatever path, or a file beside the images."""
    folder = Path(images).resolve()
    listed = list(shown)
    read = {(there.st_dev, there.st_ino) for there in (image.path.stat() for image in listed)}
    for row in (row for image in listed for row in image.rows.values()):
        place = _place(overlays, row)
        if not place.exists():
            continue
        there = place.stat()
        if (there.st_dev, there.st_ino) in read or place.resolve().is_relative_to(folder):
            raise ValueError(
                f"{place}: the command would replace this file, which is an image or lies among them; "
                "choose another folder (--overlays)"
            )


def _place(overlays: str | Path, row: str) -> Path:
    return with_ending(Path(overlays) / row, ".jpg")


def table_rows(
    image: str, side: Side | None, measures: Iterable[Measure], spacing: Spacing
) -> Iterator[tuple[str, ...]]:
    """Rows of the table, as :data:`HEADER` names their columns, for the measures of one hand.

    Parameters
    ----------
    image, side
        Whose they are; no side where the image has one hand, whichever that is.
    measures
        The measures.
    spacing
        That they were taken by, see :func:`~handseg_monai.measure.fitting.fitting_spacing`.
    """
    for measure in measures:
        yield (
            image,
            side or "",
            measure.name,
            "" if measure.value is None else f"{measure.value:.4f}",
            measure.unit,
            spacing.says if measure.unit == spacing.unit else "",
            measure.reason,
            "" if measure.reference is None else str(measure.reference),
            "" if measure.z is None else f"{measure.z:.2f}",
            "" if measure.reference is None else measure.reference.source,
        )
