"""The competition's layout: pairing of images and labels, polygons, and every way in which a label can be wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from handseg_monai.bitplanes import rasterise
from handseg_monai.bones import INDEX, NAMES
from handseg_monai.data import LabelError, labelled_items, layouts, read_polygons
from handseg_monai.data.datalists import DatasetError, training_datalist
from handseg_monai.data.label_fit import outlines_of
from handseg_monai.data.labels.competition import find_splits
from tests.conftest import draw_radiograph, write_drawn_dataset, write_label
from tests.hands import hand, phantom

SHAPE = (40, 30)  # 30 wide, 40 high: x ends at 29, y at 39
TRIANGLE = [[3, 4], [20, 6], [9, 30]]


def write(path: Path, *annotations: Any) -> Path:
    path.write_text(json.dumps({"annotations": list(annotations), "metadata": {"width": 3060, "height": 3060}}))
    return path


def polygon(label: Any = "Ulna", points: Any = None) -> dict[str, Any]:
    return {"id": "x", "type": "poly_seg", "attributes": {}, "label": label, "points": points or TRIANGLE}


class TestPairing:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return write_drawn_dataset(tmp_path, subjects=3)

    def test_image_and_label_are_paired_by_relative_path(self, root: Path) -> None:
        items, faults = labelled_items(root / "train")
        assert faults == []
        assert len(items) == 6
        for item in items:
            image, label = Path(item["image"]), Path(item["label"])
            assert image.relative_to(root / "train" / "DCM").with_suffix("") == label.relative_to(
                root / "train" / "outputs_json"
            ).with_suffix("")
            assert item["name"] == image.name
            assert item["subject"] == image.parent.name
        assert [item["image"] for item in items] == sorted(item["image"] for item in items)
        assert {item["subject"] for item in items} == {"ID001", "ID002", "ID003"}

    def test_both_hands_of_a_folder_are_one_subject(self, root: Path) -> None:
        items, _ = labelled_items(root / "train")
        assert [item["subject"] for item in items] == ["ID001", "ID001", "ID002", "ID002", "ID003", "ID003"]

    def test_equal_names_of_two_subjects_are_not_mixed_up(self, root: Path) -> None:
        for subject in ("ID001", "ID002"):
            for folder, suffix in (("DCM", "png"), ("outputs_json", "json")):
                first = min((root / "train" / folder / subject).iterdir())
                first.rename(first.with_name(f"same.{suffix}"))
        items, faults = labelled_items(root / "train")
        assert faults == []
        for item in items:
            assert Path(item["image"]).parent.name == Path(item["label"]).parent.name == item["subject"]

    def test_an_image_without_a_label_is_a_fault_that_names_both(self, root: Path) -> None:
        label = min((root / "train" / "outputs_json" / "ID002").iterdir())
        label.unlink()
        items, faults = labelled_items(root / "train")
        assert len(items) == 5
        image = root / "train" / "DCM" / "ID002" / f"{label.stem}.png"
        assert faults == [f"{image}: no label; looked for {label}"]

    def test_a_label_without_an_image_is_a_fault_that_names_both(self, root: Path) -> None:
        image = min((root / "train" / "DCM" / "ID002").iterdir())
        image.unlink()
        items, faults = labelled_items(root / "train")
        assert len(items) == 5
        label = root / "train" / "outputs_json" / "ID002" / f"{image.stem}.json"
        assert faults == [f"{label}: no image; looked for {image.with_suffix('')}.*"]

    def test_hidden_files_are_neither_images_nor_labels(self, root: Path) -> None:
        """Such as macOS leaves beside every file of an archive."""
        (root / "train" / "DCM" / "ID001" / "._image1.png").write_bytes(b"\0\5\x16\7")
        (root / "train" / "outputs_json" / "ID001" / "._image1.json").write_bytes(b"\0\5\x16\7")
        items, faults = labelled_items(root / "train")
        assert len(items) == 6
        assert faults == []

    def test_splits_are_found_from_the_root_and_from_a_split(self, root: Path) -> None:
        assert find_splits(root) == {"train": root / "train"}
        assert find_splits(root / "train") == {"train": root / "train"}
        write_drawn_dataset(root, subjects=1, split="test")
        assert find_splits(root) == {"train": root / "train", "test": root / "test"}
        assert find_splits(root / "train" / "DCM") == {}


class TestPolygons:
    def test_every_bone_comes_with_its_points_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        _, polygons = draw_radiograph(0, (96, 72))
        write_label(tmp_path / "a.json", polygons)
        read = read_polygons(tmp_path / "a.json", (96, 72))
        assert [bone for bone, _ in read] == list(range(28, -1, -1))
        for bone, points in read:
            assert points.dtype == np.int32
            np.testing.assert_array_equal(points, polygons[NAMES[bone]])

    def test_x_is_the_column_and_y_the_row(self, tmp_path: Path) -> None:
        (read,) = read_polygons(write(tmp_path / "a.json", polygon("Ulna", [[29, 0], [29, 39], [27, 0]])), SHAPE)
        planes = rasterise([read], SHAPE)
        assert planes[0, 29] == planes[39, 29] == 1 << INDEX["Ulna"]
        assert not planes[:, :27].any()

    def test_the_size_in_the_metadata_is_ignored(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.json", polygon())
        content = json.loads(path.read_text())
        plain = read_polygons(path, SHAPE)
        for metadata in ({"width": 1, "height": 1}, {}, None, "none"):
            path.write_text(json.dumps({**content, "metadata": metadata, "filename": "other.jpg"}))
            ((bone, points),) = read_polygons(path, SHAPE)
            assert bone == plain[0][0]
            np.testing.assert_array_equal(points, plain[0][1])

    def test_a_bone_that_comes_twice_is_kept_twice(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.json", polygon(), polygon("Hamate"), polygon("Ulna", [[1, 1], [5, 1], [1, 5]]))
        assert [NAMES[bone] for bone, _ in read_polygons(path, SHAPE)] == ["Ulna", "Hamate", "Ulna"]

    def test_no_annotations_are_no_bones(self, tmp_path: Path) -> None:
        assert read_polygons(write(tmp_path / "a.json"), SHAPE) == []

    def test_fractions_are_rounded_to_the_nearest_pixel(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.json", polygon("Ulna", [[3.4, 4.6], [20.0, 6.51], [9, 30.49]]))
        assert read_polygons(path, SHAPE)[0][1].tolist() == [[3, 5], [20, 7], [9, 30]]

    @pytest.mark.parametrize("outside", [1, 2, 2.4])
    def test_points_up_to_two_pixels_outside_are_moved_to_the_edge(self, tmp_path: Path, outside: float) -> None:
        points = [[-outside, 5], [29 + outside, 5], [9, -outside], [9, 39 + outside]]
        read = read_polygons(write(tmp_path / "a.json", polygon("Ulna", points)), SHAPE)
        assert read[0][1].tolist() == [[0, 5], [29, 5], [9, 0], [9, 39]]

    @pytest.mark.parametrize("point", [[-3, 5], [32, 5], [9, -3], [9, 42], [3000, 3000], [1e300, 5]])
    def test_points_further_outside_are_a_fault(self, tmp_path: Path, point: list[float]) -> None:
        path = write(tmp_path / "a.json", polygon("Ulna", [*TRIANGLE, point]))
        with pytest.raises(LabelError, match=r"Ulna: a point lies \d+ pixels outside the image of 30 x 40 pixels"):
            read_polygons(path, SHAPE)


class TestBadLabels:
    @pytest.mark.parametrize(
        ("annotation", "fault"),
        [
            (polygon("Femur"), "unknown bone 'Femur'"),
            (polygon("ulna"), "unknown bone 'ulna'"),
            (polygon(None), "unknown bone None"),
            (polygon(7), "unknown bone 7"),
            (polygon(["Ulna"]), "unknown bone ['Ulna']"),
            ({"points": TRIANGLE}, "unknown bone None"),
            (polygon("Ulna", TRIANGLE[:2]), "Ulna: a polygon of 2 points; expected at least 3"),
            ({"label": "Ulna", "points": []}, "Ulna: "),
            ({"label": "Ulna"}, "Ulna: 'points' is not a list of [x, y] pairs"),
            (polygon("Ulna", [[1, 2, 3]] * 3), "Ulna: 'points' is not a list of [x, y] pairs"),
            (polygon("Ulna", [[1, 2], [3], [4, 5]]), "Ulna: 'points' is not a list of [x, y] pairs"),
            (polygon("Ulna", [1, 2, 3]), "Ulna: 'points' is not a list of [x, y] pairs"),
            (polygon("Ulna", "none"), "Ulna: 'points' is not a list of [x, y] pairs"),
            (polygon("Ulna", [["a", "b"]] * 3), "Ulna: 'points' is not a list of [x, y] pairs"),
            (polygon("Ulna", {"x": 1}), "Ulna: 'points' is not a list of [x, y] pairs"),
            (polygon("Ulna", [*TRIANGLE, [float("nan"), 1]]), "Ulna: some points are NaN or infinite"),
            (polygon("Ulna", [*TRIANGLE, [1, float("inf")]]), "Ulna: some points are NaN or infinite"),
            (polygon("Ulna", [*TRIANGLE, [None, 1]]), "Ulna: "),
            (polygon("Ulna", [*TRIANGLE, [10**400, 1]]), "Ulna: "),
            (["Ulna"], "expected an object, got a list"),
            (None, "expected an object, got null"),
        ],
    )
    def test_a_fault_names_file_annotation_and_bone(self, tmp_path: Path, annotation: Any, fault: str) -> None:
        path = write(tmp_path / "a.json", polygon(), annotation)
        with pytest.raises(LabelError, match=f"^{re.escape(str(path))}: annotation 2: {re.escape(fault)}"):
            read_polygons(path, SHAPE)

    def test_all_faults_of_a_file_are_in_one_message(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "a.json",
            polygon("Femur"),
            polygon(),
            polygon("Hamate", TRIANGLE[:1]),
            polygon("Lunate", [*TRIANGLE, [float("nan"), 0]]),
            polygon("Radius", [*TRIANGLE, [90, 0]]),
        )
        with pytest.raises(LabelError) as raised:
            read_polygons(path, SHAPE)
        message = str(raised.value)
        assert message.count(str(path)) == 1
        assert message.count("\n") == 0
        for part in (
            "annotation 1: unknown bone 'Femur'",
            "annotation 3: Hamate: a polygon of 1 points",
            "annotation 4: Lunate: some points are NaN or infinite",
            "annotation 5: Radius: a point lies 61 pixels outside",
        ):
            assert part in message
        assert "annotation 2" not in message

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(LabelError, match=r"a\.json: No such file"):
            read_polygons(tmp_path / "a.json", SHAPE)

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b'{"annotations": [', b"<xml/>", b"\x89PNG\r\n\x1a\n\xff", b"\xff\xfe\x00", b"[" * 100_000],
    )
    def test_what_is_not_json_is_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(LabelError, match=r"a\.json: not JSON \("):
            read_polygons(tmp_path / "a.json", SHAPE)

    @pytest.mark.parametrize("content", [[], {}, {"annotations": None}, {"annotations": {"a": 1}}, 7, None, "text"])
    def test_json_without_annotations_is_named(self, tmp_path: Path, content: Any) -> None:
        (tmp_path / "a.json").write_text(json.dumps(content))
        with pytest.raises(LabelError, match=r"a\.json: no list 'annotations'"):
            read_polygons(tmp_path / "a.json", SHAPE)


class TestCheckBeforeTraining:
    def test_all_faulty_files_are_listed_at_once(self, tmp_path: Path) -> None:
        root = write_drawn_dataset(tmp_path, subjects=5)
        labels = sorted((root / "train" / "outputs_json").rglob("*.json"))
        images = sorted((root / "train" / "DCM").rglob("*.png"))
        labels[0].unlink()
        labels[1].write_text("{")
        write(labels[2], polygon("Femur"))
        write(labels[3], polygon("Ulna", [[1, 1], [2, 2]]))
        write(labels[4], polygon("Ulna", [*TRIANGLE, [500, 0]]), polygon("Radius", [*TRIANGLE, [float("nan"), 0]]))
        images[5].write_text("not an image")
        images[6].unlink()
        with pytest.raises(DatasetError) as raised:
            training_datalist(root, verify=True)
        lines = str(raised.value).splitlines()
        assert lines[0] == f"{root}: 7 faults, training does not begin:"
        assert len(lines) == 8
        faults = [
            (images[0], "no label"),
            (labels[1], "not JSON"),
            (labels[2], "annotation 1: unknown bone 'Femur'"),
            (labels[3], "annotation 1: Ulna: a polygon of 2 points"),
            (labels[4], "annotation 2: Radius: some points are NaN or infinite"),
            (images[5], "not an image"),
            (labels[6], "no image"),
        ]
        for path, fault in faults:
            assert len([line for line in lines if line.startswith(f"{path}: ") and fault in line]) == 1, (path, fault)

    @pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
    def test_an_image_that_is_cut_short_is_found(self, tmp_path: Path, suffix: str) -> None:
        root = write_drawn_dataset(tmp_path, subjects=5)
        first = min((root / "train" / "DCM").rglob("*.png"))
        pixels = cv2.imread(str(first))
        first.unlink()
        first = first.with_suffix(f".{suffix}")
        cv2.imwrite(str(first), pixels)
        training_datalist(root, verify=True)
        content = first.read_bytes()
        first.write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(DatasetError, match=re.escape(f"{first}: ")):
            training_datalist(root, verify=True)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                lambda x, y, side: (x / side, y / side),
                "all coordinates lie within 0 to 1, as shares of the image.s size",
            ),
            (lambda x, y, side: (100 * x / side, 100 * y / side), "within 0 to 100 in .* as percent do; expected"),
            (lambda x, y, side: (y, x), "the label lies on the bones only once it is rows and columns exchanged"),
            (lambda x, y, side: (side - 1 - x, y), "only once it is mirrored, left for right; correct the label"),
        ],
    )
    def test_outlines_in_other_coordinates_are_found_in_the_words_of_convert(
        self, tmp_path: Path, change: Callable[[float, float, int], tuple[float, float]], words: str
    ) -> None:
        labels = []
        for number in range(4):
            image = tmp_path / "train" / "DCM" / f"ID{number:03d}" / f"{number}.png"
            image.parent.mkdir(parents=True)
            cv2.imwrite(str(image), phantom(number).image)
            labels.append(tmp_path / "train" / "outputs_json" / image.parent.name / f"{number}.json")
            outlines = {NAMES[k]: outlines_of(hand(number) & np.int32(1 << k))[0].tolist() for k in range(29)}
            write_label(labels[-1], outlines)
        training_datalist(tmp_path, num_folds=2, verify=True)
        for label in labels:
            content = json.loads(label.read_text())
            for annotation in content["annotations"]:
                annotation["points"] = [change(x, y, 512) for x, y in annotation["points"]]
            label.write_text(json.dumps(content))
        with pytest.raises(DatasetError, match=words) as raised:
            training_datalist(tmp_path, num_folds=2, verify=True)
        lines = str(raised.value).splitlines()[1:]
        assert [line.split(": ")[0] for line in lines] == [str(label) for label in labels]

    def test_a_whole_dataset_passes(self, drawn_dataset: Path) -> None:
        lists = training_datalist(drawn_dataset, verify=True)
        assert lists == training_datalist(drawn_dataset)


def test_a_label_is_parsed_once_for_being_checked_and_drawn_and_anew_when_it_has_changed(
    drawn_dataset: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(drawn_dataset, tmp_path / "data"))
    before = layouts._parsed.cache_info().misses
    items = [item for part in training_datalist(root, verify=True).values() for item in part]
    first = [layouts.read_truth(item["label"], (96, 72)) for item in items]
    assert layouts._parsed.cache_info().misses - before == len(items) == 10
    label = Path(items[0]["label"])
    content = json.loads(label.read_text())
    del content["annotations"][:5]
    label.write_text(json.dumps(content))
    os.utime(label, ns=(0, label.stat().st_mtime_ns + 1))
    assert not np.array_equal(layouts.read_truth(label, (96, 72)), first[0])
