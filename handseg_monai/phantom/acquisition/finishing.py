"""What happens to a finished picture: local contrast, inversion, few grey levels, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from handseg_monai.phantom.acquisition.ranges import ExposureRanges
from handseg_monai.phantom.resample import Floats

Bytes = NDArray[np.uint8]


def local_contrast(rng: np.random.Generator, ranges: ExposureRanges, image: Floats) -> Floats:
    """Return a picture (0 to 1) after contrast-limited adaptive histogram equalisation, where that is drawn."""
    limit, tiles, weight = float(rng.uniform(1.0, 6.0)), int(rng.integers(2, 9)), float(rng.uniform(0.4, 1.0))
    if rng.random() >= ranges.clahe_share:
        return image
    grey = cv2.convertScaleAbs(image, alpha=255.0)
    levelled = cv2.createCLAHE(limit, (tiles, tiles)).apply(grey)
    return image + np.float32(weight) * (levelled.astype(np.float32) * np.float32(1 / 255) - image)


def finish(rng: np.random.Generator, ranges: ExposureRanges, image: Floats) -> Bytes:
    """Return the picture (0 to 1) as bytes, inverted, posterised and compressed where that is drawn."""
    levels, quality = int(rng.integers(10, 48)), int(rng.integers(12, 75))
    inverted, posterised, compressed = (
        share > rng.random() for share in (ranges.inversion_share, ranges.posterise_share, ranges.jpeg_share)
    )
    grey = np.asarray(cv2.convertScaleAbs(image, alpha=255.0), np.uint8)
    if inverted:
        grey = np.asarray(255 - grey, np.uint8)
    if posterised:
        table = np.rint(np.rint(np.arange(256) * (levels / 255)) * (255 / levels)).astype(np.uint8)
        grey = np.asarray(cv2.LUT(grey, table), np.uint8)
    if compressed:
        done, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
        grey = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8) if done else grey
    return grey
