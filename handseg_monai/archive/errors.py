"""Errors of Ray: kept as they are logged, and put into words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ray.data.exceptions import UserCodeException
from ray.exceptions import RayTaskError


@dataclass(frozen=True)
class Error:
    """Of a task."""

    is_raised: bool
    """By what the task does, rather than that its process has ended."""
    words: str


class _Kept(logging.Handler):
    """Keeps what Ray Data logs of the errors of tasks, and goes on after.

    Not the errors themselves: through their frames they hold actors, which would keep their cores.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[Error] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and (error := record.exc_info[1]) is not None:
            self.errors.append(Error(isinstance(error, RayTaskError | UserCodeException), in_words(error)))


@contextmanager
def kept_errors() -> Iterator[list[Error]]:
    """Keep the errors of tasks, in a list."""
    kept, logger = _Kept(), logging.getLogger("ray.data")
    logger.addHandler(kept)
    try:
        yield kept.errors
    finally:
        logger.removeHandler(kept)


def in_words(error: BaseException) -> str:
    """The last line of an error of Ray, which says what happened; the others are its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
