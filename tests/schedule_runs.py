"""Training runs, built from the bundle's configurations and small, that tell which rates the optimiser really took."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from tests.bundle_runs import CONFIGS

SCHEDULES = ("multistep", "cosine", "cosine_restarts", "warmup_restarts", "plateau")

SMALL: dict[str, Any] = {
    "network_name": "one convolution",
    "network_def": {
        "_target_": "torch.nn.Conv2d",
        "in_channels": 1,
        "out_channels": 29,
        "kernel_size": 3,
        "padding": "same",
    },
    "size_divisor": 8,
    "size": 32,
    "window": 32,
    "num_workers": 0,
    "amp": False,
    "output_bias": 0.0,
}
"""Overrides that make a run small: one convolution on 32 x 32 pixels."""


class KilledError(Exception):
    """Ends a run after an epoch's checkpoint is written."""


class Run(NamedTuple):
    """What a run did."""

    rates: list[float]
    """The rate of each step of the optimiser."""
    dice: list[float]
    """The metric of each validation."""


def run_schedule(
    schedule: str | None, dataset_dir: Path, output_dir: Path, kill_after: int | None = None, **options: Any
) -> Run:
    """Train with a schedule's overlay, or train.json's own, in the manner of ``monai.bundle run training``."""
    names = ["train.json"] + ([f"schedule_{schedule}.json"] if schedule else [])
    options = SMALL | {"dataset_dir": str(dataset_dir), "output_dir": str(output_dir)} | options
    workflow = ConfigWorkflow([str(CONFIGS / name) for name in names], workflow_type="train", **options)
    workflow.initialize()
    content = workflow.parser.get_parsed_content
    run = Run([], [])
    content("optimizer").register_step_pre_hook(lambda optimizer, *_: run.rates.append(optimizer.param_groups[0]["lr"]))
    content("validate#evaluator").add_event_handler(
        Events.COMPLETED, lambda engine: run.dice.append(engine.state.metrics["val_mean_dice"])
    )
    if kill_after is not None:

        def kill(engine: Engine) -> None:
            if engine.state.epoch == kill_after:
                raise KilledError

        content("train#trainer").add_event_handler(Events.EPOCH_COMPLETED, kill)
    with suppress(KilledError):
        content("train#trainer").run()
    return run
