"""What the command line of a bundle run gives: options that its configuration doesn't know are refused, others told."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import logging
import os
import re
import secrets
import sys
from types import FrameType
from typing import Any

import torch
from monai.bundle import ConfigParser, create_workflow

from handseg_monai.networks import check_packages

logger = logging.getLogger(__name__)


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
        don't hold (an argument of a component may be new). The message names the closest one. Or two files laid over
        the first choose the same: a network, a loss or a schedule; of the one only a part would remain.
    """
    frame = _command()
    if frame is None:
        return
    workflow, config_file = frame.f_locals["workflow_"], frame.f_locals["config_file"]
    _check_overlays(config_file)
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


def _check_overlays(config_file: str | list[str]) -> None:
    files = config_file.split(",") if isinstance(config_file, str) else list(config_file)
    choosing: dict[str, str] = {}
    for file in files[1:]:
        for name in _CHOSEN.keys() & ConfigParser.load_config_file(file).keys():
            if name in choosing:
                raise ValueError(f"{choosing[name]} and {file} both choose the {_CHOSEN[name]}; lay over one of them")
            choosing[name] = file


def _command() -> FrameType | None:
    """The frame of ``monai.bundle.create_workflow`` that this is called from, if any."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not create_workflow.__code__:
        frame = frame.f_back
    return frame


_TOLD = frozenset({"run_name", "experiment_name", "tracking", "tracking_uri", "save_execute_config", "is_not_rank0"})


_PLACES = frozenset({"bundle_root", "setup", "rank", "device", "num_workers", "sw_batch_size", "output_dir"})


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


def refuse_options(*names: str, why: str = "each network of an ensemble has its own, as its checkpoint says") -> None:
    """Refuse options of the command line that a configuration sets itself, or does without.

    Raises
    ------
    ValueError
        One of ``names``, or something in it, was given.
    """
    frame = _command()
    # MONAI writes the separator of ids in one way or the other.
    refused = [name.replace("#", "::") for name in names]
    for given in () if frame is None else frame.f_locals["_args"]:
        place = given.replace("#", "::")
        if any(place == name or place.startswith(f"{name}::") for name in refused):
            raise ValueError(f"--{given}: {why}")


def warn_of_patience(patience: int, val_interval: int, epochs: int) -> None:
    """Say in a line that early stopping can't take place where the epochs end before the patience.

    The first validation sets the score, and so many more without a better one must end before the last epoch. It is a
    warning where the command line gives a patience; else the line is for the log.
    """
    frame = _command()
    asked = frame is None or "patience" in frame.f_locals["_args"]
    if (patience + 1) * val_interval >= epochs:
        logger.log(
            logging.WARNING if asked else logging.INFO,
            "no early stopping: --patience %s validations, one in %s epochs, do not run out in --epochs %s",
            *(patience, val_interval, epochs),
        )


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


_CHOSEN = {"network_def": "network", "loss": "loss", "lr_scheduler": "schedule"}
"""Ids of what an overlay chooses as a whole."""


_CHOICES = ("loss", "optimizer", "lr_scheduler")
"""Components that a run is told by, beside its plain options."""


def _classes(config: object) -> str:
    """Names of a component's class, and in brackets those of its parts."""
    if not isinstance(config, dict):
        return ""
    parts = ", ".join(filter(None, map(_classes, config.values())))
    name = str(config.get("_target_", "")).rpartition(".")[2]
    return f"{name}({parts})" if name and parts else name or parts


def _references(value: Any) -> set[str]:
    """Top-level ids that a part of a configuration refers to as ``@id``."""
    if isinstance(value, dict):
        return set().union(*(_references(v) for v in value.values()))
    if isinstance(value, list):
        return set().union(*(_references(v) for v in value))
    return set(re.findall(r"@(\w+)", value)) if isinstance(value, str) else set()
