"""``meta_data.xlsx`` of a data set: one row a subject, with the headings and the stray characters of the original."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handseg_monai.files import atomic_path
from handseg_monai.phantom.anatomy import HINT

if TYPE_CHECKING:
    from openpyxl import Workbook

HEADINGS = ("ID", "나이", "성별", "체중(몸무게)", "키(신장)", "Unnamed: 5")
"""ID, age, sex, weight, height, and nail art under the heading that pandas gives to a column without one."""
_MALE, _FEMALE = ("남", "_x0008_남", " 남", "남 "), ("여", "_x0008_여", " 여", "여 ")


def new_workbook() -> Workbook:
    """Return an empty workbook.

    Raises
    ------
    ImportError
        When ``openpyxl`` is missing; the message names the extra to install.
    """
    try:
        from openpyxl import Workbook
    except ImportError as error:
        raise ImportError(f"Writing meta_data.xlsx {HINT}") from error
    return Workbook()


def write_metadata(path: Path, subjects: list[str], seed: int) -> None:
    """Write the table of the subjects, named as their folders; it is a function of the seed and of their places."""
    book = new_workbook()
    table = book.create_sheet("Sheet1", 0)
    del book[book.sheetnames[1]]
    table.append(HEADINGS)
    for number, subject in enumerate(subjects):
        table.append([subject, *_person(np.random.default_rng([seed, number, 8]))])
    with atomic_path(path) as part:
        book.save(part)


def _person(rng: np.random.Generator) -> list[int | float | str | None]:
    male = rng.random() < 0.5
    stray = 0 if rng.random() < 0.9 else int(rng.integers(1, 4))
    height = round(float(rng.normal(174.0 if male else 161.5, 5.5)), 1)
    weight = round(float(rng.normal(23.5 if male else 21.5, 2.5)) * (height / 100) ** 2, 1)
    polish = "네일아트" if not male and rng.random() < 0.08 else None
    return [int(rng.integers(19, 70)), (_MALE if male else _FEMALE)[stray], weight, height, polish]
