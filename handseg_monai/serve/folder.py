"""The folder of a store: its files, the lock on it, and what a kill has left in it.

::

    WORK/images/<id><suffix>   what was given, byte for byte
    WORK/entries/<id>.json     its name, its size, what inference said of it
    WORK/planes/<id>.npz       what the network drew
    WORK/edits/<id>.jsonl      what was done to it since, see `journal`
    WORK/labels/<id>.npz, WORK/datalist.json   what is marked as done: a data set to train on
    WORK/incoming/             files on their way in
    WORK/removed.json          digests of images that somebody has removed
    WORK/set-aside/<n>/        the same folders again, of what was found without an entry
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path

import numpy as np

from handseg_monai.data.labels.converted import DATALIST, write_planes
from handseg_monai.files import atomic_open, atomic_path, exclusive, write_json
from handseg_monai.serve.state import Entry, StoreError

logger = logging.getLogger(__name__)

MARK = ".handseg-serve"
_FORM = "handseg serve, 1\n"
_SUFFIXES = {"images": "", "entries": ".json", "planes": ".npz", "edits": ".jsonl", "labels": ".npz"}
"""Folders of a file an image, and the suffix of the files; that of the image itself varies."""
_INCOMING = "incoming"
_SET_ASIDE = "set-aside"
_REMOVED = ".removed"
"""Suffix that an entry takes once its image is removed: whatever else has no entry is never deleted."""
_REMOVED_ONES = "removed.json"
_OWN = re.compile(r"[0-9a-f]{16}(\.[a-z0-9]+)?|\..*\.part")
"""Names of the files in these folders."""


class Folder:
    """The folder ``WORK``, held by this process until :meth:`close`.

    Parameters
    ----------
    root
        A folder that a store has made, or an empty one, or none.

    Raises
    ------
    StoreError
        The folder holds other files, or another process has it open.
    OSError
        It can't be written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        try:
            str(self.root).encode()
        except UnicodeEncodeError as error:
            name = os.fsencode(root).decode(errors="replace")
            raise StoreError(f"--work {name}: its path is not in UTF-8; choose another folder, or rename it") from error
        self._held = ExitStack()
        _make(self.root)
        lock = self.root / "lock"
        try:
            descriptor = self._held.enter_context(exclusive(lock, f"--work {root}"))
        except ValueError as error:
            holder = lock.read_text(encoding="utf-8", errors="replace").strip() or "unknown"
            raise StoreError(
                f"--work {root}: process {holder} has it open; end it, or choose another folder"
            ) from error
        self._locked = _identity(os.fstat(descriptor))
        os.ftruncate(descriptor, 0)
        with suppress(OSError):  # a full disk can be opened, so that images can be removed
            os.write(descriptor, f"{os.getpid()}\n".encode())
        for name in (*_SUFFIXES, _INCOMING):
            (self.root / name).mkdir(exist_ok=True)
        for path in (self.root / _INCOMING).iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another process open the folder."""
        self._held.close()

    def require_held(self) -> None:
        """Make sure, before something is written, that no other process can have opened the folder meanwhile.

        Raises
        ------
        StoreError
            The lock file is gone, or it is another one.
        """
        try:
            held = _identity((self.root / "lock").stat()) == self._locked
        except OSError:
            held = False
        if not held:
            raise StoreError(
                "another program has changed the folder of --work: its file lock is gone, or another one; nothing is "
                "saved any more; end all of handseg serve, and start it again"
            )

    def path(self, kind: str, id: str, suffix: str = "") -> Path:
        """File of an image in one of the folders; ``suffix`` is that of the image as it was given."""
        return self.root / kind / f"{id}{_SUFFIXES[kind] or suffix}"

    def new_file(self) -> Path:
        """Make an empty file for something on its way in; the next opening removes it if it still lies there."""
        descriptor, path = tempfile.mkstemp(dir=self.root / _INCOMING)
        os.close(descriptor)
        return Path(path)

    def new_folder(self) -> Path:
        """Make an empty folder beside such files, which goes as they do."""
        return Path(tempfile.mkdtemp(dir=self.root / _INCOMING))

    def entries(self) -> dict[str, Entry]:
        """Read all entries, and set aside what belongs to none. A damaged one says so as its error, and has no digest.

        What belongs to an image that was removed goes.
        """
        for mark in (self.root / "entries").glob(f"*{_REMOVED}"):
            self.sweep(mark.stem)
        paths = [path for path in (self.root / "entries").glob("*.json") if _OWN.fullmatch(path.name)]
        entries = {path.stem: _read_entry(path) for path in paths}
        strays = []
        for kind in _SUFFIXES:
            for path in (self.root / kind).iterdir():
                if path.name.startswith(".") and _OWN.fullmatch(path.name):
                    path.unlink()
                elif _OWN.fullmatch(path.name) and path.name[:16] not in entries:
                    strays.append(path)
        self._set_aside(strays)
        for name in (DATALIST, _REMOVED_ONES):
            for path in self.root.glob(f".{name}.*.part"):
                path.unlink()
        return entries

    def _set_aside(self, paths: Sequence[Path]) -> None:
        if not paths:
            return
        places = (self.root / _SET_ASIDE / str(number) for number in count(1))
        place = next(place for place in places if not place.exists())
        try:
            for path in paths:
                target = place / path.relative_to(self.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
        except OSError as error:
            logger.warning("%s: %d files belong to no entry and stay where they are: %s", self.root, len(paths), error)
            return
        logger.warning("%s: %d files belong to no entry; they are in %s now", self.root, len(paths), place)

    def write(self, entry: Entry) -> None:
        """Write an entry: from then on the image is there."""
        self.require_held()
        path = self.path("entries", entry.id)
        write_json(path, asdict(entry))
        sync_folder(path.parent)

    def write_planes(self, kind: str, id: str, planes: np.ndarray) -> Path:
        """Write bit planes, int32 (H, W), as the file of an image in one of the folders, and return its path."""
        self.require_held()
        write_planes(path := self.path(kind, id), planes)
        sync_folder(path.parent)
        return path

    def drop(self, id: str) -> None:
        """Mark an image as removed: from then on it is not there; its files are, see :meth:`sweep`."""
        self.require_held()
        mark = self._mark(id)
        try:
            self.path("entries", id).rename(mark)  # takes no space: a full disk can be emptied
        except FileNotFoundError:
            mark.touch()
        sync_folder(mark.parent)

    def sweep(self, id: str) -> None:
        """Remove all files of an image that is marked as removed, last of all the mark; where there is none, nothing.

        An entry beside the mark is that of the same image, added anew.
        """
        if not (mark := self._mark(id)).exists():
            return
        if not self.path("entries", id).exists():
            for kind in _SUFFIXES:
                for path in (self.root / kind).glob(f"{id}*"):
                    if path != mark:
                        path.unlink(missing_ok=True)
                sync_folder(self.root / kind)
        mark.unlink()

    def digest_of_image(self, id: str) -> str:
        """SHA-256 of the file of an image, whatever its entry says; "" where there is none."""
        files = sorted((self.root / "images").glob(f"{id}*"))
        return digest(files[0]) if files else ""

    def removed(self) -> set[str]:
        """SHA-256 of each image that was removed and not added since."""
        try:
            return set(json.loads((self.root / _REMOVED_ONES).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return set()

    def note_removed(self, sha256: str, on: bool = True) -> None:
        """Keep that an image is removed, or no more; where the disk is full the log says what follows."""
        self.require_held()
        removed = self.removed()
        if not sha256 or (sha256 in removed) == on:
            return
        try:
            write_json(self.root / _REMOVED_ONES, sorted(removed ^ {sha256}))
            sync_folder(self.root)
        except OSError as error:
            logger.warning("%s: %s; the next start may take a removed image again", self.root / _REMOVED_ONES, error)

    def _mark(self, id: str) -> Path:
        return self.root / "entries" / f"{id}{_REMOVED}"


def digest(path: Path) -> str:
    """SHA-256 of a file in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move(source: Path, target: Path) -> None:
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


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    with suppress(PermissionError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _make(root: Path) -> None:
    """Make the folder, or make sure that it is a store's."""
    if root.exists() and not root.is_dir():
        raise StoreError(f"--work {root} is a file; expected a folder, a new one or one of handseg serve")
    root.mkdir(parents=True, exist_ok=True)
    mark = root / MARK
    if mark.exists():
        if (form := mark.read_text(encoding="utf-8", errors="replace")) != _FORM:
            raise StoreError(f"--work {root}: its form is {form.strip()!r}; expected {_FORM.strip()!r}")
        return
    if strange := sorted(path.name for path in root.iterdir() if not path.name.startswith(".")):
        raise StoreError(f"--work {root} holds {strange[0]}, which handseg serve did not write; choose an empty folder")
    with atomic_open(mark) as file:
        file.write(_FORM)
    sync_folder(root)


def _read_entry(path: Path) -> Entry:
    try:
        entry = Entry(**json.loads(path.read_text(encoding="utf-8")))
        if entry.id != path.stem or not isinstance(entry.number, int):
            raise ValueError(entry.id)
    except (ValueError, TypeError):
        words = "its entry is damaged; remove the image and add it again"
        return Entry(path.stem, path.stem, path.stem, 0, "", "", "failed", words)
    return entry
