"""Handlers that show in TensorBoard how training comes along for each bone: Dice, precision and recall."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines import Workflow

from handseg_monai.bones import ALL_KNOWN, BONES, FLAT, NUM_BONES
from handseg_monai.data.labels.flat import hidden
from handseg_monai.handlers.probabilities import Probabilities
from handseg_monai.inferers.coarse import coarse_masks


class TensorBoardBones:
    """Write the mean Dice of each bone over the validation images as ``val_dice/<bone>``."""

    def __init__(self, summary_writer: Any) -> None:
        self.summary_writer = summary_writer

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator, after its metrics."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def write(self, engine: Workflow) -> None:
        """Write a scalar for each bone that is known in some image."""
        dice = engine.state.metric_details["val_mean_dice"]  # (N, 29), NaN where a bone is not known
        for bone, value in zip(BONES, dice.nanmean(dim=0).tolist(), strict=True):
            if value == value:  # else in no image
                self.summary_writer.add_scalar(f"val_dice/{bone.english}", value, engine.state.epoch)


class TensorBoardPrecisionRecall:
    """Write curves of precision and recall over the threshold, pooled over pixels and images of validation.

    One for each bone, and one for all of them; on a coarse grid, from what the inferer's network saw before a threshold
    was put to it. Dropped pieces and other steps that follow are not in it.

    Parameters
    ----------
    summary_writer
        A ``SummaryWriter``; None on ranks that don't write, which count all the same.
    interval
        Validations from one to the next; 0 writes none.
    long_side
        Of the grid, in pixels.
    thresholds
        Number of thresholds, 0 to 1.
    """

    def __init__(self, summary_writer: Any, interval: int = 1, long_side: int = 256, thresholds: int = 101) -> None:
        self.summary_writer = summary_writer
        self.interval = interval
        self.probabilities = Probabilities(long_side)
        self.thresholds = thresholds
        self._counts: torch.Tensor | None = None
        self._validations = 0

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator of PlanesInferer, whose output holds ``label``, bit planes int32 (1, H, W)."""
        if self.interval:
            self.probabilities.attach(engine)
            engine.add_event_handler(Events.EPOCH_STARTED, self.begin)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.count)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def begin(self, engine: Workflow) -> None:
        """Begin to count, where it is time."""
        due = self._validations % self.interval == 0
        self._validations += 1
        self._counts = torch.zeros(2, NUM_BONES, self.thresholds, dtype=torch.int64) if due else None
        self.probabilities.wanted = due

    def count(self, engine: Workflow) -> None:
        """Count the pixels of one image by bone, truth and probability."""
        if self._counts is None:
            return
        (batch,), (output,) = engine.state.batch, engine.state.output
        probabilities = output["probabilities"]
        height, width = probabilities.shape[-2:]
        label = output["label"][0].to(probabilities.device)
        masks = coarse_masks(label, (height, width))
        known = int(batch.get("known", ALL_KNOWN))
        probabilities = probabilities.nan_to_num()
        if known & FLAT:
            probabilities = probabilities.masked_fill(coarse_masks(hidden(label), (height, width)), 0)
        steps = (probabilities * (self.thresholds - 1)).floor().long()
        bones = torch.arange(NUM_BONES, device=steps.device)[:, None, None]
        place = (masks.long() * NUM_BONES + bones) * self.thresholds + steps
        counts = torch.bincount(place.flatten(), minlength=self._counts.numel()).view(self._counts.shape).cpu()
        self._counts += counts * ((known >> torch.arange(NUM_BONES)) & 1)[:, None]

    def write(self, engine: Workflow) -> None:
        """Write the curves; every rank calls it."""
        if self._counts is None:
            return
        counts = self._counts
        if idist.get_world_size() > 1:
            counts = counts.to(idist.device())
            torch.distributed.all_reduce(counts)
        # At threshold i a pixel is taken for the bone whose probability is there or above.
        false, true = counts.cpu().flip(-1).cumsum(-1).flip(-1)
        if self.summary_writer is None:
            return
        for bone in BONES:
            if counts[:, bone.index].any():
                self._write(bone.english, true[bone.index], false[bone.index], engine.state.epoch)
        self._write("all bones", true.sum(0), false.sum(0), engine.state.epoch)

    def _write(self, name: str, true: torch.Tensor, false: torch.Tensor, epoch: int) -> None:
        precision, recall = true / (true + false).clamp_min(1), true / true[0].clamp_min(1)
        self.summary_writer.add_pr_curve_raw(
            f"precision and recall/{name}",
            *(true, false, false[0] - false, true[0] - true, precision, recall),
            global_step=epoch,
            num_thresholds=self.thresholds,
        )
