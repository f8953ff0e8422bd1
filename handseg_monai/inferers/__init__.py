"""Inferers that MONAI lacks."""

from handseg_monai.inferers.autocast import AutocastInferer
from handseg_monai.inferers.ensemble import EnsembleInferer
from handseg_monai.inferers.hand import HandInferer
from handseg_monai.inferers.planes import PlanesInferer, SweepInferer
from handseg_monai.inferers.thresholds import thresholds_of
from handseg_monai.inferers.windows import WindowsInferer

__all__ = [
    "AutocastInferer",
    "EnsembleInferer",
    "HandInferer",
    "PlanesInferer",
    "SweepInferer",
    "WindowsInferer",
    "thresholds_of",
]
