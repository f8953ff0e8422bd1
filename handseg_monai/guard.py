"""Stopping a bundle run in one line, before it has begun, where what it was given can't be right."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import logging
import math
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, ParamSpec, TypeVar

import torch
from monai.bundle import ConfigParser, create_workflow

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def stop(message: str) -> NoReturn:
    """Print a message to standard error, with the rank where it is not the first, and exit with code 2."""
    rank = os.environ.get("RANK", "0")
    print(message if rank == "0" else f"rank {rank}: {message}", file=sys.stderr)
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
        A top-level option that neither a file holds nor another item refers to, or a nested one whose place the files
        don't hold (an argument of a component may be new). The message names the closest one.
    """
    frame = _command()
    if frame is None:
        return
    workflow, config_file = frame.f_locals["workflow_"], frame.f_locals["config_file"]
    contents = ConfigParser.load_config_files(config_file)
    files = ConfigParser(contents)
    known = {*contents, workflow.parser.meta_key}
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
    check_packages(config.get("network_name", ""), config.get("network_def"))
    for name in frame.f_locals["_args"]:
        place, _, last = name.replace("::", "#").rpartition("#")
        if place and name not in files and "_target_" not in (files.get(place) or {}):
            raise ValueError(f"option --{name} is unknown: {config_file} holds no {last} in {place}")


def check_packages(network_name: str, network_def: Any) -> None:
    """Refuse a network of a library that is not installed.

    Parameters
    ----------
    network_name, network_def
        As the configuration has them, ``_target_`` and all.

    Raises
    ------
    ValueError
        A component of it is of a package that can't be found.
    """
    for target in _targets(network_def):
        package = target.partition(".")[0]
        if "." in target and importlib.util.find_spec(package) is None:
            raise ValueError(
                f"network {network_name} needs the package {package}, which is not installed: "
                "pip install 'handseg-monai[networks]'"
            )


def _targets(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["_target_"]] if isinstance(value.get("_target_"), str) else []
        return own + [target for part in value.values() for target in _targets(part)]
    return [target for part in value for target in _targets(part)] if isinstance(value, list) else []


def _command() -> FrameType | None:
    """The frame of ``monai.bundle.create_workflow`` that this is called from, if any."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not create_workflow.__code__:
        frame = frame.f_back
    return frame


_TOLD = frozenset({"run_name", "experiment_name", "tracking", "tracking_uri", "save_execute_config", "is_not_rank0"})
_PLACES = frozenset({"setup", "rank", "device", "num_workers", "sw_batch_size", "output_dir"})
_BESIDE = _TOLD | _PLACES | {"finalize", "+finalize", "follow", "overlays"}
"""Ids of a configuration that results do not depend on."""


def asked_for() -> str:
    """Return a text that differs between bundle runs that may give different results.

    It stands for the content of the configuration files and for the options of the command line, found as by
    :func:`check_options`, but for where and how the work is done. A workflow that was made in another way has a text of
    its own each time.
    """
    frame = _command()
    if frame is None:
        return secrets.token_hex()
    contents = ConfigParser.load_config_files(frame.f_locals["config_file"])
    options = {name: str(value) for name, value in frame.f_locals["_args"].items() if name not in _BESIDE}
    kept = {name: value for name, value in contents.items() if name not in _BESIDE}
    return hashlib.sha256(json.dumps([kept, options], sort_keys=True).encode()).hexdigest()


def check_tracking() -> None:
    """Refuse ``--tracking`` that can't work, and one that would show a password.

    Raises
    ------
    ValueError
        MLflow is missing, or ``--tracking_uri`` is a folder or holds user and password, which MONAI logs.
    """
    frame = _command()
    if frame is None or frame.f_locals["_args"].get("tracking") is None:
        return
    if importlib.util.find_spec("mlflow") is None:
        raise ValueError("--tracking mlflow: MLflow is missing: pip install 'handseg-monai[track]'")
    uri = str(frame.f_locals["_args"].get("tracking_uri") or "")
    if "@" in uri.partition("://")[2].partition("/")[0]:
        raise ValueError(
            "--tracking_uri holds a user or password, which logs would show: give it without them, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or give all of it as MLFLOW_TRACKING_URI"
        )
    uri = os.environ.get("MLFLOW_TRACKING_URI") or uri
    if uri and not uri.startswith("$") and ("://" not in uri or uri.startswith("file:")):
        raise ValueError(
            "--tracking_uri: expected sqlite:///FILE.db or the address of a server, MLflow takes no folders"
        )


_CHOICES = ("loss", "optimizer", "lr_scheduler")
"""Components that a run is told by, beside its plain options."""


def parameters() -> dict[str, object]:
    """Return the options of the bundle run whose configuration calls this: plain values by their id.

    Of loss, optimiser and schedule it is the names of their classes, ``PerBoneLoss(DiceCELoss)``. Found as by
    :func:`check_options`; empty for a workflow that was made in another way.
    """
    frame = _command()
    if frame is None:
        return {}
    parser = frame.f_locals["workflow_"].parser
    known = parser.config | parser.ref_resolver.resolved_content
    plain = {
        name: known[name]
        for name in sorted(parser.config.keys() - _TOLD)
        if isinstance(known[name], bool | int | float | str) and not str(known[name]).startswith(("$", "@", "%"))
    }
    classes = {name: _classes(parser.config[name]) for name in _CHOICES if name in parser.config}
    return plain | {name: text for name, text in classes.items() if text}


def _classes(config: object) -> str:
    """Names of a component's class, and in brackets those of its parts."""
    if not isinstance(config, dict):
        return ""
    parts = ", ".join(filter(None, map(_classes, config.values())))
    name = str(config.get("_target_", "")).rpartition(".")[2]
    return f"{name}({parts})" if name and parts else name or parts


def refuse_options(*names: str, why: str = "each network of an ensemble has its own, as its checkpoint says") -> None:
    """Refuse options of the command line that a configuration sets itself, or does without.

    Raises
    ------
    ValueError
        One of ``names`` was given.
    """
    frame = _command()
    if frame is not None and (given := [name for name in names if name in frame.f_locals["_args"]]):
        raise ValueError(f"--{given[0]}: {why}")


def check_parts(*names: str) -> None:
    """Refuse options of which a part of a bundle run's configuration can't be made.

    MONAI makes a component where another item refers to it, and wraps what goes wrong in sixty lines of traceback.
    Called from a configuration's ``initialize``; as with :func:`check_options`, a workflow that was made without the
    command is not checked.

    Parameters
    ----------
    names
        Top-level ids, in the order in which they are made. Of them ``device`` must be a ``torch.device``.

    Raises
    ------
    ValueError
        Naming the id, and what is wrong in one line.
    """
    frame = _command()
    if frame is None:
        return
    parser = frame.f_locals["workflow_"].parser
    for name in names:
        try:
            part = parser.get_parsed_content(name)
        except Exception as error:  # whatever a wrong value makes of a constructor or an expression
            while error.__cause__ is not None:
                error = error.__cause__  # type: ignore[assignment]
            raise ValueError(f"--{name}, or an option in it: {' '.join(str(error).split())}") from error
        if name == "device" and not isinstance(part, torch.device):
            raise ValueError(f"--device {part!r}: expected an expression, \"\\$torch.device('{part}')\"")


def until_stopped(function: Callable[[], object], kept: Callable[[], str]) -> None:
    """Call what does the work of a run; where it can't go on, print in one line what is kept, and exit.

    Parameters
    ----------
    function
        The work. An ``OSError`` in it (a disk that is full) exits with code 1, Ctrl-C with 130.
    kept
        Says what is kept, and how to go on.
    """
    try:
        function()
    except KeyboardInterrupt:
        said, code = f"interrupted: {kept()}", 130
    except OSError as error:
        said, code = f"{error}: {kept()}", 1
    else:
        return
    rank = os.environ.get("RANK", "0")
    print(said if rank == "0" else f"rank {rank}: {said}", file=sys.stderr)
    sys.exit(code)


def flag(value: object) -> bool:
    """Read an option that is true or false, in any case: the command line hands on ``false`` as a text, which is true.

    Anything else becomes :func:`stop`.
    """
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    stop(f"expected true or false, got {value!r}")


def check_views(views: str) -> None:
    """Refuse any other way to view an image than ``image`` and ``hand``.

    Raises
    ------
    ValueError
        It is neither.
    """
    if views not in ("image", "hand"):
        raise ValueError(f"--views {views}: expected image or hand")


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


def check_compile(enabled: bool, backend: str) -> None:
    """Refuse ``torch.compile`` where its backend can't run, by compiling a sum; without it nothing is tried.

    Raises
    ------
    ValueError
        No such backend, or it failed, as inductor does on a CPU without a C++ compiler.
    """
    if not enabled:
        return
    import torch

    try:
        torch.compile(lambda x: x + 1, backend=backend)(torch.zeros(8))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"--compile true: the backend {backend} can't run here ({reason}); "
            "install what it needs, such as a C++ compiler, give another --compile_backend, or leave it out"
        ) from error


def warn_of_patience(patience: int, val_interval: int, epochs: int) -> None:
    """Say in a line that early stopping can't take place where the epochs end before the patience.

    The first validation sets the score, and so many more without a better one must end before the last epoch.
    """
    if (patience + 1) * val_interval >= epochs:
        logger.warning(
            "no early stopping: --patience %s validations, one in %s epochs, do not run out in --epochs %s",
            *(patience, val_interval, epochs),
        )


_LIMITS: dict[str, tuple[type, float, float]] = {
    "fold": (int, 0, math.inf),
    "num_folds": (int, 2, math.inf),
    "seed": (int, 0, math.inf),
    "epochs": (int, 1, math.inf),
    "val_interval": (int, 1, math.inf),
    "curves_interval": (int, 0, math.inf),
    "patience": (int, 1, math.inf),
    "batch_size": (int, 1, math.inf),
    "accumulate": (int, 1, math.inf),
    "ema": (float, 0, 0.99999),
    "sw_batch_size": (int, 1, math.inf),
    "num_workers": (int, 0, math.inf),
    "size": (int, 32, math.inf),
    "frame": (int, 32, math.inf),
    "overlap": (float, 0, 0.99),
    "least_piece": (float, 0.0, 1.0),
    "least_carpal_piece": (float, 0.0, 1.0),
    "most_covered": (float, 0.0, 1.0),
    "cache_rate": (float, 0, 1),
    "warmup": (float, 0, 1),
    "cycles": (int, 1, math.inf),
    "cycle_growth": (int, 1, math.inf),
    "lr_decay": (float, 0.001, 0.99),
    "peak_decay": (float, 0.01, 1),
    "plateau_patience": (int, 0, math.inf),
}
"""Type, least and greatest value of options that are numbers."""


def check_numbers(**numbers: object) -> None:
    """Refuse numbers out of range, by the name of their option; ``size`` and ``frame`` may be None.

    Raises
    ------
    ValueError
        The first that is no number of its type or out of range, or ``val_interval`` above ``epochs``.
    """
    for name, value in numbers.items():
        kind, least, most = _LIMITS[name]
        if name in ("size", "frame") and value is None:
            continue
        right = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        if not right or not least <= value <= most:  # type: ignore[operator]
            wanted = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
            raise ValueError(f"--{name} {value!r}: expected {'a whole number, ' if kind is int else ''}{wanted}")
    if "epochs" in numbers and numbers["val_interval"] > numbers["epochs"]:  # type: ignore[operator]
        raise ValueError(f"--val_interval {numbers['val_interval']} is above --epochs {numbers['epochs']}")


def check_paths(dataset_dir: object, output_dir: object, apart: bool = False, **others: object) -> None:
    """Refuse folders and files that can't be meant.

    Parameters
    ----------
    dataset_dir, output_dir
        Folders.
    apart
        Whether one may not lie in the other.
    others
        Further paths by the name of their option; None says that there is none. Of them ``cache_dir`` is written to.

    Raises
    ------
    ValueError
        A path that the command line has read as something else (``a,b`` becomes a tuple, ``2024_11_25`` the number
        20241125), an ``output_dir`` or ``cache_dir`` that is a file or can't be written to, or, with ``apart``, an
        ``output_dir`` inside of ``dataset_dir``, whose pictures would be taken for radiographs the next time.
    """
    for name, value in {"dataset_dir": dataset_dir, "output_dir": output_dir, **others}.items():
        if isinstance(value, tuple | list | dict):
            raise ValueError(f"--{name} {value!r}: the command line reads this as a list; write a path without commas")
        if isinstance(value, int | float):
            raise ValueError(
                f"--{name}: the command line reads this path as {value!r}; "
                f"write ./ before it, as in --{name} ./2024_11_25"
            )
    for name, value in (("output_dir", output_dir), ("cache_dir", others.get("cache_dir"))):
        if value is not None:
            _require_writable(name, str(value))
    source, out = Path(str(dataset_dir)).absolute(), Path(str(output_dir)).absolute()
    if apart and out.is_relative_to(source):
        raise ValueError(f"--output_dir {output_dir} is inside of --dataset_dir {dataset_dir}; choose one beside it")


def _require_writable(name: str, folder: str) -> None:
    path = Path(folder).absolute()
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f"--{name} {folder}: {there} is a file; give a folder")
    try:
        with tempfile.TemporaryFile(dir=there):  # on a read-only disk and in /proc os.access promises root too much
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"--{name} {folder}: {there} can't be written to ({reason}); choose another folder") from error


def _references(value: Any) -> set[str]:
    """Top-level ids that a part of a configuration refers to as ``@id``."""
    if isinstance(value, dict):
        return set().union(*(_references(v) for v in value.values()))
    if isinstance(value, list):
        return set().union(*(_references(v) for v in value))
    return set(re.findall(r"@(\w+)", value)) if isinstance(value, str) else set()
