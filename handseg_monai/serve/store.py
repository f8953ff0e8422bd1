"""Images, masks and corrections on disk: what a method has returned is there, whenever the process is killed."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np

from handseg_monai.bones import ALL_KNOWN
from handseg_monai.data.items import Item, LabelError
from handseg_monai.data.labels.converted import read_planes
from handseg_monai.data.reading.patients import stated_patients
from handseg_monai.serve.corrected import Corrected, Patients
from handseg_monai.serve.folder import Folder, digest, move
from handseg_monai.serve.journal import Act, Journal, apply_edit, edit_of, require_bone
from handseg_monai.serve.names import one_line, suffix_of, title_of
from handseg_monai.serve.recent import Recent
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

_MOST_PLANES = 512 << 20
"""Bytes of bit planes that are kept in memory."""
_ANEW = "remove the image and add it again"


class Store:
    """Images of one folder, their masks and their corrections; threads may share it.

    A method that changes something returns once that is on disk. A kill at any moment loses nothing that was returned;
    what it leaves half done is swept when the folder is opened again.

    Parameters
    ----------
    folder
        ``WORK``: a folder that a store has made, or an empty one, or none.
    patients
        Reads which patients DICOM images state; by default in this process. :class:`StoreError` where it fails.

    Raises
    ------
    StoreError
        The folder holds other files, or another process has it open.
    OSError
        It can't be written to.
    """

    def __init__(self, folder: str | Path, patients: Patients = stated_patients) -> None:
        self._folder = Folder(Path(folder))
        self.folder = self._folder.root
        self._corrected = Corrected(self.folder, patients)
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._journals: dict[str, Journal] = {}
        self._planes: Recent[np.ndarray] = Recent(_MOST_PLANES, lambda planes: planes.nbytes)
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process open the folder."""
        self._folder.close()

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

    def has(self, content: Path) -> bool:
        """Whether the image of a file is there already, under whatever name."""
        with self._lock:
            return digest(content)[:16] in self._entries

    def was_removed(self, content: Path) -> bool:
        """Whether the image of a file was removed, and not added since."""
        return digest(content) in self._folder.removed()

    def image(self, id: str) -> Path:
        """File of an image as it was given."""
        return self._folder.path("images", id, self.entry(id).suffix)

    def new_file(self) -> Path:
        """Make an empty file for :meth:`add`; the next opening removes what was not added."""
        return self._folder.new_file()

    def new_folder(self) -> Path:
        """Make an empty folder for what is on its way out; the next opening removes it."""
        return self._folder.new_folder()

    def add(self, name: str, content: Path) -> str:
        """Take an image over, whose file moves into the store, and return its id.

        Parameters
        ----------
        name
            As people know it; it is kept as text alone, and never becomes a path.
        content
            The file, best one of :meth:`new_file`. An image that is there already stays, and this file is removed.
        """
        sha256 = digest(content)
        id = sha256[:16]
        name = one_line(name)
        with self._lock:
            if id in self._entries:
                if self._entries[id].sha256 not in (sha256, ""):
                    raise StoreError(f"{name}: another image has the same id, {id}; save this one anew")
                content.unlink()
                return id
            self._folder.require_held()
            self._folder.sweep(id)  # where removing it failed
            others = self._entries.values()
            title = title_of(name, [entry.title for entry in others])
            number = 1 + max((entry.number for entry in others), default=0)
            entry = Entry(id, name, title, number, suffix_of(name), sha256)
            move(content, self._folder.path("images", id, entry.suffix))
            self._write_entry(entry)
            self._folder.note_removed(sha256, on=False)
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
            path = self._folder.write_planes("planes", id, inferred.planes)
            self._planes.drop(id)
            confidence = None if inferred.confidence is None else tuple(map(float, inferred.confidence))
            ready = replace(entry, state="ready", error="", height=height, width=width, confidence=confidence)
            self._write_entry(replace(ready, note=inferred.note, weights=inferred.weights, planes=digest(path)))

    def put_failed(self, id: str, reason: str) -> None:
        """Keep why an image can't be segmented; one that was before stays so."""
        with self._lock:
            self._journal(id)
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
            planes = self._planes.get(id)
            planes = self._keep(id, self._replayed(id, journal)) if planes is None else planes
            return State(**asdict(journal.marks), planes=planes)

    def edit(self, id: str, revision: int, bone: int, mask: np.ndarray, box: Box) -> State:
        """Replace a bone's mask within a box; all other bones stay. An image that was done is so no more.

        Parameters
        ----------
        id, revision, bone
            The image, the revision that the edit is based on, and the index of the bone.
        mask, box
            Boolean, and the rows and columns that it covers. Where nothing changes there is no new revision.

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
            act = edit_of(state.planes, bone, mask, box)
            return state if act is None else self._act(id, act)

    def mark(
        self, id: str, revision: int, *, unknown: tuple[int, bool] | None = None, done: bool | None = None
    ) -> State:
        """Mark a bone as unknown, or not, or else the image as done, or not.

        What is done is a label to train on, in which unknown bones don't count. Raises as :meth:`edit`, and
        :class:`StoreError` where all bones of what is to be done are unknown, or its patient can't be read.
        """
        if (unknown is None) == (done is None):
            raise ValueError("expected either unknown or done")
        if done:  # before the lock: that may take long
            self._corrected.read_patients([self.image(one) for one in (id, *self._done())])
        with self._lock:
            state = self._at(id, revision)
            if unknown is not None:
                bone, on = require_bone(unknown[0]), unknown[1]
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
        return self._turned(id, revision, "undo")

    def redo(self, id: str, revision: int) -> State:
        """Do again what was undone last; raises as :meth:`edit`, and where there is none."""
        return self._turned(id, revision, "redo")

    def remove(self, id: str) -> None:
        """Remove an image and all that belongs to it; :class:`MissingError` where there is none."""
        with self._lock:
            self._folder.note_removed(self.entry(id).sha256 or self._folder.digest_of_image(id))
            was_done = id in self._done()
            self._folder.drop(id)
            del self._entries[id]
            self._journals.pop(id, None)
            self._planes.drop(id)
            if was_done:  # a data set never lists files that are gone
                with suppress(OSError):  # on a full disk, where the files that go make space
                    self._corrected.write(self._items())
            self._folder.sweep(id)
            (self._corrected.write if was_done else self._corrected.catch_up)(self._items())

    def _load(self) -> None:
        self._entries = self._folder.entries()
        for id, entry in self._entries.items():
            try:
                self._entries[id] = self._looked_at(entry)
            except DamagedError as error:
                self._journals.pop(id, None)
                self._entries[id] = replace(entry, state="failed", error=str(error))
        for id in self._done():
            if not self._folder.path("labels", id).exists():
                with suppress(OSError):  # on a full disk, where training says that the label is gone
                    self._write_label(id, self.open(id))
        self._corrected.read_patients([self.image(id) for id in self._done()], says=True)
        self._corrected.catch_up(self._items())

    def _looked_at(self, entry: Entry) -> Entry:
        """Read the journal of an image, and make sure that its files are there."""
        id = entry.id
        if not entry.sha256:
            raise DamagedError(entry.error)
        self._journals[id] = Journal(self._folder.path("edits", id))
        if not self._folder.path("images", id, entry.suffix).exists():
            raise DamagedError(f"the file of the image is gone; {_ANEW}")
        planes = self._folder.path("planes", id)
        if entry.state != "ready" or (planes.exists() and digest(planes) == entry.planes):
            return entry
        if self._journals[id].marks.revision:
            raise DamagedError(f"{planes.name}: what the network drew is gone or damaged; restore it, or {_ANEW}")
        return replace(entry, state="waiting")  # the network draws the same again

    def _journal(self, id: str) -> Journal:
        entry = self.entry(id)
        if id not in self._journals:
            raise DamagedError(entry.error)
        return self._journals[id]

    def _done(self) -> list[str]:
        return [id for id in self.ids() if id in self._journals and self._journals[id].marks.done]

    def _at(self, id: str, revision: int) -> State:
        state = self.open(id)
        if revision != state.revision:
            words = f"the change is based on revision {revision}, and the image is at {state.revision}; load it again"
            raise StaleError(f"{self.entry(id).name}: {words}")
        return state

    def _turned(self, id: str, revision: int, kind: Literal["undo", "redo"]) -> State:
        with self._lock:
            state = self._at(id, revision)
            if not (state.undoable if kind == "undo" else state.redoable):
                raise StoreError(f"there is nothing to {kind}")
            return self._act(id, Act(act=kind))

    def _act(self, id: str, act: Act) -> State:
        self._folder.require_held()
        journal, before = self._journals[id], self.open(id)
        if self._corrected.may_list(self.image(id)):  # a full disk must not leave it there once it is done no more
            self._corrected.write(self._items(but=id))
        try:
            effect = journal.append(act)
        finally:
            self._corrected.catch_up(self._items())
        if effect["act"] == "edit":
            apply_edit(planes := before.planes.copy(), effect)
            self._keep(id, planes)
        return self.open(id)

    def _keep(self, id: str, planes: np.ndarray) -> np.ndarray:
        planes.flags.writeable = False  # states that were given out share them
        return self._planes.put(id, planes)

    def _replayed(self, id: str, journal: Journal) -> np.ndarray:
        entry = self.entry(id)
        if entry.state != "ready":
            raise StoreError(f"{entry.name}: {entry.error or 'the image is not segmented yet'}")
        try:
            return journal.replayed(read_planes(self._folder.path("planes", id), (entry.height, entry.width)))
        except LabelError as error:
            raise DamagedError(f"{entry.name}: what the network drew is gone or damaged ({error})") from error

    def _write_entry(self, entry: Entry) -> None:
        self._folder.write(entry)
        self._entries[entry.id] = entry
        if entry.id not in self._journals:
            self._journals[entry.id] = Journal(self._folder.path("edits", entry.id))

    def _write_label(self, id: str, state: State) -> None:
        self._folder.write_planes("labels", id, state.planes & np.int32(ALL_KNOWN & ~state.unknown))

    def _items(self, but: str = "") -> list[Item]:
        return [
            Item(
                image=str(self.image(id)),
                label=str(self._folder.path("labels", id)),
                name=self._entries[id].title,
                known=ALL_KNOWN & ~self._journals[id].marks.unknown,
            )
            for id in self._done()
            if id != but
        ]
