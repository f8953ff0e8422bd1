"""The contract's Dice on bit planes."""

from __future__ import annotations

import numpy as np

from handseg_monai.bitplanes import areas
from handseg_monai.bones import NUM_BONES


def dice(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice of each bone: 2 |A ∩ B| / (|A| + |B|), and 1 where both are empty.

    Parameters
    ----------
    prediction, truth
        Bit planes, int32 (H, W).

    Returns
    -------
    dice
        float64 (29,).

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    return dice_of_areas(areas(prediction & truth), areas(prediction), areas(truth))


def dice_of_areas(intersection: np.ndarray, prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice from areas in pixels, integers of equal shape; 1 where both masks are empty."""
    total = prediction + truth
    return np.where(total == 0, 1.0, 2 * intersection / np.maximum(total, 1))


def known_bones(known: int) -> np.ndarray:
    """Which bones an image's ``known`` names: boolean, (29,)."""
    return (known >> np.arange(NUM_BONES)) & 1 != 0
