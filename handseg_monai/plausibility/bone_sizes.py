"""Lengths and areas of the bones of a submission, in pixels and, where the image tells its spacing, in millimetres."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import BONES
from handseg_monai.data.reading.dicom import pixel_spacing
from handseg_monai.data.reading.images import image_size
from handseg_monai.data.reading.submission_images import image_paths
from handseg_monai.rle import decode_image, read_csv

if TYPE_CHECKING:
    import pandas as pd


def measure_bones(planes: np.ndarray) -> pd.DataFrame:
    """Measure each bone of one image: bit planes, int32 (H, W).

    Returns
    -------
    table
        A row for each bone that has pixels: ``bone``, ``english``, ``group`` and ``ray`` (of carpal bones and forearm
        empty); ``length``, the greatest distance of two corners of its pixels (maximum Feret diameter), in pixels;
        ``area`` in square pixels; ``cut``, whether it touches the image's border, so that both are too small.
    """
    import pandas as pd

    found = []
    for k, (rows, columns) in boxes(planes):
        mask = planes[rows, columns] >> k & 1
        ends = rows.start, columns.start, planes.shape[0] - rows.stop, planes.shape[1] - columns.stop
        bone = BONES[k]
        kind = bone.name, bone.english, bone.group.value, bone.ray
        found.append((*kind, _length(mask), int(mask.sum()), min(ends) == 0))
    names = ["bone", "english", "group", "ray", "length", "area", "cut"]
    return pd.DataFrame(found, columns=names).astype({"ray": "Int64"})


def _length(mask: np.ndarray) -> float:
    y, x = np.nonzero(mask)
    pixels = np.stack([x, y], axis=1)
    corners = np.concatenate([np.add(pixels, (right, down)) for right in (0, 1) for down in (0, 1)]).astype(np.int32)
    hull = cv2.convexHull(corners)[:, 0].astype(np.float64)
    return float(np.linalg.norm(hull[:, None] - hull, axis=2).max())


def measure_submission(prediction: str | Path, images: str | Path) -> pd.DataFrame:
    """Measure each bone of each hand of a submission.

    Parameters
    ----------
    prediction
        Submission CSV.
    images
        Folder of its images, which tells sizes, and of DICOM the spacing.

    Returns
    -------
    table
        The rows of :func:`measure_bones` after ``image``, the name of the image or of one of its two hands, and
        ``spacing``, millimetres a pixel, NaN where the image does not tell it; then ``length_mm`` and ``area_mm2``. At
        the detector's spacing, which is all that many files state, a hand is some percent larger than it is.

    Raises
    ------
    ValueError
        The submission breaks the contract or holds no image, or the folder lacks one of its images.
    """
    import pandas as pd

    texts = read_csv(prediction, empty=False)
    paths = image_paths(texts, images)
    tables = []
    for name, path in paths.items():
        table = measure_bones(decode_image(prediction, name, texts[name], image_size(path)))
        spacing = pixel_spacing(path)
        table.insert(0, "image", name)
        table.insert(1, "spacing", np.nan if spacing is None else spacing)
        tables.append(table)
    result = pd.concat(tables, ignore_index=True)
    result["length_mm"] = result["length"] * result["spacing"]
    result["area_mm2"] = result["area"] * result["spacing"] ** 2
    return result
