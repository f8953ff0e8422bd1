"""Measures of a hand from its masks: lengths, widths, angles, gaps, and the cortical index of its metacarpals."""

from handseg_monai.measure.fitting import fitting_spacing
from handseg_monai.measure.hand import measure_hand
from handseg_monai.measure.measures import Measure, Reference, pattern_profile
from handseg_monai.measure.spacing import Spacing, spacing_of

__all__ = ["Measure", "Reference", "Spacing", "fitting_spacing", "measure_hand", "pattern_profile", "spacing_of"]
