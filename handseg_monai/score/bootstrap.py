"""Intervals of means by the bootstrap, and paired differences: people are drawn, not images or bones."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 1000
"""Draws, from a fixed seed."""


def interval(values: np.ndarray, subjects: Sequence[Hashable]) -> tuple[float, float]:
    """Return the 95 % percentile interval of a mean.

    Parameters
    ----------
    values
        float (N, …), a row an image; NaN is left out of the mean.
    subjects
        Of the images. Subjects are drawn with replacement, with all of their images, :data:`ROUNDS` times.

    Returns
    -------
    low, high
        NaN where fewer than two subjects have a finite value.
    """
    if not len(values):
        return float("nan"), float("nan")
    sums, counts = _of_subjects(values, subjects)
    if len(counts) < 2:
        # One person tells nothing of others.
        return float("nan"), float("nan")
    drawn = np.random.default_rng(0).integers(0, len(counts), (ROUNDS, len(counts)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (2.5, 97.5))
    return float(low), float(high)


def _of_subjects(values: np.ndarray, subjects: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Sum and count of the finite values of each subject that has any."""
    own = np.unique([str(subject) for subject in subjects], return_inverse=True)[1]
    rows = values.reshape(len(values), -1)
    sums, counts = (np.bincount(own, of_row) for of_row in (np.nansum(rows, axis=1), np.isfinite(rows).sum(axis=1)))
    return sums[counts > 0], counts[counts > 0]


@dataclass(frozen=True)
class Difference:
    """How much better the second of two is."""

    mean: float
    low: float
    high: float
    """Mean difference, and its 95 % bootstrap interval."""
    p: float
    """Of the Wilcoxon signed-rank test, two-sided, on the subjects' mean differences; NaN where there is no subject."""
    subjects: int
    """Their count."""


def difference(first: np.ndarray, second: np.ndarray, subjects: Sequence[Hashable]) -> Difference:
    """Compare values, float (N, …), of the same images pair by pair; a pair with NaN is left out."""
    from scipy.stats import wilcoxon

    change = second - first
    sums, counts = _of_subjects(change, subjects)
    means = sums / counts
    if not len(means):
        return Difference(float("nan"), float("nan"), float("nan"), float("nan"), 0)
    p = float(wilcoxon(means).pvalue) if means.any() else 1.0
    return Difference(float(np.nanmean(change)), *interval(change, subjects), p, len(means))
