"""Images that show the same radiograph, whatever they were encoded, resized or toned with."""

from __future__ import annotations

import cv2
import numpy as np

SAME = 0.92
"""Correlation of two fingerprints, as a whole and in the median of their 16 tiles, from which they are of one
radiograph. Copies reach 0.95 after any change of tone; phantoms that are meant to be alike (preset ``easy``) come to
0.87. The straight edges of a collimator alone bring two radiographs to 0.8 as a whole, but in few tiles."""
_SIZE = 128
_TILES = 4
_BROAD = 4.0
_ROWS = 512


def fingerprint(radiograph: np.ndarray) -> np.ndarray:
    """Reduce an image to what is left of it after re-encoding, resizing and a change of tone.

    The image is brought to 128 x 128 pixels, and what varies broadly is taken out: the outline of a hand is like any
    other's, the place of its edges is not. A mirrored image has another fingerprint: a subject's two hands, mirror
    images of one another, are no duplicates.

    Parameters
    ----------
    radiograph
        Any real dtype, (H, W).

    Returns
    -------
    fingerprint
        float32 (16384,) of mean 0 and length 1; all 0 where the image is constant.
    """
    small = cv2.resize(radiograph.astype(np.float32), (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
    low, high = np.percentile(small, (1, 99))
    if high <= low:
        return np.zeros(_SIZE * _SIZE, np.float32)
    small = np.clip((small - low) / (high - low), 0, 1)
    fine = (small - cv2.GaussianBlur(small, (0, 0), _BROAD)).ravel()
    fine -= fine.mean()
    length = float(np.linalg.norm(fine))
    return fine / length if length > 0 else np.zeros_like(fine)


def find_duplicates(fingerprints: np.ndarray) -> list[tuple[int, int, float]]:
    """Find pairs of images of one radiograph by their fingerprints, float32 (N, 16384).

    Returns
    -------
    pairs
        (first, second, correlation), first < second, for each pair from :data:`SAME` on.
    """
    pairs = []
    for start in range(0, len(fingerprints), _ROWS):
        correlation = fingerprints[start : start + _ROWS] @ fingerprints.T
        for i, j in np.argwhere(correlation >= SAME).tolist():
            if start + i < j and _by_tile(fingerprints[start + i], fingerprints[j]) >= SAME:
                pairs.append((start + i, j, float(correlation[i, j])))
    return pairs


def _by_tile(first: np.ndarray, second: np.ndarray) -> float:
    """Median correlation of the tiles of two fingerprints that are not empty in both."""
    edge = _SIZE // _TILES
    a, b = (f.reshape(_TILES, edge, _TILES, edge).swapaxes(1, 2).reshape(-1, edge * edge) for f in (first, second))
    a, b = (tile - tile.mean(axis=1, keepdims=True) for tile in (a, b))
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    seen = np.maximum(*lengths) > 0.2 / _TILES
    products = (a * b).sum(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-9)
    return float(np.median(products[seen])) if seen.any() else 0.0
