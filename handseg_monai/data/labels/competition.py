"""The competition's layout on disk -> MONAI datalists, and its JSON labels -> polygons.

::

    DATA/train/DCM/IDxxx/<name>.png            a folder is a person and holds both hands
    DATA/train/outputs_json/IDxxx/<name>.json  polygons in pixels of the PNG
    DATA/test/DCM/IDxxx/<name>.png             labels, where there are any, in test/outputs_json
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from handseg_monai.bitplanes import Polygon
from handseg_monai.bones import INDEX, NAMES
from handseg_monai.data.items import Item, LabelError
from handseg_monai.data.labels.json_file import kind_of, read_json
from handseg_monai.data.labels.polygons import polygon, require_pixels
from handseg_monai.data.reading.images import find_images, without_suffix
from handseg_monai.files import find_files, nfc


def find_splits(dataset_dir: str | Path) -> dict[str, Path]:
    """Find the splits of a dataset: ``train`` and ``test`` of a root, or the folder itself if it holds ``DCM``."""
    root = Path(dataset_dir)
    if (root / "DCM").is_dir():
        return {root.name: root}
    return {name: root / name for name in ("train", "test") if (root / name / "DCM").is_dir()}


def labelled_items(split: str | Path, excluded: Collection[Path] = ()) -> tuple[list[Item], list[str]]:
    """Pair the images of a split (``DCM``) with their labels (``outputs_json``) by relative path without suffix.

    Returns an item for each image that has a label, sorted by path, and a sentence for each image without a label and
    each label without an image. Images that are ``excluded`` (:func:`~handseg_monai.data.exclude.read_exclude`) are
    left out with their labels, and so are labels.
    """
    images_dir, labels_dir = Path(split, "DCM"), Path(split, "outputs_json")
    labels = {
        _key(path.relative_to(labels_dir).with_suffix("")): path
        for path in (find_files(labels_dir, ".json") if labels_dir.is_dir() else [])
        if path not in excluded
    }
    items: list[Item] = []
    faults = []
    for image in find_images(images_dir):
        key = _key(without_suffix(str(image.relative_to(images_dir))))
        label = labels.pop(key, None)
        if image in excluded:
            continue
        if label is None:
            faults.append(f"{image}: no label; looked for {labels_dir / key}.json")
            continue
        if len(key.parts) < 2:
            faults.append(f"{image}: no folder of a subject; expected {images_dir}/<subject>/{image.name}")
            continue
        subject = key.parts[0]
        items.append(Item(image=str(image), name=nfc(image.name), label=str(label), subject=subject))
    faults += [f"{label}: no image; looked for {images_dir / key}.*" for key, label in labels.items()]
    return items, faults


def _key(name: str | Path) -> Path:
    return Path(nfc(str(name)))


def read_polygons(path: str | Path, shape: tuple[int, int]) -> list[tuple[int, Polygon]]:
    """Read the polygons of a JSON file of the competition, in pixels of its PNG of ``shape`` (height, width).

    The size in its ``metadata`` is ignored. Returns pairs of bone index and points, int32 (N, 2), x and y. A bone may
    come several times: the union counts.

    Raises
    ------
    LabelError
        No such file, not JSON, an unknown bone, or points that are no :func:`polygon` of the image. All faults of the
        file are in the message.
    """
    path = Path(path)
    content = read_json(path)
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise LabelError(f"{path}: no list 'annotations'")
    polygons = []
    faults = []
    for number, annotation in enumerate(annotations, 1):
        try:
            polygons.append(_polygon(annotation, shape))
        except ValueError as error:
            faults.append(f"annotation {number}: {error}")
    if faults:
        raise LabelError(f"{path}: {'; '.join(faults)}")
    return polygons


def read_checked(path: str | Path, shape: tuple[int, int]) -> list[tuple[int, Polygon]]:
    """Read polygons as :func:`read_polygons` does; shares of the image's size or percent are a fault too."""
    polygons = read_polygons(path, shape)
    try:
        require_pixels([(NAMES[bone], points) for bone, points in polygons], shape)
    except ValueError as error:
        raise LabelError(f"{path}: {error}") from error
    return polygons


def _polygon(annotation: object, shape: tuple[int, int]) -> tuple[int, Polygon]:
    if not isinstance(annotation, dict):
        raise ValueError(f"expected an object, got {kind_of(annotation)}")
    label = annotation.get("label")
    if not isinstance(label, str) or label not in INDEX:
        raise ValueError(f"unknown bone {label!r}")
    try:
        return INDEX[label], polygon(annotation.get("points"), shape)
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from error
