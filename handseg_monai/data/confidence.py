"""How sure a network was of each bone of each image: the file that inference writes beside a submission."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from handseg_monai.bones import INDEX, NAMES, NUM_BONES
from handseg_monai.data.items import LabelError
from handseg_monai.files import nfc

HEADER = ("image", "bone", "confidence")


def confidence_rows(name: str, values: Sequence[float]) -> list[tuple[str, str, str]]:
    """Return the 29 rows of an image, for a CSV below :data:`HEADER`."""
    return [(name, bone, f"{value:.4f}") for bone, value in zip(NAMES, values, strict=True)]


def read_confidence(path: str | Path) -> dict[str, list[float]]:
    """Read ``confidence.csv``: 29 numbers, 0 to 1, for each image.

    Raises
    ------
    LabelError
        The file can't be read or holds something else; the message names the line.
    """
    found: dict[str, list[float | None]] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            if tuple(next(reader, ())) != HEADER:
                raise LabelError(f"{path}: expected the header {','.join(HEADER)} of inference --confidence true")
            for row in reader:
                try:
                    name, bone, value = nfc(row[0]), INDEX[row[1]], float(row[2])
                except (IndexError, KeyError, ValueError):
                    value = -1.0
                if not 0 <= value <= 1 or len(row) != 3:
                    raise LabelError(f"{path}, line {reader.line_num}: expected image, bone and a number from 0 to 1")
                found.setdefault(name, [None] * NUM_BONES)[bone] = value
    except csv.Error as error:
        raise LabelError(f"{path}: {error}") from error
    except OSError as error:
        raise LabelError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not a text file in UTF-8") from error
    whole: dict[str, list[float]] = {}
    for name, values in found.items():
        whole[name] = [value for value in values if value is not None]
        if len(whole[name]) != NUM_BONES:
            raise LabelError(f"{path}: image {name} has {len(whole[name])} bones, expected {NUM_BONES}")
    return whole
