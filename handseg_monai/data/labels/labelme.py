"""LabelMe JSON, one file an image."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from handseg_monai.bitplanes import rasterise
from handseg_monai.data.items import Faults, LabelError
from handseg_monai.data.labels.classes import Classes, Meaning, resolve
from handseg_monai.data.labels.json_file import read_json
from handseg_monai.data.labels.label import Label, Missing, require_stated_size
from handseg_monai.data.labels.named_images import Images
from handseg_monai.data.labels.pixels import decode_pixels, mask_of
from handseg_monai.data.labels.polygons import polygon
from handseg_monai.data.reading.png import SIGNATURE
from handseg_monai.files import find_files


def read_labelme(source: Path, images: Images, given: Mapping[str, Meaning], missing: Missing) -> list[Label]:
    """Read a folder of LabelMe files; for the parameters see :func:`handseg_monai.data.labels.convert`.

    A file belongs to the image of its own path below ``source``, or else to its ``imagePath``.

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
        name = own if images.has(own) else str(content.get("imagePath") or own)
        present = classes.known(shape["label"] for shape in content["shapes"])
        known = anywhere if present and missing == "absent" else present
        with faults.of(path):
            image = images.find(name)
            _require_one_image(content, image, images)
            labels.append(Label(image, str(path), known, partial(_draw, content, classes)))
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


def _draw(content: dict[str, Any], classes: Classes, shape: tuple[int, int]) -> np.ndarray:
    require_stated_size((content.get("imageHeight"), content.get("imageWidth")), shape)
    polygons = []
    masks = np.zeros(shape, np.int32)
    for number, entry in enumerate(content["shapes"], 1):
        if entry["label"] not in classes.bone_of:
            continue
        bone = classes.bone_of[entry["label"]]
        try:
            if (kind := entry.get("shape_type", "polygon")) == "polygon":
                polygons.append((bone, polygon(entry.get("points"), shape)))
            elif kind == "mask":
                _paste(masks, bone, entry)
            else:
                raise ValueError(f"shape_type {kind!r}; expected polygon or mask")
        except ValueError as error:
            raise ValueError(f"shape {number}, {entry['label']}: {error}") from error
    return masks | rasterise(polygons, shape)


def _paste(planes: np.ndarray, bone: int, entry: dict[str, Any]) -> None:
    """Draw a shape that is a mask: a PNG in base64, which fills the box between two corner pixels."""
    points, text = entry.get("points"), entry.get("mask")
    try:
        (left, top), (right, bottom) = ((round(float(n)) for n in corner) for corner in points or ())
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a mask needs the two corners of its box in 'points'") from None
    if not (0 <= left <= right < planes.shape[1] and 0 <= top <= bottom < planes.shape[0]):
        raise ValueError(f"the box of a mask, ({left}, {top}) to ({right}, {bottom}), reaches beyond the image")
    box = (bottom - top + 1, right - left + 1)
    try:
        data = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except binascii.Error:
        data = b""
    if not data.startswith(SIGNATURE):
        raise ValueError("'mask' holds no PNG in base64")
    mask = mask_of(decode_pixels(data, "mask", partial(_require_box, box=box)))
    planes[top : bottom + 1, left : right + 1] |= mask.astype(np.int32) << np.int32(bone)


def _require_box(shape: tuple[int, int], box: tuple[int, int]) -> None:
    if shape != box:
        raise ValueError(f"a mask of {shape[1]} x {shape[0]} pixels in a box of {box[1]} x {box[0]}")
