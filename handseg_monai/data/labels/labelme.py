"""LabelMe JSON, one file an image."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from handseg_monai.data.items import Faults, LabelError
from handseg_monai.data.labels.classes import Classes, Meaning, resolve
from handseg_monai.data.labels.json_file import read_json
from handseg_monai.data.labels.label import Label, Missing, require_stated_size
from handseg_monai.data.labels.named_images import Images
from handseg_monai.data.labels.pixels import decode_pixels, mask_of
from handseg_monai.data.labels.polygons import (
    Box,
    corners,
    fill_centres,
    fill_labelme,
    pairs,
    require_drawn,
    require_inside,
    require_pixels,
)
from handseg_monai.data.reading.png import SIGNATURE
from handseg_monai.files import find_files

_NO_AREA = "line", "linestrip", "point", "points"
_POLYGONS = None, "polygon", "oriented_rectangle"
"""Values of ``shape_type``; files of the first versions have none."""
_BOX_SLACK = 2
"""Pixels by which a mask may differ from a box whose corners are no whole numbers, or lie outside the image."""


def read_labelme(
    source: Path, images: Images, given: Mapping[str, Meaning], missing: Missing, pixel_centres: bool = False
) -> list[Label]:
    """Read a folder of LabelMe files; for the parameters see :func:`handseg_monai.data.labels.convert`.

    A file belongs to the image of its own path below ``source``; where there is none, or several that differ in their
    suffix, to its ``imagePath``.

    Raises
    ------
    LabelError
        Files that are not of LabelMe, hold classes that nobody has mapped, or have no image. All of them are listed.
    """
    files = find_files(source, ".json") if source.is_dir() else [source]
    if not files:
        raise LabelError(f"{source}: no *.json in it or below; expected LabelMe files")
    contents: dict[Path, dict[str, Any]] = {}
    faults = Faults()
    for path in files:
        with faults.of():
            contents[path] = _read(path)
    faults.stop()
    classes = resolve({s["label"] for content in contents.values() for s in content["shapes"]}, given, source)
    anywhere = classes.known(classes.bone_of)
    labels = []
    for path, content in contents.items():
        own = path.relative_to(source).with_suffix("").as_posix() if path != source else path.stem
        stated = str(content.get("imagePath") or own)
        present = classes.known(shape["label"] for shape in content["shapes"])
        known = anywhere if present and missing == "absent" else present
        with faults.of(path):
            image = images.find(own if images.has(own) else stated, stated)
            _require_one_image(content, image, images)
            labels.append(Label(image, str(path), known, partial(_draw, content, classes, pixel_centres), upright=True))
    faults.stop()
    return labels


def _require_one_image(content: dict[str, Any], image: Path, images: Images) -> None:
    """Refuse a file named after one image whose ``imagePath`` is another one; one that is not there may be outdated."""
    try:
        stated = images.find(str(content.get("imagePath") or ""))
    except ValueError:
        return
    if stated != image:
        raise ValueError(
            f"named after {image}, but its 'imagePath' is {stated}; rename the file or correct 'imagePath'"
        )


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list):
        raise LabelError(f"{path}: no list 'shapes'; expected a LabelMe file")
    for number, shape in enumerate(shapes, 1):
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            raise LabelError(f"{path}: shape {number}: no text 'label'")
    return dict(content)


def _draw(content: dict[str, Any], classes: Classes, pixel_centres: bool, shape: tuple[int, int]) -> np.ndarray:
    require_stated_size((content.get("imageHeight"), content.get("imageWidth")), shape)
    _require_picture(content.get("imageData"), shape)
    entries = [(n, entry) for n, entry in enumerate(content["shapes"], 1) if entry["label"] in classes.bone_of]
    faults = Faults()
    points: dict[int, np.ndarray] = {}
    for number, entry in entries:
        with faults.of(f"shape {number}, {entry['label']}"):
            points[number] = _points(entry)
    faults.stop_in_one()
    outlines = [(entry["label"], points[n]) for n, entry in entries if entry.get("shape_type") != "mask"]
    require_pixels(outlines, shape)
    planes = np.zeros(shape, np.int32)
    for number, entry in entries:
        with faults.of(f"shape {number}, {entry['label']}"):
            box, inside = _filled(entry, points[number], pixel_centres, shape)
            planes[box] |= inside.astype(np.int32) << np.int32(classes.bone_of[entry["label"]])
    faults.stop_in_one()
    require_drawn(planes, [(entry["label"], classes.bone_of[entry["label"]]) for _, entry in entries])
    return planes


def _require_picture(data: object, shape: tuple[int, int]) -> None:
    """Raise ``ValueError`` where a file holds a picture of another size, which is the one that was drawn on."""
    if not isinstance(data, str) or not data:
        return
    try:
        with Image.open(BytesIO(base64.b64decode(data))) as picture:
            size = (picture.height, picture.width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return  # what it shows nobody can tell, and the size that the file states counts
    if size != shape:
        raise ValueError(
            f"'imageData' is a picture of {size[1]} x {size[0]} pixels, the image has {shape[1]} x {shape[0]}; "
            "expected the image that was drawn on"
        )


def _points(entry: dict[str, Any]) -> np.ndarray:
    """Points of a shape, as many as its type has, float64 (N, 2)."""
    kind = entry.get("shape_type")
    if kind in _POLYGONS:
        return corners(entry.get("points"))
    if kind in _NO_AREA:
        raise ValueError(f"shape_type {kind!r} encloses nothing; expected polygon, rectangle, circle or mask")
    if kind not in ("rectangle", "circle", "mask"):
        raise ValueError(f"shape_type {kind!r}; expected polygon, rectangle, circle or mask")
    points = pairs(entry.get("points"))
    if len(points) != 2 and not (kind == "rectangle" and len(points) == 4):
        wanted = {"rectangle": "two opposite corners", "circle": "the centre and a point of the rim"}
        raise ValueError(
            f"{kind} of {len(points)} points; expected {wanted.get(str(kind), 'the two corners of its box')}"
        )
    return points


def _filled(
    entry: dict[str, Any], points: np.ndarray, pixel_centres: bool, shape: tuple[int, int]
) -> tuple[Box, np.ndarray]:
    """Fill a shape as LabelMe does; see :data:`~handseg_monai.data.labels.polygons.Fill`."""
    kind = entry.get("shape_type")
    if kind == "mask":
        return _pasted(entry, points, shape)
    if kind in _POLYGONS or len(points) == 4:
        return (fill_centres if pixel_centres else fill_labelme)(points, shape)
    if kind == "circle":
        radius = float(np.hypot(*(points[1] - points[0])))
        points = np.stack([points[0] - radius, points[0] + radius])
    require_inside(points, shape)
    ends = (np.rint if pixel_centres else np.trunc)(points)
    ends = np.stack([ends.min(axis=0), ends.max(axis=0)]).astype(int)
    if kind == "circle":
        picture = Image.new("L", shape[::-1])
        ImageDraw.Draw(picture).ellipse([tuple(end) for end in ends.tolist()], outline=1, fill=1)
        return (slice(None), slice(None)), np.asarray(picture)
    (left, top), (right, bottom) = np.clip(ends, 0, np.array(shape[::-1]) - 1).tolist()
    return (slice(top, bottom + 1), slice(left, right + 1)), np.ones((bottom - top + 1, right - left + 1), np.uint8)


def _pasted(entry: dict[str, Any], points: np.ndarray, shape: tuple[int, int]) -> tuple[Box, np.ndarray]:
    """Place a mask, a PNG in base64, at the first of two corner pixels; LabelMe rounds what is no whole number."""
    text = entry.get("mask")
    try:
        data = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except binascii.Error:
        data = b""
    if not data.startswith(SIGNATURE):
        raise ValueError("'mask' holds no PNG in base64")
    whole = bool((points == np.rint(points)).all())
    (left, top), (right, bottom) = np.rint(points).astype(int).tolist()
    across, down = right - left + 1, bottom - top + 1

    def require_box(size: tuple[int, int]) -> None:
        if max(abs(across - size[1]), abs(down - size[0])) > (0 if whole else _BOX_SLACK):
            raise ValueError(f"a mask of {size[1]} x {size[0]} pixels in a box of {across} x {down}")

    mask = mask_of(decode_pixels(data, "mask", require_box))
    height, width = mask.shape
    right, bottom = left + width, top + height
    if max(-left, -top, right - shape[1], bottom - shape[0]) > (0 if whole else _BOX_SLACK):
        raise ValueError(f"the box of a mask, ({left}, {top}) to ({right - 1}, {bottom - 1}), reaches beyond the image")
    rows, columns = slice(max(top, 0), min(bottom, shape[0])), slice(max(left, 0), min(right, shape[1]))
    inside = mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return (rows, columns), inside.astype(np.uint8)
