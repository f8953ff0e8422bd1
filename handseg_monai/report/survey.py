"""Tables of what a labelled dataset holds: a row for each image, and one for each bone of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from tqdm import tqdm

from handseg_monai.bitplanes import boxes, reduce, shared_areas
from handseg_monai.bones import ALL_KNOWN, BONES, NUM_BONES
from handseg_monai.data.items import Item, LabelError
from handseg_monai.data.layouts import read_truth
from handseg_monai.data.reading.images import UnreadableImageError, read_radiograph
from handseg_monai.data.wrist import wrist_deviation
from handseg_monai.plausibility.judge import judge_by_age
from handseg_monai.plausibility.ranges import Placement

if TYPE_CHECKING:
    import pandas as pd

SIZE = 1024
"""Long side at which grey values, side, age and deviation are measured, pixels."""
_RIM = 0.012
"""Width of the soft tissue around the bones that their contrast is measured against, share of the long side."""


@dataclass(frozen=True)
class Survey:
    """What a dataset holds."""

    images: pd.DataFrame
    """A row for each image: ``image``, its path, and ``subject``; ``height`` and ``width`` in pixels; ``bones``, how
    many are there; ``side``, ``"left"`` or ``"right"``, and ``age``, by the masks, empty where there are too few;
    ``deviation`` of the wrist, degrees, positive towards the thumb; grey values as shares of the range of the file's
    type: ``darkest``, ``median`` and ``brightest`` (percentiles 1, 50 and 99) and ``contrast``, bones over the soft
    tissue around them (negative where bones are dark)."""
    bones: pd.DataFrame
    """A row for each bone of each image: ``image``, ``bone``, ``group``, ``area`` in pixels, ``share`` of the bones'
    summed area, ``x`` and ``y`` of its centre as shares of width and height."""
    overlaps: np.ndarray
    """float64 (29, 29): share of the smaller bone of a pair that the other covers, mean over the images that have both;
    NaN where none has, and on the diagonal."""
    problems: tuple[str, ...]
    """Of each image that was left out, as it or its label can't be read: why."""


def survey(items: Sequence[Item], progress: bool = True) -> Survey:
    """Measure all images of a datalist and their labels, in its order; ``ValueError`` if none can be read."""
    import pandas as pd

    images, bones, problems = [], [], []
    covered, pairs = (np.zeros((NUM_BONES, NUM_BONES)) for _ in range(2))
    for item in tqdm(items, desc="survey", unit="image", disable=None if progress else True):
        try:
            radiograph = read_radiograph(item["image"])
            planes = read_truth(item["label"], radiograph.shape)
        except (UnreadableImageError, LabelError) as error:
            problems.append(str(error))
            continue
        height, width = planes.shape
        rows: list[dict[str, Any]] = []
        for k, (down, across) in boxes(planes):
            y, x = np.nonzero((planes[down, across] >> k) & 1)
            rows.append(
                {
                    "image": item["image"],
                    "bone": BONES[k].name,
                    "group": BONES[k].group.value,
                    "area": y.size,
                    "x": (across.start + 0.5 + float(x.mean())) / width,
                    "y": (down.start + 0.5 + float(y.mean())) / height,
                }
            )
        total = sum(row["area"] for row in rows)
        bones += [{**row, "share": row["area"] / total} for row in rows]
        shared, both = _overlaps(planes)
        covered += shared
        pairs += both
        images.append(_image_row(item, radiograph, planes))
    if not images:
        raise ValueError(f"no labelled radiograph that can be read: {problems[0] if problems else 'nothing was given'}")
    with np.errstate(invalid="ignore"):
        overlaps = covered / pairs
    np.fill_diagonal(overlaps, np.nan)
    return Survey(pd.DataFrame(images), pd.DataFrame(bones), overlaps, tuple(problems))


def _image_row(item: Item, radiograph: np.ndarray, planes: np.ndarray) -> dict[str, object]:
    scale = min(1.0, SIZE / max(planes.shape))
    size = max(1, round(planes.shape[0] * scale)), max(1, round(planes.shape[1] * scale))
    whole = np.iinfo(radiograph.dtype).max if np.issubdtype(radiograph.dtype, np.integer) else float(radiograph.max())
    greys = radiograph.astype(np.float32) / max(whole, 1e-9)
    small = cv2.resize(greys, size[::-1], interpolation=cv2.INTER_AREA)
    labels = reduce(planes, size)
    bone = (labels != 0).astype(np.uint8)
    rim = 2 * round(_RIM * max(size)) + 1
    around = (cv2.dilate(bone, np.ones((rim, rim), np.uint8)) > 0) & (bone == 0)
    darkest, median, brightest = np.percentile(small, (1, 50, 99))
    _, hand, ranges = judge_by_age(labels)
    return {
        "image": item["image"],
        "subject": item["subject"],
        "height": planes.shape[0],
        "width": planes.shape[1],
        "bones": int(np.bitwise_or.reduce(planes, axis=None) & ALL_KNOWN).bit_count(),
        "side": Placement(hand, ranges.atlas).side if hand else None,
        "age": ranges.age if hand else None,
        "deviation": wrist_deviation(labels),
        "darkest": float(darkest),
        "median": float(median),
        "brightest": float(brightest),
        "contrast": float(np.median(small[bone > 0]) - np.median(small[around])) if around.any() else float("nan"),
    }


def _overlaps(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the smaller of two bones that the other covers, 0 where one is missing, and 1 where both are there."""
    shared = shared_areas(planes).astype(np.float64)
    area = np.diag(shared)
    there = (area > 0).astype(np.float64)
    return shared / np.maximum(np.minimum(area[:, None], area), 1), np.outer(there, there)
