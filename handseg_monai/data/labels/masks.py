"""A folder of per-bone masks: a file for each image and bone, or a stack for each image, as RAM-W600 has them."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from handseg_monai.data.items import Faults, LabelError
from handseg_monai.data.labels.classes import Classes, Meaning, resolve
from handseg_monai.data.labels.label import Label, Missing
from handseg_monai.data.labels.named_images import Images
from handseg_monai.data.labels.pixels import (
    PIXEL_SUFFIXES,
    count_channels,
    mask_of,
    read_channel,
    read_fitting,
    stem_of,
)
from handseg_monai.data.reading.images import image_size
from handseg_monai.files import find_files

_PLACES = "masks lie in <image>/<class>.png or <class>/<image>.png"
Mask = tuple[Path, int | None]
"""A file, and the channel of it where it is a stack."""


def read_masks(
    source: Path, images: Images, given: Mapping[str, Meaning], missing: Missing, rows_first: bool = False
) -> list[Label]:
    """Read per-bone masks; for the parameters see :func:`handseg_monai.data.labels.convert`.

    ``SOURCE/<image>/<class>.png``, ``SOURCE/<class>/<image>.png`` (either order, other formats too), or
    ``SOURCE/<image>.npy``, (C, H, W), whose classes are the channels' numbers, ``"0"``, ``"1"``, …
    ``rows_first``: see :func:`~handseg_monai.data.labels.pixels.read_pixels`.

    Raises
    ------
    LabelError
        Files that belong to no image, or to no class, or two to one image and class. All of them are listed.
    """
    if not source.is_dir():
        raise LabelError(f"{source}: no such folder; {_PLACES}")
    of_image: dict[Path, list[tuple[str, Mask]]] = defaultdict(list)
    faults = Faults()
    for path in find_files(source):
        with faults.of(path):
            _sort(path, path.relative_to(source), images, of_image)
    faults += _twice(source, of_image)
    faults.stop()
    if not of_image:
        raise LabelError(f"{source}: no masks; {_PLACES}")
    classes = resolve({name for masks in of_image.values() for name, _ in masks}, given, source)
    anywhere = classes.known(classes.bone_of)
    labels = []
    for image, masks in of_image.items():
        here = classes.known(name for name, _ in masks)
        drawn = [(name, mask) for name, mask in masks if name in classes.bone_of]
        known = anywhere if here and missing == "absent" else here
        labels.append(Label(image, str(masks[0][1][0].parent), known, partial(_draw, drawn, classes, rows_first)))
    return labels


def _twice(source: Path, of_image: Mapping[Path, list[tuple[str, Mask]]]) -> Iterator[str]:
    """Say which masks of an image are of one class; of a folder above those of the classes once."""
    folders: set[str] = set()
    for image, masks in of_image.items():
        seen: dict[str, Path] = {}
        for name, (path, _) in masks:
            if (other := seen.setdefault(name.lower(), path)) == path or name in folders:
                continue
            text = f"{image}: two masks of {name}, {other} and {path}; expected one"
            if path.parent != other.parent and {path.parent.parent, other.parent.parent} == {source / name}:
                folders.add(name)
                classes = f"{other.parent.name} and {path.parent.name}"
                text += f". {_PLACES[0].upper()}{_PLACES[1:]}: if {classes} are classes, convert {source / name}"
            yield text


def _sort(path: Path, relative: Path, images: Images, of_image: dict[Path, list[tuple[str, Mask]]]) -> None:
    """File one mask under its image, as the class that a folder or the file is named after."""
    if not relative.name.lower().endswith(PIXEL_SUFFIXES):
        raise ValueError(f"not a mask; expected {', '.join(PIXEL_SUFFIXES)}")
    stem = stem_of(relative)
    if relative.name.lower().endswith(".npy"):
        image = images.find((relative.parent / stem).as_posix())
        channels = count_channels(path, image_size(image, sys.maxsize))
        of_image[image] += [(str(k), (path, k)) for k in range(channels)]
        return
    if relative.parent == Path():
        raise ValueError(f"not in a folder of an image or a class; {_PLACES}, or all of an image in <image>.npy")
    parent = relative.parent.as_posix()
    first, _, rest = relative.as_posix().partition("/")
    below = (Path(rest).parent / stem).as_posix()
    if images.has(parent) and not images.has(below):
        of_image[images.find(parent)].append((stem, (path, None)))
    elif images.has(below):
        of_image[images.find(below)].append((first, (path, None)))
    else:
        raise ValueError(f"no image {parent!r} or {below!r} in {images.folder}; {_PLACES}")


def _draw(masks: list[tuple[str, Mask]], classes: Classes, rows_first: bool, shape: tuple[int, int]) -> np.ndarray:
    planes = np.zeros(shape, np.int32)
    for name, (path, channel) in masks:
        try:
            if channel is None:
                mask = mask_of(read_fitting(path, shape, "mask", rows_first))
            else:
                mask = mask_of(read_channel(path, channel, shape))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path.name}: {error}") from error
        planes |= mask.astype(np.int32) << np.int32(classes.bone_of[name])
    return planes
