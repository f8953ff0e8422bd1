"""Pictures of every depth, kind of colour and format are read as stored."""

from __future__ import annotations

import itertools
from io import BytesIO
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import png as pypng
import pytest
import tifffile
from PIL import Image

from handseg_monai.data.labels.pixels import read_pixels
from handseg_monai.data.reading.images import UnreadableImageError, image_size, read_radiograph
from tests.pictures import (
    GREY,
    PALETTE,
    RGB,
    SHAPE,
    bmp,
    chunk,
    colours,
    draw,
    luminance,
    plain_png,
    png,
    read,
    save,
)


def by_pypng(values: np.ndarray, bits: int, interlaced: bool = False, **options: object) -> bytes:
    out = BytesIO()
    writer = pypng.Writer(values.shape[1], len(values), bitdepth=bits, interlace=interlaced, **options)
    writer.write(out, values.reshape(len(values), -1).tolist())
    return out.getvalue()


@pytest.mark.parametrize("interlaced", [False, True])
class TestPng:
    """Written by pypng, libpng, or by hand."""

    @pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
    def test_grey(self, tmp_path: Path, bits: int, interlaced: bool) -> None:
        values = draw("u2" if bits == 16 else "u1", bits=bits)
        path = save(tmp_path / "a.png", by_pypng(values, bits, interlaced, greyscale=True))
        np.testing.assert_array_equal(read_pixels(path, "label map"), values)
        np.testing.assert_array_equal(read_pixels(path, "mask"), values)
        spread = values * np.uint8({1: 255, 2: 85, 4: 17}.get(bits, 1))
        radiograph = read_radiograph(path)
        assert radiograph.dtype == values.dtype
        np.testing.assert_array_equal(radiograph, spread)

    @pytest.mark.parametrize("bits", [1, 2, 4, 8])
    def test_a_palette(self, tmp_path: Path, bits: int, interlaced: bool) -> None:
        values, table = draw("u1", bits=bits), colours(2**bits)
        path = save(tmp_path / "a.png", by_pypng(values, bits, interlaced, palette=table.tolist()))
        np.testing.assert_array_equal(read_pixels(path, "label map"), values)
        np.testing.assert_array_equal(read_pixels(path, "mask") > 0, (table[values] > 0).any(axis=2))
        np.testing.assert_allclose(read_radiograph(path), luminance(table[values]), atol=1)

    @pytest.mark.parametrize("bits", [8, 16])
    @pytest.mark.parametrize("channels", [2, 3, 4])
    def test_colours_and_alpha(self, bits: int, channels: int, interlaced: bool) -> None:
        values = draw(f"u{bits // 8}", channels)
        options = {"greyscale": channels == 2, "alpha": channels in (2, 4)}
        samples = read(by_pypng(values, bits, interlaced, **options))
        assert samples.bits == bits
        whole = samples.values if channels > 2 else samples.values[..., None]
        if channels in (2, 4):
            assert samples.alpha is not None
            whole = np.dstack([whole, samples.alpha])
        np.testing.assert_array_equal(whole, values)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 5), (5, 3)])
    @pytest.mark.parametrize("bits", [1, 4, 16])
    def test_small_ones(self, shape: tuple[int, int], bits: int, interlaced: bool) -> None:
        values = np.random.default_rng(2).integers(0, 2**bits, shape)
        np.testing.assert_array_equal(read(by_pypng(values, bits, interlaced, greyscale=True)).values, values)


class TestPngParts:
    @pytest.mark.parametrize("kind", ["NONE", "SUB", "UP", "AVG", "PAETH"])
    @pytest.mark.parametrize(("dtype", "channels"), list(itertools.product(["u1", "u2"], [(), (3,), (4,)])))
    def test_every_filter(self, kind: str, dtype: str, channels: tuple[int, ...]) -> None:
        values = draw(dtype, *channels)
        content = imagecodecs.png_encode(values, filter=getattr(imagecodecs.PNG.FILTER, kind))
        samples = read(content)
        alpha = [] if samples.alpha is None else [samples.alpha]
        np.testing.assert_array_equal(np.dstack([samples.values, *alpha]).reshape(values.shape), values)

    def test_an_unknown_filter_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="a row has an unknown filter"):
            read(png(2, 2, 8, GREY, b"\0ab\5cd"))

    @pytest.mark.parametrize("colour", [GREY, RGB, PALETTE])
    def test_a_transparent_value_is_alpha(self, colour: int) -> None:
        values = draw("u1", *([3] if colour == RGB else []), bits=2)
        values[3, 4] = 2
        data = {GREY: b"\0\2", RGB: b"\0\2" * 3, PALETTE: bytes([255, 255, 0])}[colour]
        between = [chunk(b"PLTE", colours(4).tobytes())] if colour == PALETTE else []
        samples = read(plain_png(values, 8, colour, *between, chunk(b"tRNS", data)))
        key = (values == 2).all(axis=2) if colour == RGB else values == 2
        np.testing.assert_array_equal(samples.alpha, np.where(key, 0, 255))
        np.testing.assert_array_equal(samples.values, values)

    def test_several_pictures_are_refused(self, tmp_path: Path) -> None:
        pages = [Image.fromarray(draw("u1")), Image.fromarray(draw("u1").T.reshape(SHAPE))]
        pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:])
        with pytest.raises(UnreadableImageError, match="holds 2 pictures; expected one"):
            read_radiograph(tmp_path / "a.png")
        pages[0].save(tmp_path / "b.png", save_all=True, append_images=[])
        np.testing.assert_array_equal(read_radiograph(tmp_path / "b.png"), draw("u1"))

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (plain_png(draw("u1"), 8, GREY, chunk(b"CgBI", b"\0")), "CgBI, an extension"),
            (plain_png(draw("u1", bits=2), 2, PALETTE), "a palette of 0 bytes"),
            (png(9, 9, 8, GREY, bytes(9 * 10 - 1)), "89 bytes of pixels; expected 90"),
            (png(9, 9, 8, GREY, bytes(9 * 10 + 1)), "can't be inflated to the picture's size"),
            (png(9, 9, 3, GREY, bytes(90)), "3 bits and colour type 0"),
            (png(0, 9, 8, GREY, bytes(9)), "0 x 9 pixels"),
        ],
    )
    def test_what_breaks_the_standard_is_an_error(self, content: bytes, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            read(content)

    def test_an_index_beyond_the_palette_is_an_error_where_colours_count(self, tmp_path: Path) -> None:
        values = np.array([[0, 1, 5]], np.uint8)
        path = save(tmp_path / "a.png", plain_png(values, 8, PALETTE, chunk(b"PLTE", colours(2).tobytes())))
        for wrong in (read_radiograph, lambda path: read_pixels(path, "mask")):
            with pytest.raises(ValueError, match="index 5 of a palette of 2 colours"):
                wrong(path)
        np.testing.assert_array_equal(read_pixels(path, "label map"), values)


class TestBmp:
    @pytest.mark.parametrize("bits", [1, 4, 8])
    @pytest.mark.parametrize("size", [12, 40, 124])
    @pytest.mark.parametrize("from_top", [False, True])
    def test_a_palette(self, tmp_path: Path, bits: int, size: int, from_top: bool) -> None:
        if size == 12 and from_top:
            return
        values, table = draw("u1", bits=bits), colours(2**bits)
        spare = np.zeros((len(table), 0 if size == 12 else 1), np.uint8)
        entries = np.hstack([table[:, ::-1], spare]).tobytes()
        path = save(tmp_path / "a.bmp", bmp(values, bits, size, from_top, entries))
        np.testing.assert_array_equal(read_pixels(path, "label map"), values)
        np.testing.assert_array_equal(read_pixels(path, "mask") > 0, (table[values] > 0).any(axis=2))
        np.testing.assert_allclose(read_radiograph(path), luminance(table[values]), atol=1)
        if size != 12:
            np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], table[values])

    def test_colours_of_24_bits(self) -> None:
        values = draw("u1", 3)
        done, content = cv2.imencode(".bmp", values[..., ::-1])
        assert done
        np.testing.assert_array_equal(read(content.tobytes()).values, values)

    @pytest.mark.parametrize("masks", [None, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)])
    def test_32_bits_have_alpha_where_the_header_says_so(self, masks: tuple[int, ...] | None) -> None:
        values = draw("u1", 4)
        stored = values if masks else values[..., [2, 1, 0, 3]]
        samples = read(bmp(stored.reshape(SHAPE[0], -1), 32, 124, False, b"", masks))
        np.testing.assert_array_equal(samples.values, values[..., :3])
        if masks is None:
            assert samples.alpha is None
        else:
            np.testing.assert_array_equal(samples.alpha, values[..., 3])

    @pytest.mark.parametrize("masks", [None, (0xF800, 0x7E0, 0x1F)])
    def test_16_bits(self, tmp_path: Path, masks: tuple[int, ...] | None) -> None:
        values = draw("u2", bits=15)
        path = save(tmp_path / "a.bmp", bmp(values.astype("<u2").view(np.uint8), 16, 40, False, b"", masks))
        expected = cv2.imread(str(path))[..., ::-1].astype(int)
        assert np.abs(read(path.read_bytes()).values - expected).max() <= 8

    def test_run_lengths_are_refused(self) -> None:
        content = bytearray(bmp(draw("u1"), 8, 40, False, bytes(1024)))
        content[30] = 1
        with pytest.raises(ValueError, match="a BMP compressed with run-lengths"):
            read(bytes(content))


class TestJpeg:
    def test_several_pictures_are_refused(self, tmp_path: Path) -> None:
        pages = [Image.fromarray(draw("u1")) for _ in range(2)]
        pages[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pages[1:])
        with pytest.raises(UnreadableImageError, match="holds 2 pictures; expected one"):
            read_radiograph(tmp_path / "a.jpg")

    @pytest.mark.parametrize("marker", [0xC3, 0xF7, 0xC9, 0xC5])
    def test_other_kinds_are_named(self, marker: int) -> None:
        done, content = cv2.imencode(".jpg", draw("u1"))
        place = content.tobytes().index(b"\xff\xc0")
        assert done
        content[place + 1] = marker
        with pytest.raises(ValueError, match=r"a (lossless JPEG|JPEG-LS|JPEG in arithmetic coding|hierarchical JPEG)"):
            read(content.tobytes())

    def test_twelve_bits_are_named(self) -> None:
        content = imagecodecs.jpeg8_encode(draw("u2", bits=12), bitspersample=12)
        with pytest.raises(ValueError, match="a JPEG of 12 bits; expected 8"):
            read(content)


class TestOtherFormats:
    @pytest.mark.parametrize(
        ("suffix", "name"), [("gif", "a GIF"), ("webp", "a WebP"), ("jp2", "a JPEG 2000"), ("avif", "a HEIF, AVIF")]
    )
    @pytest.mark.parametrize("count", [1, 3])
    def test_they_are_named_whatever_their_suffix(self, tmp_path: Path, suffix: str, name: str, count: int) -> None:
        pages = [Image.fromarray(draw("u1") // (k + 1)) for k in range(count)]
        options = {} if suffix == "jp2" else {"save_all": True, "append_images": pages[1:]}
        pages[0].save(tmp_path / f"a.{suffix}", **options)
        (tmp_path / f"a.{suffix}").rename(tmp_path / "a.png")
        for reader in (read_radiograph, image_size, lambda path: read_pixels(path, "mask")):
            with pytest.raises(ValueError, match=f"{name}.*; expected PNG, JPEG, TIFF, BMP or DICOM: save it as PNG"):
                reader(tmp_path / "a.png")


class TestRadiographs:
    def test_negative_values_are_kept_as_float(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", draw("i2"))
        np.testing.assert_array_equal(read_radiograph(tmp_path / "a.tif"), draw("i2").astype(np.float32))

    def test_signed_values_above_0_are_whole_numbers(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", draw("u2", bits=12).astype(np.int16))
        radiograph = read_radiograph(tmp_path / "a.tif")
        assert radiograph.dtype == np.uint16
        np.testing.assert_array_equal(radiograph, draw("u2", bits=12))

    @pytest.mark.parametrize("dtype", ["f2", "f4"])
    def test_floating_point_colours_are_their_luminance(self, tmp_path: Path, dtype: str) -> None:
        tifffile.imwrite(tmp_path / "a.tif", draw(dtype, 3), photometric="rgb")
        radiograph = read_radiograph(tmp_path / "a.tif")
        assert radiograph.dtype == np.float32
        np.testing.assert_allclose(radiograph, luminance(draw(dtype, 3)), rtol=2e-3, atol=0.5)
        tifffile.imwrite(tmp_path / "b.tif", np.dstack([draw(dtype)] * 3), photometric="rgb")
        np.testing.assert_array_equal(read_radiograph(tmp_path / "b.tif"), draw(dtype))

    @pytest.mark.parametrize("dtype", ["u4", "i4", "f8"])
    def test_more_than_16_bits_are_refused(self, tmp_path: Path, dtype: str) -> None:
        tifffile.imwrite(tmp_path / "a.tif", draw(dtype))
        with pytest.raises(UnreadableImageError, match=f"pixels are {np.dtype(dtype)}; expected 8 or 16 bits"):
            read_radiograph(tmp_path / "a.tif")
