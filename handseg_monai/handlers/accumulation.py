"""Gradient accumulation that equals one large batch: what MONAI's trainer leaves to its handlers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import IterationEvents, Workflow
from monai.handlers import LrScheduleHandler
from monai.utils import CommonKeys


def steps_of_epoch(iterations: int, accumulate: int) -> int:
    """Return the optimiser's steps in so many iterations: each ``accumulate`` of them, and the rest, make one."""
    return -(-iterations // accumulate)


def stepped(accumulate: int) -> Callable[[Engine, int], bool]:
    """Return a filter of ignite's iteration events: those at which MONAI's trainer lets the optimiser step."""

    def last_of_group(engine: Engine, iteration: int) -> bool:
        length = engine.state.epoch_length
        assert length is not None
        done = (iteration - 1) % length + 1
        return done % accumulate == 0 or done == length

    return last_of_group


class AccumulationWeights:
    """Weigh the losses of a group of batches such that each image of it counts alike.

    MONAI's trainer divides each loss by ``accumulate``. Where the last group of an epoch has fewer batches, or its last
    batch fewer images, the gradient is then not that of one large batch. The loss in the engine's output stays that of
    its batch. ``accumulate`` is the trainer's ``accumulation_steps``.
    """

    def __init__(self, accumulate: int) -> None:
        self.accumulate = accumulate
        self._plain: Any = None

    def attach(self, engine: Workflow) -> None:
        """Attach to a ``SupervisedTrainer`` over a ``DataLoader`` with a sampler."""
        if self.accumulate > 1:
            engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.weigh)
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.restore)

    def weigh(self, engine: Workflow) -> None:
        """Weigh the loss that is about to be propagated back."""
        loader: Any = engine.data_loader
        whole = self.accumulate * loader.batch_size
        assert engine.state.epoch_length is not None
        group = (engine.state.iteration - 1) % engine.state.epoch_length // self.accumulate
        images = min(whole, len(loader.sampler) - group * whole)
        output: Any = engine.state.output
        self._plain = output[CommonKeys.LOSS]
        output[CommonKeys.LOSS] = self._plain * (len(output[CommonKeys.IMAGE]) * self.accumulate / images)

    def restore(self, engine: Workflow) -> None:
        """Put the plain loss back."""
        output: Any = engine.state.output
        output[CommonKeys.LOSS] = self._plain


class StepSchedule(LrScheduleHandler):
    """MONAI's ``LrScheduleHandler`` that steps when the optimiser does, every ``accumulate`` batches.

    With ``epoch_level`` it steps as MONAI's does. Where the loss scale of float16 makes the optimiser pass a step over,
    as the first one often is, the schedule goes on: its place follows from the number of batches alone, and so is the
    same after a resume.
    """

    def __init__(self, accumulate: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.accumulate = accumulate
        self._has_stepped = False

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if self.epoch_level or self.accumulate == 1:
            super().attach(engine)
            return
        if self._name is None:
            self.logger = engine.logger
        engine.add_event_handler(Events.ITERATION_COMPLETED(event_filter=stepped(self.accumulate)), self)

    def __call__(self, engine: Engine) -> None:
        """Step; torch warns at the first one where the optimiser passed its own over."""
        if self._has_stepped:
            super().__call__(engine)
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step", category=UserWarning)
            super().__call__(engine)
        self._has_stepped = True
