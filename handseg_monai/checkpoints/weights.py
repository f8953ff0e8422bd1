"""Weights of a checkpoint: reading, loading, beginning from them, and publishing them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from handseg_monai.data.items import Item
from handseg_monai.files import atomic_path

logger = logging.getLogger(__name__)

_VIEWED = {"size": 1024, "window": 1024, "views": "image"}
"""How a network sees its images, where a checkpoint doesn't say."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, can't be read, or belongs to another network."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project onto the CPU, with ``weights_only``.

    Raises
    ------
    CheckpointError
        No such file, not a checkpoint, or one without ``network``.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"checkpoint {path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"checkpoint {path}: can't be read ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict) or "network" not in content:
        raise CheckpointError(f"checkpoint {path}: no entry 'network'; expected a file that training wrote")
    return content


def load_weights(
    path: str | Path, network: nn.Module, network_name: str, size: int | None = None, unseen: Sequence[Item] = ()
) -> dict[str, Any]:
    """Load the weights of a checkpoint into a network.

    Parameters
    ----------
    path
        Checkpoint with ``network`` (a state dict) and ``network_name``.
    network
        The network to fill.
    network_name
        Its name in the configuration, compared with the checkpoint's.
    size
        The working size of this run; a warning is logged where the checkpoint was trained at another.
    unseen
        Radiographs to evaluate or validate on, which the checkpoint must not have been trained on.

    Returns
    -------
    checkpoint
        The content of the file.

    Raises
    ------
    CheckpointError
        See :func:`read_checkpoint`; the checkpoint is of another network, and the message names both; or it has been
        trained on some of ``unseen``.
    """
    content = read_checkpoint(path)
    found = content.get("network_name", "of unknown name")
    if found != network_name:
        raise CheckpointError(f"checkpoint {path} holds network {found}, the configuration declares {network_name}")
    expected, state = network.state_dict(), content["network"]
    wrong = [k for k in expected.keys() | state.keys() if k not in expected or k not in state]
    wrong = wrong or [k for k in expected if expected[k].shape != state[k].shape]
    if wrong:
        name = min(wrong)
        shapes = [str(tuple(s[name].shape)) if name in s else "absent" for s in (state, expected)]
        raise CheckpointError(
            f"checkpoint {path} holds another {found} than the configuration declares: {len(wrong)} parameters differ, "
            f"first {name}, {shapes[0]} in the file and {shapes[1]} in the network"
        )
    if seen := sorted({item["name"] for item in unseen} & set(content.get("trained_on", ()))):
        raise CheckpointError(
            f"checkpoint {path} was trained on {len(seen)} of the {len(unseen)} images to validate on ({seen[0]}, …); "
            "give the --fold, --num_folds, --seed and --folds_file that it was trained with"
        )
    if size is not None and content.get("size", size) != size:
        logger.warning("checkpoint %s was trained at --size %s; this run works at %s", path, content["size"], size)
    network.load_state_dict(state)
    score = f", score {content['score']:.4f}" if isinstance(content.get("score"), float) else ""
    logger.info("checkpoint %s: network %s, epoch %s%s", path, found, content.get("epoch", "?"), score)
    return content


def begin_from(
    path: str | Path | None, network: nn.Module, network_name: str, unseen: Sequence[Item] = ()
) -> list[str]:
    """Load the weights that training begins from, if any, and name the images that they have seen.

    Parameters
    ----------
    path
        A checkpoint, or None or ``"none"`` to begin from nothing.
    network, network_name, unseen
        See :func:`load_weights`.

    Raises
    ------
    CheckpointError
        See :func:`load_weights`.
    """
    if path is None or str(path).lower() == "none":
        return []
    return list(load_weights(path, network, network_name, unseen=unseen).get("trained_on", ()))


def trained_with(path: str | Path) -> dict[str, Any]:
    """Say how the network of a checkpoint saw its images, so that inference shows them alike.

    Returns
    -------
    facts
        ``size``, the long side of the whole image in pixels; ``window``, that of the network's input; ``views``,
        ``"image"`` where it saw whole images, or windows of them, and ``"hand"`` where it saw hands upright and filling
        the view too, as :class:`~handseg_monai.inferers.HandInferer` shows them. 1024, 1024 and ``"image"`` where the
        checkpoint doesn't say.

    Raises
    ------
    CheckpointError
        See :func:`read_checkpoint`.
    """
    content = read_checkpoint(path)
    return _VIEWED | {key: content[key] for key in _VIEWED if content.get(key) is not None}


def publish_weights(source: str | Path, target: str | Path) -> Path:
    """Write the weights of a checkpoint for others: float16, without the names of what they were trained on.

    Parameters
    ----------
    source
        A checkpoint that training wrote.
    target
        The file to write, for example ``bundle/models/model.pt``.

    Raises
    ------
    CheckpointError
        See :func:`read_checkpoint`.
    """
    content = read_checkpoint(source)
    kept = {key: content[key] for key in ("network_name", "epoch", "score", *_VIEWED) if key in content}
    # DynUNet names its layers twice; a tensor that is shared is written once.
    once: dict[int, torch.Tensor] = {}
    halved = {
        name: once.setdefault(value.data_ptr(), value.half()) if value.is_floating_point() else value
        for name, value in content["network"].items()
    }
    with atomic_path(Path(target)) as part:
        torch.save({"network": halved, **kept}, part)
    return Path(target)


def first_checkpoint(*paths: str | Path) -> str:
    """Give the first of several checkpoints that is there.

    Raises
    ------
    CheckpointError
        None is; the message names all places.
    """
    for path in paths:
        if Path(path).is_file():
            return str(path)
    raise CheckpointError(f"no checkpoint: looked for {', '.join(map(str, paths))}; train one, or give --checkpoint")


def fingerprint(path: str | Path) -> str:
    """Return the SHA-256 of a checkpoint's file: two of one fingerprint hold the same weights."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
