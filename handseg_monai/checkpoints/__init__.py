"""Weights on disk: of a network, of the members of an ensemble, and of a training run under way."""

from handseg_monai.checkpoints.members import Member, load_members
from handseg_monai.checkpoints.training import EarlyStopState, TrainingCheckpoint, prepare_run
from handseg_monai.checkpoints.weights import (
    Checkpoint,
    CheckpointError,
    begin_from,
    first_checkpoint,
    load_weights,
    publish_weights,
)

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "EarlyStopState",
    "Member",
    "TrainingCheckpoint",
    "begin_from",
    "first_checkpoint",
    "load_members",
    "load_weights",
    "prepare_run",
    "publish_weights",
]
