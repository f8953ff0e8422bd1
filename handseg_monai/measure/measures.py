"""A measure: its value and unit, why it can't be taken, what to draw, and what others found."""

from __future__ import annotations

from dataclasses import dataclass

Line = tuple[tuple[float, float], tuple[float, float]]
"""Segment between two points (x, y) in pixels; the upper left corner of the first pixel is (0, 0)."""


@dataclass(frozen=True)
class Reference:
    """A published value."""

    mean: float
    sd: float | None
    """Standard deviation; None where the source has none."""
    range: tuple[float, float] | None
    """Normal range as the source gives it."""
    unit: str
    population: str
    source: str

    def __str__(self) -> str:
        spread = f" ± {self.sd:g}" if self.sd is not None else ""
        spread += f" ({self.range[0]:g} to {self.range[1]:g})" if self.range else ""
        unit = "" if not self.unit else f" {self.unit}"
        return f"{self.mean:g}{spread}{unit}, {self.population}"


@dataclass(frozen=True)
class Measure:
    """One measure of a hand."""

    name: str
    """As in the docs: ``ulnar variance``, ``length finger-12`` ..."""
    value: float | None
    """None where it can't be taken."""
    unit: str
    """``mm``, ``px`` where no spacing is known, ``degrees``, or nothing of ratios."""
    reason: str
    """Why it can't be taken, in words; else empty."""
    bones: tuple[str, ...]
    """Names of the bones that it is taken from."""
    lines: tuple[Line, ...]
    """What was measured, to be drawn."""
    reference: Reference | None
    """What others found in healthy adults; None where the hand is a child's, or no source is known."""


class NotMeasured(Exception):  # noqa: N818
    """A measure can't be taken; the text says why."""
