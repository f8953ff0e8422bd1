"""One radiograph of a datalist, and what is wrong with a label."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict


class Item(TypedDict, total=False):
    """One radiograph of a datalist: paths as text, so that it goes through MONAI and JSON alike.

    ``known`` has bit k set where bone k is labelled in this image, present or absent; without it all 29 are. Its bit
    :data:`~handseg_monai.bones.FLAT` says that the label holds no overlaps.
    """

    image: str
    name: str
    label: str
    subject: str
    known: int


class LabelError(ValueError):
    """A label file that breaks the contract. The message names the file and every fault in it."""


class Faults(list[str]):
    """Faults of many files, a sentence each, all of which are found before the first stops anything."""

    @contextmanager
    def of(self, place: object = None) -> Iterator[None]:
        """Take down a ``ValueError`` of the block, after the place that it is about, and go on."""
        try:
            yield
        except ValueError as error:
            self.append(str(error) if place is None else f"{place}: {error}")

    def stop(self) -> None:
        """Raise :class:`LabelError` with all faults, a line each, if there are any."""
        if self:
            raise LabelError("\n".join(self))

    def stop_in_one(self) -> None:
        """Raise ``ValueError`` with all faults of one image, if there are any."""
        if self:
            raise ValueError("; ".join(self))
