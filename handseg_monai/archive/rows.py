"""Rows of an archive: one for each image, with all that was found of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import cv2
import numpy as np
import pyarrow as pa

from handseg_monai.bones import SIDES
from handseg_monai.measure import Spacing, measure_hand
from handseg_monai.measure.fitting import fitting_spacing
from handseg_monai.plausibility.judge import plausibility
from handseg_monai.rle import encode_planes

_MEASURE = pa.struct(
    [("name", pa.string()), ("value", pa.float64()), ("unit", pa.string()), ("reason", pa.string())],
)
_HAND = pa.struct(
    [
        ("side", pa.string()),
        ("rle", pa.list_(pa.string())),
        ("confidence", pa.list_(pa.float32())),
        ("score", pa.float64()),
        ("plausible", pa.bool_()),
        ("findings", pa.list_(pa.string())),
        ("plane", pa.string()),
        ("measures", pa.list_(_MEASURE)),
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("path", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("hands", pa.list_(_HAND)),
        ("note", pa.string()),
        ("weights", pa.string()),
        ("failure", pa.string()),
    ]
)
"""Of a row. ``hands`` holds the only hand, whose ``side`` is null, or the left and the right one; it is empty where
``failure`` says why the image has no masks."""
_FAILURES = ValueError, ArithmeticError, LookupError, cv2.error
"""What judging and measuring fail by where masks have no shape that can be measured."""
NO_BONE = "no bone was found in it"


@dataclass(frozen=True, eq=False)
class Radiograph:
    """An image that was read.

    Attributes
    ----------
    id, name, path
        As :func:`~handseg_monai.archive.sources.list_images` lists it.
    image
        (H, W), see :func:`~handseg_monai.data.reading.images.read_radiograph`.
    spacing
        That its header states.
    """

    id: int
    name: str
    path: str
    image: np.ndarray
    spacing: Spacing | None


class Row(TypedDict):
    """A row, as :data:`SCHEMA` has it."""

    id: int
    name: str
    path: str
    height: int | None
    width: int | None
    hands: list[dict[str, object]]
    note: str
    weights: str
    failure: str | None


def failed(id: int, name: str, path: str, weights: str, failure: str) -> Row:
    """Row of an image that has no masks."""
    return Row(
        id=id, name=name, path=path, height=None, width=None, hands=[], note="", weights=weights, failure=failure
    )


def row_of(
    radiograph: Radiograph, planes: np.ndarray, confidence: Sequence[Sequence[float]], note: str, weights: str
) -> Row:
    """Row of an image whose masks are drawn: encoded, judged and measured.

    Parameters
    ----------
    radiograph
        The image.
    planes
        Bit planes, int32 (1, H, W), or (2, H, W) of the left hand and the right one.
    confidence
        29 numbers for each hand.
    note
        What the network says of the image.
    weights
        Digest of the weights.
    """
    image = radiograph.image
    sides: Sequence[str | None] = (None,) if len(planes) == 1 else SIDES
    notes = [note] if note else []
    hands: list[dict[str, object]] = []
    for side, of_hand, sure in zip(sides, planes, confidence, strict=True):
        hand: dict[str, object] = {"side": side, "rle": encode_planes(of_hand), "confidence": list(sure)}
        try:
            hand |= _judged(of_hand, image, radiograph.spacing)
        except _FAILURES as error:  # the masks count all the same
            notes.append(f"not judged or measured: {error or type(error).__name__}")
        hands.append(hand)
    if not planes.any():
        notes.append("all of its pixels have the same grey value, " * bool(image.min() == image.max()) + NO_BONE)
    return Row(
        id=radiograph.id,
        name=radiograph.name,
        path=radiograph.path,
        height=image.shape[0],
        width=image.shape[1],
        hands=hands,
        note="; ".join(notes),
        weights=weights,
        failure=None,
    )


def _judged(planes: np.ndarray, image: np.ndarray, stated: Spacing | None) -> dict[str, object]:
    spacing = fitting_spacing(planes, stated)
    judgement = plausibility(planes)
    measures = measure_hand(planes, image, spacing, judgement)
    return {
        "score": judgement.score,
        "plausible": judgement.plausible,
        "findings": [finding.text for finding in judgement.findings],
        "plane": spacing.says,
        "measures": [{"name": m.name, "value": m.value, "unit": m.unit, "reason": m.reason} for m in measures],
    }
