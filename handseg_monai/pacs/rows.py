"""What became of each radiograph of a PACS: a table, and words for the end of a run."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from handseg_monai.files import atomic_open
from handseg_monai.pacs.query import Instance
from handseg_monai.words import counted

Result = Literal["stored", "there already", "to do", "refused"]


@dataclass(frozen=True)
class Row:
    """A radiograph, and what became of it."""

    instance: Instance
    result: Result
    why: str = ""
    """Why it was refused; of one that was stored what is unusual about it."""


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write a CSV with the columns study, series, instance, result and why."""
    with atomic_open(path) as file:
        writer = csv.writer(file)
        writer.writerow(("study", "series", "instance", "result", "why"))
        writer.writerows((*_uids(row.instance), row.result, row.why) for row in rows)


def tally(rows: Sequence[Row]) -> str:
    """Return how many radiographs there are of each result, in words."""
    counts = Counter(row.result for row in rows)
    each = ", ".join(f"{number} {result}" for result, number in counts.items())
    return f"{counted(len(rows), 'radiograph')}{': ' if each else ''}{each}"


def listed(rows: Sequence[Row]) -> str:
    """Return a line for each of some rows."""
    return "\n".join(f"  {'/'.join(_uids(row.instance))}: {row.why or row.result}" for row in rows)


def _uids(instance: Instance) -> tuple[str, str, str]:
    return instance.study, instance.series, instance.uid
