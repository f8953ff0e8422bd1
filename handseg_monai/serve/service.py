"""What the page asks for, done: images into the queue, masks out of it, corrections, and views of all of them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handseg_monai.bitplanes import boxes
from handseg_monai.data.reading.images import UnreadableImageError, find_images
from handseg_monai.plausibility.judge import plausibility
from handseg_monai.report.outlines import outlines
from handseg_monai.serve import looks
from handseg_monai.serve.child import ChildError
from handseg_monai.serve.decode import Decoder, Radiograph
from handseg_monai.serve.events import Events
from handseg_monai.serve.queue import Queue
from handseg_monai.serve.segmenter import Segmenter
from handseg_monai.serve.state import MissingError, StaleError, State, StoreError
from handseg_monai.serve.store import Store
from handseg_monai.serve.strokes import brush, clear, polygon


@dataclass(frozen=True)
class Limits:
    """What the server takes."""

    upload: int
    """Bytes of a file."""
    pixels: int
    """Of an image."""
    images: int
    """In all."""


class FullError(Exception):
    """The server holds as many images as it may."""


class Service:
    """The images of a store, the network that draws their masks, and what is shown of both; threads may share it.

    Parameters
    ----------
    store, decoder, segmenter
        Where images and corrections are kept, and the processes that read images and hold the network.
    limits
        What is taken.
    """

    def __init__(self, store: Store, decoder: Decoder, segmenter: Segmenter, limits: Limits) -> None:
        self.store, self.decoder, self.segmenter, self.limits = store, decoder, segmenter, limits
        self.events = Events()
        self.model: dict[str, Any] = {"ready": False, "error": "", "weights": ""}
        self._queue = Queue(self._load, self._segment)
        self._at_work: tuple[str, str] = ("", "")
        self._overviews: dict[str, dict[str, Any]] = {}
        self._radiographs, self._views = looks.radiographs(), looks.views()
        self._adding = threading.Lock()
        self._ended = False

    def start(self, folder: Path | None = None) -> None:
        """Load the network, take the images of a folder, and go on with what waits."""
        self._queue.start()
        threading.Thread(target=self._fill, args=(folder,), name="fill", daemon=True).start()

    def end(self) -> None:
        """End the queue and the processes; what waits goes on at the next start."""
        self._ended = True
        self._queue.end()
        self.decoder.close()
        self.segmenter.close()
        self.store.close()

    # Images.

    def add(self, name: str, content: Path) -> str:
        """Take an image over and let it wait; returns its id.

        Raises
        ------
        FullError
            There are as many images as there may be.
        """
        with self._adding:
            if len(self.store.ids()) >= self.limits.images:
                content.unlink(missing_ok=True)
                raise FullError(
                    f"{self.limits.images} images are there, the most that --max_images allows; remove some first"
                )
            id = self.store.add(name, content)
        if self.store.entry(id).state != "ready":  # what failed is tried again
            self._queue.put(id)
        self._tell(id)
        return id

    def remove(self, id: str) -> None:
        """Remove an image and all that belongs to it."""
        self._queue.drop(id)
        self.store.remove(id)
        self._overviews.pop(id, None)
        self._radiographs.drop(id)
        self._views.drop(id)
        self.events.tell("removed", {"id": id})

    def overviews(self) -> list[dict[str, Any]]:
        """Overviews of all images, in the order in which they came."""
        found = []
        for id in self.store.ids():
            with suppress(MissingError):  # removed since
                found.append(self.overview(id))
        return found

    def overview(self, id: str) -> dict[str, Any]:
        """What is shown of an image among others."""
        entry = self.store.entry(id)
        judged = self._overviews.get(id, {})
        working, doing = self._at_work
        state: dict[str, Any] = {
            "id": id,
            "name": entry.name,
            "number": entry.number,
            "state": doing if working == id and entry.state != "ready" else entry.state,
            "error": entry.error,
            "height": entry.height or None,
            "width": entry.width or None,
            "confidence": None if entry.confidence is None else [round(value, 4) for value in entry.confidence],
            "note": entry.note,
            "score": None,
            "plausible": None,
            "doubt": None,
            "done": False,
            "unknown": [],
        }
        if entry.state == "ready":
            marks = self.store.marks(id)
            state |= {"done": marks.done, "unknown": looks.bits(marks.unknown)} | judged
        return state

    # Views.

    def view(self, id: str) -> dict[str, Any]:
        """All that is shown of an image; raises as :meth:`~handseg_monai.serve.store.Store.open`."""
        return self._shown(id, self.store.open(id), None)

    def radiograph(self, id: str) -> Radiograph:
        """The radiograph of an image, which is kept in memory for a while.

        Raises
        ------
        UnreadableImageError
            It can't be read.
        """
        found = self._radiographs.get(id)
        if found is None:
            found = self.decoder.read(self.store.image(id), self.limits.pixels)
            self._radiographs.put(id, found)
        assert isinstance(found, Radiograph)
        return found

    def _view(self, id: str, state: State) -> looks.View:
        before = self._views.get(id)
        if before is not None and before.revision == state.revision:
            assert isinstance(before, looks.View)
            return before
        changed = looks.changed_bones(before.planes, state.planes) if before is not None else -1
        if changed == 0:
            drawn, judgement, measures = before.outlines, before.judgement, before.measures
        else:
            drawn = dict(before.outlines) if before is not None else {}
            for bone in looks.bits(changed):
                drawn.pop(bone, None)
            drawn |= outlines(state.planes & np.int32(changed & 0x7FFFFFFF))
            judgement, measures = plausibility(state.planes), self._measures(id, state.planes)
        view = looks.View(state.revision, state.planes, drawn, judgement, measures)
        self._views.put(id, view)
        self._judge(id, state, view)
        return view

    def _judge(self, id: str, state: State, view: looks.View) -> None:
        settled = state.unknown | getattr(state, "edited", 0)
        sure = looks.doubt(view.judgement, self.store.entry(id).confidence, settled)
        self._overviews[id] = {
            "score": round(view.judgement.score, 4),
            "plausible": view.judgement.plausible,
            "doubt": round(sure, 4),
        }

    def _shown(self, id: str, state: State, before: looks.View | None) -> dict[str, Any]:
        """What is shown of a state; of outlines those alone that differ from what was shown before."""
        view = self._view(id, state)
        drawn: Mapping[int, str | None] = view.outlines
        if before is not None:
            bones = before.outlines.keys() | view.outlines.keys()
            drawn = {k: new for k in bones if (new := view.outlines.get(k)) != before.outlines.get(k)}
        spacing = None
        with suppress(UnreadableImageError):
            spacing = self.radiograph(id).facts.get("spacing")
        return {
            "overview": self.overview(id),
            "revision": state.revision,
            "undo": state.undoable,
            "redo": state.redoable,
            "done": state.done,
            "unknown": looks.bits(state.unknown),
            "outlines": {str(bone): path for bone, path in drawn.items()},
            "findings": looks.findings(view.judgement),
            "measures": view.measures,
            "spacing": spacing,
        }

    def _measures(self, id: str, planes: np.ndarray) -> list[dict[str, Any]]:
        return []

    # Corrections.

    def edit(self, id: str, revision: int, bone: int, tool: str, points: np.ndarray, radius: float) -> dict[str, Any]:
        """Draw on the mask of a bone, or rub out: ``brush`` and ``erase``, polygons by ``add`` and ``cut``."""

        def change(state: State) -> State:
            if tool in ("brush", "erase"):
                box, mask = brush(state.planes, bone, points, radius, erase=tool == "erase")
            else:
                box, mask = polygon(state.planes, bone, points, cut=tool == "cut")
            return self.store.edit(id, revision, bone, mask, box)

        return self._changed(id, revision, change)

    def clear(self, id: str, revision: int, bone: int) -> dict[str, Any]:
        """Say that a bone is not there."""

        def change(state: State) -> State:
            box, mask = clear(state.planes, bone)
            return self.store.edit(id, revision, bone, mask, box)

        return self._changed(id, revision, change)

    def ask(self, id: str, revision: int, bone: int) -> dict[str, Any]:
        """Let the network look at the region around a bone anew, and take what it sees for the bone's mask."""

        def change(state: State) -> State:
            image = self.radiograph(id).image
            with self._queue.before_others():
                seen = self.segmenter.ask(image, state.planes, bone, self.store.entry(id).note)
            both = seen.astype(np.int32) << np.int32(bone) | state.planes & np.int32(1 << bone)
            box = dict(boxes(both))[bone]
            return self.store.edit(id, revision, bone, seen[box], box)

        return self._changed(id, revision, change)

    def mark_unknown(self, id: str, revision: int, bone: int, on: bool) -> dict[str, Any]:
        """Mark a bone as unknown, or as known again."""
        return self._changed(id, revision, lambda _: self.store.mark(id, revision, unknown=(bone, on)))

    def mark_done(self, id: str, revision: int, on: bool) -> dict[str, Any]:
        """Mark an image as done, or not."""
        return self._changed(id, revision, lambda _: self.store.mark(id, revision, done=on))

    def undo(self, id: str, revision: int) -> dict[str, Any]:
        """Take the last correction back."""
        return self._changed(id, revision, lambda _: self.store.undo(id, revision))

    def redo(self, id: str, revision: int) -> dict[str, Any]:
        """Do again what was taken back last."""
        return self._changed(id, revision, lambda _: self.store.redo(id, revision))

    def _changed(self, id: str, revision: int, change: Callable[[State], State]) -> dict[str, Any]:
        state = self.store.open(id)
        if state.revision != revision:
            raise StaleError("the image has changed since; look at it anew")
        before = self._view(id, state)
        shown = self._shown(id, change(state), before)
        self._tell(id)
        return shown

    # The queue.

    def _tell(self, id: str) -> None:
        with suppress(MissingError):
            self.events.tell("image", {"overview": self.overview(id)})

    def _load(self) -> bool:
        try:
            weights = self.segmenter.load()
        except (ValueError, ChildError) as error:
            self.model = {"ready": False, "error": f"the network can't be loaded: {error}", "weights": ""}
        else:
            self.model = {"ready": True, "error": "", "weights": weights}
        self.events.tell("model", self.model)
        return bool(self.model["ready"])

    def _fill(self, folder: Path | None) -> None:
        for id in self.store.ids():
            with suppress(StoreError):
                if self.store.entry(id).state == "waiting":
                    self._queue.put(id)
        if folder is not None:
            self._take(folder)
        for id in self.store.ids():
            with suppress(StoreError):
                if self.store.entry(id).state == "ready" and id not in self._overviews:
                    self._view(id, self.store.open(id))
                    self._tell(id)

    def _take(self, folder: Path) -> None:
        for path in find_images(folder):
            try:
                copy = self.store.new_file()
                shutil.copyfile(path, copy)
                self.add(path.relative_to(folder).as_posix() if path != folder else path.name, copy)
            except (FullError, StoreError, OSError) as error:
                print(f"{path}: {error}", flush=True)

    def _segment(self, id: str) -> None:
        try:
            self._do(id, "reading")
            image = self.radiograph(id).image
            self._do(id, "inferring")
            self.store.put_inferred(id, self.segmenter.infer(image))
            self._at_work = ("", "")
            self._view(id, self.store.open(id))
        except MissingError:  # removed since
            return
        except ChildError as error:
            self._fail(id, f"the network could not segment it: {error}")
        except (UnreadableImageError, StoreError, ValueError, OSError) as error:
            self._fail(id, str(error))
        finally:
            self._at_work = ("", "")
            self._tell(id)

    def _do(self, id: str, what: str) -> None:
        self._at_work = (id, what)
        self.store.entry(id)
        self._tell(id)

    def _fail(self, id: str, reason: str) -> None:
        if not self._ended:
            with suppress(StoreError, OSError):
                self.store.put_failed(id, reason)
