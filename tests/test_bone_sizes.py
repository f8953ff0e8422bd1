"""Lengths and areas of bones are those of their masks, in pixels, and in millimetres where the image tells them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from handseg_monai.bones import INDEX, NAMES
from handseg_monai.plausibility.bone_sizes import measure_bones, measure_submission
from handseg_monai.rle import encode_planes, write_csv
from tests.dicoms import write_dicom
from tests.hands import hand


def drawn_bar(bone: str, angle: float, length: float = 120.0, width: float = 20.0) -> np.ndarray:
    """Bit planes (200, 220) of a bar of that length and width, turned by degrees."""
    mask = np.zeros((200, 220), np.uint8)
    corners = cv2.boxPoints(((110.0, 100.0), (length, width), angle))
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return mask.astype(np.int32) << np.int32(INDEX[bone])


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133])
def test_the_length_is_that_of_the_diagonal_at_any_angle(angle: float) -> None:
    (row,) = measure_bones(drawn_bar("finger-11", angle)).to_dict("records")
    assert row["length"] == pytest.approx(np.hypot(121, 21), abs=2)
    assert (row["bone"], row["group"], row["ray"], row["cut"]) == ("finger-11", "metacarpal", 3, False)


def test_lengths_and_areas_of_a_hand_are_those_of_a_slow_reference() -> None:
    planes = hand(3)[::2, ::2]
    table = measure_bones(planes).set_index("bone")
    assert list(table.index) == list(NAMES)
    for bone in ("finger-3", "finger-16", "Pisiform", "Capitate"):
        y, x = np.nonzero(planes >> INDEX[bone] & 1)
        corners = np.concatenate([np.stack([x + right, y + down], axis=1) for right in (0, 1) for down in (0, 1)])
        longest = max(np.hypot(*(corners - corner).T).max() for corner in corners)
        assert table.loc[bone, "length"] == pytest.approx(longest)
        assert table.loc[bone, "area"] == y.size


def test_a_bone_at_the_border_is_cut() -> None:
    planes = drawn_bar("Radius", 90)
    assert not measure_bones(planes)["cut"].item()
    for cut in (planes[60:], planes[:120], planes[:, 105:], planes[:, :110]):
        assert measure_bones(cut)["cut"].item()


def test_millimetres_are_those_of_dicom_and_no_others(tmp_path: Path) -> None:
    planes = drawn_bar("finger-7", 0)
    pixels = np.zeros(planes.shape, np.uint8)
    write_dicom(tmp_path / "images" / "a.dcm", pixels, "CR", PixelSpacing=[0.2, 0.2])
    cv2.imwrite(str(tmp_path / "images" / "b.png"), pixels)
    cv2.imwrite(str(tmp_path / "images" / "c.png"), pixels)
    nothing = encode_planes(np.zeros_like(planes))
    write_csv(
        tmp_path / "s.csv", [("a.dcm", encode_planes(planes)), ("b.png", encode_planes(planes)), ("c.png", nothing)]
    )
    table = measure_submission(tmp_path / "s.csv", tmp_path / "images").set_index("image")
    assert list(table.index) == ["a.dcm", "b.png"]
    assert table.loc["a.dcm", "length_mm"] == pytest.approx(0.2 * table.loc["b.png", "length"])
    assert table.loc["a.dcm", "area_mm2"] == pytest.approx(0.04 * 121 * 21)
    assert np.isnan(table.loc["b.png", "length_mm"])
    assert np.isnan(table.loc["b.png", "area_mm2"])


def test_a_submission_without_images_is_an_error(tmp_path: Path) -> None:
    write_csv(tmp_path / "s.csv", [])
    with pytest.raises(ValueError, match=r"s\.csv: no images"):
        measure_submission(tmp_path / "s.csv", tmp_path)
