"""``meta_data.xlsx``: sex and height of the subjects, in spite of its headings and stray characters."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import ZipFile

from handseg_monai.files import nfc

Sex = Literal["female", "male"]
_COLUMNS: dict[str, tuple[str, ...]] = {
    "ID": ("id", "subject"),
    "sex": ("성별", "sex", "gender"),
    "height": ("키", "신장", "height"),
}
_SEXES: dict[str, Sex] = {}
for _sex, _words in (("female", "여 여자 여성 f w female woman"), ("male", "남 남자 남성 m male man")):
    _SEXES.update(dict.fromkeys(_words.split(), _sex))  # type: ignore[arg-type]
_CENTIMETRES = 90.0, 230.0
"""Heights that an adult or a child of school age has."""
_MOST_ROWS, _MOST_COLUMNS = 100_000, 1_000
_LARGEST = 2**28
"""Bytes of a workbook at most, unpacked."""


@dataclass(frozen=True)
class Person:
    """What the table says of a subject; None where it says nothing, or nothing that can be right."""

    sex: Sex | None = None
    """``"female"`` or ``"male"``."""
    height: float | None = None
    """Centimetres."""


def read_metadata(path: str | Path) -> dict[str, Person]:
    """Read the table of the subjects from the first sheet of ``meta_data.xlsx``, by their ID.

    Columns go by their headings, Korean or English, in any order; others are passed over. Excel's escapes of control
    characters (``_x0008_``), control characters and spaces are removed. Of two rows of one ID the first counts. Of the
    sheet the first 1,000 columns count.

    Raises
    ------
    ImportError
        ``openpyxl`` is missing.
    ValueError
        The file is missing or no workbook, has no column ``ID``, or is larger than a table of subjects can be. The
        message names the file.
    """
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise ImportError(f"{path}: reading it needs openpyxl: pip install openpyxl") from error
    try:
        with ZipFile(path) as parts:
            size = sum(part.file_size for part in parts.infolist())
        if size > _LARGEST:
            raise ValueError(f"it unpacks to {size >> 20} MiB; expected at most {_LARGEST >> 20}")
        book = load_workbook(path, read_only=True, data_only=True)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # they may be wrong, or those of a single stray cell
        rows = []
        for number, row in enumerate(sheet.iter_rows(values_only=True, max_col=_MOST_COLUMNS), 1):
            if number > _MOST_ROWS:
                raise ValueError(f"its first sheet goes beyond row {_MOST_ROWS}; delete what lies below the table")
            if number == 1 or any(cell is not None for cell in row):
                rows.append(row)
        book.close()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # of a damaged workbook openpyxl raises whatever its parts raise
        raise ValueError(
            f"{path}: not a workbook (.xlsx), or damaged ({str(error) or type(error).__name__})"
        ) from error
    place = _places(rows[0] if rows else [])
    if "ID" not in place:
        headings = [heading for cell in rows[0] if (heading := _clean(cell))] if rows else []
        shown = ", ".join(headings[:20]) + (", …" if len(headings) > 20 else "") or "nothing"
        raise ValueError(f"{path}: no column 'ID' in the first row, which holds {shown}")
    people: dict[str, Person] = {}
    for row in rows[1:]:
        cells = {name: row[i] for name, i in place.items() if i < len(row)}
        if subject := _clean(cells.get("ID")):
            sex = _SEXES.get(_clean(cells.get("sex")).lower())
            people.setdefault(subject, Person(sex, _height(cells.get("height"))))
    return people


def _places(headings: Sequence[object]) -> dict[str, int]:
    place: dict[str, int] = {}
    for i, heading in enumerate(headings):
        # A heading may carry its meaning in brackets: 키(신장).
        words = set(re.split(r"[^\w]+", _clean(heading).lower()))
        for name, known in _COLUMNS.items():
            if words & set(known):
                place.setdefault(name, i)
    return place


def _clean(cell: object) -> str:
    text = re.sub(r"_x[0-9A-Fa-f]{4}_", "", "" if cell is None else nfc(str(cell)))
    return "".join(c for c in text if c.isprintable()).strip()


def _height(cell: object) -> float | None:
    number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:cm)?", _clean(cell).lower())
    height = float(number[1]) if number else math.nan
    return height if _CENTIMETRES[0] <= height <= _CENTIMETRES[1] else None
