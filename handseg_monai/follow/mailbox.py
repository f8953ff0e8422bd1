"""Work beside training, done by a thread that a slow or broken service can hold up without holding up training."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from handseg_monai.follow.redact import hide

logger = logging.getLogger(__name__)


class Mailbox:
    """Jobs done one after the other by a thread of their own.

    A job that raises costs one line in the log, without secrets. Python does not wait for the thread when it exits.

    Parameters
    ----------
    name
        Of the service, for the log.
    most
        Jobs that may wait; of more, the oldest is dropped.
    """

    def __init__(self, name: str, most: int = 8) -> None:
        self.name = name
        self._jobs: deque[Callable[[], object]] = deque(maxlen=most)
        self._changed = threading.Condition()
        self._busy = False
        self._thread: threading.Thread | None = None

    def put(self, job: Callable[[], object]) -> None:
        """Hand over a job; returns at once."""
        with self._changed:
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, until: float) -> None:
        """Wait until all jobs are done, or ``time.monotonic()`` is ``until``: then those that wait are dropped."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._jobs and not self._busy, max(0, until - time.monotonic())):
                logger.warning(f"{self.name}: no answer in time, {len(self._jobs) + self._busy} messages were not sent")
                self._jobs.clear()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._jobs)
                self._busy = True
                job = self._jobs.popleft()
            try:
                job()
            except Exception as error:
                logger.warning(one_line(self.name, error))


def one_line(what: str, reason: object) -> str:
    """Put what went wrong, and an exception or text that says why, on one line of 300 characters, without secrets."""
    kind = type(reason).__name__ if isinstance(reason, Exception) and not isinstance(reason, ValueError) else ""
    text = str(reason) if not kind or str(reason).startswith(kind) else f"{kind}: {reason}"
    line = " ".join(hide(f"{what}: {text}").split())
    return line if len(line) <= 300 else line[:299] + "…"
