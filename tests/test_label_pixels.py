"""Masks go by what is black, label maps by their indices; no header makes a reader decode gigabytes."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import cv2
import imagecodecs
import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from handseg_monai.data.labels.pixels import mask_of, read_fitting, read_pixels
from handseg_monai.data.reading.images import UnreadableImageError, image_size, read_radiograph
from tests.pictures import (
    GREY,
    PALETTE,
    SHAPE,
    bmp,
    chunk,
    draw,
    plain_png,
    save,
    tiff,
)


def shape_of_bone() -> np.ndarray:
    """A mask, uint8 (H, W), 0 and 255."""
    return cv2.circle(np.zeros(SHAPE, np.uint8), (15, 20), 9, 255, -1)


class TestMasks:
    """A mask is what is not black, and nothing hides in alpha."""

    def check(self, path: Path) -> None:
        np.testing.assert_array_equal(mask_of(read_pixels(path, "mask")), shape_of_bone() > 0)

    def test_a_palette_in_either_order(self, tmp_path: Path) -> None:
        for first in (0, 1):
            picture = Image.fromarray((shape_of_bone() > 0).astype(np.uint8) ^ first, "P")
            picture.putpalette([255 * first] * 3 + [255 * (1 - first)] * 3)
            for suffix in ("png", "bmp", "tif"):
                picture.save(tmp_path / f"a.{suffix}")
                self.check(tmp_path / f"a.{suffix}")

    def test_the_darkest_colour_is_not_black(self, tmp_path: Path) -> None:
        between = chunk(b"PLTE", bytes([0, 0, 0, 0, 0, 1]))
        self.check(save(tmp_path / "a.png", plain_png(shape_of_bone() // 255, 8, PALETTE, between)))

    def test_a_palette_of_one_colour_is_refused(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", plain_png(shape_of_bone() // 255, 8, PALETTE, chunk(b"PLTE", bytes(6))))
        with pytest.raises(ValueError, match="its palette has one colour for all"):
            read_pixels(path, "mask")

    @pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
    def test_white_is_zero(self, tmp_path: Path, dtype: str) -> None:
        turned = np.where(shape_of_bone() > 0, 0, 1 if dtype == "f4" else np.iinfo(dtype).max).astype(dtype)
        tifffile.imwrite(tmp_path / "a.tif", turned, photometric="miniswhite")
        self.check(tmp_path / "a.tif")

    @pytest.mark.parametrize("grey", [0, 255])
    @pytest.mark.parametrize("mode", ["LA", "RGBA"])
    def test_a_shape_in_the_alpha_channel_is_refused(self, tmp_path: Path, grey: int, mode: str) -> None:
        channels = [np.full(SHAPE, grey, np.uint8)] * (len(mode) - 1) + [shape_of_bone()]
        for suffix in ("png", "tif"):
            Image.fromarray(np.dstack(channels), mode).save(tmp_path / f"a.{suffix}")
            for meaning in ("mask", "label map"):
                with pytest.raises(ValueError, match="the picture is in its alpha channel"):
                    read_pixels(tmp_path / f"a.{suffix}", meaning)  # type: ignore[arg-type]

    def test_an_alpha_that_cuts_the_shape_is_refused(self, tmp_path: Path) -> None:
        cut = shape_of_bone()
        cut[20:] = 0
        Image.fromarray(np.dstack([shape_of_bone(), cut]), "LA").save(tmp_path / "a.png")
        with pytest.raises(ValueError, match="its alpha channel hides pixels that are not black"):
            read_pixels(tmp_path / "a.png", "mask")

    @pytest.mark.parametrize("alpha", [shape_of_bone(), np.full(SHAPE, 255, np.uint8)])
    def test_an_alpha_that_agrees_changes_nothing(self, tmp_path: Path, alpha: np.ndarray) -> None:
        Image.fromarray(np.dstack([shape_of_bone()] * 3 + [alpha]), "RGBA").save(tmp_path / "a.png")
        self.check(tmp_path / "a.png")

    def test_a_transparent_colour_of_the_palette(self, tmp_path: Path) -> None:
        between = [chunk(b"PLTE", bytes([255] * 6)), chunk(b"tRNS", bytes([0, 255]))]
        path = save(tmp_path / "a.png", plain_png(shape_of_bone() // 255, 8, PALETTE, *between))
        with pytest.raises(ValueError, match="its palette has one colour for all"):
            read_pixels(path, "mask")
        np.testing.assert_array_equal(read_pixels(path, "label map"), shape_of_bone() // 255)

    def test_a_transparent_class_of_the_palette_is_refused(self, tmp_path: Path) -> None:
        between = [chunk(b"PLTE", bytes(range(12))), chunk(b"tRNS", bytes([255, 0]))]
        path = save(tmp_path / "a.png", plain_png(shape_of_bone() // 255, 8, PALETTE, *between))
        with pytest.raises(ValueError, match="its alpha channel hides pixels that are not black"):
            read_pixels(path, "label map")
        half = plain_png(shape_of_bone() // 255, 8, PALETTE, between[0], chunk(b"tRNS", bytes([255, 128])))
        np.testing.assert_array_equal(read_pixels(save(path, half), "label map"), shape_of_bone() // 255)

    @pytest.mark.parametrize(
        ("greys", "refused"),
        [
            ([0, 2, 1, 3], True),
            ([0, 5, 6, 7], True),
            ([7, 5, 0, 6], True),
            ([0, 1, 2, 3], False),
            ([0, 8, 16, 40], False),
            ([0, 0, 0, 0], False),
            ([0, 5, 5, 5], False),
        ],
        ids=["another order", "without gaps", "another background", "the indices", "spread", "black", "one grey"],
    )
    def test_a_palette_that_shows_other_classes_is_refused(
        self, tmp_path: Path, greys: list[int], refused: bool
    ) -> None:
        values = draw("u1", bits=2)
        palette = chunk(b"PLTE", bytes(grey for grey in greys for _ in range(3)))
        path = save(tmp_path / "a.png", plain_png(values, 8, PALETTE, palette))
        classes = [str(number) for number in range(1, 30)]
        if refused:
            number = int(greys[0] == 0)
            words = f"its palette shows class number {greys[number]} where it stores {number}, and nobody knows which"
            with pytest.raises(ValueError, match=words):
                read_pixels(path, "label map", classes=classes)
        else:
            np.testing.assert_array_equal(read_pixels(path, "label map", classes=classes), values)
        colours = chunk(b"PLTE", bytes(range(12)))
        save(path, plain_png(values, 8, PALETTE, colours))
        np.testing.assert_array_equal(read_pixels(path, "label map", classes=classes), values)

    @pytest.mark.parametrize("bits", [16, 32])
    def test_white_is_zero_without_black_is_called_so(self, tmp_path: Path, bits: int) -> None:
        tifffile.imwrite(tmp_path / "a.tif", shape_of_bone().astype(f"u{bits // 8}"), photometric="miniswhite")
        with pytest.raises(ValueError, match=r"0 is white \(WhiteIsZero\) and no pixel is black"):
            read_pixels(tmp_path / "a.tif", "mask")

    def test_jpeg_is_refused_whatever_the_suffix(self, tmp_path: Path) -> None:
        Image.fromarray(shape_of_bone()).save(tmp_path / "a.png", "JPEG")
        for meaning in ("mask", "label map"):
            with pytest.raises(ValueError, match="JPEG, whose losses change values"):
                read_pixels(tmp_path / "a.png", meaning)  # type: ignore[arg-type]

    def test_colours_are_refused(self, tmp_path: Path) -> None:
        Image.fromarray(draw("u1", 3)).save(tmp_path / "a.png")
        with pytest.raises(ValueError, match="a colour image; expected grey values"):
            read_pixels(tmp_path / "a.png", "mask")


class TestNifti:
    def save(self, path: Path, values: np.ndarray, slope: float | None = None, inter: float = 0) -> Path:
        image = nibabel.nifti1.Nifti1Image(values, np.eye(4))
        nibabel.save(image, path)
        if slope is not None:
            content = bytearray(path.read_bytes())
            content[112:120] = struct.pack("<ff", slope, inter)
            path.write_bytes(content)
        return path

    def test_the_scale_is_applied(self, tmp_path: Path) -> None:
        values = draw("u1", bits=4)
        path = self.save(tmp_path / "a.nii", values.T, 2, 1)
        np.testing.assert_array_equal(read_pixels(path, "label map"), 2 * values.astype(int) + 1)

    def test_a_slope_that_has_no_exact_number_is_one_of_whole_classes(self, tmp_path: Path) -> None:
        values = draw("u1", bits=4)
        path = self.save(tmp_path / "a.nii", values.astype(np.int16).T * 10, 0.1)
        np.testing.assert_array_equal(read_pixels(path, "label map"), values)

    @pytest.mark.parametrize("dtype", ["c8", [("R", "u1"), ("G", "u1"), ("B", "u1")]])
    def test_colours_and_complex_numbers_are_refused(self, tmp_path: Path, dtype: object) -> None:
        path = self.save(tmp_path / "a.nii", np.zeros(SHAPE, dtype))  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="NIfTI of colours or complex numbers"):
            read_pixels(path, "mask")

    @pytest.mark.parametrize("shape", [(9, 9, 2), (9, 9, 1, 3), (9,)])
    def test_several_slices_are_refused(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        path = self.save(tmp_path / "a.nii", np.zeros(shape, np.uint8))
        with pytest.raises(ValueError, match="expected one slice"):
            read_pixels(path, "mask")

    def test_halves_are_no_classes_but_a_mask(self, tmp_path: Path) -> None:
        path = self.save(tmp_path / "a.nii", (shape_of_bone() > 0).astype(np.float32).T / 2)
        with pytest.raises(ValueError, match="values are not whole numbers"):
            read_pixels(path, "label map")
        np.testing.assert_array_equal(mask_of(read_pixels(path, "mask")), shape_of_bone() > 0)


def bombs() -> dict[str, bytes]:
    """Files of a few kB whose headers, or deflated parts, promise gigabytes."""
    zeros = zlib.compress(bytes(2**21), 9)
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8), 9))
    nifti = nibabel.nifti1.Nifti1Image(np.zeros((1, 1), np.uint8), np.eye(4)).header
    nifti.set_data_shape((30_000, 30_000))
    header = nifti.binaryblock + bytes(4)
    large = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    frame = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, 60_000, 60_000, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    small = bmp(np.zeros((1, 1), np.uint8), 8, 40, False, bytes(1024))
    many = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", large) + chunk(b"IDAT", zeros) + chunk(b"IEND", b"")
    return {
        "size.png": many,
        "text.png": many[:33] + text + many[33:],
        "size.jpg": frame + bytes(1000),
        "size.tif": tiff(zeros, (30_000, 30_000), t259=8),
        "size.bmp": small[:18] + struct.pack("<ii", 30_000, 30_000) + small[26:],
        "size.nii": header + bytes(1000),
        "size.nii.gz": imagecodecs.gzip_encode(header + bytes(2**20)),
    }


BOMBS = bombs()


@pytest.mark.parametrize("name", BOMBS)
class TestBombs:
    def test_a_size_beyond_the_limit_is_refused_before_it_is_decoded(self, tmp_path: Path, name: str) -> None:
        path = save(tmp_path / name, BOMBS[name])
        readers = [lambda: read_pixels(path, "mask"), lambda: read_pixels(path, "label map")]
        if ".nii" not in name:
            readers += [lambda: read_radiograph(path), lambda: image_size(path)]  # type: ignore[list-item]
        for reader in readers:
            self.require_cheap(reader, "00 pixels are more than 200000000")
        self.require_cheap(lambda: read_fitting(path, SHAPE, "mask", False), "0000 pixels for an image of 37 x 43")

    def test_a_size_within_the_limit_is_refused_where_the_file_can_not_hold_it(self, tmp_path: Path, name: str) -> None:
        path = save(tmp_path / name, BOMBS[name])
        self.require_cheap(lambda: read_pixels(path, "mask", check_size=lambda size: None), "can't hold|expected 9")

    def require_cheap(self, reader: object, said: str) -> None:
        tracemalloc.start()
        begun = time.perf_counter()
        with pytest.raises(ValueError, match=said):
            reader()  # type: ignore[operator]
        assert tracemalloc.get_traced_memory()[1] < 2**24
        tracemalloc.stop()
        assert time.perf_counter() - begun < 5


def test_strips_that_hold_more_than_the_header_says_are_not_inflated(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", tiff(zlib.compress(bytes(2**26), 9), SHAPE, t259=8))
    TestBombs().require_cheap(lambda: read_radiograph(path), "can't be decoded")


def test_the_limit_can_be_chosen(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", plain_png(draw("u1"), 8, GREY))
    assert read_radiograph(path, max_pixels=SHAPE[0] * SHAPE[1]).shape == SHAPE
    for reader in (read_radiograph, image_size):
        with pytest.raises(UnreadableImageError, match=r"37 x 43 pixels are more than 1590.*raise --max_pixels"):
            reader(path, max_pixels=SHAPE[0] * SHAPE[1] - 1)
