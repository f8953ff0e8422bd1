"""Packages that networks of other libraries need."""

from __future__ import annotations

import importlib.util
from typing import Any


def check_packages(network_name: str, network_def: Any) -> None:
    """Raise ``ValueError`` for a network with a component of a package that is not installed.

    Both arguments are as the configuration has them, ``_target_`` and all.
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
