"""Checkpoints: the best weights and the whole state of training, each written so that a kill leaves it loadable."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines import Workflow
from torch import nn

from handseg_monai.files import atomic_path

logger = logging.getLogger(__name__)

BEST = "model.pt"
LAST = "last.pt"


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


def load_weights(path: str | Path, network: nn.Module, network_name: str) -> dict[str, Any]:
    """Load the weights of a checkpoint into a network.

    Parameters
    ----------
    path
        Checkpoint with ``network`` (a state dict) and ``network_name``.
    network
        The network to fill.
    network_name
        Its name in the configuration, compared with the checkpoint's.

    Returns
    -------
    checkpoint
        The content of the file.

    Raises
    ------
    CheckpointError
        See :func:`read_checkpoint`; or the checkpoint is of another network, and the message names both.
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
    network.load_state_dict(state)
    score = f", score {content['score']:.4f}" if isinstance(content.get("score"), float) else ""
    logger.info("checkpoint %s: network %s, epoch %s%s", path, found, content.get("epoch", "?"), score)
    return content


class TrainingCheckpoint:
    """Write the best weights and the state of training at the end of each epoch, and go on from that state.

    ``model.pt`` holds the weights with the best score so far, ``last.pt`` all that training needs to go on: network,
    optimiser, schedule, scaler, epoch, best score and the counter of early stopping. Both are written beside and
    renamed, by rank 0 alone. (MONAI's ``CheckpointSaver`` writes in place, and forgets the best score on resuming.)

    Parameters
    ----------
    folder
        Where to write.
    network, network_name
        The network itself, not wrapped for several ranks, and its name in the configuration.
    trainer, evaluator
        The engines. The score is the evaluator's key metric.
    states
        Further parts of training with ``state_dict`` and ``load_state_dict``, for example optimiser and schedule.
    """

    def __init__(
        self,
        folder: str | Path,
        network: nn.Module,
        network_name: str,
        trainer: Workflow,
        evaluator: Workflow,
        states: Mapping[str, Any],
    ) -> None:
        self.folder = Path(folder)
        self.network = network
        self.network_name = network_name
        self.trainer = trainer
        self.evaluator = evaluator
        self.states = dict(states)
        self.best_score: float | None = None

    def attach(self) -> None:
        """Attach to both engines; call it after all other handlers are attached, so that their state is saved too."""
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.save_best)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self.save_last)

    def save_best(self, evaluator: Workflow) -> None:
        """Write ``model.pt`` if the key metric is better than ever before, in earlier runs too."""
        score = float(evaluator.state.metrics[evaluator.state.key_metric_name])
        if self.best_score is None or score > self.best_score:
            self.best_score = score
            self._write(BEST, {"score": score})

    def save_last(self, trainer: Workflow) -> None:
        """Write ``last.pt``."""
        scaler = getattr(trainer, "scaler", None)
        parts = self.states | ({"scaler": scaler} if scaler is not None else {})
        self._write(
            LAST,
            {"best_score": self.best_score, "states": {name: part.state_dict() for name, part in parts.items()}},
        )

    def report(self) -> None:
        """Print the best score and where its weights are."""
        if idist.get_rank() == 0 and self.best_score is not None:
            print(f"best score {self.best_score:.4f}: {self.folder / BEST}")

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if idist.get_rank() != 0:
            return
        content |= {
            "network": self.network.state_dict(),
            "network_name": self.network_name,
            "epoch": self.trainer.state.epoch,
        }
        with atomic_path(self.folder / name) as part:
            torch.save(content, part)

    def resume(self, resume: bool) -> None:
        """Go on from ``last.pt``, or make sure that there is no earlier run to overwrite.

        Exits with code 0 and one line where all epochs are done already.

        Raises
        ------
        CheckpointError
            ``resume`` without a ``last.pt``, one of another network, or an earlier run in the folder without
            ``resume``.
        """
        path = self.folder / LAST
        if not resume:
            if path.exists():
                epoch = read_checkpoint(path)["epoch"]
                raise CheckpointError(
                    f"{self.folder} holds a run of {epoch} epochs; go on with --resume true, or choose another "
                    "--output_dir"
                )
            return
        content = load_weights(path, self.network, self.network_name)
        scaler = getattr(self.trainer, "scaler", None)
        parts = self.states | ({"scaler": scaler} if scaler is not None else {})
        for name, part in parts.items():
            if name in content["states"]:
                part.load_state_dict(content["states"][name])
        self.best_score = content["best_score"]
        state = self.trainer.state
        state.epoch = content["epoch"]
        state.iteration = state.epoch * (state.epoch_length or 0)
        if self.best_score is not None:
            self.evaluator.state.best_metric = self.best_score
            self.evaluator.state.best_metric_epoch = state.epoch
        if state.epoch >= state.max_epochs:
            # An engine that is told to run on from its last epoch would begin anew.
            print(f"{path}: all {state.max_epochs} epochs are done; raise --epochs to go on")
            sys.exit(0)


class EarlyStopState:
    """State of MONAI's ``EarlyStopHandler``, which has none of its own to save.

    Parameters
    ----------
    handler
        The handler, after ``set_trainer``.
    """

    def __init__(self, handler: Any) -> None:
        self.handler = handler._handler

    def state_dict(self) -> dict[str, Any]:
        """Counter and best score, plain values."""
        return dict(self.handler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave."""
        self.handler.load_state_dict(state)


def first_checkpoint(*paths: str | Path) -> str:
    """Give the first of several checkpoints that is there, or the last where none is."""
    return str(next((path for path in paths if Path(path).is_file()), paths[-1]))
