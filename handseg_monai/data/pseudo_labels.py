"""Labels that a network made, among those to train on: never among those to validate on, and none twice."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from handseg_monai.bones import ALL_KNOWN
from handseg_monai.data.items import Item
from handseg_monai.data.reading.patients import patients_of


def with_pseudo_labels(training: Sequence[Item], validation: Sequence[Item], pseudo: Sequence[Item]) -> list[Item]:
    """Return the datalist of training with pseudo-labelled items after it.

    Raises
    ------
    ValueError
        A pseudo-labelled image is one of the others, by its name or by the content of its file, or shows a subject, or
        a patient by DICOM, of validation.
    """
    others = [(kind, item) for kind, data in (("training", training), ("validation", validation)) for item in data]
    names = {item["name"]: kind for kind, item in others}
    subjects = {item["subject"] for item in validation}
    patients = patients_of(Path(item["image"]) for item in (*validation, *pseudo))
    validated = {patients[path] for item in validation if (path := Path(item["image"])) in patients}
    by_size: defaultdict[int, list[tuple[str, Item]]] = defaultdict(list)
    for kind, item in others:
        by_size[Path(item["image"]).stat().st_size].append((kind, item))
    for item in pseudo:
        if item["name"] in names:
            kind = names[item["name"]]
            raise ValueError(f"--pseudo_labels: {item['image']} has the name of an image of {kind}; leave it out")
        if item["subject"] in subjects:
            raise ValueError(
                f"--pseudo_labels: {item['image']} is of subject {item['subject']}, who is in the validation fold; "
                "leave it out, or name subjects apart (handseg convert --subject)"
            )
        if patients.get(Path(item["image"])) in validated:
            raise ValueError(
                f"--pseudo_labels: {item['image']} shows a patient (PatientID) of validation; leave it out"
            )
        # A fingerprint only of files that are as long.
        for kind, other in by_size.get(Path(item["image"]).stat().st_size, ()):
            if _digest(item["image"]) == _digest(other["image"]):
                raise ValueError(
                    f"--pseudo_labels: {item['image']} is the same file as {other['image']} of {kind}; leave it out"
                )
    # A batch holds what is known of all its images, or of none.
    return [Item(**{**item, "known": item.get("known", ALL_KNOWN)}) for item in (*training, *pseudo)]


def _digest(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
