"""Arguments of inferers as a command line gives them: read, or refused by their name."""

from __future__ import annotations

import math
from collections.abc import Sequence


def truth(name: str, value: object) -> bool:
    """Return a truth value; ``false`` comes as a text from the command line, which Python takes as true.

    Raises
    ------
    ValueError
        Neither true nor false.
    """
    if str(value).lower() not in ("true", "false"):
        raise ValueError(f"{name}: expected true or false, got {value!r}")
    return str(value).lower() == "true"


def number(name: str, value: object, least: float, most: float = math.inf) -> float:
    """Return a finite number between bounds, both included.

    Raises
    ------
    ValueError
        Not that.
    """
    wanted = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name}: expected a number, {wanted}, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value!r}")
    return value


def whole(name: str, value: object, least: int, most: float = math.inf) -> int:
    """Return a whole number between bounds, both included.

    Raises
    ------
    ValueError
        Not that.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        wanted = f"at least {least}" if most == math.inf else f"{least} to {most:g}"
        raise ValueError(f"{name}: expected a whole number, {wanted}, got {value!r}")
    return value


def listed(name: str, value: object, example: str) -> Sequence[object]:
    """Return a list of one entry or more.

    Raises
    ------
    ValueError
        Not that; ``example`` shows one.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ValueError(f"{name}: expected a list of one or more, as {example}, got {value!r}")
    return value


def scales_of(value: object) -> tuple[float, ...]:
    """Return sizes of views relative to the first, at least 1 each.

    Raises
    ------
    ValueError
        Not that.
    """
    return tuple(number("scales", scale, 1) for scale in listed("scales", value, "[1.0,1.2]"))
