"""Folds: no subject in two of them, about equal, the same every time, on disk and in memory."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from handseg_monai.data import DatasetError, Item, assign_folds, split_items, training_datalist, write_folds
from handseg_monai.data.folds import read_folds
from tests.conftest import write_drawn_dataset

# The subject of each image, in any order: up to 12 people with 1 to 20 images in all.
SUBJECTS = st.lists(st.integers(1, 12).map("ID{:03d}".format), min_size=2, max_size=20)


def items_of(subjects: list[str]) -> list[Item]:
    return [
        Item(image=f"{s}/{i}.png", name=f"{i}.png", label=f"{s}/{i}.json", subject=s) for i, s in enumerate(subjects)
    ]


class TestAssigning:
    @given(SUBJECTS, st.integers(2, 6), st.integers(0, 5))
    def test_every_subject_is_in_one_fold_and_no_fold_is_empty(self, subjects: list[str], k: int, seed: int) -> None:
        assume(len(set(subjects)) >= k)
        fold_of = assign_folds(subjects, k, seed)
        assert fold_of.keys() == set(subjects)
        assert set(fold_of.values()) == set(range(k))

    @given(SUBJECTS, st.integers(2, 6), st.integers(0, 5))
    def test_no_subject_is_in_training_and_validation(self, subjects: list[str], k: int, seed: int) -> None:
        assume(len(set(subjects)) >= k)
        items = items_of(subjects)
        validated = []
        for fold in range(k):
            training, validation = split_items(items, fold, k, seed)
            assert not {item["subject"] for item in training} & {item["subject"] for item in validation}
            assert sorted([*training, *validation], key=str) == sorted(items, key=str)
            validated += validation
        assert sorted(validated, key=str) == sorted(items, key=str)

    @given(SUBJECTS, st.integers(2, 6), st.integers(0, 5))
    def test_folds_differ_by_no_more_images_than_one_subject_has(self, subjects: list[str], k: int, seed: int) -> None:
        assume(len(set(subjects)) >= k)
        fold_of = assign_folds(subjects, k, seed)
        sizes = Counter(fold_of[subject] for subject in subjects)
        assert max(sizes.values()) - min(sizes.values()) <= max(Counter(subjects).values())

    def test_two_images_a_subject_are_dealt_evenly(self) -> None:
        subjects = [f"ID{i:03d}" for i in range(400) for _ in range(2)]
        sizes = Counter(assign_folds(subjects, 5).values())
        assert sizes == dict.fromkeys(range(5), 80)

    @pytest.mark.parametrize("seed", range(5))
    def test_subjects_of_many_images_and_of_one_make_equal_folds(self, seed: int) -> None:
        subjects = [f"many {i}" for i in range(3) for _ in range(10)] + [f"one {i}" for i in range(30)]
        fold_of = assign_folds(subjects, 2, seed)
        assert Counter(fold_of[subject] for subject in subjects) == {0: 30, 1: 30}

    @given(st.randoms(use_true_random=False), SUBJECTS, st.integers(0, 5))
    def test_the_order_of_images_does_not_matter(self, random: Any, subjects: list[str], seed: int) -> None:
        assume(len(set(subjects)) >= 2)
        shuffled = list(subjects)
        random.shuffle(shuffled)
        assert assign_folds(shuffled, 2, seed) == assign_folds(subjects, 2, seed)

    def test_the_seed_deals_anew(self) -> None:
        subjects = [f"ID{i:03d}" for i in range(30)]
        assert assign_folds(subjects, 5, 1) == assign_folds(subjects, 5, 1)
        assert len({tuple(sorted(assign_folds(subjects, 5, seed).items())) for seed in range(5)}) == 5

    @pytest.mark.parametrize("k", [1, 0, -2])
    def test_fewer_than_two_folds_are_refused(self, k: int) -> None:
        with pytest.raises(ValueError, match=f"at least 2 folds, got {k}"):
            assign_folds(["a", "b", "c"], k)

    def test_fewer_subjects_than_folds_are_refused(self) -> None:
        with pytest.raises(ValueError, match="3 subjects can't fill 4 folds; expected at least 4"):
            assign_folds(["a", "b", "c", "a", "b", "c"], 4)

    @pytest.mark.parametrize("fold", [-1, 3])
    def test_a_fold_out_of_range_is_refused(self, fold: int) -> None:
        with pytest.raises(ValueError, match=f"fold {fold} is out of range; expected 0 to 2"):
            split_items(items_of(["a", "b", "c"]), fold, 3)


class TestFoldsFile:
    def test_the_file_gives_the_same_split_as_dealing(self, drawn_dataset: Path, tmp_path: Path) -> None:
        fold_of = write_folds(tmp_path / "new" / "folds.json", drawn_dataset, 3, seed=7)
        assert read_folds(tmp_path / "new" / "folds.json") == fold_of
        for fold in range(3):
            dealt = training_datalist(drawn_dataset, fold, 3, seed=7)
            from_file = training_datalist(drawn_dataset, fold, folds_file=tmp_path / "new" / "folds.json")
            assert from_file == dealt
            assert len(dealt["validation"]) in (2, 4)

    def test_the_file_is_monais_datalist_with_relative_paths(self, drawn_dataset: Path, tmp_path: Path) -> None:
        fold_of = write_folds(tmp_path / "folds.json", drawn_dataset, 5)
        content = json.loads((tmp_path / "folds.json").read_text())
        assert content.keys() == {"training", "testing"}
        assert len(content["training"]) == 10
        assert content["testing"] == []
        for entry in content["training"]:
            assert entry["image"].startswith(f"train/DCM/{entry['subject']}/")
            assert (drawn_dataset / entry["image"]).is_file()
            assert (drawn_dataset / entry["label"]).is_file()
            assert entry["fold"] == fold_of[entry["subject"]]

    def test_images_of_the_test_split_are_listed(self, tmp_path: Path) -> None:
        write_drawn_dataset(tmp_path, subjects=2)
        write_drawn_dataset(tmp_path, subjects=1, split="test")
        write_folds(tmp_path / "folds.json", tmp_path, 2)
        testing = json.loads((tmp_path / "folds.json").read_text())["testing"]
        expected = sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "test" / "DCM").rglob("*.png"))
        assert testing == [{"image": path} for path in expected]

    def test_folds_written_by_hand_are_taken_as_they_are(self, tmp_path: Path) -> None:
        folds = {"a": 0, "b": 2, "c": 1, "d": 2}
        entries = [{"image": "x", "subject": subject, "fold": fold} for subject, fold in folds.items()]
        (tmp_path / "folds.json").write_text(json.dumps({"training": entries}))
        items = items_of(["a", "b", "c", "d", "a"])
        training, validation = split_items(items, 2, 5, folds_file=tmp_path / "folds.json")
        assert [item["subject"] for item in validation] == ["b", "d"]
        assert [item["subject"] for item in training] == ["a", "c", "a"]
        with pytest.raises(ValueError, match="fold 3 is out of range; expected 0 to 2"):
            split_items(items, 3, 5, folds_file=tmp_path / "folds.json")

    def test_a_subject_in_two_folds_is_refused(self, tmp_path: Path) -> None:
        entries = [{"subject": "a", "fold": 0}, {"subject": "b", "fold": 1}, {"subject": "a", "fold": 1}]
        (tmp_path / "folds.json").write_text(json.dumps({"training": entries}))
        with pytest.raises(ValueError, match=r"folds\.json: subject a is in folds 0 and 1"):
            read_folds(tmp_path / "folds.json")

    def test_subjects_that_the_file_lacks_are_named(self, tmp_path: Path) -> None:
        entries = [{"subject": "a", "fold": 0}, {"subject": "b", "fold": 1}]
        (tmp_path / "folds.json").write_text(json.dumps({"training": entries}))
        with pytest.raises(ValueError, match=r"folds\.json: no fold for subject c, d; run handseg folds again"):
            split_items(items_of(["a", "d", "b", "c"]), 0, 2, folds_file=tmp_path / "folds.json")

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "{",
            "[]",
            "{}",
            '{"training": 3}',
            '{"training": [{"subject": "a"}]}',
            '{"training": [{"fold": 1}]}',
            '{"training": ["a"]}',
            '{"training": [{"subject": "a", "fold": "first"}]}',
            '{"training": [{"subject": "a", "fold": null}]}',
        ],
    )
    def test_what_is_no_folds_file_is_named(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "folds.json").write_text(content)
        with pytest.raises(
            ValueError, match=r"folds\.json: not a datalist with 'training' entries that hold 'subject' and 'fold'"
        ):
            read_folds(tmp_path / "folds.json")

    def test_a_missing_file_is_named(self, tmp_path: Path, drawn_dataset: Path) -> None:
        with pytest.raises(ValueError, match=r"folds\.json: No such file"):
            read_folds(tmp_path / "folds.json")
        with pytest.raises(DatasetError, match=rf"{re.escape(str(drawn_dataset))}: .*folds\.json: No such file"):
            training_datalist(drawn_dataset, folds_file=tmp_path / "folds.json")

    def test_a_folder_without_labelled_images_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(
            ValueError, match=rf"no labelled images in {re.escape(str(tmp_path))}; looked for train/DCM"
        ):
            write_folds(tmp_path / "folds.json", tmp_path, 2)
        assert list(tmp_path.iterdir()) == []

    def test_a_dataset_with_faults_gets_no_folds(self, tmp_path: Path) -> None:
        root = write_drawn_dataset(tmp_path / "data", subjects=2)
        label = min((root / "train" / "outputs_json").rglob("*.json"))
        label.unlink()
        with pytest.raises(ValueError, match=rf"no label; looked for {re.escape(str(label))}"):
            write_folds(tmp_path / "folds.json", root, 2)
        assert not (tmp_path / "folds.json").exists()


@pytest.mark.parametrize("text", ['{"training": [{"subject": "a", "fold": Infinity}]}', "[" * 100_000])
def test_a_file_of_folds_that_python_chokes_on_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "folds.json").write_text(text)
    with pytest.raises(ValueError, match="not a datalist with 'training' entries"):
        read_folds(tmp_path / "folds.json")
