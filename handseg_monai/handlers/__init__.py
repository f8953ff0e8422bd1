"""Ignite handlers that MONAI lacks."""

from handseg_monai.handlers.accumulation import AccumulationWeights, StepSchedule, steps_of_epoch
from handseg_monai.handlers.bone_curves import TensorBoardBones, TensorBoardPrecisionRecall
from handseg_monai.handlers.epoch_seed import EpochSeed
from handseg_monai.handlers.known_metric import KnownMetricHandler
from handseg_monai.handlers.overlays import OverlayWriter, TensorBoardOverlays
from handseg_monai.handlers.planes_dice import PlanesDice
from handseg_monai.handlers.submission import SubmissionWriter
from handseg_monai.handlers.threshold_search import ThresholdSearch
from handseg_monai.handlers.weight_average import WeightAverage

__all__ = [
    "AccumulationWeights",
    "EpochSeed",
    "KnownMetricHandler",
    "OverlayWriter",
    "PlanesDice",
    "StepSchedule",
    "SubmissionWriter",
    "TensorBoardBones",
    "TensorBoardOverlays",
    "TensorBoardPrecisionRecall",
    "ThresholdSearch",
    "WeightAverage",
    "steps_of_epoch",
]
