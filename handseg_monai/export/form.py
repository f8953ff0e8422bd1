"""What all forms of export share: the masks of one image, of one hand or two, and how they are handed over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from handseg_monai.bones import NAMES, Side
from handseg_monai.data.reading.images import without_suffix
from handseg_monai.files import with_ending
from handseg_monai.words import counted


class MasksNotWrittenError(Exception):
    """A form can't hold the masks of one image, and why; those of the others are not concerned."""


class IncompleteExportError(Exception):
    """All images but some were exported; :attr:`failures` says why not these, by image."""

    def __init__(self, failures: dict[str, str], total: int) -> None:
        self.failures = failures
        listed = "".join(f"\n  {name}: {why}" for name, why in failures.items())
        super().__init__(f"{len(failures)} of {counted(total, 'image')} not exported:{listed}")


@dataclass(frozen=True)
class HandMasks:
    """The masks of one hand."""

    side: Side | None
    """None where the image has rows of one hand, whichever that is."""
    planes: np.ndarray
    """Bit planes, int32 (H, W)."""
    given: np.ndarray
    """Bool (29,): the submission has a row of the bone."""


@dataclass(frozen=True)
class Masks:
    """The masks of one image."""

    name: str
    """Of the image in the submission."""
    path: Path
    """Of the image."""
    hands: Sequence[HandMasks]
    """One, or the left and the right one."""

    @property
    def stem(self) -> PurePosixPath:
        """The name without its suffix, which may hold folders."""
        return PurePosixPath(without_suffix(self.name))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.hands[0].planes.shape
        return height, width


class Form(ABC):
    """Takes a folder, then the masks of one image after another, and is finished."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def _path(self, masks: Masks, suffix: str) -> Path:
        """Return the file of an image, whose folder is made; the image's name may hold folders."""
        path = with_ending(self._out / masks.stem, suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @classmethod
    def check(cls, paths: Collection[Path]) -> None:
        """Raise ``ValueError``, before anything is written, if this form can't hold one of the images."""
        return

    @abstractmethod
    def add(self, masks: Masks) -> None:
        """Write the masks of an image, or take them up; ``MasksNotWrittenError`` where the form can't hold them."""

    def finish(self) -> None:  # noqa: B027
        """Write what belongs to all images."""


def class_name(bone: int, side: Side | None) -> str:
    """Name of a bone as a class: ``Radius``, and of an image with two hands ``left_Radius`` and ``right_Radius``."""
    return NAMES[bone] if side is None else f"{side}_{NAMES[bone]}"


def mask_of(planes: np.ndarray, bone: int) -> np.ndarray:
    """Return the mask of a bone, uint8, 0 and 1."""
    return (planes >> np.int32(bone) & np.int32(1)).astype(np.uint8)
