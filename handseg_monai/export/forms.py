"""Bit planes in the forms that other tools read. All of them hold overlaps, without loss."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import BONES, NAMES, NUM_BONES, SIDES, Side
from handseg_monai.export.dicom_seg import DicomSeg
from handseg_monai.export.form import Form, Masks, MasksNotWrittenError, class_name, mask_of

_NIFTI_SIDE = (1 << 15) - 1


class Png(Form):
    """``<image>/<class>.png``: 0 and 255, for each bone that has a row; of one that is absent nothing but 0."""

    def add(self, masks: Masks) -> None:
        """Write the masks of an image."""
        folder = self._out / masks.stem
        folder.mkdir(parents=True, exist_ok=True)
        for hand in masks.hands:
            for bone in np.flatnonzero(hand.given).tolist():
                path = folder / f"{class_name(bone, hand.side)}.png"
                if not cv2.imwrite(str(path), np.uint8(255) * mask_of(hand.planes, bone)):
                    raise OSError(f"{path}: could not be written")


class LabelMe(Form):
    """``<image>.json`` of LabelMe: a polygon for each piece of a bone, a mask where a piece has holes or no area."""

    def add(self, masks: Masks) -> None:
        """Write the shapes of an image."""
        shapes = []
        for hand in masks.hands:
            for bone, (rows, columns) in boxes(hand.planes):
                inside = mask_of(hand.planes[rows, columns], bone)
                shapes += _shapes(class_name(bone, hand.side), inside, columns.start, rows.start)
        height, width = masks.shape
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": masks.path.name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        self._path(masks, ".json").write_text(json.dumps(content), encoding="utf-8")


class Coco(Form):
    """``annotations.json`` of COCO: a run-length for each image and bone.

    Category k + 1 is bone k; of images with two hands k + 30 is that of the left one, k + 59 that of the right one.
    """

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._sides: set[Side | None] = {None}

    def add(self, masks: Masks) -> None:
        """Take up the masks of an image."""
        height, width = masks.shape
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": masks.name, "height": height, "width": width})
        for hand in masks.hands:
            self._sides.add(hand.side)
            for bone, (rows, columns) in boxes(hand.planes):
                inside = mask_of(hand.planes[rows, columns], bone)
                self._annotations.append(
                    {
                        "id": len(self._annotations) + 1,
                        "image_id": number,
                        "category_id": _category(bone, hand.side),
                        "iscrowd": 0,
                        "area": int(inside.sum()),
                        "bbox": [columns.start, rows.start, inside.shape[1], inside.shape[0]],
                        "segmentation": {
                            "size": [height, width],
                            "counts": _counts(inside, columns.start, rows.start, masks.shape),
                        },
                    }
                )

    def finish(self) -> None:
        """Write the file."""
        categories = [
            {
                "id": _category(bone.index, side),
                "name": class_name(bone.index, side),
                "supercategory": bone.group.value,
            }
            for side in (None, *SIDES)
            if side in self._sides
            for bone in BONES
        ]
        content = {"images": self._images, "categories": categories, "annotations": self._annotations}
        (self._out / "annotations.json").write_text(json.dumps(content), encoding="utf-8")


class Nifti(Form):
    """``<image>.nii.gz``: uint8 (W, H, 1, 29), channel k is bone k; of two hands 58 channels, the left one's first.

    No geometry is known: an identity affine.
    """

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._two_hands = False

    def add(self, masks: Masks) -> None:
        """Write the masks of an image."""
        import nibabel

        if max(masks.shape) > _NIFTI_SIDE:
            height, width = masks.shape
            raise MasksNotWrittenError(
                f"{width} x {height} pixels; a side of NIfTI has {_NIFTI_SIDE} at most: choose another form"
            )
        channels = [mask_of(hand.planes, bone).T for hand in masks.hands for bone in range(NUM_BONES)]
        self._two_hands |= len(masks.hands) > 1
        stack = np.stack(channels, axis=-1)[:, :, None]
        image = nibabel.nifti1.Nifti1Image(stack, np.eye(4))
        image.header.set_xyzt_units("unknown")
        nibabel.save(image, self._path(masks, ".nii.gz"))

    def finish(self) -> None:
        """Say what the channels are."""
        (self._out / "channels.json").write_text(json.dumps(list(NAMES)), encoding="utf-8")
        if self._two_hands:
            names = [class_name(bone, side) for side in SIDES for bone in range(NUM_BONES)]
            (self._out / "channels_two_hands.json").write_text(json.dumps(names), encoding="utf-8")


FORMS: dict[str, type[Form]] = {
    "png": Png,
    "labelme": LabelMe,
    "coco": Coco,
    "nifti": Nifti,
    "dicom-seg": DicomSeg,
}
"""By name."""


def _category(bone: int, side: Side | None) -> int:
    return bone + 1 + NUM_BONES * (0 if side is None else 1 + SIDES.index(side))


def _shapes(label: str, mask: np.ndarray, left: int, top: int) -> list[dict[str, Any]]:
    """Return the shapes of a bone, whose box begins at ``left`` and ``top``."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    shapes = []
    for piece in range(1, count):
        x, y, width, height = (int(n) for n in stats[piece][:4])
        inside = (pieces[y : y + height, x : x + width] == piece).astype(np.uint8)
        contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        shape: dict[str, Any] = {"label": label, "group_id": None, "description": "", "flags": {}}
        x, y = x + left, y + top
        if len(contours) == 1 and len(contours[0]) >= 3:
            shape |= {"shape_type": "polygon", "points": (contours[0][:, 0] + (x, y)).tolist(), "mask": None}
        else:
            png = base64.b64encode(cv2.imencode(".png", 255 * inside)[1].tobytes()).decode("ascii")
            corners = [[x, y], [x + width - 1, y + height - 1]]
            shape |= {"shape_type": "mask", "points": corners, "mask": png}
        shapes.append(shape)
    return shapes


def _counts(mask: np.ndarray, left: int, top: int, shape: Sequence[int]) -> list[int]:
    """Return COCO's run-length of a mask whose box begins at ``left`` and ``top``: down the columns, from 0 on."""
    columns = np.pad(mask.T.astype(np.int8), ((0, 0), (1, 1)))
    edges = np.diff(columns, axis=1)
    places = [np.array(np.nonzero(edges == step)) for step in (1, -1)]
    starts, ends = ((left + column) * shape[0] + top + row for column, row in places)
    apart = starts[1:] != ends[:-1]
    starts, ends = starts[np.append(True, apart)], ends[np.append(apart, True)]
    at = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [shape[0] * shape[1]]])
    return [int(n) for n in np.diff(at)]
