"""A measure: its value and unit, why it can't be taken, what to draw, and what others found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from handseg_monai.bones import NAMES
from handseg_monai.plausibility.bone_order import RAYS

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

    @property
    def z(self) -> float | None:
        """How many standard deviations the value lies from the published mean; None where there are none."""
        if self.value is None or self.reference is None or self.reference.sd is None:
            return None
        return (self.value - self.reference.mean) / self.reference.sd


def pattern_profile(measures: Iterable[Measure]) -> dict[int, dict[str, float]]:
    """Arrange the lengths of the long bones as a pattern profile.

    Parameters
    ----------
    measures
        Of one hand.

    Returns
    -------
    profile
        For each ray, 1 (thumb) to 5, :attr:`Measure.z` by the names of its bones from metacarpal to distal phalanx; of
        the bones whose length was measured in millimetres.
    """
    lengths = {measure.bones[0]: measure.z for measure in measures if measure.name.startswith("length ")}
    profile: dict[int, dict[str, float]] = {ray: {} for ray in range(1, len(RAYS) + 1)}
    for ray, (_, *bones) in enumerate(RAYS, 1):
        for name in (NAMES[bone] for bone in bones):
            if (z := lengths.get(name)) is not None:
                profile[ray][name] = z
    return profile


class NotMeasured(Exception):  # noqa: N818
    """A measure can't be taken; the text says why."""
