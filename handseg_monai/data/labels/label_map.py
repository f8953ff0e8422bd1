"""Label maps, one class a pixel: PNG, TIFF, BMP or NIfTI with a class map. Overlaps are lost in them already."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from handseg_monai.data.items import Faults, LabelError
from handseg_monai.data.labels.classes import Classes, Meaning, resolve
from handseg_monai.data.labels.label import Label, Missing
from handseg_monai.data.labels.named_images import Images
from handseg_monai.data.labels.pixels import LABEL_SUFFIXES, read_fitting, read_pixels, stem_of
from handseg_monai.files import find_files


def read_label_maps(
    source: Path, images: Images, given: Mapping[str, Meaning], missing: Missing, rows_first: bool = False
) -> list[Label]:
    """Read label maps; for the parameters see :func:`handseg_monai.data.labels.convert`.

    ``SOURCE/<image>.png`` (or another format, in folders as the images are). ``given`` names each value, ``"7"``, but
    for 0, which is no class. ``rows_first``: see :func:`~handseg_monai.data.labels.pixels.read_pixels`.

    Raises
    ------
    LabelError
        No class map, a key of it that is not a number, or files without an image. The message lists all of them.
    """
    if not given:
        raise LabelError(f'{source}: label maps need --classes, for example {{"1": "Radius", "2": "Ulna"}}')
    if wrong := [name for name in given if not re.fullmatch("[1-9][0-9]*", name)]:
        raise LabelError(f"{source}: class {wrong[0]!r} of --classes; expected the numbers of a label map, 1, 2, …")
    files = find_files(source) if source.is_dir() else []
    if not files:
        raise LabelError(f"{source}: no label maps in it; looked for {', '.join(LABEL_SUFFIXES)}")
    classes = resolve(given, given, source)
    labels = []
    faults = Faults()
    for path in files:
        with faults.of(path):
            if not path.name.lower().endswith(LABEL_SUFFIXES):
                raise ValueError(f"not a label map; expected {', '.join(LABEL_SUFFIXES)}")
            image = images.find((path.relative_to(source).parent / stem_of(path)).as_posix())
            known = classes.known(given)
            if missing == "unknown":
                known = classes.known(str(value) for value in np.unique(read_pixels(path, "label map", rows_first)))
            draw = partial(_draw, path, classes, frozenset(given), rows_first)
            labels.append(Label(image, str(path), known, draw))
    faults.stop()
    return labels


def _draw(path: Path, classes: Classes, given: frozenset[str], rows_first: bool, shape: tuple[int, int]) -> np.ndarray:
    pixels = read_fitting(path, shape, "label map", rows_first, given)
    planes = np.zeros(shape, np.int32)
    for value in np.unique(pixels):
        if value == 0:
            continue
        if str(value) not in given:
            raise ValueError(f"value {value} is not in --classes; give it a bone, a list of bones or null")
        if str(value) in classes.bone_of:
            planes[pixels == value] = np.int32(1 << classes.bone_of[str(value)])
    return planes
