"""How far the masks of an image deserve a look, by which the page sorts images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handseg_monai.bones import NUM_BONES
from handseg_monai.plausibility.judge import Plausibility

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
