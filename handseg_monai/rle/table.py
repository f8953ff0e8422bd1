"""CSV file of a submission: a row for each image and bone."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from handseg_monai.bones import INDEX, NAMES, NUM_BONES
from handseg_monai.files import atomic_open, nfc, require_file

HEADER = ("image_name", "class", "rle")
_SPECIAL = frozenset(',"\r\n')


def read_csv(path: str | Path, empty: bool = True) -> dict[str, list[str | None]]:
    """Read a submission.

    Parameters
    ----------
    path
        CSV file with the header ``image_name,class,rle``, rows in any order.
    empty
        Whether it may hold no image.

    Returns
    -------
    texts
        For each image name, in Unicode's composed form (:func:`~handseg_monai.files.nfc`), 29 run-length texts in the
        order of the bones; None where the file has no row.

    Raises
    ------
    ValueError
        Wrong header, a row of other than three fields, an unknown bone, two rows of one image and bone, or no image.
        The message names the file and the line.
    OSError
        No such file, or it can't be read.
    """
    path = Path(path)
    require_file(path, "the CSV of a submission")
    content = path.read_bytes()
    try:
        content.isascii() or content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 (byte {error.start}); save it as UTF-8") from error
    rows = _rows(_lines(content))
    texts: dict[str, list[str | None]] = {}
    _, header = next(rows, (1, []))
    if tuple(header) != HEADER:
        raise ValueError(f"{path}: the header is {','.join(header)!r}; expected {','.join(HEADER)!r}")
    for line, row in rows:
        if len(row) != 3:
            raise ValueError(f"{path}, line {line}: {len(row)} fields; expected image_name, class and rle")
        name, bone, text = row
        if bone not in INDEX:
            raise ValueError(f"{path}, line {line}: unknown class {bone!r}; expected one of {', '.join(NAMES)}")
        of_image = texts.setdefault(nfc(name), [None] * NUM_BONES)
        if of_image[INDEX[bone]] is not None:
            raise ValueError(f"{path}, line {line}: a second row of image {name!r} and class {bone!r}")
        of_image[INDEX[bone]] = text
    if not texts and not empty:
        raise ValueError(f"{path}: no images")
    return texts


def spellings(path: str | Path) -> dict[str, str]:
    """Names of a submission as its file spells them, by their composed form; those in ASCII alone are left out."""
    content = Path(path).read_bytes()
    names = (row[0] for _, row in _rows(_lines(content))) if not content.isascii() else ()
    return {nfc(name): name for name in names}


def _lines(content: bytes) -> Iterable[str]:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig")


def _rows(file: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not empty, each with the number of the line that it ends in."""
    lines = iter(file)
    for number, line in enumerate(lines, 1):
        if '"' in line:
            # A quoted field may hold commas and line ends. Submissions hardly ever have one, and without it splitting
            # is ten times faster than the csv module.
            csv.field_size_limit(1 << 30)
            reader = csv.reader(itertools.chain([line], lines))
            yield from ((number - 1 + reader.line_num, row) for row in reader if row)
        elif line != "\n":
            yield number, line.rstrip("\n").split(",")


def rows(name: str, texts: Iterable[str | None]) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of one image, one for each of 29 texts that is not None: name, class and run-length text."""
    for bone, text in zip(NAMES, texts, strict=True):
        if text is not None:
            yield name, bone, text


def write_csv(path: str | Path, texts: Iterable[tuple[str, Iterable[str | None]]]) -> None:
    """Write a submission atomically.

    Parameters
    ----------
    path
        CSV file; an older one stays whole until the new one is complete.
    texts
        Pairs of image name and 29 run-length texts in the order of the bones; a bone whose text is None has no row.
    """
    with atomic_open(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for name, of_image in texts:
            if _SPECIAL.isdisjoint(name):
                file.writelines(f"{name},{bone},{text}\n" for name, bone, text in rows(name, of_image))
            else:
                writer.writerows(rows(name, of_image))
