"""Choice of a threshold for each bone by validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

USUAL = 0.5


def best_thresholds(dice: np.ndarray, sweep: Sequence[float]) -> np.ndarray:
    """Choose the threshold of each bone at which its mean Dice is greatest.

    One of few images may be best by chance: a bone keeps the threshold nearest to one half unless the gain over it is
    more than its standard error over the images (the rule of one standard error: Breiman et al., Classification and
    Regression Trees, 1984).

    Parameters
    ----------
    dice
        float (N, T, 29): of N images at T thresholds; NaN where the bone is not known.
    sweep
        The T thresholds.

    Returns
    -------
    index
        int64 (29,): place in ``sweep``.

    Raises
    ------
    ValueError
        The shapes do not fit, or there are no images.
    """
    if dice.ndim != 3 or dice.shape[1] != len(sweep) or not len(dice):
        raise ValueError(f"expected Dice (N, {len(sweep)}, bones) of some images, got {dice.shape}")
    usual = int(np.argmin(np.abs(np.asarray(sweep) - USUAL)))
    index = np.full(dice.shape[2], usual)
    for bone in range(dice.shape[2]):
        of_bone = dice[:, :, bone]
        of_bone = of_bone[~np.isnan(of_bone[:, usual])]
        if len(of_bone) < 2:
            continue
        best = int(np.argmax(of_bone.mean(axis=0)))
        gain = of_bone[:, best] - of_bone[:, usual]
        if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            index[bone] = best
    return index
