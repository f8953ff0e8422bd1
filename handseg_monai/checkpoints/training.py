"""The whole state of a training run, written so that a kill leaves it loadable, and gone on with."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines import Workflow
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from handseg_monai.checkpoints.weights import Checkpoint, CheckpointError, load_weights
from handseg_monai.data.items import Item
from handseg_monai.files import atomic_path, hold
from handseg_monai.handlers.weight_average import WeightAverage

logger = logging.getLogger(__name__)

BEST = "model.pt"
LAST = "last.pt"
RUN_FILES = (BEST, LAST, "tensorboard", "evaluation")
"""What a run of training and evaluation leaves in its folder."""


class TrainingCheckpoint:
    """Write the best weights and the state of training at the end of each epoch, and go on from that state.

    ``model.pt`` holds the weights with the best score so far, ``last.pt`` all that training needs to go on: network,
    optimiser, schedule, scaler, epoch, best score and the counter of early stopping. Both are written beside and
    renamed, by rank 0 alone. (MONAI's ``CheckpointSaver`` writes in place, and forgets the best score on resuming.)
    Where weights are averaged, ``model.pt`` holds the average, which is what was validated, and ``last.pt`` both.

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
    trained_on
        Datalist of training, whose names are kept in the checkpoint, so that no one evaluates on them.
    before
        Names of images that the weights had seen when training began.
    facts
        Plain values that inference needs to see images as training did, kept in the checkpoint: ``size``, ``window``
        and ``views`` (see :class:`Checkpoint`).
    average
        The average of the weights, if any.
    epoch_steps
        Steps of the schedule in an epoch, so that it goes on at its place where a resumed run has more or fewer of
        them; by default it goes on at its own count.
    """

    def __init__(
        self,
        folder: str | Path,
        network: nn.Module,
        network_name: str,
        trainer: Workflow,
        evaluator: Workflow,
        states: Mapping[str, Any],
        trained_on: Sequence[Item] = (),
        before: Sequence[str] = (),
        facts: Mapping[str, Any] | None = None,
        average: WeightAverage | None = None,
        epoch_steps: int | None = None,
    ) -> None:
        self.epoch_steps = epoch_steps
        self.folder = Path(folder)
        self.network = network
        self.network_name = network_name
        self.trainer = trainer
        self.evaluator = evaluator
        self.states = dict(states)
        self.average = average
        self.facts = {
            "network_name": network_name,
            "trained_on": sorted({*before, *(item["name"] for item in trained_on)}),
            **(facts or {}),
        }
        self.best_score: float | None = None

    def attach(self) -> None:
        """Attach to both engines; call it after all other handlers are attached, so that their state is saved too."""
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.save_best)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self.save_last)

    def save_best(self, evaluator: Workflow) -> None:
        """Write ``model.pt`` if the key metric is better than ever before, in earlier runs too."""
        if self.trainer.state.epoch == 0:
            return
        self._require_finite()
        score = float(evaluator.state.metrics[evaluator.state.key_metric_name])
        if self.best_score is None or score > self.best_score:
            self.best_score = score
            averaged = self.average.state_dict() if self.average is not None else {}
            self._write(BEST, {"score": score, "network": averaged or self.network.state_dict()})

    def save_last(self, trainer: Workflow) -> None:
        """Write ``last.pt``; training that has diverged ends instead, and the epoch before it stays."""
        self._require_finite()
        states = {name: part.state_dict() for name, part in self._parts().items()}
        self._write(LAST, {"best_score": self.best_score, "states": states, "network": self.network.state_dict()})

    def _parts(self) -> dict[str, Any]:
        scaler = getattr(self.trainer, "scaler", None)
        more = {"scaler": scaler, "average": self.average}
        return self.states | {name: part for name, part in more.items() if part is not None}

    def report(self) -> None:
        """Print the best score and where its weights are."""
        if idist.get_rank() != 0:
            return
        if self.best_score is None:
            print(f"no epoch was validated: {self.folder / BEST} was not written")
        else:
            print(f"best score {self.best_score:.4f}: {self.folder / BEST}")

    def kept(self) -> str:
        """Say what is kept of a run that can't go on, and how to go on."""
        if not (self.folder / LAST).exists():
            return "no epoch was trained and validated to its end, so there is no checkpoint"
        return f"{self.folder / LAST} holds the finished epochs; the same command with --resume true continues"

    def _require_finite(self) -> None:
        """End training, on all ranks, where some weights are no numbers: a resumed run could not mend them."""
        if not all(value.isfinite().all() for value in self.network.state_dict().values() if value.is_floating_point()):
            raise FloatingPointError(
                f"the weights are not finite after epoch {self.trainer.state.epoch}; a lower --learning_rate or a "
                "longer --warmup may help"
            )

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if idist.get_rank() != 0:
            return
        content |= {"epoch": self.trainer.state.epoch} | self.facts
        with atomic_path(self.folder / name) as part:
            torch.save(_on_cpu(content), part)

    def resume(self, resume: bool, unseen: Sequence[Item] = ()) -> None:
        """Go on from ``last.pt`` if ``resume``.

        Exits with code 0 and one line where all epochs are done already, or training had stopped early.

        Raises
        ------
        CheckpointError
            See :meth:`Checkpoint.read` and :func:`load_weights`; or the file holds no state of training.
        """
        if not resume:
            return
        path = self.folder / LAST
        checkpoint = Checkpoint.read(path)
        load_weights(checkpoint, self.network, self.network_name, unseen=unseen)
        content = checkpoint.content
        if not {"states", "epoch", "best_score"} <= content.keys():
            raise CheckpointError(
                f"checkpoint {path}: holds only weights; --resume true needs the state of training (last.pt)"
            )
        self.facts["trained_on"] = sorted({*self.facts["trained_on"], *content.get("trained_on", ())})
        if self.average is not None:  # of a run that had none it begins here
            self.average.load_state_dict(self.network.state_dict())
        parts = self._parts()
        for name, part in parts.items():
            if name in content["states"]:
                _restore(part, content["states"][name], self.epoch_steps and self.epoch_steps * content["epoch"])
        if scale := content["states"].get("scaler"):
            # MONAI's trainer makes its scaler when it starts to run.
            self.trainer.add_event_handler(Events.STARTED, _restore_scale, scale)
        self.best_score = content["best_score"]
        state = self.trainer.state
        state.epoch = content["epoch"]
        state.iteration = state.epoch * (state.epoch_length or 0)
        if self.best_score is not None:
            self.evaluator.state.best_metric = self.best_score
            self.evaluator.state.best_metric_epoch = state.epoch
        if state.epoch >= state.max_epochs:
            # An engine that is told to run on from its last epoch would begin anew.
            print(f"{path}: all {state.max_epochs} epochs are done; raise --epochs to continue")
            sys.exit(0)
        if any(getattr(part, "stopped", False) for part in parts.values()):
            print(f"{path}: training stopped early after epoch {state.epoch}; raise --patience to continue")
            sys.exit(0)


def _on_cpu(content: dict[str, Any]) -> dict[str, Any]:
    """Bring tensors to the CPU, so that any machine reads the file; those that share their memory go on sharing it."""
    if all(value.device.type == "cpu" for value in content["network"].values()):
        return content
    held = io.BytesIO()
    torch.save(content, held)
    held.seek(0)
    moved: dict[str, Any] = torch.load(held, map_location="cpu", weights_only=True)
    return moved


_OF_PLATEAU = {"best", "num_bad_epochs", "cooldown_counter", "last_epoch", "_last_lr"}
"""What changes in a schedule that follows a metric; all else is its configuration."""


def _restore(part: Any, state: Mapping[str, Any], steps: int | None) -> None:
    if isinstance(part, ReduceLROnPlateau):
        state = part.state_dict() | {key: value for key, value in state.items() if key in _OF_PLATEAU}
    elif isinstance(part, LRScheduler):
        _step_anew(part, state["last_epoch"] if steps is None else steps)
        return
    elif isinstance(part, Optimizer):
        # What is configured now, such as another weight decay, but for the rate, which a schedule of the metric keeps.
        configured = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in part.param_groups]
        part.load_state_dict(dict(state))
        for group, values in zip(part.param_groups, configured, strict=True):
            group.update(values)
        return
    part.load_state_dict(state)


def _restore_scale(trainer: Workflow, state: Mapping[str, Any]) -> None:
    if trainer.scaler is not None:
        trainer.scaler.load_state_dict(dict(state))


def _step_anew(scheduler: LRScheduler, steps: int) -> None:
    """Bring a new schedule, and the rates of its optimiser, to where so many steps would have brought them.

    It goes on at its step, but to the end that is configured now: with more epochs, or another rate. Many of torch's
    schedules make a rate from the one before, so that one restored by its state would keep what the old end made of it.
    """
    for group, rate in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group["lr"] = rate
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step", category=UserWarning)
        for _ in range(steps - scheduler.last_epoch):
            scheduler.step()


def prepare_run(folder: str | Path, resume: bool) -> None:
    """Make sure that training finds the run that it is to resume, and overwrites none.

    Without ``resume`` an earlier run is moved to ``<folder>/earlier/<number>``, and a line says so. What a kill left
    half written is removed. The folder is this process's until it ends. With several ranks every one of them calls it;
    the first does it.

    Raises
    ------
    CheckpointError
        ``resume`` without a ``last.pt``.
    ValueError
        Another run still writes to the folder.
    """
    folder = Path(folder)
    if resume and not (folder / LAST).is_file():
        raise CheckpointError(f"checkpoint {folder / LAST}: no such file, nothing to resume")
    if idist.get_rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        hold(folder / ".lock", f"--output_dir {folder}")
        for part in folder.glob(".*.pt.*.part"):
            part.unlink()
        if not resume and ((folder / LAST).exists() or (folder / BEST).exists()):
            number = 1
            while (folder / "earlier" / str(number)).exists():
                number += 1
            aside = folder / "earlier" / str(number)
            aside.mkdir(parents=True)
            for name in RUN_FILES:
                if (folder / name).exists():
                    (folder / name).rename(aside / name)
            print(f"{folder}: moved an earlier run to {aside}; --resume true would have continued it")
    idist.barrier()


class EarlyStopState:
    """State of MONAI's ``EarlyStopHandler``, which has none of its own to save, once it knows its trainer."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler._handler

    @property
    def stopped(self) -> bool:
        """Whether patience had run out."""
        return bool(self.handler.counter >= self.handler.patience)

    def state_dict(self) -> dict[str, Any]:
        """Counter and best score, plain values."""
        return dict(self.handler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave."""
        self.handler.load_state_dict(state)
