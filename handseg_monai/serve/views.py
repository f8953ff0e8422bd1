"""What is shown of the images of a store: each among others, and each by itself as it is corrected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from handseg_monai.bitplanes import areas
from handseg_monai.bones import ALL_KNOWN, NUM_BONES
from handseg_monai.data.reading.images import UnreadableImageError
from handseg_monai.measure import Spacing, fitting_spacing, measure_hand
from handseg_monai.plausibility.judge import Plausibility, plausibility
from handseg_monai.report import content
from handseg_monai.report.outlines import outlines
from handseg_monai.serve.decode import Decoder, Radiograph
from handseg_monai.serve.doubt import doubt
from handseg_monai.serve.recent import Recent
from handseg_monai.serve.state import MissingError, StaleError, State
from handseg_monai.serve.store import Store

_MOST = 256 << 20
"""Bytes of radiographs, and of views, that are kept in memory."""


@dataclass(frozen=True)
class View:
    """What is shown of one revision of an image; nobody has judged or measured it yet where these are None."""

    revision: int
    planes: np.ndarray
    unknown: int
    outlines: dict[int, str]
    judgement: Plausibility | None = None
    measures: list[dict[str, Any]] | None = None


class Views:
    """Shows images; threads may share it.

    Parameters
    ----------
    store, decoder
        Where images are kept, and what reads them.
    max_pixels
        Of an image that is read.
    """

    def __init__(self, store: Store, decoder: Decoder, max_pixels: int) -> None:
        self._store, self._decoder, self._max_pixels = store, decoder, max_pixels
        self._working: tuple[str, str] = ("", "")
        self._judged: dict[str, dict[str, Any]] = {}
        self._radiographs: Recent[Radiograph] = Recent(_MOST, lambda radiograph: radiograph.image.nbytes)
        self._views: Recent[View] = Recent(_MOST, lambda view: view.planes.nbytes)

    def drop(self, id: str) -> None:
        """Forget an image that is removed."""
        self._judged.pop(id, None)
        self._radiographs.drop(id)
        self._views.drop(id)

    def working(self, id: str = "", doing: str = "") -> None:
        """Show from now on that an image is being read or segmented; without one, that none is."""
        self._working = id, doing

    def overviews(self) -> list[dict[str, Any]]:
        """Overviews of all images, in the order in which they came."""
        found = []
        for id in self._store.ids():
            with suppress(MissingError):  # removed since
                found.append(self.overview(id))
        return found

    def overview(self, id: str) -> dict[str, Any]:
        """What is shown of an image among others."""
        entry = self._store.entry(id)
        judged = self._judged.get(id, {})
        working, doing = self._working
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
            "revision": None,
        }
        if entry.state == "ready":
            marks = self._store.marks(id)
            state |= {"done": marks.done, "unknown": _bits(marks.unknown), "revision": marks.revision} | judged
        return state

    def is_judged(self, id: str) -> bool:
        """Whether the overview of an image says how plausible it is."""
        return id in self._judged

    def view(self, id: str, judged: bool = True) -> dict[str, Any]:
        """All that is shown of an image, with findings and measures where it is to be judged.

        Raises as :meth:`~handseg_monai.serve.store.Store.open`.
        """
        return self._shown(id, self._store.open(id), None, judged)

    def radiograph(self, id: str) -> Radiograph:
        """The radiograph of an image, which is kept in memory for a while.

        Raises
        ------
        UnreadableImageError
            It can't be read.
        """
        found = self._radiographs.get(id)
        if found is None:
            found = self._radiographs.put(id, self._decoder.read(self._store.image(id), self._max_pixels))
        return found

    def _view(self, id: str, state: State, judged: bool = True) -> View:
        view = self._views.get(id)
        if view is None or view.revision != state.revision:
            view = _redrawn(view, state)
        if judged and view.judgement is None:
            view = replace(view, judgement=plausibility(view.planes))
        if judged and view.measures is None:
            view = replace(view, measures=self._measures(id, view))
        self._views.put(id, view)
        if view.judgement is not None:
            sure = doubt(view.judgement, self._store.entry(id).confidence, state.unknown | state.edited)
            self._judged[id] = {
                "score": round(view.judgement.score, 4),
                "plausible": view.judgement.plausible,
                "doubt": round(sure, 4),
            }
        return view

    def _shown(self, id: str, state: State, before: View | None, judged: bool) -> dict[str, Any]:
        """What is shown of a state; of outlines those alone that differ from what was shown before."""
        view = self._view(id, state, judged)
        drawn: Mapping[int, str | None] = view.outlines
        if before is not None:
            bones = before.outlines.keys() | view.outlines.keys()
            drawn = {k: new for k in bones if (new := view.outlines.get(k)) != before.outlines.get(k)}
        shown: dict[str, Any] = {
            "overview": self.overview(id),
            "revision": state.revision,
            "undo": state.undoable,
            "redo": state.redoable,
            "done": state.done,
            "unknown": _bits(state.unknown),
            "outlines": {str(bone): path for bone, path in drawn.items()},
            "areas": areas(state.planes).tolist(),
        }
        if judged and view.judgement is not None:
            shown |= {
                "findings": content.findings(view.judgement),
                "measures": view.measures,
                "spacing": self._spacing(id),
            }
        return shown

    def _spacing(self, id: str) -> Any:
        try:
            return self.radiograph(id).facts.get("spacing")
        except UnreadableImageError:
            return None

    def _measures(self, id: str, view: View) -> list[dict[str, Any]]:
        """Measures without bones that are unknown, as they are handed on."""
        try:
            radiograph = self.radiograph(id)
        except UnreadableImageError:
            return []
        planes, judgement = view.planes & ~np.int32(view.unknown), None if view.unknown else view.judgement
        stated = radiograph.facts.get("spacing")
        spacing = None if stated is None else fitting_spacing(planes, Spacing(**stated))
        measures = measure_hand(planes, radiograph.image, spacing, judgement, view.unknown)
        return content.measures(measures, spacing)

    def change(self, id: str, revision: int, change: Callable[[State], State], judged: bool) -> dict[str, Any]:
        """Change an image that is still at a revision; what is shown then, with the outlines that are new."""
        state = self._store.open(id)
        if state.revision != revision:
            raise StaleError("the image has changed since; look at it anew")
        before = self._view(id, state, judged=False)
        return self._shown(id, change(state), before, judged)


def _redrawn(before: View | None, state: State) -> View:
    """Return the view of a state; of what was shown before it keeps what is the same."""
    changed = ALL_KNOWN if before is None else _changed_bones(before.planes, state.planes)
    if before is not None and not changed:
        measures = before.measures if before.unknown == state.unknown else None
        return replace(before, revision=state.revision, planes=state.planes, unknown=state.unknown, measures=measures)
    kept = {} if before is None else {k: path for k, path in before.outlines.items() if not changed >> k & 1}
    return View(state.revision, state.planes, state.unknown, kept | outlines(state.planes & np.int32(changed)))


def _bits(value: int) -> list[int]:
    """Indices of the bones whose bits are set."""
    return [bone for bone in range(NUM_BONES) if value >> bone & 1]


def _changed_bones(before: np.ndarray, after: np.ndarray) -> int:
    """Bits of the bones whose masks differ between bit planes, int32 (H, W)."""
    return int(np.bitwise_or.reduce(before ^ after, axis=None)) & ALL_KNOWN
