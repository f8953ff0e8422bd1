"""What an audit may find in a dataset or a submission."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Kind of a finding."""

    UNREADABLE = "unreadable"
    CONSTANT = "constant"
    PAIRING = "pairing"
    DUPLICATE = "duplicate"
    LABEL = "label"
    SCALE = "scale"
    MISFIT = "misfit"
    SWAPPED = "swapped"
    MISSING = "missing"
    DOUBLED = "doubled"
    STRAY = "stray"
    AREA = "area"
    POSITION = "position"
    OVERLAP = "overlap"
    RING = "ring"
    NEGATIVE = "negative"


NOTES = frozenset({Fault.RING, Fault.NEGATIVE})
"""Faults that do not exclude an image, because its label is right."""

_RANK = {fault: number for number, fault in enumerate(Fault)}


@dataclass(frozen=True)
class AuditFinding:
    """Something that is wrong with an image or its label."""

    image: str
    """Path relative to the dataset (of a label without an image: the label's)."""
    fault: Fault
    """Its kind."""
    text: str
    """In words."""
    bones: tuple[str, ...] = ()
    """Names of the bones concerned."""
    other: str = ""
    """Path of the other image, of a duplicate."""
    exclude: bool = True
    """Whether training should leave the image out."""

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Order of findings: those that exclude first, then by kind."""
        return not self.exclude, _RANK[self.fault], self.image
