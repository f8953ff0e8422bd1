"""One submission from several, by a vote on every pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path

from tqdm import tqdm

from handseg_monai.bones import NAMES, NUM_BONES
from handseg_monai.rle import (
    Runs,
    RunsError,
    count_images,
    hand_of,
    parse_many,
    read_csv,
    spellings,
    vote,
    write_csv,
)
from handseg_monai.words import counted

_AT_ONCE = 4
"""Images whose runs fit into a processor's cache together."""
_THREADS = 2
"""The compiled loops, four fifths of the vote, run side by side."""
Texts = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True)
class Vote:
    """What was done."""

    images: tuple[str, ...]
    """Names of the rows voted on: of images, or of both hands of one."""
    least: str
    """Votes that a pixel needed, in words."""
    left_out: tuple[str, ...]
    """Names of the rows that not all of the submissions have."""
    empty: dict[str, int]
    """For each submission how many of its rows were missing, and counted as empty."""
    checked: bool
    """Whether runs were checked against the sizes of the images."""


def vote_submissions(
    submissions: Sequence[str | Path],
    out: str | Path,
    *,
    min_votes: int | None = None,
    weights: Sequence[str] | None = None,
    images: str | Path | None = None,
    size: tuple[int, int] | None = None,
    common: bool = False,
    progress: bool = True,
) -> Vote:
    """Vote over submissions, and write the result as a submission.

    Parameters
    ----------
    submissions
        Two CSV files or more.
    out
        CSV file to write, in the order of the first submission's images.
    min_votes
        Submissions that must have a pixel; more than half of them if None.
    weights
        Decimal number for each submission: a pixel needs more than half of their sum.
    images, size
        Folder of the images, or their one (height, width), to check that no run ends beyond its image.
    common
        Vote on those images that all submissions have, rather than stop where they differ.
    progress
        Show a progress bar on a terminal.

    Raises
    ------
    ValueError
        Options that do not fit, a submission that breaks the contract, or submissions of different images.
    OSError
        A file can't be read.
    """
    paths = [str(path) for path in submissions]
    least, whole = _rule(len(paths), min_votes, weights)
    if images is not None and size is not None:
        raise ValueError("--images and --size: expected one of them")
    read: list[Texts] = [read_csv(path) for path in paths]
    names, left_out = _names(paths, read, common)
    spelt = spellings(paths[0])
    pixels: dict[str, int] | None = None
    if images is not None:
        # What opens images takes 0.1 s to import: only where they are opened.
        from handseg_monai.data.reading.images import image_size
        from handseg_monai.data.reading.submission_images import image_paths

        pixels = {name: math.prod(image_size(path)) for name, path in image_paths(names, images).items()}
    elif size is not None:
        pixels = dict.fromkeys(names, size[0] * size[1])

    def elected(some: Sequence[str]) -> list[str]:
        runs = [_runs(path, texts, some, pixels) for path, texts in zip(paths, read, strict=True)]
        return vote(runs, NUM_BONES * len(some), whole, least)

    def results() -> Iterator[tuple[str, list[str]]]:
        parts = [names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)]
        with (
            tqdm(total=len(names), desc="vote", unit="image", disable=None if progress else True) as bar,
            ThreadPoolExecutor(_THREADS) as pool,
        ):
            for some, texts in zip(parts, pool.map(elected, parts), strict=True):
                for number, name in enumerate(some):
                    yield spelt.get(name, name), texts[NUM_BONES * number : NUM_BONES * (number + 1)]
                bar.update(len(some))

    write_csv(out, results())
    empty = {
        path: count
        for path, texts in zip(paths, read, strict=True)
        if (count := sum(text is None for name in names for text in texts[name]))
    }
    needed = f"{least} of {len(paths)} votes" if weights is None else f"more than half of weights {' '.join(weights)}"
    return Vote(tuple(names), needed, tuple(left_out), empty, pixels is not None)


def _rule(voters: int, min_votes: int | None, weights: Sequence[str] | None) -> tuple[int, list[int]]:
    """Return the sum that elects a pixel, and the weights, as whole numbers of one unit."""
    if voters < 2:
        raise ValueError(f"expected two submissions or more, got {voters}")
    if weights is None:
        least = voters // 2 + 1 if min_votes is None else min_votes
        if not 1 <= least <= voters:
            raise ValueError(f"--min-votes: expected 1 to {voters}, the count of submissions, got {least}")
        return least, [1] * voters
    if min_votes is not None:
        raise ValueError("--min-votes and --weights: expected one of them")
    if len(weights) != voters:
        raise ValueError(f"--weights: expected {voters}, one a submission, got {len(weights)}")
    parts = []
    for text in weights:
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or not Decimal("1e-6") <= number <= Decimal("1e6"):
            raise ValueError(f"--weights: expected decimal numbers from 0.000001 to 1000000, got {text!r}")
        parts.append(Fraction(round(number, 6)))
    unit = math.lcm(*(part.denominator for part in parts))
    whole = [int(part * unit) for part in parts]
    return sum(whole) // 2 + 1, whole


def _names(paths: Sequence[str], read: Sequence[Texts], common: bool) -> tuple[list[str], list[str]]:
    """Return the images to vote on, and those to leave out."""
    shared = set(read[0]).intersection(*read[1:])
    left_out = sorted(set().union(*read) - shared)
    if left_out and not common:
        lacks = [
            f"{path} lacks {len(gone)} ({', '.join(gone[:3])}{', …' if len(gone) > 3 else ''})"
            for path, texts in zip(paths, read, strict=True)
            if (gone := [name for name in left_out if name not in texts])
        ]
        _refuse_other_hands(paths, read, left_out)
        raise ValueError(f"submissions of different images: {'; '.join(lacks)}; --common votes on those they share")
    names = [name for name in read[0] if name in shared]
    if not names:
        raise ValueError(f"{', '.join(paths)}: no image that all of them have")
    return names, left_out


def _refuse_other_hands(paths: Sequence[str], read: Sequence[Texts], apart: Sequence[str]) -> None:
    """Raise where one submission has both hands of an image, and another one hand."""
    for name in apart:
        image, side = hand_of(name)
        two = [path for path, texts in zip(paths, read, strict=True) if name in texts]
        one = [path for path, texts in zip(paths, read, strict=True) if image in texts and name not in texts]
        if side and one:
            raise ValueError(
                f"{two[0]} has rows of both hands of {image}, {one[0]} of one hand; a vote needs the same hands: infer "
                "all with the same --hands, or --common leaves such images out"
            )


def _runs(path: str, texts: Texts, names: Sequence[str], pixels: Mapping[str, int] | None) -> Runs:
    limits = [pixels[name] for name in names for _ in NAMES] if pixels is not None else None
    try:
        return parse_many([text for name in names for text in texts[name]], limits)
    except RunsError as error:
        name, bone = names[error.mask // NUM_BONES], NAMES[error.mask % NUM_BONES]
        raise ValueError(f"{path}: image {name}, class {bone}: {error}") from error


def print_vote(result: Vote) -> None:
    """Print what was voted on, and what was missing."""
    for path, count in result.empty.items():
        print(f"{path}: {counted(count, 'row')} missing; counted as empty masks")
    voted = {hand_of(name).image for name in result.images}
    for what, rows in (
        ("image", {hand_of(name).image for name in result.left_out} - voted),
        ("hand", {name for name in result.left_out if hand_of(name).image in voted}),
    ):
        if rows:
            shown = ", ".join(sorted(rows)[:3]) + (", …" if len(rows) > 3 else "")
            print(f"{counted(len(rows), what)} left out that not all submissions have ({shown})")
    if not result.checked:
        print("image sizes not checked: give --images DIR or --size HxW")
    print(f"{count_images(result.images)}, a pixel needs {result.least}")
