"""What the page keeps of an image, and the errors in words that keeping it may end with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Box = tuple[slice, slice]
"""Rows and columns of a part of an image, as :func:`handseg_monai.bitplanes.boxes` gives them."""

MISTAKE = "the server has made a mistake; its terminal says which"


class RequestError(ValueError):
    """What was asked for can't be right. The message says why, in words."""


class StoreError(RequestError):
    """The store can't do what was asked. The message says why, in words."""


class MissingError(StoreError):
    """There is no image of this id."""


class StaleError(StoreError):
    """The image has changed since the revision that a change is based on."""


class DamagedError(StoreError):
    """Files of one image are gone or damaged; the others are as they were."""


def in_words(error: Exception) -> str:
    """What an error says to a person who must not see paths of this machine."""
    if isinstance(error, (ValueError, ChildProcessError)):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return MISTAKE


@dataclass(frozen=True)
class Entry:
    """One image of the store.

    Attributes
    ----------
    id
        First 16 hex digits of the SHA-256 of its file.
    name
        As it was given, in one line of composed Unicode.
    title
        The last part of the name, made unique among the images: ``hand.png``, ``hand (2).png``. Training, and whatever
        is handed on, names the image so.
    number
        Place in the order of adding, from 1; gaps stay where images were removed.
    suffix
        Of its file: one of the suffixes of images, or empty.
    sha256
        Of its file.
    state
        ``waiting`` to be segmented, ``ready``, or ``failed``.
    error
        Why it failed, in words.
    height, width
        In pixels; 0 until it is ready.
    confidence
        29 numbers from 0 to 1, where the network gave them.
    note
        What inference said of the image.
    weights
        Digest of the weights that segmented it.
    planes
        SHA-256 of the file of what the network drew.
    """

    id: str
    name: str
    title: str
    number: int
    suffix: str
    sha256: str
    state: Literal["waiting", "ready", "failed"] = "waiting"
    error: str = ""
    height: int = 0
    width: int = 0
    confidence: Sequence[float] | None = None
    note: str = ""
    weights: str = ""
    planes: str = ""


@dataclass(frozen=True, eq=False)
class Inferred:
    """What the network drew: bit planes, int32 (H, W); the rest as in :class:`Entry`."""

    planes: np.ndarray
    confidence: Sequence[float] | None = None
    note: str = ""
    weights: str = ""


@dataclass(frozen=True)
class Marks:
    """How far an image is corrected.

    Attributes
    ----------
    revision
        Number of acts so far; each change names the one that it is based on.
    unknown
        Bit k is set where bone k is marked as unknown.
    done
        Whether the image is marked as done, and so trained on.
    undoable, redoable
        How many acts can be undone, and done again.
    edited
        Bit k is set where bone k has been edited, and not all of that undone.
    """

    revision: int
    unknown: int
    done: bool
    undoable: int
    redoable: int
    edited: int


@dataclass(frozen=True, eq=False)
class State(Marks):
    """Marks, and the bit planes as they are now: int32 (H, W), not to be written to."""

    planes: np.ndarray
