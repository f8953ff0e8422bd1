"""Finding the images of a submission, which itself holds nothing but the names of its rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from handseg_monai.bones import Side
from handseg_monai.data.reading.images import find_images
from handseg_monai.files import nfc
from handseg_monai.rle import by_image, hand_of


class SubmissionImage(NamedTuple):
    """An image of a submission."""

    path: Path
    """The file."""
    rows: dict[Side | None, str]
    """Names of its rows by hand: one for None, or for left, right or both."""


def submission_images(names: Iterable[str], folder: str | Path) -> dict[str, SubmissionImage]:
    """Images by the names of rows: base names, or paths below the folder, at any depth; in the order of the paths.

    A name's accents and syllables may be composed on disk and not in the submission, or the other way round.

    Raises
    ------
    ValueError
        The folder lacks some of the images, holds two of one name, or an image has rows of one hand and of both. The
        message names the first few.
    OSError
        The folder can't be read.
    """
    rows = list(names)
    wanted = {nfc(name): name for image in rows for name in (hand_of(image).image, image)}
    found: dict[str, Path] = {}
    for path in find_images(folder):
        relative = path.relative_to(folder).as_posix() if path != Path(folder) else path.name
        name = wanted.get(nfc(relative)) or wanted.get(nfc(path.name))
        if name is None:
            continue
        if name in found:
            raise ValueError(f"two images of the name {name}: {found[name]} and {path}")
        found[name] = path
    shown = by_image(rows, found)
    if lacks := sorted(shown.keys() - found.keys()):
        some = ", ".join(lacks[:3]) + (", …" if len(lacks) > 3 else "")
        raise ValueError(f"{folder}: lacks {len(lacks)} of the images ({some})")
    return {name: SubmissionImage(path, shown[name]) for name, path in found.items() if name in shown}


def images_without_rows(names: Iterable[str], folder: str | Path) -> list[str]:
    """Base names of the images of a folder that no row of a submission is of."""
    held = {nfc(name) for row in names for name in (row, hand_of(row).image)}
    found = []
    for path in find_images(folder):
        relative = path.relative_to(folder).as_posix() if path != Path(folder) else path.name
        if held.isdisjoint({nfc(relative), nfc(path.name)}):
            found.append(path.name)
    return found


def image_paths(names: Iterable[str], folder: str | Path) -> dict[str, Path]:
    """Paths of images by the names of rows; both hands of an image have the same. As :func:`submission_images`."""
    images = submission_images(names, folder).values()
    return {row: image.path for image in images for row in image.rows.values()}
