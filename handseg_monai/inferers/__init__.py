"""Inferers that MONAI lacks."""

from handseg_monai.inferers.autocast import AutocastInferer

__all__ = ["AutocastInferer"]
