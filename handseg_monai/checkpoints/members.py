"""Networks of an ensemble, each from its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai.bundle import ConfigParser
from torch import nn

from handseg_monai.checkpoints.weights import Checkpoint, CheckpointError, load_weights
from handseg_monai.networks import check_packages


@dataclass(frozen=True)
class Member:
    """A network of an ensemble, how it sees its images, and the digest of its checkpoint."""

    network: nn.Module
    views: str
    size: int
    window: int
    digest: str


def load_members(
    checkpoints: Sequence[str | Path], configs: str | Path, network_files: Sequence[str | Path] = ()
) -> list[Member]:
    """Make the network of each checkpoint, by the name that it carries, and load its weights.

    Raises as :meth:`~handseg_monai.checkpoints.Checkpoint.read`, :func:`~handseg_monai.checkpoints.load_weights` and
    :func:`~handseg_monai.networks.check_packages`, and ``CheckpointError`` where no file declares a network.

    Parameters
    ----------
    checkpoints
        Of any folds and networks, at least one.
    configs
        Folder of the bundle's configurations. A network is declared by that ``network_*.json`` which has its
        ``network_name``, laid over ``inference.json``, or by the latter alone.
    network_files
        Further overlays that declare networks; they come first.
    """
    if not checkpoints:
        raise CheckpointError("no checkpoints; train some, or give --checkpoints \"['a.pt','b.pt']\"")
    files = [*map(Path, network_files), *sorted(Path(configs).glob("network_*.json"))]
    declared = {
        parser["network_name"]: parser for parser in reversed(_parsers(Path(configs) / "inference.json", files))
    }
    members = []
    for path in checkpoints:
        checkpoint = Checkpoint.read(path)
        name = checkpoint.network_name
        if name not in declared:
            default, *others = declared
            raise CheckpointError(
                f"checkpoint {path} holds network {name}; known are {', '.join([default, *sorted(others)])}; "
                "give a file that declares it with --network_files"
            )
        check_packages(name, declared[name]["network_def"])
        declared[name].parse(reset=True)  # a network of its own for each checkpoint
        network = declared[name].get_parsed_content("network_def")
        load_weights(checkpoint, network, name)
        members.append(Member(network, checkpoint.views, checkpoint.size, checkpoint.window, checkpoint.digest))
    return members


def _parsers(base: Path, overlays: Sequence[Path]) -> list[ConfigParser]:
    """Return the configuration of inference with each of the networks, the base's own last."""
    parsers = []
    for overlay in (*overlays, None):
        parser = ConfigParser()
        try:
            parser.read_config([str(base), *([str(overlay)] if overlay else [])])
        except Exception as error:  # no such file, no JSON or YAML, no mapping
            raise CheckpointError(f"--network_files {overlay}: {' '.join(str(error).split())}") from error
        parsers.append(parser)
    return parsers
