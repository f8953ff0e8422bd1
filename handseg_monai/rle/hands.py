"""What the name of a submission's rows means: an image, or one of the two hands that it shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from handseg_monai.bones import SIDES, Side
from handseg_monai.words import counted


class Hand(NamedTuple):
    """Hand that 29 rows of a submission are of."""

    image: str
    """Name of the image."""
    side: Side | None
    """None of an image with rows of one hand, whichever that is."""


def row_name(image: str, side: Side | None) -> str:
    """Name of the rows of a hand: the image's own, and ``#left`` or ``#right`` after it where it shows both."""
    return image if side is None else f"{image}#{side}"


def hand_of(name: str, images: Collection[str] = ()) -> Hand:
    """Say which hand the rows of a name are of.

    Parameters
    ----------
    name
        Of the rows. Nothing but the two endings has a meaning: ``scan #2.png`` and ``scan#left.png`` are images.
    images
        Names of images, where they are known: one that is really called ``x.png#left`` is an image.
    """
    if name not in images:
        for side in SIDES:
            if (image := name.removesuffix(f"#{side}")) not in (name, ""):
                return Hand(image, side)
    return Hand(name, None)


def by_image(names: Iterable[str], images: Collection[str] = ()) -> dict[str, dict[Side | None, str]]:
    """Names of rows by image, in the order of the names, and by side, left before right.

    Raises
    ------
    ValueError
        An image has rows of its own name, and of ``#left`` or ``#right``.
    """
    found: dict[str, dict[Side | None, str]] = {}
    for name in names:
        image, side = hand_of(name, images)
        found.setdefault(image, {})[side] = name
    for image, rows in found.items():
        if None in rows and len(rows) > 1:
            other = next(name for side, name in rows.items() if side)
            raise ValueError(
                f"a submission has rows of {image} and of {other}; expected rows of one hand, or of #left and #right"
            )
    return {image: dict(sorted(rows.items(), key=lambda row: row[0] or "")) for image, rows in found.items()}


def count_images(names: Collection[str], images: Collection[str] = ()) -> str:
    """Count images in words, and hands too where some image has two: ``4 hands of 3 images``."""
    count = len({hand_of(name, images).image for name in names})
    words = counted(count, "image")
    return words if count == len(names) else f"{counted(len(names), 'hand')} of {words}"
