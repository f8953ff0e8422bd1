"""Export: what other tools read of it is what the submission holds, overlaps, holes and specks included."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from handseg_monai.bitplanes import unpack
from handseg_monai.bones import ALL_KNOWN, NAMES, NUM_BONES
from handseg_monai.data.labels import convert
from handseg_monai.data.layouts import items_of_split, read_truth
from handseg_monai.export.export import export
from handseg_monai.export.form import IncompleteExportError
from handseg_monai.rle import encode_planes, write_csv
from tests.hands import hand
from tests.programs import handseg

SHAPES = {"a.png": (300, 260), "b.png": (256, 320), "empty.png": (40, 50)}


@pytest.fixture(scope="module")
def planes() -> dict[str, np.ndarray]:
    """A hand; noise, whose pieces touch corners, borders and hold holes; and no bone at all."""
    rng = np.random.default_rng(3)
    noise = cv2.GaussianBlur(rng.standard_normal((256, 320, 4)), (0, 0), 1.5) > 0.15
    of = {name: np.zeros(shape, np.int32) for name, shape in SHAPES.items()}
    of["a.png"] = hand(0)[150:450, 120:380].copy()
    for channel, bone in enumerate((0, 3, 20, 28)):
        of["b.png"] |= noise[..., channel].astype(np.int32) << bone
    of["b.png"][::17, ::23] |= 1 << 7
    of["b.png"][:, -1] |= 1 << 9
    of["b.png"][-1] |= 1 << 9
    of["b.png"][0, 0] |= 1 << 9
    return of


@pytest.fixture
def submission(planes: dict[str, np.ndarray], tmp_path: Path) -> tuple[Path, Path]:
    """The CSV, and the folder of its images."""
    for name, shape in SHAPES.items():
        (tmp_path / "images" / "person").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / "person" / name), np.zeros(shape, np.uint8))
    write_csv(tmp_path / "p.csv", ((name, encode_planes(of_image)) for name, of_image in planes.items()))
    return tmp_path / "p.csv", tmp_path / "images"


def from_png(out: Path, name: str) -> np.ndarray:
    stack = [cv2.imread(str(out / Path(name).stem / f"{bone}.png"), cv2.IMREAD_UNCHANGED) for bone in NAMES]
    assert {int(v) for mask in stack for v in np.unique(mask)} <= {0, 255}
    return np.stack(stack) > 0


def from_labelme(out: Path, name: str) -> np.ndarray:
    """Draw as LabelMe does: PIL's polygons, masks pasted into their box."""
    content = json.loads((out / f"{Path(name).stem}.json").read_text())
    assert (content["imagePath"], content["imageHeight"], content["imageWidth"]) == (name, *SHAPES[name])
    stack = np.zeros((NUM_BONES, *SHAPES[name]), bool)
    for shape in content["shapes"]:
        mask = Image.new("L", SHAPES[name][::-1], 0)
        if shape["shape_type"] == "polygon":
            ImageDraw.Draw(mask).polygon([tuple(point) for point in shape["points"]], outline=1, fill=1)
        else:
            (left, top), _ = shape["points"]
            mask.paste(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))).point(bool), (left, top))
        stack[NAMES.index(shape["label"])] |= np.array(mask, bool)
    return stack


def from_coco(out: Path, name: str) -> np.ndarray:
    coco = COCO(out / "annotations.json")
    (image,) = [entry for entry in coco.dataset["images"] if entry["file_name"] == name]
    stack = np.zeros((NUM_BONES, image["height"], image["width"]), bool)
    for annotation in coco.imgToAnns[image["id"]]:
        bone = NAMES.index(coco.cats[annotation["category_id"]]["name"])
        stack[bone] = coco.annToMask(annotation)
        rows, columns = np.nonzero(stack[bone])
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert (annotation["area"], annotation["bbox"]) == (stack[bone].sum(), box)
    return stack


def from_nifti(out: Path, name: str) -> np.ndarray:
    image = nibabel.load(out / f"{Path(name).stem}.nii.gz")
    assert json.loads((out / "channels.json").read_text()) == list(NAMES)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.affine, np.eye(4))
    return np.asarray(image.dataobj)[:, :, 0].transpose(2, 1, 0) > 0


READERS = {"png": from_png, "labelme": from_labelme, "coco": from_coco, "nifti": from_nifti}


@pytest.mark.parametrize("form", list(READERS))
def test_other_readers_find_the_masks_of_the_submission(form: str, submission, planes, tmp_path: Path) -> None:
    assert export(*submission, form, tmp_path / "out", progress=False) == {}
    for name, expected in planes.items():
        found = READERS[form](tmp_path / "out", name)
        np.testing.assert_array_equal(found, unpack(expected))


@pytest.mark.parametrize("form", ["png", "labelme", "coco"])
def test_what_was_exported_can_be_trained_on(form: str, submission, planes, tmp_path: Path) -> None:
    prediction, images = submission
    export(prediction, images, form, tmp_path / "out", progress=False)
    source = tmp_path / "out" / "annotations.json" if form == "coco" else tmp_path / "out"
    convert(
        "masks" if form == "png" else form,  # type: ignore[arg-type]
        source,
        images,
        tmp_path / "labels",
        missing="absent",
        skip_unlabelled=True,
        progress=False,
    )
    items, faults = items_of_split(tmp_path / "labels")
    assert not faults
    shown = {item["name"]: item for item in items}
    assert shown.keys() == {"a.png", "b.png"}  # an image without bones teaches nothing
    drawn = np.bitwise_or.reduce(np.concatenate([of_image.ravel() for of_image in planes.values()]))
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(read_truth(shown[name]["label"], SHAPES[name]), planes[name])
        assert shown[name]["known"] & ALL_KNOWN == drawn


def test_a_row_that_is_missing_is_no_absent_bone(submission, tmp_path: Path) -> None:
    prediction, images = submission
    lines = prediction.read_text().splitlines(keepends=True)
    prediction.write_text("".join(line for line in lines if not line.startswith("a.png,Radius")))
    assert export(prediction, images, "png", tmp_path / "out", progress=False) == {"a.png": 1}
    assert not (tmp_path / "out" / "a" / "Radius.png").exists()
    assert (tmp_path / "out" / "a" / "Ulna.png").exists()


def test_names_with_folders_keep_them(planes, tmp_path: Path) -> None:
    for person in ("x", "y"):
        (tmp_path / "images" / person).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "images" / person / "a.png"), np.zeros(SHAPES["a.png"], np.uint8))
    rows = [(f"{person}/a.png", encode_planes(planes["a.png"])) for person in ("x", "y")]
    write_csv(tmp_path / "p.csv", rows)
    export(tmp_path / "p.csv", tmp_path / "images", "labelme", tmp_path / "out", progress=False)
    assert (tmp_path / "out" / "x" / "a.json").is_file()
    assert (tmp_path / "out" / "y" / "a.json").is_file()


def test_bad_input_is_said_and_leaves_nothing(submission, planes, tmp_path: Path) -> None:
    prediction, images = submission
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="already holds files"):
        export(prediction, images, "png", tmp_path / "full", progress=False)
    with pytest.raises(ValueError, match="no form 'tiff'"):
        export(prediction, images, "tiff", tmp_path / "out", progress=False)
    cv2.imwrite(str(images / "person" / "b.png"), np.zeros((10, 10), np.uint8))
    with pytest.raises(ValueError, match=r"p\.csv: image b\.png: .*past the end"):
        export(prediction, images, "coco", tmp_path / "out", progress=False)
    (images / "person" / "a.png").unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of the images \(a\.png\)"):
        export(prediction, images, "coco", tmp_path / "out", progress=False)
    write_csv(tmp_path / "q.csv", ((name, encode_planes(planes["b.png"])) for name in ("../b.png", "b.png")))
    with pytest.raises(ValueError, match=r"lacks|leads out"):
        export(tmp_path / "q.csv", images, "png", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_an_image_too_long_for_nifti_is_listed_and_the_others_are_written(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    rows = []
    for name, width in (("long.png", 32768), ("longest.png", 32767)):
        cv2.imwrite(str(images / name), np.zeros((4, width), np.uint8))
        rows.append((name, encode_planes(np.full((4, width), 3, np.int32))))
    write_csv(tmp_path / "s.csv", rows)
    with pytest.raises(IncompleteExportError, match=r"1 of 2 images not exported:\n  long.png: 32768 x 4 pixels; a"):
        export(tmp_path / "s.csv", images, "nifti", tmp_path / "out", progress=False)
    assert (tmp_path / "out" / "longest.nii.gz").exists()


def test_two_images_of_one_stem_are_refused(planes, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "a.bmp"):
        cv2.imwrite(str(tmp_path / "images" / name), np.zeros(SHAPES["a.png"], np.uint8))
    write_csv(tmp_path / "p.csv", ((name, encode_planes(planes["a.png"])) for name in ("a.png", "a.bmp")))
    with pytest.raises(ValueError, match=r"images a\.png and a\.bmp"):
        export(tmp_path / "p.csv", tmp_path / "images", "png", tmp_path / "out", progress=False)


def test_command(submission, tmp_path: Path) -> None:
    prediction, images = submission
    arguments = ["export", prediction, "--images", images, "--to", "coco", "--out", tmp_path / "out"]
    done = handseg(*arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "annotations.json").is_file()
    again = handseg(*arguments)
    assert again.returncode == 2
    assert "already holds files" in again.stderr
