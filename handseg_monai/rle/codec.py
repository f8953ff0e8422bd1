"""Run-length codec of the competition's submission.

A mask is written as pairs of start and length, ``"3 2 9 1"``: starts count from 1 in row-major order, so that in a
mask of width W the pixel in row r and column c is number r·W + c + 1. An empty mask is an empty field.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from handseg_monai.bones import NUM_BONES
from handseg_monai.rle.loops import elect_runs, read_runs, write_runs
from handseg_monai.rle.width import other_width

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBERS = re.compile(r"(?:[0-9]{1,18}(?: |$))*")


def encode(mask: np.ndarray) -> str:
    """Encode a boolean mask (H, W) as run-length text."""
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"expected a boolean mask of shape (H, W), got {mask.dtype} {mask.shape}")
    flat = np.concatenate([[False], mask.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return _text(edges)


def encode_planes(planes: np.ndarray) -> list[str]:
    """Encode bit planes, int32 (H, W), as 29 run-length texts in the order of the bones.

    One pass finds every pixel where any bone begins or ends; a bone's runs are those where its bit flips.
    """
    if planes.dtype != np.int32 or planes.ndim != 2:
        raise ValueError(f"expected bit planes, int32 (H, W), got {planes.dtype} {planes.shape}")
    flat = np.ascontiguousarray(planes).ravel()
    flips = np.empty(flat.size + 1, np.int32)
    flips[0] = flat[0] if flat.size else 0
    np.bitwise_xor(flat[1:], flat[:-1], out=flips[1:-1])
    flips[-1] = flat[-1] if flat.size else 0
    at = np.flatnonzero(flips)
    flips = flips[at]
    return [_text(at[(flips & np.int32(1 << k)) != 0]) for k in range(NUM_BONES)]


def _text(edges: np.ndarray) -> str:
    """Text of runs given the 0-based pixels at which they begin and, alternately, end."""
    runs = edges.reshape(-1, 2)
    return " ".join(map(str, np.column_stack([runs[:, 0] + 1, runs[:, 1] - runs[:, 0]]).ravel().tolist()))


def parse(text: str | float | None, shape: tuple[int, int] | int | None = None) -> np.ndarray:
    """Read run-length text into runs.

    Parameters
    ----------
    text
        Run-length text. Empty text, None and NaN (as pandas reads an empty field) are the empty mask.
    shape
        (height, width) of the image, or its count of pixels, if known, to check that no run ends beyond it.

    Returns
    -------
    runs
        int64, (N, 2): 0-based start and length in pixels, ascending.

    Raises
    ------
    ValueError
        Odd count of numbers, a token that is no integer, a start or length below 1, a run that begins before the
        last one has ended, or one that ends beyond the image.
    """
    if text is None or (isinstance(text, float) and math.isnan(text)):
        return np.empty((0, 2), np.int64)
    if not isinstance(text, str):
        raise ValueError(f"expected run-length text, got {type(text).__name__} {text!r}")
    if not _NUMBERS.fullmatch(text):
        for token in re.findall(r"[^ \t\r\n]+", text):
            if not _INTEGER.fullmatch(token):
                raise ValueError(f"run-length text holds {token[:40]!r}; expected integers of at most 18 digits")
    numbers = np.fromstring(text, np.int64, sep=" ") if text.strip() else np.empty(0, np.int64)
    if numbers.size % 2:
        raise ValueError(f"run-length text holds an odd count of numbers ({numbers.size}); expected start-length pairs")
    runs = numbers.reshape(-1, 2)
    starts, lengths = runs[:, 0] - 1, runs[:, 1]
    if (bad := np.flatnonzero(lengths < 1)).size:
        raise ValueError(f"run {bad[0] + 1} has length {lengths[bad[0]]}; expected at least 1")
    if (bad := np.flatnonzero(starts < 0)).size:
        raise ValueError(f"run {bad[0] + 1} starts at {runs[bad[0], 0]}; expected at least 1")
    if (bad := np.flatnonzero(starts[1:] < starts[:-1] + lengths[:-1])).size:
        i = int(bad[0])
        raise ValueError(
            f"run {i + 2} starts at {runs[i + 1, 0]}, before run {i + 1} ({runs[i, 0]} {lengths[i]}) has ended: "
            "runs overlap or are out of order"
        )
    if shape is not None and len(runs):
        pixels, size = (shape, "") if isinstance(shape, int) else (shape[0] * shape[1], f"{shape[0]} x {shape[1]} ")
        if (end := int(starts[-1] + lengths[-1])) > pixels:
            whole = f"{size}({pixels} pixels)" if size else f"{pixels} pixels"
            raise ValueError(f"the last run ends at pixel {end}, past the end of an image of {whole}")
    return np.column_stack([starts, lengths])


class Runs(NamedTuple):
    """Runs of many masks.

    Attributes
    ----------
    first
        int64 (masks + 1,): mask k has the runs ``first[k]`` to ``first[k + 1] - 1``.
    start, end
        int64 (N,): 0-based pixels at which they begin and end.
    """

    first: np.ndarray
    start: np.ndarray
    end: np.ndarray


class RunsError(ValueError):
    """Run-length text of one of many masks that breaks the contract; ``mask`` is its number."""

    def __init__(self, mask: int, message: str) -> None:
        super().__init__(message)
        self.mask = mask


def parse_many(texts: Sequence[str | float | None], pixels: Sequence[int] | None = None) -> Runs:
    """Read the run-length texts of many masks, as :func:`parse` reads one, at once.

    Parameters
    ----------
    texts
        One a mask.
    pixels
        Count of pixels of each mask, if known, to check that no run ends beyond it.

    Raises
    ------
    RunsError
        The first text for which :func:`parse` raises.
    """
    if all(isinstance(text, str) or text is None or text != text for text in texts):
        plain = [text if isinstance(text, str) else "" for text in texts]
        # Other than ASCII is no digit: one byte a character keeps the places right.
        buffer = np.frombuffer("".join(plain).encode("ascii", "replace"), np.uint8)
        ends = np.cumsum([0, *map(len, plain)])
        limits = np.full(len(plain), 10**18, np.int64) if pixels is None else np.asarray(pixels, np.int64)
        first = np.empty(len(plain) + 1, np.int64)
        # A text of n runs has 4 n - 1 characters at least.
        start, end = np.empty((2, (len(buffer) + len(plain)) // 4), np.int64)
        if read_runs(buffer, ends[:-1], ends[1:], limits, len(plain), first, start, end):
            return Runs(first, start[: first[-1]], end[: first[-1]])
    # Something is unusual: one by one tells what.
    each = []
    for number, text in enumerate(texts):
        try:
            each.append(parse(text, int(pixels[number]) if pixels is not None else None))
        except ValueError as error:
            raise RunsError(number, str(error)) from error
    runs = np.concatenate([np.empty((0, 2), np.int64), *each])
    return Runs(np.cumsum([0, *map(len, each)]), runs[:, 0], runs.sum(axis=1))


def vote(voters: Sequence[Runs], masks: int, weights: Sequence[int], least: int) -> list[str]:
    """Vote over masks pixel by pixel, on their runs alone.

    A union is a vote with ``least`` 1, an intersection one with all of the weights.

    Parameters
    ----------
    voters
        Runs of the same masks by each voter.
    masks
        Their count.
    weights
        Of the voters, >= 1.
    least
        A pixel is in the result where the weights of those that have it sum up to at least so many, >= 1.

    Returns
    -------
    texts
        Of the results, as :func:`encode` writes them: runs that touch are one.
    """
    before = np.cumsum([0, *(len(runs.start) for runs in voters)])[:-1]
    first = np.stack([runs.first + at for runs, at in zip(voters, before, strict=True)])
    start, end = (np.concatenate([runs[which] for runs in voters]) for which in (1, 2))
    edges_first, edges = np.empty(masks + 1, np.int64), np.empty(2 * len(start), np.int64)
    state = np.empty((3, len(voters)), np.int64)
    elect_runs(first, start, end, np.asarray(weights, np.int64), len(voters), masks, least, state, edges_first, edges)
    text_end, text = np.empty(masks, np.int64), np.empty(20 * int(edges_first[-1]), np.uint8)
    length = write_runs(edges_first, edges, masks, text_end, text)
    written = text[:length].tobytes().decode("ascii")
    return [written[a:b] for a, b in itertools.pairwise([0, *text_end.tolist()])]


def decode(text: str | float | None, shape: tuple[int, int]) -> np.ndarray:
    """Decode run-length text into a boolean mask of ``shape`` (height, width). Errors: see :func:`parse`."""
    mask = np.zeros(shape[0] * shape[1], np.bool_)
    for start, length in parse(text, shape):
        mask[start : start + length] = True
    return mask.reshape(shape)


def decode_planes(texts: Iterable[str | float | None], shape: tuple[int, int]) -> np.ndarray:
    """Decode 29 run-length texts, in the order of the bones, into bit planes, int32 ``shape``."""
    return _planes([parse(text, shape) for text in texts], shape)


def decode_fitting(texts: Iterable[str | float | None], shape: tuple[int, int]) -> np.ndarray:
    """Decode texts that others wrote, as :func:`decode_planes` does.

    Raises ``ValueError`` also for run-lengths that fit images of another width, or run down the columns.
    """
    runs = [parse(text, shape) for text in texts]
    if (other := other_width(runs, shape[1])) is not None:
        columns = ", or run down the columns" if other == shape[0] else ""
        raise ValueError(
            f"the run-lengths fit images {other} pixels wide{columns}; this one has {shape[1]}: give the images that "
            "the masks were made of"
        )
    return _planes(runs, shape)


def _planes(runs: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    flips = np.zeros(shape[0] * shape[1] + 1, np.int32)
    for bone, of_bone in zip(range(NUM_BONES), runs, strict=True):
        # Starts are unique among themselves and so are ends; where runs touch, the pixel must flip twice.
        flips[of_bone[:, 0]] ^= np.int32(1 << bone)
        flips[of_bone.sum(axis=1)] ^= np.int32(1 << bone)
    return np.bitwise_xor.accumulate(flips)[:-1].reshape(shape)


def decode_image(
    path: str | Path, name: str, texts: Iterable[str | float | None], shape: tuple[int, int]
) -> np.ndarray:
    """Decode one image of a submission by :func:`decode_fitting`; an error names file and image."""
    try:
        return decode_fitting(texts, shape)
    except ValueError as error:
        raise ValueError(f"{path}: image {name}: {error}") from error
