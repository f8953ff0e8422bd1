"""A submission CSV as labels: what a network, or a vote of several, found on radiographs without labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from handseg_monai.bones import INDEX, NAMES
from handseg_monai.data.confidence import read_confidence
from handseg_monai.data.items import Faults, LabelError
from handseg_monai.data.labels.classes import Classes, Meaning, resolve
from handseg_monai.data.labels.label import Label, Missing
from handseg_monai.data.labels.named_images import Images
from handseg_monai.rle import decode_fitting, hand_of, read_csv


def read_submission(
    source: Path,
    images: Images,
    given: Mapping[str, Meaning],
    missing: Missing,
    confidence: Path | None = None,
    least: float = 0.0,
    leave_out: Collection[str] = (),
) -> list[Label]:
    """Read a submission; for the parameters see :func:`handseg_monai.data.labels.convert`.

    An empty field says that the bone is absent, if other images have it; ``missing`` is about rows that are not
    there. A bone whose confidence is below ``least`` is unknown, whether it has a mask or not.

    Raises
    ------
    LabelError
        Not a submission, rows of both hands of an image, or an image that is not there, or not in ``confidence``. All
        such images are listed.
    """
    try:
        texts = read_csv(source)
    except OSError as error:
        raise LabelError(f"{source}: {error.strerror}") from error
    classes = resolve(NAMES, given, source)
    held = {bone for of_image in texts.values() for bone, text in zip(NAMES, of_image, strict=True) if text is not None}
    sure = read_confidence(confidence) if confidence is not None else None
    both = sorted(
        {hand.image for name in texts.keys() - set(leave_out) if not images.has(name) and (hand := hand_of(name)).side}
    )
    if both:
        some = ", ".join(both[:3]) + (", …" if len(both) > 3 else "")
        raise LabelError(
            f"{source}: rows of both hands of {len(both)} image{'' if len(both) == 1 else 's'} ({some}); a label is of "
            "one hand: run inference with --hands one, or take their rows out"
        )
    labels = []
    faults = Faults()
    for name, of_image in texts.items():
        if name in leave_out:
            continue
        if sure is not None and name not in sure:
            faults.append(f"{confidence}: no image {name}; it belongs to another submission than {source}")
            continue
        rows = {bone for bone, text in zip(NAMES, of_image, strict=True) if text is not None}
        rows = held if rows and missing == "absent" else rows
        if sure is not None:
            rows = {bone for bone in rows if sure[name][INDEX[bone]] >= least}
        with faults.of(source):
            known, draw = classes.known(rows), partial(_draw, of_image, classes)
            labels.append(Label(images.find(name), f"{source}, image {name}", known, draw, upright=False))
    faults.stop()
    return labels


def _draw(texts: list[str | None], classes: Classes, shape: tuple[int, int]) -> np.ndarray:
    planes = decode_fitting(texts, shape)
    if all(INDEX[name] == bone for name, bone in classes.bone_of.items()):
        return planes
    moved = np.zeros(shape, np.int32)
    for name, bone in classes.bone_of.items():
        moved |= ((planes >> INDEX[name]) & 1) << np.int32(bone)
    return moved
