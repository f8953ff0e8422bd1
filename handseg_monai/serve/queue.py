"""The queue of radiographs that wait for the network."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


class Queue:
    """Ids in the order in which they came, of which one at a time is worked on, in a thread of its own.

    Parameters
    ----------
    prepare
        Called once, before the first id.
    work
        Called with each id. What it raises is logged, and the next id goes on.
    """

    def __init__(self, prepare: Callable[[], bool], work: Callable[[str], None]) -> None:
        self._prepare, self._work = prepare, work
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._changed = threading.Condition()
        self._urgent = 0
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="queue", daemon=True)

    def start(self) -> None:
        """Begin with what waits."""
        self._thread.start()

    def put(self, id: str) -> None:
        """Let an id wait; one that does so already keeps its place."""
        with self._changed:
            self._waiting.setdefault(id)
            self._changed.notify_all()

    def drop(self, id: str) -> None:
        """Let an id wait no longer."""
        with self._changed:
            self._waiting.pop(id, None)

    def end(self) -> None:
        """Begin with no further id."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @contextmanager
    def before_others(self) -> Iterator[None]:
        """Do something that goes before all that waits: the queue begins with no further id in the meantime."""
        with self._changed:
            self._urgent += 1
        try:
            yield
        finally:
            with self._changed:
                self._urgent -= 1
                self._changed.notify_all()

    def _run(self) -> None:
        if not self._prepare():
            return
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or (self._waiting and not self._urgent))
                if self._ended:
                    return
                id, _ = self._waiting.popitem(last=False)
            try:
                self._work(id)
            except Exception:
                logger.exception("%s: an error that nobody foresaw", id)
