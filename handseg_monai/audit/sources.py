"""What an audit looks at: the radiographs of a dataset with their labels, or those of a submission."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handseg_monai.audit.findings import AuditFinding, Fault
from handseg_monai.bitplanes import Polygon, rasterise
from handseg_monai.bones import ALL_KNOWN
from handseg_monai.data.exclude import converted_name
from handseg_monai.data.items import LabelError
from handseg_monai.data.labels.competition import find_splits, read_checked, read_polygons
from handseg_monai.data.labels.converted import DATALIST, converted_items, read_planes
from handseg_monai.data.layouts import is_converted
from handseg_monai.data.reading.images import (
    IMAGE_SUFFIXES,
    UnreadableImageError,
    find_images,
    image_size,
    without_suffix,
)
from handseg_monai.data.reading.submission_images import submission_images
from handseg_monai.files import find_files, nfc
from handseg_monai.rle import decode_fitting, read_csv, row_name

_ANY = 1 << 20, 1 << 20
"""A size that every label fits, so that points outside their image can be read."""


@dataclass(frozen=True)
class Radiograph:
    """One image and where its label is."""

    path: Path
    """The image."""
    name: str
    """Its path relative to what is audited."""
    subject: str = ""
    """Its subject; empty in a submission."""
    label: Path | None = None
    """The file, JSON or of ``handseg convert``, if there is one."""
    runs: tuple[str | None, ...] | None = None
    """The run-length texts of the 29 bones in a submission."""
    known: int = ALL_KNOWN
    """Bit k is set where bone k is labelled, present or absent."""


@dataclass(frozen=True)
class Label:
    """The label of a radiograph."""

    planes: np.ndarray
    """Bit planes, int32, of the image's shape; parts outside the image are cut off."""
    polygons: list[tuple[int, Polygon]] | None
    """As in the JSON file, also outside the image; None where the label holds masks."""
    fault: str = ""
    """Why it breaks the contract; empty where it does not."""


def read_label(radiograph: Radiograph, shape: tuple[int, int]) -> Label | None:
    """Read a label, leniently: points may lie outside the image. None if there is no label.

    Raises
    ------
    LabelError
        It can't be read at all, or its runs do not fit the image.
    """
    if radiograph.runs is not None:
        try:
            return Label(decode_fitting(radiograph.runs, shape), None)
        except ValueError as error:
            raise LabelError(str(error)) from error
    if radiograph.label is None:
        return None
    if radiograph.label.suffix == ".npz":
        return Label(read_planes(radiograph.label, shape), None)
    fault = ""
    try:
        polygons = read_checked(radiograph.label, shape)
    except LabelError as error:
        fault = str(error).removeprefix(f"{radiograph.label}: ")
        try:
            polygons = read_polygons(radiograph.label, _ANY)
        except LabelError:
            raise LabelError(fault) from error
    return Label(rasterise(polygons, shape), polygons, fault)


def sound_labels(radiographs: Iterable[Radiograph]) -> Iterator[np.ndarray]:
    """Yield the bit planes of the labels that keep the contract."""
    for radiograph in radiographs:
        try:
            label = read_label(radiograph, image_size(radiograph.path))
        except (LabelError, UnreadableImageError):
            continue
        if label is not None and not label.fault:
            yield label.planes


def dataset_radiographs(dataset_dir: str | Path) -> tuple[list[Radiograph], list[AuditFinding]]:
    """List the radiographs of all splits of a dataset, those of ``test`` first, and what does not pair.

    Raises
    ------
    ValueError
        No such folder, or no images in it.
    """
    root = Path(dataset_dir)
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; expected a dataset with train/DCM, or a submission PRED.csv")
    if is_converted(root):
        return _converted_radiographs(root)
    splits = find_splits(root)
    if not splits:
        raise ValueError(f"no dataset in {root}: looked for {root}/train/DCM, {root}/DCM and {root}/{DATALIST}")
    radiographs: list[Radiograph] = []
    findings: list[AuditFinding] = []
    for _, split in sorted(splits.items()):
        images, labels = split / "DCM", split / "outputs_json"
        held = find_files(labels, ".json") if labels.is_dir() else []
        waiting = {Path(nfc(str(path.relative_to(labels).with_suffix("")))): path for path in held}
        for image in find_images(images):
            key = Path(nfc(without_suffix(str(image.relative_to(images)))))
            name, label = image.relative_to(root).as_posix(), waiting.pop(key, None)
            if label is None and labels.is_dir():
                expected = (labels / key).relative_to(root).as_posix()
                findings.append(AuditFinding(name, Fault.PAIRING, f"no label; looked for {expected}.json"))
            if len(key.parts) < 2:
                findings.append(AuditFinding(name, Fault.PAIRING, "not in the folder of a subject"))
            radiographs.append(Radiograph(image, name, key.parts[0] if len(key.parts) > 1 else "", label))
        for key, label in waiting.items():
            expected = (images / key).relative_to(root).as_posix()
            name = label.relative_to(root).as_posix()
            findings.append(AuditFinding(name, Fault.PAIRING, f"a label without an image; looked for {expected}.*"))
    if not radiographs:
        raise ValueError(f"no images in {root}; looked for {', '.join(IMAGE_SUFFIXES)} in {root}/train/DCM")
    return radiographs, findings


def _converted_radiographs(root: Path) -> tuple[list[Radiograph], list[AuditFinding]]:
    radiographs, findings = [], []
    for item in converted_items(root)[0]:
        image, label, name = Path(item["image"]), Path(item["label"]), converted_name(Path(item["image"]), root)
        if image.is_file():
            held = label if label.is_file() else None
            radiographs.append(Radiograph(image, name, item["subject"], held, known=item.get("known", ALL_KNOWN)))
        if missing := [
            f"no {kind} {file}" for kind, file in (("image", image), ("label", label)) if not file.is_file()
        ]:
            findings.append(AuditFinding(name, Fault.PAIRING, f"{'; '.join(missing)}; run handseg convert again"))
    if not radiographs:
        raise ValueError(f"{root / DATALIST}: none of its images exists; run handseg convert again")
    return radiographs, findings


def submission_radiographs(prediction: str | Path, images: str | Path) -> tuple[list[Radiograph], list[AuditFinding]]:
    """List the hands of a submission, and the images that it lacks.

    Raises as :func:`~handseg_monai.rle.read_csv` and
    :func:`~handseg_monai.data.reading.submission_images.submission_images`.
    """
    root = Path(images)
    texts = read_csv(prediction, empty=False)
    shown = submission_images(texts, root).values()

    def name(path: Path) -> str:
        return path.relative_to(root).as_posix() if path != root else path.name

    radiographs = [
        Radiograph(image.path, row_name(name(image.path), side), runs=tuple(texts[of]))
        for image in shown
        for side, of in image.rows.items()
    ]
    held = {image.path for image in shown}
    findings = [
        AuditFinding(name(path), Fault.PAIRING, f"not in {Path(prediction).name}")
        for path in find_images(root)
        if path not in held
    ]
    return radiographs, findings
