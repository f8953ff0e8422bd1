"""Tiny radiographs and their labels in every form that ``handseg convert`` takes, written the plain way."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from handseg_monai.bones import INDEX, NAMES
from tests.conftest import draw_radiograph

SHAPE = (96, 72)
"""(height, width): taller than wide, so that a transposed mask can't pass."""

Polygons = dict[str, list[list[int]]]


def write_images(folder: Path, subjects: int = 3) -> dict[Path, Polygons]:
    """Write two images for each subject, of 8 and of 16 bits; the polygons of each."""
    polygons = {}
    for subject in range(subjects):
        for hand, suffix in enumerate((".png", ".bmp" if subject % 2 else ".tif")):
            image, outlines = draw_radiograph(50 * subject + hand, SHAPE)
            path = folder / f"P{subject}" / f"hand{10 * subject + hand}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image.astype(np.uint16) * 200 if suffix == ".tif" else image)
            polygons[path] = outlines
    return polygons


def mask_of(outline: list[list[int]]) -> np.ndarray:
    """uint8 (H, W), the truth of one bone."""
    mask = np.zeros(SHAPE, np.uint8)
    cv2.fillPoly(mask, [np.array(outline, np.int32)], 1)
    return mask


def planes_of(polygons: Polygons) -> np.ndarray:
    """int32 (H, W), the truth of an image, bone by bone."""
    planes = np.zeros(SHAPE, np.int32)
    for name, outline in polygons.items():
        planes[mask_of(outline) > 0] |= 1 << INDEX[name]
    return planes


def outline_of(outline: list[list[int]]) -> list[list[float]]:
    """Outline of a bone's mask an eighth of a pixel within its edges, in coordinates that count pixels' edges."""
    return [[x, y] for x, y in _fine_outline(tuple(map(tuple, outline)))]


@cache
def _fine_outline(outline: tuple[tuple[int, ...], ...]) -> list[list[float]]:
    fine = np.kron(mask_of([list(point) for point in outline]), np.ones((4, 4), np.uint8))
    (contour,), _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return ((contour[:, 0] + 0.5) / 4).tolist()


def write_coco(path: Path, labels: dict[Path, Polygons], rle: str = "") -> None:
    """Write COCO; ``rle`` is ``compressed``, ``plain`` or nothing, for polygons."""
    names = sorted({name for polygons in labels.values() for name in polygons}, reverse=True)
    images, annotations = [], []
    for i, (image, polygons) in enumerate(labels.items(), 7):
        images.append({"id": i, "file_name": image.name, "height": SHAPE[0], "width": SHAPE[1]})
        for name, outline in polygons.items():
            segmentation: object = [[x for point in outline_of(outline) for x in point]]
            if rle:
                segmentation = _rle(mask_of(outline), rle == "compressed")
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": i,
                    "category_id": 3 + names.index(name),
                    "segmentation": segmentation,
                }
            )
    categories = [{"id": 3 + k, "name": name} for k, name in enumerate(names)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))


def _rle(mask: np.ndarray, compressed: bool) -> dict[str, object]:
    if compressed:
        from pycocotools import mask as coco_mask

        found = coco_mask.encode(np.asfortranarray(mask))
        return {"size": list(SHAPE), "counts": found["counts"].decode()}
    counts, last = [0], 0
    for x in range(SHAPE[1]):
        for y in range(SHAPE[0]):
            if mask[y, x] != last:
                counts.append(0)
                last = mask[y, x]
            counts[-1] += 1
    return {"size": list(SHAPE), "counts": counts}


def write_labelme(folder: Path, images: Path, labels: dict[Path, Polygons]) -> None:
    """Write a LabelMe file for each image, in folders as the images are."""
    for image, polygons in labels.items():
        shapes = [
            {"label": name, "points": outline_of(outline), "shape_type": "polygon"}
            for name, outline in polygons.items()
        ]
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"..\\images\\{image.name}",
            "imageData": None,
            "imageHeight": SHAPE[0],
            "imageWidth": SHAPE[1],
        }
        path = (folder / image.relative_to(images)).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


def write_masks(folder: Path, labels: dict[Path, Polygons], by_bone: bool = False) -> None:
    """Write a PNG for each image and bone, values 0 and 255."""
    for image, polygons in labels.items():
        for name, outline in polygons.items():
            path = folder / name / f"{image.stem}.png" if by_bone else folder / image.stem / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), mask_of(outline) * 255)


def flat_map(polygons: Polygons) -> np.ndarray:
    """uint8 (H, W): 1 + index of the bone that was drawn last."""
    classes = np.zeros(SHAPE, np.uint8)
    for name, outline in polygons.items():
        classes[mask_of(outline) > 0] = 1 + INDEX[name]
    return classes


CLASS_MAP = {str(1 + k): name for k, name in enumerate(NAMES)}
