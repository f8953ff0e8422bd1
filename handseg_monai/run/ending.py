"""Ending a bundle run in one line, before it has begun or while it runs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, ParamSpec, TypeVar

from handseg_monai.networks.backends import BackendError

P = ParamSpec("P")
T = TypeVar("T")


def stop(message: str, code: int = 2) -> NoReturn:
    """Print a message to standard error, with the rank where it is not the first, and exit."""
    rank = os.environ.get("RANK", "0")
    print(message if rank == "0" else f"rank {rank}: {message}", file=sys.stderr)
    sys.exit(code)


def checked(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function from a configuration's ``initialize``; a ``ValueError`` or ``OSError`` becomes :func:`stop`.

    Without it MONAI prints sixty lines of traceback around the one that helps.
    """
    try:
        return function(*args, **kwargs)
    except (ValueError, OSError) as error:
        stop(str(error))


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep engines, and MONAI's handlers on them, from logging that somebody has stopped them: with a stack, as if it
    were an error."""

    def is_heard(record: logging.LogRecord) -> bool:
        return not isinstance(sys.exc_info()[1], KeyboardInterrupt)

    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for logger in loggers:
        logger.addFilter(is_heard)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_heard)


def until_stopped(function: Callable[[], object], kept: Callable[[], str]) -> None:
    """Call what does the work of a run; where it can't go on, print in one line what ``kept`` says is kept, and exit.

    An ``OSError`` (a disk that is full), a ``FloatingPointError`` (training that has diverged) and a
    :class:`~handseg_monai.networks.backends.BackendError` exit with code 1, Ctrl-C with 130.
    """
    try:
        with _unheard():
            function()
    except KeyboardInterrupt:
        stop(f"interrupted: {kept()}", 130)
    except (OSError, FloatingPointError, BackendError) as error:
        stop(f"{error}: {kept()}", 1)
