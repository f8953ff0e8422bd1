"""Header and pixel data of DICOM are compared: what is stored is read as meant, or refused in words of DICOM."""

from __future__ import annotations

import io
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jpeg_ls import encode_array as encode_jpeg_ls
from openjpeg.utils import encode_pixel_data
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from handseg_monai.data.reading.contrast import require_contrast
from handseg_monai.data.reading.dicom import dicom_size
from handseg_monai.data.reading.dicom_pixels import read_dicom
from handseg_monai.data.reading.images import UnreadableImageError, read_radiograph
from tests.dicoms import radiograph
from tests.test_dicom import NO_WINDOW, SHAPE, by_gdcm, picture

JPEG, EXTENDED, LOSSLESS, JPEG_LS, J2K = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 70, 80, 90))
GREY, FINE, WIDE = picture(8), picture(12), picture(16)
COLOURS = np.dstack([GREY, GREY // 2, 255 - GREY])
LUMINANCE = COLOURS @ np.array([0.299, 0.587, 0.114])


def dataset(pixels: np.ndarray = FINE, stored: int = 12, kind: str = "CR", **attributes: Any) -> Dataset:
    return radiograph(pixels, kind, BitsStored=stored, **attributes)


def save(made: Dataset, path: Path, data: bytes | None = None, uid: str | None = None) -> None:
    """Write a data set, with another codestream, or other native bytes, for pixel data."""
    if data is not None:
        made.PixelData = data if uid is None else encapsulate([data])
    if uid is not None:
        made.file_meta.TransferSyntaxUID = uid
        if uid.startswith("1.2.840.10008.1.2.4"):
            made["PixelData"].VR = "OB"
    made.save_as(path, enforce_file_format=True)


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=98, **options)
    return out.getvalue()


def without_jfif(stream: bytes) -> bytes:
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]


def j2k(pixels: np.ndarray, bits: int, photometric: str = "MONOCHROME2") -> bytes:
    """Code without losses; signed where the pixels are."""
    return bytes(
        encode_pixel_data(
            pixels.tobytes(),
            rows=pixels.shape[0],
            columns=pixels.shape[1],
            samples_per_pixel=1 if pixels.ndim == 2 else 3,
            bits_stored=bits,
            photometric_interpretation=photometric,
            pixel_representation=int(pixels.dtype.kind == "i"),
        )
    )


def as_signed(pixels: np.ndarray, bits: int) -> np.ndarray:
    return (pixels.astype(np.int32) - (1 << bits - 1)).astype(np.int16)


def signed(bits: int = 12, **attributes: Any) -> Dataset:
    """The picture, from the least value that so many bits hold."""
    made = dataset(picture(bits), bits, **attributes)
    made.PixelRepresentation, made.PixelData = 1, as_signed(picture(bits), bits).tobytes()
    return made


def in_implicit_vr(path: Path) -> None:
    read = dcmread(path)
    read.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    read.save_as(path, implicit_vr=True, enforce_file_format=True)


OVERLAY = np.where(np.indices(SHAPE).sum(0) % 9 < 2, 0x8000, 0).astype(np.uint16)
RAMP = np.arange(4096)


def raw_table(first: int, count: int = 4096, bits: int = 16, vr: str = "US", data: bytes | None = None) -> Sequence:
    """A rising table; the first value mapped as 16 bits, whatever the type says of them."""
    item = Dataset()
    if vr == "SS":
        first = first - 2**16 if first >= 2**15 else first
    item.add_new("LUTDescriptor", vr, [count % 2**16, first, bits])
    item.add_new("LUTData", "OW", (np.arange(count) * 16).astype("<u2").tobytes() if data is None else data)
    return Sequence([item])


def overlaid(uid: str, encode: Callable[[np.ndarray], bytes]) -> Callable[[Path], None]:
    return lambda path: save(dataset(), path, encode(FINE | OVERLAY), uid)


def rle_overlaid(path: Path) -> None:
    made = dataset()
    made.PixelData = (FINE | OVERLAY).tobytes()
    compress(made, RLELossless)
    save(made, path)


def overlay_above_signed(path: Path) -> None:
    made = signed()
    made.PixelData = ((as_signed(FINE, 12).astype(np.uint16) & 0xFFF) | OVERLAY).tobytes()
    save(made, path)


def jls(pixels: np.ndarray) -> bytes:
    return bytes(encode_jpeg_ls(pixels))


def ybr(photometric: str, planar: int = 0) -> Callable[[Path], None]:
    """Native pixels in luminance and two differences."""

    def write(path: Path) -> None:
        made = radiograph(COLOURS, "SC", PlanarConfiguration=planar)
        made.PhotometricInterpretation = photometric
        three = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
        if photometric == "YBR_FULL_422":
            pairs = three.reshape(-1, 2, 3)
            data = np.stack([pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], axis=-1)
        else:
            data = np.moveaxis(three, -1, 0) if planar else three
        save(made, path, np.ascontiguousarray(data).tobytes())

    return write


def planar_rgb(path: Path) -> None:
    made = radiograph(COLOURS, "SC", PlanarConfiguration=1)
    save(made, path, np.ascontiguousarray(np.moveaxis(COLOURS, -1, 0)).tobytes())


def coloured(uid: str, stream: bytes, photometric: str, planar: int = 0) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        made = radiograph(COLOURS, "SC", PlanarConfiguration=planar)
        made.PhotometricInterpretation = photometric
        save(made, path, stream, uid)

    return write


def big_endian(pixels: np.ndarray, stored: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        made = dataset(pixels, stored)
        data = pixels.astype(">u2") if stored > 8 else pixels.reshape(-1, 2)[:, ::-1]
        made.PixelData = np.ascontiguousarray(data).tobytes()
        made["PixelData"].VR = "OW"
        made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2"
        made.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)

    return write


def palette(bits: int, count: int, first: int = 0) -> Callable[[Path], None]:
    """Falling stored values whose table turns them round; entries of a byte or a word."""

    def write(path: Path) -> None:
        made = dataset(FINE if count > 256 else GREY, 13 if count > 256 else 8, "SC")
        made.PhotometricInterpretation = "PALETTE COLOR"
        pixels = (count - 1 - (FINE if count > 256 else GREY).astype(np.int64)) + first
        made.PixelData = pixels.astype(np.uint16 if count > 256 else np.uint8).tobytes()
        entries = np.arange(count - 1, -1, -1).astype("<u2" if bits > 8 else np.uint8)
        for colour in ("Red", "Green", "Blue"):
            made.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [count % 2**16, first, bits])
            made.add_new(f"{colour}PaletteColorLookupTableData", "OW", entries.tobytes())
        save(made, path)

    return write


def padded_above_the_bits(path: Path) -> None:
    made = dataset()
    pixels = FINE.copy()
    pixels[FINE == 0] = 0xF830
    made.add_new("PixelPaddingValue", "US", 0xF830)
    save(made, path, pixels.tobytes())


def padded_signed_in_us(path: Path) -> None:
    made = signed()
    pixels = as_signed(FINE, 12)
    pixels[FINE == 0] = -2000
    pixels[(FINE > 0) & (pixels == -2000)] = -1999
    made.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    save(made, path, pixels.tobytes())


def with_table(item: Sequence, implicit: bool = False, made: Dataset | None = None, **attributes: Any) -> Any:
    def write(path: Path) -> None:
        part = made or dataset(**NO_WINDOW)
        for keyword, value in attributes.items():
            setattr(part, keyword, value)
        part.VOILUTSequence = item
        save(part, path)
        if implicit:
            in_implicit_vr(path)

    return write


def text_of(keyword: str, text: str, path: Path, **attributes: Any) -> None:
    """Write a decimal string that is none."""
    made = dataset(**attributes)
    setattr(made, keyword, "77777777"[: len(text)])
    save(made, path)
    content = path.read_bytes()
    assert content.count(b"77777777"[: len(text)]) == 1
    path.write_bytes(content.replace(b"77777777"[: len(text)], text.encode()))


WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
READ: dict[str, tuple[Callable[[Path], Any], np.ndarray, float, str]] = {
    # what is written, the picture but for a linear change, tolerance in the picture's values, what the log says
    "overlay, JPEG 2000": (overlaid(J2K, lambda x: j2k(x, 16)), FINE, 0, "bits above the 12 stored"),
    "overlay, JPEG-LS": (overlaid(JPEG_LS, jls), FINE, 0, "bits above the 12 stored"),
    "overlay, RLE": (rle_overlaid, FINE, 0, "bits above the 12 stored"),
    "overlay above signed pixels": (overlay_above_signed, FINE, 0, "bits above the 12 stored"),
    "signed, JPEG 2000": (lambda p: save(signed(), p, j2k(as_signed(FINE, 12), 12), J2K), FINE, 0, ""),
    "signed, of 16 bits, JPEG 2000": (
        lambda p: save(signed(16), p, j2k(as_signed(WIDE, 16), 16), J2K),
        WIDE,
        0,
        "",
    ),
    "signed, in an unsigned JPEG 2000": (
        lambda p: save(signed(), p, j2k(as_signed(FINE, 12).view(np.uint16) & 0xFFF, 12), J2K),
        FINE,
        0,
        "calls its values unsigned",
    ),
    "signed, JPEG-LS": (
        lambda p: save(signed(), p, jls(as_signed(FINE, 12).view(np.uint16) & 0xFFF), JPEG_LS),
        FINE,
        0,
        "",
    ),
    "JPEG 2000 of fewer bits": (
        lambda p: save(dataset(FINE, 16), p, j2k(FINE, 12), J2K),
        FINE,
        0,
        "codestream holds 12 bits; its header says 16",
    ),
    "JPEG 2000 called JPEG lossless": (
        lambda p: save(dataset(), p, j2k(FINE, 12), LOSSLESS),
        FINE,
        0,
        "its codestream is JPEG 2000; its transfer syntax says JPEG Lossless",
    ),
    "7 bits, JPEG-LS": (lambda p: save(dataset(GREY // 2, 7), p, jls(GREY // 2), JPEG_LS), GREY // 2, 0, ""),
    "JPEG": (lambda p: save(dataset(GREY, 8, "SC"), p, jpeg(GREY), JPEG), GREY, 6, ""),
    "JPEG in fragments": (
        lambda p: in_fragments(p, jpeg(GREY)),
        GREY,
        6,
        "",
    ),
    "8 bits called extended JPEG": (lambda p: save(dataset(GREY, 8), p, jpeg(GREY), EXTENDED), GREY, 6, ""),
    "progressive JPEG": (lambda p: save(dataset(GREY, 8), p, jpeg(GREY, progressive=True), JPEG), GREY, 6, ""),
    "RGB": (lambda p: save(radiograph(COLOURS, "SC"), p), LUMINANCE, 1, ""),
    "RGB by plane": (planar_rgb, LUMINANCE, 1, ""),
    "YBR_FULL": (ybr("YBR_FULL"), LUMINANCE, 1.5, ""),
    "YBR_FULL by plane": (ybr("YBR_FULL", 1), LUMINANCE, 1.5, ""),
    "YBR_FULL_422": (ybr("YBR_FULL_422"), LUMINANCE, 1.5, ""),
    "JPEG of colours": (coloured(JPEG, jpeg(COLOURS), "YBR_FULL_422"), LUMINANCE, 8, ""),
    "JPEG of colours, planes claimed": (coloured(JPEG, jpeg(COLOURS), "YBR_FULL_422", 1), LUMINANCE, 8, ""),
    "JFIF called RGB": (coloured(JPEG, jpeg(COLOURS), "RGB"), LUMINANCE, 8, ""),
    "JPEG without a marker": (coloured(JPEG, without_jfif(jpeg(COLOURS)), "YBR_FULL_422"), LUMINANCE, 8, ""),
    "JPEG that stores RGB": (
        coloured(JPEG, without_jfif(jpeg(COLOURS, keep_rgb=True)), "RGB"),
        LUMINANCE,
        8,
        "",
    ),
    "JPEG that stores RGB called YBR": (coloured(JPEG, jpeg(COLOURS, keep_rgb=True), "YBR_FULL_422"), LUMINANCE, 8, ""),
    "YBR_RCT": (coloured(J2K, j2k(COLOURS, 8, "YBR_RCT"), "YBR_RCT"), LUMINANCE, 1, ""),
    "YBR_RCT called YBR_FULL": (coloured(J2K, j2k(COLOURS, 8, "YBR_RCT"), "YBR_FULL"), LUMINANCE, 1, ""),
    "RGB, JPEG 2000": (coloured(J2K, j2k(COLOURS, 8, "RGB"), "RGB"), LUMINANCE, 1, ""),
    "RGB, JPEG-LS": (coloured(JPEG_LS, jls(COLOURS), "RGB"), LUMINANCE, 1, ""),
    "big endian": (big_endian(FINE, 12), FINE, 0, ""),
    "big endian, bytes in words": (big_endian(GREY, 8), GREY, 0, ""),
    "palette of bytes": (palette(8, 256), GREY, 0, ""),
    "palette of words": (palette(16, 4096), FINE, 0, ""),
    "palette that begins late": (palette(16, 4096, 100), FINE, 0, ""),
    "padding above the bits stored": (
        padded_above_the_bits,
        np.maximum(FINE, FINE[FINE > 0].min()),
        0,
        "an overlay or padding",
    ),
    "padding of signed pixels as US": (padded_signed_in_us, FINE, 60, ""),
    "a table below 0, after a rescale": (
        with_table(raw_table(2**16 - 1024), RescaleSlope=1, RescaleIntercept=-1024),
        FINE,
        0,
        "",
    ),
    "the same in implicit VR": (
        with_table(raw_table(2**16 - 1024), True, RescaleSlope=1, RescaleIntercept=-1024),
        FINE,
        0,
        "",
    ),
    "a table below 0, as SS": (
        with_table(raw_table(2**16 - 1024, vr="SS"), RescaleSlope=1, RescaleIntercept=-1024),
        FINE,
        0,
        "",
    ),
    "a table from 40000, signed pixels": (
        with_table(raw_table(40000), True, signed(12, **NO_WINDOW), RescaleSlope=1, RescaleIntercept=42048),
        FINE,
        0,
        "",
    ),
    "the same as SS": (
        with_table(raw_table(40000, vr="SS"), False, signed(12, **NO_WINDOW), RescaleSlope=1, RescaleIntercept=42048),
        FINE,
        0,
        "",
    ),
    "a table of signed pixels": (with_table(raw_table(2**16 - 2048), True, signed(12, **NO_WINDOW)), FINE, 0, ""),
    "a table of 65536 entries": (
        with_table(
            raw_table(0, 2**16, data=np.arange(2**16).astype("<u2").tobytes()),
            False,
            dataset(WIDE, 16, **NO_WINDOW),
        ),
        WIDE,
        0,
        "",
    ),
    "a table of 40000 entries, as SS": (
        with_table(raw_table(0, 40000, 16, "SS", np.arange(40000).astype("<u2").tobytes())),
        FINE,
        0,
        "",
    ),
    "a table of bytes that says 16 bits": (
        with_table(raw_table(0, data=(RAMP // 16).astype(np.uint8).tobytes())),
        FINE // 16,
        0,
        "VOI LUT holds entries of 8 bits; its header says 16",
    ),
    "a table of one grey, then a window": (
        with_table(raw_table(0, data=bytes(8192)), **WINDOW),
        FINE,
        2,
        "VOI LUT leaves no greys; passed over",
    ),
    "a modality LUT of one grey": (
        lambda p: save(dataset(ModalityLUTSequence=raw_table(0, data=bytes(8192))), p),
        FINE,
        0,
        "modality LUT leaves no greys; passed over",
    ),
    "slope 0": (
        lambda p: save(dataset(RescaleSlope=0, RescaleIntercept=7), p),
        FINE,
        0,
        "slope 0 and intercept 7 can't",
    ),
    "slope that is not a number": (
        lambda p: text_of("RescaleSlope", "NaN ", p, RescaleIntercept=0),
        FINE,
        0,
        "slope that is not a number",
    ),
    "slope with a comma": (
        lambda p: text_of("RescaleSlope", "1,00", p, RescaleIntercept=0),
        FINE,
        0,
        "slope that is not",
    ),
    "falling slope and a window": (
        lambda p: save(
            dataset(4095 - FINE, RescaleSlope=-1, RescaleIntercept=4095, WindowCenter=2048, WindowWidth=4096), p
        ),
        FINE,
        2,
        "",
    ),
    "far from 0": (lambda p: save(dataset(RescaleSlope="0.001", RescaleIntercept="1000000"), p), FINE, 1, ""),
    **{
        f"window of width {width}": (
            lambda p, width=width: save(dataset(WindowCenter=2048, WindowWidth=width), p),
            FINE,
            0,
            f"width {width} can't be; passed over",
        )
        for width in ("0", "-100", "0.5")
    },
    "window of width 1": (lambda p: save(dataset(WindowCenter=2048, WindowWidth=1), p), FINE, 0, "leaves no greys"),
    "LINEAR_EXACT, of one grey": (
        lambda p: save(dataset(VOILUTFunction="LINEAR_EXACT", WindowCenter=2048, WindowWidth="0.5"), p),
        FINE,
        0,
        "width 0.5 leaves no greys",
    ),
    "a slope beyond float32": (lambda p: text_of("RescaleSlope", "1e99", p, RescaleIntercept=0), FINE, 1, ""),
    "two slopes": (lambda p: save(dataset(RescaleSlope=[1, 2], RescaleIntercept=0), p), FINE, 0, "the first is taken"),
    "window with a comma": (
        lambda p: text_of("WindowCenter", "2048,5", p, WindowWidth=4096),
        FINE,
        0,
        "center that is not a number and width 4096 can't be",
    ),
    "window that is not a number": (
        lambda p: text_of("WindowWidth", "NaN ", p, WindowCenter=2048),
        FINE,
        0,
        "width that is not a number can't be",
    ),
    "window beyond all pixels": (
        lambda p: save(dataset(WindowCenter=40000, WindowWidth=100), p),
        FINE,
        0,
        "center 40000 and width 100 leaves no greys; passed over",
    ),
    "two windows, the first of no width": (
        lambda p: save(dataset(WindowCenter=[100, 2048], WindowWidth=[0, 4096]), p),
        FINE,
        2,
        "center 100 and width 0 can't be",
    ),
    "two centers, one width": (
        lambda p: save(dataset(WindowCenter=[2048, 100], WindowWidth=4096), p),
        FINE,
        2,
        "2 window centers, 1 window widths",
    ),
    "window without a width": (lambda p: save(dataset(WindowCenter=2048), p), FINE, 0, "1 window centers, 0 window"),
    "unknown function": (
        lambda p: save(dataset(VOILUTFunction="CUBIC", **WINDOW), p),
        FINE,
        2,
        "VOI LUT Function is none that DICOM defines; LINEAR",
    ),
    "LINEAR_EXACT, narrow, after a rescale": (
        lambda p: save(
            dataset(VOILUTFunction="LINEAR_EXACT", RescaleSlope="0.0001", WindowCenter="0.2", WindowWidth="0.5"), p
        ),
        FINE,
        1,
        "",
    ),
    "MONOCHROME1 with the shape IDENTITY": (
        lambda p: save(
            dataset(4095 - FINE, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="IDENTITY"), p
        ),
        FINE,
        0,
        "MONOCHROME1, which decides; its Presentation LUT Shape, IDENTITY, contradicts",
    ),
    "a few bytes after the pixels": (lambda p: save(dataset(), p, FINE.tobytes() + bytes(6)), FINE, 0, "6 bytes after"),
}


def in_fragments(path: Path, stream: bytes) -> None:
    made = dataset(GREY, 8, "SC")
    made.PixelData = encapsulate([stream], fragments_per_frame=4)
    save(made, path, uid=JPEG)


def scaled(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return (values - values.min()) / np.ptp(values)


@pytest.mark.parametrize("case", READ)
def test_what_is_stored_is_read_as_meant_and_said(case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write, expected, tolerance, said = READ[case]
    write(tmp_path / "a.dcm")
    caplog.clear()
    read = scaled(read_radiograph(tmp_path / "a.dcm"))
    np.testing.assert_allclose(read, scaled(expected), atol=tolerance / np.ptp(expected) + 1e-6)
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("handseg")]
    assert len(logged) == bool(said), logged
    assert said in "".join(logged)


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="needs Debian's dcmtk")
@pytest.mark.parametrize(
    ("command", "bits"),
    [("dcmcjpeg +e1", 12), ("dcmcjpeg +el", 16), ("dcmcjpls +el", 12), ("dcmcjpls +el", 16), ("dcmcrle", 16)],
)
def test_signed_pixels_of_another_encoder(command: str, bits: int, tmp_path: Path) -> None:
    save(signed(bits), tmp_path / "plain.dcm")
    subprocess.run([*command.split(), tmp_path / "plain.dcm", tmp_path / "a.dcm"], check=True)
    read = read_radiograph(tmp_path / "a.dcm").astype(np.float64)
    np.testing.assert_array_equal(read - read.min(), picture(bits))


def sized(stream: bytes, rows: int, columns: int) -> bytes:
    """Let the header of a JPEG 2000 codestream state another size, of image and tile."""
    return (
        stream[:8] + struct.pack(">2I", columns, rows) + stream[16:24] + struct.pack(">2I", columns, rows) + stream[32:]
    )


def with_shape(made: Dataset, rows: int, columns: int) -> Dataset:
    made.Rows, made.Columns = rows, columns
    return made


def two_frames(path: Path) -> None:
    made = dataset()
    made.PixelData = encapsulate([j2k(FINE, 12)] * 2)
    save(made, path, uid=J2K)


def empty_items(path: Path) -> None:
    made = dataset()
    made.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0"
    save(made, path, uid=J2K)


def rle_of(pixels: np.ndarray, stored: int, **attributes: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        made = dataset(pixels, stored)
        compress(made, RLELossless)
        for keyword, value in attributes.items():
            setattr(made, keyword, value)
        save(made, path)

    return write


def deflated_and_cut(path: Path) -> None:
    made = dataset()
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save(made, path)
    path.write_bytes(path.read_bytes()[:-2000])


def without(keyword: str, item: Sequence) -> Sequence:
    del item[0][keyword]
    return item


ROWS, COLUMNS = SHAPE
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "colour JPEG called grey": (
        lambda p: save(dataset(GREY, 8), p, jpeg(COLOURS), JPEG),
        "JPEG codestream holds 3 samples a pixel; the header says 1",
    ),
    "grey JPEG called colour": (
        coloured(JPEG, jpeg(GREY), "RGB"),
        "JPEG codestream holds 1 samples a pixel; the header says 3",
    ),
    "grey JPEG called YBR_FULL_422": (coloured(JPEG, jpeg(GREY), "YBR_FULL_422"), "codestream holds 1 samples"),
    "colour JPEG 2000 called grey": (
        lambda p: save(dataset(GREY, 8), p, j2k(COLOURS, 8, "RGB"), J2K),
        "JPEG 2000 codestream holds 3 samples a pixel",
    ),
    "colour JPEG-LS called grey": (
        lambda p: save(dataset(GREY, 8), p, jls(COLOURS), JPEG_LS),
        "JPEG-LS codestream holds 3 samples a pixel",
    ),
    "rows and columns swapped, JPEG 2000": (
        lambda p: save(with_shape(dataset(), COLUMNS, ROWS), p, j2k(FINE, 12), J2K),
        f"codestream holds {ROWS} rows x {COLUMNS} columns; the header says {COLUMNS} x {ROWS}",
    ),
    "rows and columns swapped, JPEG-LS": (
        lambda p: save(with_shape(dataset(), COLUMNS, ROWS), p, jls(FINE), JPEG_LS),
        f"codestream holds {ROWS} rows x {COLUMNS} columns",
    ),
    "rows and columns swapped, JPEG": (
        lambda p: save(with_shape(dataset(GREY, 8), COLUMNS, ROWS), p, jpeg(GREY), JPEG),
        f"codestream holds {ROWS} rows x {COLUMNS} columns",
    ),
    "a row less, RLE": (rle_of(FINE, 12, Rows=ROWS - 1), f"RLE data hold {ROWS * COLUMNS} pixels; the header says 89"),
    "RLE of words called bytes": (
        rle_of(FINE, 12, BitsAllocated=8, BitsStored=8, HighBit=7),
        "RLE data hold 2 segments; the header's samples and bits ask for 1",
    ),
    "RLE called colour": (rle_of(GREY, 8, SamplesPerPixel=3, PhotometricInterpretation="RGB"), "ask for 3"),
    "16 bits in 8": (
        lambda p: save(dataset(GREY, 8), p, j2k(FINE, 12), J2K),
        "JPEG 2000 codestream holds 12 bits a sample; the header allocates 8",
    ),
    "huge codestream": (
        lambda p: save(dataset(), p, sized(j2k(FINE, 12), 60000, 60000), J2K),
        "codestream holds 60000 rows x 60000 columns; the header says 90 x 70",
    ),
    "huge header and codestream": (
        lambda p: save(with_shape(dataset(), 60000, 60000), p, sized(j2k(FINE, 12), 60000, 60000), J2K),
        "60000 x 60000 pixels; expected at most 200,000,000; --max_pixels",
    ),
    "JPEG 2000 cut short": (
        lambda p: save(dataset(), p, j2k(FINE, 12)[:3000], J2K),
        "JPEG 2000 codestream is cut short: it has no end marker",
    ),
    "JPEG cut short": (lambda p: save(dataset(GREY, 8), p, jpeg(GREY)[:1500], JPEG), "JPEG codestream is cut short"),
    "JPEG 2000 cut within its header": (
        lambda p: save(dataset(), p, j2k(FINE, 12)[:60], J2K),
        "the header of the codestream is damaged, or cut short",
    ),
    "no codestream": (lambda p: save(dataset(), p, b"\0" * 400, J2K), "neither JPEG, JPEG-LS nor JPEG 2000"),
    "an empty codestream": (empty_items, "pixel data are empty"),
    "JPEG of arithmetic coding": (
        lambda p: save(dataset(GREY, 8), p, jpeg(GREY).replace(b"\xff\xc0", b"\xff\xc9"), JPEG),
        "a process of JPEG that is not read",
    ),
    "two frames": (two_frames, "pixel data hold 2 frames; expected one"),
    "native, called RLE": (
        lambda p: native_called(p, RLELossless),
        "the transfer syntax is a compressed one, the pixel data are not",
    ),
    "compressed, called native": (
        lambda p: save(dataset(), p, encapsulate([j2k(FINE, 12)])),
        "pixel data are compressed, the transfer syntax is a native one",
    ),
    "MPEG": (
        lambda p: save(dataset(), p, FINE.tobytes(), "1.2.840.10008.1.2.4.102"),
        "MPEG-4 .* is not read",
    ),
    "too short by a pixel": (
        lambda p: save(dataset(), p, FINE.tobytes()[:-2]),
        "12598 bytes .* take 12600",
    ),
    "too long by a row": (lambda p: save(dataset(), p, FINE.tobytes() + bytes(140)), "12740 bytes of pixel data"),
    "too long by a column": (lambda p: save(dataset(), p, FINE.tobytes() + bytes(180)), "12780 bytes of pixel data"),
    "words called bytes": (
        lambda p: save(dataset(GREY, 8), p, FINE.tobytes()),
        "90 rows x 70 columns of 1 samples of 8 bits, MONOCHROME2, take 6300",
    ),
    "colours called grey": (lambda p: save(dataset(GREY, 8), p, COLOURS.tobytes()), "18900 bytes of pixel data"),
    "YBR_FULL called YBR_FULL_422": (
        lambda p: save(radiograph(COLOURS, "SC", **{"BitsStored": 8}), p, COLOURS.tobytes()[:-4000]),
        "14900 bytes of pixel data",
    ),
    "16 bits called 12": (
        lambda p: save(dataset(), p, (FINE * np.uint16(16)).tobytes()),
        "values go beyond the 12 bits, unsigned, of the header",
    ),
    "16 bits called 12, JPEG 2000": (
        lambda p: save(dataset(), p, j2k(FINE * np.uint16(16), 16), J2K),
        "values go beyond the 12 bits",
    ),
    "unsigned called signed": (
        lambda p: save(signed(), p, FINE.tobytes()),
        "values go beyond the 12 bits, signed, of the header",
    ),
    "one sample called RGB": (
        lambda p: save(changed(dataset(GREY, 8), PhotometricInterpretation="RGB"), p),
        "Photometric Interpretation is RGB; samples per pixel, 1, ask for MONOCHROME1",
    ),
    "three samples called MONOCHROME2": (
        lambda p: save(changed(radiograph(COLOURS, "SC"), PhotometricInterpretation="MONOCHROME2"), p),
        "Photometric Interpretation is MONOCHROME2; samples per pixel, 3, ask for RGB",
    ),
    "no photometric interpretation": (
        lambda p: save(changed(dataset(), PhotometricInterpretation=""), p),
        "Photometric Interpretation is missing; samples per pixel, 1",
    ),
    "a sign that is none": (lambda p: save(changed(dataset(), PixelRepresentation=2), p), "PixelRepresentation is 2"),
    "nothing to see": (lambda p: save(dataset(np.full(SHAPE, 7, np.uint16)), p), "all pixels have the same value"),
    "nothing to see, in colours": (
        lambda p: save(radiograph(np.zeros((*SHAPE, 3), np.uint8), "SC"), p),
        "all pixels have the same value",
    ),
    "a table without a descriptor": (
        with_table(without("LUTDescriptor", raw_table(0))),
        "the VOI LUT: its descriptor is missing",
    ),
    "a table without data": (with_table(without("LUTData", raw_table(0))), "the VOI LUT holds no data"),
    "a table too short": (
        with_table(raw_table(0, data=bytes(2000))),
        "the VOI LUT: a table of 1000 entries; its header says 4096",
    ),
    "a table of 65536 entries too short": (
        with_table(raw_table(0, 0, data=bytes(8192))),
        "4096 entries; .* says 65536",
    ),
    "entries of 40 bits": (with_table(raw_table(0, bits=40)), "the VOI LUT: entries of 40 bits; expected 8 to 16"),
    "a palette without tables": (
        lambda p: save(changed(dataset(GREY, 8), PhotometricInterpretation="PALETTE COLOR"), p),
        "the palette: its descriptor is missing",
    ),
    "deflated and cut": (deflated_and_cut, "damaged, or cut short: its deflated part has no end"),
}


def lossless(path: Path) -> None:
    save(dataset(FINE[:30, :30]), path)
    by_gdcm(path)


def changed(made: Dataset, **attributes: Any) -> Dataset:
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def native_called(path: Path, uid: str) -> None:
    save(dataset(), path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", uid.encode().ljust(20, b"\0"), 1))


FOREIGN = re.compile(
    r"numpy|pydicom|gdcm|openjpeg|pillow|charls|libjpeg|plugin|decoder|broadcast|operand|\barrays?\b|reshape|dtype|"
    r"dataset|dataelement|nonetype|attribute '|\bobject\b|traceback|buffer|exception|\w+error\b|out of bounds|"
    r"invalid literal|'(str|int|float|list|bytes)'|unpack|struct|codec can|<class|\bNone\b|keyword argument",
    re.IGNORECASE,
)
"""What no message holds: words of the libraries that read."""


@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_itself_is_refused_in_words_of_dicom(case: str, tmp_path: Path) -> None:
    write, message = REFUSED[case]
    write(tmp_path / "a.dcm")
    with pytest.raises(UnreadableImageError, match=rf"^{tmp_path}/a\.dcm: .*{message}") as raised:
        read_radiograph(tmp_path / "a.dcm")
    assert not FOREIGN.search(str(raised.value).removeprefix(f"{tmp_path}"))
    assert "Anna" not in str(raised.value)


BASES: dict[str, Callable[[Path], Any]] = {
    "native": lambda p: save(dataset(GREY[:30, :30], 8), p),
    "RLE": rle_of(FINE[:30, :30], 12),
    "JPEG 2000": lambda p: save(dataset(FINE[:64, :64]), p, j2k(FINE[:64, :64], 12), J2K),
    "JPEG-LS": lambda p: save(dataset(FINE[:30, :30]), p, jls(FINE[:30, :30]), JPEG_LS),
    "JPEG": lambda p: save(dataset(GREY[:30, :30], 8), p, jpeg(GREY[:30, :30]), JPEG),
    "JPEG lossless": lossless,
    "palette": palette(8, 256),
    "table": with_table(raw_table(0), True),
    "window": lambda p: save(dataset(FINE[:30, :30], **WINDOW, RescaleSlope=1, RescaleIntercept=3), p),
}


@pytest.mark.parametrize("base", BASES)
def test_no_message_about_a_damaged_file_is_that_of_a_library(
    base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes changed in header and pixels, and lengths."""
    rng = np.random.default_rng(sorted(BASES).index(base))
    path = tmp_path / "a.dcm"
    BASES[base](path)
    content = path.read_bytes()
    refused = 0
    for number in range(120):
        damaged = bytearray(content)
        for place in rng.integers(140, len(content), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(300, len(content))] if number % 6 == 0 else damaged)
        try:
            read_radiograph(path)
        except UnreadableImageError as error:
            refused += 1
            message = str(error).removeprefix(f"{tmp_path}")
            assert not FOREIGN.search(message), message
            assert "Anna" not in message
            assert "\n" not in message
    assert refused > 10
    logged = "".join(record.getMessage() for record in caplog.records if record.name.startswith("handseg"))
    assert not FOREIGN.search(logged.replace(f"{tmp_path}", ""))
    assert "Anna" not in logged


def test_the_number_of_pixels_is_checked_before_anything_is_decoded(tmp_path: Path) -> None:
    """In the header for size and pixels alike, whatever the codestream holds."""
    save(dataset(), tmp_path / "a.dcm", b"no codestream", J2K)
    for read in (read_dicom, dicom_size):
        with pytest.raises(ValueError, match="90 x 70 pixels; expected at most 6,299"):
            read(tmp_path / "a.dcm", max_pixels=6299)
    assert dicom_size(tmp_path / "a.dcm", max_pixels=6300) == SHAPE


def test_contrast_is_two_values() -> None:
    require_contrast(np.array([[0, 0], [0, 1]], np.uint8))
    with pytest.raises(ValueError, match="all pixels have the same value"):
        require_contrast(np.full((4, 4), 9, np.uint16))
