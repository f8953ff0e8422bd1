"""Inferers that MONAI lacks."""

from handseg_monai.inferers.autocast import AutocastInferer
from handseg_monai.inferers.hand import HandInferer

__all__ = ["AutocastInferer", "HandInferer"]
