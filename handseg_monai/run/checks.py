"""What every bundle run checks before it begins: options, paths, and parts that can't be made."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from pydoc import locate
from typing import Any

import torch
from monai.bundle import ConfigComponent, ConfigParser

from handseg_monai.files import why_not_writable
from handseg_monai.networks import check_packages
from handseg_monai.options import PARTS, Options, check_window, checked_values, expected_of
from handseg_monai.run.command import Command, takes_text
from handseg_monai.run.ending import checked

logger = logging.getLogger(__name__)

_CHOSEN = {"network_def": "network", "loss": "loss", "lr_scheduler": "schedule"}
"""Ids of what an overlay chooses as a whole."""
_MADE = (
    *("intensity", "affine", "loss", "window_inferer", "hand_inferer"),
    *("inferer", "validate#inferer", "postprocessing", "validate#postprocessing"),
)
"""Components whose arguments are options, and which read no data and no weights."""


def preflight(refused: Mapping[str, Sequence[str]]) -> None:
    """Check the options of a bundle run; called first in a configuration's ``initialize``.

    What can't be right ends the run with one line and exit code 2 (:func:`~handseg_monai.run.ending.stop`). Options
    that the command line writes as texts, ``false`` and ``none``, are what they mean for the rest of the configuration.
    Outside of a run nothing is checked.

    Parameters
    ----------
    refused
        Ids of options that the command line can't give here, by the reason.
    """
    command = Command()
    if command.parser is not None:
        checked(_check, command, command.parser, refused)


def _check(command: Command, parser: ConfigParser, refused: Mapping[str, Sequence[str]]) -> None:
    _check_typed(command)
    _check_names(command, parser)
    _restore_texts(command, parser)
    # MONAI writes the separator of ids in one way or the other.
    decided = {name.replace("::", "#"): why for why, names in refused.items() for name in names}
    for given in command.given:
        for name, why in decided.items():
            if given == name or given.startswith(f"{name}#"):
                raise ValueError(f"--{given}: {why}")
    _check_tracking(command)
    config = command.config
    declared = [name for name in Options.model_fields if name in config and name not in decided]
    # First what was typed, then all of it with what the configuration computes from that.
    typed = {name: config[name] for name in declared if not str(config[name]).startswith(("$", "@"))}
    checked_values(Options, {name: typed[name] for name in command.given if name in typed})
    made = {"device": _made(parser, "device")} if "device" in parser else {}  # others depend on it
    values = {name: _made(parser, name) for name in declared}
    options = checked_values(Options, values)
    for name in declared:
        value = getattr(options, name)
        if type(value) is not type(values[name]):  # "false", "none", a tuple for a list
            parser.ref_resolver.resolved_content[name] = value
    _check_paths(options)
    _check_schedule(options, config)
    if options.epochs is not None and "trained" not in config:
        _check_crops(options)
    if options.compile:
        _check_compile(options.compile_backend)
    made |= {name: _made(parser, name) for name in _MADE if name in parser}
    if options.window is not None:
        _check_windows(made, options)
    if options.patience is not None and _made(parser, "rank") == 0:
        _warn_of_patience(options, asked="patience" in command.given)


def _check_names(command: Command, parser: ConfigParser) -> None:
    """MONAI takes any option as a new id of the configuration, so that a misspelt one would do nothing."""
    if command.files is None:
        return
    _check_overlays(command.files)
    contents = ConfigParser.load_config_files(command.files)
    files, config = ConfigParser(contents), command.config
    made = ConfigParser(config)
    known = {*contents, parser.meta_key}
    used = {name for value in config.values() for name in _references(value)}
    for name in config:
        if name not in known | used:
            options = sorted(known & Options.model_fields.keys()) or sorted(known)
            raise ValueError(f"option --{name} is unknown: {command.files} does not hold it; {_hint(name, options)}")
    check_packages(config.get("network_name", ""), config.get("network_def"))
    for name in command.ignored:
        if name not in files or files[name] is not None:
            raise ValueError(f"--{name} None: MONAI ignores None; expected {_expected(name)}, or leave it out")
    for given in command.given:
        place, _, last = given.rpartition("#")
        value, held = command.given[given], files.get(given)
        if isinstance(held, dict) and given not in Options.model_fields and not _is_part(value):
            first = next((name for name in held if not name.startswith("_")), "")
            raise ValueError(f"--{given} {value!r}: expected something in it, as --{given}#{first}")
        if place in PARTS and not last.startswith("_") and last not in PARTS[place].model_fields:
            options = [f"{place}#{name}" for name in PARTS[place].model_fields]
            raise ValueError(f"option --{given} is unknown: {_hint(given, options)}")
        if place and given not in files:
            arguments = _arguments(made.get(place))
            if not last.startswith("_") and last not in (arguments or ()) and arguments is not None:
                more = f"; {_hint(given, [f'{place}#{name}' for name in arguments])}" if arguments else ""
                raise ValueError(f"option --{given} is unknown: {command.files} holds no {last} in {place}{more}")


def _check_typed(command: Command) -> None:
    """Refuse what Fire reads as something else than was typed, and can't be put right."""
    for name, text in command.typed.items():
        if text is None and takes_text(name):
            raise ValueError(
                f"--{name} has no value; expected {_expected(name)}; write ./ before a name with - in front"
            )
        value = command.given.get(name)
        if name in Options.model_fields and isinstance(value, list) and text is not None:
            for part in value:
                if isinstance(part, str) and part not in text:
                    raise ValueError(
                        f"--{name} {text}: the command line reads this as {value}; put each text in quotes, without "
                        "backslashes"
                    )


def _restore_texts(command: Command, parser: ConfigParser) -> None:
    """Undo what MONAI does to texts: it writes ``::`` for ``#``, which makes another path of a path."""
    contents = ConfigParser.load_config_files(command.files) if command.files is not None else {}
    for name, value in (contents | dict(command.given)).items():
        texts = value if isinstance(value, list | tuple) else [value]
        plain = all(isinstance(text, str) and not text.startswith(("$", "@", "%")) for text in texts)
        if plain and name in command.config and command.config[name] != value:
            command.config[name] = parser.ref_resolver.resolved_content[name] = value


def _arguments(part: object) -> list[str] | None:
    """Names of the arguments that a component takes, none of what is no component; None where it may take any."""
    if not isinstance(part, dict) or "_target_" not in part:
        return []
    target: Any = ConfigComponent(part).resolve_module_name()
    target = locate(target) if isinstance(target, str) else target
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # there is none, or it doesn't say
        return None
    return None if any(one.kind is one.VAR_KEYWORD for one in parameters) else [one.name for one in parameters]


def _is_part(value: object) -> bool:
    """Whether a value may stand for a part of a configuration: a mapping, an expression or a reference."""
    return isinstance(value, dict) or str(value).startswith(("$", "@", "%"))


def _expected(name: str) -> str:
    return expected_of(Options.model_fields[name]) if name in Options.model_fields else "a value"


def _hint(name: str, options: list[str]) -> str:
    close = difflib.get_close_matches(name, options, n=1)
    return f"did you mean --{close[0]}?" if close else f"the options are {', '.join(options)}"


def _check_overlays(config_file: str | list[str]) -> None:
    files = config_file.split(",") if isinstance(config_file, str) else list(config_file)
    choosing: dict[str, str] = {}
    for file in files[1:]:
        for name in _CHOSEN.keys() & ConfigParser.load_config_file(file).keys():
            if name in choosing:
                raise ValueError(f"{choosing[name]} and {file} both choose the {_CHOSEN[name]}; give only one of them")
            choosing[name] = file


def _references(value: Any) -> set[str]:
    """Top-level ids that a part of a configuration refers to as ``@id``."""
    if isinstance(value, dict | list):
        return set().union(*map(_references, value.values() if isinstance(value, dict) else value))
    return set(re.findall(r"@(\w+)", value)) if isinstance(value, str) else set()


def _made(parser: ConfigParser, name: str) -> Any:
    """Return a part of the configuration, or say in one line why MONAI, in sixty, can't make it."""
    try:
        part = parser.get_parsed_content(name)
    except Exception as error:  # whatever a wrong value makes of a constructor or an expression
        while error.__cause__ is not None and not str(error).startswith("--"):
            error = error.__cause__  # type: ignore[assignment]
        said = " ".join(str(error).split())
        if takes_text(name) and (first := str(parser[name])[:1]) in ("$", "@"):
            said += f"; write ./ before a path that begins with {first}"
        raise ValueError(said if said.startswith("--") else f"--{name}, or an option in it: {said}") from error
    if name == "device" and not isinstance(part, torch.device):
        raise ValueError(f"--device {part!r}: expected an expression, \"\\$torch.device('{part}')\"")
    return part


def _check_paths(options: Options) -> None:
    for name in ("output_dir", "cache_dir"):
        folder = getattr(options, name)
        if folder is None:
            continue
        path = Path(folder).absolute()
        there = next(place for place in (path, *path.parents) if place.exists())
        if not there.is_dir():
            raise ValueError(f"--{name} {folder}: {there} is a file; give a folder")
        if reason := why_not_writable(there):
            raise ValueError(f"--{name} {folder}: {there} can't be written to ({reason}); choose another folder")
    # Pictures within the folder of radiographs would be taken for radiographs the next time.
    if options.overlays is not None and Path(options.output_dir).absolute().is_relative_to(
        Path(options.dataset_dir).absolute()
    ):
        raise ValueError(
            f"--output_dir {options.output_dir} is inside --dataset_dir {options.dataset_dir}; choose one beside it"
        )


def _check_schedule(options: Options, config: Mapping[str, Any]) -> None:
    if options.schedule_step is not None:
        schedule = str(config["lr_scheduler"].get("_target_", "")).rpartition(".")[2]
        steps = ("validation",) if schedule == "ReduceLROnPlateau" else ("iteration", "epoch")
        if options.schedule_step not in steps:
            raise ValueError(f"--schedule_step {options.schedule_step}: {schedule} takes {' or '.join(steps)}")


def _check_crops(options: Options) -> None:
    size, window = options.size or 0, options.window
    if options.views == "hand" and window < size:
        raise ValueError(
            f"--window {window} is below --size {size}: training would see parts of hands, and --views hand shows "
            "whole ones; give --views image, or a --window of the same size"
        )


def _check_compile(backend: str) -> None:
    """Compile a sum: inductor needs a C++ compiler on a CPU, and fails with a traceback without one."""
    try:
        torch.compile(lambda x: x + 1, backend=backend)(torch.zeros(8))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"--compile true: the backend {backend} can't run here ({reason}); "
            "install what it needs, such as a C++ compiler, give another --compile_backend, or leave it out"
        ) from error


def _check_windows(made: Mapping[str, Any], options: Options) -> None:
    windows = []
    if "hand_inferer" in made:
        windows.append(("hand_inferer#window", made["hand_inferer"].window))
    if "window_inferer" in made:
        windows += [("window_inferer#roi_size", side) for side in made["window_inferer"].roi_size]
    for name, window in windows:
        check_window(window, options.size_divisor, options.network_name, name)


def _check_tracking(command: Command) -> None:
    """Refuse ``--tracking`` that can't work, and one that would show a password in MONAI's log."""
    if command.given.get("tracking") is None:
        return
    if importlib.util.find_spec("mlflow") is None:
        raise ValueError("--tracking mlflow: MLflow is missing: pip install 'handseg-monai[track]'")
    uri = str(command.given.get("tracking_uri") or "")
    if "@" in uri.partition("://")[2].partition("/")[0]:
        raise ValueError(
            "--tracking_uri holds a user or password, which logs would show: give it without them, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or give all of it as MLFLOW_TRACKING_URI"
        )
    uri = os.environ.get("MLFLOW_TRACKING_URI") or uri
    if uri and not uri.startswith("$") and ("://" not in uri or uri.startswith("file:")):
        raise ValueError(
            "--tracking_uri: expected sqlite:///FILE.db or the address of a server; MLflow does not accept folders"
        )


def _warn_of_patience(options: Options, asked: bool) -> None:
    # The first validation sets the score, and so many more without a better one must end before the last epoch.
    if (options.patience + 1) * options.val_interval >= options.epochs:
        logger.log(
            logging.WARNING if asked else logging.INFO,
            "no early stopping: --patience %s validations, one every %s epochs, take longer than --epochs %s",
            *(options.patience, options.val_interval, options.epochs),
        )
