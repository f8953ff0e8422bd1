"""Images, masks and corrections on disk: what a method has returned is there, whenever the process is killed.

::

    WORK/images/<id><suffix>   what was given, byte for byte
    WORK/entries/<id>.json     its name, its size, what inference said of it
    WORK/planes/<id>.npz       what the network drew
    WORK/edits/<id>.jsonl      what was done to it since, see `journal`
    WORK/labels/<id>.npz, WORK/datalist.json   what is marked as done: a data set to train on
    WORK/incoming/             files on their way in
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from collections import OrderedDict
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import numpy as np

from handseg_monai.bones import ALL_KNOWN, NUM_BONES
from handseg_monai.data.items import Item, LabelError
from handseg_monai.data.labels.converted import DATALIST, read_planes, write_datalist, write_planes
from handseg_monai.data.reading.images import without_suffix
from handseg_monai.data.reading.patients import patients_of
from handseg_monai.files import atomic_open, atomic_path, exclusive, plain_name, write_json
from handseg_monai.serve.journal import Act, Journal, apply_edit, edit_of, sync_folder
from handseg_monai.serve.state import (
    Box,
    DamagedError,
    Entry,
    Inferred,
    Marks,
    MissingError,
    StaleError,
    State,
    StoreError,
)

__all__ = [
    "DamagedError",
    "Entry",
    "Inferred",
    "Marks",
    "MissingError",
    "StaleError",
    "State",
    "Store",
    "StoreError",
]

MARK = ".handseg-serve"
_FORM = "handseg serve, 1\n"
_FOLDERS = {"images": "", "entries": ".json", "planes": ".npz", "edits": ".jsonl", "labels": ".npz"}
"""Folders of a file an image, and the suffix of the files; that of the image itself varies."""
_INCOMING = "incoming"
_OWN = re.compile(r"[0-9a-f]{16}(\.[a-z]+)?|\..*\.part")
"""Names of files that the store has written."""
_CACHED = 512 << 20
"""Bytes of bit planes that are kept in memory."""
_LONGEST = 200
"""Characters of a name that are kept."""


class Store:
    """Images of one folder, their masks and their corrections; threads may share it.

    A method that changes something returns once that is on disk. A kill at any moment loses nothing that was returned;
    what it leaves half done is swept when the folder is opened again.

    Parameters
    ----------
    folder
        ``WORK``: a folder that a store has made, or an empty one, or none.

    Raises
    ------
    StoreError
        The folder holds other files, or another process has it open.
    OSError
        It can't be written to.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._journals: dict[str, Journal] = {}
        self._planes: OrderedDict[str, np.ndarray] = OrderedDict()
        self._held = ExitStack()
        _make(self.folder)
        self._hold()
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process open the folder."""
        self._held.close()

    def ids(self) -> list[str]:
        """Ids of all images in the order of adding."""
        with self._lock:
            return sorted(self._entries, key=lambda id: self._entries[id].number)

    def entry(self, id: str) -> Entry:
        """What is known of an image; :class:`MissingError` where there is none."""
        with self._lock:
            if id not in self._entries:
                raise MissingError(f"no image {id[:16]!r}; it may have been removed")
            return self._entries[id]

    def image(self, id: str) -> Path:
        """File of an image as it was given."""
        return self._path("images", id, self.entry(id).suffix)

    def new_file(self) -> Path:
        """Make an empty file, for :meth:`add`, on the store's own disk; the next opening removes it if nothing came."""
        descriptor, path = tempfile.mkstemp(dir=self.folder / _INCOMING)
        os.close(descriptor)
        return Path(path)

    def add(self, name: str, content: Path) -> str:
        """Take an image over: its file moves into the store.

        Parameters
        ----------
        name
            As people know it; it is kept as text alone, and never becomes a path.
        content
            The file, best one of :meth:`new_file`. An image that is there already stays, and this file is removed.

        Returns
        -------
        id
            Of the image.
        """
        digest = _digest(content)
        id = digest[:16]
        name = _text(name)
        with self._lock:
            if id in self._entries:
                if self._entries[id].sha256 not in (digest, ""):
                    raise StoreError(f"{name}: another image has the same id, {id}; save this one anew")
                content.unlink()
                return id
            entry = Entry(
                id=id,
                name=name,
                title=self._title(name),
                number=1 + max((entry.number for entry in self._entries.values()), default=0),
                suffix=name[len(without_suffix(name)) :].lower(),
                sha256=digest,
            )
            _move(content, self._path("images", id, entry.suffix))
            self._write_entry(entry)
        return id

    def put_inferred(self, id: str, inferred: Inferred) -> None:
        """Keep what the network drew of an image.

        Raises
        ------
        StoreError
            The image has been corrected since it was segmented before: that would be lost.
        """
        height, width = inferred.planes.shape
        with self._lock:
            entry = self.entry(id)
            if self._journal(id).marks.revision:
                raise StoreError(f"{entry.name}: it has been corrected; segmenting it anew would lose that")
            path = self._path("planes", id)
            write_planes(path, inferred.planes)
            sync_folder(path.parent)
            self._planes.pop(id, None)
            confidence = None if inferred.confidence is None else tuple(map(float, inferred.confidence))
            ready = replace(entry, state="ready", error="", height=height, width=width, confidence=confidence)
            self._write_entry(replace(ready, note=inferred.note, weights=inferred.weights, planes=_digest(path)))

    def put_failed(self, id: str, reason: str) -> None:
        """Keep why an image can't be segmented; one that was before stays so."""
        with self._lock:
            if (entry := self.entry(id)).state != "ready":
                self._write_entry(replace(entry, state="failed", error=reason))

    def marks(self, id: str) -> Marks:
        """How far an image is corrected, without its pixels; raises as :meth:`open`."""
        with self._lock:
            return self._journal(id).marks

    def open(self, id: str) -> State:
        """Bit planes of an image as they are now.

        Raises
        ------
        MissingError
            There is no such image.
        StoreError
            It is not segmented yet, or could not be.
        DamagedError
            Its files are gone or damaged.
        """
        with self._lock:
            journal = self._journal(id)
            if id not in self._planes:
                self._keep(id, self._replayed(id, journal))
            self._planes.move_to_end(id)
            return State(**asdict(journal.marks), planes=self._planes[id])

    def edit(self, id: str, revision: int, bone: int, mask: np.ndarray, box: Box) -> State:
        """Replace a bone's mask within a box; all other bones stay. An image that was done is so no more.

        Parameters
        ----------
        id, revision
            The image, and the revision that the edit is based on.
        bone
            Index of the bone.
        mask
            Boolean, of the size of ``box``.
        box
            Rows and columns of the image. Where nothing changes there is no new revision.

        Raises
        ------
        StaleError
            The image has another revision.
        StoreError
            As :meth:`open`.
        ValueError
            The mask does not fit the image.
        """
        with self._lock:
            state = self._at(id, revision)
            _require_bone(bone)
            _require_fit(mask, box, state.planes.shape)
            changed = ((state.planes[box] & np.int32(1 << bone)) != 0) != mask
            return self._act(id, edit_of(bone, box, changed)) if changed.any() else state

    def mark(
        self, id: str, revision: int, *, unknown: tuple[int, bool] | None = None, done: bool | None = None
    ) -> State:
        """Mark a bone as unknown, or not, or the image as done, or not; one of the two.

        What is done is a label to train on, in which unknown bones don't count. Raises as :meth:`edit`, and
        :class:`StoreError` where all bones of an image that is to be done are unknown.
        """
        if (unknown is None) == (done is None):
            raise ValueError("expected either unknown or done")
        with self._lock:
            state = self._at(id, revision)
            if unknown is not None:
                bone, on = unknown
                _require_bone(bone)
                same = bool(state.unknown >> bone & 1) == on
                return state if same else self._act(id, Act(act="unknown", bone=bone, on=on))
            if done == state.done:
                return state
            if done:
                if state.unknown == ALL_KNOWN:
                    raise StoreError("all bones are unknown, so there is nothing to train on; mark one as known first")
                self._write_label(id, state)
            return self._act(id, Act(act="done", on=bool(done)))

    def undo(self, id: str, revision: int) -> State:
        """Take the last edit or mark of a bone back; raises as :meth:`edit`, and where there is none."""
        with self._lock:
            if not self._at(id, revision).undoable:
                raise StoreError("there is nothing to undo")
            return self._act(id, Act(act="undo"))

    def redo(self, id: str, revision: int) -> State:
        """Do again what was undone last; raises as :meth:`edit`, and where there is none."""
        with self._lock:
            if not self._at(id, revision).redoable:
                raise StoreError("there is nothing to redo")
            return self._act(id, Act(act="redo"))

    def remove(self, id: str) -> None:
        """Remove an image and all that belongs to it; :class:`MissingError` where there is none."""
        with self._lock:
            entry = self.entry(id)
            was_done = self._is_done(id)
            self._path("entries", id).unlink(missing_ok=True)
            sync_folder(self.folder / "entries")
            del self._entries[id]
            self._journals.pop(id, None)
            self._planes.pop(id, None)
            if was_done:
                self._write_datalist()
            for folder in _FOLDERS:
                self._path(folder, id, entry.suffix).unlink(missing_ok=True)

    def _hold(self) -> None:
        path = self.folder / "lock"
        try:
            lock = self._held.enter_context(exclusive(path, f"--work {self.folder}"))
        except ValueError as error:
            with suppress(OSError):
                holder = path.read_text().strip()
            raise StoreError(
                f"--work {self.folder}: process {holder or 'unknown'} has it open; end it, or choose another folder"
            ) from error
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())

    def _load(self) -> None:
        """Read all entries and journals, and sweep what a kill has left."""
        shutil.rmtree(self.folder / _INCOMING, ignore_errors=True)
        for name in (*_FOLDERS, _INCOMING):
            (self.folder / name).mkdir(exist_ok=True)
        for path in (self.folder / "entries").glob("*.json"):
            if _OWN.fullmatch(path.name):
                self._entries[path.stem] = _read_entry(path)
        for name in _FOLDERS:
            for path in (self.folder / name).iterdir():
                if _OWN.fullmatch(path.name) and path.name[:16] not in self._entries:
                    path.unlink()
        for id, entry in self._entries.items():
            try:
                self._entries[id] = self._looked_at(entry)
            except DamagedError as error:
                self._journals.pop(id, None)
                self._entries[id] = replace(entry, state="failed", error=str(error))
        for id in self.ids():
            if self._is_done(id) and not self._path("labels", id).exists():
                self._write_label(id, self.open(id))
        self._write_datalist()

    def _looked_at(self, entry: Entry) -> Entry:
        """Read the journal of an image, and make sure that its files are there."""
        id = entry.id
        if not entry.sha256:
            raise DamagedError(entry.error)
        self._journals[id] = Journal(self._path("edits", id))
        if not self._path("images", id, entry.suffix).exists():
            raise DamagedError("the file of the image is gone; remove the image and add it again")
        planes = self._path("planes", id)
        if entry.state != "ready" or (planes.exists() and _digest(planes) == entry.planes):
            return entry
        if self._journals[id].marks.revision:
            raise DamagedError(
                f"{planes.name}: what the network drew is gone or damaged; restore the file, or remove the image and "
                "add it again"
            )
        return replace(entry, state="waiting")  # the network draws the same again

    def _path(self, folder: str, id: str, suffix: str = "") -> Path:
        return self.folder / folder / f"{id}{_FOLDERS[folder] or suffix}"

    def _journal(self, id: str) -> Journal:
        entry = self.entry(id)
        if id not in self._journals:
            raise DamagedError(entry.error)
        return self._journals[id]

    def _is_done(self, id: str) -> bool:
        return id in self._journals and self._journals[id].marks.done

    def _at(self, id: str, revision: int) -> State:
        state = self.open(id)
        if revision != state.revision:
            raise StaleError(
                f"{self.entry(id).name}: the change is based on revision {revision}, and the image is at "
                f"{state.revision}; load it again"
            )
        return state

    def _act(self, id: str, act: Act) -> State:
        journal = self._journals[id]
        was_done = journal.marks.done
        effect = journal.append(act)
        if effect["act"] == "edit":
            planes = self._planes[id].copy()
            apply_edit(planes, effect)
            self._keep(id, planes)
        if was_done or journal.marks.done:
            self._write_datalist()
        return State(**asdict(journal.marks), planes=self._planes[id])

    def _replayed(self, id: str, journal: Journal) -> np.ndarray:
        entry = self.entry(id)
        if entry.state != "ready":
            raise StoreError(f"{entry.name}: {entry.error or 'the image is not segmented yet'}")
        try:
            planes = read_planes(self._path("planes", id), (entry.height, entry.width))
        except LabelError as error:
            raise DamagedError(f"{entry.name}: what the network drew is gone or damaged ({error})") from error
        for act in journal.past:
            if act["act"] == "edit":
                apply_edit(planes, act)
        return planes

    def _keep(self, id: str, planes: np.ndarray) -> None:
        planes.flags.writeable = False
        self._planes[id] = planes
        self._planes.move_to_end(id)
        while len(self._planes) > 1 and sum(kept.nbytes for kept in self._planes.values()) > _CACHED:
            self._planes.popitem(last=False)

    def _title(self, name: str) -> str:
        base = name.replace("\\", "/").rpartition("/")[2].lstrip(". ") or "image"
        stem = without_suffix(base)
        taken = {entry.title.casefold() for entry in self._entries.values()}
        titles = (f"{stem} ({n}){base[len(stem) :]}" if n > 1 else base for n in count(1))
        return next(title for title in titles if title.casefold() not in taken)

    def _write_entry(self, entry: Entry) -> None:
        path = self._path("entries", entry.id)
        write_json(path, asdict(entry))
        sync_folder(path.parent)
        self._entries[entry.id] = entry
        self._journals.setdefault(entry.id, Journal(self._path("edits", entry.id)))

    def _write_label(self, id: str, state: State) -> None:
        path = self._path("labels", id)
        write_planes(path, state.planes & np.int32(ALL_KNOWN & ~state.unknown))
        sync_folder(path.parent)

    def _write_datalist(self) -> None:
        """Write what is done as a data set; images of one patient, by DICOM, are of one subject."""
        done = [id for id in self.ids() if self._is_done(id)]
        paths = [self.image(id) for id in done]
        patients = patients_of(paths)
        titles = [self._entries[id].title for id in done]
        first: dict[int, str] = {}
        items = []
        for id, path, title in zip(done, paths, titles, strict=True):
            subject = first.setdefault(patients[path], title) if path in patients else title
            label, known = self._path("labels", id), ALL_KNOWN & ~self._journals[id].marks.unknown
            items.append(Item(image=str(path), label=str(label), name=title, subject=subject, known=known))
        write_datalist(self.folder / DATALIST, items, "images that were corrected with handseg serve")
        sync_folder(self.folder)


def _make(folder: Path) -> None:
    """Make the folder, or make sure that it is a store's."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / MARK
    if mark.exists():
        if (form := mark.read_text(encoding="utf-8", errors="replace")) != _FORM:
            raise StoreError(f"--work {folder}: its form is {form.strip()!r}; expected {_FORM.strip()!r}")
        return
    if strange := sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")):
        raise StoreError(f"--work {folder} holds {strange[0]}, which the page did not write; choose an empty folder")
    with atomic_open(mark) as file:
        file.write(_FORM)
    sync_folder(folder)


def _read_entry(path: Path) -> Entry:
    """Read an entry; a damaged one says so as its error, and has no digest."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entry = Entry(**content)
        if entry.id != path.stem or not isinstance(entry.number, int):
            raise ValueError(entry.id)
    except (ValueError, TypeError):
        id, words = path.stem, "its entry is damaged; remove the image and add it again"
        return Entry(id, id, id, 0, "", "", "failed", words)
    return entry


def _text(name: str) -> str:
    """Return a name in one line of valid Unicode, of a length that people read."""
    return plain_name(name.encode(errors="replace").decode())[:_LONGEST] or "image"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _move(source: Path, target: Path) -> None:
    """Bring a file to the disk, then give it its name; from another disk it is copied first."""
    try:
        with source.open("rb+") as file:
            os.fsync(file.fileno())
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_path(target) as part:
            shutil.copyfile(source, part)
        source.unlink()
    sync_folder(target.parent)


def _require_bone(bone: int) -> None:
    if not 0 <= bone < NUM_BONES:
        raise ValueError(f"bone {bone}; expected an index from 0 to {NUM_BONES - 1}")


def _require_fit(mask: np.ndarray, box: Box, shape: tuple[int, ...]) -> None:
    sides = [(part.start, part.stop) for part in box]
    if not all(0 <= start <= stop <= size for (start, stop), size in zip(sides, shape, strict=True)):
        raise ValueError(f"box {box} lies outside of the image of {shape[1]} x {shape[0]} pixels")
    if mask.dtype != bool or mask.shape != tuple(stop - start for start, stop in sides):
        raise ValueError(f"mask {mask.dtype} {mask.shape}; expected booleans of the box {box}")
