"""Ignite handlers that MONAI lacks."""

from handseg_monai.handlers.checkpoint import (
    CheckpointError,
    EarlyStopState,
    TrainingCheckpoint,
    check_run,
    first_checkpoint,
    load_weights,
)
from handseg_monai.handlers.overlays import OverlayWriter, TensorBoardOverlays
from handseg_monai.handlers.submission import SubmissionWriter

__all__ = [
    "CheckpointError",
    "EarlyStopState",
    "OverlayWriter",
    "SubmissionWriter",
    "TensorBoardOverlays",
    "TrainingCheckpoint",
    "check_run",
    "first_checkpoint",
    "load_weights",
]
