"""Networks of an ensemble, each from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from handseg_monai.handlers.weights import CheckpointError, load_weights, read_checkpoint, trained_with


@dataclass(frozen=True)
class Member:
    """A network of an ensemble, and how it sees its images (:func:`~handseg_monai.handlers.trained_with`)."""

    network: nn.Module
    views: str
    size: int | None
    window: int


def load_members(
    checkpoints: Sequence[str | Path], configs: str | Path, definitions: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Member]:
    """Make the network of each checkpoint, by the name that it carries, and load its weights.

    Parameters
    ----------
    checkpoints
        Of any folds and networks, at least one.
    configs
        Folder of the bundle's configurations: the network ``name`` is declared by ``network_<name>.json`` laid over
        ``inference.json``, or by the latter itself.
    definitions
        ``network_def`` of other networks, by name.

    Raises
    ------
    CheckpointError
        None given, or see :func:`~handseg_monai.handlers.load_weights`; or no declaration of a network.
    """
    if isinstance(checkpoints, str | Path) or not checkpoints:
        raise CheckpointError(f"--checkpoints {checkpoints!r}: expected a list of files, such as \"['a.pt','b.pt']\"")
    members = []
    for path in checkpoints:
        name = str(read_checkpoint(path).get("network_name", "of unknown name"))
        network = _declared(name, Path(configs), definitions or {}, path)
        load_weights(path, network, name)
        members.append(Member(network, **trained_with(path)))
    return members


def _declared(name: str, configs: Path, definitions: Mapping[str, Mapping[str, Any]], path: str | Path) -> nn.Module:
    base, overlay = configs / "inference.json", configs / f"network_{name}.json"
    parser = ConfigParser()
    parser.read_config([str(file) for file in (base, overlay) if file.exists()])
    if name in definitions:
        parser.update({"network_def": dict(definitions[name])})
    elif parser["network_name"] != name:
        raise CheckpointError(f"checkpoint {path} holds network {name}; no {overlay} declares it")
    network: nn.Module = parser.get_parsed_content("network_def")
    return network
