"""COCO annotations, polygons and run-lengths, as RAM-H1200 and most tools write them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from handseg_monai.data.items import Faults, LabelError
from handseg_monai.data.labels.classes import Classes, Meaning, resolve
from handseg_monai.data.labels.json_file import read_json
from handseg_monai.data.labels.label import Label, Missing, require_size, require_stated_size
from handseg_monai.data.labels.named_images import Images
from handseg_monai.data.labels.polygons import Fill, corners, fill_centres, fill_coco, require_drawn, require_pixels
from handseg_monai.files import find_files

_SLACK, _SHARE = 3, 0.1
"""Pixels of a box's side, and share of it or of an area, by which a stated one may differ from what was drawn."""


def read_coco(
    source: Path, images: Images, given: Mapping[str, Meaning], missing: Missing, pixel_centres: bool = False
) -> list[Label]:
    """Read COCO annotations; for the parameters see :func:`handseg_monai.data.labels.convert`.

    ``source`` is a JSON file, or a folder of them (parts of a data set, each with its own categories).

    Raises
    ------
    LabelError
        A file that is no COCO file, an annotation without its image or category, or an image that is not there. All
        of them are listed.
    """
    files = [p for p in find_files(source, ".json") if p.parent == source] if source.is_dir() else [source]
    if not files:
        raise LabelError(f"{source}: no *.json in it; expected COCO annotations")
    contents = {path: _read(path) for path in files}
    names = {str(c["name"]) for content in contents.values() for c in content["categories"]}
    classes = resolve(names, given, source)
    faults = Faults()
    labels = [
        label
        for path, content in contents.items()
        for label in _labels_of(path, content, classes, images, missing, faults, pixel_centres)
    ]
    faults.stop()
    return labels


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    for part, keys in (
        ("images", ("id", "file_name")),
        ("categories", ("id", "name")),
        ("annotations", ("image_id", "category_id")),
    ):
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise LabelError(f"{path}: no list {part!r}; expected COCO annotations")
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict) or not all(key in entry for key in keys):
                raise LabelError(f"{path}: {part}, entry {number}: expected an object with {', '.join(keys)}")
        times = Counter(_key(entry["id"]) for entry in entries if part != "annotations")
        if twice := [id for id, count in times.items() if count > 1]:
            raise LabelError(f"{path}: {part}: id {twice[0]} comes twice")
    return dict(content)


def _key(id: object) -> str:
    """Return an id as a text; pandas writes numbers of a column with gaps as 7.0."""
    return str(int(id) if isinstance(id, float) and id.is_integer() else id)


def _labels_of(
    path: Path,
    content: dict[str, Any],
    classes: Classes,
    images: Images,
    missing: Missing,
    faults: Faults,
    pixel_centres: bool,
) -> Iterator[Label]:
    name_of = {_key(category["id"]): str(category["name"]) for category in content["categories"]}
    file_of = {_key(image["id"]): str(image["file_name"]) for image in content["images"]}
    shapes: dict[str, list[tuple[int, str, dict[str, Any]]]] = defaultdict(list)
    for number, annotation in enumerate(content["annotations"], 1):
        image, category = _key(annotation["image_id"]), _key(annotation["category_id"])
        if image not in file_of or category not in name_of:
            what = f"image {image}" if image not in file_of else f"category {category}"
            faults.append(f"{path}: annotation {number}: {what} is not in the file")
        elif name_of[category] in classes.bone_of:
            shapes[image].append((number, name_of[category], annotation))
    for image in content["images"]:
        of_image = shapes[_key(image["id"])]
        present = classes.known(name for _, name, _ in of_image)
        known = classes.known(name_of.values()) if present and missing == "absent" else present
        size = (image.get("height"), image.get("width"))
        with faults.of(path):
            found = images.find(str(image["file_name"]))
            draw = partial(_draw, of_image, classes, size, fill_centres if pixel_centres else fill_coco)
            yield Label(found, f"{path}, image {image['file_name']}", known, draw)


def _draw(
    shapes: list[tuple[int, str, dict[str, Any]]],
    classes: Classes,
    size: tuple[object, object],
    fill: Fill,
    shape: tuple[int, int],
) -> np.ndarray:
    require_stated_size(size, shape)
    rings: dict[int, list[np.ndarray]] = {}
    faults = Faults()
    for number, name, annotation in shapes:
        if not isinstance(annotation.get("segmentation"), dict):
            with faults.of(f"annotation {number}, {name}"):
                rings[number] = _rings(annotation.get("segmentation"))
    faults.stop_in_one()
    require_pixels([(name, ring) for number, name, _ in shapes for ring in rings.get(number, [])], shape)
    planes = np.zeros(shape, np.int32)
    for number, name, annotation in shapes:
        with faults.of(f"annotation {number}, {name}"):
            if number in rings:
                mask = np.zeros(shape, np.uint8)
                for ring in rings[number]:
                    box, inside = fill(ring, shape)
                    mask[box] |= inside
            else:
                mask = decode_rle(annotation["segmentation"], shape).astype(np.uint8)
            left, top, width, height = cv2.boundingRect(mask)
            inside = mask[top : top + height, left : left + width]
            _require_stated(annotation, (left, top, width, height), int(inside.sum()))
            planes[top : top + height, left : left + width] |= inside.astype(np.int32) << np.int32(
                classes.bone_of[name]
            )
    faults.stop_in_one()
    require_drawn(planes, [(name, classes.bone_of[name]) for _, name, _ in shapes])
    return planes


def _require_stated(annotation: dict[str, Any], box: tuple[int, int, int, int], area: int) -> None:
    """Raise ``ValueError`` where an annotation states another area or box than was drawn.

    Tools that know no area state that of the box, or 0.
    """
    left, top, width, height = box
    stated = annotation.get("area")
    if isinstance(stated, int | float) and stated > 0:
        slack = _SHARE * area + width + height
        if min(abs(stated - area), abs(stated - width * height)) > slack:
            raise ValueError(f"'area' is {stated:g}, but the segmentation covers {area} pixels; correct one of them")
    given = annotation.get("bbox")
    if isinstance(given, list) and len(given) == 4 and all(isinstance(n, int | float) for n in given) and any(given):
        x, y, across, down = given
        ends = (x, left, width), (y, top, height), (x + across, left + width, width), (y + down, top + height, height)
        if any(abs(said - drawn) > _SLACK + _SHARE * side for said, drawn, side in ends):
            raise ValueError(
                f"'bbox' is {', '.join(f'{n:g}' for n in given)}, but the segmentation lies in {left}, {top}, {width}, "
                f"{height} (x, y, width, height); correct one of them"
            )


def _rings(segmentation: object) -> list[np.ndarray]:
    """Rings of a segmentation, each [x1, y1, x2, y2, …], as corners, float64 (N, 2)."""
    if not segmentation:
        raise ValueError("'segmentation' is empty; expected polygons or a run-length")
    if not isinstance(segmentation, list):
        raise ValueError(f"'segmentation' is {type(segmentation).__name__}; expected polygons or a run-length")
    if all(isinstance(n, int | float) for n in segmentation):
        segmentation = [segmentation]  # one ring, not in a list
    for ring in segmentation:
        if not isinstance(ring, list) or len(ring) % 2:
            raise ValueError("a polygon is not a list of x, y, x, y, …")
    return [corners([ring[i : i + 2] for i in range(0, len(ring), 2)]) for ring in segmentation]


def decode_rle(segmentation: Mapping[str, object], shape: tuple[int, int]) -> np.ndarray:
    """Decode a COCO run-length, runs of 0 and 1 in turn down the columns, to a boolean mask of ``shape``.

    It holds ``size``, [height, width], and ``counts``, a list of numbers or COCO's compressed text.

    Raises ``ValueError`` for another size than the image's, or counts that don't make it up.

    (``pycocotools`` gives the same for what is whole. Runs that end too early it fills up with whatever is in memory.)
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(n, int) for n in size):
        raise ValueError(f"a run-length of size {size!r}; expected [height, width]")
    require_size(tuple(size), shape)
    if isinstance(counts, str):
        counts = _counts(counts)
    if not isinstance(counts, list) or not all(isinstance(n, int) and n >= 0 for n in counts):
        raise ValueError("'counts' of a run-length: expected whole numbers, at least 0")
    if sum(counts) != shape[0] * shape[1]:
        raise ValueError(f"a run-length of {sum(counts)} pixels; expected {shape[0] * shape[1]}")
    turns = np.arange(len(counts)) % 2 == 1
    return np.repeat(turns, np.array(counts, np.int64)).reshape(shape[::-1]).T


def _counts(text: str) -> list[int]:
    """Numbers of COCO's compressed text: groups of 5 bits, lowest first; from the fourth on less the last but one.

    A character, less 48, holds 5 bits; 32 says that another follows, 16 in the last one is the sign.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 35:
            raise ValueError(f"a compressed run-length holds {character!r} in the wrong place")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("a compressed run-length is cut short")
    return counts
