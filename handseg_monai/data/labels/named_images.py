"""Finding the radiograph that a label belongs to, and the subject that a radiograph belongs to."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path

from handseg_monai.data.reading.images import IMAGE_SUFFIXES, find_images, without_suffix
from handseg_monai.data.reading.patients import patients_of, say
from handseg_monai.files import nfc, plain_name


class Images:
    """The radiographs below a folder, at any depth, by their names in Unicode's composed form.

    ``ValueError`` where there are none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ValueError(f"{folder}: no such folder (--images)")
        self.paths = find_images(self.folder)
        if not self.paths:
            raise ValueError(f"{folder}: no images in it or below; looked for {', '.join(IMAGE_SUFFIXES)} (--images)")
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            parts = nfc(self.relative(path)).split("/")
            for i in range(len(parts)):
                tail = "/".join(parts[i:])
                for name in {tail, without_suffix(tail)}:
                    self._by_name[name].append(path)

    def relative(self, path: Path) -> str:
        """Path of an image below the folder, with ``/``."""
        return path.relative_to(self.folder).as_posix()

    def has(self, name: str) -> bool:
        """Whether :meth:`find` finds one or several of this name."""
        return bool(self._matches(name))

    def find(self, name: str, stated: str = "") -> Path:
        """Find an image by its path, with or without suffix: one of the two paths must end as the other does.

        Of several it is the one whose file has the name that the path ``stated`` ends in.

        ``ValueError`` where none has this name, or several have.
        """
        found = self._matches(name)
        if len(found) > 1:
            endings = {nfc(stated), nfc(stated.replace("\\", "/")).rpartition("/")[2]}
            found = [path for path in found if nfc(path.name) in endings] or found
        if not found:
            raise ValueError(f"no image {name!r} in {self.folder}")
        if len(found) > 1:
            raise ValueError(f"{name!r} is the name of several images: {found[0]}, {found[1]}")
        return found[0]

    def _matches(self, name: str) -> list[Path]:
        """Images of the longest match: of a name with a suffix before one without.

        A backslash belongs to the name, or parts folders as on Windows.
        """
        forms = [nfc(name), nfc(name.replace("\\", "/"))]
        for form in dict.fromkeys([*forms, *map(without_suffix, forms)]):
            parts = form.split("/")
            for i in range(len(parts)):
                tail = "/".join(parts[i:])
                found = self._by_name.get(tail, [])
                if i:  # folders of the name were dropped: the image's own path must be used up
                    own = {path: nfc(self.relative(path)) for path in found}
                    found = [path for path in found if tail in (own[path], without_suffix(own[path]))]
                if found:
                    return found
        return []


class Subjects:
    """The subject of each image: a person, whose images are never parted into training and validation.

    Parameters
    ----------
    images
        All images.
    pattern
        Regular expression, searched for in an image's path below the folder; its first group, or the whole match, is
        the subject.
    table
        CSV with columns ``image`` and ``subject``.

    Names count as people read them: spaces and invisible signs part nobody. With neither, the subject is the folder
    that holds the image, and the image's name without suffix where it lies in the folder of images itself. The images
    of one patient, by the PatientID of DICOM, are one subject, and those of several patients are several, whatever
    their folders; the subject is named after the patient's first folder, or first image where others share that folder.

    Raises
    ------
    ValueError
        Both are given, the expression is invalid, or the table lacks the columns or holds an image twice.
    """

    def __init__(self, images: Images, pattern: str | None = None, table: str | Path | None = None) -> None:
        if pattern and table:
            raise ValueError("--subject and --subjects are two ways to say the same; give one")
        self._images = images
        self._table = _read_table(Path(table), images) if table else None
        self._where = table
        try:
            self._pattern = re.compile(nfc(pattern)) if pattern else None
        except re.error as error:
            raise ValueError(f"--subject {pattern!r}: not a regular expression ({error})") from error
        self._of_patients = {} if pattern or table else _by_patient(images)

    def of(self, image: Path) -> str:
        """Subject of an image; ``ValueError`` where the table lacks it, or the expression does not match its path."""
        name = nfc(self._images.relative(image))
        if self._table is not None:
            if image not in self._table:
                raise ValueError(f"{self._where}: no row for image {name}; every image needs its subject")
            return self._table[image]
        if self._pattern is not None:
            match = self._pattern.search(name)
            subject = (match.group(1) if self._pattern.groups else match.group()) if match else None
            if not (subject := plain_name(subject or "")):
                raise ValueError(f"{image}: --subject {self._pattern.pattern!r} finds no subject in {name!r}")
            return subject
        return self._of_patients.get(image) or name.rpartition("/")[0] or without_suffix(name)


def _by_patient(images: Images) -> dict[Path, str]:
    """Subjects of the images whose patient is known: by DICOM, or by those that share their folder."""
    patients = patients_of(images.paths)
    held: dict[str, set[int]] = defaultdict(set)
    places: dict[int, list[str]] = defaultdict(list)
    first: dict[int, str] = {}
    for path, patient in patients.items():
        name = nfc(images.relative(path))
        folder = name.rpartition("/")[0]
        held[folder].add(patient)
        places[patient] += [folder] if folder not in places[patient] else []
        first.setdefault(patient, without_suffix(name))
    subject = {p: f if (f := places[p][0]) and len(held[f]) == 1 else name for p, name in first.items()}
    if several := [Path(images.folder, folder) for folder, of in held.items() if len(of) > 1]:
        more = f" and {len(several) - 1} more folders" if len(several) > 1 else ""
        say(f"{several[0]}{more}: images of several patients (PatientID); each patient is a subject")
    for patient, folders in places.items():
        if len(folders) > 1:
            say(f"{images.folder}: one patient (PatientID) in {' and '.join(folders)}; subject {subject[patient]}")
    found = {path: subject[patient] for path, patient in patients.items()}
    for path in images.paths:
        folder = nfc(images.relative(path)).rpartition("/")[0]
        if path not in found and folder and len(held.get(folder, ())) == 1:
            found[path] = subject[min(held[folder])]
    return found


def _read_table(path: Path, images: Images) -> dict[Path, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: can't be read as CSV ({error}) (--subjects)") from error
    if not {"image", "subject"} <= set(columns):
        raise ValueError(f"{path}: columns {', '.join(columns) or 'none'}; expected image and subject")
    table: dict[Path, str] = {}
    for number, row in enumerate(rows, 2):
        subject = plain_name(row["subject"] or "")
        if not row["image"] or not subject:
            raise ValueError(f"{path}, line {number}: expected an image and a subject")
        if not images.has(row["image"]):
            continue  # a table of a whole data set serves each part of it
        try:
            image = images.find(row["image"])
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        if table.setdefault(image, subject) != subject:
            raise ValueError(f"{path}, line {number}: image {row['image']} has two subjects")
    return table
