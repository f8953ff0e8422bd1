"""What folds are balanced by: sex, height and wrist deviation of the subjects, and a table of the balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from handseg_monai.data.folds.metadata import Person, read_metadata
from handseg_monai.data.items import Item, LabelError
from handseg_monai.data.layouts import read_truth
from handseg_monai.data.reading.images import UnreadableImageError, image_size
from handseg_monai.data.wrist import BENT, wrist_deviation
from handseg_monai.words import counted

_SIZE = 512
"""Long side of the label that the wrist's deviation is measured on, pixels."""
_ALIKE = {"height": 1.0, "deviation": 2.0}
"""Standard deviation, centimetres and degrees, below which subjects differ by no more than a measure errs."""


@dataclass(frozen=True)
class Traits:
    """Of one subject."""

    person: Person
    """Sex and height, where the metadata tell."""
    deviations: tuple[float, ...]
    """Wrist deviation on each image, degrees, positive towards the thumb; NaN where it can't be measured."""


@dataclass(frozen=True)
class SubjectTraits:
    """Traits of the subjects of a dataset."""

    of: dict[str, Traits]
    """By subject."""
    notes: tuple[str, ...]
    """A sentence for each thing that is not known."""


def read_traits(items: Sequence[Item], metadata: str | Path, progress: bool = True) -> SubjectTraits:
    """Read sex and height from the metadata, if there are any, and measure the wrist's deviation on the labels.

    Nothing here raises: a trait that is missing or can't be read is noted, and does not balance the folds.
    """
    subjects = sorted({item["subject"] for item in items})
    people: dict[str, Person] = {}
    notes = []
    if Path(metadata).is_file():
        try:
            table = read_metadata(metadata)
        except (ValueError, ImportError) as error:
            notes.append(f"{error}; not balanced by sex and height")
        else:
            people = _of_subjects(table, subjects)
            if table and not people:
                notes.append(
                    f"{metadata}: no ID is that of a subject (IDs such as {next(iter(table))}, subjects such as "
                    f"{subjects[0]}); not balanced by sex and height"
                )
            known = [people.get(subject, Person()) for subject in subjects]
            for what, unknown in (
                ("sex", sum(person.sex is None for person in known)),
                ("height", sum(person.height is None for person in known)),
            ):
                if unknown and people:
                    notes.append(f"{metadata}: {what} of {unknown} of {counted(len(subjects), 'subject')} is not known")
    else:
        notes.append(f"no {metadata}: not balanced by sex and height")
    deviations: dict[str, list[float]] = {subject: [] for subject in subjects}
    for item in tqdm(items, desc="wrist deviation", unit="image", leave=False, disable=None if progress else True):
        deviations[item["subject"]].append(_deviation(item))
    if unmeasured := int(sum(np.isnan(values).sum() for values in deviations.values())):
        notes.append(f"wrist deviation can't be measured on {unmeasured} of {counted(len(items), 'image')}")
    return SubjectTraits(
        {subject: Traits(people.get(subject, Person()), tuple(deviations[subject])) for subject in subjects},
        tuple(notes),
    )


def _of_subjects(table: Mapping[str, Person], subjects: Sequence[str]) -> dict[str, Person]:
    """People by subject; Excel drops the leading zeros of a number, so 1 is 001 where it can be no other."""
    short = Counter(map(_short, subjects))
    rows = Counter(map(_short, table))
    by_number = {_short(name): person for name, person in table.items() if rows[_short(name)] == 1}
    found = {
        subject: table.get(subject) or (by_number.get(_short(subject)) if short[_short(subject)] == 1 else None)
        for subject in subjects
    }
    return {subject: person for subject, person in found.items() if person is not None}


def _short(name: str) -> str:
    return name.lstrip("0") if name.isdecimal() else name


def _deviation(item: Item) -> float:
    try:
        shape = image_size(item["image"])
        scale = min(1.0, _SIZE / max(shape))
        size = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
        return wrist_deviation(read_truth(item["label"], shape, size))
    except (UnreadableImageError, LabelError):
        return float("nan")


def as_columns(traits: Sequence[Traits]) -> np.ndarray:
    """Traits as numbers to balance, float64 (N, 5): women, men, height, deviation, bent wrists.

    Each is summed over the subject's images and scaled to a standard deviation of 1; what is not known counts as the
    mean. A column is 0 where all subjects are alike.
    """
    images = np.array([len(t.deviations) for t in traits], np.float64)
    heights = np.array([np.nan if t.person.height is None else t.person.height for t in traits])
    bent = [sum(abs(d) >= BENT for d in t.deviations) for t in traits]
    deviations = np.concatenate([t.deviations for t in traits])
    owner = np.repeat(np.arange(len(traits)), images.astype(int))
    off_mean = np.bincount(owner, _off_mean(deviations, _ALIKE["deviation"]), len(traits))
    women, men = (images * np.array([t.person.sex == sex for t in traits]) for sex in ("female", "male"))
    height, bent_wrists = images * _off_mean(heights, _ALIKE["height"]), np.array(bent, np.float64) * off_mean.any()
    columns = np.stack([women, men, height, off_mean, bent_wrists], axis=1)
    spread = columns.std(axis=0)
    return np.where(spread > 0, columns / np.where(spread > 0, spread, 1), 0.0)


def _off_mean(values: np.ndarray, alike: float) -> np.ndarray:
    known = values[~np.isnan(values)]
    if known.size < 2 or known.std() < alike:
        return np.zeros(len(values))
    return np.nan_to_num(values - known.mean())


def print_balance(fold_of: Mapping[str, int], traits: SubjectTraits) -> None:
    """Print a table of the traits in each fold, and of the unknown ones."""
    table = Table()
    for heading in ("fold", "images", "subjects", "women", "men", "height, cm", "deviation, °", "bent wrists"):
        table.add_column(heading, justify="right")
    for fold in range(max(fold_of.values()) + 1):
        table.add_row(str(fold), *_row([t for s, t in traits.of.items() if fold_of[s] == fold]))
    table.add_section()
    table.add_row("all", *_row(list(traits.of.values())))
    Console().print(table)
    print(f"deviation: mean angle between forearm and third metacarpal, + towards the thumb; bent: {BENT:g}° and more")
    for note in traits.notes:
        print(note)


def _row(traits: Sequence[Traits]) -> list[str]:
    deviations = np.array([d for t in traits for d in t.deviations])
    deviations = deviations[~np.isnan(deviations)]
    heights = [t.person.height for t in traits if t.person.height is not None]
    sexes = [t.person.sex for t in traits if t.person.sex is not None]

    def share(sex: str) -> str:
        return f"{sexes.count(sex) / len(sexes):.0%}" if sexes else "-"  # type: ignore[arg-type]

    return [
        str(sum(len(t.deviations) for t in traits)),
        str(len(traits)),
        share("female"),
        share("male"),
        f"{np.mean(heights):.1f}" if heights else "-",
        f"{deviations.mean():+.1f}" if deviations.size else "-",
        f"{np.mean(np.abs(deviations) >= BENT):.0%}" if deviations.size else "-",
    ]
