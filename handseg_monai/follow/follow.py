"""Telling those who follow a run that it has begun, has a new best score, has ended or has failed."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer, Workflow

from handseg_monai.follow.mailbox import one_line
from handseg_monai.follow.redact import hide, hide_in_log_of

logger = logging.getLogger(__name__)

_LOST = 10
"""Losses in a row that are not finite, after which training has diverged. In float16 one may be, and passes."""


@dataclass
class Run:
    """A run and how far it is."""

    name: str
    folder: Path
    """Where its results go."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """Options of the run, plain values."""
    epoch: int = 0
    epochs: int | None = None
    """Epochs that are done, and how many there are to be; None for inference."""
    loss: float | None = None
    learning_rate: float | None = None
    """Mean loss of the last epoch, and the rate at its end."""
    best: float | None = None
    best_epoch: int | None = None
    """Best score and its epoch; the epoch is None where a resumed run brought the score."""
    rank: int = 0
    host: str = field(default_factory=socket.gethostname)
    begun: datetime = field(default_factory=lambda: datetime.now().astimezone())
    _start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Time since it has begun."""
        return time.monotonic() - self._start

    @property
    def took(self) -> str:
        """The same to be read: ``2 h 05 min``, ``3 min 20 s``."""
        minutes, seconds = divmod(round(self.seconds), 60)
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


class Follower:
    """Receiver of a run's events. A method that raises costs one line in the log, except for :meth:`check`."""

    def check(self) -> None:
        """Before the run: raise ValueError where it can't be followed as it was asked for."""

    def started(self, run: Run) -> None:
        """The run begins."""

    def epoch(self, run: Run, metrics: Mapping[str, float]) -> None:
        """An epoch is done; ``metrics`` are those of its validation, if there was one."""

    def best(self, run: Run) -> None:
        """There is a new best score."""

    def ended(self, run: Run) -> None:
        """The run is done."""

    def failed(self, run: Run, reason: str) -> None:
        """The run broke; ``reason`` is the traceback, without secrets."""

    def close(self) -> None:
        """Nothing more comes: wait for what is under way, for as long as it may take."""


class FollowRun:
    """Run an engine, and tell followers.

    Not an event handler: of those for ``EXCEPTION_RAISED`` ignite calls the first alone where it raises, as that of
    MONAI's ``StatsHandler`` does, and what breaks after the engine's run is to be told too.

    Parameters
    ----------
    name
        Of the run; None: that of its folder.
    output_dir
        Where its results go.
    followers
        Receivers of events. On ranks other than the first they receive failures alone.
    evaluator
        The engine of validation, whose key metric is the score. None where nothing is trained.
    """

    def __init__(
        self,
        name: str | None,
        output_dir: str | Path,
        followers: Sequence[Follower] = (),
        evaluator: Workflow | None = None,
    ) -> None:
        # Addresses of web hooks are secrets, and stand in its log of level DEBUG.
        hide_in_log_of("urllib3.connectionpool")
        folder = Path(output_dir)
        self.current = Run(hide(str(name or folder.resolve().name)), folder, rank=idist.get_rank())
        self.followers = list(followers)
        self.evaluator = evaluator
        self._losses: list[float] = []
        self._lost = 0

    def begin(self, parameters: Mapping[str, object]) -> None:
        """Take the options of the run, which followers are told; secrets in them are hidden.

        Raises as :meth:`Follower.check`.
        """
        self.current.parameters = {k: hide(v) if isinstance(v, str) else v for k, v in parameters.items()}
        for follower in self.followers:
            follower.check()

    def run(self, engine: Workflow) -> None:
        """Run an engine to its end; report an error to the followers and raise it again."""
        run = self.current
        if self.evaluator is None:
            engine.add_event_handler(Events.COMPLETED, self._judged)
        else:
            state = self.evaluator.state
            run.epochs, run.epoch = engine.state.max_epochs, engine.state.epoch
            run.best = float(state.best_metric) if state.best_metric_epoch > 0 else None
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)
        if run.rank == 0:
            self._tell(lambda follower: follower.started(run))
        self._to_the_end(engine.run)

    def end(self, last: Callable[[], object] | None = None) -> None:
        """Do the last step of the run, and tell its end, or that the step failed."""
        if last is not None:
            self._to_the_end(last)
        if self.current.rank == 0:
            self._tell(lambda follower: follower.ended(self.current))
        self._tell(lambda follower: follower.close())

    def _to_the_end(self, step: Callable[[], object]) -> None:
        try:
            step()
        except BaseException as error:
            if isinstance(error, SystemExit):
                reason = f"ended with exit code {error.code}"
            else:
                reason = hide("".join(traceback.format_exception(error)).strip())
            self._tell(lambda follower: follower.failed(self.current, reason))
            self._tell(lambda follower: follower.close())
            raise

    def _tell(self, what: Callable[[Follower], None]) -> None:
        for follower in self.followers:
            try:
                what(follower)
            except Exception as error:
                logger.warning(one_line(type(follower).__name__, error))

    def _iteration(self, engine: Workflow) -> None:
        loss = engine.state.output["loss"].item()
        self._losses.append(loss)
        self._lost = 0 if math.isfinite(loss) else self._lost + 1
        if self._lost >= min(_LOST, engine.state.epoch_length or _LOST):
            raise FloatingPointError(
                f"the loss is {loss} in the last {self._lost} iterations, to iteration {engine.state.iteration}; "
                "a lower --learning_rate or a longer --warmup may help"
            )

    def _epoch(self, engine: SupervisedTrainer) -> None:
        assert self.evaluator is not None
        run, state = self.current, self.evaluator.state
        run.epoch = engine.state.epoch
        run.loss = sum(self._losses) / len(self._losses) if self._losses else None
        run.learning_rate = float(engine.optimizer.param_groups[0]["lr"])
        self._losses.clear()
        validated = state.epoch == run.epoch
        metrics = _numbers(state.metrics) if validated else {}
        if run.rank == 0:
            self._tell(lambda follower: follower.epoch(run, metrics))
        if validated and state.best_metric_epoch == run.epoch:
            run.best, run.best_epoch = float(state.best_metric), run.epoch
            if run.rank == 0:
                self._tell(lambda follower: follower.best(run))

    def _judged(self, engine: Workflow) -> None:
        if self.current.rank == 0 and (metrics := _numbers(engine.state.metrics)):
            self._tell(lambda follower: follower.epoch(self.current, metrics))


def _numbers(metrics: Mapping[str, object]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)
    }


def machine() -> tuple[str, str, str]:
    """Return what this process runs on: its name, which tells GPUs of one host apart, the GPU, and its memory."""
    host = socket.gethostname()
    if not torch.cuda.is_available():
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return host, "none", f"{total / 2**30:.0f} GB (machine)"
    free, total = torch.cuda.mem_get_info()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    name = f"{host} GPU {visible}" if visible else host
    return name, torch.cuda.get_device_name(), f"{(total - free) / 2**30:.0f} of {total / 2**30:.0f} GB used"
