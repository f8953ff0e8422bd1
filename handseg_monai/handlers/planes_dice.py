"""The contract's Dice as a metric of MONAI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric

from handseg_monai.bones import ALL_KNOWN
from handseg_monai.data.labels.flat import visible
from handseg_monai.score.dice import dice, known_bones


class PlanesDice(CumulativeIterationMetric):
    """Mean Dice over images and bones on bit planes, as the contract says: both empty count as 1.

    Equals ``monai.metrics.DiceMetric(include_background=True, ignore_empty=False)`` on the unpacked masks. Called
    with bit planes (B, 1, H, W), int32, or lists of (1, H, W), which may differ in size, and with ``known``, one
    number for each image, whose bit k is set where bone k is labelled in it; without it all 29 are. What is not known
    has NaN for its Dice and is left out of the mean. Of flat labels, pixels in which a bone may lie beneath another are
    left out (:func:`~handseg_monai.data.labels.flat.visible`).
    """

    def _compute_list(self, y_pred: Any, y: Any = None, known: Sequence[Any] | None = None, **kwargs: Any) -> Any:
        each = [None] * len(y_pred) if known is None else [[k] for k in known]
        triples = zip(y_pred, y, each, strict=True)
        return torch.cat([self._compute_tensor(a.detach()[None], b.detach()[None], known=k) for a, b, k in triples])

    def _compute_tensor(
        self, y_pred: torch.Tensor, y: torch.Tensor | None = None, known: Sequence[Any] | None = None, **kwargs: Any
    ) -> torch.Tensor:
        if y is None:
            raise ValueError("expected bit planes of the truth, got none")
        each = [ALL_KNOWN] * len(y_pred) if known is None else [int(k) for k in known]
        triples = zip(y_pred.cpu().numpy(), y.cpu().numpy(), each, strict=True)
        values = [np.where(known_bones(k), dice(visible(a[0], b[0], k), b[0]), np.nan) for a, b, k in triples]
        return torch.from_numpy(np.stack(values)).to(y_pred.device)

    def aggregate(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Mean over those images and bones that are known, a scalar."""
        values = self.get_buffer()
        if not isinstance(values, torch.Tensor):
            raise ValueError("no images were compared: call the metric before aggregate()")
        return values.nanmean()
