"""Plausibility of every hand of a submission: a table for quality control."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tqdm import tqdm

from handseg_monai.data.label_fit import TELLING, counted_from_0, misplaced
from handseg_monai.data.reading.images import image_size
from handseg_monai.data.reading.submission_images import image_paths
from handseg_monai.files import atomic_open
from handseg_monai.plausibility.judge import Plausibility, Severity, plausibility
from handseg_monai.rle import decode_image, hand_of, read_csv
from handseg_monai.words import counted

_SHOWN = 5
_NAME = 22
"""Characters of a name that stay in one line, as those of the competition, however narrow the terminal."""


def judge_submission(prediction: str | Path, images: str | Path, progress: bool = True) -> dict[str, Plausibility]:
    """Judge the masks of each hand of a submission by :func:`~handseg_monai.plausibility.judge.plausibility`.

    Parameters
    ----------
    prediction
        Submission CSV.
    images
        Folder of the images, which gives their sizes; those that the submission lacks are passed over.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    judgements
        By the name of the rows: the image's, or that of one of its two hands. The worst first.

    Raises
    ------
    ValueError, OSError
        As :func:`~handseg_monai.rle.read_csv` and
        :func:`~handseg_monai.data.reading.submission_images.image_paths`; and, by the edges of the first images, for
        run-lengths that count from 0, run down the columns, or lie on most hands only once they are turned or scaled.
    """
    texts = read_csv(prediction, empty=False)
    paths = image_paths(texts, images)
    judgements: dict[str, Plausibility] = {}
    shifts: list[float] = []
    wrong: list[str] = []
    for name in tqdm(texts, desc="plausibility", unit="image", disable=None if progress else True):
        planes = decode_image(prediction, name, texts[name], image_size(paths[name]))
        # How run-lengths are counted is the same in all of a file.
        if len(judgements) < TELLING and (text := misplaced(paths[name], planes, shifts)):
            wrong.append(f"image {name}: {text}")
        judgements[name] = plausibility(planes)
    if 2 * len(wrong) > min(len(judgements), TELLING):
        raise ValueError(f"{prediction}: {len(wrong)} of the first {min(len(judgements), TELLING)} hands; {wrong[0]}")
    if text := counted_from_0(shifts):
        raise ValueError(f"{prediction}: {text}")
    return dict(sorted(judgements.items(), key=lambda item: (item[1].plausible, item[1].score, item[0])))


def print_judgements(judgements: Mapping[str, Plausibility]) -> None:
    """Print a table of images, score and findings, and how many are plausible."""
    console, table = Console(), Table()
    longest = max(map(len, judgements), default=0)
    table.add_column("image", overflow="fold", width=max(5, min(longest, max(_NAME, console.width // 3))))
    table.add_column("score", justify="right")
    table.add_column("plausible")
    table.add_column("unusual\nproportions", justify="right")
    table.add_column("findings (doubtful ones in brackets)", min_width=14)
    for name, judgement in judgements.items():
        texts = [f.text if f.severity is Severity.WRONG else f"({f.text})" for f in judgement.findings]
        more = [f"… {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
        table.add_row(
            escape(name),
            f"{judgement.score:.3f}",
            "yes" if judgement.plausible else "no",
            f"{judgement.unusual} of {judgement.figures}",
            escape("\n".join(texts[:_SHOWN] + more)),
        )
    console.print(table)
    what = "hand" if any(hand_of(name).side for name in judgements) else "image"
    print(f"{sum(j.plausible for j in judgements.values())} of {counted(len(judgements), what)} plausible")
    unusual, figures = (sum(getattr(j, name) for j in judgements.values()) for name in ("unusual", "figures"))
    if figures:
        print(f"{unusual} of {counted(figures, 'proportion')} unusual: {unusual / figures:.1%}")


def write_judgements(judgements: Mapping[str, Plausibility], path: str | Path) -> None:
    """Write a CSV: a row for each finding, and one for each hand without any."""
    with atomic_open(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image_name", "score", "plausible", "severity", "part", "bones", "finding"))
        for name, judgement in judgements.items():
            of_image = (name, f"{judgement.score:.4f}", int(judgement.plausible))
            for finding in judgement.findings:
                writer.writerow((*of_image, finding.severity, finding.part, " ".join(finding.bones), finding.text))
            if not judgement.findings:
                writer.writerow((*of_image, "", "", "", ""))
