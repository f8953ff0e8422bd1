"""Stopping a bundle run in one line, before it has begun, where what it was given can't be right."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn, ParamSpec, TypeVar

from monai.bundle import ConfigParser, create_workflow

P = ParamSpec("P")
T = TypeVar("T")


def stop(message: str) -> NoReturn:
    """Print a message to standard error, once where several ranks run, and exit with code 2."""
    if os.environ.get("RANK", "0") == "0":
        print(message, file=sys.stderr)
    sys.exit(2)


def checked(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function from a configuration's ``initialize``; a ``ValueError`` or ``OSError`` becomes :func:`stop`.

    Without it MONAI prints sixty lines of traceback around the one that helps.
    """
    try:
        return function(*args, **kwargs)
    except (ValueError, OSError) as error:
        stop(str(error))


def check_options() -> None:
    """Refuse options of a bundle run that its configuration files don't know, such as ``--datset_dir``.

    MONAI takes any option as a new id of the configuration, so that a misspelt one does nothing. Called from a
    configuration's ``initialize``. MONAI hands expressions no way to the command that runs them: the files and the
    options are found on the stack, in ``monai.bundle.create_workflow``. A workflow that was made without it is not
    checked.

    Raises
    ------
    ValueError
        A top-level option that neither a file holds nor another item refers to; the message names the closest one.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not create_workflow.__code__:
        frame = frame.f_back
    if frame is None:
        return
    workflow, config_file = frame.f_locals["workflow_"], frame.f_locals["config_file"]
    known = set(ConfigParser.load_config_files(config_file)) | {workflow.parser.meta_key}
    config = workflow.parser.config
    used = {name for value in config.values() for name in _references(value)}
    for name in config:
        if name not in known | used:
            options = sorted(
                key for key, value in config.items() if key in known and not isinstance(value, dict | list)
            )
            close = difflib.get_close_matches(name, options, n=1)
            hint = f"did you mean --{close[0]}?" if close else f"the options are {', '.join(options)}"
            raise ValueError(f"option --{name} is unknown: {config_file} does not hold it; {hint}")


def flag(value: object) -> bool:
    """Read an option that is true or false, in any case: the command line hands on ``false`` as a text, which is true.

    Anything else becomes :func:`stop`.
    """
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    stop(f"expected true or false, got {value!r}")


def check_window(window: int, size_divisor: int, network_name: str) -> None:
    """Refuse a window that the network can't take.

    Raises
    ------
    ValueError
        ``window`` is no positive multiple of ``size_divisor``, or below twice that.
    """
    if not isinstance(window, int) or window % size_divisor or window < 2 * size_divisor:
        raise ValueError(
            f"--window {window}: network {network_name} takes multiples of {size_divisor}, from {2 * size_divisor}"
        )


def _references(value: Any) -> set[str]:
    """Top-level ids that a part of a configuration refers to as ``@id``."""
    if isinstance(value, dict):
        return set().union(*(_references(v) for v in value.values()))
    if isinstance(value, list):
        return set().union(*(_references(v) for v in value))
    return set(re.findall(r"@(\w+)", value)) if isinstance(value, str) else set()
