"""A process that edits a store in a loop until it is killed, and says before and after each act what is to be there."""

from __future__ import annotations

import hashlib
import json
import os
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np

from handseg_monai.bones import ALL_KNOWN
from handseg_monai.serve.state import Inferred
from handseg_monai.serve.store import Store

SHAPE = (40, 30)
MOST_IMAGES = 5


def found(store: Store) -> dict[str, object]:
    """What a store holds: for each image its state, the digest of its planes, its revision and its marks."""
    return {id: _found(store, id) for id in store.ids()}


def _found(store: Store, id: str) -> list[object]:
    if (state := store.entry(id).state) != "ready":
        return [state]
    now = store.open(id)
    return [state, _digest(now.planes), now.revision, now.unknown, now.done]


def _digest(planes: np.ndarray) -> str:
    return hashlib.sha256(planes.tobytes()).hexdigest()


class Editor:
    """Act on a store at random; a model of plain arrays says beforehand what each act comes to."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.store = Store(folder)
        self.model = found(self.store)
        self.planes = {id: self.store.open(id).planes for id, state in self.model.items() if state != ["waiting"]}
        self.past: dict[str, list[np.ndarray]] = {}
        self.future: dict[str, list[np.ndarray]] = {}

    def act(self) -> None:
        """Do one act; a line on standard output before it, with what is to be there then, and one after it."""
        ids = list(self.planes)
        if len(ids) < 2 or (len(ids) < MOST_IMAGES and self.rng.random() < 0.1):
            self._add()
        elif self.rng.random() < 0.05:
            self._remove(str(self.rng.choice(ids)))
        else:
            id = str(self.rng.choice(ids))
            acts = [self._edit] * 4 + [self._unknown, self._done, self._done, self._undo, self._undo, self._redo]
            acts[self.rng.integers(len(acts))](id)

    def _add(self) -> None:
        content = cv2.imencode(".png", self.rng.integers(0, 255, SHAPE).astype(np.uint8))[1].tobytes()
        id = hashlib.sha256(content).hexdigest()[:16]
        file = self.store.new_file()
        file.write_bytes(content)
        self._say({**self.model, id: ["waiting"]})
        assert self.store.add("hand.png", file) == id
        self._say(None)
        planes = self.rng.integers(0, ALL_KNOWN + 1, SHAPE).astype(np.int32)
        self._say({**self.model, id: ["ready", _digest(planes), 0, 0, False]})
        self.store.put_inferred(id, Inferred(planes))
        self._say(None)
        self.planes[id] = planes

    def _remove(self, id: str) -> None:
        self._say({other: state for other, state in self.model.items() if other != id})
        self.store.remove(id)
        self._say(None)
        del self.planes[id]

    def _edit(self, id: str) -> None:
        rows, columns = (sorted(self.rng.integers(0, size + 1, 2).tolist()) for size in SHAPE)
        box = slice(*rows), slice(*columns)
        bone = int(self.rng.integers(29))
        planes = self.planes[id].copy()
        mask = self.rng.random(planes[box].shape) < 0.5
        planes[box] = planes[box] & ~np.int32(1 << bone) | mask.astype(np.int32) << bone
        if (planes != self.planes[id]).any():
            past = [*self.past.get(id, []), self.planes[id]]
            self._will_be(id, planes)
            self.store.edit(id, self._revision(id) - 1, bone, mask, box)
            self._say(None)
            self.past[id], self.future[id] = past, []

    def _unknown(self, id: str) -> None:
        bone = int(self.rng.integers(29))
        _, digest, revision, unknown, _ = self.model[id]  # type: ignore[misc]
        self._say({**self.model, id: ["ready", digest, revision + 1, unknown ^ 1 << bone, False]})
        self.store.mark(id, revision, unknown=(bone, not unknown >> bone & 1))
        self._say(None)
        self.past[id], self.future[id] = [], []

    def _done(self, id: str) -> None:
        _, digest, revision, unknown, done = self.model[id]  # type: ignore[misc]
        self._say({**self.model, id: ["ready", digest, revision + 1, unknown, not done]})
        self.store.mark(id, revision, done=not done)
        self._say(None)

    def _undo(self, id: str) -> None:
        if past := self.past.get(id):
            self.future.setdefault(id, []).append(self.planes[id])
            self._will_be(id, past.pop())
            self.store.undo(id, self._revision(id) - 1)
            self._say(None)

    def _redo(self, id: str) -> None:
        if future := self.future.get(id):
            self.past.setdefault(id, []).append(self.planes[id])
            self._will_be(id, future.pop())
            self.store.redo(id, self._revision(id) - 1)
            self._say(None)

    def _revision(self, id: str) -> int:
        return int(self.model[id][2])  # type: ignore[index]

    def _will_be(self, id: str, planes: np.ndarray) -> None:
        _, _, revision, unknown, _ = self.model[id]  # type: ignore[misc]
        self.planes[id] = planes
        self._say({**self.model, id: ["ready", _digest(planes), revision + 1, unknown, False]})

    def _say(self, model: dict[str, object] | None) -> None:
        if model is not None:
            self.model = model
        print(json.dumps(model), flush=True)


def edit(told: Connection, folder: Path, seed: int) -> None:
    """Edit a store until somebody kills this process; what it says goes to ``told``."""
    os.dup2(told.fileno(), 1)
    editor = Editor(folder, seed)
    print("ready", flush=True)
    while True:
        editor.act()
