"""Rows ``NAME#left`` and ``NAME#right``: what each command makes of a submission of images that show both hands."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from unicodedata import normalize

import cv2
import nibabel
import numpy as np
import pytest
from pycocotools.coco import COCO

from handseg_monai.audit import audit, print_audit
from handseg_monai.bones import INDEX, NAMES, NUM_BONES
from handseg_monai.data import LabelError
from handseg_monai.data.labels import convert
from handseg_monai.data.layouts import items_of_split, read_truth
from handseg_monai.data.reading.submission_images import image_paths, images_without_rows, submission_images
from handseg_monai.export.export import export
from handseg_monai.export.vote import print_vote, vote_submissions
from handseg_monai.plausibility.bone_sizes import measure_submission
from handseg_monai.plausibility.joints import joints
from handseg_monai.plausibility.judge import plausibility
from handseg_monai.plausibility.submission import judge_submission
from handseg_monai.rle import (
    by_image,
    count_images,
    encode_planes,
    hand_of,
    read_csv,
    row_name,
    write_csv,
)
from handseg_monai.score.evaluation import Evaluation, evaluate
from tests.dicoms import write_dicom
from tests.hands import both_hands, hand, mask, moved, phantom, without
from tests.programs import handseg

SIDES = ("left", "right")


class Case:
    """Two images of both hands and one of one hand: their truth, and a prediction with some faults."""

    def __init__(self, root: Path) -> None:
        self.images, self.root = root / "images", root
        self.images.mkdir()
        self.truth: dict[str, np.ndarray] = {}
        for name, numbers in (("a.png", (0, 1)), ("b.png", (2, 3))):
            image, planes = both_hands(*numbers)
            cv2.imwrite(str(self.images / name), image)
            self.truth |= {f"{name}#{side}": planes[side] for side in SIDES}
        cv2.imwrite(str(self.images / "one.png"), phantom(4).image)
        self.truth["one.png"] = hand(4)
        self.predicted = dict(self.truth)
        self.predicted["a.png#left"] = moved(without(self.truth["a.png#left"], "finger-4"), "Hamate", 6, 0)
        self.predicted["a.png#right"] = moved(self.truth["a.png#right"], "Scaphoid", 4, 3)
        self.predicted["one.png"] = moved(self.truth["one.png"], "Lunate", 3, 3)
        self.submission = self.write("p.csv", self.predicted)

    def write(self, name: str, planes: dict[str, np.ndarray]) -> Path:
        write_csv(self.root / name, ((row, encode_planes(of)) for row, of in planes.items()))
        return self.root / name

    def labels_of_one_hand(self, side: str) -> Path:
        """Converted labels, in which each image has one hand."""
        planes = {hand_of(row).image: of for row, of in self.truth.items() if hand_of(row).side in (None, side)}
        convert("submission", self.write(f"{side}.csv", planes), self.images, self.root / side, progress=False)
        return self.root / side


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("two"))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


class TestNames:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("x.png", ("x.png", None)),
            ("x.png#left", ("x.png", "left")),
            ("a/b#c/x.png#right", ("a/b#c/x.png", "right")),
            ("IM0001#left", ("IM0001", "left")),
            ("scan #2.png", ("scan #2.png", None)),
            ("x#left.png", ("x#left.png", None)),
            ("x.png#Left", ("x.png#Left", None)),
            ("x.png#both", ("x.png#both", None)),
            ("x.pngleft", ("x.pngleft", None)),
            ("#left", ("#left", None)),
            ("x#left#right", ("x#left", "right")),
        ],
    )
    def test_only_the_two_endings_mean_something(self, name: str, expected: tuple[str, str | None]) -> None:
        assert hand_of(name) == expected
        assert row_name(*hand_of(name)) == name

    def test_an_image_that_is_really_called_so_wins(self, tmp_path: Path) -> None:
        assert hand_of("IM1#left", {"IM1#left"}) == ("IM1#left", None)
        for name in ("IM1#left", "IM1"):
            write_dicom(tmp_path / name, np.zeros((20, 30), np.uint16))
        assert image_paths(["IM1#left", "IM1"], tmp_path) == {name: tmp_path / name for name in ("IM1#left", "IM1")}
        (tmp_path / "IM1#left").unlink()
        assert image_paths(["IM1#left"], tmp_path) == {"IM1#left": tmp_path / "IM1"}

    def test_hands_are_listed_left_first_and_counted(self) -> None:
        names = ["b.png#right", "b.png#left", "a.png"]
        assert by_image(names) == {"b.png": {"left": "b.png#left", "right": "b.png#right"}, "a.png": {None: "a.png"}}
        assert list(by_image(names)["b.png"]) == ["left", "right"]
        assert count_images(names) == "3 hands of 2 images"
        assert count_images(names[2:]) == "1 image"

    def test_rows_of_one_hand_and_of_both_contradict_one_another(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "x.png"), np.zeros((4, 4), np.uint8))
        for names in (["x.png", "x.png#right"], ["x.png#right", "x.png"]):
            with pytest.raises(ValueError, match=r"rows of x\.png and of x\.png#right; expected"):
                image_paths(names, tmp_path)

    def test_names_are_found_in_either_form_of_unicode(self, tmp_path: Path) -> None:
        composed, apart = (normalize(form, "손é.png") for form in ("NFC", "NFD"))
        cv2.imwrite(str(tmp_path / apart), np.zeros((4, 4), np.uint8))
        for name in (composed, apart, f"{composed}#left"):
            assert list(image_paths([name], tmp_path)) == [name]
            assert images_without_rows([name], tmp_path) == []
        assert images_without_rows(["other.png"], tmp_path) == [apart]

    def test_images_have_their_rows_by_hand(self, case: Case) -> None:
        found = submission_images(case.truth, case.images)
        assert list(found) == ["a.png", "b.png", "one.png"]
        assert found["a.png"] == (case.images / "a.png", {"left": "a.png#left", "right": "a.png#right"})
        assert found["one.png"].rows == {None: "one.png"}
        with pytest.raises(ValueError, match=r"lacks 1 of the images \(c\.png\)"):
            submission_images(["c.png#left", "c.png#right"], case.images)


class TestEvaluate:
    def test_a_csv_is_compared_row_by_row(self, case: Case) -> None:
        result = evaluate(
            case.submission, case.write("truth.csv", case.truth), images=case.images, detail=True, progress=False
        )
        assert result.names == sorted(case.truth)
        for row, name in enumerate(result.names):
            for bone in NAMES:
                a, b = mask(case.predicted[name], bone), mask(case.truth[name], bone)
                assert result.dice[row, INDEX[bone]] == pytest.approx(dice(a, b))
        assert result.sides == ["left", "right", "left", "right", "left"]
        assert len(set(result.subjects)) == 3
        assert result.subjects[0] == result.subjects[1]
        assert result.detail is not None
        assert result.detail.hd95[1, INDEX["Scaphoid"]] > 2
        assert result.detail.hd95[3, INDEX["Scaphoid"]] == 0

    def test_sides_that_are_exchanged_are_wrong(self, case: Case) -> None:
        names = {"a.png#left": "a.png#right", "a.png#right": "a.png#left"}
        swapped = case.write("swapped.csv", {names.get(name, name): of for name, of in case.truth.items()})
        result = evaluate(swapped, case.write("truth.csv", case.truth), images=case.images, progress=False)
        assert (result.dice[:2] == 0).all()
        assert (result.dice[2:] == 1).all()

    @pytest.mark.parametrize("side", SIDES)
    def test_of_a_label_of_one_hand_the_hand_that_lies_over_it_counts(self, case: Case, side: str) -> None:
        labels = case.labels_of_one_hand(side)
        result = evaluate(case.submission, labels, progress=False)
        assert result.names == ["a.png", "b.png", "one.png"]
        assert result.chosen == {name: f"{name}#{side}" for name in ("a.png", "b.png")}
        rows = evaluate(case.submission, case.write("truth.csv", case.truth), images=case.images, progress=False)
        of_side = [rows.names.index(name) for name in (f"a.png#{side}", f"b.png#{side}", "one.png")]
        np.testing.assert_array_equal(result.dice, rows.dice[of_side])
        done = handseg("evaluate", case.submission, "--truth", labels, "--out", case.root / f"out-{side}", "--detail")
        assert done.returncode == 0, done.stderr
        expected = (
            f"2 images with rows of both hands, a label of one: only the hand at the label counts (a.png#{side}, "
        )
        assert expected in done.stdout
        summary = json.loads((case.root / f"out-{side}" / "evaluation.json").read_text())
        assert summary["hands_compared"] == result.chosen

    def test_one_hand_against_labels_of_both_is_said(self, case: Case) -> None:
        truth = case.write("truth.csv", case.truth)
        one = case.write(
            "one.csv", {hand_of(n).image: of for n, of in case.truth.items() if hand_of(n).side != "right"}
        )
        with pytest.raises(
            ValueError, match=r"one\.csv: rows of one hand of 2 images \(a\.png, b\.png\), in .* of both"
        ):
            evaluate(one, truth, images=case.images, progress=False)
        assert evaluate(one, truth, "skip", images=case.images, progress=False).names == ["one.png"]

    def test_one_label_that_covers_both_hands_is_said(self, case: Case) -> None:
        both = {"a.png": case.truth["a.png#left"] | case.truth["a.png#right"]}
        with pytest.raises(ValueError, match=r"both\.csv: the label covers both hands of .*a\.png; expected the bones"):
            evaluate(case.submission, case.write("both.csv", both), "skip", images=case.images, progress=False)

    def test_a_hand_that_was_found_twice_is_compared_once(self, case: Case) -> None:
        planes = case.truth["a.png#left"]
        twice = case.write("twice.csv", {"a.png#left": planes, "a.png#right": moved(planes, "Radius", 9, 9)})
        truth = case.write("one.csv", {"a.png": planes})
        result = evaluate(twice, truth, images=case.images, progress=False)
        assert result.chosen == {"a.png": "a.png#left"}
        assert result.mean_dice == 1

    def test_rows_and_hands_that_are_missing(self, case: Case) -> None:
        truth = case.write("truth.csv", case.truth)
        some = case.write("some.csv", {name: of for name, of in case.truth.items() if name != "b.png#right"})
        with pytest.raises(ValueError, match=r"lacks 1 image \(b\.png#right\)"):
            evaluate(some, truth, images=case.images, progress=False)
        zero = evaluate(some, truth, "zero", images=case.images, progress=False)
        assert zero.dice[zero.names.index("b.png#right")].max() == 0

    def test_bones_without_a_row_in_the_csv_are_not_known(self, case: Case) -> None:
        truth = case.write("truth.csv", case.truth)
        lines = truth.read_text().splitlines(keepends=True)
        truth.write_text("".join(line for line in lines if not line.startswith("a.png#left,Radius")))
        result: Evaluation = evaluate(case.submission, truth, images=case.images, progress=False)
        assert np.argwhere(~result.known).tolist() == [[0, INDEX["Radius"]]]
        assert np.isnan(result.dice[0, INDEX["Radius"]])

    def test_a_csv_needs_the_folder_of_images(self, case: Case) -> None:
        done = handseg("evaluate", case.submission, "--truth", case.write("truth.csv", case.truth))
        assert done.returncode == 2
        assert "a CSV holds no sizes of images; give their folder with --images" in done.stderr

    def test_command_counts_images_and_hands(self, case: Case) -> None:
        truth = case.write("truth.csv", case.truth)
        done = handseg("evaluate", case.submission, "--truth", truth, "--images", case.images, "--against", truth)
        assert done.returncode == 0, done.stderr
        assert "of 5 hands of 3 images and 29 bones" in done.stdout
        assert "over 3 people" in done.stdout


class TestPlausibility:
    def test_each_hand_is_judged_by_itself(self, case: Case) -> None:
        judged = judge_submission(case.submission, case.images, progress=False)
        assert judged == {name: plausibility(planes) for name, planes in case.predicted.items()}
        assert next(iter(judged)) == "a.png#left"
        done = handseg("plausibility", case.submission, "--images", case.images, "--out", case.root / "judged.csv")
        assert "a.png#left" in done.stdout
        assert "4 of 5 hands plausible" in done.stdout
        assert "are not in" not in done.stdout
        with (case.root / "judged.csv").open() as file:
            assert {row["image_name"] for row in csv.DictReader(file)} == set(case.truth)

    def test_joints_are_those_of_the_hand_that_is_named(self, case: Case) -> None:
        def points(image: str) -> Path:
            y, x = np.argwhere(mask(case.truth["a.png#right"], "finger-9"))[0]
            path = case.root / "points.csv"
            path.write_text(f"image,joint,x,y,distal_bone,proximal_bone\n{image},PIP,{x},{y},finger-9,finger-10\n")
            return path

        right = joints(case.submission, points("a.png#right"), case.images, within=60, progress=False)
        assert right.results[0].distances[0] == 0
        left = joints(case.submission, points("a.png#left"), case.images, within=60, progress=False)
        assert min(distance or 0 for distance in left.results[0].distances) > 100
        with pytest.raises(ValueError, match=r"a\.png has rows of two hands; name one .*: a\.png#left or a\.png#right"):
            joints(case.submission, points("a.png"), case.images, progress=False)

    def test_bones_are_measured_hand_by_hand(self, case: Case) -> None:
        table = measure_submission(case.submission, case.images)
        area = table[(table["image"] == "b.png#right") & (table["bone"] == "Radius")]["area"]
        assert area.item() == mask(case.truth["b.png#right"], "Radius").sum()

    def test_an_audit_takes_two_hands_for_no_duplicate(self, case: Case, capsys: pytest.CaptureFixture[str]) -> None:
        result = audit(case.submission, case.images, progress=False)
        assert {radiograph.name for radiograph in result.radiographs} == set(case.truth)
        assert {finding.image for finding in result.findings} == {"a.png#left"}
        print_audit(result)
        assert "1 of 5 hands of 3 images with findings, 1 to leave out; hands judged" in capsys.readouterr().out


class TestVote:
    def test_hands_are_elected_one_by_one(self, case: Case) -> None:
        truth = case.write("truth.csv", case.truth)
        result = vote_submissions(
            [case.submission, truth, truth], case.root / "v.csv", images=case.images, progress=False
        )
        assert result.images == tuple(case.truth)
        assert read_csv(case.root / "v.csv") == read_csv(truth)
        done = handseg("vote", truth, truth, "--out", case.root / "v.csv")
        assert "5 hands of 3 images, a pixel needs" in done.stdout

    def test_one_hand_here_and_both_there_is_an_error_in_words(
        self, case: Case, capsys: pytest.CaptureFixture[str]
    ) -> None:
        one = case.write(
            "one.csv", {hand_of(n).image: of for n, of in case.truth.items() if hand_of(n).side != "right"}
        )
        for order in ([case.submission, one], [one, case.submission]):
            with pytest.raises(ValueError, match=r"p\.csv has rows of both hands of a\.png, .*one\.csv of one hand"):
                vote_submissions(order, case.root / "w.csv", progress=False)
        common = vote_submissions([case.submission, one], case.root / "w.csv", common=True, progress=False)
        assert common.images == ("one.png",)
        print_vote(common)
        assert "2 images left out that not all submissions have" in capsys.readouterr().out


class TestLabels:
    def test_two_hands_are_no_label(self, case: Case, tmp_path: Path) -> None:
        with pytest.raises(LabelError, match=r"rows of both hands of 2 images \(a\.png, b\.png\).*--hands one"):
            convert("submission", case.submission, case.images, tmp_path / "labels", progress=False)
        assert not (tmp_path / "labels").exists()
        left_out = [name for name in case.truth if "#" in name]
        kept = convert(
            "submission", case.submission, case.images, tmp_path / "kept", leave_out=left_out, progress=False
        )
        assert [item["name"] for item in kept.items] == ["one.png"]

    def test_an_image_called_so_is_an_image(self, tmp_path: Path) -> None:
        write_dicom(tmp_path / "images" / "IM1#left", np.zeros((20, 30), np.uint16))
        planes = np.zeros((20, 30), np.int32)
        planes[4:9, 5:12] = 1 << 28
        write_csv(tmp_path / "p.csv", [("IM1#left", encode_planes(planes))])
        found = convert("submission", tmp_path / "p.csv", tmp_path / "images", tmp_path / "labels", progress=False)
        assert [item["name"] for item in found.items] == ["IM1#left"]


class TestExport:
    def test_coco_has_a_category_for_each_bone_of_each_hand(self, case: Case, tmp_path: Path) -> None:
        export(case.submission, case.images, "coco", tmp_path / "out", progress=False)
        coco = COCO(tmp_path / "out" / "annotations.json")
        assert len(coco.imgs) == 3
        assert sorted(coco.cats) == list(range(1, 3 * NUM_BONES + 1))
        found = {name: np.zeros_like(of) for name, of in case.predicted.items()}
        for annotation in coco.anns.values():
            side, _, bone = coco.cats[annotation["category_id"]]["name"].rpartition("_")
            name = row_name(coco.imgs[annotation["image_id"]]["file_name"], side or None)
            found[name] |= coco.annToMask(annotation).astype(np.int32) << INDEX[bone]
        for name, planes in case.predicted.items():
            np.testing.assert_array_equal(found[name], planes)

    def test_png_and_labelme_name_the_side(self, case: Case, tmp_path: Path) -> None:
        for form in ("png", "labelme"):
            export(case.submission, case.images, form, tmp_path / form, progress=False)
        assert len(list((tmp_path / "png" / "a").iterdir())) == 2 * NUM_BONES
        assert {path.name for path in (tmp_path / "png" / "one").iterdir()} == {f"{bone}.png" for bone in NAMES}
        for name, planes in case.predicted.items():
            image, side = hand_of(name)
            for bone in NAMES:
                path = tmp_path / "png" / Path(image).stem / f"{f'{side}_' if side else ''}{bone}.png"
                np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0, mask(planes, bone))
        shapes = json.loads((tmp_path / "labelme" / "a.json").read_text())["shapes"]
        labels = {f"{side}_{bone}" for side in SIDES for bone in NAMES}
        assert {shape["label"] for shape in shapes} == labels - {"left_finger-4"}

    def test_nifti_has_58_channels(self, case: Case, tmp_path: Path) -> None:
        export(case.submission, case.images, "nifti", tmp_path / "out", progress=False)
        stack = np.asarray(nibabel.load(tmp_path / "out" / "a.nii.gz").dataobj)[:, :, 0].transpose(2, 1, 0)
        names = json.loads((tmp_path / "out" / "channels_two_hands.json").read_text())
        assert len(stack) == len(names) == 2 * NUM_BONES
        for channel, name in zip(stack, names, strict=True):
            side, _, bone = name.partition("_")
            np.testing.assert_array_equal(channel > 0, mask(case.predicted[f"a.png#{side}"], bone))
        assert nibabel.load(tmp_path / "out" / "one.nii.gz").shape[-1] == NUM_BONES

    @pytest.mark.parametrize("form", ["coco", "labelme", "masks"])
    @pytest.mark.parametrize("side", SIDES)
    def test_convert_says_why_not_and_gives_one_hand_back(
        self, case: Case, tmp_path: Path, form: str, side: str
    ) -> None:
        out = tmp_path / "out"
        export(case.submission, case.images, "png" if form == "masks" else form, out, progress=False)
        source = out / "annotations.json" if form == "coco" else out

        def back(**options: Path) -> None:
            convert(form, source, case.images, tmp_path / "labels", missing="absent", progress=False, **options)  # type: ignore[arg-type]

        with pytest.raises(ValueError, match=r"classes of two hands \(left_\S+, right_\S+, …\).*the other null"):
            back()
        meanings = {f"{s}_{bone}": bone if s == side else None for s in SIDES for bone in NAMES}
        (tmp_path / "classes.json").write_text(json.dumps(meanings))
        back(classes=tmp_path / "classes.json")
        items, faults = items_of_split(tmp_path / "labels")
        assert not faults
        assert [item["name"] for item in items] == ["a.png", "b.png", "one.png"]
        for item in items:
            planes = case.predicted.get(item["name"], case.predicted.get(f"{item['name']}#{side}"))
            assert planes is not None
            np.testing.assert_array_equal(read_truth(item["label"], planes.shape), planes)

    def test_rows_that_are_missing_are_counted_by_hand(self, case: Case, tmp_path: Path) -> None:
        lines = case.submission.read_text().splitlines(keepends=True)
        gone = ("a.png#left,Ulna,", "a.png#left,Radius,", "a.png#right,Ulna,")
        (tmp_path / "p.csv").write_text("".join(line for line in lines if not line.startswith(gone)))
        missing = export(tmp_path / "p.csv", case.images, "png", tmp_path / "out", progress=False)
        assert missing == {"a.png#left": 2, "a.png#right": 1}
        assert not (tmp_path / "out" / "a" / "left_Ulna.png").exists()

    def test_a_row_that_does_not_fit_names_its_hand(self, case: Case, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((9, 9), np.uint8))
        rows = {name: case.truth[name] for name in ("a.png#left", "a.png#right")}
        with pytest.raises(ValueError, match=r"image a\.png#left: .*past the end"):
            export(case.write("some.csv", rows), tmp_path / "images", "coco", tmp_path / "out", progress=False)
