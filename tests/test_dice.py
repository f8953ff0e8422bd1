"""The contract's Dice against MONAI and against counting pixels, and the evaluation of a submission."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import DiceMetric

from handseg_monai.bitplanes import unpack
from handseg_monai.bones import INDEX, NAMES
from handseg_monai.handlers.planes_dice import PlanesDice
from handseg_monai.rle import encode, read_csv
from handseg_monai.score.dice import dice
from handseg_monai.score.evaluation import Evaluation, evaluate
from handseg_monai.score.tables import write_evaluation
from tests.conftest import draw_radiograph, write_label


def dice_by_counting(a: np.ndarray, b: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two boolean masks, pixel by pixel; 1 where both are empty."""
    both = size = 0
    for in_a, in_b in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True):
        both += in_a and in_b
        size += in_a + in_b
    return 2 * both / size if size else 1.0


def some_planes(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Dense bit planes; bones 0 to 3 are absent, as is bone 4 where the seed is odd."""
    planes = np.random.default_rng(seed).integers(0, 2**29, shape, dtype=np.int32)
    return planes & ~np.int32(0b11111 if seed % 2 else 0b01111)


PAIRS = hnp.arrays(
    np.int32, st.tuples(st.just(2), st.integers(1, 4), st.integers(1, 5)), elements=st.integers(0, 2**29 - 1)
)


class TestDice:
    @given(PAIRS)
    def test_each_bone_equals_counting_pixels(self, pair: np.ndarray) -> None:
        expected = [dice_by_counting(a, b) for a, b in zip(unpack(pair[0]), unpack(pair[1]), strict=True)]
        np.testing.assert_allclose(dice(pair[0], pair[1]), expected, rtol=1e-12)

    def test_both_empty_is_one_and_one_of_them_empty_is_zero(self) -> None:
        empty, full = np.zeros((3, 4), np.int32), np.full((3, 4), 2**29 - 1, np.int32)
        assert dice(empty, empty).tolist() == [1.0] * 29
        assert dice(full, empty).tolist() == [0.0] * 29
        assert dice(empty, full).tolist() == [0.0] * 29
        assert dice(full, full).tolist() == [1.0] * 29

    def test_other_shapes_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"prediction \(3, 4\) and truth \(4, 3\) differ in shape"):
            dice(np.zeros((3, 4), np.int32), np.zeros((4, 3), np.int32))

    def test_the_metric_equals_monais_on_unpacked_masks(self) -> None:
        prediction = torch.from_numpy(np.stack([some_planes(seed, (9, 7)) for seed in (0, 1, 2)])[:, None])
        truth = torch.from_numpy(np.stack([some_planes(seed, (9, 7)) for seed in (5, 4, 6)])[:, None])
        ours, monais = PlanesDice(), DiceMetric(include_background=True, ignore_empty=False)
        per_bone = ours(prediction, truth)
        expected = monais(unpack(prediction[:, 0]).float(), unpack(truth[:, 0]).float())
        np.testing.assert_allclose(per_bone.numpy(), expected.numpy(), rtol=1e-6)
        assert float(ours.aggregate()) == pytest.approx(float(monais.aggregate()), rel=1e-6)
        # Absent and falsely found bones are among them, and count.
        assert (per_bone == 1).sum() == 3 * 4
        assert (per_bone == 0).sum() == 3 - 1

    def test_images_of_differing_size_count_the_same(self) -> None:
        pairs = [(some_planes(0, (9, 7)), some_planes(2, (9, 7))), (some_planes(1, (3, 11)), some_planes(4, (3, 11)))]
        metric = PlanesDice()
        metric([torch.from_numpy(a[None]) for a, _ in pairs], [torch.from_numpy(b[None]) for _, b in pairs])
        expected = np.mean([dice_by_counting(a, b) for pair in pairs for a, b in zip(*map(unpack, pair), strict=True)])
        assert float(metric.aggregate()) == pytest.approx(expected, rel=1e-9)

    def test_batches_are_gathered_until_reset(self) -> None:
        metric = PlanesDice()
        truth = torch.from_numpy(np.full((1, 1, 2, 2), 2**29 - 1, np.int32))
        metric(truth, truth)
        metric(torch.zeros_like(truth), truth)
        assert float(metric.aggregate()) == pytest.approx(0.5)
        metric.reset()
        metric(truth, truth)
        assert float(metric.aggregate()) == 1.0

    def test_without_images_or_truth_it_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="call the metric before aggregate"):
            PlanesDice().aggregate()
        with pytest.raises(ValueError, match="truth, got none"):
            PlanesDice()(torch.zeros((1, 1, 2, 2), dtype=torch.int32))


SHAPE = (60, 44)
ABSENT = {"b.png": ["Ulna", "finger-1"]}
FALSE_POSITIVES = {("b.png", "Ulna")}


@pytest.fixture(scope="module")
def case(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[tuple[str, str], str], dict[tuple[str, str], float]]:
    """A dataset of three images, the rows of a submission for them, and the Dice of each by counting.

    Image b lacks two bones; of these the submission has one.
    """
    root = tmp_path_factory.mktemp("evaluation")
    rows: dict[tuple[str, str], str] = {}
    expected: dict[tuple[str, str], float] = {}
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        shape = (SHAPE[0] + 10 * seed, SHAPE[1])
        image, polygons = draw_radiograph(seed, shape)
        kept = {bone: p for bone, p in polygons.items() if bone not in ABSENT.get(name, [])}
        path = root / "test" / "DCM" / "ID1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
        write_label(root / "test" / "outputs_json" / "ID1" / f"{path.stem}.json", kept)
        for bone, points in polygons.items():
            truth = np.zeros(shape, np.uint8)
            if bone in kept:
                cv2.fillPoly(truth, [np.array(points)], 1)
            guess = np.zeros(shape, np.uint8)
            if bone in kept or (name, bone) in FALSE_POSITIVES:
                cv2.fillPoly(guess, [np.array(points) + np.array([INDEX[bone] % 4, 1])], 1)
            rows[name, bone] = encode(guess > 0)
            expected[name, bone] = dice_by_counting(guess > 0, truth > 0)
    return root, rows, expected


def write_rows(path: Path, rows: dict[tuple[str, str], str], seed: int = 0) -> Path:
    """Write rows in an order that no program would choose."""
    keys = list(rows)
    np.random.default_rng(seed).shuffle(keys)
    lines = ["image_name,class,rle", *(f"{name},{bone},{rows[name, bone]}" for name, bone in keys)]
    path.write_text("\n".join(lines) + "\n")
    return path


Case = tuple[Path, dict[tuple[str, str], str], dict[tuple[str, str], float]]


class TestEvaluate:
    def test_equals_counting_pixels_whatever_the_order_of_rows(self, case: Case, tmp_path: Path) -> None:
        root, rows, expected = case
        for seed in (0, 1):
            result = evaluate(write_rows(tmp_path / "s.csv", rows, seed), root, progress=False)
            assert result.names == ["a.png", "b.png", "c.png"]
            assert result.dice.shape == (3, 29)
            for i, name in enumerate(result.names):
                np.testing.assert_allclose(result.dice[i], [expected[name, bone] for bone in NAMES], rtol=1e-12)
            assert result.mean_dice == pytest.approx(np.mean(list(expected.values())), rel=1e-12)

    def test_absent_bones_count_in_the_mean_and_not_in_that_of_present_ones(self, case: Case, tmp_path: Path) -> None:
        root, rows, expected = case
        result = evaluate(write_rows(tmp_path / "s.csv", rows), root, progress=False)
        assert result.dice[1, INDEX["finger-1"]] == 1
        assert result.dice[1, INDEX["Ulna"]] == 0
        present = [value for (name, bone), value in expected.items() if bone not in ABSENT.get(name, [])]
        assert len(present) == 3 * 29 - 2
        assert result.mean_dice_present == pytest.approx(np.mean(present), rel=1e-12)
        assert result.mean_dice != pytest.approx(result.mean_dice_present, abs=1e-4)

    def test_the_table_of_bones_tells_images_and_false_positives(self, case: Case, tmp_path: Path) -> None:
        root, rows, expected = case
        table = evaluate(write_rows(tmp_path / "s.csv", rows), root, progress=False).of_bones()
        assert [row["bone"] for row in table] == list(NAMES)
        for row in table:
            values = [expected[name, str(row["bone"])] for name in ("a.png", "b.png", "c.png")]
            assert row["dice"] == pytest.approx(np.mean(values))
            assert row["lowest"] == pytest.approx(min(values))
            assert row["images"] == (2 if row["bone"] in ("Ulna", "finger-1") else 3)
            assert row["false_positives"] == (1 if row["bone"] == "Ulna" else 0)

    @pytest.mark.parametrize("place", ["", "test"])
    def test_a_dataset_or_one_of_its_splits_is_the_truth(self, case: Case, tmp_path: Path, place: str) -> None:
        root, rows, expected = case
        result = evaluate(write_rows(tmp_path / "s.csv", rows), root / place, progress=False)
        assert result.mean_dice == pytest.approx(np.mean(list(expected.values())), rel=1e-12)

    def test_a_missing_image_is_an_error_that_names_it(self, case: Case, tmp_path: Path) -> None:
        root, rows, _ = case
        path = write_rows(tmp_path / "s.csv", {key: text for key, text in rows.items() if key[0] != "b.png"})
        with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: lacks 1 image \(b\.png\)"):
            evaluate(path, root, progress=False)

    def test_missing_rows_are_an_error_that_names_them(self, case: Case, tmp_path: Path) -> None:
        root, rows, _ = case
        lacking = {key: text for key, text in rows.items() if key not in {("a.png", "Ulna"), ("c.png", "Hamate")}}
        with pytest.raises(ValueError, match=r"lacks 2 rows \((a\.png Ulna, c\.png Hamate|c.*, a.*)\)"):
            evaluate(write_rows(tmp_path / "s.csv", lacking), root, progress=False)

    def test_missing_ones_count_as_empty_masks_with_zero(self, case: Case, tmp_path: Path) -> None:
        root, rows, expected = case
        lacking = {key: text for key, text in rows.items() if key[0] != "b.png" and key != ("a.png", "Ulna")}
        result = evaluate(write_rows(tmp_path / "s.csv", lacking), root, "zero", progress=False)
        zeroed = dict(expected)
        zeroed["a.png", "Ulna"] = 0
        for bone in NAMES:
            zeroed["b.png", bone] = 1 if bone in ABSENT["b.png"] else 0
        assert result.names == ["a.png", "b.png", "c.png"]
        assert result.mean_dice == pytest.approx(np.mean(list(zeroed.values())), rel=1e-12)
        assert result.missing_images == ["b.png"]
        assert result.missing_rows == [("a.png", "Ulna")]

    def test_missing_ones_are_left_out_with_skip(self, case: Case, tmp_path: Path) -> None:
        root, rows, expected = case
        lacking = {key: text for key, text in rows.items() if key[0] != "b.png" and key != ("a.png", "Ulna")}
        result = evaluate(write_rows(tmp_path / "s.csv", lacking), root, "skip", progress=False)
        assert result.names == ["a.png", "c.png"]
        assert np.isnan(result.dice).sum() == 1
        assert np.isnan(result.dice[0, INDEX["Ulna"]])
        assert result.mean_dice == pytest.approx(np.mean([expected[key] for key in lacking]), rel=1e-12)
        ulna = result.of_bones()[INDEX["Ulna"]]
        assert ulna["dice"] == pytest.approx(expected["c.png", "Ulna"])

    @pytest.mark.parametrize("missing", ["error", "zero"])
    def test_an_image_without_a_label_is_an_error(self, case: Case, tmp_path: Path, missing: str) -> None:
        root, rows, _ = case
        more = rows | {("other.png", bone): "" for bone in NAMES}
        with pytest.raises(ValueError, match=r"no label in .* for 1 image \(other\.png\)"):
            evaluate(write_rows(tmp_path / "s.csv", more), root, missing, progress=False)

    def test_an_image_without_a_label_is_passed_over_with_skip(self, case: Case, tmp_path: Path) -> None:
        root, rows, expected = case
        more = rows | {("other.png", bone): "" for bone in NAMES}
        result = evaluate(write_rows(tmp_path / "s.csv", more), root, "skip", progress=False)
        assert result.without_truth == ["other.png"]
        assert result.mean_dice == pytest.approx(np.mean(list(expected.values())), rel=1e-12)

    def test_masks_of_another_size_name_file_and_image(self, case: Case, tmp_path: Path) -> None:
        root, rows, _ = case
        path = write_rows(tmp_path / "s.csv", rows | {("c.png", "Radius"): "2048 1 4194304 1"})
        with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: image c\.png: .*past the end .* 80 x 44"):
            evaluate(path, root, progress=False)

    def test_a_submission_of_none_of_the_images_is_an_error(self, case: Case, tmp_path: Path) -> None:
        root, _, _ = case
        path = write_rows(tmp_path / "s.csv", {("other.png", bone): "" for bone in NAMES})
        with pytest.raises(ValueError, match=r"no image of the CSV has a label; looked in .*test"):
            evaluate(path, root, progress=False)

    def test_a_folder_that_is_no_dataset_is_an_error(self, case: Case, tmp_path: Path) -> None:
        _, rows, _ = case
        with pytest.raises(ValueError, match=r"no dataset; looked for train/DCM, test/DCM, DCM and datalist\.json"):
            evaluate(write_rows(tmp_path / "s.csv", rows), tmp_path, progress=False)


class TestWritten:
    @pytest.fixture
    def result(self, case: Case, tmp_path: Path) -> Evaluation:
        root, rows, _ = case
        # finger-2 is missing from every image, and so has no Dice.
        lacking = {key: text for key, text in rows.items() if key[1] != "finger-2"}
        result = evaluate(write_rows(tmp_path / "s.csv", lacking), root, "skip", progress=False)
        write_evaluation(result, tmp_path / "out")
        return result

    def test_the_summary_is_strict_json(self, result: Evaluation, tmp_path: Path) -> None:
        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        summary = json.loads((tmp_path / "out" / "evaluation.json").read_text(), parse_constant=refuse)
        assert summary["mean_dice"] == result.mean_dice
        assert summary["mean_dice_of_bones_present"] == result.mean_dice_present
        assert summary["images"] == 3
        assert summary["missing"] == "skip"
        assert sorted(summary["missing_rows"]) == [[name, "finger-2"] for name in ("a.png", "b.png", "c.png")]
        assert [bone["bone"] for bone in summary["bones"]] == list(NAMES)
        assert summary["bones"][INDEX["finger-2"]]["dice"] is None
        assert summary["bones"][INDEX["Ulna"]]["dice"] == result.of_bones()[INDEX["Ulna"]]["dice"]

    def test_the_table_has_a_row_for_each_image_and_bone(self, result: Evaluation, case: Case, tmp_path: Path) -> None:
        _, _, expected = case
        with (tmp_path / "out" / "evaluation.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["image_name"], row["class"]) for row in rows] == [(n, b) for n in result.names for b in NAMES]
        texts = read_csv(tmp_path / "s.csv")
        for row in rows:
            name, bone = row["image_name"], row["class"]
            if bone == "finger-2":
                assert row["dice"] == ""
                continue
            assert float(row["dice"]) == pytest.approx(expected[name, bone], abs=1e-6)
            lengths = [int(n) for n in (texts[name][INDEX[bone]] or "").split()[1::2]]
            assert int(row["predicted_pixels"]) == sum(lengths)
            assert (int(row["truth_pixels"]) == 0) == (bone in ABSENT.get(name, []))
