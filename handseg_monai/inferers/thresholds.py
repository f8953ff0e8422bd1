"""Thresholds of the bones' probabilities, as options and files give them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from handseg_monai.bones import NAMES, NUM_BONES

Threshold = float | str | Path | Sequence[float]


def thresholds_of(threshold: Threshold) -> tuple[float, ...]:
    """Return the threshold of each bone, 29 of them.

    Parameters
    ----------
    threshold
        One for all bones, 29, or a JSON file that ``handseg thresholds`` wrote: an object with a number for each bone's
        name.

    Raises
    ------
    ValueError
        Not that, or a number that is not between 0 and 1.
    """
    values: object = threshold
    if isinstance(threshold, str | Path):
        values = _read(Path(threshold))
    elif not isinstance(threshold, Sequence):
        values = [threshold] * NUM_BONES
    if not isinstance(values, Sequence) or len(values) != NUM_BONES:
        raise ValueError(f"--threshold {threshold!r}: expected one number, {NUM_BONES}, or a JSON file")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            where = f"{value!r} in it" if isinstance(threshold, str | Path) else f"got {value!r}"
            raise ValueError(f"--threshold {threshold!r}: expected numbers between 0 and 1, {where}")
    return tuple(float(value) for value in values)


def _read(path: Path) -> list[object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"--threshold {str(path)!r}: no number, and no such file ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"--threshold {str(path)!r}: not a JSON file ({error})") from error
    if not isinstance(content, dict) or set(content) != set(NAMES):
        wrong = set(NAMES) ^ set(content) if isinstance(content, dict) else NAMES
        raise ValueError(
            f"--threshold {str(path)!r}: expected a number for each of the {NUM_BONES} bones by name; missing or "
            f"unknown: {', '.join(sorted(map(str, wrong))[:3])}"
        )
    return [content[name] for name in NAMES]
