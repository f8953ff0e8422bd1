"""What a conversion says on the terminal: the bones, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from handseg_monai.bones import BONES
from handseg_monai.data.labels.convert import Conversion
from handseg_monai.data.labels.flat import FLAT_SOURCE
from handseg_monai.words import counted


def print_conversion(result: Conversion, assumed: bool = False) -> None:
    """Print for each bone in how many images it is known and present, and the images that were left out.

    Where it is ``assumed`` that a bone without a label is absent, say which ones are.
    """
    known = np.array([item["known"] for item in result.items])
    table = Table()
    for heading in ("bone", "name", "known", "present"):
        table.add_column(heading, justify="left" if heading in ("bone", "name") else "right")
    for bone in BONES:
        in_images = int(((known >> bone.index) & 1).sum())
        present = int((result.areas[:, bone.index] > 0).sum())
        table.add_row(bone.name, bone.english, str(in_images), str(present))
    Console().print(table)
    if result.flat:
        print(FLAT_SOURCE)
    absent = {
        bone.name: int((((known >> bone.index) & 1 == 1) & (result.areas[:, bone.index] == 0)).sum()) for bone in BONES
    }
    counts = [f"{name} in {counted(count, 'image')}" for name, count in absent.items() if count]
    if counts and assumed:
        print(
            f"without a label, and so absent: {', '.join(counts)}. If they are there and nobody drew them, give "
            "--missing unknown; else give --missing absent"
        )
    _list(result.unlabelled, "without a label or a bone, left out")
    _list(result.unmentioned, "that the source does not name, left out")


def _list(paths: Sequence[Path], what: str) -> None:
    if paths:
        print(
            f"{counted(len(paths), 'image')} {what}: {', '.join(map(str, paths[:3]))}{', …' if len(paths) > 3 else ''}"
        )
