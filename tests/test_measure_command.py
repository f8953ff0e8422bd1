"""``handseg measure``: its table and pictures, both hands of an image, and the millimetres that DICOM files state."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from handseg_monai.measure import Measure, Spacing, measure_hand, spacing_of, submission
from handseg_monai.measure.submission import HEADER, picture
from handseg_monai.rle import encode_planes, write_csv
from tests.dicoms import write_dicom
from tests.hands import phantom
from tests.programs import handseg
from tests.test_measures import NAMES_OF_MEASURES

MEASURES = len(NAMES_OF_MEASURES)


def table(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """Rows of a CSV of measures by image, hand and measure."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert tuple(rows[0]) == HEADER
    return {(row["image"], row["hand"], row["measure"]): row for row in rows}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of two phantoms, one as PNG and one as DICOM, and ``own.csv``, their truth."""
    for number, name in ((0, "a.png"), (2, "b.dcm")):
        image = phantom(number).image
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        if name.endswith(".png"):
            cv2.imwrite(str(path), image)
        else:
            pixel = [phantom(number).spacing] * 2
            write_dicom(path, image, ImagerPixelSpacing=pixel, EstimatedRadiographicMagnificationFactor=1.0)
    rows = [("a.png", encode_planes(phantom(0).planes)), ("b.dcm", encode_planes(phantom(2).planes))]
    write_csv(tmp_path / "own.csv", rows)
    return tmp_path


def test_the_table_has_a_row_for_each_image_and_measure_in_the_units_of_its_image(folder: Path) -> None:
    out = folder / "measures.csv"
    result = handseg("measure", folder / "own.csv", "--images", folder / "images", "--out", out)
    assert result.returncode == 0, result.stderr
    rows = table(out)
    assert [key[2] for key in rows] == NAMES_OF_MEASURES * 2
    png, dicom = rows["a.png", "", "length finger-11"], rows["b.dcm", "", "length finger-11"]
    assert (png["unit"], png["plane"], png["reference"]) == ("px", "in pixels", "")
    assert (dicom["unit"], dicom["plane"]) == ("mm", "in the patient's plane")
    assert dicom["reference"] == "64.6 ± 5.38 mm, 66 adults aged 19 to 78"
    assert "Buryanov" in dicom["source"]
    assert float(dicom["z"]) == pytest.approx((float(dicom["value"]) - 64.6) / 5.38, abs=0.01)
    assert 50 < float(dicom["value"]) < 80
    assert rows["b.dcm", "", "radial inclination"]["plane"] == "", "an angle holds in any plane"
    for row in rows.values():
        assert bool(row["value"]) != bool(row["reason"]), row
    taken = sum(bool(row["value"]) for row in rows.values())
    assert f"{taken} of {2 * MEASURES} measures taken of 2 images" in result.stdout
    assert "lengths in the patient's plane: 1 image" in result.stdout


def test_overlays_show_the_lines(folder: Path) -> None:
    arguments = [folder / "own.csv", "--images", folder / "images", "--out", folder / "m.csv"]
    assert handseg("measure", *arguments, "--overlays", folder / "drawn").returncode == 0
    assert sorted(path.name for path in (folder / "drawn").iterdir()) == ["a.png.jpg", "b.dcm.jpg"]
    drawn = cv2.imread(str(folder / "drawn" / "a.png.jpg"))
    assert drawn is not None
    # A small radiograph is enlarged, and beside it stands what was measured.
    height, width = phantom(0).image.shape
    assert drawn.shape[0] == 1400
    margin = (drawn.shape[1] - round(1400 * width / height)) // 2
    assert margin > 100
    large = cv2.resize(phantom(0).image, (drawn.shape[1] - 2 * margin, 1400))
    white = (drawn[:, margin:-margin].min(axis=2) > 200).sum() - (large > 200).sum()
    assert white > 1000
    for side in (drawn[:, :margin], drawn[:, -margin:]):
        assert 0.01 < (side.min(axis=2) > 100).mean() < 0.3


@pytest.mark.parametrize("side", [300, 1600, 3000])
def test_lines_lie_where_they_were_measured_in_a_picture_of_any_size(side: int) -> None:
    shown = min(max(side, 1400), 2048)
    middle = (shown / 2 + 0.5) / shown * side  # of a pixel that is shown
    line = ((0.25 * side, middle), (0.75 * side, middle))
    measure = Measure("ulnar variance", -0.04, "mm", "", (), (line,), None)
    dark, planes = np.zeros((side, side), np.uint8), np.zeros((side, side), np.int32)
    drawn = picture(dark, planes, [measure])
    assert drawn.shape[0] == shown
    margin = (drawn.shape[1] - shown) // 2
    rows, columns = np.nonzero((drawn[:, margin:-margin] > 220).all(axis=2))
    assert abs(rows.mean() - shown / 2) < 2
    assert abs(columns.min() - shown / 4) < 4
    assert abs(columns.max() - 0.75 * shown) < 4


def test_a_value_that_rounds_to_zero_has_no_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    monkeypatch.setattr(submission, "with_notes", lambda drawn, notes: texts.extend(text for text, _ in notes) or drawn)
    line = ((1.0, 1.0), (5.0, 5.0))
    values = {"mm": -0.04, "px": 41.4, "degrees": -0.3, "": 0.523}
    measures = [Measure("it", value, unit, "", (), (line,), None) for unit, value in values.items()]
    measures.append(Measure("x", None, "", "why", (), (), None))
    picture(np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.int32), measures)
    assert texts == ["it  0.0 mm", "it  41 px", "it  0 degrees", "it  0.52"]


@pytest.mark.parametrize("linked", [False, True])
def test_overlays_never_replace_an_image(folder: Path, linked: bool) -> None:
    images = folder / "images"
    other = folder / "drawn" if linked else images
    other.mkdir(exist_ok=True)
    (other / "b.dcm.jpg").write_bytes((images / "a.png").read_bytes())
    if linked:
        (images / "a.png").unlink()
        (images / "a.png").symlink_to(other / "b.dcm.jpg")
    before = (other / "b.dcm.jpg").read_bytes()
    arguments = [folder / "own.csv", "--images", images, "--out", folder / "m.csv", "--overlays", other]
    result = handseg("measure", *arguments)
    assert result.returncode == 2
    assert "b.dcm.jpg: the command would replace this file" in result.stderr
    assert (other / "b.dcm.jpg").read_bytes() == before
    assert not (folder / "m.csv").exists()


def test_both_hands_of_an_image_are_measured_each(tmp_path: Path) -> None:
    one, other = phantom(0), phantom(1)
    assert (one.side, other.side) == ("left", "right")
    image = np.hstack([one.image, other.image])
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "pair.png"), image)
    left, right = np.zeros((2, *image.shape), np.int32)
    left[:, : one.planes.shape[1]], right[:, one.planes.shape[1] :] = one.planes, other.planes
    rows = [("pair.png#left", encode_planes(left)), ("pair.png#right", encode_planes(right))]
    write_csv(tmp_path / "own.csv", rows)
    result = handseg("measure", tmp_path / "own.csv", "--images", tmp_path / "images", "--out", tmp_path / "m.csv")
    assert result.returncode == 0, result.stderr
    assert f"of {2 * MEASURES} measures taken of 2 hands of 1 image" in result.stdout
    found = table(tmp_path / "m.csv")
    assert [key[:2] for key in found] == [("pair.png", "left")] * MEASURES + [("pair.png", "right")] * MEASURES
    for hand in (one, other):
        alone = next(m for m in measure_hand(hand.planes) if m.name == "length finger-11").value
        assert float(found["pair.png", hand.side, "length finger-11"]["value"]) == pytest.approx(alone, abs=0.01)


def test_an_impossible_spacing_gives_pixels_and_says_why(folder: Path) -> None:
    write_dicom(folder / "images" / "b.dcm", phantom(2).image, ImagerPixelSpacing=[9.9, 0.0099])
    result = handseg("measure", folder / "own.csv", "--images", folder / "images", "--out", folder / "m.csv")
    assert result.returncode == 0, result.stderr
    row = table(folder / "m.csv")["b.dcm", "", "length finger-11"]
    says = "in pixels: the spacing that the file states can't be that of a hand"
    assert (row["unit"], row["plane"], row["z"]) == ("px", says, "")
    assert f"lengths {says}: 1 image" in result.stdout


def test_masks_that_do_not_fit_their_image_cost_no_rows_of_others(folder: Path) -> None:
    write_dicom(folder / "images" / "b.dcm", phantom(2).image[:100, :100])
    result = handseg("measure", folder / "own.csv", "--images", folder / "images", "--out", folder / "m.csv")
    assert result.returncode == 1
    assert "1 of 2 images not measured:\n  b.dcm: " in result.stderr
    assert {key[0] for key in table(folder / "m.csv")} == {"a.png"}


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_written(folder: Path) -> None:
    damaged = folder / "images" / "a.png"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    result = handseg("measure", folder / "own.csv", "--images", folder / "images", "--out", folder / "m.csv")
    assert result.returncode == 1
    assert "1 of 2 images not measured:\n  a.png: " in result.stderr
    assert "Traceback" not in result.stderr
    assert {key[0] for key in table(folder / "m.csv")} == {"b.dcm"}
    (folder / "images" / "b.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "m.csv").unlink()
    result = handseg("measure", folder / "own.csv", "--images", folder / "images", "--out", folder / "m.csv")
    assert result.returncode == 2
    assert "no image can be measured; a.png: " in result.stderr
    assert not (folder / "m.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("{root}/none.csv --images {root}/images", "none.csv"),
        ("{root}/own.csv --images {root}/nowhere", "nowhere"),
        ("{root}/own.csv --images {root}/images --out {root}/own.csv", "the command reads this file"),
        ("{root}/own.csv --images {root}/images --overlays {root}/own.csv", "expected a folder"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(folder: Path, arguments: str, text: str) -> None:
    result = handseg("measure", *arguments.format(root=folder).split(), cwd=folder)
    assert result.returncode == 2
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


SPACINGS: dict[str, tuple[str, dict[str, Any], Spacing | None]] = {
    "imager": ("DX", {"ImagerPixelSpacing": [0.14, 0.12]}, Spacing(0.14, 0.12, "at the detector")),
    "magnified": (
        "DX",
        {"ImagerPixelSpacing": [0.15, 0.15], "EstimatedRadiographicMagnificationFactor": 1.2},
        Spacing(0.125, 0.125, "in the patient's plane"),
    ),
    "an impossible factor": (
        "DX",
        {"ImagerPixelSpacing": [0.15, 0.15], "EstimatedRadiographicMagnificationFactor": 0.5},
        Spacing(0.15, 0.15, "at the detector"),
    ),
    "geometry": (
        "DX",
        {"PixelSpacing": [0.13, 0.13], "PixelSpacingCalibrationType": "GEOMETRY"},
        Spacing(0.13, 0.13, "in the patient's plane"),
    ),
    "fiducial": (
        "DX",
        {"PixelSpacing": [0.13, 0.13], "PixelSpacingCalibrationType": "FIDUCIAL"},
        Spacing(0.13, 0.13, "in the plane of the object that calibrated it"),
    ),
    "calibrated, nobody says how": (
        "DX",
        {"PixelSpacing": [0.13, 0.13], "EstimatedRadiographicMagnificationFactor": 1.2},
        Spacing(0.13, 0.13, "calibrated, in a plane that the file does not name"),
    ),
    "a copy of the imager's": (
        "DX",
        {"PixelSpacing": [0.148, 0.148], "EstimatedRadiographicMagnificationFactor": 1.25},
        Spacing(0.1184, 0.1184, "in the patient's plane"),
    ),
    "alone": ("CR", {"PixelSpacing": [0.1, 0.2]}, Spacing(0.1, 0.2, "in a plane that the file does not name")),
    "scanned film": (
        "SC",
        {"NominalScannedPixelSpacing": [0.2, 0.2]},
        Spacing(0.2, 0.2, "on the film"),
    ),
    "aspect": ("SC", {"PixelAspectRatio": [6, 5]}, Spacing(1.2, 1.0, "in widths of a pixel", "px")),
    "nothing": ("SC", {}, None),
    "zero": ("DX", {"ImagerPixelSpacing": [0, 0]}, None),
    "too large": ("DX", {"ImagerPixelSpacing": [150, 150]}, None),
    "empty": ("CR", {"PixelSpacing": None}, None),
}


@pytest.mark.parametrize("case", SPACINGS)
def test_the_size_of_a_pixel_and_its_plane_come_from_the_header(case: str, tmp_path: Path) -> None:
    kind, attributes, expected = SPACINGS[case]
    path = write_dicom(tmp_path / "image.dcm", np.zeros((8, 6), np.uint8), kind, **attributes)
    found = spacing_of(path)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.row, found.column) == pytest.approx((expected.row, expected.column))
        assert (found.says, found.unit) == (expected.says, expected.unit)


def test_a_picture_states_no_spacing(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((8, 6), np.uint8))
    assert spacing_of(tmp_path / "image.png") is None
