"""What became of each radiograph of a PACS: a table, and words for the end of a run."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from handseg_monai.files import atomic_open
from handseg_monai.pacs.query import Instance
from handseg_monai.words import counted

if TYPE_CHECKING:
    from handseg_monai.plausibility.judge import Plausibility

Result = Literal["stored", "there already", "to do", "refused"]


@dataclass(frozen=True)
class Row:
    """A radiograph, and what became of it."""

    instance: Instance
    result: Result
    why: str = ""
    """Why it was refused; of one that was stored what is unusual about it."""
    judgement: Plausibility | None = None
    """On the masks of one that was stored; of two hands on the worse one."""

    @property
    def is_doubted(self) -> bool:
        """Whether its masks were judged not to be plausible."""
        return self.judgement is not None and not self.judgement.plausible

    @property
    def finding(self) -> str:
        """The first of the judgement, in words."""
        return self.judgement.findings[0].text if self.judgement and self.judgement.findings else ""


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write a CSV: study, series, instance, result and why, and of masks that were judged score, plausible, finding."""
    with atomic_open(path) as file:
        writer = csv.writer(file)
        writer.writerow(("study", "series", "instance", "result", "why", "score", "plausible", "finding"))
        for row in rows:
            of_masks = (f"{row.judgement.score:.4f}", int(row.judgement.plausible)) if row.judgement else ("", "")
            writer.writerow((*_uids(row.instance), row.result, row.why, *of_masks, row.finding))


def tally(rows: Sequence[Row]) -> str:
    """Return how many radiographs there are of each result, in words."""
    counts = Counter(row.result for row in rows)
    each = ", ".join(f"{number} {result}" for result, number in counts.items())
    return f"{counted(len(rows), 'radiograph')}{': ' if each else ''}{each}"


def listed(rows: Sequence[Row]) -> str:
    """Return a line for each of some rows."""
    return "\n".join(f"  {'/'.join(_uids(row.instance))}: {row.why or row.result}" for row in rows)


def listed_doubts(rows: Sequence[Row]) -> str:
    """Return a line for each of some rows whose masks were judged: their score and the first finding."""
    scores = [(row, row.judgement.score) for row in rows if row.judgement]
    return "\n".join(f"  {'/'.join(_uids(row.instance))}: score {score:.2f}, {row.finding}" for row, score in scores)


def _uids(instance: Instance) -> tuple[str, str, str]:
    return instance.study, instance.series, instance.uid
