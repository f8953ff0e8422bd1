"""Measures of a hand for the page, where what takes them is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from handseg_monai.plausibility.judge import Plausibility

ROOM = "handseg_monai.measure"


def can_measure() -> bool:
    """Whether measures can be taken."""
    return find_spec(ROOM) is not None


def facts_of(path: str) -> dict[str, Any]:
    """What measures need to know from a radiograph's header: its ``spacing``, where it says so."""
    spacing = import_module(ROOM).spacing_of(path) if can_measure() else None
    return {} if spacing is None else {"spacing": asdict(spacing)}


def measured(
    planes: np.ndarray, image: np.ndarray, spacing: Mapping[str, Any] | None, judgement: Plausibility
) -> list[dict[str, Any]]:
    """Take the measures of a hand.

    Parameters
    ----------
    planes, image
        Bit planes, int32 (H, W), and the radiograph, (H, W).
    spacing
        Of its pixels, by the names of its attributes; None where it is not known.
    judgement
        On the masks.

    Returns
    -------
    measures
        Plain values by name: ``name``, ``value``, ``unit``, ``says`` (the plane that lengths hold in), ``reason``,
        ``bones``, ``lines`` and ``reference``. An empty list where nothing can take measures.
    """
    if not can_measure():
        return []
    measure = import_module(ROOM)
    known = None if spacing is None else measure.Spacing(**spacing)
    taken = measure.measure_hand(planes, image, known, judgement)
    return [
        {
            "name": one.name,
            "value": one.value,
            "unit": one.unit,
            "says": known.says if known is not None and one.unit == known.unit else "",
            "reason": one.reason,
            "bones": list(one.bones),
            "lines": one.lines,
            "reference": None if one.reference is None else _reference(one.reference),
        }
        for one in taken
    ]


def _reference(reference: Any) -> dict[str, Any]:
    low, high = reference.range or (None, None)
    return {
        "mean": reference.mean,
        "sd": reference.sd,
        "low": low,
        "high": high,
        "unit": reference.unit,
        "population": reference.population,
        "source": reference.source,
    }
