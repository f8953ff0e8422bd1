"""TIFF of every depth, kind of sample, compression and layout is read as stored."""

from __future__ import annotations

import itertools
import struct
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from handseg_monai.data.labels.pixels import read_pixels
from handseg_monai.data.reading.images import image_size, read_radiograph
from tests.pictures import (
    SHAPE,
    colours,
    draw,
    luminance,
    packed,
    read,
    save,
    tiff,
)

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
            ({"t317": 9, "t259": 5}, "predictor 9"),
            ({"t278": 1}, "places of 1 segments; expected 43"),
        ],
    )
    def test_what_is_not_read_is_named(self, tags: dict[str, int | list[int]], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            read(tiff(draw("u1").tobytes() * 8, SHAPE, **tags))

    @pytest.mark.parametrize(
        "description", [b"ImageJ=1.54\nimages=3\n", b'{"shape": [90, 90]}', b"", b"\xff" * 9], ids=str
    )
    def test_a_description_that_one_picture_has_kept_is_passed_over(self, description: bytes) -> None:
        """Programs that take a page out, or make it smaller, copy it."""
        content = tiff(draw("u1").tobytes(), SHAPE, t270=[0] * len(description) or [0])
        place = content.index(struct.pack("<HH", 270, 4))
        kind = struct.pack("<HHI", 270, 2, len(description))
        (start,) = struct.unpack("<I", content[place + 8 : place + 12])
        content = content[:place] + kind + content[place + 8 :]
        content = content[:start] + description + content[start + len(description) :]
        np.testing.assert_array_equal(read(content).values, draw("u1"))

    @pytest.mark.parametrize("imagej", [True, False])
    def test_a_stack_in_one_directory_is_refused(self, imagej: bool) -> None:
        """As ImageJ writes those of more than 4 GB."""
        for count in (1, 3):
            out = BytesIO()
            stack = np.stack([draw("u1")] * count)
            more = {} if imagej else {"description": "of a hand"}  # and then another one of its own
            tifffile.imwrite(out, stack, imagej=imagej, truncate=True, photometric="minisblack", **more)
            out.seek(0)
            with tifffile.TiffFile(out) as file:
                assert len(file.pages) == 1
            if count == 1:
                np.testing.assert_array_equal(read(out.getvalue()).values, draw("u1"))
            else:
                with pytest.raises(ValueError, match="holds 3 pictures; expected one"):
                    read(out.getvalue())

    @pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"])
    def test_a_predictor_of_a_compression_that_has_none_is_passed_over(self, compression: str) -> None:
        out = BytesIO()
        Image.fromarray(draw("u1")).save(out, "tiff", compression=compression, tiffinfo={317: 2})
        np.testing.assert_array_equal(read(out.getvalue()).values, draw("u1"))

    def test_a_place_that_is_no_whole_number(self) -> None:
        content = tiff(draw("u1").tobytes(), SHAPE)
        place = content.index(struct.pack("<HHI", 273, 4, 1)) + 2
        with pytest.raises(ValueError, match="tag 273 has no value that can be read"):
            read(content[:place] + struct.pack("<H", 11) + content[place + 2 :])

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
