"""How an image is shown: its picture, its outlines, what is to be said of its masks, and how far they are in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from handseg_monai.bones import ALL_KNOWN, NUM_BONES
from handseg_monai.drawing import shrink
from handseg_monai.plausibility.judge import Plausibility

QUALITY = 85
"""Of WebP."""
_WEAKEST = 3
"""Bones of the least confidence that count for the doubt about an image."""


def doubt(judgement: Plausibility, confidence: Sequence[float] | None, settled: int) -> float:
    """How far the masks of an image deserve a look, 0 to 1.

    ``1 - score * sure``: the score is that of the plausibility, and ``sure`` the mean confidence of the three bones of
    which the network was least sure. Bones that a person has drawn or marked as unknown, the bits of ``settled``, count
    as sure. Without confidences the plausibility alone counts.
    """
    sure = [1.0 if settled >> bone & 1 else value for bone, value in enumerate(confidence or [1.0] * NUM_BONES)]
    return 1 - judgement.score * float(np.mean(sorted(sure)[:_WEAKEST]))


def bits(value: int) -> list[int]:
    """Indices of the bones whose bits are set."""
    return [bone for bone in range(NUM_BONES) if value >> bone & 1]


def changed_bones(before: np.ndarray, after: np.ndarray) -> int:
    """Bits of the bones whose masks differ between bit planes, int32 (H, W)."""
    return int(np.bitwise_or.reduce(before ^ after, axis=None)) & ALL_KNOWN


def picture(image: np.ndarray, low: float, high: float, side: int) -> bytes:
    """Draw a radiograph as WebP.

    Parameters
    ----------
    image
        (H, W) as read.
    low, high
        Shares of its range of grey values, from percentile 0.5 (0) to 99.5 (1), that become black and white.
    side
        Long side in pixels; a smaller image keeps its size.
    """
    small = shrink(image, side)
    bottom, top = (float(value) for value in np.percentile(small, (0.5, 99.5)))
    black, white = bottom + low * (top - bottom), bottom + high * (top - bottom)
    grey = np.clip((small.astype(np.float32) - black) * (255 / max(white - black, 1e-6)), 0, 255).astype(np.uint8)
    done, encoded = cv2.imencode(".webp", grey, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    if not done:
        raise OSError("the picture could not be encoded")
    return encoded.tobytes()


@dataclass(frozen=True)
class View:
    """What is shown of one revision of an image; nobody has judged or measured it yet where these are None."""

    revision: int
    planes: np.ndarray
    unknown: int
    outlines: dict[int, str]
    judgement: Plausibility | None = None
    measures: list[dict[str, Any]] | None = None
