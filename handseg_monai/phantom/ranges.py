"""A range, and a draw from it."""

from __future__ import annotations

import numpy as np

Range = tuple[float, float]
"""(low, high) of a uniform draw."""


def draw(rng: np.random.Generator, bounds: Range) -> float:
    """Return a uniform draw from a range."""
    return float(rng.uniform(*bounds))
