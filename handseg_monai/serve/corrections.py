"""Corrections of masks: strokes, asking the network again, marks, and taking them back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from handseg_monai.bitplanes import boxes
from handseg_monai.serve.queue import Queue
from handseg_monai.serve.segmenter import Segmenter
from handseg_monai.serve.state import State
from handseg_monai.serve.store import Store
from handseg_monai.serve.strokes import brush, clear, polygon
from handseg_monai.serve.views import Views

Shown = dict[str, Any]


class Corrections:
    """Each method is based on a revision of an image, and gives what is shown of it then; see :meth:`Views.change`.

    Parameters
    ----------
    store, views, queue, segmenter
        Of the service.
    tell
        Called with the id of an image that has changed.
    """

    def __init__(
        self, store: Store, views: Views, queue: Queue, segmenter: Segmenter, tell: Callable[[str], None]
    ) -> None:
        self.store, self._views, self._queue, self._segmenter, self._tell = store, views, queue, segmenter, tell

    def edit(
        self, id: str, revision: int, bone: int, tool: str, points: np.ndarray, radius: float, judged: bool = True
    ) -> Shown:
        """Draw on the mask of a bone, or rub out: ``brush`` and ``erase``, polygons by ``add`` and ``cut``."""

        def change(state: State) -> State:
            if tool in ("brush", "erase"):
                box, mask = brush(state.planes, bone, points, radius, erase=tool == "erase")
            else:
                box, mask = polygon(state.planes, bone, points, cut=tool == "cut")
            return self.store.edit(id, revision, bone, mask, box)

        return self._changed(id, revision, change, judged)

    def clear(self, id: str, revision: int, bone: int, judged: bool = True) -> Shown:
        """Say that a bone is not there."""

        def change(state: State) -> State:
            box, mask = clear(state.planes, bone)
            return self.store.edit(id, revision, bone, mask, box)

        return self._changed(id, revision, change, judged)

    def ask(self, id: str, revision: int, bone: int, judged: bool = True) -> Shown:
        """Let the network look at the region around a bone anew, and take what it sees for the bone's mask."""

        def change(state: State) -> State:
            image = self._views.radiograph(id).image
            with self._queue.before_others():
                seen = self._segmenter.ask(image, state.planes, bone, self.store.entry(id).note)
            both = seen.astype(np.int32) << np.int32(bone) | state.planes & np.int32(1 << bone)
            box = dict(boxes(both))[bone]
            return self.store.edit(id, revision, bone, seen[box], box)

        return self._changed(id, revision, change, judged)

    def mark_unknown(self, id: str, revision: int, bone: int, on: bool, judged: bool = True) -> Shown:
        """Mark a bone as unknown, or as known again."""
        return self._changed(id, revision, lambda _: self.store.mark(id, revision, unknown=(bone, on)), judged)

    def mark_done(self, id: str, revision: int, on: bool, judged: bool = True) -> Shown:
        """Mark an image as done, or not."""
        return self._changed(id, revision, lambda _: self.store.mark(id, revision, done=on), judged)

    def undo(self, id: str, revision: int, judged: bool = True) -> Shown:
        """Take the last correction back."""
        return self._changed(id, revision, lambda _: self.store.undo(id, revision), judged)

    def redo(self, id: str, revision: int, judged: bool = True) -> Shown:
        """Do again what was taken back last."""
        return self._changed(id, revision, lambda _: self.store.redo(id, revision), judged)

    def _changed(self, id: str, revision: int, change: Callable[[State], State], judged: bool) -> Shown:
        shown = self._views.change(id, revision, change, judged)
        self._tell(id)
        return shown
