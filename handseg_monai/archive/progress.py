"""How far an archive is: how many of its images have a row."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa

from handseg_monai.archive.store import Store
from handseg_monai.words import counted

_SECONDS = 30.0
_PATIENCE = 5.0
"""Seconds that the end waits for counting."""
_SHARE = 0.05
"""Of the time, at most, for counting: a store lists hundreds of thousands of files in minutes."""


class Progress:
    """Counts the images that have a row, by the files that are done; each file is opened once.

    Parameters
    ----------
    store
        Where rows are written.
    earlier, images
        How many images have a row now, and how many there are.
    """

    def __init__(self, store: Store, earlier: int, images: int) -> None:
        self._store, self._count, self._images = store, earlier, images
        self._seen = set(store.done_files())
        self._one_at_a_time = threading.Lock()

    def __str__(self) -> str:
        """The count as it is known."""
        # A process that outlives its job may write images once more.
        return f"{min(self._count, self._images)} of {counted(self._images, 'image')} have a row"

    def look(self) -> None:
        """Count what is new; where the store does not answer just now, nothing: writing rows says what is wrong."""
        with self._one_at_a_time, suppress(OSError, pa.ArrowInvalid):
            new = set(self._store.done_files()) - self._seen
            self._count += self._store.count(sorted(new))
            self._seen |= new

    def look_briefly(self) -> None:
        """Count what is new; what takes longer than a few seconds is left."""
        thread = threading.Thread(target=self.look, daemon=True)
        thread.start()
        thread.join(_PATIENCE)


@contextmanager
def printed(progress: Progress, rows_per_file: int, seconds: float = _SECONDS) -> Iterator[None]:
    """Print a line to the standard error now and then, for as long as the block runs."""
    ended = threading.Event()

    def run() -> None:
        wait = seconds
        while not ended.wait(wait):
            begun = time.monotonic()
            progress.look()
            print(f"{progress} (at least {rows_per_file} are written at a time)", file=sys.stderr, flush=True)
            wait = max(seconds, (time.monotonic() - begun) / _SHARE)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_PATIENCE)
