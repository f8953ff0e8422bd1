"""Choice of a threshold for each bone by validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

USUAL = 0.5


def best_thresholds(dice: np.ndarray, sweep: Sequence[float], subjects: Sequence[str] | None = None) -> np.ndarray:
    """Choose the threshold of each bone at which its mean Dice is greatest.

    One of few images may be best by chance: a bone keeps the threshold nearest to one half unless the gain over it is
    more than its standard error over the subjects (the rule of one standard error: Breiman et al., Classification and
    Regression Trees, 1984), whose hands are alike.

    Parameters
    ----------
    dice
        float (N, T, 29): of N images at T thresholds; NaN where the bone is not known.
    sweep
        The T thresholds.
    subjects
        Whose each image is; None: each another one's.

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
    if subjects is not None and len(subjects) != len(dice):
        raise ValueError(f"expected the subjects of {len(dice)} images, got {len(subjects)}")
    _, of_subject = np.unique(np.arange(len(dice)).astype(str) if subjects is None else subjects, return_inverse=True)
    usual = int(np.argmin(np.abs(np.asarray(sweep) - USUAL)))
    index = np.full(dice.shape[2], usual)
    for bone in range(dice.shape[2]):
        of_bone = dice[:, :, bone]
        is_known = ~np.isnan(of_bone[:, usual])
        of_bone, subject = of_bone[is_known], of_subject[is_known]
        if len(np.unique(subject)) < 2:
            continue
        best = int(np.argmax(of_bone.mean(axis=0)))
        gain = of_bone[:, best] - of_bone[:, usual]
        if gain.mean() > _standard_error(gain, subject):
            index[bone] = best
    return index


def _standard_error(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard error of a mean (N,) whose values depend on each other within groups, which are numbered."""
    sums = np.bincount(groups, values - values.mean())
    number = len(np.unique(groups))
    return float(np.sqrt(number / (number - 1) * (sums**2).sum()) / len(values))
