"""Whole files of each kind that the commands read, and seeded damage to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import tifffile
from PIL import Image
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, RLELossless

from handseg_monai.bitplanes import rasterise
from handseg_monai.bones import INDEX, NAMES
from handseg_monai.data import training_datalist
from handseg_monai.data.labels import convert
from handseg_monai.data.labels.converted import write_planes
from handseg_monai.data.reading.images import image_size, read_radiograph
from handseg_monai.plausibility.submission import judge_submission
from handseg_monai.rle import encode_planes, write_csv
from tests.conftest import draw_radiograph, write_drawn_dataset
from tests.dicoms import write_dicom
from tests.label_forms import (
    CLASS_MAP,
    SHAPE,
    flat_map,
    mask_of,
    write_coco,
    write_images,
    write_labelme,
    write_masks,
)

Damage = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Kind:
    """One kind of input."""

    damage: tuple[Damage, ...]
    """Of which one is taken each time."""
    files: list[Path]
    """Whole files, of which one is damaged each time."""
    read: Callable[[Path], object]
    """Reads the damaged file as a command does."""


def make_kinds(folder: Path) -> dict[str, Kind]:
    """Write whole files of every kind into an empty folder; by the kinds' names."""
    grey, outlines = draw_radiograph(1, SHAPE)
    labels = write_images(folder / "images", subjects=1)
    return {
        "PNG": Kind(BYTES, list(_pngs(folder / "png", grey)), _radiograph),
        "JPEG": Kind(BYTES, list(_by_pillow(folder / "jpg", grey, ("a.jpg", "b.jpeg"))), _radiograph),
        "BMP": Kind(BYTES, list(_by_pillow(folder / "bmp", grey, ("a.bmp",))), _radiograph),
        "TIFF": Kind(BYTES, list(_tiffs(folder / "tif", grey)), _radiograph),
        "DICOM": Kind((*BYTES, attribute, attribute, attribute), list(_dicoms(folder / "dcm", grey)), _radiograph),
        **_label_kinds(folder, labels),
        "submission": _submission(folder, labels, outlines),
        "competition": _training(write_drawn_dataset(folder / "competition", subjects=2), "*.json", (*JSON, *BYTES)),
        "converted": _converted(folder, labels),
    }


@contextmanager
def damaged(kind: Kind, seed: list[int]) -> Iterator[Path]:
    """Damage one of a kind's files as the seed has it, and put it right afterwards."""
    rng = np.random.default_rng(seed)
    path = kind.files[rng.integers(len(kind.files))]
    whole = path.read_bytes()
    damage = kind.damage[rng.integers(len(kind.damage))]
    try:
        path.write_bytes(damage(whole, rng))
        yield path
    finally:
        path.write_bytes(whole)


def _radiograph(path: Path) -> None:
    shape = image_size(path)
    assert read_radiograph(path).shape == shape


def _pngs(folder: Path, grey: np.ndarray) -> Iterator[Path]:
    folder.mkdir()
    colours = np.repeat(grey[..., None], 3, axis=2)
    for name, pixels in (("grey", grey), ("words", grey.astype(np.uint16) * 200), ("colours", colours)):
        cv2.imwrite(str(folder / f"{name}.png"), pixels)
        yield folder / f"{name}.png"
    yield from _by_pillow(folder, grey, ("palette.png", "bits.png", "alpha.png"))


def _by_pillow(folder: Path, grey: np.ndarray, names: tuple[str, ...]) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    picture = Image.fromarray(grey)
    forms = {"palette.png": picture.quantize(64), "bits.png": picture.convert("1"), "alpha.png": picture.convert("LA")}
    for name in names:
        forms.get(name, picture).save(folder / name)
        yield folder / name


def _tiffs(folder: Path, grey: np.ndarray) -> Iterator[Path]:
    folder.mkdir()
    forms: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "grey": (grey, {}),
        "white": (grey.astype(np.uint16) * 200, {"photometric": "miniswhite"}),
        "deflated": (grey, {"compression": "zlib", "predictor": True, "tile": (32, 32)}),
        "float": (grey.astype(np.float32), {}),
        "big": (grey, {"bigtiff": True}),
        "planar": (np.repeat(grey[None], 3, axis=0), {"photometric": "rgb", "planarconfig": "separate"}),
    }
    for name, (pixels, options) in forms.items():
        tifffile.imwrite(folder / f"{name}.tif", pixels, **options)
        yield folder / f"{name}.tif"


def _dicoms(folder: Path, grey: np.ndarray) -> Iterator[Path]:
    words = grey.astype(np.uint16) * 16
    yield write_dicom(folder / "dx.dcm", words, BitsStored=12)
    yield write_dicom(folder / "cr.dcm", words, "CR", BitsStored=12, PhotometricInterpretation="MONOCHROME1")
    yield write_dicom(folder / "sc.dcm", np.repeat(grey[..., None], 3, axis=2), "SC")
    for name, syntax in (("rle.dcm", RLELossless), ("j2k.dcm", JPEG2000Lossless)):
        dataset = dcmread(folder / "dx.dcm")
        dataset.compress(syntax)
        dataset.save_as(folder / name)
        yield folder / name


def _label_kinds(folder: Path, labels: dict[Path, dict[str, list[list[int]]]]) -> dict[str, Kind]:
    images = folder / "images"
    classes = folder / "classes.json"
    classes.write_text(json.dumps(CLASS_MAP))
    write_coco(folder / "coco.json", labels)
    write_coco(folder / "runs.json", labels, "compressed")
    write_labelme(folder / "labelme", images, labels)
    write_masks(folder / "masks", labels)
    for image, polygons in labels.items():
        (folder / "maps").mkdir(exist_ok=True)
        Image.fromarray(flat_map(polygons)).save(folder / "maps" / f"{image.stem}.png")
        (folder / "volumes").mkdir(exist_ok=True)
        volume = nibabel.Nifti1Image(flat_map(polygons).T[..., None], np.eye(4))
        nibabel.save(volume, folder / "volumes" / f"{image.stem}.nii.gz")
        (folder / "stacks").mkdir(exist_ok=True)
        stack = np.stack([mask_of(polygons[name]) for name in NAMES])
        np.save(folder / "stacks" / f"{image.stem}.npy", stack)
    (folder / "channels.json").write_text(json.dumps({str(k): name for k, name in enumerate(NAMES)}))

    def kind(damage: tuple[Damage, ...], files: list[Path], form: Any, source: Path, **options: Any) -> Kind:
        def read(_: Path) -> None:
            convert(form, source, images, folder / "out", progress=False, **options)

        return Kind(damage, sorted(files), read)

    maps = {"classes": classes}
    coco, runs, labelme = folder / "coco.json", folder / "runs.json", folder / "labelme"
    masks, stacks = folder / "masks", folder / "stacks"
    return {
        "COCO polygons": kind((*JSON, *BYTES), [coco], "coco", coco),
        "COCO run-lengths": kind((*JSON, *BYTES), [runs], "coco", runs),
        "LabelMe": kind((*JSON, *BYTES), list(labelme.rglob("*.json")), "labelme", labelme),
        "masks": kind(BYTES, list(masks.rglob("*.png")), "masks", masks),
        "stacks": kind(BYTES, list(stacks.iterdir()), "masks", stacks, classes=folder / "channels.json"),
        "label maps": kind(BYTES, list((folder / "maps").iterdir()), "labelmap", folder / "maps", **maps),
        "NIfTI": kind(BYTES, list((folder / "volumes").iterdir()), "labelmap", folder / "volumes", **maps),
        "class map": kind((*JSON, *BYTES), [classes], "labelmap", folder / "maps", **maps),
    }


def _submission(folder: Path, labels: dict[Path, Any], outlines: dict[str, Any]) -> Kind:
    path = folder / "submission.csv"
    polygons = [(INDEX[name], np.array(points, np.int32)) for name, points in outlines.items()]
    write_csv(path, [(image.name, encode_planes(rasterise(polygons, SHAPE))) for image in labels])

    def read(path: Path) -> None:
        judge_submission(path, folder / "images", progress=False)
        convert("submission", path, folder / "images", folder / "out", progress=False)

    return Kind((*CSV, *BYTES), [path], read)


def _training(root: Path, pattern: str, damage: tuple[Damage, ...]) -> Kind:
    def read(_: Path) -> None:
        training_datalist(root, num_folds=2, verify=True)

    return Kind(damage, sorted(root.rglob(pattern)), read)


def _converted(folder: Path, labels: dict[Path, Any]) -> Kind:
    out = folder / "converted"
    convert("masks", folder / "masks", folder / "images", out, subject="hand[0-9]+", progress=False)
    write_planes(folder / "planes.npz", np.zeros(SHAPE, np.int32))
    kind = _training(out, "*", BYTES)
    return Kind(BYTES, [path for path in kind.files if path.is_file()], kind.read)


def flip(whole: bytes, rng: np.random.Generator) -> bytes:
    """Give one to eight bytes other values."""
    changed = bytearray(whole)
    for at in rng.integers(len(changed), size=rng.integers(1, 9)):
        changed[at] = rng.integers(256)
    return bytes(changed)


def cut(whole: bytes, rng: np.random.Generator) -> bytes:
    return whole[: rng.integers(len(whole))]


def remove(whole: bytes, rng: np.random.Generator) -> bytes:
    start, length = rng.integers(len(whole)), rng.integers(1, 65)
    return whole[:start] + whole[start + length :]


def repeat(whole: bytes, rng: np.random.Generator) -> bytes:
    start, length = rng.integers(len(whole)), rng.integers(1, 257)
    return whole[: start + length] + whole[start:]


def blank(whole: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite a stretch by zeros or by 255."""
    start, length = rng.integers(len(whole)), rng.integers(1, 257)
    fill = bytes([rng.choice([0, 255])]) * len(whole[start : start + length])
    return whole[:start] + fill + whole[start + length :]


def number(whole: bytes, rng: np.random.Generator) -> bytes:
    """Write an extreme number of two or four bytes into the first 600, where sizes stand."""
    width = int(rng.choice([2, 4]))
    extreme = int(rng.choice([0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1, 40_000]))
    at = int(rng.integers(min(len(whole), 600)))
    order = "little" if rng.random() < 0.5 else "big"
    return whole[:at] + extreme.to_bytes(width, order) + whole[at + width :]  # type: ignore[arg-type]


BYTES: tuple[Damage, ...] = (flip, cut, remove, repeat, blank, number)

_DEEP: Any = 1
for _ in range(200):
    _DEEP = [_DEEP]
_STRANGE: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.5, 1, 1e308, float("nan"), float("inf"), 2**70, "", "x", "9" * 5000, "\0", "環\u202e"),
    *([], {}, [[]], [None], {"x": {}}, [[1, 2]], [[0, 0], [1e9, 1e9], [0, 1]], _DEEP),
)


def node(whole: bytes, rng: np.random.Generator) -> bytes:
    """Give one value of a JSON file another type or size, drop it, or repeat it."""
    content = json.loads(whole)
    place: Any = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[rng.integers(len(keys))]
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.15:
            break
        place = place[key]
    what = rng.random()
    if what < 0.15:
        del place[key]
    elif what < 0.25 and isinstance(place, list):
        place.append(place[key])
    else:
        place[key] = _STRANGE[rng.integers(len(_STRANGE))]
    return json.dumps(content).encode()


JSON: tuple[Damage, ...] = (node,) * 8


def cell(whole: bytes, rng: np.random.Generator) -> bytes:
    """Give one cell of a CSV another value, or drop, repeat or swap lines."""
    lines = whole.decode().split("\n")
    at, other = rng.integers(len(lines), size=2)
    what = rng.random()
    if what < 0.1:
        del lines[at]
    elif what < 0.2:
        lines.insert(at, lines[other])
    elif what < 0.3:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        cells = lines[at].split(",")
        place = rng.integers(len(cells))
        values = cells[place].split(" ")
        strange = _STRANGE[rng.integers(len(_STRANGE))]
        values[rng.integers(len(values))] = str(strange)[:6000]
        cells[place] = " ".join(values)
        lines[at] = ",".join(cells)
    return "\n".join(lines).encode()


CSV: tuple[Damage, ...] = (cell,) * 8


def attribute(whole: bytes, rng: np.random.Generator) -> bytes:
    """Give an attribute of a DICOM file that says how to read its pixels another value, or drop it."""
    dataset = dcmread(BytesIO(whole))
    elements = [element for element in dataset if element.tag.group == 0x28]
    element = elements[rng.integers(len(elements))]
    values: tuple[Any, ...] = (0, 1, 2, 3, 7, 8, 11, 16, 32, 255, 4095, 40_000, 65_535)
    if element.VR in ("CS", "DS", "IS", "LO"):
        values = ("", "0", "-1", "1", "1e30", "4095", "MONOCHROME1", "RGB", "YBR_FULL", "PALETTE COLOR", "INVERSE")
    try:
        if rng.random() < 0.2:
            del dataset[element.tag]
        else:
            element.value = values[rng.integers(len(values))]
        written = BytesIO()
        dataset.save_as(written)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):  # what pydicom won't write
        return flip(whole, rng)
    return written.getvalue()
