"""What is done on the page, as a data set that training takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from handseg_monai.data.items import Item
from handseg_monai.data.labels.converted import DATALIST, write_datalist
from handseg_monai.data.reading.dicom import is_dicom
from handseg_monai.serve.folder import sync_folder

SOURCE = "images that were corrected with handseg serve"


Patients = Callable[[Iterable[Path]], Mapping[Path, int]]
"""Numbers the patients of images, as :func:`~handseg_monai.data.reading.patients.patients_of` does."""


def write_corrected(folder: Path, items: Iterable[Item], patients_of: Patients) -> None:
    """Write the datalist of ``folder``: images of one patient, as DICOM states, are of one subject.

    Parameters
    ----------
    folder
        Where the datalist goes; it is on disk once this returns.
    items
        Images and labels by absolute paths, without subjects. A subject is called after the first of its images.
    patients_of
        Asked only where one of the images is DICOM.
    """
    items = list(items)
    paths = [Path(item["image"]) for item in items]
    patients = patients_of(paths) if any(map(is_dicom, paths)) else {}
    first: dict[int, str] = {}
    subjects = []
    for item in items:
        patient = patients.get(Path(item["image"]))
        subjects.append(item["name"] if patient is None else first.setdefault(patient, item["name"]))
    parted = [Item(**{**item, "subject": of}) for item, of in zip(items, subjects, strict=True)]
    write_datalist(folder / DATALIST, parted, SOURCE)
    sync_folder(folder)
