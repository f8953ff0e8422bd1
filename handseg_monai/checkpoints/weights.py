"""Weights of a checkpoint: reading, loading, beginning from them, and publishing them."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from handseg_monai.data.items import Item
from handseg_monai.files import atomic_path, nfc

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint that is missing, can't be read, or belongs to another network."""


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights, read once."""

    path: str
    """The file."""
    content: dict[str, Any]
    """What training has saved in it: ``network``, a state dict, ``network_name``, ``trained_on`` and more."""
    digest: str
    """SHA-256 of the file: two of one digest hold the same weights."""

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read a file onto the CPU, with ``weights_only``.

        :class:`CheckpointError` where there is none, it is not a checkpoint, or one without ``network``.
        """
        if not Path(path).is_file():
            raise CheckpointError(f"checkpoint {path}: no such file")
        data = Path(path).read_bytes()
        try:
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except Exception as error:  # torch's words advise to load it without safety
            raise CheckpointError(
                f"checkpoint {path}: damaged, or no checkpoint, or it holds more than weights and plain values; "
                "expected a file that training or handseg publish wrote"
            ) from error
        if not isinstance(content, dict) or "network" not in content:
            raise CheckpointError(
                f"checkpoint {path}: no entry 'network'; expected a file that training or handseg publish wrote"
            )
        return cls(str(path), content, hashlib.sha256(data).hexdigest())

    @property
    def network_name(self) -> str:
        """Name of the network that the weights are of."""
        return str(self.content.get("network_name", "of unknown name"))

    @property
    def views(self) -> str:
        """``"image"`` where the network saw whole images in training, or windows of them; ``"hand"`` where it saw hands
        upright and filling the view too, as :class:`~handseg_monai.inferers.HandInferer` shows them."""
        return str(self.content.get("views") or "image")

    @property
    def size(self) -> int:
        """Long side of the whole image in training, in pixels; 1024 where the file doesn't say."""
        return int(self.content.get("size") or 1024)

    @property
    def window(self) -> int:
        """Side of the network's input in training, in pixels; 1024 where the file doesn't say."""
        return int(self.content.get("window") or 1024)


def load_weights(
    checkpoint: Checkpoint, network: nn.Module, network_name: str, size: int | None = None, unseen: Sequence[Item] = ()
) -> None:
    """Load the weights of a checkpoint into a network.

    Parameters
    ----------
    checkpoint
        The weights.
    network
        The network to fill.
    network_name
        Its name in the configuration, compared with the checkpoint's.
    size
        The working size of this run; a warning is logged where the checkpoint was trained at another.
    unseen
        Radiographs to evaluate or validate on, which the checkpoint must not have been trained on.

    Raises
    ------
    CheckpointError
        The checkpoint is of another network, and the message names both; or it has been trained on some of ``unseen``.
    """
    path, content, found = checkpoint.path, checkpoint.content, checkpoint.network_name
    if found != network_name:
        raise CheckpointError(f"checkpoint {path} holds network {found}, but the configuration declares {network_name}")
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
    if seen := sorted({item["name"] for item in unseen} & set(map(nfc, content.get("trained_on", ())))):
        raise CheckpointError(
            f"checkpoint {path} was trained on {len(seen)} of the {len(unseen)} images to validate on ({seen[0]}, …); "
            "give the --fold, --num_folds, --seed, --folds_file and --exclude that it was trained with; images of "
            "another data set that have the same names count as the same"
        )
    if size is not None and content.get("size", size) != size:
        logger.warning("checkpoint %s was trained at --size %s; this run works at %s", path, content["size"], size)
    network.load_state_dict(state)
    score = f", score of its validation {content['score']:.4f}" if isinstance(content.get("score"), float) else ""
    logger.info("checkpoint %s: network %s, epoch %s%s", path, found, content.get("epoch", "?"), score)


def begin_from(
    path: str | Path | None, network: nn.Module, network_name: str, unseen: Sequence[Item] = ()
) -> list[str]:
    """Load the weights that training begins from, if any, and name the images that they have seen.

    Raises as :meth:`Checkpoint.read` and :func:`load_weights`.

    Parameters
    ----------
    path
        A checkpoint, or None or ``"none"`` to begin from nothing.
    network, network_name, unseen
        See :func:`load_weights`.
    """
    if path is None or str(path).lower() == "none":
        return []
    checkpoint = Checkpoint.read(path)
    load_weights(checkpoint, network, network_name, unseen=unseen)
    return list(checkpoint.content.get("trained_on", ()))


def publish_weights(source: str | Path, target: str | Path) -> Path:
    """Write the weights of a checkpoint for others: float16, without the names of what they were trained on.

    What float16 can't hold, such as a large variance of batch norm, stays as it is.

    Raises as :meth:`Checkpoint.read`.
    """
    content = Checkpoint.read(source).content
    kept = {
        key: content[key] for key in ("network_name", "epoch", "score", "size", "window", "views") if key in content
    }
    # DynUNet names its layers twice; a tensor that is shared is written once.
    once: dict[int, torch.Tensor] = {}
    halved = {
        name: once.setdefault(value.data_ptr(), _halved(value)) if value.is_floating_point() else value
        for name, value in content["network"].items()
    }
    with atomic_path(Path(target)) as part:
        torch.save({"network": halved} | kept, part)
    return Path(target)


def _halved(value: torch.Tensor) -> torch.Tensor:
    half = value.half()
    return value if (value.isfinite() & ~half.isfinite()).any() else half


def first_checkpoint(*paths: str | Path) -> str:
    """Give the first of several checkpoints that is there; :class:`CheckpointError`, which names all, where none is."""
    for path in paths:
        if Path(path).is_file():
            return str(path)
    raise CheckpointError(f"no checkpoint: looked for {', '.join(map(str, paths))}; train one, or give --checkpoint")
