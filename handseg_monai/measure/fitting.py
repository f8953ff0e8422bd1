"""Whether a hand can have the spacing that its file states."""

from __future__ import annotations

import numpy as np

from handseg_monai.measure.outline import bone_outlines
from handseg_monai.measure.spacing import IMPOSSIBLE_SPACING, NO_SPACING, Spacing
from handseg_monai.plausibility.bone_order import RAYS

_THIRD = RAYS[2][1]
_METACARPAL, _WHOLE = (15.0, 120.0), (15.0, 500.0)
"""Millimetres that the third metacarpal, and all that is seen of a hand and its forearm, can be long."""
_SQUARE = 4.0
"""Times that a pixel can be as high as wide, or as wide as high."""


def fitting_spacing(planes: np.ndarray, spacing: Spacing | None) -> Spacing:
    """Return the spacing that a hand is measured by: what the file states, where a hand can have it.

    Parameters
    ----------
    planes
        Bit planes, int32 (H, W), of one hand.
    spacing
        That its file states; None where it states none.

    Returns
    -------
    spacing
        The same; :data:`~handseg_monai.measure.spacing.NO_SPACING` for None; or
        :data:`~handseg_monai.measure.spacing.IMPOSSIBLE_SPACING`, square pixels, where the third metacarpal would be
        shorter than 15 mm or longer than 120 mm (if it is missing or cut: all bones together, 15 mm and 500 mm), or
        pixels more than four times as high as wide or as wide as high.
    """
    if spacing is None:
        return NO_SPACING
    if not 1 / _SQUARE <= spacing.row / spacing.column <= _SQUARE:
        return IMPOSSIBLE_SPACING
    if spacing.unit != "mm":
        return spacing
    outlines = bone_outlines(planes, spacing)
    third = outlines.get(_THIRD)
    whole = third is not None and not third.at_border.any()
    seen = [third] if third is not None and whole else list(outlines.values())
    if not seen:
        return spacing
    points = np.concatenate([outline.ring for outline in seen])
    long = float(np.hypot(np.ptp(points.real), np.ptp(points.imag)))
    least, most = _METACARPAL if whole else _WHOLE
    return spacing if least <= long <= most else IMPOSSIBLE_SPACING
