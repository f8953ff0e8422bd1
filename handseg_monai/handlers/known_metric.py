"""Handler that hands a metric which bones are known in each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.metrics.metric import reinit__is_reduced
from monai.handlers import IgniteMetricHandler

from handseg_monai.bones import ALL_KNOWN


class KnownMetricHandler(IgniteMetricHandler):
    """MONAI's ``IgniteMetricHandler`` for a metric that takes ``known`` beside prediction and truth.

    ``known`` is that of the engine's batch, a list of items; where an item has none, all bones are known. The
    metric is one of :class:`~handseg_monai.handlers.PlanesDice`; for the arguments see MONAI.
    """

    @reinit__is_reduced
    def update(self, output: Sequence[torch.Tensor]) -> None:
        """Compare predictions and truths, each a list of bit planes (1, H, W)."""
        if self._engine is None:
            raise RuntimeError("attach() the handler to an engine first")
        prediction, truth = output
        batch: Any = self._engine.state.batch
        self.metric_fn(prediction, truth, known=[item.get("known", ALL_KNOWN) for item in batch])
