"""What to ask a PACS for, as QIDO-RS spells it, and whether an answer is what was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_LONGEST_UID = 64
_TAGS = {
    "Modality": "00080060",
    "BodyPartExamined": "00180015",
    "StudyDate": "00080020",
    "AccessionNumber": "00080050",
    "PatientID": "00100020",
}
_UIDS = ("0020000D", "0020000E", "00080018")
"""Of study, series and instance."""
_DAY = "%Y%m%d"


@dataclass(frozen=True)
class Instance:
    """Where an instance is in a PACS; a UID is empty where the server states none by the standard."""

    study: str
    series: str
    uid: str

    @property
    def is_whole(self) -> bool:
        """Whether each UID is one."""
        return all((self.study, self.series, self.uid))


@dataclass(frozen=True)
class Query:
    """Which instances to ask for; what is None is not asked for. ``*`` and ``?`` stand for what they do in DICOM.

    Raises
    ------
    ValueError
        A value that no server could understand.
    """

    modalities: Sequence[str] = ("CR", "DX")
    body_part: str | None = None
    date: str | None = None
    """Of the study: 20240131, or from and to, 20240101-20240131, one of which may be left out."""
    accession: str | None = None
    patient: str | None = None
    limit: int | None = None
    """Instances at most."""

    def __post_init__(self) -> None:
        if not self.modalities:
            raise ValueError("--modality: expected one at least, such as DX")
        for modality in self.modalities:
            if not re.fullmatch(r"[A-Z0-9_]{1,16}", modality):
                raise ValueError(f"--modality {modality!r}: expected capital letters, such as DX")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit {self.limit}: expected 1 or more")
        if self.date is not None:
            _require_days(self.date)
        for option, value in (
            ("--body-part", self.body_part),
            ("--accession", self.accession),
            ("--patient", self.patient),
        ):
            if value is not None and (not value.strip() or not value.isprintable() or "\\" in value or len(value) > 64):
                raise ValueError(f"{option}: expected 1 to 64 characters without a backslash")

    def filters(self, modality: str) -> dict[str, str]:
        """Return what to ask for of a modality, by keyword."""
        asked = {
            "Modality": modality,
            "BodyPartExamined": self.body_part,
            "StudyDate": self.date,
            "AccessionNumber": self.accession,
            "PatientID": self.patient,
        }
        return {keyword: value for keyword, value in asked.items() if value is not None}


def instance_of(item: dict[str, Any]) -> Instance:
    """Return where an item of an answer says that its instance is."""
    return Instance(*(uid if is_uid(uid := _value(item, tag)) else "" for tag in _UIDS))


def is_uid(text: str) -> bool:
    """Whether a text is a UID by the standard."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def passed_over(item: dict[str, Any], filters: dict[str, str]) -> Iterator[str]:
    """Yield the keywords whose value in an item is another than was asked for: such a server passes over them."""
    for keyword, asked in filters.items():
        stated = _value(item, _TAGS[keyword]).strip()
        if stated and not _matches(keyword, stated, asked):
            yield keyword


def _matches(keyword: str, stated: str, asked: str) -> bool:
    if keyword == "StudyDate":
        first, dash, last = asked.partition("-")
        return (first or "0") <= stated <= ((last or "99999999") if dash else first)
    # Of fnmatch [ has a meaning that it has not in DICOM.
    return fnmatchcase(stated.upper(), asked.strip().upper().replace("[", "[[]"))


def _value(item: dict[str, Any], tag: str) -> str:
    """Return the one value of an attribute in DICOM JSON, or an empty text."""
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values[0] if isinstance(values, list) and len(values) == 1 and isinstance(values[0], str) else ""


def _require_days(date: str) -> None:
    first, dash, last = date.partition("-")
    days = [day for day in (first, last) if day]
    try:
        if not days or (not dash and not first) or any(len(day) != 8 for day in days):
            raise ValueError
        for day in days:
            datetime.strptime(day, _DAY)
    except ValueError:
        raise ValueError(f"--date {date!r}: expected 20240131, or 20240101-20240131 for a range of days") from None
    if len(days) == 2 and first > last:
        raise ValueError(f"--date {date!r}: the range ends before it begins")
