"""Run-length codec and submission CSV against a pixel loop, by properties, and on text and files that are wrong."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from handseg_monai.bitplanes import unpack
from handseg_monai.bones import NAMES
from handseg_monai.rle import decode, decode_planes, encode, encode_planes, parse, read_csv, write_csv
from handseg_monai.rle.width import other_width
from tests.hands import hand

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 13))
MASKS = hnp.arrays(np.bool_, SHAPES)
# Values of few bits make long runs and runs that end together; values of 29 bits reach every bone.
PLANES = st.one_of(
    hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 3), fill=st.just(0)),
    hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 2**29 - 1)),
)


def encode_by_pixel(mask: np.ndarray) -> str:
    """Walk over the pixels in row-major order and note where each run begins and how long it is."""
    numbers: list[int] = []
    inside = False
    for position, pixel in enumerate(pixel for row in mask.tolist() for pixel in row):
        if pixel and not inside:
            numbers += [position + 1, 0]
        if pixel:
            numbers[-1] += 1
        inside = pixel
    return " ".join(str(number) for number in numbers)


def decode_by_pixel(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Set the pixels of each run one by one."""
    mask = np.zeros(shape, bool)
    numbers = [int(token) for token in text.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for number in range(start, start + length):
            row, column = divmod(number - 1, shape[1])
            mask[row, column] = True
    return mask


class TestCodec:
    def test_a_mask_is_written_in_rows_from_one_as_start_and_length(self) -> None:
        mask = np.zeros((3, 4), bool)
        mask[0, 2:] = True
        mask[2, 0] = True
        assert encode(mask) == "3 2 9 1"
        np.testing.assert_array_equal(decode("3 2 9 1", (3, 4)), mask)

    @given(MASKS)
    def test_encode_equals_a_pixel_loop(self, mask: np.ndarray) -> None:
        assert encode(mask) == encode_by_pixel(mask)

    @given(MASKS)
    def test_decode_equals_a_pixel_loop(self, mask: np.ndarray) -> None:
        text = encode_by_pixel(mask)
        np.testing.assert_array_equal(decode(text, mask.shape), decode_by_pixel(text, mask.shape))

    @given(MASKS)
    def test_decode_brings_back_what_encode_wrote(self, mask: np.ndarray) -> None:
        decoded = decode(encode(mask), mask.shape)
        assert decoded.dtype == np.bool_
        np.testing.assert_array_equal(decoded, mask)

    @given(PLANES)
    def test_planes_are_encoded_as_bone_by_bone(self, planes: np.ndarray) -> None:
        assert encode_planes(planes) == [encode_by_pixel(mask) for mask in unpack(planes)]

    @given(PLANES)
    def test_decode_planes_brings_back_what_encode_planes_wrote(self, planes: np.ndarray) -> None:
        decoded = decode_planes(encode_planes(planes), planes.shape)
        assert decoded.dtype == np.int32
        np.testing.assert_array_equal(decoded, planes)

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_memory_order_of_a_mask_does_not_matter(self, order: str) -> None:
        planes = np.random.default_rng(0).integers(0, 2**29, (5, 7), dtype=np.int32)
        assert encode(np.asarray(planes % 2 == 1, order=order)) == encode_by_pixel(planes % 2 == 1)
        assert encode_planes(np.asarray(planes, order=order)) == encode_planes(planes)

    @pytest.mark.parametrize(
        ("text", "pixels"),
        [
            ("1 1", [(0, 0)]),
            ("12 1", [(2, 3)]),
            ("1 12", [(r, c) for r in range(3) for c in range(4)]),
            ("4 2", [(0, 3), (1, 0)]),
        ],
        ids=["first pixel", "last pixel", "all pixels", "over the end of a row"],
    )
    def test_runs_at_the_borders(self, text: str, pixels: list[tuple[int, int]]) -> None:
        mask = np.zeros((3, 4), bool)
        for pixel in pixels:
            mask[pixel] = True
        assert encode(mask) == text
        np.testing.assert_array_equal(decode(text, (3, 4)), mask)
        np.testing.assert_array_equal(decode_planes([text] * 29, (3, 4)), mask * np.int32(2**29 - 1))

    def test_runs_that_touch_are_one_area(self) -> None:
        expected = np.array([[True] * 4 + [False]])
        np.testing.assert_array_equal(decode("1 2 3 1 4 1", (1, 5)), expected)
        np.testing.assert_array_equal(decode_planes(["1 2 3 1 4 1"] + [""] * 28, (1, 5)), expected.astype(np.int32))

    @pytest.mark.parametrize("empty", ["", " ", None, float("nan"), np.nan, np.float64("nan")])
    def test_an_empty_field_is_the_empty_mask(self, empty: str | float | None) -> None:
        assert not decode(empty, (2, 3)).any()
        assert not decode_planes([empty] * 29, (2, 3)).any()

    def test_an_empty_mask_is_empty_text(self) -> None:
        assert encode(np.zeros((2, 3), bool)) == ""
        assert encode_planes(np.zeros((2, 3), np.int32)) == [""] * 29

    def test_only_boolean_masks_are_encoded(self) -> None:
        with pytest.raises(ValueError, match=r"boolean mask .* got uint8 \(2, 3\)"):
            encode(np.zeros((2, 3), np.uint8))
        with pytest.raises(ValueError, match=r"boolean mask .* got bool \(1, 2, 3\)"):
            encode(np.zeros((1, 2, 3), bool))

    def test_only_int32_planes_are_encoded(self) -> None:
        with pytest.raises(ValueError, match=r"int32 \(H, W\), got int64 \(2, 3\)"):
            encode_planes(np.zeros((2, 3), np.int64))
        with pytest.raises(ValueError, match=r"int32 \(H, W\), got int32 \(1, 2, 3\)"):
            encode_planes(np.zeros((1, 2, 3), np.int32))

    @pytest.mark.parametrize("count", [28, 30])
    def test_planes_need_29_texts(self, count: int) -> None:
        with pytest.raises(ValueError, match=r"longer|shorter"):
            decode_planes([""] * count, (2, 3))


class TestBadText:
    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("1 2 3", "odd count of numbers (3)"),
            ("4", "odd count of numbers (1)"),
            ("1 0", "run 1 has length 0; expected at least 1"),
            ("1 1 3 -2", "run 2 has length -2; expected at least 1"),
            ("0 2", "run 1 starts at 0; expected at least 1"),
            ("-3 2", "run 1 starts at -3; expected at least 1"),
            ("1 3 3 1", "run 2 starts at 3, before run 1 (1 3) has ended"),
            ("5 1 1 1", "run 2 starts at 1, before run 1 (5 1) has ended"),
            ("2 2 2 2", "run 2 starts at 2, before run 1 (2 2) has ended"),
            ("11 3", "the last run ends at pixel 13, past the end of an image of 3 x 4 (12 pixels)"),
            ("13 1", "the last run ends at pixel 13, past the end of an image of 3 x 4 (12 pixels)"),
            ("1.5 2", "'1.5'; expected integers"),
            ("1 2.0", "'2.0'; expected integers"),
            ("1e0 2", "'1e0'; expected integers"),
            ("one 2", "'one'; expected integers"),
            ("1,2", "'1,2'; expected integers"),
            ("0x1 2", "'0x1'; expected integers"),
            ("nan", "'nan'; expected integers"),
            ("１ ２", "'１'; expected integers"),
            ("99999999999999999999 1", "'99999999999999999999'; expected integers of at most 18 digits"),
            ("1\u00a02", "expected integers"),
            (5.0, "expected run-length text, got float 5.0"),
            (7, "expected run-length text, got int 7"),
        ],
    )
    def test_each_fault_is_named(self, text: str | float, fault: str) -> None:
        with pytest.raises(ValueError, match=re.escape(fault)):
            decode(text, (3, 4))
        with pytest.raises(ValueError, match=re.escape(fault)):
            decode_planes([text] + [""] * 28, (3, 4))

    @given(st.text(alphabet="0123456789 -.,x\t\n\u00a0", max_size=12))
    @settings(max_examples=300)
    def test_any_text_is_decoded_as_by_the_pixel_loop_or_refused(self, text: str) -> None:
        try:
            mask = decode(text, (3, 5))
        except ValueError:
            return
        np.testing.assert_array_equal(mask, decode_by_pixel(text, (3, 5)))

    def test_without_a_shape_the_end_is_not_checked(self) -> None:
        np.testing.assert_array_equal(parse("11 30"), [[10, 30]])


def planes_of(seed: int, shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    # Bone 3 stays absent, so that every file holds an empty field.
    return rng.integers(0, 2**29, shape, dtype=np.int32) & rng.integers(0, 2**29, shape, dtype=np.int32) & ~np.int32(8)


class TestCsv:
    def test_a_submission_comes_back_whole(self, tmp_path: Path) -> None:
        planes = {"b.png": planes_of(0, (5, 7)), 'a,"1".png': planes_of(1, (8, 3)), "한글.png": planes_of(2, (1, 1))}
        write_csv(tmp_path / "new" / "s.csv", ((name, encode_planes(p)) for name, p in planes.items()))
        texts = read_csv(tmp_path / "new" / "s.csv")
        assert list(texts) == list(planes)
        for name, expected in planes.items():
            np.testing.assert_array_equal(decode_planes(texts[name], expected.shape), expected)

    def test_the_file_is_as_the_contract_says(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "s.csv", [("a.png", ["1 2", "", *["3 1"] * 27])])
        lines = (tmp_path / "s.csv").read_bytes().decode().split("\n")
        assert lines[:3] == ["image_name,class,rle", "a.png,finger-1,1 2", "a.png,finger-2,"]
        assert [line.split(",")[1] for line in lines[1:-1]] == list(NAMES)
        assert lines[-1] == ""

    def test_pandas_reads_and_writes_the_same_masks(self, tmp_path: Path) -> None:
        planes = {"a.png": planes_of(0, (5, 7)), "b.png": planes_of(1, (6, 4))}
        write_csv(tmp_path / "s.csv", ((name, encode_planes(p)) for name, p in planes.items()))
        frame = pd.read_csv(tmp_path / "s.csv")
        assert list(frame.columns) == ["image_name", "class", "rle"]
        assert len(frame) == 2 * 29
        assert frame["rle"].isna().sum() == 2
        for name, expected in planes.items():
            of_image = frame[frame["image_name"] == name].set_index("class")["rle"]
            np.testing.assert_array_equal(decode_planes([of_image[b] for b in NAMES], expected.shape), expected)
        frame.sample(frac=1, random_state=0).to_csv(tmp_path / "t.csv", index=False)
        assert read_csv(tmp_path / "t.csv") == read_csv(tmp_path / "s.csv")

    def test_a_field_longer_than_the_csv_modules_limit_is_read(self, tmp_path: Path) -> None:
        mask = np.zeros((400, 200), bool)
        mask[:, ::2] = True
        text = encode(mask)
        assert len(text) > 131_072
        write_csv(tmp_path / "s.csv", [("a.png", [text] + [""] * 28)])
        csv.field_size_limit(131_072)
        np.testing.assert_array_equal(decode(read_csv(tmp_path / "s.csv")["a.png"][0], mask.shape), mask)

    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_a_byte_order_mark_and_windows_line_ends_are_read(self, tmp_path: Path, newline: str) -> None:
        text = newline.join(["\ufeffimage_name,class,rle", "a.png,Ulna,1 2", ""])
        (tmp_path / "s.csv").write_bytes(text.encode())
        assert read_csv(tmp_path / "s.csv") == {"a.png": [None] * 28 + ["1 2"]}

    def test_a_row_that_is_missing_is_not_an_empty_mask(self, tmp_path: Path) -> None:
        (tmp_path / "s.csv").write_text("image_name,class,rle\na.png,Ulna,\n")
        assert read_csv(tmp_path / "s.csv")["a.png"] == [None] * 28 + [""]

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            ("", "the header is ''; expected 'image_name,class,rle'"),
            ("image,class,rle\n", "the header is 'image,class,rle'; expected 'image_name,class,rle'"),
            ("a.png,Ulna,1 2\n", "the header is 'a.png,Ulna,1 2'"),
            ("image_name,class,rle\na.png,Ulna,1 2\na.png,Femur,\n", "line 3: unknown class 'Femur'"),
            ("image_name,class,rle\na.png,ulna,\n", "line 2: unknown class 'ulna'"),
            (
                "image_name,class,rle\na,Ulna,\nb,Ulna,\na,Ulna,1 1\n",
                "line 4: a second row of image 'a' and class 'Ulna'",
            ),
            ("image_name,class,rle\na.png,Ulna,1,2\n", "line 2: 4 fields; expected image_name, class and rle"),
            ("image_name,class,rle\na.png,Ulna\n", "line 2: 2 fields"),
        ],
    )
    def test_a_bad_file_is_named_with_its_line_and_fault(self, tmp_path: Path, content: str, fault: str) -> None:
        path = tmp_path / "s.csv"
        path.write_text(content)
        with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{re.escape(fault)}"):
            read_csv(path)

    def test_a_file_that_is_no_text_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "s.csv"
        path.write_bytes(b"image_name,class,rle\n\x89PNG\xff\xfe,Ulna,1 2\n")
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_csv(path)

    def test_a_file_cut_short_is_refused_wherever_the_cut_shows(self, tmp_path: Path) -> None:
        """A cut after a whole pair or inside of a number leaves a valid row: those cuts alone may pass."""
        path, last = tmp_path / "s.csv", "a.png,Ulna,12 3 40 2"
        for cut in range(1, len(last)):
            path.write_text(f"image_name,class,rle\na.png,Radius,1 2\n{last[:cut]}")
            complete = last[:cut].startswith("a.png,Ulna,") and len(last[:cut].split(",")[2].split()) % 2 == 0
            if complete:
                assert len(read_csv(path)["a.png"][28].split()) % 2 == 0
                continue
            with pytest.raises(ValueError, match=r"fields|unknown class|odd count"):
                decode(read_csv(path)["a.png"][28], (10, 10))


class TestAtomicWriting:
    OLD = b"image_name,class,rle\nold.png,Ulna,1 2\n"

    def test_an_error_in_the_middle_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        (tmp_path / "s.csv").write_bytes(self.OLD)

        def texts() -> Iterator[tuple[str, list[str]]]:
            for i in range(200):
                yield f"{i}.png", ["1 2"] * 29
            raise KeyError("the next image")

        with pytest.raises(KeyError, match="the next image"):
            write_csv(tmp_path / "s.csv", texts())
        assert (tmp_path / "s.csv").read_bytes() == self.OLD
        assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]

    @pytest.mark.parametrize("count", [28, 30])
    def test_an_image_of_other_than_29_texts_is_refused(self, tmp_path: Path, count: int) -> None:
        with pytest.raises(ValueError, match=r"longer|shorter"):
            write_csv(tmp_path / "s.csv", [("a.png", [""] * count)])
        assert list(tmp_path.iterdir()) == []

    def test_the_new_file_replaces_the_old_one(self, tmp_path: Path) -> None:
        (tmp_path / "s.csv").write_bytes(self.OLD)
        write_csv(tmp_path / "s.csv", [("new.png", [""] * 29)])
        assert list(read_csv(tmp_path / "s.csv")) == ["new.png"]
        assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]

    def test_a_kill_in_the_middle_leaves_the_old_file(self, tmp_path: Path) -> None:
        (tmp_path / "s.csv").write_bytes(self.OLD)
        program = """
import sys, time
from handseg_monai.rle import write_csv

def texts():
    for i in range(2000):
        yield f"{i}.png", ["1 2 30 4"] * 29
    print("in the middle", flush=True)
    time.sleep(60)

write_csv(sys.argv[1], texts())
"""
        writer = subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "s.csv"], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        try:
            assert writer.stdout.readline() == "in the middle\n"
            # What has been written so far lies beside the old file, not in it.
            assert any(p.stat().st_size > 1_000_000 for p in tmp_path.iterdir() if p.name != "s.csv")
        finally:
            os.kill(writer.pid, signal.SIGKILL)
            assert writer.wait() == -signal.SIGKILL
            writer.stdout.close()
        assert (tmp_path / "s.csv").read_bytes() == self.OLD
        # The part file that a kill may leave stands in nobody's way.
        write_csv(tmp_path / "s.csv", [("new.png", [""] * 29)])
        assert list(read_csv(tmp_path / "s.csv")) == ["new.png"]


class TestWidth:
    @staticmethod
    def runs(planes: np.ndarray) -> list[np.ndarray]:
        return [parse(text) for text in encode_planes(np.ascontiguousarray(planes))]

    @staticmethod
    def turned(planes: np.ndarray, angle: float) -> np.ndarray:
        matrix = cv2.getRotationMatrix2D((256, 256), angle, 1)
        low, high = (
            cv2.warpAffine(half.astype(np.uint16), matrix, (512, 512), flags=cv2.INTER_NEAREST).astype(np.int32)
            for half in (planes & 0xFFFF, planes >> 16)
        )
        return low | high << np.int32(16)

    @pytest.mark.parametrize("angle", [0, 30, 80, 90, 180])
    @pytest.mark.parametrize("number", [0, 1, 5])
    def test_another_one_is_told_and_the_true_one_never_doubted(self, number: int, angle: int) -> None:
        planes = self.turned(hand(number), angle)
        runs = self.runs(planes)
        assert other_width(runs, 512) is None
        told = [other_width(runs, wrong) for wrong in (256, 400, 500, 504, 510, 520, 600, 768, 1024)]
        assert told == [512] * 9
        near = [other_width(runs, wrong) for wrong in (509, 511, 513, 515)]
        assert set(near) <= {512, None}
        assert near.count(512) >= 2

    def test_masks_that_are_no_hand_are_not_doubted(self) -> None:
        rng = np.random.default_rng(0)
        for number in range(12):
            noise = np.zeros((256, 300), np.int32)
            for bone in range(29):
                field = cv2.GaussianBlur(rng.normal(size=noise.shape), (0, 0), (0.5, 2, 8, 30)[number % 4])
                noise |= (field > np.quantile(field, rng.uniform(0.05, 0.99))).astype(np.int32) << bone
            assert other_width(self.runs(noise), 300) is None
        band, edges, stripes = (hand(0).copy() for _ in range(3))
        band[100:160] |= 8
        edges[300:360, :30] |= 7
        edges[300:360, -30:] |= 7
        stripes[:] = np.where(np.arange(512) % 8 < 4, 2**29 - 1, 0)
        dots = np.where(rng.random((512, 512)) < 0.0023, 1, 0).astype(np.int32)
        twins = [np.hstack([hand(0), other]) for other in (hand(1), hand(0)[:, ::-1], np.roll(hand(0), 5, axis=0))]
        for planes in (band, edges, stripes, dots, *twins):
            assert other_width(self.runs(planes), planes.shape[1]) is None
        assert other_width([np.empty((0, 2), np.int64)] * 29, 512) is None

    def test_run_lengths_that_count_from_0_are_of_their_width(self) -> None:
        planes = self.turned(hand(0), 90)
        planes[:, :460] = planes[:, 52:].copy()  # bones at the left edge
        for one in (planes, planes[:, ::-1]):
            assert other_width(self.runs(np.roll(one.ravel(), -1).reshape(one.shape)), 512) is None
