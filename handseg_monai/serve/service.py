"""What the page asks for, done: images into the queue, masks out of it, corrections, and views of all of them."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handseg_monai.data.reading.images import find_images
from handseg_monai.files import find_files
from handseg_monai.serve.child import ChildError
from handseg_monai.serve.corrections import Corrections
from handseg_monai.serve.decode import Decoder
from handseg_monai.serve.events import Events
from handseg_monai.serve.fine_tuning import FineTuning
from handseg_monai.serve.queue import Queue
from handseg_monai.serve.segmenter import Segmenter
from handseg_monai.serve.state import MissingError, StoreError, in_words
from handseg_monai.serve.store import Store
from handseg_monai.serve.training import Training
from handseg_monai.serve.views import Views
from handseg_monai.words import counted

logger = logging.getLogger(__name__)

_NO_MODEL = {"ready": False, "error": "", "weights": "", "source": "", "name": "", "run": 0}


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
        self.model: dict[str, Any] = _NO_MODEL
        self.views = Views(store, decoder, limits.pixels)
        self._queue = Queue(self._load, self._segment)
        self.corrections = Corrections(store, self.views, self._queue, segmenter, self._tell)
        self.training: Training | None = None
        self._adding, self._exchanging = threading.Lock(), threading.Lock()
        self._ended = False

    def start(self, folder: Path | None = None) -> None:
        """Load the network, take the images of a folder, and go on with what waits."""
        self._queue.start()
        threading.Thread(target=self._fill, args=(folder,), name="fill", daemon=True).start()

    def end(self) -> None:
        """End the queue and all processes, fine-tuning too; what waits goes on at the next start."""
        self._ended = True
        self._queue.end()
        if self.training is not None:
            self.training.end()
        self.decoder.close()
        self.segmenter.close()
        self.store.close()

    def add(self, name: str, content: Path) -> tuple[str, bool]:
        """Take an image over and let it wait; returns its id, and whether it was not there yet.

        Raises
        ------
        FullError
            There are as many images as there may be.
        """
        with self._adding:
            count = len(self.store.ids())
            if count >= self.limits.images and not self.store.has(content):
                content.unlink(missing_ok=True)
                raise FullError(
                    f"{self.limits.images} images are there, the most that --max_images allows; remove some first"
                )
            id = self.store.add(name, content)
            is_new = len(self.store.ids()) > count
        if self.store.entry(id).state != "ready":  # what failed is tried again
            self._queue.put(id)
        self._tell(id)
        return id, is_new

    def view(self, id: str, judged: bool = True) -> dict[str, Any]:
        """All that is shown of an image, see :meth:`Views.view`; others hear of it where it was judged anew."""
        before = self.views.overview(id)
        shown = self.views.view(id, judged)
        if shown["overview"] != before:
            self._tell(id)
        return shown

    def remove(self, id: str) -> None:
        """Remove an image and all that belongs to it."""
        self._queue.drop(id)
        self.store.remove(id)
        self.views.drop(id)
        self.events.tell("removed", {"id": id})

    def take_weights(self, uncompared: bool = False) -> dict[str, Any] | None:
        """Use the weights of the last run of fine-tuning from now on; see :meth:`FineTuning.better`.

        Raises
        ------
        StoreError
            They are not better than those before, or there are none.
        """
        training = self.require_training()
        with self._exchanging:
            self._exchange(training.better(uncompared), lambda: training.take(uncompared))
        return training.shown()

    def return_weights(self) -> dict[str, Any] | None:
        """Use the weights that the server was given from now on; those of runs can be taken again."""
        training = self.require_training()
        with self._exchanging:
            self._exchange(training.base, training.put_back)
        return training.shown()

    def require_training(self) -> Training:
        """What fine-tunes; :class:`StoreError` as long as the network is not loaded."""
        if self.training is None:
            raise StoreError("the network is not loaded yet; wait until it is")
        return self.training

    def _exchange(self, weights: Path, note: Callable[[], None]) -> None:
        """Load other weights and note that they count; where that fails those from before are loaded again."""
        training = self.require_training()
        before, digest = training.weights(), self.segmenter.load(weights)
        try:
            note()
        except BaseException:
            self.segmenter.load(before)
            raise
        self._use(digest, training)

    def _use(self, weights: str, training: Training) -> None:
        self.model = {"ready": True, "error": "", "weights": weights} | training.using()
        self.events.tell("model", self.model)
        self.events.tell("training", training.shown())  # pages that opened before know of no run

    def _tell(self, id: str) -> None:
        with suppress(MissingError):
            self.events.tell("image", {"overview": self.views.overview(id)})

    def _load(self) -> bool:
        try:
            base = self.segmenter.checkpoint()
            runs = FineTuning(self.store.folder, base, lambda id: self.store.marks(id).edited)
            weights = self._loaded(runs)
            self.training = Training(runs, lambda state: self.events.tell("training", state))
        except Exception as error:
            if not isinstance(error, (ValueError, ChildError)):
                logger.exception("the network can't be loaded")
            self.model = _NO_MODEL | {"error": f"the network can't be loaded: {in_words(error)}"}
            self.events.tell("model", self.model)
        else:
            self._use(weights, self.training)
        return bool(self.model["ready"])

    def _loaded(self, runs: FineTuning) -> str:
        """Load the weights that count; where those of a run are damaged by now, the ones given, which count then."""
        try:
            return self.segmenter.load(runs.weights())
        except ValueError as error:
            if runs.weights() == runs.base:
                raise
            weights = self.segmenter.load(runs.base)
            runs.put_back()
            print(f"{error}; the weights that were given are used instead", flush=True)
            return weights

    def _fill(self, folder: Path | None) -> None:
        for id in self.store.ids():
            with suppress(StoreError):
                if self.store.entry(id).state == "waiting":
                    self._queue.put(id)
        if folder is not None:
            self._take(folder)
        for id in self.store.ids():
            try:
                if self.store.entry(id).state == "ready" and not self.views.is_judged(id):
                    self.views.view(id)
                    self._tell(id)
            except StoreError:  # removed since, or damaged, which its overview says
                continue
            except Exception:
                logger.exception("%s: its masks can't be judged", id)

    def _take(self, folder: Path) -> None:
        try:
            paths = find_images(folder)
            if folder.is_dir():
                _say_others(folder, frozenset(paths))
        except (ValueError, OSError) as error:
            print(error, flush=True)
            return
        removed = 0
        for path in paths:
            try:
                if self.store.was_removed(path):
                    removed += 1
                    continue
                copy = self.store.new_file()
                try:
                    shutil.copyfile(path, copy)
                    self.add(path.relative_to(folder).as_posix() if path != folder else path.name, copy)
                finally:
                    copy.unlink(missing_ok=True)  # half a copy would fill the disk
            except (FullError, StoreError, OSError) as error:
                print(f"{path}: {error}", flush=True)
        if removed:
            words = (
                f"{counted(removed, 'image')} left out, removed on the page before; drop a file there to have it back"
            )
            print(f"{folder}: {words}", flush=True)

    def _segment(self, id: str) -> None:
        try:
            if self.store.entry(id).state == "ready":  # given again while it was worked on
                return
            self._do(id, "reading")
            image = self.views.radiograph(id).image
            self._do(id, "inferring")
            self.store.put_inferred(id, self.segmenter.infer(image))
            self.views.working()
            self.views.view(id)
        except MissingError:  # removed since
            return
        except ChildError as error:
            self._fail(id, f"the network could not segment it: {error}")
        except Exception as error:
            if not isinstance(error, ValueError):
                logger.exception("%s could not be segmented", id)
            self._fail(id, in_words(error))
        finally:
            self.views.working()
            self._tell(id)

    def _do(self, id: str, what: str) -> None:
        self.views.working(id, what)
        self.store.entry(id)
        self._tell(id)

    def _fail(self, id: str, reason: str) -> None:
        if not self._ended:
            with suppress(StoreError, OSError):
                self.store.put_failed(id, reason)


def _say_others(folder: Path, images: Set[Path]) -> None:
    """Say how many files of a folder are no images, but for those that systems lay there."""
    others: list[Path] = []

    def note(path: Path) -> bool:
        if path not in images and path.is_file():
            others.append(path)
        return False

    find_files(folder, note)
    if others:
        print(f"{folder}: {counted(len(others), 'file')} left out: no images of a kind that is read", flush=True)
