"""Whose radiographs DICOM files are, by their PatientID, which is compared in memory and never printed or written.

Nor is a hash of it: short identifiers are guessed from their hashes in seconds. A patient is a number among those of
the same call, in the order of the paths, and a subject is named after the patient's first folder or image.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from handseg_monai.data.reading.dicom import is_dicom, read_header, value_of
from handseg_monai.files import plain_name

logger = logging.getLogger(__name__)

_PLACEHOLDER = re.compile(
    r"anon(ym(ous|i[sz]ed|e)?)?([ ^]?(patient|id))?|unknown|none|null|n/?a|no[ _]?id|removed|deleted|default|dummy|"
    r"test|patient([ _]?id)?|de-?identified|x*|[0\s._*?-]*",
    re.IGNORECASE,
)
"""Values of PatientID that stand for nobody."""


Stated = tuple[str, str]
"""Issuer and PatientID of a patient, as a header states them."""


def stated_patients(paths: Iterable[Path]) -> dict[Path, Stated | None]:
    """Read which patient each DICOM image states; None where it states none, or a placeholder, or can't be read."""
    return {path: _patient(path, path.stat().st_mtime_ns) for path in paths if path.is_file() and is_dicom(path)}


def patients_of(paths: Iterable[Path]) -> dict[Path, int]:
    """Return what :func:`numbered` does for the patients that DICOM images state."""
    return numbered(stated_patients(paths))


def numbered(stated: Mapping[Path, Stated | None], one_is_placeholder: bool = True) -> dict[Path, int]:
    """Return a number for the patient of each DICOM image that states one, from 0 in the order of the paths.

    A PatientID belongs to its issuer; where one of the images does not name the issuer, all of this PatientID are one
    patient. Where several images state one and no image another, it counts as a placeholder, unless
    ``one_is_placeholder`` is false. The log says so, and which images state none.
    """
    known = _without_doubtful_issuers({path: patient for path, patient in stated.items() if patient is not None})
    if one_is_placeholder and len(known) > 1 and len(set(known.values())) == 1:
        say(f"{_first(known)}: DICOM states one and the same PatientID: taken for a placeholder")
        return {}
    if nameless := [path for path in stated if path not in known]:
        say(f"{_first(nameless)}: DICOM states no PatientID, or a placeholder: the patient is unknown")
    numbers = {patient: number for number, patient in enumerate(dict.fromkeys(known.values()))}
    return {path: numbers[patient] for path, patient in known.items()}


def _without_doubtful_issuers(stated: Mapping[Path, Stated]) -> dict[Path, Stated]:
    """Take the issuers away of identifiers that some image states without one; say where this unites several."""
    issuers: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    spelt: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    for path, (issuer, patient) in stated.items():
        issuers[patient].setdefault(issuer, path)
        spelt[patient.casefold()].setdefault(patient, path)
    for of in issuers.values():
        if "" in of and len(of) > 2:
            say(f"{_first(list(of.values()))}: one PatientID of several issuers and of none: taken for one patient")
    for spellings in spelt.values():
        if len(spellings) > 1:
            say(f"{' and '.join(map(str, spellings.values()))}: PatientIDs that differ in case alone: several patients")
    return {path: ("" if "" in issuers[patient] else issuer, patient) for path, (issuer, patient) in stated.items()}


def say_parted(subject_of: Mapping[Path, str]) -> None:
    """Say in the log where one patient is two subjects, and which subjects differ in case alone."""
    spelt: defaultdict[str, set[str]] = defaultdict(set)
    for subject in subject_of.values():
        spelt[subject.casefold()].add(subject)
    if alike := [" and ".join(sorted(names)) for names in spelt.values() if len(names) > 1]:
        say(f"subjects that differ in case alone, taken for several: {_some(alike)}")
    subjects: defaultdict[int, dict[str, Path]] = defaultdict(dict)
    for path, patient in patients_of(subject_of).items():
        subjects[patient].setdefault(subject_of[path], path)
    if parted := [of_patient for of_patient in subjects.values() if len(of_patient) > 1]:
        (one, first), (other, second) = list(parted[0].items())[:2]
        more = f" ({len(parted) - 1} more patients likewise)" if len(parted) > 1 else ""
        say(f"{first} and {second}: one patient (PatientID), but subjects {one} and {other}; folds may part them{more}")


def united(subjects: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Join subjects who are one patient, under the name of the first; say which, and whose folders hold several."""
    patients = patients_of(paths)
    name = {subject: subject for subject in subjects}
    first: dict[int, str] = {}
    held: defaultdict[str, set[int]] = defaultdict(set)
    for subject, path in zip(subjects, paths, strict=True):
        if path in patients:
            held[subject].add(patients[path])
            one, other = name[first.setdefault(patients[path], subject)], name[subject]
            name = {key: one if value == other else value for key, value in name.items()} if one != other else name
    if joined := sorted(subject for subject, of in name.items() if of != subject):
        say(f"subjects {_some([f'{name[s]} and {s}' for s in joined])} are one patient (PatientID): one subject")
    if several := sorted(subject for subject, numbers in held.items() if len(numbers) > 1):
        say(f"subjects {_some(several)}: each holds images of several patients (PatientID); the folder counts")
    return [name[subject] for subject in subjects]


@cache
def say(message: str) -> None:
    """Log a warning once in a process."""
    logger.warning(message)


@cache
def _patient(path: Path, changed: int) -> Stated | None:
    """Issuer and PatientID; None where it is missing, a placeholder, or can't be read."""
    try:
        header = read_header(path)
        issuer, patient = (_clean(value_of(header, key)) for key in ("IssuerOfPatientID", "PatientID"))
    except ValueError:
        return None
    return None if _PLACEHOLDER.fullmatch(patient) else (issuer, patient)


def _clean(value: object) -> str:
    return plain_name("" if value is None else str(value))


def _first(paths: Collection[Path]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{next(iter(paths))}{more}"


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")
