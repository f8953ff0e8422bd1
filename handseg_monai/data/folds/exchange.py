"""Making folds alike by exchanging subjects between them."""

from __future__ import annotations

import numpy as np

_ENOUGH = 1e-9


def exchange(folds: np.ndarray, images: np.ndarray, traits: np.ndarray) -> np.ndarray:
    """Exchange subjects between folds for as long as this brings each fold's traits closer to its share of them.

    The best exchange of all is made, then the best of those left, until none helps: the exchange method for
    anticlustering (Papenberg and Klau, Using anticlustering to partition data sets into equivalent parts, Psychological
    Methods 26, 2021). Only subjects with as many images change places, so that the folds keep their sizes. The cost is
    the sum over folds of the squared distance between the sum of their subjects' traits and the sum of all traits times
    the fold's share of the images.

    Parameters
    ----------
    folds
        Fold of each subject to begin with, integer (N,), 0 to k - 1.
    images
        Images of each subject, integer (N,).
    traits
        What to balance, float64 (N, T), each column summed over the subject's images and scaled as it should weigh.

    Returns
    -------
    folds
        int64 (N,). The same for the same input; there are no draws.
    """
    folds = np.array(folds, np.int64)
    k = int(folds.max()) + 1
    share = np.bincount(folds, images, k) / images.sum()
    excess = np.stack([traits[folds == f].sum(axis=0) for f in range(k)]) - share[:, None] * traits.sum(axis=0)
    apart = np.square(traits).sum(axis=1)
    apart = apart[:, None] + apart - 2 * traits @ traits.T
    alike = images[:, None] == images
    for _ in range(10 * len(folds)):
        pull = traits @ excess.T
        own = pull[np.arange(len(folds)), folds]
        there = pull[:, folds]  # (i, j): of subject i in the fold of j
        change = 2 * (there + there.T - own[:, None] - own) + 2 * apart
        change[~alike | (folds[:, None] == folds)] = 0
        i, j = np.unravel_index(int(change.argmin()), change.shape)
        if change[i, j] > -_ENOUGH:
            break
        moved = traits[j] - traits[i]
        excess[folds[i]] += moved
        excess[folds[j]] -= moved
        folds[[i, j]] = folds[[j, i]]
    return folds
