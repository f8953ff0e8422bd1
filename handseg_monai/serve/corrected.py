"""What is done on the page, as a data set that training takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from handseg_monai.data.items import Item
from handseg_monai.data.labels.converted import DATALIST, write_datalist
from handseg_monai.data.reading.dicom import is_dicom
from handseg_monai.data.reading.patients import Stated, numbered
from handseg_monai.serve.folder import sync_folder
from handseg_monai.serve.state import StoreError

logger = logging.getLogger(__name__)

SOURCE = "images that were corrected with handseg serve"
Patients = Callable[[Iterable[Path]], Mapping[Path, Stated | None]]
"""Reads which patients images state, as :func:`~handseg_monai.data.reading.patients.stated_patients` does."""


class Corrected:
    """The datalist of a folder: images of one patient, as DICOM states, are of one subject.

    Parameters
    ----------
    folder
        Where the datalist goes.
    patients
        Asked once for each DICOM image; :class:`StoreError` where it can't tell.
    """

    def __init__(self, folder: Path, patients: Patients) -> None:
        self._folder, self._patients = folder, patients
        self._asked: set[Path] = set()
        self._stated: dict[Path, Stated | None] = {}
        self._listed: list[Path] | None = None

    def may_list(self, image: Path) -> bool:
        """Whether the datalist on the disk lists an image, as far as is known."""
        return self._listed is None or image in self._listed

    def read_patients(self, images: Iterable[Path], says: bool = False) -> None:
        """Read which patients images state, and keep that; where it fails, raise, or else say so in the log."""
        new = [path for path in images if path not in self._asked]
        of_dicom = [path for path in new if path.is_file() and is_dicom(path)]
        try:
            self._stated |= self._patients(of_dicom) if of_dicom else {}
        except StoreError as error:
            if not says:
                raise
            logger.warning("what is done is no data set for now: %s", error)
        else:
            self._asked.update(new)

    def write(self, items: Iterable[Item]) -> None:
        """Write the datalist, which is on disk once this returns; one that lists the same images already stays.

        There is none as long as nobody knows of which patients its images are: one patient must never be two subjects.

        Parameters
        ----------
        items
            Images and labels by absolute paths, without subjects. A subject is called after the first of its images.
        """
        items = list(items)
        paths = [Path(item["image"]) for item in items]
        if paths == self._listed and (self._folder / DATALIST).exists():
            return
        if not self._asked.issuperset(paths):
            self._remove()
            return
        stated = {path: self._stated[path] for path in paths if path in self._stated}
        # A few images may well be all of one patient: taken for several, some would be held out and others trained on.
        patients = numbered(stated, one_is_placeholder=False)
        first: dict[int, str] = {}
        subjects = []
        for item, path in zip(items, paths, strict=True):
            patient = patients.get(path)
            subjects.append(item["name"] if patient is None else first.setdefault(patient, item["name"]))
        parted = [Item(**{**item, "subject": of}) for item, of in zip(items, subjects, strict=True)]
        write_datalist(self._folder / DATALIST, parted, SOURCE)
        self._listed = None
        sync_folder(self._folder)
        self._listed = paths

    def catch_up(self, items: Iterable[Item]) -> None:
        """Write the datalist if the disk allows it; if not, it lacks images until it does, and never has too many."""
        items = list(items)
        try:
            self.write(items)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            logger.warning("%s lacks what was done last: %s", self._folder / DATALIST, reason)
            if self._listed is None or not {Path(item["image"]) for item in items}.issuperset(self._listed):
                self._remove()

    def _remove(self) -> None:
        (self._folder / DATALIST).unlink(missing_ok=True)
        self._listed = []
