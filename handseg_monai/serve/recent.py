"""Values that are kept in memory: those that were used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Values of images by their ids, those last used, up to so many bytes; threads may share it.

    Parameters
    ----------
    most
        Bytes; the value that was put last stays, however large.
    size
        Bytes of a value.
    """

    def __init__(self, most: int, size: Callable[[T], int]) -> None:
        self._most, self._size = most, size
        self._lock = threading.Lock()
        self._values: OrderedDict[str, T] = OrderedDict()

    def get(self, id: str) -> T | None:
        """The value of an id, or None."""
        with self._lock:
            if id in self._values:
                self._values.move_to_end(id)
            return self._values.get(id)

    def put(self, id: str, value: T) -> T:
        """Keep a value, in the place of those that nobody has used for longest, and return it."""
        with self._lock:
            self._values[id] = value
            self._values.move_to_end(id)
            total = sum(map(self._size, self._values.values()))
            while total > self._most and len(self._values) > 1:
                _, gone = self._values.popitem(last=False)
                total -= self._size(gone)
        return value

    def drop(self, id: str) -> None:
        """Forget the value of an id."""
        with self._lock:
            self._values.pop(id, None)
