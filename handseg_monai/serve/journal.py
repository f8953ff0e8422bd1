"""The journal of an image: every act of correcting it, a line of JSON each, on disk before it counts."""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from handseg_monai.bones import NUM_BONES
from handseg_monai.serve.folder import sync_folder
from handseg_monai.serve.state import Box, DamagedError, Marks, RequestError, StoreError


class Act(TypedDict):
    """One act: ``edit`` of a bone within a box, ``unknown`` of a bone, ``done``, ``undo`` or ``redo``.

    ``box`` is the first row and column, and the number of rows and columns. ``runs`` are the pixels in which the mask
    changes, line by line: lengths by turns of those that stay and of those that change.
    """

    act: str
    bone: NotRequired[int]
    on: NotRequired[bool]
    box: NotRequired[list[int]]
    runs: NotRequired[str]


class Journal:
    """Acts of one image in the order in which they came, in a file that only grows.

    An unfinished last line, which was never acknowledged, is cut off.

    Parameters
    ----------
    path
        The file; it is made by the first act.

    Raises
    ------
    DamagedError
        A line is not what was written.

    Attributes
    ----------
    past
        Acts that can be undone, the last one first to go.
    future
        Acts that were undone and can be done again, the last one first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.past: list[Act] = []
        self.future: list[Act] = []
        self._revision, self._unknown, self._done, self._length = 0, 0, False, 0
        content = path.read_bytes() if path.exists() else b""
        *lines, rest = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                self._take(_read(line, number))
            except (ValueError, KeyError, IndexError, TypeError) as error:
                raise DamagedError(
                    f"{path.name}, line {number}: the corrections are damaged; restore the file, or remove the image "
                    "and add it again"
                ) from error
        self._length = len(content) - len(rest)
        if rest:
            os.truncate(path, self._length)
        self._file = path.stat().st_ino if path.exists() else None
        self._most = self._length

    @property
    def marks(self) -> Marks:
        """What the acts so far come to, but for the pixels."""
        edited = 0
        for act in self.past:
            edited |= 1 << act["bone"] if act["act"] == "edit" else 0
        return Marks(self._revision, self._unknown, self._done, len(self.past), len(self.future), edited)

    def replayed(self, planes: np.ndarray) -> np.ndarray:
        """Make all edits that were not undone in bit planes, int32 (H, W), in place, and return them."""
        for act in self.past:
            if act["act"] == "edit":
                apply_edit(planes, act)
        return planes

    def append(self, act: Act) -> Act:
        """Write an act to the disk and return the one whose pixels change by it: itself, or what it undoes or redoes.

        Raises
        ------
        OSError
            It can't be written; the journal is as it was.
        StoreError
            The file is not the one that was written: another program has changed it, or removed it.
        IndexError
            Nothing is left to undo, or to redo.
        """
        if act["act"] == "undo":
            self.past[-1]
        if act["act"] == "redo":
            self.future[-1]
        line = memoryview(_line(act, self._revision + 1))
        length = len(line)
        file = self._open()
        try:
            os.ftruncate(file, self._length)  # a write that failed may have left a part of a line
            self._most = self._length + length
            while line:
                line = line[os.write(file, line) :]
            os.fsync(file)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file, self._length)
            raise
        finally:
            os.close(file)
        if not self._length:  # the file is new, or its first act failed before the folder was on disk
            sync_folder(self.path.parent)
        self._length = self._most
        return self._take(act)

    def _open(self) -> int:
        """Open the file to append to it, and make sure that it is the one that was written."""
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | (0 if self._length else os.O_CREAT), 0o666)
        except FileNotFoundError:
            raise self._changed() from None
        status = os.fstat(file)
        if self._file is None or not self._length:
            self._file = status.st_ino
        if status.st_ino != self._file or not self._length <= status.st_size <= self._most:
            os.close(file)
            raise self._changed()
        return file

    def _changed(self) -> StoreError:
        return StoreError(
            f"{self.path.name}: another program has changed the corrections of this image, or removed them; the change "
            "is not saved; end handseg serve, restore the file, and start again"
        )

    def _take(self, act: Act) -> Act:
        kind = act["act"]
        self._revision += 1
        self._done = kind == "done" and act["on"]
        if kind == "undo":
            self.future.append(act := self.past.pop())
        elif kind == "redo":
            self.past.append(act := self.future.pop())
        elif kind in ("edit", "unknown"):
            self.past.append(act)
            self.future.clear()
        elif kind != "done":
            raise ValueError(kind)
        if act["act"] == "unknown":
            self._unknown ^= 1 << act["bone"]
        return act


def edit_of(planes: np.ndarray, bone: int, mask: np.ndarray, box: Box) -> Act | None:
    """Make the act that gives a bone a new mask, boolean, within a box of bit planes; None where that changes nothing.

    Raises
    ------
    ValueError
        There is no such bone, or the mask or the box does not fit.
    """
    require_bone(bone)
    sides = [(part.start, part.stop) for part in box]
    if not all(0 <= start <= stop <= size for (start, stop), size in zip(sides, planes.shape, strict=True)):
        raise RequestError(f"box {box} lies outside of the image of {planes.shape[1]} x {planes.shape[0]} pixels")
    if mask.dtype != bool or mask.shape != tuple(stop - start for start, stop in sides):
        raise RequestError(f"mask {mask.dtype} {mask.shape}; expected booleans of the box {box}")
    changed = ((planes[box] & np.int32(1 << bone)) != 0) != mask
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    part = changed[top : rows[-1] + 1, left : columns[-1] + 1]
    flat = np.concatenate([[False], part.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    lengths = np.diff(np.concatenate([[0], edges]))
    place = [box[0].start + top, box[1].start + left, *part.shape]
    return Act(act="edit", bone=bone, box=place, runs=" ".join(map(str, lengths.tolist())))


def require_bone(bone: int) -> int:
    """Return the index of a bone; ``ValueError`` for one that is none."""
    if not 0 <= bone < NUM_BONES:
        raise RequestError(f"bone {bone}; expected an index from 0 to {NUM_BONES - 1}")
    return bone


def apply_edit(planes: np.ndarray, act: Act) -> None:
    """Change the pixels of an edit in bit planes, int32 (H, W), in place; a second time takes it back."""
    top, left, height, width = act["box"]
    lengths = np.array(act["runs"].split(), np.int64)
    bits = np.arange(len(lengths), dtype=np.int32) % 2 << np.int32(act["bone"])
    flat = np.zeros(height * width, np.int32)
    changed = np.repeat(bits, lengths)
    flat[: len(changed)] = changed
    planes[top : top + height, left : left + width] ^= flat.reshape(height, width)


def _line(act: Act, revision: int) -> bytes:
    body = json.dumps({"revision": revision, **act}).encode()
    return b'{"crc": %d, ' % zlib.crc32(body) + body[1:] + b"\n"


def _read(line: bytes, revision: int) -> Act:
    start, _, rest = line.partition(b", ")
    body = b"{" + rest
    if start != b'{"crc": %d' % zlib.crc32(body):
        raise ValueError("another checksum")
    content = json.loads(body)
    if content.pop("revision") != revision:
        raise ValueError("another revision")
    return Act(**content)  # type: ignore[typeddict-item]
