"""Pictures of every depth, kind of colour and format are read as stored, and as radiograph, mask and label map."""

from __future__ import annotations

import itertools
import struct
import time
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import imagecodecs
import nibabel
import numpy as np
import png as pypng
import pytest
import tifffile
from PIL import Image

from handseg_monai.data.labels.pixels import mask_of, read_fitting, read_pixels
from handseg_monai.data.reading.images import UnreadableImageError, image_size, read_radiograph
from handseg_monai.data.reading.samples import picture_size, read_samples
from handseg_monai.data.reading.stored import Samples
from tests.pictures import chunk, packed, plain_png, png, tiff

SHAPE = (43, 37)
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6


def draw(dtype: str, *channels: int, bits: int | None = None) -> np.ndarray:
    """Random samples of the whole range, (H, W) or (H, W, C)."""
    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    if kind.kind == "f":
        return (rng.random((*SHAPE, *channels)) * 1000 - 200).astype(kind)
    info = np.iinfo(kind)
    highest = info.max if bits is None else 2**bits - 1
    return rng.integers(info.min, highest, (*SHAPE, *channels), dtype=kind, endpoint=True)


def colours(count: int) -> np.ndarray:
    """Palette, uint8 (count, 3), whose first entry is black."""
    table = np.random.default_rng(1).integers(0, 256, (count, 3), dtype=np.uint8)
    table[0] = 0
    return table


def luminance(rgb: np.ndarray) -> np.ndarray:
    """ITU-R 601, as float64."""
    return rgb.astype(np.float64) @ [0.299, 0.587, 0.114]


def read(content: bytes) -> Samples:
    """Read all that a file stores; its header tells the same size."""
    seen: list[tuple[int, int]] = []
    samples = read_samples(content, seen.append)
    assert seen == [samples.values.shape[:2]] == [picture_size(content)]
    return samples


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


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


KINDS = ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb", "palette"])
def test_tiff(dtype: str, photometric: str) -> None:
    """Written by tifffile: compressions, predictors, tiles, planes, orders of bytes."""
    if photometric == "palette" and dtype not in ("u1", "u2"):
        return
    planars = ["contig", "separate"] if photometric == "rgb" else ["contig"]
    codings = [(None, False), ("lzw", False), ("zlib", False), ("packbits", False), ("lzw", True), ("zlib", True)]
    for planar, (compression, predictor), tile, order, big in itertools.product(
        planars, codings, [None, (16, 32)], "<>", [False, True]
    ):
        values = draw(dtype, *([3] if photometric == "rgb" else []))
        table = np.random.default_rng(3).integers(0, 256, (3, 2**16 if dtype == "u2" else 2**8)).astype(np.uint16)
        out = BytesIO()
        tifffile.imwrite(
            out,
            values.transpose(2, 0, 1) if planar == "separate" else values,
            photometric=photometric,
            planarconfig=planar if photometric == "rgb" else None,
            compression=compression,
            predictor=predictor or None,
            tile=tile,
            rowsperstrip=None if tile else 10,
            byteorder=order,
            bigtiff=big,
            colormap=table * 257 if photometric == "palette" else None,
            metadata=None,
        )
        samples = read(out.getvalue())
        if photometric == "miniswhite":
            sums = {
                "u": np.iinfo(dtype).max if values.dtype.kind == "u" else 0,
                "i": -1,
                "f": values.min() + values.max(),
            }
            values = (sums[values.dtype.kind] - values).astype(dtype)
        assert samples.values.dtype == values.dtype
        np.testing.assert_array_equal(samples.values, values)
        if photometric == "palette":
            np.testing.assert_array_equal(samples.palette, table.T)


class TestTiff:
    @pytest.mark.parametrize("bits", range(1, 17))
    @pytest.mark.parametrize("photometric", [0, 1])
    def test_grey_of_1_to_16_bits(self, tmp_path: Path, bits: int, photometric: int) -> None:
        values = draw("u2" if bits > 8 else "u1", bits=bits)
        data = values.astype("<u2").tobytes() if bits == 16 else packed(values, bits)
        path = save(tmp_path / "a.tif", tiff(data, SHAPE, t258=bits, t262=photometric))
        black_is_0 = values if photometric else np.uint16(2**bits - 1) - values
        np.testing.assert_array_equal(read_pixels(path, "label map"), black_is_0)
        spread = {1: 255, 2: 85, 4: 17}.get(bits, 1)
        np.testing.assert_array_equal(read_radiograph(path), black_is_0 * np.uint16(spread))

    @pytest.mark.parametrize("bits", [1, 2, 4, 8])
    @pytest.mark.parametrize("scale", [1, 257])
    def test_a_palette(self, tmp_path: Path, bits: int, scale: int) -> None:
        values, table = draw("u1", bits=bits), colours(2**bits)
        table[-1] = 255
        tags = {"t258": bits, "t262": 3, "t320": (table.astype(int) * scale).T.ravel().tolist()}
        path = save(tmp_path / "a.tif", tiff(packed(values, bits), SHAPE, **tags))
        np.testing.assert_array_equal(read_pixels(path, "label map"), values)
        np.testing.assert_array_equal(read_pixels(path, "mask") > 0, (table[values] > 0).any(axis=2))
        np.testing.assert_allclose(read_radiograph(path), luminance(table[values]), atol=1)

    @pytest.mark.parametrize("photometric", [0, 1])
    @pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "tiff_lzw", "packbits", "raw"])
    def test_black_and_white(self, tmp_path: Path, compression: str, photometric: int) -> None:
        values = cv2.GaussianBlur(draw("u1"), (9, 9), 3) > 127
        path = tmp_path / "a.tif"
        Image.fromarray(values).save(path, compression=compression, tiffinfo={262: photometric})
        np.testing.assert_array_equal(read_pixels(path, "mask"), values)
        np.testing.assert_array_equal(read_radiograph(path), np.where(values, 255, 0))

    @pytest.mark.parametrize("order", [1, 2])
    def test_the_order_of_bits(self, order: int) -> None:
        values = draw("u1", bits=1)
        data = packed(values, 1)
        data = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data) if order == 2 else data
        np.testing.assert_array_equal(read(tiff(data, SHAPE, t258=1, t266=order)).values, values)

    @pytest.mark.parametrize("photometric", ["minisblack", "rgb", "ycbcr"])
    @pytest.mark.parametrize("tile", [None, (16, 16)])
    def test_jpeg_inside(self, tmp_path: Path, photometric: str, tile: tuple[int, int] | None) -> None:
        ramp = np.add.outer(np.arange(SHAPE[0]) * 3, np.arange(SHAPE[1]) * 2).astype(np.uint8)
        values = ramp if photometric == "minisblack" else np.dstack([ramp, 255 - ramp, ramp // 2])
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, values, photometric=photometric, compression="jpeg", tile=tile)
        np.testing.assert_allclose(read(path.read_bytes()).values, tifffile.imread(path), atol=2)
        with pytest.raises(ValueError, match="JPEG, whose losses change values"):
            read_pixels(path, "mask")

    def test_associated_alpha_and_spare_samples_are_alpha(self, tmp_path: Path) -> None:
        values = draw("u2", 4)
        for extra in ("assocalpha", "unassalpha", "unspecified"):
            tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[extra])
            samples = read((tmp_path / "a.tif").read_bytes())
            np.testing.assert_array_equal(np.dstack([samples.values, samples.alpha]), values)

    @pytest.mark.parametrize("orientation", [1, 3, 6])
    def test_the_stored_grid_is_kept(self, tmp_path: Path, orientation: int) -> None:
        path = save(tmp_path / "a.tif", tiff(draw("u1").tobytes(), SHAPE, t274=orientation))
        assert image_size(path) == SHAPE
        np.testing.assert_array_equal(read_radiograph(path), draw("u1"))

    @pytest.mark.parametrize(
        ("tags", "said"),
        [
            ({"t262": 5, "t277": 4, "t258": [8] * 4}, "a TIFF of CMYK"),
            ({"t262": 8, "t277": 3, "t258": [8] * 3}, r"a TIFF of CIE L\*a\*b\*"),
            ({"t262": 6, "t277": 3, "t258": [8] * 3}, "a TIFF of YCbCr"),
            ({"t262": 4}, "a TIFF of a transparency mask"),
            ({"t262": 32803}, "a camera's raw mosaic"),
            ({"t254": 1}, "its first picture is a thumbnail"),
            ({"t259": 34712}, "compressed with JPEG 2000"),
            ({"t259": 50000}, "compressed with Zstandard"),
            ({"t277": 5, "t258": [8] * 5}, "5 samples a pixel; expected 1, or one more for alpha"),
            ({"t262": 2, "t277": 3, "t258": [5, 6, 5]}, "samples differ in bits"),
            ({"t258": 24, "t339": 3}, "floating-point numbers of 24 bits"),
            ({"t258": 64, "t339": 6}, "complex numbers of 64 bits"),
            ({"t32997": 3}, "holds 3 pictures"),
            ({"t317": 9}, "predictor 9"),
            ({"t278": 1}, "places of 1 segments; expected 43"),
        ],
    )
    def test_what_is_not_read_is_named(self, tags: dict[str, int | list[int]], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            read(tiff(draw("u1").tobytes() * 8, SHAPE, **tags))

    def test_one_that_does_not_say_what_black_is(self) -> None:
        content = tiff(draw("u1").tobytes(), SHAPE)
        place = content.index(struct.pack("<HHI", 262, 4, 1))
        with pytest.raises(ValueError, match="no PhotometricInterpretation"):
            read(content[:place] + struct.pack("<H", 263) + content[place + 2 :])

    @pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
    @pytest.mark.parametrize("by_bytes", [True, False])
    def test_strips_that_are_too_short_are_errors(self, compression: str | None, by_bytes: bool) -> None:
        """Half of a strip, or a whole strip of half the rows: decoders fill both up with zeros."""
        out = BytesIO()
        tifffile.imwrite(out, draw("u1")[:20], compression=compression, rowsperstrip=64)
        content = out.getvalue()
        with tifffile.TiffFile(BytesIO(content)) as file:
            tag = file.pages.first.tags[279 if by_bytes else 257]
            place, value, size = tag.valueoffset, tag.value if isinstance(tag.value, int) else tag.value[0], tag.dtype
        new = struct.pack("<H" if size == 3 else "<I", value // 2 if by_bytes else 2 * value)
        with pytest.raises(ValueError, match="cut short or damaged"):
            read(content[:place] + new + content[place + len(new) :])


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


def bmp(
    values: np.ndarray, bits: int, size: int, from_top: bool, palette: bytes, masks: tuple[int, ...] | None = None
) -> bytes:
    """A BMP of samples, or of bytes of colours, with a header of ``size`` bytes."""
    rows = packed(values, bits) if bits <= 8 else values.tobytes()
    length = len(rows) // len(values)
    lines = [rows[at : at + length] + bytes(-length % 4) for at in range(0, len(rows), length)]
    data = b"".join(lines if from_top else lines[::-1])
    width = values.shape[1] if bits <= 8 else 8 * length // bits
    if size == 12:
        header = struct.pack("<IHHHH", size, width, len(values), 1, bits)
    else:
        height = -len(values) if from_top else len(values)
        header = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, 3 if masks else 0, len(data), 0, 0, 0, 0)
        header += b"".join(struct.pack("<I", mask) for mask in masks or ())
        header += bytes(max(0, size - len(header)))
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


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
