"""Names of files as they come: Unicode forms, files of systems, links, long names, signs with a meaning elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import cv2
import openpyxl
import pytest

from handseg_monai.bones import NAMES
from handseg_monai.data import DatasetError, inference_datalist, read_exclude, training_datalist, write_folds
from handseg_monai.data.confidence import HEADER as CONFIDENCE
from handseg_monai.data.confidence import confidence_rows
from handseg_monai.data.folds.metadata import read_metadata
from handseg_monai.data.labels import convert
from handseg_monai.data.reading.images import find_images
from handseg_monai.files import atomic_folder, atomic_open, find_files, with_ending
from handseg_monai.rle import encode_planes, read_csv, write_csv
from handseg_monai.score.evaluation import evaluate
from tests.bundle_runs import TINY, save_untrained
from tests.conftest import write_drawn_dataset, write_label
from tests.label_forms import Polygons, planes_of, write_coco, write_images, write_labelme, write_masks
from tests.programs import handseg

KOREAN = "환자"
EMPTY = [""] * 29


def nfd(path: str | Path) -> str:
    return normalize("NFD", str(path))


@pytest.fixture
def labels(tmp_path: Path) -> dict[Path, Polygons]:
    """Four images, their names and folders as macOS writes them, and their polygons by the names that people type."""
    drawn = write_images(tmp_path / "images", subjects=2)
    named = {}
    for path, polygons in drawn.items():
        to = path.parent.with_name(nfd(f"{KOREAN}{path.parent.name}")) / nfd(f"손_{path.name}")
        to.parent.mkdir(exist_ok=True)
        path.rename(to)
        named[Path(normalize("NFC", str(to)))] = polygons
    return named


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two subjects in the competition's layout: names of images and folders decomposed, those of labels composed."""
    root = write_drawn_dataset(tmp_path / "data", subjects=2)
    for part, form in (("DCM", "NFD"), ("outputs_json", "NFC")):
        for folder in (root / "train" / part).iterdir():
            for path in folder.iterdir():
                path.rename(path.with_name(normalize(form, f"손_{path.name}")))
            folder.rename(folder.with_name(normalize(form, f"{KOREAN}{folder.name}")))
    return root


def write_in_form(form: str, path: Path, names: list[str]) -> Path:
    """Write a submission of empty masks."""
    write_csv(path, [(normalize(form, name), EMPTY) for name in names])
    return path


def write_drawn(form: str, path: Path, labels: dict[Path, Polygons]) -> Path:
    """Write the truth of labels as a submission."""
    write_csv(path, [(normalize(form, image.name), encode_planes(planes_of(of))) for image, of in labels.items()])
    return path


class TestUnicodeForms:
    @pytest.mark.parametrize("form", ["coco", "labelme", "masks", "submission"])
    def test_labels_find_their_images(self, tmp_path: Path, labels: dict[Path, Polygons], form: str) -> None:
        if form == "coco":
            write_coco(tmp_path / "source", labels)
        elif form == "labelme":
            write_labelme(tmp_path / "source", tmp_path / "images", labels)
        elif form == "masks":
            write_masks(tmp_path / "source", labels)
        else:
            write_drawn("NFC", tmp_path / "source", labels)
        converted = convert(form, tmp_path / "source", tmp_path / "images", tmp_path / "out")  # type: ignore[arg-type]
        assert {item["name"] for item in converted.items} == {nfd(path.name) for path in labels}
        assert {item["subject"] for item in converted.items} == {f"{KOREAN}P0", f"{KOREAN}P1"}
        assert len(training_datalist(tmp_path / "out", num_folds=2)["training"]) == 2

    def test_class_maps_and_ignored_classes(self, tmp_path: Path, labels: dict[Path, Polygons]) -> None:
        renamed = {
            path: {nfd("요골"): of["Radius"], nfd("반지"): of["Ulna"], "finger-1": of["finger-1"]}
            for path, of in labels.items()
        }
        write_labelme(tmp_path / "source", tmp_path / "images", renamed)
        (tmp_path / "classes.json").write_text(json.dumps({"요골": "Radius"}))
        arguments = {"classes": tmp_path / "classes.json", "ignore": ["반지"]}
        done = convert("labelme", tmp_path / "source", tmp_path / "images", tmp_path / "out", **arguments)  # type: ignore[arg-type]
        assert [NAMES[k] for k in done.areas.any(axis=0).nonzero()[0]] == ["finger-1", "Radius"]

    def test_confidences_and_subjects(self, tmp_path: Path, labels: dict[Path, Polygons]) -> None:
        names = [path.name for path in labels]
        source = write_drawn("NFC", tmp_path / "s.csv", labels)
        with atomic_open(tmp_path / "confidence.csv") as file:
            rows = [CONFIDENCE, *(row for name in names for row in confidence_rows(nfd(name), [1.0] * 29))]
            file.writelines(f"{','.join(row)}\n" for row in rows)
        with atomic_open(tmp_path / "people.csv") as file:
            file.writelines(["image,subject\n", *(f"{name},{nfd(KOREAN)}\n" for name in names)])
        arguments = {"confidence": tmp_path / "confidence.csv", "subjects": tmp_path / "people.csv"}
        done = convert("submission", source, tmp_path / "images", tmp_path / "out", **arguments)  # type: ignore[arg-type]
        assert [item["subject"] for item in done.items] == [KOREAN] * 4
        told = convert("submission", source, tmp_path / "images", tmp_path / "told", subject=f"^{nfd(KOREAN)}P(.)")
        assert [item["subject"] for item in told.items] == ["0", "0", "1", "1"]
        told = convert("submission", source, tmp_path / "images", tmp_path / "told", subject=f"^({KOREAN}.)")
        assert {item["subject"] for item in told.items} == {f"{KOREAN}P"}

    def test_the_competitions_layout(self, tmp_path: Path, dataset: Path) -> None:
        lists = training_datalist(dataset, num_folds=2, verify=True)
        assert {item["subject"] for data in lists.values() for item in data} == {f"{KOREAN}ID001", f"{KOREAN}ID002"}
        folds = write_folds(tmp_path / "folds.json", dataset, 2)
        (tmp_path / "mac.json").write_text(nfd((tmp_path / "folds.json").read_text(encoding="utf-8")))
        for fold in range(2):
            both = [training_datalist(dataset, fold, folds_file=tmp_path / f"{n}.json") for n in ("folds", "mac")]
            assert both[0] == both[1]
            assert {item["subject"] for item in both[0]["validation"]} == {s for s, f in folds.items() if f == fold}
        audited = handseg("audit", dataset, "--out", tmp_path / "audit")
        assert audited.returncode == 0
        assert "pairing" not in audited.stdout

    def test_lists_to_leave_out_and_metadata(self, tmp_path: Path, dataset: Path) -> None:
        first = find_images(dataset)[0]
        for form in ("NFC", "NFD"):
            line = normalize(form, f"{first.relative_to(dataset).as_posix()},반지")
            (tmp_path / "exclude.txt").write_text(line, encoding="utf-8")
            assert read_exclude(tmp_path / "exclude.txt", dataset) == {first: "반지"}
        book = openpyxl.Workbook()
        for row in ((nfd("ID"), nfd("키")), (nfd(KOREAN), 171)):
            book.active.append(row)
        book.save(tmp_path / "meta_data.xlsx")
        assert read_metadata(tmp_path / "meta_data.xlsx")[KOREAN].height == 171

    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    def test_what_reads_a_submission(self, tmp_path: Path, dataset: Path, form: str) -> None:
        names = [path.name for path in find_images(dataset)]
        prediction = write_in_form(form, tmp_path / "s.csv", names)
        assert len(evaluate(prediction, dataset, progress=False).names) == 4
        images = dataset / "train" / "DCM"
        for command, more in (
            ("plausibility", ["--out", tmp_path / "p.csv"]),
            ("export", ["--to", "coco", "--out", tmp_path / "coco"]),
            ("report", ["--out", tmp_path / "r.html"]),
        ):
            done = handseg(command, prediction, "--images", images, *more)
            assert done.returncode == 0, done.stderr
        other = write_in_form("NFC" if form == "NFD" else "NFD", tmp_path / "other.csv", names)
        voted = handseg("vote", prediction, other, "--images", images, "--out", tmp_path / "v.csv")
        assert voted.returncode == 0, voted.stderr
        assert (tmp_path / "v.csv").read_bytes() == prediction.read_bytes()

    def test_an_image_with_rows_in_two_forms_is_one(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "s.csv", [(KOREAN, EMPTY), (nfd(KOREAN), EMPTY)])
        with pytest.raises(ValueError, match=r"line 31: a second row of image .* and class 'finger-1'"):
            read_csv(tmp_path / "s.csv")

    def test_two_files_that_differ_in_nothing_else_are_named(self, tmp_path: Path) -> None:
        for name in (KOREAN, nfd(KOREAN)):
            (tmp_path / f"{name}.png").touch()
        with pytest.raises(ValueError, match=r"\\u1112.*\\ud658.*differ in their Unicode form alone; rename one"):
            find_images(tmp_path)
        (tmp_path / "a").mkdir()
        (tmp_path / f"{KOREAN}.png").rename(tmp_path / "a" / f"{KOREAN}.png")
        with pytest.raises(DatasetError, match="two images of the name"):
            inference_datalist(tmp_path)


class TestFilesOfSystems:
    JUNK = ("Thumbs.db", ".DS_Store", "._hand.png", "._hand.json", "desktop.ini", "__MACOSX/x.png", "@eaDir/x.json")
    MORE = (
        "Icon\r",
        "lost+found/x.png",
        ".git/x.png",
        "@eaDir/x.png/SYNOFILE.jpg",
        "#recycle/x.png",
        "__MACOSX/._x.json",
    )

    def spoil(self, folder: Path) -> None:
        """Lay what systems do into a folder and all below it."""
        for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            for name in (*self.JUNK, *self.MORE):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(b"no image, no label")

    @pytest.mark.parametrize("form", ["coco", "labelme", "masks", "labelmap"])
    def test_they_are_passed_over_in_labels_of_all_forms(self, tmp_path: Path, form: str) -> None:
        drawn = write_images(tmp_path / "images", subjects=2)
        source = tmp_path / "source"
        arguments = {}
        if form == "coco":
            write_coco(source / "c.json", drawn)
        elif form == "labelme":
            write_labelme(source, tmp_path / "images", drawn)
        elif form == "masks":
            write_masks(source, drawn)
        else:
            from tests.label_forms import CLASS_MAP, flat_map

            source.mkdir()
            for image, polygons in drawn.items():
                cv2.imwrite(str(source / f"{image.stem}.png"), flat_map(polygons))
            (tmp_path / "classes.json").write_text(json.dumps(CLASS_MAP))
            arguments = {"classes": tmp_path / "classes.json"}
        self.spoil(tmp_path / "images")
        self.spoil(source)
        done = convert(form, source, tmp_path / "images", tmp_path / "out", **arguments)  # type: ignore[arg-type]
        assert len(done.items) == 4
        assert not done.unmentioned

    def test_they_are_passed_over_in_a_dataset(self, tmp_path: Path) -> None:
        root = write_drawn_dataset(tmp_path / "data", subjects=2)
        self.spoil(root)
        lists = training_datalist(root, num_folds=2, verify=True)
        assert [len(data) for data in lists.values()] == [2, 2]
        assert len(inference_datalist(root)) == 4


class TestLinks:
    def test_broken_ones_and_loops_fail_alone(self, tmp_path: Path) -> None:
        drawn = list(write_images(tmp_path / "images", subjects=1))
        (tmp_path / "images" / "gone.png").symlink_to("nowhere.png")
        (tmp_path / "images" / "loop.png").symlink_to("loop.png")
        (tmp_path / "images" / "round").symlink_to(tmp_path / "images")
        weights = save_untrained(tmp_path / "tiny.pt", "dynunet")
        done = handseg("infer", tmp_path / "images", "--out", tmp_path / "o", "--", "--checkpoint", weights, *TINY)
        assert done.returncode == 1
        assert sorted(read_csv(tmp_path / "o" / "submission.csv")) == sorted(path.name for path in drawn)
        assert (tmp_path / "o" / "failures.csv").read_text().count("no such file") == 2

    @pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
    def test_one_image_under_two_names_is_named(self, tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
        root = write_drawn_dataset(tmp_path / "data", subjects=2)
        first = find_images(root)[0]
        other = first.parent.with_name("ID009") / "other.png"
        other.parent.mkdir()
        link(other, first)
        label = root / "train" / "outputs_json"
        (label / "ID009").mkdir()
        shutil.copy(label / "ID001" / f"{first.stem}.json", label / "ID009" / "other.json")
        with pytest.raises(DatasetError, match=r"ID001/.* and .*ID009/other\.png are one file, by a link"):
            training_datalist(root, num_folds=2, verify=True)
        polygons = {path: {"Radius": [[5, 5], [30, 5], [30, 30]]} for path in (first, other)}
        write_labelme(tmp_path / "labelme", root, polygons)
        with pytest.raises(ValueError, match="are one file, by a link; take one out"):
            convert("labelme", tmp_path / "labelme", root, tmp_path / "out")


class TestLongAndOddNames:
    ODD = (
        *("가" * 83 + ".png", "a" * 251 + ".png", "a,b.png", 'q"t.png', "sp .png", "dot..png", "con.png", "100%.png"),
        *("👨‍⚕️.png", "\u200frtl.png", "x#left.png", "*.png", "  lead.png", "-d.png", "=1+1.png", "a.b"),
    )

    @pytest.fixture
    def images(self, tmp_path: Path) -> dict[Path, Polygons]:
        drawn = write_images(tmp_path / "drawn", subjects=8)
        named = {}
        (tmp_path / "images").mkdir()
        for (path, polygons), name in zip(drawn.items(), self.ODD[:-1], strict=False):
            shutil.copy(path, tmp_path / "images" / name)
            named[tmp_path / "images" / name] = polygons
        return named

    def test_each_is_read_drawn_written_and_read_back(self, tmp_path: Path, images: dict[Path, Polygons]) -> None:
        weights, folder = save_untrained(tmp_path / "tiny.pt", "dynunet"), tmp_path / "images"
        options = ["--checkpoint", weights, *TINY, "--overlays", "true", "--confidence", "true"]
        done = handseg("infer", folder, "--out", tmp_path / "o", "--", *options)
        assert done.returncode == 0, done.stderr[-2000:]
        assert set(read_csv(tmp_path / "o" / "submission.csv")) == {path.name for path in images}
        assert len(list((tmp_path / "o" / "overlays").iterdir())) == len(images)
        prediction = tmp_path / "drawn.csv"
        write_csv(prediction, [(path.name, encode_planes(planes_of(polygons))) for path, polygons in images.items()])
        for form in ("png", "labelme", "nifti"):
            exported = handseg("export", prediction, "--images", folder, "--to", form, "--out", tmp_path / form)
            assert exported.returncode == 0, exported.stderr
        back = ["convert", "labelme", tmp_path / "labelme", "--images", folder, "--out", tmp_path / "back"]
        assert f"{len(images)} images" in handseg(*back).stdout

    def test_labels_are_converted_and_trained_on(self, tmp_path: Path, images: dict[Path, Polygons]) -> None:
        write_coco(tmp_path / "c.json", images)
        assert len(convert("coco", tmp_path / "c.json", tmp_path / "images", tmp_path / "out").items) == len(images)
        lists = training_datalist(tmp_path / "out", num_folds=2, verify=True)
        assert sum(map(len, lists.values())) == len(images)

    def test_part_files_and_endings_fit(self, tmp_path: Path) -> None:
        longest = tmp_path / ("b" * 255)
        with atomic_open(longest) as file:
            file.write("whole")
        with atomic_folder(longest.with_name("c" * 255)) as part:
            (part / "x").touch()
        assert {len(path.name) for path in find_files(tmp_path)} == {255, 1}
        first, second = (with_ending(tmp_path / ("가" * 84 + end), ".npz") for end in "xy")
        assert first != second
        assert max(len(os.fsencode(path.name)) for path in (first, second)) <= 255
        assert with_ending(tmp_path / "a.png", ".jpg") == tmp_path / "a.png.jpg"

    @pytest.mark.parametrize("name", ["a\tb.png", "a\x1b[31m.png", "a\x7f.png"])
    def test_control_characters_are_refused_and_do_not_reach_the_terminal(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).touch()
        with pytest.raises(DatasetError, match="no control characters") as refused:
            inference_datalist(tmp_path)
        assert str(refused.value).isprintable()


def test_counts_of_an_audit_are_those_of_images(tmp_path: Path) -> None:
    root = write_drawn_dataset(tmp_path / "data", subjects=2)
    polygons = {"Radius": [[5, 5], [30, 5], [30, 30]]}
    for number in range(3):
        write_label(root / "train" / "outputs_json" / "ID001" / f"alone{number}.json", polygons)
    said = handseg("audit", root, "--out", tmp_path / "audit").stdout.splitlines()
    (line,) = [line for line in said if "images with findings" in line]
    assert line.startswith("4 of 4 images with findings, 4 to leave out; unpaired files: 3; ")
