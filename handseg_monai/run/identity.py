"""What tells one bundle run from another: the options that its results depend on, and those to show."""

from __future__ import annotations

import hashlib
import json
import secrets

from monai.bundle import ConfigParser

from handseg_monai.run.command import Command

_UNSHOWN = frozenset({"run_name", "experiment_name", "tracking", "tracking_uri", "save_execute_config", "is_not_rank0"})
_PLACES = frozenset({"bundle_root", "setup", "rank", "device", "num_workers", "sw_batch_size", "output_dir"})
_BESIDE = _UNSHOWN | _PLACES | {"finalize", "+finalize", "follow", "overlays", "picture_side", "overlay_writer"}
"""Ids of a configuration that results do not depend on."""
_CHOICES = ("loss", "optimizer", "lr_scheduler")
"""Components that a run is told by, beside its plain options."""


def asked_for() -> str:
    """Return a text that differs between bundle runs that may give different results.

    It stands for the content of the configuration files and for the options of the command line, but for where and how
    the work is done. A run that was made without the command has a text of its own each time.
    """
    command = Command()
    if command.files is None:
        return secrets.token_hex()
    contents = ConfigParser.load_config_files(command.files)
    options = {name: str(value) for name, value in command.given.items() if name not in _BESIDE}
    kept = {name: value for name, value in contents.items() if name not in _BESIDE}
    return hashlib.sha256(json.dumps([kept, options], sort_keys=True).encode()).hexdigest()


def parameters() -> dict[str, object]:
    """Return the options of the bundle run whose configuration calls this: plain values by their id.

    Of loss, optimiser and schedule it is the names of their classes, ``PerBoneLoss(DiceCELoss)``. Empty outside of a
    run.
    """
    command = Command()
    if command.parser is None:
        return {}
    config = command.config
    known = config | command.parser.ref_resolver.resolved_content
    plain = {
        name: known[name]
        for name in sorted(config.keys() - _UNSHOWN)
        if isinstance(known[name], bool | int | float | str) and not str(known[name]).startswith(("$", "@", "%"))
    }
    classes = {name: _classes(config[name]) for name in _CHOICES if name in config}
    return plain | {name: text for name, text in classes.items() if text}


def _classes(config: object) -> str:
    """Names of a component's class, and in brackets those of its parts."""
    if not isinstance(config, dict):
        return ""
    parts = ", ".join(filter(None, map(_classes, config.values())))
    name = str(config.get("_target_", "")).rpartition(".")[2]
    return f"{name}({parts})" if name and parts else name or parts
