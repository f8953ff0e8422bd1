"""Ignite handlers that MONAI lacks."""

from handseg_monai.handlers.accumulation import AccumulationWeights, StepSchedule, steps_of_epoch
from handseg_monai.handlers.bone_curves import TensorBoardBones, TensorBoardPrecisionRecall
from handseg_monai.handlers.checkpoint import EarlyStopState, TrainingCheckpoint, prepare_run
from handseg_monai.handlers.epoch_seed import EpochSeed
from handseg_monai.handlers.follow import Follower, FollowRun, Run
from handseg_monai.handlers.known_metric import KnownMetricHandler
from handseg_monai.handlers.members import Member, load_members
from handseg_monai.handlers.notify import Notifications
from handseg_monai.handlers.overlays import OverlayWriter, TensorBoardOverlays
from handseg_monai.handlers.sheet import ResultSheet
from handseg_monai.handlers.submission import SubmissionWriter
from handseg_monai.handlers.threshold_search import ThresholdSearch
from handseg_monai.handlers.tracking import MLflowTracking
from handseg_monai.handlers.weight_average import WeightAverage
from handseg_monai.handlers.weights import (
    CheckpointError,
    begin_from,
    fingerprint,
    first_checkpoint,
    load_weights,
    publish_weights,
    trained_with,
)

__all__ = [
    "AccumulationWeights",
    "CheckpointError",
    "EarlyStopState",
    "EpochSeed",
    "FollowRun",
    "Follower",
    "KnownMetricHandler",
    "MLflowTracking",
    "Member",
    "Notifications",
    "OverlayWriter",
    "ResultSheet",
    "Run",
    "StepSchedule",
    "SubmissionWriter",
    "TensorBoardBones",
    "TensorBoardOverlays",
    "TensorBoardPrecisionRecall",
    "ThresholdSearch",
    "TrainingCheckpoint",
    "WeightAverage",
    "begin_from",
    "fingerprint",
    "first_checkpoint",
    "load_members",
    "load_weights",
    "prepare_run",
    "publish_weights",
    "steps_of_epoch",
    "trained_with",
]
