"""Masks handed on: written in another tool's form by a process of its own, as ``handseg export`` writes them."""

from __future__ import annotations

import csv
import shutil
import sys
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handseg_monai.bones import NUM_BONES
from handseg_monai.data.reading.dicom import is_dicom
from handseg_monai.data.reading.images import read_radiograph, without_suffix
from handseg_monai.export.form import Form, HandMasks, Masks, MasksNotWrittenError
from handseg_monai.export.forms import FORMS
from handseg_monai.measure.hand import measure_hand
from handseg_monai.measure.spacing import NO_SPACING, spacing_of
from handseg_monai.measure.submission import HEADER, table_rows
from handseg_monai.rle import encode_planes, write_csv
from handseg_monai.serve.child import Answer, Arrays, Child, answer
from handseg_monai.serve.state import RequestError, StoreError
from handseg_monai.serve.store import Store

NAMES_OF_FORMS = ("csv", "png", "labelme", "coco", "dicom-seg", "measures")
_LEFT_OUT = "left-out.txt"
_STORED = (".png", ".dcm")
"""Suffixes of files that a zip holds as they are: compressing them takes long and gains little."""
_SECONDS = 120.0
"""That the process may take for one image."""


@dataclass(frozen=True)
class Exported:
    """A file to hand on, in a folder that goes once it has been sent."""

    path: Path
    folder: Path
    name: str
    left_out: dict[str, str]
    """Images that are damaged, or that the form can't hold, and why."""

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def export(store: Store, form: str, ids: Sequence[str]) -> Exported:
    """Write masks as they are now; bones that are marked as unknown are left out.

    Parameters
    ----------
    store
        Of the images.
    form
        One of :data:`NAMES_OF_FORMS`.
    ids
        Of images that are segmented.

    Raises
    ------
    RequestError
        There is nothing to write, or the form can't hold any of the images.
    ChildError
        The process that writes has ended.
    """
    if not ids:
        raise RequestError("no image is there to hand on; choose some that are segmented")
    folder = store.new_folder()
    child = Child(__name__, form, str(folder))
    left_out: dict[str, str] = {}
    try:
        entries = [store.entry(id) for id in ids]
        for entry, name in zip(entries, _names([entry.title for entry in entries]), strict=True):
            try:
                state, path = store.open(entry.id), store.image(entry.id)
            except StoreError as error:  # damaged, or removed meanwhile
                left_out[name] = str(error).removeprefix(f"{entry.name}: ")
                continue
            request = {"name": name, "path": str(path), "unknown": state.unknown}
            said, _ = child.ask(request, {"planes": state.planes}, _SECONDS)
            if said["left_out"]:
                left_out[name] = said["left_out"]
        if len(left_out) == len(ids):
            name, reason = next(iter(left_out.items()))
            raise RequestError(f"no image can be handed on so; {name}: {reason}")
        said, _ = child.ask({"left_out": left_out}, seconds=_SECONDS)
        return Exported(folder / said["file"], folder, said["file"], left_out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        child.close()


def _names(titles: Sequence[str]) -> list[str]:
    """Names of images as files may be called after them; two never have one stem."""
    seen: dict[str, int] = {}
    names = []
    for title in titles:
        safe = "".join(c if c.isalnum() or c in " -_.,()#+=@" else "_" for c in title).lstrip(".") or "image"
        stem = without_suffix(safe)
        suffix, number = safe[len(stem) :], 2
        unique = stem
        while unique.casefold() in seen:
            unique, number = f"{stem} ({number})", number + 1
        seen[unique.casefold()] = 1
        names.append(unique + suffix)
    return names


class Csv(Form):
    """``submission.csv``: 29 rows an image, but for bones that are unknown."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._texts: list[tuple[str, list[str | None]]] = []

    def add(self, masks: Masks) -> None:
        """Take up the masks of an image."""
        (hand,) = masks.hands
        texts = encode_planes(hand.planes)
        rows = [text if given else None for text, given in zip(texts, hand.given.tolist(), strict=True)]
        self._texts.append((masks.name, rows))

    def finish(self) -> None:
        """Write the file."""
        write_csv(self._out / "submission.csv", self._texts)


class Measures(Form):
    """``measures.csv``: a row for each image and measure, as ``handseg measure`` writes it."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._table = out / "measures.csv"
        self._append([HEADER])

    def add(self, masks: Masks) -> None:
        """Measure an image."""
        (hand,) = masks.hands
        spacing = spacing_of(masks.path) or NO_SPACING
        unknown = sum(1 << bone for bone in np.flatnonzero(~hand.given).tolist())
        measures = measure_hand(hand.planes, read_radiograph(masks.path), spacing, unknown=unknown)
        self._append(table_rows(masks.name, None, measures, spacing))

    def _append(self, rows: Iterable[Sequence[str]]) -> None:
        with self._table.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


class _Writer:
    """Writes in the child: images one after another, then one file of all."""

    def __init__(self, form: str, folder: Path) -> None:
        self._name, self._folder = form, folder
        self._out = folder / "files"
        self._out.mkdir()
        kinds: dict[str, type[Form]] = {"csv": Csv, "measures": Measures, **FORMS}
        self._form = kinds[form](self._out)

    def handle(self, request: dict[str, Any], arrays: Arrays) -> Answer:
        if "planes" not in arrays:
            return {"file": self._finish(request["left_out"])}, {}
        unknown = request["unknown"]
        given = np.array([not unknown >> bone & 1 for bone in range(NUM_BONES)])
        # Most forms take the image's name alone, which is not the one that it is kept under.
        path = Path(request["path"] if self._name in ("dicom-seg", "measures") else request["name"])
        masks = Masks(request["name"], path, [HandMasks(None, arrays["planes"] & ~np.int32(unknown), given)])
        try:
            if self._name == "dicom-seg" and not is_dicom(path):
                raise ValueError("not a DICOM file; a DICOM SEG refers to the DICOM image that it was drawn on")
            self._form.check([path])
            self._form.add(masks)
        except FileNotFoundError:
            return {"left_out": "the file of the image is gone; remove the image and add it again"}, {}
        except (ValueError, MasksNotWrittenError) as error:
            return {"left_out": str(error).removeprefix(f"{path}: ")}, {}
        return {"left_out": ""}, {}

    def _finish(self, left_out: dict[str, str]) -> str:
        self._form.finish()
        files = sorted(path for path in self._out.rglob("*") if path.is_file())
        if len(files) == 1 and not left_out:
            files[0].rename(self._folder / files[0].name)
            return files[0].name
        target = f"handseg-{self._name}.zip"
        with zipfile.ZipFile(self._folder / target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for path in files:
                kind = zipfile.ZIP_STORED if path.suffix in _STORED else zipfile.ZIP_DEFLATED
                archive.write(path, path.relative_to(self._out).as_posix(), kind)
            if left_out:
                lines = "".join(f"{name}: {reason}\n" for name, reason in left_out.items())
                archive.writestr(_LEFT_OUT, lines)
        return target


if __name__ == "__main__":
    answer(_Writer(sys.argv[1], Path(sys.argv[2])).handle)
