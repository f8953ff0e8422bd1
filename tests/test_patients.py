"""The person in a DICOM image is its patient, whose identifier nothing prints or writes."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import cv2
import pytest

from handseg_monai.data import DatasetError, training_datalist, write_folds
from handseg_monai.data.labels import convert
from handseg_monai.data.reading.patients import patients_of
from tests.conftest import draw_radiograph, write_label
from tests.dicoms import write_dicom
from tests.label_forms import SHAPE, Polygons, write_labelme
from tests.programs import handseg

ANNA, BORA = "1234567", "7654321"


def write(folder: Path, patients: dict[str, str | None], **attributes: str) -> dict[Path, Polygons]:
    """Write a DICOM image for each name, of a patient; the polygons of each."""
    drawn = {}
    for number, (name, patient) in enumerate(patients.items()):
        image, polygons = draw_radiograph(number, SHAPE)
        drawn[write_dicom(folder / name, image, PatientID=patient, **attributes)] = polygons
    return drawn


def subjects(tmp_path: Path, drawn: dict[Path, Polygons], **told: str) -> dict[str, str]:
    """Convert labels of images below ``tmp_path / "images"``; the subject of each image."""
    write_labelme(tmp_path / "labels", tmp_path / "images", drawn)
    done = convert("labelme", tmp_path / "labels", tmp_path / "images", tmp_path / "out", **told)  # type: ignore[arg-type]
    return {item["name"]: item["subject"] for item in done.items}


def test_images_of_one_folder_go_by_patient_and_folds_never_part_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drawn = write(tmp_path / "images", {"a.dcm": ANNA, "b.dcm": f"{ANNA} ", "c.dcm": BORA, "d.dcm": BORA})
    assert subjects(tmp_path, drawn) == {"a.dcm": "a", "b.dcm": "a", "c.dcm": "c", "d.dcm": "c"}
    assert f"{tmp_path / 'images'}: images of several patients (PatientID); each patient is a subject" in caplog.text
    assert set(write_folds(tmp_path / "folds.json", tmp_path / "out", 2).values()) == {0, 1}
    for fold in range(2):
        lists = training_datalist(tmp_path / "out", fold, folds_file=tmp_path / "folds.json")
        names = [{item["name"] for item in data} for data in lists.values()]
        assert sorted(map(sorted, names)) == [["a.dcm", "b.dcm"], ["c.dcm", "d.dcm"]]


def test_folders_of_several_patients_and_patients_of_several_folders(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    patients = {"one/a.dcm": ANNA, "two/b.dcm": ANNA, "mixed/c.dcm": BORA, "mixed/d.dcm": "9", "own/e.dcm": "8"}
    drawn = write(tmp_path / "images", patients)
    cv2.imwrite(str(tmp_path / "images" / "two" / "p.png"), draw_radiograph(9, SHAPE)[0])
    drawn[tmp_path / "images" / "two" / "p.png"] = draw_radiograph(9, SHAPE)[1]
    assert subjects(tmp_path, drawn) == {
        **{"a.dcm": "one", "b.dcm": "one", "p.png": "one"},  # a picture beside images of one patient is that patient's
        **{"c.dcm": "mixed/c", "d.dcm": "mixed/d", "e.dcm": "own"},
    }
    assert "images/mixed: images of several patients (PatientID); each patient" in caplog.text
    assert "one patient (PatientID) in one and two; subject one" in caplog.text


def test_what_is_told_counts_and_parting_a_patient_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drawn = write(tmp_path / "images", {"a.dcm": ANNA, "b.dcm": ANNA, "c.dcm": BORA})
    assert subjects(tmp_path, drawn, subject="^(.)") == {"a.dcm": "a", "b.dcm": "b", "c.dcm": "c"}
    assert re.search(r"a\.dcm and .*b\.dcm: one patient \(PatientID\), but subjects a and b", caplog.text)
    folded = handseg("folds", tmp_path / "out", "--k", "2", "--out", tmp_path / "folds.json")
    assert folded.returncode == 0


@pytest.mark.parametrize("nobody", [None, "", "  ", "ANONYMOUS", "anonymized", "Anon", "UNKNOWN", "N/A", "0000", "xxx"])
def test_a_placeholder_is_nobody(tmp_path: Path, nobody: str | None, caplog: pytest.LogCaptureFixture) -> None:
    drawn = write(tmp_path / "images", {"f/a.dcm": nobody, "g/b.dcm": nobody, "g/c.dcm": nobody})
    assert subjects(tmp_path, drawn) == {"a.dcm": "f", "b.dcm": "g", "c.dcm": "g"}
    assert "a.dcm and 2 more: DICOM states no PatientID, or a placeholder" in caplog.text


def test_one_identifier_of_all_images_is_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drawn = write(tmp_path / "images", {"f/a.dcm": "RESEARCH", "g/b.dcm": "RESEARCH"})
    assert subjects(tmp_path, drawn) == {"a.dcm": "f", "b.dcm": "g"}
    assert "states one and the same PatientID: taken for a placeholder" in caplog.text


def test_one_number_of_two_hospitals_is_two_patients(tmp_path: Path) -> None:
    seoul = write(tmp_path, {"a.dcm": ANNA}, IssuerOfPatientID="Seoul")
    busan = write(tmp_path, {"b.dcm": ANNA}, IssuerOfPatientID="Busan")
    assert list(patients_of([*seoul, *busan]).values()) == [0, 1]


def test_an_image_without_issuer_is_of_the_patient_of_its_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named = write(tmp_path, {"a.dcm": ANNA, "c.dcm": BORA}, IssuerOfPatientID="Seoul")
    bare = write(tmp_path, {"b.dcm": ANNA})
    assert list(patients_of([*named, *bare]).values()) == [0, 1, 0]
    assert not caplog.text
    other = write(tmp_path, {"d.dcm": ANNA}, IssuerOfPatientID="Busan")
    assert list(patients_of([*named, *bare, *other]).values()) == [0, 1, 0, 0]
    assert "one PatientID of several issuers and of none: taken for one patient" in caplog.text


def test_numbers_that_differ_in_case_alone_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = list(write(tmp_path, {"a.dcm": "HX17", "b.dcm": "hx17", "c.dcm": "HX17 "}))
    assert list(patients_of(paths).values()) == [0, 1, 0]
    assert f"{paths[0]} and {paths[1]}: PatientIDs that differ in case alone" in caplog.text
    assert "hx17" not in caplog.text.lower()


@pytest.mark.parametrize("other", ["Kim\u00a0A", "\u200bKim A", " Kim  A", "Kim A\ufeff", "Kim\u3000A\t"])
def test_spaces_and_invisible_signs_part_nobody(tmp_path: Path, other: str) -> None:
    drawn = write(tmp_path / "images", {"a.dcm": ANNA, "b.dcm": ANNA, "c.dcm": BORA})
    table = f'image,subject\na.dcm,Kim A\nb.dcm,"{other}"\nc.dcm,Lee\n'
    (tmp_path / "people.csv").write_text(table, encoding="utf-8")
    told = subjects(tmp_path, drawn, subjects=str(tmp_path / "people.csv"))
    assert told == {"a.dcm": "Kim A", "b.dcm": "Kim A", "c.dcm": "Lee"}


def test_subjects_that_differ_in_case_alone_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drawn = write(tmp_path / "images", {"a.dcm": "1", "b.dcm": "2"})
    (tmp_path / "people.csv").write_text("image,subject\na.dcm,Kim\nb.dcm,KIM\n")
    assert len(set(subjects(tmp_path, drawn, subjects=str(tmp_path / "people.csv")).values())) == 2
    assert "subjects that differ in case alone, taken for several: KIM and Kim" in caplog.text


def test_anonymised_numbers_that_differ_are_patients(tmp_path: Path) -> None:
    paths = list(write(tmp_path, {"a.dcm": "ANON001", "b.dcm": "ANON002", "c.dcm": "ANON001"}))
    assert list(patients_of(paths).values()) == [0, 1, 0]


def test_the_competitions_folders_count_but_one_patient_is_one_subject(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    patients = {"ID1/a.dcm": ANNA, "ID2/b.dcm": ANNA, "ID3/c.dcm": BORA, "ID3/d.dcm": "9", "ID4/e.dcm": "8"}
    for path, polygons in write(tmp_path / "train" / "DCM", patients).items():
        write_label(tmp_path / "train" / "outputs_json" / path.parent.name / f"{path.stem}.json", polygons)
    assert write_folds(tmp_path / "folds.json", tmp_path, 3).keys() == {"ID1", "ID3", "ID4"}
    assert "subjects ID1 and ID2 are one patient (PatientID): one subject" in caplog.text
    assert "subjects ID3: each holds images of several patients" in caplog.text


def test_pseudo_labels_of_a_patient_of_validation_are_refused(tmp_path: Path) -> None:
    drawn = write(tmp_path / "images", {"a.dcm": ANNA, "b.dcm": BORA})
    more = write(tmp_path / "more", {"x.dcm": "9", "y.dcm": BORA})
    for folder, of in (("images", drawn), ("more", more)):
        write_labelme(tmp_path / "labels" / folder, tmp_path / folder, of)
        convert("labelme", tmp_path / "labels" / folder, tmp_path / folder, tmp_path / f"of_{folder}")
    pseudo = tmp_path / "of_more"
    begun, refused = [], []
    for fold in range(2):
        try:
            begun += training_datalist(tmp_path / "of_images", fold, 2, pseudo_labels=pseudo)["validation"]
        except DatasetError as error:
            refused.append(str(error))
    assert [item["name"] for item in begun] == ["a.dcm"]
    assert re.search(r"y\.dcm shows a patient \(PatientID\) of validation", *refused)


def test_nothing_that_is_printed_or_written_holds_the_identifier(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    drawn = write(tmp_path / "images", {"x/a.dcm": ANNA, "y/b.dcm": ANNA, "x/c.dcm": BORA})
    write_labelme(tmp_path / "labels", tmp_path / "images", drawn)
    arguments = ["labelme", tmp_path / "labels", "--images", tmp_path / "images", "--out", tmp_path / "out"]
    said = [
        handseg("convert", *arguments),
        handseg("folds", tmp_path / "out", "--k", "2", "--out", tmp_path / "f.json"),
    ]
    texts = [caplog.text, *(text for done in said for text in (done.stdout, done.stderr))]
    texts += [(tmp_path / name).read_text() for name in ("out/datalist.json", "f.json")]
    assert all(done.returncode == 0 for done in said)
    assert not any(patient in text for patient in (ANNA, BORA) for text in texts)
