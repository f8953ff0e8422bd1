"""What a page shows, as JSON: bones, what does not fit a hand, and measures; of a report and of ``handseg serve``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from handseg_monai.bones import BONES, INDEX, Group
from handseg_monai.measure import Measure, Spacing
from handseg_monai.measure.references import REFERENCES
from handseg_monai.plausibility.judge import Plausibility, Severity


def bones() -> list[dict[str, Any]]:
    """All bones, in the order of their indices."""
    return [
        {
            "name": bone.name,
            "en": bone.english,
            "ko": bone.korean,
            "group": bone.group.value,
            "colour": f"#{bytes(bone.colour).hex()}",
        }
        for bone in BONES
    ]


def groups() -> list[dict[str, Any]]:
    """The groups of bones."""
    return [{"id": group.value, "en": group.value, "ko": group.korean} for group in Group]


def findings(judgement: Plausibility) -> list[dict[str, Any]]:
    """What does not fit a hand."""
    return [
        {
            "part": finding.part,
            "bones": [INDEX[bone] for bone in finding.bones],
            "wrong": finding.severity is Severity.WRONG,
            "text": finding.text,
        }
        for finding in judgement.findings
    ]


def references() -> dict[str, Any]:
    """Published values by the name of the measure."""
    return {name: asdict(reference) for name, reference in REFERENCES.items()}


def measures(taken: Sequence[Measure], spacing: Spacing | None) -> list[dict[str, Any]]:
    """Measures of one hand, the plane that lengths hold in (``says``), and whether one of :func:`references` holds.

    Parameters
    ----------
    taken
        The measures.
    spacing
        Of the image that they were taken from; None where it is not known.
    """
    found = []
    for measure in taken:
        content: dict[str, Any] = {
            "name": measure.name,
            "value": None if measure.value is None else round(measure.value, 4),
            "unit": measure.unit,
            "says": spacing.says if spacing is not None and measure.unit == spacing.unit else "",
            "reason": measure.reason,
            "reference": measure.reference is not None,
            "lines": [[[round(place, 1) for place in end] for end in line] for line in measure.lines],
        }
        found.append({key: value for key, value in content.items() if value or key in ("value", "lines")})
    return found
