"""One radiograph of a datalist, and what is wrong with a label."""

from __future__ import annotations

from typing import TypedDict


class Item(TypedDict, total=False):
    """One radiograph of a datalist: paths as text, so that it goes through MONAI and JSON alike.

    ``known`` has bit k set where bone k is labelled in this image, present or absent; without it all 29 are.
    """

    image: str
    name: str
    label: str
    subject: str
    known: int


class LabelError(ValueError):
    """A label file that breaks the contract. The message names the file and every fault in it."""
