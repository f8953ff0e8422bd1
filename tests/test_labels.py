"""Labels of every form come out as the bit planes that were drawn, and what can't be right is named."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from handseg_monai.bones import ALL_KNOWN, INDEX, NAMES
from handseg_monai.cli import main
from handseg_monai.data import LabelError, training_datalist, write_folds
from handseg_monai.data.labels import convert
from handseg_monai.data.labels.coco import decode_rle
from handseg_monai.data.labels.converted import read_planes, write_planes
from handseg_monai.data.labels.named_images import Images
from handseg_monai.data.layouts import read_truth
from handseg_monai.rle import encode_planes, write_csv
from tests.label_forms import (
    CLASS_MAP,
    SHAPE,
    Polygons,
    flat_map,
    mask_of,
    planes_of,
    write_coco,
    write_images,
    write_labelme,
    write_masks,
)
from tests.pictures import chunk, plain_png, png

Labels = dict[Path, Polygons]


@pytest.fixture
def labels(tmp_path: Path) -> Labels:
    """Six images of three subjects below ``tmp_path / "images"``, and their polygons."""
    return write_images(tmp_path / "images")


def bits(*names: str) -> int:
    return sum(1 << INDEX[name] for name in names)


def converted(out: Path) -> dict[str, tuple[np.ndarray, int, str]]:
    """Planes, known and subject of each image, as training reads them."""
    items = [item for part in training_datalist(out, num_folds=3).values() for item in part]
    return {
        item["name"]: (read_truth(item["label"], SHAPE), item["known"], item["subject"])
        for item in items
        if Path(item["image"]).is_file()
    }


def require_same(out: Path, labels: Labels, known: int = ALL_KNOWN) -> None:
    found = converted(out)
    assert found.keys() == {path.name for path in labels}
    for path, polygons in labels.items():
        planes, bones, subject = found[path.name]
        np.testing.assert_array_equal(planes, planes_of(polygons) & known)
        assert (bones, subject) == (known, path.parent.name)


def write_submission(path: Path, labels: Labels) -> None:
    write_csv(path, [(image.name, encode_planes(planes_of(polygons))) for image, polygons in labels.items()])


def write_stacks(folder: Path, labels: Labels) -> None:
    folder.mkdir()
    for image, polygons in labels.items():
        np.save(folder / f"{image.stem}.npy", np.stack([mask_of(polygons[name]) for name in NAMES]))
    (folder.parent / "classes.json").write_text(json.dumps({str(k): name for k, name in enumerate(NAMES)}))


FORMS: dict[str, tuple[str, Callable[[Path, Labels], None]]] = {
    "COCO polygons": ("coco", write_coco),
    "COCO run-lengths": ("coco", lambda path, labels: write_coco(path, labels, "compressed")),
    "COCO plain run-lengths": ("coco", lambda path, labels: write_coco(path, labels, "plain")),
    "LabelMe": ("labelme", lambda path, labels: write_labelme(path, path.parent / "images", labels)),
    "masks by image": ("masks", write_masks),
    "masks by bone": ("masks", lambda path, labels: write_masks(path, labels, by_bone=True)),
    "stacks of masks": ("masks", write_stacks),
    "submission": ("submission", write_submission),
}


@pytest.mark.parametrize("form", FORMS)
def test_overlapping_labels_come_out_as_they_were_drawn(tmp_path: Path, labels: Labels, form: str) -> None:
    name, write = FORMS[form]
    write(tmp_path / "source", labels)
    truth = planes_of(next(iter(labels.values())))
    assert (truth & (truth - 1)).any(), "bones must overlap"
    classes = tmp_path / "classes.json"
    out = tmp_path / "out"
    convert(name, tmp_path / "source", tmp_path / "images", out, classes=classes if classes.exists() else None)
    require_same(out, labels)
    training_datalist(out, num_folds=3, verify=True)
    assert {p.name for p in tmp_path.iterdir()} <= {"images", "source", "out", "classes.json"}


class TestLabelMaps:
    def classes(self, tmp_path: Path, **changed: object) -> Path:
        (tmp_path / "classes.json").write_text(json.dumps(CLASS_MAP | changed))
        return tmp_path / "classes.json"

    def write(self, folder: Path, labels: Labels, form: str) -> None:
        folder.mkdir()
        for image, polygons in labels.items():
            pixels = flat_map(polygons)
            if form == "palette":
                picture = Image.fromarray(pixels, mode="P")
                picture.putpalette([k * 37 % 256 for k in range(768)])
                picture.save(folder / f"{image.stem}.png")
            elif form == "NIfTI":
                affine = np.diag([-0.2, -0.2, 1, 1])
                nibabel.save(nibabel.Nifti1Image(pixels.T[..., None], affine), folder / f"{image.stem}.nii.gz")
            elif form == "rows first":
                nibabel.save(nibabel.Nifti1Image(pixels.astype(np.float32), np.eye(4)), folder / f"{image.stem}.nii")
            else:
                cv2.imwrite(str(folder / f"{image.stem}.png"), pixels)

    def convert(self, tmp_path: Path) -> None:
        source, images = tmp_path / "source", tmp_path / "images"
        convert("labelmap", source, images, tmp_path / "out", classes=self.classes(tmp_path))

    @pytest.mark.parametrize("form", ["grey", "palette", "NIfTI", "rows first"])
    def test_values_become_bones_where_they_stand(self, tmp_path: Path, labels: Labels, form: str) -> None:
        self.write(tmp_path / "source", labels, form)
        convert(
            "labelmap",
            tmp_path / "source",
            tmp_path / "images",
            tmp_path / "out",
            classes=self.classes(tmp_path, **{"3": ["finger-3"], "4": None}),
            rows_first=form == "rows first",
        )
        known = ALL_KNOWN & ~bits("finger-3", "finger-4")
        for image, polygons in labels.items():
            planes, bones, _ = converted(tmp_path / "out")[image.name]
            values = flat_map(polygons)
            assert bones == known
            for k, name in enumerate(NAMES):
                expected = (values == k + 1) if known >> k & 1 else np.zeros(SHAPE, bool)
                np.testing.assert_array_equal((planes >> k) & 1 != 0, expected, err_msg=name)

    def test_a_palette_of_other_classes_is_told(self, tmp_path: Path, labels: Labels) -> None:
        (tmp_path / "source").mkdir()
        for image, polygons in labels.items():
            picture = Image.fromarray(flat_map(polygons), mode="P")
            picture.putpalette([grey for k in range(256) for grey in [30 - k if 0 < k < 30 else k] * 3])
            picture.save(tmp_path / "source" / f"{image.stem}.png")
        with pytest.raises(LabelError, match=r"hand0\.png: its palette shows class number 29 where it stores 1"):
            self.convert(tmp_path)

    def test_nifti_laid_the_other_way_is_told(self, tmp_path: Path, labels: Labels) -> None:
        self.write(tmp_path / "source", labels, "rows first")
        with pytest.raises(LabelError, match=r"hand0\.nii: NIfTI whose axes are rows, columns.*--rows-first"):
            self.convert(tmp_path)

    def test_a_value_that_is_not_mapped_is_refused(self, tmp_path: Path, labels: Labels) -> None:
        self.write(tmp_path / "source", labels, "grey")
        (tmp_path / "classes.json").write_text(json.dumps({k: v for k, v in CLASS_MAP.items() if k != "29"}))
        with pytest.raises(LabelError, match=r"6 faults(.|\n)*hand0\.png: value 29 is not in --classes"):
            convert(
                "labelmap",
                tmp_path / "source",
                tmp_path / "images",
                tmp_path / "out",
                classes=tmp_path / "classes.json",
            )


class TestKnown:
    def test_bones_labelled_jointly_are_unknown(self, tmp_path: Path, labels: Labels) -> None:
        """As in RAM-H1200: one class for Pisiform and Triquetrum."""
        merged = {
            image: {
                "Pisiform_Triquetrum" if name == "Pisiform" else name: outline
                for name, outline in polygons.items()
                if name != "Triquetrum"
            }
            for image, polygons in labels.items()
        }
        write_coco(tmp_path / "source", merged)
        convert("coco", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        require_same(tmp_path / "out", labels, ALL_KNOWN & ~bits("Pisiform", "Triquetrum"))

    def test_parts_of_metacarpals_do_not_make_metacarpals_known(self, tmp_path: Path, labels: Labels) -> None:
        """As in RAM-W600: carpals, radius, ulna and the bases of the metacarpals."""
        bases = {"MC1": "finger-3", "MC2": "finger-7", "MC3": "finger-11", "MC4": "finger-15", "MC5": "finger-19"}
        wrists = {
            image: {name: polygons[name] for name in ("finger-3", *NAMES[19:])}
            | {mc: polygons[bone] for mc, bone in bases.items()}
            for image, polygons in labels.items()
        }
        write_masks(tmp_path / "source", wrists)
        (tmp_path / "classes.json").write_text(json.dumps({mc: [bone] for mc, bone in bases.items()}))
        convert("masks", tmp_path / "source", tmp_path / "images", tmp_path / "out", classes=tmp_path / "classes.json")
        require_same(tmp_path / "out", labels, bits(*NAMES[19:]))

    @pytest.mark.parametrize("missing", ["absent", "unknown"])
    @pytest.mark.parametrize("form", ["coco", "labelme", "masks", "submission"])
    def test_a_bone_that_one_image_lacks_is_what_missing_says(
        self, tmp_path: Path, labels: Labels, form: str, missing: str
    ) -> None:
        first = next(iter(labels))
        some = {p: {n: o for n, o in q.items() if p != first or n != "Ulna"} for p, q in labels.items()}
        write = {
            "coco": write_coco,
            "masks": write_masks,
            "submission": write_submission,
            "labelme": lambda path, labels: write_labelme(path, tmp_path / "images", labels),
        }[form]
        write(tmp_path / "source", some)
        if form == "submission":
            rows = (tmp_path / "source").read_text().splitlines()
            kept = [row for row in rows if not row.startswith(f"{first.name},Ulna")]
            assert len(kept) == len(rows) - 1
            (tmp_path / "source").write_text("\n".join(kept))
        convert(form, tmp_path / "source", tmp_path / "images", tmp_path / "out", missing=missing)
        found = converted(tmp_path / "out")
        for image in labels:
            lacks = image == first and missing == "unknown"
            assert found[image.name][1] == (ALL_KNOWN & ~bits("Ulna") if lacks else ALL_KNOWN)
        np.testing.assert_array_equal(found[first.name][0], planes_of(some[first]))

    def test_an_empty_mask_and_an_empty_row_say_absent(self, tmp_path: Path, labels: Labels) -> None:
        first = next(iter(labels))
        some = {p: {n: o for n, o in q.items() if p != first or n != "Ulna"} for p, q in labels.items()}
        write_masks(tmp_path / "masks", some)
        cv2.imwrite(str(tmp_path / "masks" / first.stem / "Ulna.png"), np.zeros(SHAPE, np.uint8))
        write_submission(tmp_path / "source.csv", some)
        for form, source in (("masks", "masks"), ("submission", "source.csv")):
            convert(form, tmp_path / source, tmp_path / "images", tmp_path / f"out {form}")
            require_same(tmp_path / f"out {form}", some)

    @pytest.mark.parametrize("form", ["masks", "stacks", "submission", "labelmap"])
    def test_an_image_that_shows_no_bone_teaches_nothing(self, tmp_path: Path, labels: Labels, form: str) -> None:
        first, *rest = labels
        source, classes = tmp_path / "source", tmp_path / "classes.json"
        classes.write_text(json.dumps(CLASS_MAP if form == "labelmap" else {}))

        def write(some: list[Path]) -> None:
            shutil.rmtree(source, ignore_errors=True)
            shown = {p: labels[p] if p in some else {} for p in labels}
            if form == "submission":
                write_submission(tmp_path / "source.csv", shown)
                return
            if form == "stacks":
                write_stacks(source, labels)
            else:
                source.mkdir()
            for image, polygons in shown.items():
                if form == "labelmap":
                    cv2.imwrite(str(source / f"{image.stem}.png"), flat_map(polygons))
                elif form == "masks":
                    write_masks(source, {image: labels[image]})
                    for path in [] if polygons else (source / image.stem).iterdir():
                        cv2.imwrite(str(path), np.zeros(SHAPE, np.uint8))
                elif not polygons:
                    np.save(source / f"{image.stem}.npy", np.zeros((29, *SHAPE), np.uint8))

        name = "masks" if form == "stacks" else form
        source = source.with_suffix(".csv") if form == "submission" else source
        arguments = (name, source, tmp_path / "images", tmp_path / "out")
        write([])
        with pytest.raises(LabelError, match=r"no image shows a bone"):
            convert(*arguments, classes=classes, skip_unlabelled=True)
        write(rest)
        if form != "submission":
            with pytest.raises(LabelError, match=r"no bone is drawn in .*hand0\.png; label it, or --skip-unlabelled"):
                convert(*arguments, classes=classes)
        result = convert(*arguments, classes=classes, skip_unlabelled=form != "submission")
        assert result.unlabelled == [first]
        assert [Path(item["image"]).name for item in result.items] == [path.name for path in rest]

    @pytest.mark.parametrize("form", ["masks", "stacks", "empty rows"])
    def test_a_bone_of_empty_masks_alone_is_unknown(self, tmp_path: Path, labels: Labels, form: str) -> None:
        two = {p: {n: q[n] for n in ("Radius", "Ulna")} for p, q in labels.items()}
        source, classes = tmp_path / "source", None
        if form == "empty rows":
            write_submission(source, two)
        elif form == "masks":
            write_masks(source, two)
            for image in labels:
                cv2.imwrite(str(source / image.stem / "Lunate.png"), np.zeros(SHAPE, np.uint8))
        else:
            write_stacks(source, labels)
            classes = tmp_path / "classes.json"
            for path in source.iterdir():
                stack = np.load(path)
                stack[[k for k in range(29) if NAMES[k] not in ("Radius", "Ulna")]] = 0
                np.save(path, stack)
        name = "submission" if form == "empty rows" else "masks"
        convert(name, source, tmp_path / "images", tmp_path / "out", classes=classes)
        assert {known for _, known, _ in converted(tmp_path / "out").values()} == {bits("Radius", "Ulna")}

    @pytest.mark.parametrize("form", ["coco", "submission", "labelmap"])
    def test_a_bone_that_no_image_has_is_unknown_though_it_is_declared(
        self, tmp_path: Path, labels: Labels, form: str
    ) -> None:
        two = {p: {n: q[n] for n in ("Radius", "Ulna")} for p, q in labels.items()}
        source, classes = tmp_path / "source", None
        if form == "coco":
            write_coco(source, two)
            _edit(lambda c: c["categories"].extend({"id": 50 + k, "name": n} for k, n in enumerate(NAMES[:27])))(source)
        elif form == "submission":
            write_submission(source, labels)
            rows = source.read_text().splitlines()
            source.write_text("\n".join(row for row in rows if row.split(",")[1] in ("class", "Radius", "Ulna")))
        else:
            source.mkdir()
            for image, polygons in two.items():
                cv2.imwrite(str(source / f"{image.stem}.png"), flat_map(polygons))
            classes = tmp_path / "classes.json"
            classes.write_text(json.dumps(CLASS_MAP))
        convert(form, source, tmp_path / "images", tmp_path / "out", classes=classes, missing="absent")
        assert {known for _, known, _ in converted(tmp_path / "out").values()} == {bits("Radius", "Ulna")}

    def test_a_class_of_several_outlines_is_their_union(self, tmp_path: Path, labels: Labels) -> None:
        """Rings that cross leave no hole."""
        image, polygons = next(iter(labels.items()))
        write_coco(tmp_path / "source", {image: polygons})
        content = json.loads((tmp_path / "source").read_text())
        ulna = next(c["id"] for c in content["categories"] if c["name"] == "Ulna")
        other = [0, 0, 30, 0, 30, 20, 0, 20]
        next(a for a in content["annotations"] if a["category_id"] == ulna)["segmentation"].append(other)
        content["annotations"].append(
            {"image_id": 7, "category_id": ulna, "segmentation": [[10, 10, 40, 10, 40, 30, 10, 30]]}
        )
        (tmp_path / "source").write_text(json.dumps(content))
        result = convert("coco", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        mask = mask_of(polygons["Ulna"])
        mask[:20, :30] = 1
        mask[10:30, 10:40] = 1
        planes = read_truth(result.items[0]["label"], SHAPE)
        np.testing.assert_array_equal((planes >> INDEX["Ulna"]) & 1, mask)
        assert result.areas[0, INDEX["Ulna"]] == mask.sum()
        assert len(result.unmentioned) == 5


class TestSubjects:
    def subjects(self, tmp_path: Path, labels: Labels, **options: object) -> dict[str, str]:
        write_submission(tmp_path / "source.csv", labels)
        result = convert("submission", tmp_path / "source.csv", tmp_path / "images", tmp_path / "out", **options)
        return {item["name"]: item["subject"] for item in result.items}

    def test_a_pattern_finds_them_in_the_path(self, tmp_path: Path, labels: Labels) -> None:
        found = self.subjects(tmp_path, labels, subject=r"hand(\d)")
        assert found == {p.name: p.name[4] for p in labels}

    def test_a_table_names_them(self, tmp_path: Path, labels: Labels) -> None:
        with (tmp_path / "people.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("subject", "image", "age"))
            rows.writerows((f"person {i // 3}", p.name, 40) for i, p in enumerate(labels))
            rows.writerow(("person 9", "another.png", 40))
        found = self.subjects(tmp_path, labels, subjects=tmp_path / "people.csv")
        assert found == {p.name: f"person {i // 3}" for i, p in enumerate(labels)}

    def test_images_in_no_folder_are_subjects_of_their_own(self, tmp_path: Path, labels: Labels) -> None:
        for path in labels:
            path.rename(tmp_path / "images" / path.name)
        assert self.subjects(tmp_path, labels) == {p.name: p.stem for p in labels}

    def test_an_image_without_a_subject_is_refused(self, tmp_path: Path, labels: Labels) -> None:
        with pytest.raises(LabelError, match=r"hand0\.png: --subject 'hand1.' finds no subject in 'P0/hand0\.png'"):
            self.subjects(tmp_path, labels, subject="hand1.")
        (tmp_path / "people.csv").write_text("image,subject\nhand0.png,a\n")
        with pytest.raises(LabelError, match=r"people\.csv: no row for image P0/hand1\.tif"):
            self.subjects(tmp_path, labels, subjects=tmp_path / "people.csv")
        (tmp_path / "people.csv").write_text("picture,subject\nhand0.png,a\n")
        with pytest.raises(ValueError, match=r"columns picture, subject; expected image and subject"):
            self.subjects(tmp_path, labels, subjects=tmp_path / "people.csv")
        (tmp_path / "people.csv").write_text("")
        with pytest.raises(ValueError, match=r"people\.csv: columns none; expected image and subject"):
            self.subjects(tmp_path, labels, subjects=tmp_path / "people.csv")
        (tmp_path / "people.csv").write_text("image,subject\nhand0.png,  \n")
        with pytest.raises(ValueError, match=r"people\.csv, line 2: expected an image and a subject"):
            self.subjects(tmp_path, labels, subjects=tmp_path / "people.csv")
        with pytest.raises(ValueError, match="not a regular expression"):
            self.subjects(tmp_path, labels, subject="(")

    def test_folds_never_part_them(self, tmp_path: Path, labels: Labels) -> None:
        self.subjects(tmp_path, labels)
        out = tmp_path / "out"
        for fold in range(3):
            lists = training_datalist(out, fold, 3)
            train, validate = ({i["subject"] for i in lists[k]} for k in ("training", "validation"))
            assert (len(train), len(validate), train & validate) == (2, 1, set())
        write_folds(tmp_path / "folds.json", out, 3)
        entries = json.loads((tmp_path / "folds.json").read_text())["training"]
        assert all((out / e[key]).is_file() for e in entries for key in ("image", "label"))
        fold_of = {entry["subject"]: entry["fold"] for entry in entries}
        validation = training_datalist(out, 1, folds_file=tmp_path / "folds.json")["validation"]
        assert {fold_of[item["subject"]] for item in validation} == {1}


class TestNames:
    def test_two_images_of_one_name_are_told_apart_by_their_folders(self, tmp_path: Path) -> None:
        labels = {}
        for path, polygons in write_images(tmp_path / "images").items():
            labels[path.rename(path.with_name(f"{path.stem[-1]}{path.suffix}"))] = polygons
        write_labelme(tmp_path / "source", tmp_path / "images", labels)
        arguments = ("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        with pytest.raises(LabelError, match=r"two images of the name 0\.png: .*P0/0\.png and .*P1/0\.png"):
            convert(*arguments)
        convert(*arguments, relative_names=True)
        found = converted(tmp_path / "out")
        for path, polygons in labels.items():
            np.testing.assert_array_equal(found[f"{path.parent.name}/{path.name}"][0], planes_of(polygons))

    def test_a_name_with_other_folders_than_the_image_is_another_image(self, tmp_path: Path, labels: Labels) -> None:
        path = next(iter(labels))
        write_csv(tmp_path / "source.csv", [(f"P9/{path.name}", encode_planes(planes_of(labels[path])))])
        with pytest.raises(LabelError, match=r"source\.csv: no image 'P9/hand0\.png' in "):
            convert("submission", tmp_path / "source.csv", tmp_path / "images", tmp_path / "out")

    def test_images_and_labels_may_move_together(self, tmp_path: Path, labels: Labels) -> None:
        write_submission(tmp_path / "source.csv", labels)
        (tmp_path / "here").mkdir()
        (tmp_path / "images").rename(tmp_path / "here" / "images")
        convert("submission", tmp_path / "source.csv", tmp_path / "here" / "images", tmp_path / "here" / "out")
        (tmp_path / "here").rename(tmp_path / "there")
        require_same(tmp_path / "there" / "out", labels)
        (tmp_path / "there" / "images" / "P0" / "hand0.png").unlink()
        with pytest.raises(
            ValueError, match=r"datalist\.json, entry 1: no image .*hand0\.png; run handseg convert again"
        ):
            training_datalist(tmp_path / "there" / "out", num_folds=3, verify=True)


def _edit(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return spoil


def _segmentation(value: object) -> Callable[[Path], None]:
    return _edit(lambda c: c["annotations"][0].update(segmentation=value))


COCO_FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "not JSON": (lambda path: path.write_text("{"), r"source: not JSON"),
    "another file": (lambda path: path.write_text("[]"), r"source: no list 'images'; expected COCO annotations"),
    "unknown class": (_edit(lambda c: c["categories"][0].update(name="Ulnaa")), r"unknown classes Ulnaa"),
    "two images of one id": (
        _edit(lambda c: c["images"].append(c["images"][0] | {"id": float(c["images"][0]["id"])})),
        "images: id . comes twice",
    ),
    "two categories of one id": (_edit(lambda c: c["categories"].append(c["categories"][0])), "id 3 comes twice"),
    "ids as pandas writes them": (
        _edit(lambda c: [a.update(image_id=float(a["image_id"]), category_id=99.0) for a in c["annotations"][:1]]),
        "source: annotation 1: category 99 is not in the file$",
    ),
    "no such category": (
        _edit(lambda c: c["annotations"][4].update(category_id=99)),
        r"annotation 5: category 99 is not in the file",
    ),
    "no such image id": (_edit(lambda c: c["annotations"][4].update(image_id=99)), r"annotation 5: image 99 is not"),
    "no such image": (_edit(lambda c: c["images"][0].update(file_name="gone.png")), r"no image 'gone\.png' in"),
    "another size": (
        _edit(lambda c: c["images"][0].update(width=80)),
        r"hand0\.png: a label of 80 x 96 pixels for an image of 72 x 96",
    ),
    "far outside": (
        _segmentation([[0, 0, 100, 0, 100, 9]]),
        r"annotation 1, finger-1: a point lies 28 pixels outside the image of 72 x 96",
    ),
    "two points": (_segmentation([[1, 1, 2, 2]]), "a polygon of 2 points; expected at least 3"),
    "odd count": (_segmentation([[1, 1, 2, 2, 3, 3, 4]]), "a polygon is not a list of x, y, x, y"),
    "empty": (_segmentation([]), "'segmentation' is empty"),
    "one outline in shares": (
        _segmentation([[0.2, 0.2, 0.6, 0.2, 0.6, 0.7, 0.2, 0.7]]),
        r"hand0\.png: all coordinates of finger-1 lie within 0 to 1, as shares",
    ),
    "a stray click": (
        _segmentation([[30.1, 30.1, 30.3, 30.1, 30.3, 30.3]]),
        r"hand0\.png: finger-1: outlined, but covers no pixel; correct the outline or delete it",
    ),
    "an empty run-length": (_segmentation({"size": [96, 72], "counts": [6912]}), "finger-1: outlined, but covers no"),
    "run-length of another size": (
        _segmentation({"size": [72, 96], "counts": [6912]}),
        "a label of 96 x 72 pixels for an image of 72 x 96",
    ),
    "run-length too short": (
        _segmentation({"size": [96, 72], "counts": "1"}),
        "a run-length of 1 pixels; expected 6912",
    ),
    "run-length damaged": (_segmentation({"size": [96, 72], "counts": "PPP\x7f"}), "in the wrong place"),
    "not labelled": (
        _edit(lambda c: c.update(annotations=[a for a in c["annotations"] if a["image_id"] != 7])),
        r"no bone is labelled in .*hand0\.png; label it, or --skip-unlabelled",
    ),
}


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


class TestFaults:
    @pytest.mark.parametrize("fault", COCO_FAULTS)
    def test_a_fault_of_a_coco_file_is_named_and_nothing_written(
        self, tmp_path: Path, labels: Labels, fault: str
    ) -> None:
        spoil, message = COCO_FAULTS[fault]
        write_coco(tmp_path / "source", labels)
        spoil(tmp_path / "source")
        with pytest.raises(ValueError, match=message):
            convert("coco", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        assert {p.name for p in tmp_path.iterdir()} == {"images", "source"}

    def test_all_unknown_classes_are_listed_and_may_be_left_out(self, tmp_path: Path, labels: Labels) -> None:
        more = {p: q | {"Ring": q["Ulna"], "Metal Implant": q["Radius"]} for p, q in labels.items()}
        write_labelme(tmp_path / "source", tmp_path / "images", more)
        arguments = ("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        with pytest.raises(ValueError, match="unknown classes Metal Implant, Ring; give each a bone"):
            convert(*arguments)
        (tmp_path / "classes.json").write_text('{"Metal Implant": null}')
        convert(*arguments, classes=tmp_path / "classes.json", ignore=["Ring"])
        require_same(tmp_path / "out", labels)

    @pytest.mark.parametrize("name", ["finger 1.1", "finger-1-1", "Finger_1/1", "finger-11 (1)", "finger-1.0"])
    def test_numbers_that_a_sign_parts_are_not_one_number(self, tmp_path: Path, labels: Labels, name: str) -> None:
        write_coco(tmp_path / "source", labels)
        _edit(lambda c: [x.update(name=name) for x in c["categories"] if x["name"] == "finger-11"])(tmp_path / "source")
        with pytest.raises(ValueError, match=f"unknown classes {re.escape(name)}; give each a bone"):
            convert("coco", tmp_path / "source", tmp_path / "images", tmp_path / "out")

    def test_signs_and_case_of_a_name_do_not_matter(self, tmp_path: Path, labels: Labels) -> None:
        write_coco(tmp_path / "source", labels)
        other = {"finger-11": "Finger_11 ", "finger-1": "FINGER 1", "Ulna": "ulna."}
        _edit(lambda c: [x.update(name=other.get(x["name"], x["name"])) for x in c["categories"]])(tmp_path / "source")
        convert("coco", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        require_same(tmp_path / "out", labels)

    def test_a_class_map_matches_as_names_do(
        self, tmp_path: Path, labels: Labels, caplog: pytest.LogCaptureFixture
    ) -> None:
        def known(classes: object, *ignore: str) -> int:
            caplog.clear()
            (tmp_path / "classes.json").write_text(json.dumps(classes))
            arguments = ("coco", tmp_path / "source", tmp_path / "images", tmp_path / "out")
            return convert(*arguments, classes=tmp_path / "classes.json", ignore=ignore).items[0]["known"]

        write_coco(tmp_path / "source", labels)
        for classes, ignore in (
            ({"RADIUS": None}, []),
            ({"Radius ": None}, []),
            ({}, ["radius"]),
            ({"Radius": "Ulna"}, ["radius"]),
        ):
            assert known(classes, *ignore) == ALL_KNOWN & ~bits("Radius")
            assert not caplog.messages
        assert known({"radius": "Ulna", "Radius": None}) == ALL_KNOWN & ~bits("Radius")  # to the letter
        with pytest.raises(ValueError, match="class Radius may be radius or RADIUS of --classes; name it to"):
            known({"radius": "Ulna", "RADIUS": None})
        assert known({"Radiuss": None}, "Ring") == ALL_KNOWN
        (line,) = caplog.messages
        assert "no class 'Radiuss' (did you mean Radius?), 'Ring'; --classes or --ignore" in line

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "not JSON"),
            ("[1]", "expected an object of class -> bone"),
            ('{"a": "Ulnar", "b": ["finger-0"]}', r"'a': 'Ulnar' \(did you mean Ulna\?\); 'b': 'finger-0'"),
            ('{"a": 7}', "no such bone: 'a': 7"),
            ('{"a": "Ulna", "b": null, "a": "Radius"}', "class 'a' comes twice"),
        ],
    )
    def test_a_class_map_that_can_not_be_right(
        self, tmp_path: Path, labels: Labels, content: str, message: str
    ) -> None:
        write_coco(tmp_path / "source", labels)
        (tmp_path / "classes.json").write_text(content)
        with pytest.raises(ValueError, match=rf"classes\.json: .*{message}"):
            convert(
                "coco", tmp_path / "source", tmp_path / "images", tmp_path / "out", classes=tmp_path / "classes.json"
            )

    @pytest.mark.parametrize("name", ["01", "0", "+1", "1.0", "\uff11", ""])
    def test_values_of_label_maps_are_plain_numbers(self, tmp_path: Path, labels: Labels, name: str) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "classes.json").write_text(json.dumps({name: "Ulna"}))
        with pytest.raises(LabelError, match=rf"class '{re.escape(name)}' of --classes; expected the numbers"):
            convert(
                "labelmap",
                tmp_path / "source",
                tmp_path / "images",
                tmp_path / "out",
                classes=tmp_path / "classes.json",
            )

    def test_two_masks_of_one_bone_and_image_are_both_named(self, tmp_path: Path, labels: Labels) -> None:
        write_masks(tmp_path / "source", labels)
        other = tmp_path / "source" / "Ulna" / "hand0.png"
        other.parent.mkdir()
        (tmp_path / "source" / "hand0" / "Ulna.png").rename(other)
        convert("masks", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        for second in ("Ulna.png", "ULNA.bmp"):
            cv2.imwrite(str(tmp_path / "source" / "hand0" / second), np.zeros(SHAPE, np.uint8))
            with pytest.raises(LabelError, match=r"(?i)two masks of Ulna, ") as raised:
                convert("masks", tmp_path / "source", tmp_path / "images", tmp_path / "out")
            assert str(other) in str(raised.value)
            assert second in str(raised.value)
            (tmp_path / "source" / "hand0" / second).unlink()

    def test_a_labelme_file_between_two_images_is_refused(self, tmp_path: Path, labels: Labels) -> None:
        write_labelme(tmp_path / "source", tmp_path / "images", labels)
        file = tmp_path / "source" / "P0" / "hand0.json"
        _edit(lambda c: c.update(imagePath="gone.png"))(file)
        convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        _edit(lambda c: c.update(imagePath="hand10.png"))(file)
        with pytest.raises(LabelError, match=r"hand0\.json: named after .*hand0\.png, but its 'imagePath' is .*hand10"):
            convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out")

    def test_image_path_decides_between_images_that_differ_in_their_suffix(
        self, tmp_path: Path, labels: Labels
    ) -> None:
        write_labelme(tmp_path / "source", tmp_path / "images", labels)
        file = tmp_path / "source" / "P0" / "hand0.json"
        other = tmp_path / "images" / "P0" / "hand0.bmp"
        cv2.imwrite(str(other), np.zeros(SHAPE, np.uint8))
        for stated in ("hand0.png", "../images/P0/hand0.png", "..\\images\\hand0.png"):
            _edit(lambda c, stated=stated: c.update(imagePath=stated))(file)
            convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out")
            require_same(tmp_path / "out", labels)
        _edit(lambda c: c.update(imagePath="hand0.bmp"))(file)
        result = convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        assert str(other) in {item["image"] for item in result.items}
        for stated in ("hand0.dcm", ""):
            _edit(lambda c, stated=stated: c.update(imagePath=stated))(file)
            with pytest.raises(LabelError, match=r"'P0/hand0' is the name of several images: "):
                convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out")

    def test_masks_that_lie_in_other_places_are_told_where_they_belong(self, tmp_path: Path, labels: Labels) -> None:
        def refused(source: str, images: Path = tmp_path / "images") -> str:
            with pytest.raises(LabelError) as raised:
                convert("masks", tmp_path / source, images, tmp_path / "out")
            return str(raised.value)

        (tmp_path / "flat").mkdir()
        for name in ("hand0.png", "hand10.nii.gz"):
            (tmp_path / "flat" / name).write_bytes(b"")
        assert refused("flat").count("not in a folder of an image or a class; masks lie in <image>/<class>.png or") == 2
        write_masks(tmp_path / "split" / "train", labels, by_bone=True)
        assert "no image 'train/Ulna' or 'Ulna/hand0' in" in refused("split")
        shutil.rmtree(tmp_path / "split")
        first = next(iter(labels)).parent
        write_masks(tmp_path / "split" / "train", {p: q for p, q in labels.items() if p.parent == first}, by_bone=True)
        text = refused("split", first)
        assert text.count("\n") == 0
        assert f"are classes, convert {tmp_path / 'split' / 'train'}" in text

    def test_a_stack_with_the_channels_last_is_told_by_its_shape(self, tmp_path: Path, labels: Labels) -> None:
        write_stacks(tmp_path / "source", labels)
        for path in (tmp_path / "source").iterdir():
            np.save(path, np.load(path).transpose(1, 2, 0))
        with pytest.raises(LabelError) as raised:
            convert("masks", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        words = "an array of shape (96, 72, 29); expected a stack (C, H, W), here (C, 96, 72)"
        assert str(raised.value).count(words) == len(str(raised.value).splitlines()) == 6

    def test_a_backslash_in_a_name_is_tried_before_folders_of_windows(self, tmp_path: Path, labels: Labels) -> None:
        first, *others = labels
        odd = first.with_name("a\\b.png")
        moved = {(odd if path == first else path): polygons for path, polygons in labels.items()}
        first.rename(odd)
        write_submission(tmp_path / "source.csv", moved)
        convert("submission", tmp_path / "source.csv", tmp_path / "images", tmp_path / "out")
        require_same(tmp_path / "out", moved)
        assert Images(tmp_path / "images").find(f"P0\\{others[0].name}") == others[0]

    def test_the_folder_that_one_is_in_is_not_replaced(
        self, tmp_path: Path, labels: Labels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_labelme(tmp_path / "source", tmp_path / "images", labels)
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        for out in (".", tmp_path / "here"):
            with pytest.raises(ValueError, match="here: the command replaces this folder, and you are working in it"):
                convert("labelme", tmp_path / "source", tmp_path / "images", out)
        assert Path.cwd() == tmp_path / "here"
        convert("labelme", tmp_path / "source", tmp_path / "images", "below")
        require_same(tmp_path / "here" / "below", labels)

    def test_images_of_more_pixels_than_allowed(self, tmp_path: Path, labels: Labels) -> None:
        write_masks(tmp_path / "source", labels)
        arguments = ("masks", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        with pytest.raises(LabelError, match=r"hand0.*: 72 x 96 pixels are more than 6911, the most that"):
            convert(*arguments, max_pixels=96 * 72 - 1)
        convert(*arguments, max_pixels=96 * 72)

    def test_masks_that_are_none(self, tmp_path: Path, labels: Labels) -> None:
        write_masks(tmp_path / "source", labels)
        folder = tmp_path / "source" / "hand0"
        cv2.imwrite(str(folder / "Ulna.png"), np.arange(96 * 72, dtype=np.uint8).reshape(SHAPE))
        cv2.imwrite(str(tmp_path / "source" / "hand1" / "Radius.png"), np.zeros(SHAPE[::-1], np.uint8))
        (tmp_path / "source" / "hand10" / "Lunate.png").write_bytes(b"no image")
        with pytest.raises(LabelError) as raised:
            convert("masks", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        lines = str(raised.value).splitlines()
        assert lines[0].endswith("3 faults, nothing was written:")
        assert (
            "hand0: Ulna.png: 256 values, 1 and 2 among them; expected 0 and one other: threshold the mask" in lines[1]
        )
        assert "hand1: Radius.png: a label of 96 x 72 pixels for an image of 72 x 96" in lines[2]
        assert "hand10: Lunate.png: not an image" in lines[3]
        (folder / "notes.txt").write_text("x")
        cv2.imwrite(str(tmp_path / "source" / "alone.png"), np.zeros(SHAPE, np.uint8))
        with pytest.raises(
            LabelError, match=r"alone\.png: not in a folder(.|\n)*notes\.txt: not a mask; expected \.png"
        ):
            convert("masks", tmp_path / "source", tmp_path / "images", tmp_path / "out")

    @pytest.mark.parametrize("small", [False, True])
    def test_an_outlined_bone_is_never_absent(self, tmp_path: Path, labels: Labels, small: bool) -> None:
        write_labelme(tmp_path / "source", tmp_path / "images", labels)
        file = tmp_path / "source" / "P0" / "hand0.json"
        empty = {"shape_type": "mask", "points": [[30, 30], [32, 32]]}
        empty["mask"] = in_base64(cv2.imencode(".png", np.zeros((3, 3), np.uint8))[1].tobytes())
        whole = file.read_text()
        for change, message in (
            ({"points": [[0.2, 0.2], [0.6, 0.2], [0.6, 0.7]]}, "all coordinates of finger-3 lie within 0 to 1"),
            (empty, "finger-3: outlined, but covers no pixel"),
        ):
            file.write_text(whole)
            _edit(lambda c, change=change: c["shapes"][2].update(change))(file)
            with pytest.raises(LabelError, match=rf"hand0\.json: {message}"):
                convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out", small_bones=small)
        file.write_text(whole)
        _edit(lambda c: c["shapes"].append(c["shapes"][2] | empty))(file)  # beside the bone
        convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out", small_bones=small)
        require_same(tmp_path / "out", labels)

    def test_shapes_of_labelme_that_are_no_polygons(self, tmp_path: Path, labels: Labels) -> None:
        write_labelme(tmp_path / "source", tmp_path / "images", labels)
        _edit(lambda c: c["shapes"][2].update(shape_type="arrow"))(tmp_path / "source" / "P0" / "hand0.json")
        with pytest.raises(LabelError, match=r"hand0\.json: shape 3, finger-3: shape_type 'arrow'; expected polygon"):
            convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"points": [[1, 1]]}, "mask of 1 points; expected the two corners of its box"),
            ({"points": None}, "'points' is not a list of \\[x, y\\] pairs"),
            ({"mask": None}, "no PNG in base64"),
            ({"mask": "AAAA"}, "no PNG in base64"),
            ({"mask": "nothing!"}, "no PNG in base64"),
            ({"points": [[1, 1], [9, 9]]}, "a mask of 3 x 4 pixels in a box of 9 x 9"),
            ({"points": [[-1, 1], [1, 4]]}, "reaches beyond the image"),
            ({"points": [[1e308, 1], [1e309, 2]]}, "some points are NaN or infinite"),
            (
                {"mask": in_base64(png(30_000, 30_000, 8, 0, bytes(9)))},
                "a mask of 30000 x 30000 pixels in a box of 3 x 4",
            ),
            ({"mask": in_base64(plain_png(np.array([[0, 1, 2]] * 4), 8, 0))}, "3 values, 1 and 2 among them"),
            ({"mask": in_base64(plain_png(np.array([[[9, 0], [9, 1], [9, 1]]] * 4), 8, 4))}, "in its alpha channel"),
        ],
    )
    def test_masks_of_labelme_that_do_not_fit(
        self, tmp_path: Path, labels: Labels, change: dict[str, object], message: str
    ) -> None:
        write_labelme(tmp_path / "source", tmp_path / "images", labels)
        png = base64.b64encode(cv2.imencode(".png", np.ones((4, 3), np.uint8))[1].tobytes()).decode()
        right = {"shape_type": "mask", "points": [[4, 5], [6, 8]], "mask": png}
        file = tmp_path / "source" / "P0" / "hand0.json"
        _edit(lambda c: c["shapes"][2].update(right))(file)
        convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "right")
        label = next((tmp_path / "right" / "labels").rglob("hand0*"))
        rows, columns = np.nonzero(read_truth(label, SHAPE) >> NAMES.index("finger-3") & 1)
        assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [
            (y, x) for y in (5, 6, 7, 8) for x in (4, 5, 6)
        ]
        _edit(lambda c: c["shapes"][2].update(change))(file)
        with pytest.raises(LabelError, match=rf"hand0\.json: shape 3, finger-3: .*{message}"):
            convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out")

    def test_a_mask_of_labelme_goes_by_the_grey_of_its_palette(self, tmp_path: Path, labels: Labels) -> None:
        write_labelme(tmp_path / "source", tmp_path / "images", labels)
        white_first = plain_png(np.array([[1, 0, 1], [1, 1, 0]]), 1, 3, chunk(b"PLTE", bytes([255] * 3 + [0] * 3)))
        change = {"shape_type": "mask", "points": [[4, 5], [6, 6]], "mask": in_base64(white_first)}
        _edit(lambda c: c["shapes"][2].update(change))(tmp_path / "source" / "P0" / "hand0.json")
        convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out", small_bones=True)
        label = next((tmp_path / "out" / "labels").rglob("hand0*"))
        rows, columns = np.nonzero(read_truth(label, SHAPE) >> NAMES.index("finger-3") & 1)
        assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(5, 5), (6, 6)]

    def test_unlabelled_images_are_left_out_if_asked_for(self, tmp_path: Path, labels: Labels) -> None:
        first = next(iter(labels))
        write_labelme(tmp_path / "source", tmp_path / "images", labels | {first: {}})
        arguments = ("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        with pytest.raises(LabelError, match=r"hand0\.json: no bone is labelled in"):
            convert(*arguments)
        result = convert(*arguments, skip_unlabelled=True)
        assert result.unlabelled == [first]
        del labels[first]
        require_same(tmp_path / "out", labels)

    def test_a_folder_with_other_files_is_not_replaced_an_earlier_conversion_is(
        self, tmp_path: Path, labels: Labels
    ) -> None:
        write_submission(tmp_path / "source.csv", labels)
        arguments = ("submission", tmp_path / "source.csv", tmp_path / "images", tmp_path / "out")
        convert(*arguments)
        first = next(iter(labels))
        del labels[first]
        write_submission(tmp_path / "source.csv", labels)
        convert(*arguments)
        require_same(tmp_path / "out", labels)
        assert not list((tmp_path / "out").rglob(f"{first.name}*"))
        (tmp_path / "out" / "notes.txt").write_text("mine")
        with pytest.raises(FileExistsError, match=r"out holds notes\.txt, which convert did not write"):
            convert(*arguments)
        with pytest.raises(FileExistsError, match="images holds P0"):
            convert(*arguments[:3], tmp_path / "images")
        assert (tmp_path / "out" / "notes.txt").read_text() == "mine"

    def test_an_error_leaves_an_earlier_conversion_as_it_was(self, tmp_path: Path, labels: Labels) -> None:
        write_coco(tmp_path / "source", labels)
        convert("coco", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        _segmentation([[1, 1]])(tmp_path / "source")
        with pytest.raises(LabelError, match="a polygon of 1 points"):
            convert("coco", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        require_same(tmp_path / "out", labels)


class TestLabelFiles:
    def test_any_bit_planes_come_back(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        for planes in (
            rng.integers(0, ALL_KNOWN, (5, 7), np.int32, endpoint=True),
            np.zeros((3, 4), np.int32),
            np.full((1, 6), ALL_KNOWN, np.int32),
        ):
            write_planes(tmp_path / "a.npz", planes)
            np.testing.assert_array_equal(read_planes(tmp_path / "a.npz", planes.shape), planes)

    def test_what_is_damaged_or_of_another_size_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        write_planes(path, np.arange(35, dtype=np.int32).reshape(5, 7))
        with pytest.raises(LabelError, match=r"a\.npz: a label of 7 x 5 pixels for an image of 5 x 7"):
            read_planes(path, (7, 5))
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(LabelError, match=r"a\.npz: not a label file of handseg convert, or damaged"):
            read_planes(path, (5, 7))
        np.savez(path, shape=[5, 7], values=np.array([1, -1], np.int32), lengths=np.array([34, 1], np.int32))
        with pytest.raises(LabelError, match="bits beyond those of the 29 bones"):
            read_planes(path, (5, 7))
        np.savez(path, shape=[5, 7], values=np.array([1, 2], np.int32), lengths=np.array([34, 2], np.int32))
        with pytest.raises(LabelError, match="the runs do not add up to 7 x 5 pixels"):
            read_planes(path, (5, 7))
        path.unlink()
        with pytest.raises(LabelError, match=r"a\.npz: No such file"):
            read_planes(path, (5, 7))

    @pytest.mark.parametrize("known", [0, -1, 1 << 29, True, "7", None])
    def test_a_datalist_with_a_wrong_known_is_refused(self, tmp_path: Path, labels: Labels, known: object) -> None:
        write_submission(tmp_path / "source.csv", labels)
        convert("submission", tmp_path / "source.csv", tmp_path / "images", tmp_path / "out")
        _edit(lambda c: c["training"][1].update(known=known))(tmp_path / "out" / "datalist.json")
        with pytest.raises(ValueError, match=rf"datalist\.json, entry 2: 'known' is {known!r}; expected"):
            training_datalist(tmp_path / "out", num_folds=3)


def test_run_lengths_equal_those_of_pycocotools() -> None:
    rng = np.random.default_rng(3)
    for share in (0.02, 0.5, 0.98, 1.0, 0.0):
        mask = np.asfortranarray((rng.random((61, 83)) < share).astype(np.uint8))
        blocks = np.asfortranarray(np.kron(mask[:12, :16], np.ones((40, 30), np.uint8)))
        for image in (mask, blocks):
            counts = coco_mask.encode(image)["counts"].decode()
            found = decode_rle({"size": list(image.shape), "counts": counts}, image.shape)
            np.testing.assert_array_equal(found, image != 0)


def test_the_command_says_what_is_known_and_stops_in_one_line(
    tmp_path: Path, labels: Labels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def handseg(*arguments: str) -> int | str | None:
        monkeypatch.setattr(sys, "argv", ["handseg", "convert", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        return exit_.value.code

    write_masks(tmp_path / "source", {p: {n: q[n] for n in ("Radius", "Ulna")} for p, q in list(labels.items())[:5]})
    images, out = str(tmp_path / "images"), tmp_path / "out"
    arguments = ("masks", str(tmp_path / "source"), "--images", images, "--out", str(out), "--ignore", "Ring")
    assert handseg(*arguments) == 0
    said = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line.split("│")[3:5] for line in said.splitlines() if "│" in line}
    assert [int(n) for n in rows["Ulna"]] == [5, 5]
    assert [int(n) for n in rows["finger-1"]] == [0, 0]
    assert "1 image that the source does not name, left out:" in said
    assert "5 images of 3 subjects" in said
    assert "absent" not in said

    first, second, *_ = labels
    lacking = {first: ["Ulna", "Lunate"], second: ["Ulna"]}
    some = {p: {n: o for n, o in q.items() if n not in lacking.get(p, ())} for p, q in labels.items()}
    write_coco(tmp_path / "source.json", some)
    coco = ("coco", str(tmp_path / "source.json"), "--images", images, "--out", str(tmp_path / "coco"))
    assert handseg(*coco) == 0
    assert "without a label, and so absent: Lunate in 1 image, Ulna in 2 images. If " in capsys.readouterr().out
    for meaning in ("unknown", "absent"):
        assert handseg(*coco, "--missing", meaning) == 0
        assert "absent" not in capsys.readouterr().out

    (out / "notes.txt").write_text("mine")
    assert handseg(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"handseg: {out} holds notes.txt, which convert did not write; choose another folder (--out)"


class TestLinksAndDamagedFiles:
    def test_linked_folders_of_masks_are_read(self, tmp_path: Path, labels: Labels) -> None:
        write_masks(tmp_path / "source", labels)
        expected = convert("masks", tmp_path / "source", tmp_path / "images", tmp_path / "plain")
        (tmp_path / "linked").mkdir()
        for folder in (tmp_path / "source").iterdir():
            (tmp_path / "linked" / folder.name).symlink_to(folder)
        found = convert("masks", tmp_path / "linked", tmp_path / "images", tmp_path / "out")
        np.testing.assert_array_equal(found.areas, expected.areas)
        assert [item["known"] for item in found.items] == [item["known"] for item in expected.items]

    def test_a_link_to_a_folder_stays_one(self, tmp_path: Path, labels: Labels) -> None:
        write_masks(tmp_path / "source", labels)
        (tmp_path / "disk").mkdir()
        (tmp_path / "out").symlink_to(tmp_path / "disk")
        for _ in range(2):
            convert("masks", tmp_path / "source", tmp_path / "images", tmp_path / "out")
            assert (tmp_path / "out").is_symlink()
            assert (tmp_path / "disk" / "datalist.json").is_file()
        require_same(tmp_path / "out", labels)

    def test_labels_are_not_written_among_their_source(self, tmp_path: Path, labels: Labels) -> None:
        write_masks(tmp_path / "source", labels)
        with pytest.raises(ValueError, match="lies in"):
            convert("masks", tmp_path / "source", tmp_path / "images", tmp_path / "source" / "out")

    @pytest.mark.parametrize("size", [(SHAPE[0] * 10.0, SHAPE[1] * 10.0), ("x", 3), (None, 3), (SHAPE[0] + 0.5, 3)])
    def test_a_size_that_is_stated_is_checked(self, tmp_path: Path, labels: Labels, size: tuple[object, ...]) -> None:
        write_labelme(tmp_path / "source", tmp_path / "images", labels)
        file = tmp_path / "source" / "P0" / "hand0.json"
        _edit(lambda c: c.update(imageHeight=float(SHAPE[0]), imageWidth=SHAPE[1]))(file)
        convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "right")
        _edit(lambda c: c.update(imageHeight=size[0], imageWidth=size[1]))(file)
        with pytest.raises(LabelError, match=r"hand0\.json: a label of"):
            convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out")

    @pytest.mark.parametrize(
        ("stack", "message"),
        [
            (np.full((1, *SHAPE), np.nan, np.float32), "finite"),
            (np.full((1, *SHAPE), "x"), "expected numbers"),
            (np.zeros((0, *SHAPE), np.uint8), r"an array of shape \(0, 96, 72\); expected a stack"),
        ],
    )
    def test_stacks_that_hold_no_numbers(self, tmp_path: Path, labels: Labels, stack: np.ndarray, message: str) -> None:
        write_masks(tmp_path / "source", labels)
        name = next(iter(labels))
        (tmp_path / "stacks").mkdir()
        path = tmp_path / "stacks" / f"{Path(name).stem}.npy"
        np.save(path, stack)
        (tmp_path / "c.json").write_text('{"0": "Ulna"}')
        arguments = ("masks", tmp_path / "stacks", tmp_path / "images", tmp_path / "out")
        with pytest.raises(LabelError, match=message):
            convert(*arguments, classes=tmp_path / "c.json")
        with path.open("wb") as file:
            np.savez(file, a=np.zeros(3))
        with pytest.raises(LabelError, match="a NumPy archive"):
            convert(*arguments, classes=tmp_path / "c.json")

    def test_masks_in_nifti_may_be_laid_either_way(self, tmp_path: Path, labels: Labels) -> None:
        for image, polygons in labels.items():
            (tmp_path / "source" / image.stem).mkdir(parents=True)
            for name in ("Radius", "Ulna"):
                file = tmp_path / "source" / image.stem / f"{name}.nii"
                nibabel.save(nibabel.nifti1.Nifti1Image(mask_of(polygons[name]), np.eye(4)), file)
        arguments = ("masks", tmp_path / "source", tmp_path / "images", tmp_path / "out")
        with pytest.raises(LabelError, match=r"Radius\.nii: NIfTI whose axes are rows, columns.*give --rows-first"):
            convert(*arguments)
        convert(*arguments, rows_first=True)
        require_same(tmp_path / "out", labels, bits("Radius", "Ulna"))
        with pytest.raises(ValueError, match="not for labelme"):
            convert("labelme", *arguments[1:], rows_first=True)

    @pytest.mark.parametrize(
        ("suffix", "place", "damage"),
        [
            (".nii.gz", 12, b"\xff" * 20),
            (".nii", 70, b"\x07\x77"),
            (".nii", 40, b"\xff\xff"),
            (".nii", 42, b"\xff\xff"),
        ],
    )
    def test_damaged_nifti_is_one_line(
        self, tmp_path: Path, labels: Labels, suffix: str, place: int, damage: bytes
    ) -> None:
        name = next(iter(labels))
        (tmp_path / "maps").mkdir()
        path = tmp_path / "maps" / f"{Path(name).stem}{suffix}"
        nibabel.save(nibabel.nifti1.Nifti1Image(np.ones(SHAPE[::-1], np.uint8), np.eye(4)), path)
        (tmp_path / "c.json").write_text('{"1": "Ulna"}')
        content = bytearray(path.read_bytes())
        content[place : place + len(damage)] = damage
        path.write_bytes(content)
        arguments = ("labelmap", tmp_path / "maps", tmp_path / "images", tmp_path / "out")
        with pytest.raises(LabelError, match=r"hand0\.nii.*NIfTI"):
            convert(*arguments, classes=tmp_path / "c.json", skip_unlabelled=True)
