"""Labels of any form -> the form that training reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from handseg_monai.bitplanes import areas
from handseg_monai.bones import FLAT, NUM_BONES
from handseg_monai.data.items import Item, LabelError
from handseg_monai.data.label_fit import counted_from_0
from handseg_monai.data.labels.classes import Meaning, class_map
from handseg_monai.data.labels.coco import read_coco
from handseg_monai.data.labels.converted import DATALIST, write_datalist, write_planes
from handseg_monai.data.labels.drawn import Orientation, draw
from handseg_monai.data.labels.flat import OverlapCount
from handseg_monai.data.labels.label import Label, Missing
from handseg_monai.data.labels.label_map import read_label_maps
from handseg_monai.data.labels.labelme import read_labelme
from handseg_monai.data.labels.masks import read_masks
from handseg_monai.data.labels.named_images import Images, Subjects
from handseg_monai.data.labels.submission import read_submission
from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.patients import say_parted
from handseg_monai.files import atomic_folder, nfc, with_ending
from handseg_monai.words import counted

Form = Literal["coco", "labelme", "masks", "labelmap", "submission"]
Adapter = Callable[[Path, Images, dict[str, Meaning], Missing], list[Label]]
ADAPTERS: dict[Form, tuple[Adapter, Missing]] = {
    "coco": (read_coco, "absent"),
    "labelme": (read_labelme, "absent"),
    "masks": (read_masks, "unknown"),
    "labelmap": (read_label_maps, "absent"),
    "submission": (read_submission, "unknown"),
}
"""Of each form, what reads it, and what a bone is that other images of the source have and this one has not."""


@dataclass(frozen=True)
class Conversion:
    """What was converted."""

    items: list[Item]
    """Datalist, paths absolute."""
    areas: np.ndarray
    """Of each image and bone in pixels, int64 (N, 29)."""
    unlabelled: list[Path]
    """Images that the conversion left out because the source holds no label for them, or shows no bone in them."""
    unmentioned: list[Path]
    """Images of the folder that the source does not name."""
    flat: bool = False
    """Whether no bones overlap in the source, though they do on radiographs; each item's ``known`` says so too."""


def convert(
    form: Form,
    source: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    classes: str | Path | None = None,
    ignore: Collection[str] = (),
    missing: Missing | None = None,
    subject: str | None = None,
    subjects: str | Path | None = None,
    relative_names: bool = False,
    skip_unlabelled: bool = False,
    rows_first: bool = False,
    pixel_centres: bool = False,
    orientation: Orientation | None = None,
    small_bones: bool = False,
    confidence: str | Path | None = None,
    least: float = 0.9,
    leave_out: Collection[str] = (),
    max_pixels: int = MAX_PIXELS,
    progress: bool = True,
) -> Conversion:
    """Convert labels to bit planes beside a datalist; images stay where they are.

    Parameters
    ----------
    form
        Of the labels; see the modules of this package.
    source
        File or folder of the labels.
    images
        Folder of the radiographs, searched to any depth.
    out
        Folder to write: ``datalist.json`` and ``labels``. It appears when it is complete.
    classes
        Class map; see :func:`~handseg_monai.data.labels.classes.read_classes`.
    ignore
        Further classes that are not bones.
    missing
        What a bone is that the source labels in other images, and not in this one: ``absent``, which teaches that it
        is not there, or ``unknown``. None takes that of the form (:data:`ADAPTERS`).
    subject, subjects
        See :class:`~handseg_monai.data.labels.named_images.Subjects`.
    relative_names
        Name images by their path below ``images`` rather than by base name.
    skip_unlabelled
        Leave out images for which the source holds no label, or shows no bone, instead of stopping. Those of a
        submission in which no bone was found are always left out.
    rows_first
        Of NIfTI, label maps or masks: the first axis counts rows.
    pixel_centres
        Of COCO and LabelMe: coordinates count pixels' centres, not their edges; outlines are filled as the
        competition's (:mod:`~handseg_monai.data.labels.polygons`).
    orientation
        What labels lie on where an image states an EXIF or TIFF orientation: the image as viewers show it
        (``upright``), or its pixels as ``stored``. None goes by form and size, or stops where they don't tell.
    small_bones
        Accept bones however small, such as dots in a young child's wrist
        (:func:`~handseg_monai.data.labels.drawn.size_faults`).
    confidence, least
        Of a submission: file that inference wrote beside it, and the confidence from which a bone is taken; below it
        is unknown. Images without any such bone are left out.
    leave_out
        Of a submission: names of images to leave out.
    max_pixels
        Pixels of an image at most.
    progress
        Show a progress bar on a terminal.

    Raises
    ------
    LabelError
        With all faults of all files, a line each; nothing was written.
    ValueError
        A folder or an option that can't be right.
    FileExistsError
        ``out`` holds something else than an earlier conversion, which is replaced.
    """
    out = Path(out)
    _require_own(out)
    if Path(source).is_dir() and out.resolve().is_relative_to(Path(source).resolve()):
        raise ValueError(f"--out {out} lies in {source}, where convert reads labels; choose another folder")
    if rows_first and form not in ("labelmap", "masks"):
        raise ValueError(f"--rows-first is for NIfTI, label maps or masks, not for {form}")
    if pixel_centres and form not in ("coco", "labelme"):
        raise ValueError(f"--pixel-centres is for outlines, coco or labelme, not for {form}")
    if orientation is not None and form == "submission":
        raise ValueError("--orientation is not for submissions, whose masks always lie on the stored pixels")
    if (confidence is not None or leave_out) and form != "submission":
        raise ValueError(f"--confidence and --plausible are for submissions, not for {form}")
    if not 0 <= least <= 1:
        raise ValueError(f"--least {least}: expected a number from 0 to 1")
    folder = Images(images)
    people = Subjects(folder, subject, subjects)
    given = class_map(classes, ignore)
    adapter, usual = ADAPTERS[form]
    if rows_first:
        adapter = partial(read_label_maps if form == "labelmap" else read_masks, rows_first=True)
    if pixel_centres:
        adapter = partial(read_coco if form == "coco" else read_labelme, pixel_centres=True)
    if form == "submission":
        sure = Path(confidence) if confidence is not None else None
        adapter = partial(read_submission, confidence=sure, least=least, leave_out=leave_out)
    labels = adapter(Path(source), folder, given, missing or usual)
    faults = _double(labels, folder, relative_names)
    unlabelled = [label for label in labels if not label.known]
    boneless: list[Label] = []
    if not skip_unlabelled and confidence is None:
        faults += [
            f"{label.source}: no bone is labelled in {label.image}; label it, or --skip-unlabelled"
            for label in unlabelled
        ]
    items: list[Item] = []
    pixels: list[np.ndarray] = []
    shifts: list[float] | None = [] if form == "submission" else None
    overlaps = OverlapCount()
    with atomic_folder(out) as part:
        for label in tqdm(labels, desc="converting", unit="image", disable=None if progress else True):
            if not label.known:
                continue
            name = folder.relative(label.image)
            path = with_ending(part / "labels" / name, ".npz")
            try:
                item = Item(
                    image=os.path.join(os.path.realpath(label.image.parent), label.image.name),  # noqa: PTH118
                    label=str(path),
                    name=name if relative_names else label.image.name,
                    subject=people.of(label.image),
                    known=label.known,
                )
                planes = draw(label, orientation, small_bones, shifts, max_pixels)
            except ValueError as error:
                faults.append(str(error))
                continue
            if not planes.any():
                boneless.append(label)
                continue
            items.append(item)
            pixels.append(areas(planes))
            overlaps.add(planes)
            if not faults:
                write_planes(path, planes)
        if text := counted_from_0(shifts or ()):
            faults.append(f"{source}: {text}")
        if form != "submission" and not skip_unlabelled:
            faults += [
                f"{label.source}: no bone is drawn in {label.image}; label it, or --skip-unlabelled"
                for label in boneless
            ]
        if not items and not faults:
            faults.append(f"{source}: no image {'shows a bone' if boneless else 'with a label'}")
        drawn = np.any([counts > 0 for counts in pixels], axis=0)
        for item in items:  # many bones are declared, or have empty masks, that nobody drew
            item["known"] &= sum(1 << k for k in np.flatnonzero(drawn).tolist())
        if faults:
            raise LabelError("\n".join([f"{source}: {counted(len(faults), 'fault')}, nothing was written:", *faults]))
        if subject or subjects:
            say_parted({Path(item["image"]): item["subject"] for item in items})
        if overlaps.flat:
            for item in items:
                item["known"] |= FLAT
        write_datalist(part / DATALIST, items, f"{form}: {source}")
    for item in items:
        item["label"] = str(out / Path(item["label"]).relative_to(part))
    named = {label.image for label in labels}
    return Conversion(
        items,
        np.array(pixels, np.int64).reshape(-1, NUM_BONES),
        [label.image for label in [*unlabelled, *boneless]],
        [path for path in folder.paths if path not in named],
        overlaps.flat,
    )


def _double(labels: list[Label], images: Images, relative_names: bool) -> list[str]:
    faults = []
    seen: dict[str, Label] = {}
    files: dict[tuple[int, int], Path] = {}
    for label in labels:
        if label.image.exists():
            stat = label.image.stat()
            if (file := files.setdefault((stat.st_dev, stat.st_ino), label.image)) != label.image:
                faults.append(f"{file} and {label.image} are one file, by a link; take one out")
        name = nfc(images.relative(label.image) if relative_names else label.image.name)
        other = seen.setdefault(name, label)
        if other is label:
            continue
        if other.image == label.image:
            faults.append(f"{label.image}: two labels, {other.source} and {label.source}; expected one")
        else:
            faults.append(f"two images of the name {name}: {other.image} and {label.image}; use --relative-names")
    return faults


def _require_own(out: Path) -> None:
    """Refuse to replace anything but an earlier conversion."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; the converted labels need a folder (--out)")
    held = {path.name for path in out.iterdir()} if out.exists() else set()
    if held and (DATALIST not in held or held - {DATALIST, "labels"}):
        strange = min(held - {DATALIST, "labels"} or held)
        raise FileExistsError(f"{out} holds {strange}, which convert did not write; choose another folder (--out)")
