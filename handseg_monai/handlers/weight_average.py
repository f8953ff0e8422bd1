"""Exponential moving average of the weights (EMA), which is validated and kept in place of the weights themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from torch import nn

from handseg_monai.handlers.accumulation import stepped, steps_of_epoch

_MOMENTUM = "ema_momentum"


class WeightAverage:
    """Average the weights over the steps of the optimiser with ignite's ``EMAHandler``.

    After step t the average is ``d * average + (1 - d) * weights`` with ``d = min(decay, (1 + t) / (10 + t))``, the
    warm-up of TensorFlow's ``ExponentialMovingAverage``: a short run is averaged over its last tenth, whatever the
    decay. Buffers of floating point, such as the statistics of batch norm, are averaged too; of several ranks, those of
    the first are taken.

    Parameters
    ----------
    network
        To be trained, on one rank or wrapped for several, with the weights that training begins from.
    decay
        Below 1, for example 0.999; 0 averages nothing, and `network` itself is validated.
    accumulate
        Batches to one step of the optimiser.
    """

    def __init__(self, network: nn.Module, decay: float, accumulate: int = 1) -> None:
        self.decay, self.accumulate = decay, accumulate
        self._handler = EMAHandler(network, momentum=1 - decay, handle_buffers="update") if decay else None
        self.network: nn.Module = self._handler.ema_model if self._handler is not None else network

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer; validation must come at the end of an epoch, not of an iteration.

        Whether weights are averaged or not, all ranks validate and go on with the buffers of the first.
        """
        ends = Events.ITERATION_COMPLETED(event_filter=_ends_epoch)
        if self._handler is None:
            engine.add_event_handler(ends, self.share_buffers)
            return
        event = Events.ITERATION_COMPLETED(event_filter=stepped(self.accumulate))
        engine.add_event_handler(event, self.warm_up)
        self._handler.attach(engine, name=_MOMENTUM, warn_if_exists=False, event=event)
        engine.add_event_handler(ends, self.share_buffers)

    def warm_up(self, engine: Engine) -> None:
        """Set the momentum of the step that was made, which depends on its number alone and so survives a resume."""
        state = engine.state
        assert state.epoch_length is not None
        epochs, iterations = divmod(state.iteration, state.epoch_length)
        steps = epochs * steps_of_epoch(state.epoch_length, self.accumulate)
        steps += steps_of_epoch(iterations, self.accumulate)
        setattr(state, _MOMENTUM, max(1 - self.decay, 9 / (10 + steps)))

    def share_buffers(self, engine: Engine) -> None:
        """Give all ranks the buffers of the first."""
        if idist.get_world_size() > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def state_dict(self) -> dict[str, Any]:
        """Weights that are averaged; nothing where none are."""
        return {} if self._handler is None else self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave, or begin the average from the weights of a network."""
        if self._handler is not None and state:
            self.network.load_state_dict(state)


def _ends_epoch(engine: Engine, iteration: int) -> bool:
    assert engine.state.epoch_length is not None
    return iteration % engine.state.epoch_length == 0
