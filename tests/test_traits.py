"""Folds alike in sex, height and wrist deviation: the exchange of subjects, the metadata and the measure."""

from __future__ import annotations

import shutil
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from handseg_monai.bitplanes import rasterise
from handseg_monai.bones import INDEX
from handseg_monai.data import assign_folds, dataset_traits, labelled_items, read_polygons, write_folds
from handseg_monai.data.folds.exchange import exchange
from handseg_monai.data.folds.metadata import Person, read_metadata
from handseg_monai.data.folds.traits import Traits, as_columns
from handseg_monai.data.wrist import wrist_deviation
from handseg_monai.phantom import PRESETS, render_phantom


def people(count: int, seed: int = 0) -> dict[str, Traits]:
    rng = np.random.default_rng(seed)
    traits = {}
    for number in range(count):
        male, bent = rng.random() < 0.4, rng.random() < 0.15
        deviations = rng.normal(-20 if bent else 0, 5, 2)
        person = Person("male" if male else "female", float(rng.normal(174 if male else 161, 6)))
        traits[f"ID{number:03d}"] = Traits(person, (float(deviations[0]), float(deviations[1])))
    return traits


def differences(traits: dict[str, Traits], fold_of: dict[str, int]) -> np.ndarray:
    """Greatest difference between folds: share of men, mean height, mean deviation, share of bent wrists."""
    rows = []
    for fold in range(max(fold_of.values()) + 1):
        members = [t for s, t in traits.items() if fold_of[s] == fold]
        angles = np.array([t.deviations for t in members])
        men = np.mean([t.person.sex == "male" for t in members])
        heights = np.mean([t.person.height for t in members])
        rows.append([men, heights, angles.mean(), (abs(angles) >= 15).mean()])
    return np.ptp(np.array(rows), axis=0)


class TestExchange:
    @pytest.mark.parametrize(
        ("count", "limits"),
        [(10, (0.51, 12, 12, 0.51)), (60, (0.1, 1, 1, 0.1)), (400, (0.02, 0.1, 0.1, 0.01))],
    )
    def test_folds_are_alike_in_sex_height_and_deviation(self, count: int, limits: tuple[float, ...]) -> None:
        for seed in range(3):
            traits = people(count, seed)
            subjects = [s for s in traits for _ in range(2)]
            fold_of = assign_folds(subjects, 5, seed, traits)
            assert Counter(fold_of.values()) == dict.fromkeys(range(5), count // 5)
            assert (differences(traits, fold_of) <= limits).all()
            if count > 10:
                by_number = differences(traits, assign_folds(subjects, 5, seed))
                assert (differences(traits, fold_of) < by_number).all()

    def test_the_result_depends_on_traits_and_seed_alone(self) -> None:
        traits = people(30)
        subjects = [s for s in traits for _ in range(2)]
        turned = dict(reversed(traits.items()))
        assert assign_folds(subjects, 5, 1, traits) == assign_folds(subjects[::-1], 5, 1, turned)
        assert assign_folds(subjects, 5, 1, traits) != assign_folds(subjects, 5, 2, traits)

    @given(st.integers(2, 5), st.integers(5, 12), st.integers(0, 9))
    def test_sizes_stay_and_no_other_exchange_makes_folds_more_alike(self, k: int, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        folds = np.concatenate([np.arange(k), rng.integers(0, k, n)])
        images, traits = rng.integers(1, 3, n + k), rng.normal(size=(n + k, 3))

        def cost(of: np.ndarray) -> float:
            total = 0.0
            for fold in range(k):
                share = images[of == fold].sum() / images.sum()
                total += float(np.square(traits[of == fold].sum(axis=0) - share * traits.sum(axis=0)).sum())
            return total

        after = exchange(folds, images, traits)
        assert np.bincount(after, images, k).tolist() == np.bincount(folds, images, k).tolist()
        assert cost(after) <= cost(folds) + 1e-9
        for i in range(n + k):
            for j in range(i):
                if images[i] == images[j]:
                    other = after.copy()
                    other[[i, j]] = other[[j, i]]
                    assert cost(other) >= cost(after) - 1e-6

    def test_what_is_not_known_does_not_count(self) -> None:
        nothing = Traits(Person(), (float("nan"),))
        assert not as_columns([nothing] * 6).any()
        known = [Traits(Person("female", 160.0), (0.0,)), Traits(Person("male", 180.0), (20.0,))]
        columns = as_columns([*known, nothing])
        assert np.isfinite(columns).all()
        assert columns[:2].any(axis=0).all()
        assert not columns[2].any()


class TestDeviation:
    def test_it_is_that_of_the_pose_on_either_hand(self) -> None:
        errors = []
        for number in range(4):
            for side in ("left", "right"):
                phantom = render_phantom(99, number, side, PRESETS["standard"], 256)
                polygons = [(k, points) for k in range(29) for points in phantom.polygons[k]]
                errors.append(wrist_deviation(rasterise(polygons, (256, 256))) - phantom.pose.deviation)
        assert np.abs(errors).max() < 8
        assert np.std(errors) < 4

    def test_it_is_unknown_without_the_bones_that_tell_it(self, phantom_dataset: Path) -> None:
        polygons = read_polygons(labelled_items(phantom_dataset / "train")[0][0]["label"], (256, 256))

        def without(*names: str) -> float:
            dropped = {INDEX[name] for name in names}
            return wrist_deviation(rasterise([(k, points) for k, points in polygons if k not in dropped], (256, 256)))

        assert np.isfinite(without())
        assert np.isfinite(without("Ulna"))
        for bones in (("finger-11",), ("finger-7",), ("finger-19",), ("Radius", "Ulna")):
            assert np.isnan(without(*bones))


def write_workbook(path: Path, rows: list[list[Any]]) -> Path:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


class TestMetadata:
    def test_headings_and_stray_characters_are_understood(self, tmp_path: Path) -> None:
        rows = [
            ["ID", "나이", "성별", "체중(몸무게)", "키(신장)", "Unnamed: 5"],
            ["ID001", 30, "_x0008_여", 55, 161.5, "네일아트"],
            [" ID002 ", 40, " 남 ", 80, "175 cm", None],
            ["ID003", None, None, None, 1.7, None],
            [None, None, None, None, None, None],
            ["ID001", 31, "남", 70, 180, None],
        ]
        assert read_metadata(write_workbook(tmp_path / "m.xlsx", rows)) == {
            "ID001": Person("female", 161.5),
            "ID002": Person("male", 175.0),
            "ID003": Person(None, None),
        }

    def test_what_is_no_such_table_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "m.xlsx").write_bytes(b"no workbook")
        with pytest.raises(ValueError, match=r"m\.xlsx: not a workbook"):
            read_metadata(tmp_path / "m.xlsx")
        with pytest.raises(ValueError, match=r"n\.xlsx: No such file"):
            read_metadata(tmp_path / "n.xlsx")
        with pytest.raises(ValueError, match="no column 'ID' in the first row, which holds name, sex"):
            read_metadata(write_workbook(tmp_path / "m.xlsx", [["name", "sex"]]))

    @pytest.mark.parametrize("place", [(60_000, 16_384), (1, 16_384), (99_999, 1)])
    def test_a_stray_cell_far_out_costs_nothing(self, tmp_path: Path, place: tuple[int, int]) -> None:
        path = write_workbook(tmp_path / "m.xlsx", [["ID", "sex"], ["ID001", "F"]])
        book = load_workbook(path)
        book.worksheets[0].cell(*place).value = " "
        book.save(path)
        tracemalloc.start()
        assert read_metadata(path) == {"ID001": Person("female", None)}
        assert tracemalloc.get_traced_memory()[1] < 20e6
        tracemalloc.stop()

    def test_a_sheet_or_workbook_that_is_too_large_is_refused(self, tmp_path: Path) -> None:
        path = write_workbook(tmp_path / "m.xlsx", [["ID", "sex"], ["ID001", "F"]])
        book = load_workbook(path)
        book.worksheets[0].cell(1_048_576, 1).value = " "
        book.save(tmp_path / "rows.xlsx")
        with pytest.raises(ValueError, match=r"rows\.xlsx: .*beyond row 100000; delete what lies below"):
            read_metadata(tmp_path / "rows.xlsx")
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as parts, parts.open("x.xml", "w") as part:
            for _ in range(2**28 // 2**24 + 1):
                part.write(bytes(2**24))
        with pytest.raises(ValueError, match="unpacks to 272 MiB; expected at most 256"):
            read_metadata(path)

    def test_rows_beyond_the_stated_dimensions_are_read(self, tmp_path: Path) -> None:
        path, copy = write_workbook(tmp_path / "m.xlsx", [["ID", "sex"], ["A", "F"], ["B", "M"]]), tmp_path / "c.xlsx"
        with zipfile.ZipFile(path) as whole, zipfile.ZipFile(copy, "w") as parts:
            for name in whole.namelist():
                parts.writestr(name, whole.read(name).replace(b'"A1:B3"', b'"A1:A2"'))
        assert read_metadata(copy) == read_metadata(path)
        assert len(read_metadata(copy)) == 2

    @pytest.mark.parametrize(
        ("old", "new"), [(b"<", b"&"), (b"</sheetData>", b""), (b't="', b't="9'), (b'r="', b'r="?'), (b"1", b"x")]
    )
    def test_a_sheet_that_is_damaged_is_named(self, tmp_path: Path, old: bytes, new: bytes) -> None:
        path, damaged = write_workbook(tmp_path / "m.xlsx", [["ID", "sex"], ["ID001", "F"]]), tmp_path / "d.xlsx"
        with zipfile.ZipFile(path) as whole, zipfile.ZipFile(damaged, "w") as copy:
            for name in whole.namelist():
                content = whole.read(name)
                copy.writestr(name, content.replace(old, new) if "sheet1" in name else content)
        with pytest.raises(ValueError, match=r"d\.xlsx: "):
            read_metadata(damaged)

    def test_a_workbook_damaged_anywhere_is_read_or_named(self, tmp_path: Path) -> None:
        path = write_workbook(tmp_path / "m.xlsx", [["ID", "sex"], ["ID001", "F"]])
        content = path.read_bytes()
        said = []
        for place in range(0, len(content), 23):
            path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
            try:
                read_metadata(path)
            except ValueError as error:
                said.append(str(error))
        assert len(said) > 20
        assert all(line.startswith(f"{path}: ") for line in said)

    def test_the_table_of_phantoms_is_read_whole(self, phantom_dataset: Path) -> None:
        traits = dataset_traits(phantom_dataset, progress=False)
        assert traits.notes == ()
        assert len(traits.of) == 20
        assert all(t.person.sex and t.person.height and len(t.deviations) == 2 for t in traits.of.values())

    def test_what_is_missing_is_said_and_folds_are_made(self, drawn_dataset: Path, tmp_path: Path) -> None:
        (note,) = dataset_traits(drawn_dataset, progress=False).notes
        assert "meta_data.xlsx: not balanced by sex and height" in note
        root = tmp_path / "data"
        shutil.copytree(drawn_dataset, root)
        (root / "meta_data.xlsx").write_bytes(b"")
        assert any("not balanced" in note for note in dataset_traits(root, progress=False).notes)
        write_workbook(root / "meta_data.xlsx", [["ID", "성별", "키"], ["ID001", "남", 170]])
        notes = dataset_traits(root, progress=False).notes
        assert [note.split(": ")[1] for note in notes] == [
            "sex of 4 of 5 subjects is not known",
            "height of 4 of 5 subjects is not known",
        ]
        assert len(write_folds(tmp_path / "folds.json", root, 5)) == 5

    def test_ids_that_excel_made_numbers_match_and_ids_of_nobody_are_said(
        self, drawn_dataset: Path, tmp_path: Path
    ) -> None:
        root = tmp_path / "data"
        for part in ("DCM", "outputs_json"):
            for folder in (drawn_dataset / "train" / part).iterdir():
                shutil.copytree(folder, root / "train" / part / folder.name.removeprefix("ID"))
        write_workbook(root / "meta_data.xlsx", [["ID", "sex", "height"], *([n, "F", 150 + n] for n in range(1, 6))])
        traits = dataset_traits(root, progress=False)
        assert traits.notes == ()
        assert {subject: of.person.height for subject, of in traits.of.items()} == {
            f"{number:03d}": 150 + number for number in range(1, 6)
        }
        write_workbook(root / "meta_data.xlsx", [["ID", "sex"], [1, "F"], ["01", "M"], [2, "F"]])
        assert [s for s, of in dataset_traits(root, progress=False).of.items() if of.person.sex] == ["002"]
        write_workbook(root / "meta_data.xlsx", [["ID", "sex"], ["P1", "F"]])
        (note,) = dataset_traits(root, progress=False).notes
        assert "no ID is that of a subject (IDs such as P1, subjects such as 001)" in note
