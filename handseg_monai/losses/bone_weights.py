"""Weights of the bones in a loss, as options give them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping

from handseg_monai.bones import NAMES


def weights_of_bones(weights: Mapping[str, float] | None) -> tuple[float, ...] | None:
    """Return the weight of each bone, 29 of them; None where all weigh the same.

    Parameters
    ----------
    weights
        Bones by their names in the competition, such as ``{"Pisiform": 2, "Trapezoid": 2}``. Those that are not named
        weigh 1; 0 leaves a bone out.

    Raises
    ------
    ValueError
        A name that no bone has, a weight that is no finite number from 0, or nothing but zeros.
    """
    if weights is None or weights == {}:
        return None
    if not isinstance(weights, Mapping):
        raise ValueError(f"--bone_weights {weights!r}: expected weights by name, as in {{'Pisiform': 2}}")
    for name, weight in weights.items():
        if name not in NAMES:
            close = difflib.get_close_matches(str(name), NAMES, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"the names are {', '.join(NAMES)}"
            raise ValueError(f"--bone_weights: unknown bone {name!r}; {hint}")
        check_weight("bone_weights", name, weight)
    of_all = tuple(float(weights.get(name, 1)) for name in NAMES)
    if not any(of_all):
        raise ValueError("--bone_weights: all bones weigh 0; at least one must count")
    return of_all


def check_weight(option: str, name: str, weight: object) -> None:
    """Raise ``ValueError`` for an option's weight of ``name`` that is no finite number from 0."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
        raise ValueError(f"--{option}: expected a number from 0 for {name}, got {weight!r}")
