"""Joints: what counts as a hit, the reasons of a miss, and input that can't be right."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from handseg_monai.bones import ALL_KNOWN
from handseg_monai.data.reading.submission_images import image_paths
from handseg_monai.plausibility.joints import COLUMNS, JointResult, joints, read_points
from handseg_monai.plausibility.submission import judge_submission, write_judgements
from handseg_monai.rle import encode_planes, write_csv
from tests.hands import hand, mask, moved, without

JOINTS = {
    "IP": ("finger-1", "finger-2"),
    "PIP3": ("finger-9", "finger-10"),
    "MCP5": ("finger-18", "finger-19"),
    "W4": ("Lunate", "Radius"),
}


def between(planes: np.ndarray, distal: str, proximal: str) -> tuple[float, float]:
    """Middle of the shortest line between two bones, x and y, by comparing all their pixels on a coarse grid."""
    a, b = (np.argwhere(mask(planes, name))[::3] for name in (distal, proximal))
    far = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    i, j = np.unravel_index(np.argmin(far), far.shape)
    y, x = (a[i] + b[j]) / 2
    return float(x), float(y)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """Two images, ``left.png`` and ``right.png``, in ``images``; ``points.csv``; ``true.csv``, their own masks."""
    (tmp_path / "images").mkdir()
    rows = []
    truth = []
    for name, number in (("left.png", 0), ("right.png", 1)):
        planes = hand(number)
        cv2.imwrite(str(tmp_path / "images" / name), np.zeros(planes.shape, np.uint8))
        truth.append((name, planes))
        for joint, bones in JOINTS.items():
            rows.append((name, joint, *between(planes, *bones), *bones))
    write_points(tmp_path / "points.csv", rows)
    submit(tmp_path / "true.csv", *truth)
    return tmp_path


def write_points(path: Path, rows: list[tuple], columns: tuple[str, ...] = COLUMNS) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def submit(path: Path, *images: tuple[str, np.ndarray]) -> Path:
    write_csv(path, [(name, encode_planes(planes)) for name, planes in images])
    return path


def result_of(case: Path, planes: np.ndarray) -> dict[str, JointResult]:
    """Results of the left image by joint, with other masks for it."""
    submit(case / "other.csv", ("left.png", planes), ("right.png", hand(1)))
    result = joints(case / "other.csv", case / "points.csv", case / "images")
    assert all(r.hit for r in result.results if r.point.image == "right.png")
    return {r.point.joint: r for r in result.results if r.point.image == "left.png"}


class TestHits:
    def test_true_masks_hit_every_joint(self, case: Path) -> None:
        result = joints(case / "true.csv", case / "points.csv", case / "images")
        assert (result.hits, len(result.results)) == (8, 8)
        assert [r.point.joint for r in result.results[:4]] == list(JOINTS)

    def test_distance_is_to_the_nearest_pixel_in_pixels_of_the_image(self, case: Path) -> None:
        x, y = 100.25, 40.0
        write_points(case / "points.csv", [("left.png", "MCP5", x, y, "finger-18", "finger-19")])
        result = joints(case / "true.csv", case / "points.csv", case / "images").results[0]
        for name, distance in zip(("finger-18", "finger-19"), result.distances, strict=True):
            nearest = min(np.hypot(c - x, r - y) for r, c in np.argwhere(mask(hand(0), name)))
            assert distance == pytest.approx(nearest)

    def test_12_pixels_are_a_hit_and_more_are_not(self, case: Path) -> None:
        bones = "finger-17", "finger-18"
        x, y = np.round(between(hand(0), *bones))
        points = np.stack(np.meshgrid(np.arange(x - 30, x + 30, 0.5), np.arange(y - 30, y + 30, 0.5)), axis=-1)
        distal, proximal = (
            np.hypot(*(points[:, :, None] - np.argwhere(mask(hand(0), name))[:, ::-1]).transpose(3, 0, 1, 2)).min(
                axis=2
            )
            for name in bones
        )
        for away, hit in ((12, True), (12.5, False)):
            row, column = np.argwhere((distal == away) & (proximal < 12))[0]
            write_points(case / "points.csv", [("left.png", "X", *points[row, column], *bones)])
            result = joints(case / "true.csv", case / "points.csv", case / "images")
            assert result.results[0].distances[0] == away
            assert result.hits == hit
        assert joints(case / "true.csv", case / "points.csv", case / "images", within=12.5).hits == 1

    def test_a_bone_too_far_is_named_with_its_distance(self, case: Path) -> None:
        write_points(case / "points.csv", [("left.png", "PIP3", 5, 500, "finger-9", "finger-10")])
        reasons = joints(case / "true.csv", case / "points.csv", case / "images").results[0].reasons
        assert [r.split()[0] for r in reasons] == ["finger-9", "finger-10"]
        assert all(r.endswith("px away") for r in reasons)

    def test_a_missing_bone_is_named_and_its_image_is_implausible(self, case: Path) -> None:
        result = result_of(case, without(hand(0), "finger-9"))
        assert result["PIP3"].reasons[0] == "finger-9 was not found"
        assert result["PIP3"].distances[0] is None
        assert "finger-9 is missing" in result["W4"].reasons[0]
        assert result["W4"].near
        assert not result["W4"].hit

    def test_masks_that_cover_everything_hit_nothing(self, case: Path) -> None:
        for planes in (np.full((512, 512), ALL_KNOWN, np.int32), np.zeros((512, 512), np.int32)):
            assert not any(r.hit for r in result_of(case, planes).values())

    def test_an_implausible_image_hits_nothing_and_says_why(self, case: Path) -> None:
        result = result_of(case, moved(hand(0), "finger-13", 90, 0))
        assert all(r.near and not r.hit for r in result.values())
        assert all("image implausible" in r.reasons[0] and "finger-13" in r.reasons[0] for r in result.values())

    def test_the_table_has_a_row_for_each_joint(self, case: Path) -> None:
        result = joints(case / "true.csv", case / "points.csv", case / "images")
        result.write(case / "out" / "table.csv")
        with (case / "out" / "table.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [(row["joint"], row["hit"], row["reason"]) for row in rows] == [(j, "1", "") for j in JOINTS] * 2
        assert {row["image_score"] for row in rows} == {"1.0000"}


class TestSizes:
    def test_columns_of_the_points_stand_in_for_the_images(self, case: Path) -> None:
        points, _ = read_points(case / "points.csv")
        rows = [(p.image, p.joint, p.x, p.y, *JOINTS[p.joint], 512, 512) for p in points]
        write_points(case / "sized.csv", rows, (*COLUMNS, "width", "height"))
        assert joints(case / "true.csv", case / "sized.csv").hits == 8

    def test_columns_that_contradict_the_images_are_an_error(self, case: Path) -> None:
        points, _ = read_points(case / "points.csv")
        for height, width in ((512, 512), (256, 512), (512, 511)):
            rows = [(p.image, p.joint, p.x, p.y, *JOINTS[p.joint], height, width) for p in points]
            write_points(case / "sized.csv", rows, (*COLUMNS, "height", "width"))
            if (height, width) == (512, 512):
                assert joints(case / "true.csv", case / "sized.csv", case / "images").hits == 8
                continue
            with pytest.raises(ValueError, match=rf"image left\.png are {height} x {width}; .* is 512 x 512"):
                joints(case / "true.csv", case / "sized.csv", case / "images")

    def test_without_either_the_error_says_what_to_give(self, case: Path) -> None:
        with pytest.raises(ValueError, match=r"no image size; give the folder of the images \(--images\)"):
            joints(case / "true.csv", case / "points.csv")

    def test_images_are_found_by_base_name_or_path(self, case: Path) -> None:
        (case / "images" / "deep").mkdir()
        cv2.imwrite(str(case / "images" / "deep" / "other.png"), np.zeros((30, 20), np.uint8))
        other = case / "images" / "deep" / "other.png"
        assert image_paths(["deep/other.png"], case / "images") == {"deep/other.png": other}
        assert image_paths(["other.png"], case / "images") == {"other.png": other}

    def test_two_images_of_one_name_are_refused_only_where_asked_for(self, case: Path) -> None:
        (case / "images" / "deep").mkdir()
        cv2.imwrite(str(case / "images" / "deep" / "left.png"), np.zeros((30, 20), np.uint8))
        deep = case / "images" / "deep" / "left.png"
        assert image_paths(["deep/left.png", "right.png"], case / "images")["deep/left.png"] == deep
        with pytest.raises(ValueError, match=r"two images of the name left\.png"):
            image_paths(["left.png"], case / "images")


class TestWrongInput:
    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("finger-9", "finger-99", "line 3: unknown distal_bone 'finger-99'; expected one of finger-1"),
            ("Radius", "radius", "line 5: unknown proximal_bone 'radius'"),
            ("finger-9,", "finger-10,", "line 3: distal_bone and proximal_bone are both finger-10; expected two"),
            ("image,joint", "image,name", "the header lacks joint"),
            ("left.png,PIP3", "left.png,IP", "line 3: a second row of image 'left.png' and joint 'IP'"),
            ("finger-10", "finger-10,7", "line 3: expected 6 fields"),
        ],
    )
    def test_points(self, case: Path, old: str, new: str, message: str) -> None:
        path = case / "points.csv"
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(ValueError) as error:  # noqa: PT011
            joints(case / "true.csv", path, case / "images")
        assert message in str(error.value)
        assert str(path) in str(error.value)

    @pytest.mark.parametrize("value", ["", "middle", "nan", "1e999"])
    def test_coordinates_that_are_no_numbers(self, case: Path, value: str) -> None:
        write_points(case / "points.csv", [("left.png", "IP", value, 3, "finger-1", "finger-2")])
        with pytest.raises(ValueError, match=r"line 2: x .* is not a number"):
            joints(case / "true.csv", case / "points.csv", case / "images")

    def test_no_points(self, case: Path) -> None:
        write_points(case / "points.csv", [])
        with pytest.raises(ValueError, match="no joints"):
            joints(case / "true.csv", case / "points.csv", case / "images")

    def test_a_point_outside_of_its_image(self, case: Path) -> None:
        write_points(case / "points.csv", [("left.png", "IP", 30, 513, "finger-1", "finger-2")])
        with pytest.raises(ValueError, match=r"joint IP at \(30, 513\) lies outside image left\.png, 512 x 512"):
            joints(case / "true.csv", case / "points.csv", case / "images")

    def test_an_image_that_the_submission_lacks(self, case: Path) -> None:
        submit(case / "half.csv", ("left.png", hand(0)))
        with pytest.raises(ValueError, match=r"half\.csv: lacks 1 of the images .*right\.png"):
            joints(case / "half.csv", case / "points.csv", case / "images")

    def test_an_image_that_the_folder_lacks(self, case: Path) -> None:
        (case / "images" / "right.png").unlink()
        with pytest.raises(ValueError, match=r"images: lacks 1 of the images \(right\.png\)"):
            joints(case / "true.csv", case / "points.csv", case / "images")

    def test_runs_past_the_end_of_the_image_name_it(self, case: Path) -> None:
        cv2.imwrite(str(case / "images" / "left.png"), np.zeros((440, 512), np.uint8))
        with pytest.raises(ValueError, match=r"true\.csv: image left\.png: .*past the end"):
            joints(case / "true.csv", case / "points.csv", case / "images")


class TestReport:
    def test_the_worst_image_comes_first(self, case: Path) -> None:
        submit(case / "mixed.csv", ("left.png", hand(0)), ("right.png", without(hand(1), "Lunate")))
        judgements = judge_submission(case / "mixed.csv", case / "images")
        assert list(judgements) == ["right.png", "left.png"]
        assert [j.plausible for j in judgements.values()] == [False, True]
        write_judgements(judgements, case / "table.csv")
        with (case / "table.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert (rows[0]["finding"], rows[0]["severity"]) == ("Lunate is missing", "wrong")
        assert (rows[-1]["image_name"], rows[-1]["score"], rows[-1]["finding"]) == ("left.png", "1.0000", "")

    def test_an_empty_submission_is_refused(self, case: Path) -> None:
        submit(case / "none.csv")
        with pytest.raises(ValueError, match="no images"):
            judge_submission(case / "none.csv", case / "images")
