"""Radiographs of every format and kind are read as stored, and a file that is not whole is never taken for one."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from handseg_monai.data.reading.images import (
    UnreadableImageError,
    find_images,
    image_size,
    read_radiograph,
)

SHAPE = (40, 28)
LOSSLESS = ["png", "bmp", "tif"]
FORMATS = [*LOSSLESS, "jpg"]


def grey8() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def grey16() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 65536, SHAPE, dtype=np.uint16)


def colours8() -> np.ndarray:
    """Red, green, blue: (H, W, 3)."""
    return np.random.default_rng(2).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def smooth8() -> np.ndarray:
    """A ramp with a bright corner, which JPEG keeps to within a few grey levels and no mirroring keeps."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (rows * 3 + columns + 60 * ((rows < 8) & (columns < 16))).astype(np.uint8)


def luminance(rgb: np.ndarray) -> np.ndarray:
    """ITU-R 601, as float64."""
    return rgb.astype(np.float64) @ [0.299, 0.587, 0.114]


class TestKinds:
    @pytest.mark.parametrize("suffix", LOSSLESS)
    def test_grey(self, tmp_path: Path, suffix: str) -> None:
        Image.fromarray(grey8()).save(tmp_path / f"a.{suffix}")
        read = read_radiograph(tmp_path / f"a.{suffix}")
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, grey8())

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_grey_of_16_bits(self, tmp_path: Path, suffix: str) -> None:
        Image.fromarray(grey16()).save(tmp_path / f"a.{suffix}")
        read = read_radiograph(tmp_path / f"a.{suffix}")
        assert read.dtype == np.uint16
        np.testing.assert_array_equal(read, grey16())

    @pytest.mark.parametrize("suffix", LOSSLESS)
    @pytest.mark.parametrize("alpha", [False, True])
    def test_three_equal_channels_are_that_channel(self, tmp_path: Path, suffix: str, alpha: bool) -> None:
        channels = [grey8()] * 3 + ([np.full(SHAPE, 200, np.uint8)] if alpha else [])
        Image.fromarray(np.dstack(channels)).save(tmp_path / f"a.{suffix}")
        np.testing.assert_array_equal(read_radiograph(tmp_path / f"a.{suffix}"), grey8())

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    @pytest.mark.parametrize("alpha", [False, True])
    def test_three_equal_channels_of_16_bits_keep_them(self, tmp_path: Path, suffix: str, alpha: bool) -> None:
        channels = [grey16()] * 3 + ([np.full(SHAPE, 65535, np.uint16)] if alpha else [])
        cv2.imwrite(str(tmp_path / f"a.{suffix}"), np.dstack(channels))
        read = read_radiograph(tmp_path / f"a.{suffix}")
        assert read.dtype == np.uint16
        np.testing.assert_array_equal(read, grey16())

    @pytest.mark.parametrize("suffix", LOSSLESS)
    @pytest.mark.parametrize("alpha", [False, True])
    def test_colours_are_their_luminance(self, tmp_path: Path, suffix: str, alpha: bool) -> None:
        channels = np.dstack([colours8(), np.zeros(SHAPE, np.uint8)]) if alpha else colours8()
        Image.fromarray(channels).save(tmp_path / f"a.{suffix}")
        np.testing.assert_allclose(read_radiograph(tmp_path / f"a.{suffix}"), luminance(colours8()), atol=1)

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_colours_of_16_bits_are_their_luminance_at_16_bits(self, tmp_path: Path, suffix: str) -> None:
        rgb = np.random.default_rng(3).integers(0, 65536, (*SHAPE, 3), dtype=np.uint16)
        cv2.imwrite(str(tmp_path / f"a.{suffix}"), rgb[..., ::-1])
        read = read_radiograph(tmp_path / f"a.{suffix}")
        assert read.dtype == np.uint16
        np.testing.assert_allclose(read, luminance(rgb), atol=2)

    @pytest.mark.parametrize("suffix", LOSSLESS)
    def test_a_palette_is_looked_up(self, tmp_path: Path, suffix: str) -> None:
        picture = Image.fromarray(colours8()).quantize(16)
        picture.save(tmp_path / f"a.{suffix}")
        expected = luminance(np.asarray(picture.convert("RGB")))
        np.testing.assert_allclose(read_radiograph(tmp_path / f"a.{suffix}"), expected, atol=1)

    @pytest.mark.parametrize("suffix", LOSSLESS)
    def test_one_bit_is_black_and_white(self, tmp_path: Path, suffix: str) -> None:
        Image.fromarray(grey8() > 127).save(tmp_path / f"a.{suffix}")
        np.testing.assert_array_equal(read_radiograph(tmp_path / f"a.{suffix}"), np.where(grey8() > 127, 255, 0))

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    @pytest.mark.parametrize("value", [0, 100, 255])
    def test_an_alpha_of_one_value_says_nothing(self, tmp_path: Path, suffix: str, value: int) -> None:
        Image.fromarray(np.dstack([grey8(), np.full_like(grey8(), value)]), "LA").save(tmp_path / f"a.{suffix}")
        np.testing.assert_array_equal(read_radiograph(tmp_path / f"a.{suffix}"), grey8())

    @pytest.mark.parametrize("suffix", LOSSLESS)
    def test_an_alpha_that_hides_only_black_says_nothing(self, tmp_path: Path, suffix: str) -> None:
        grey = np.where(smooth8() > 100, smooth8(), 0)
        alpha = np.where(grey > 0, 255, np.arange(SHAPE[1]) * 9).astype(np.uint8)
        Image.fromarray(np.dstack([grey] * 3 + [alpha]), "RGBA").save(tmp_path / f"a.{suffix}")
        np.testing.assert_array_equal(read_radiograph(tmp_path / f"a.{suffix}"), grey)

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    @pytest.mark.parametrize(
        ("value", "said"), [(None, "hides pixels that are not black"), (0, "is in its alpha channel")]
    )
    def test_an_alpha_that_would_change_the_picture_is_refused(
        self, tmp_path: Path, suffix: str, value: int | None, said: str
    ) -> None:
        grey = grey8() if value is None else np.full(SHAPE, value, np.uint8)
        Image.fromarray(np.dstack([grey] * 3 + [255 - grey8()]), "RGBA").save(tmp_path / f"a.{suffix}")
        with pytest.raises(UnreadableImageError, match=rf"a\.{suffix}: .*{said}"):
            read_radiograph(tmp_path / f"a.{suffix}")

    @pytest.mark.parametrize("suffix", ["jpg", "JPEG"])
    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    def test_jpeg_of_grey_values(self, tmp_path: Path, suffix: str, mode: str) -> None:
        Image.fromarray(smooth8()).convert(mode).save(tmp_path / f"a.{suffix}", "JPEG", quality=95)
        read = read_radiograph(tmp_path / f"a.{suffix}")
        assert read.dtype == np.uint8
        assert np.abs(read.astype(int) - smooth8()).mean() < 2

    def test_jpeg_of_colours_is_their_luminance(self, tmp_path: Path) -> None:
        rgb = np.dstack([smooth8(), smooth8() // 2, smooth8() // 8])
        Image.fromarray(rgb).save(tmp_path / "a.jpg", quality=95, subsampling=0)
        np.testing.assert_allclose(read_radiograph(tmp_path / "a.jpg"), luminance(rgb), atol=12)
        assert np.abs(read_radiograph(tmp_path / "a.jpg") - luminance(rgb)).mean() < 3

    @pytest.mark.parametrize("factor", [5e33, -5e33])
    def test_values_that_float32_can_not_calculate_with_are_scaled(self, tmp_path: Path, factor: float) -> None:
        values = grey16().astype(np.float64) * factor
        values[0, 0] = -values.max() if factor > 0 else -values.min()
        cv2.imwrite(str(tmp_path / "a.tif"), values.astype(np.float32))
        read = read_radiograph(tmp_path / "a.tif")
        assert (read.dtype, read.min(), read.max()) == (np.float32, 0, 1)
        np.testing.assert_allclose(read, (values - values.min()) / np.ptp(values), atol=1e-6)

    def test_tiff_of_float32_keeps_its_values(self, tmp_path: Path) -> None:
        values = grey16().astype(np.float32) / 7
        cv2.imwrite(str(tmp_path / "a.tif"), values)
        read = read_radiograph(tmp_path / "a.tif")
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, values)

    @pytest.mark.parametrize("big", [False, True])
    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits"])
    def test_compressed_tiff(self, tmp_path: Path, compression: str, big: bool) -> None:
        Image.fromarray(grey8()).save(tmp_path / "a.tiff", compression=compression, big_tiff=big)
        np.testing.assert_array_equal(read_radiograph(tmp_path / "a.tiff"), grey8())


class TestPngOfThreeChannels:
    """The contract's kind."""

    @pytest.mark.parametrize("level", [0, 1, 9])
    @pytest.mark.parametrize("shape", [(1, 1), (3, 200), (97, 31)])
    def test_it_is_read_as_opencv_reads_it(self, tmp_path: Path, shape: tuple[int, int], level: int) -> None:
        pixels = np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png", compress_level=level)
        by_opencv = cv2.cvtColor(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGR2GRAY)
        assert np.array_equal(read_radiograph(tmp_path / "a.png"), by_opencv)

    @pytest.mark.parametrize(("side", "said"), [(2**20, "more than 200000000"), (12_000, "can't hold them")])
    def test_a_size_that_is_a_lie_allocates_nothing(self, tmp_path: Path, side: int, said: str) -> None:
        Image.fromarray(colours8()).save(tmp_path / "a.png")
        content = bytearray((tmp_path / "a.png").read_bytes())
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        (tmp_path / "a.png").write_bytes(content)
        tracemalloc.start()
        with pytest.raises(UnreadableImageError, match=rf"a\.png: .*{said}"):
            read_radiograph(tmp_path / "a.png")
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()

    @pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
    def test_one_cut_short_is_refused(self, tmp_path: Path, share: float) -> None:
        Image.fromarray(colours8()).save(tmp_path / "a.png")
        content = (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(content[: int(share * len(content))])
        with pytest.raises(UnreadableImageError, match=r"a\.png"):
            read_radiograph(tmp_path / "a.png")


class TestStoredGrid:
    @pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_rotation_in_the_metadata_is_ignored(self, tmp_path: Path, suffix: str, orientation: int) -> None:
        path = tmp_path / f"a.{suffix}"
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(smooth8()).save(path, exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
        assert image_size(path) == SHAPE
        read = read_radiograph(path)
        assert read.shape == SHAPE
        assert np.abs(read.astype(int) - smooth8()).mean() < 2

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_the_size_is_that_of_the_pixels_read(self, tmp_path: Path, suffix: str) -> None:
        cv2.imwrite(str(tmp_path / f"a.{suffix}"), smooth8())
        assert image_size(tmp_path / f"a.{suffix}") == read_radiograph(tmp_path / f"a.{suffix}").shape == SHAPE

    @pytest.mark.parametrize("suffix", ["jpg", "dcm", "DICOM"])
    def test_the_content_says_the_format_whatever_the_suffix(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(grey16()).save(path, "PNG")
        np.testing.assert_array_equal(read_radiograph(path), grey16())
        assert image_size(path) == SHAPE


def save(path: Path) -> bytes:
    Image.fromarray(colours8()).save(path)
    return path.read_bytes()


def save_jpeg_as_png(path: Path) -> bytes:
    Image.fromarray(colours8()).save(path, "JPEG")
    return path.read_bytes()


def save_lzw(path: Path) -> bytes:
    Image.fromarray(colours8()).save(path, compression="tiff_lzw")
    return path.read_bytes()


def save_16_bits(path: Path) -> bytes:
    Image.fromarray(grey16()).save(path)
    return path.read_bytes()


WRITERS: list[tuple[str, Callable[[Path], bytes]]] = [
    ("a.png", save),
    ("a.jpg", save),
    ("a.bmp", save),
    ("a.tif", save),
    ("a.tif", save_lzw),
    ("a.png", save_16_bits),
    ("a.tif", save_16_bits),
    ("a.png", save_jpeg_as_png),
]


class TestBadFiles:
    @pytest.mark.parametrize(("name", "write"), WRITERS)
    @pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.97])
    def test_a_file_cut_short_is_refused(
        self, tmp_path: Path, name: str, write: Callable[[Path], bytes], share: float
    ) -> None:
        content = write(tmp_path / name)
        (tmp_path / name).write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UnreadableImageError, match=rf"{name}: \S"):
            read_radiograph(tmp_path / name)

    @pytest.mark.parametrize(("name", "write"), WRITERS)
    def test_a_damaged_header_is_refused(self, tmp_path: Path, name: str, write: Callable[[Path], bytes]) -> None:
        content = write(tmp_path / name)
        (tmp_path / name).write_bytes(bytes(24) + content[24:])
        with pytest.raises(UnreadableImageError, match=rf"{name}: \S"):
            read_radiograph(tmp_path / name)
        with pytest.raises(UnreadableImageError, match=rf"{name}: \S"):
            image_size(tmp_path / name)

    @pytest.mark.parametrize("position", [0.2, 0.5, 0.9])
    def test_a_damaged_png_is_refused_wherever_the_damage_is(self, tmp_path: Path, position: float) -> None:
        """PNG has checksums, so that one changed byte shows; the other formats have none."""
        content = bytearray(save(tmp_path / "a.png"))
        content[int(len(content) * position)] ^= 0xFF
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(UnreadableImageError, match=r"a\.png: "):
            read_radiograph(tmp_path / "a.png")

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_an_empty_file_is_refused(self, tmp_path: Path, suffix: str) -> None:
        (tmp_path / f"a.{suffix}").touch()
        with pytest.raises(UnreadableImageError, match=rf"a\.{suffix}: the file is empty"):
            read_radiograph(tmp_path / f"a.{suffix}")
        with pytest.raises(UnreadableImageError, match=rf"a\.{suffix}: the file is empty"):
            image_size(tmp_path / f"a.{suffix}")

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_a_text_file_is_refused(self, tmp_path: Path, suffix: str) -> None:
        (tmp_path / f"a.{suffix}").write_text("patient,age\n1,40\n" * 20)
        with pytest.raises(UnreadableImageError, match=rf"a\.{suffix}: \S"):
            read_radiograph(tmp_path / f"a.{suffix}")

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_a_missing_file_is_named(self, tmp_path: Path, suffix: str) -> None:
        with pytest.raises(UnreadableImageError, match=rf"a\.{suffix}: no such file"):
            read_radiograph(tmp_path / f"a.{suffix}")

    def test_a_folder_is_no_image(self, tmp_path: Path) -> None:
        with pytest.raises(UnreadableImageError, match="no such file"):
            read_radiograph(tmp_path)

    @pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.png"])
    def test_several_pictures_in_one_file_are_refused(self, tmp_path: Path, name: str) -> None:
        pages = [Image.fromarray(grey8()) for _ in range(3)]
        pages[0].save(tmp_path / name, "TIFF", save_all=True, append_images=pages[1:])
        with pytest.raises(UnreadableImageError, match=rf"{name}: holds 3 pictures; expected one"):
            read_radiograph(tmp_path / name)

    def test_a_picture_beside_an_animation_is_one_of_several(self, tmp_path: Path) -> None:
        first, *frames = (Image.fromarray(np.roll(grey8(), shift, 1)) for shift in range(2))
        first.save(tmp_path / "a.png", save_all=True, append_images=frames, default_image=True)
        assert (tmp_path / "a.png").read_bytes().count(b"fcTL") == 1
        with pytest.raises(UnreadableImageError, match=r"a.png: holds 2 pictures; expected one"):
            read_radiograph(tmp_path / "a.png")

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_not_finite_are_refused(self, tmp_path: Path, value: float) -> None:
        values = grey16().astype(np.float32)
        values[3, 4] = value
        cv2.imwrite(str(tmp_path / "a.tif"), values)
        with pytest.raises(UnreadableImageError, match=r"a\.tif: pixels hold NaN or infinity"):
            read_radiograph(tmp_path / "a.tif")

    def test_float64_is_refused(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.tif"), grey16().astype(np.float64))
        with pytest.raises(UnreadableImageError, match=r"a\.tif: pixels are float64; expected 8 or 16 bits"):
            read_radiograph(tmp_path / "a.tif")


class TestFindImages:
    def test_images_of_all_sub_folders_are_found_in_order(self, tmp_path: Path) -> None:
        images = ["a.png", "b/c.jpg", "b/d/e.TIF", "b/f.Tiff", "z.JPEG", "z.bmp"]
        others = ["notes.txt", "b/c.json", ".hidden.png", ".cache/a.png", "b/.g/h.png", "png", "c.png.part", "s.csv"]
        for name in images + others:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        assert find_images(tmp_path) == sorted(tmp_path / name for name in images)

    def test_a_hidden_folder_that_is_asked_for_is_searched(self, tmp_path: Path) -> None:
        (tmp_path / ".hidden").mkdir()
        (tmp_path / ".hidden" / "a.png").touch()
        assert find_images(tmp_path / ".hidden") == [tmp_path / ".hidden" / "a.png"]

    def test_a_single_file_is_that_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.dat").touch()
        assert find_images(tmp_path / "a.dat") == [tmp_path / "a.dat"]
        assert find_images(str(tmp_path / "a.dat")) == [tmp_path / "a.dat"]

    def test_the_first_bytes_of_other_suffixes_tell(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        grey = np.arange(64 * 64).reshape(64, 64).astype(np.uint8)
        forms = {"a.jfif": ".jpg", "b.jpe": ".jpg", "c.jpg2": ".jpg", "d": ".png", "e.x": ".tif", "f.7": ".bmp"}
        others = {"g.webp": ".webp", "h.jp2": ".jp2", "i.txt": ".png", "j.bak": ".png"}
        for name, form in (forms | others).items():
            (tmp_path / name).write_bytes(cv2.imencode(form, grey)[1].tobytes())
        Image.fromarray(grey).save(tmp_path / "k.gif")
        Image.fromarray(grey).save(tmp_path / "l.pdf")
        (tmp_path / "m.dat").write_bytes(b"BMI of the subjects, kg/m2")
        (tmp_path / "n.heic").write_bytes(b"\0\0\0\x18ftypheic")
        assert [path.name for path in find_images(tmp_path)] == list(forms)
        for path in find_images(tmp_path):
            assert read_radiograph(path).shape == grey.shape
        (record,) = caplog.records
        assert record.getMessage() == (
            f"{tmp_path}: left out pictures of kinds that are not read; save them as PNG: g.webp (a WebP file), h.jp2 "
            "(a JPEG 2000 file), k.gif (a GIF), l.pdf (a PDF), n.heic (a HEIF, AVIF or video file)"
        )

    def test_suffixes_decide_before_files_are_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("a.png", "b.TXT", "c.json", "d.dcm", "e.unknown"):
            (tmp_path / name).touch()
        opened = []
        monkeypatch.setattr(Path, "open", lambda path, *_: opened.append(path.name) or BytesIO())
        assert [path.name for path in find_images(tmp_path)] == ["a.png", "d.dcm"]
        assert opened == ["e.unknown"]

    def test_a_folder_without_images_gives_none(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").touch()
        assert find_images(tmp_path) == []


def test_folders_behind_links_are_searched_once(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "a.png").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(outside)
    (outside / "loop").symlink_to(root)
    assert [path.relative_to(root).as_posix() for path in find_images(root)] == ["linked/a.png"]


def test_a_folder_and_a_link_to_it_side_by_side_are_one(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for folder in ("b", "c/d"):
        (root / folder).mkdir(parents=True)
        (root / folder / "x.png").touch()
    (root / "a").symlink_to(root / "b")
    (root / "z").symlink_to(root / "c" / "d")
    assert [path.relative_to(root).as_posix() for path in find_images(root)] == ["b/x.png", "c/d/x.png"]


@pytest.mark.parametrize("name", [b"a\nb.png", b"a\rb.png", b"caf\xe9.png"])
def test_a_name_that_no_list_can_hold_is_refused(tmp_path: Path, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).touch()
    with pytest.raises(ValueError, match=r"(a..b|caf.udce9)\.png': a CSV can't hold this name"):
        find_images(tmp_path)
