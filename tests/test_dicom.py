"""DICOM is read as its viewer shows it, whatever its form, and what is no radiograph of a hand is refused in words."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import gdcm
import numpy as np
import pytest
from monai.transforms import Compose
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from handseg_monai.data import inference_datalist, training_datalist
from handseg_monai.data.datalists import DatasetError
from handseg_monai.data.reading.dicom import is_hand, pixel_spacing
from handseg_monai.data.reading.images import UnreadableImageError, find_images, image_size, read_radiograph
from handseg_monai.rle import encode_planes, read_csv, write_csv
from handseg_monai.score.evaluation import evaluate
from handseg_monai.transforms import LoadRadiographd, ScalePercentilesd
from tests.bundle_runs import CONFIGS, TINY, run_bundle, save_untrained
from tests.conftest import draw_radiograph
from tests.dicoms import radiograph, write_dicom
from tests.programs import handseg

SHAPE = (90, 70)


def picture(bits: int = 12) -> np.ndarray:
    """A drawn radiograph whose whole numbers go up to the greatest of that many bits."""
    drawn, _ = draw_radiograph(3, SHAPE)
    fine = drawn.astype(np.int64) * 16 + np.arange(SHAPE[1]) % 16
    fine = (fine - fine.min()) * (2**bits - 1) // np.ptp(fine)
    return fine.astype(np.uint8 if bits <= 8 else np.uint16)


def shown(path: Path, size: int | None = None) -> np.ndarray:
    """What the network gets: (H, W), 0 to 1."""
    steps = Compose([LoadRadiographd("image", size), ScalePercentilesd("image", 0.5, 99.5)])
    return np.asarray(steps({"image": str(path)})["image"][0])


def table(entries: np.ndarray, first: int = 0, bits: int = 16) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 2**16, first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return Sequence([item])


def signed(path: Path) -> None:
    dataset = radiograph(picture(), BitsStored=12, WindowCenter=None, WindowWidth=None)
    dataset.PixelRepresentation, dataset.RescaleIntercept = 1, 2048
    dataset.PixelData = (picture().astype(np.int16) - 2048).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def signed_of_all_16_bits(path: Path) -> None:
    dataset = radiograph(picture(16), "CR", PhotometricInterpretation="MONOCHROME1")
    dataset.PixelRepresentation = 1
    dataset.PixelData = (32767 - picture(16).astype(np.int32)).astype(np.int16).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def palette(path: Path) -> None:
    grey = (np.arange(256) * 257).astype("<u2").tobytes()
    names = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
    dataset = radiograph(picture(8), "SC", PhotometricInterpretation="PALETTE COLOR")
    for name in names:
        dataset.add_new(f"{name}Descriptor", "US", [256, 0, 16])
        dataset.add_new(f"{name}Data", "OW", grey)
    dataset.save_as(path, enforce_file_format=True)


def embedded_overlay(path: Path) -> None:
    """Bits above those stored hold something else, as in old CR."""
    dataset = radiograph(picture(), "CR", BitsStored=12)
    dataset.PixelData = (picture() | np.uint16(0x5000)).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def padded(path: Path) -> None:
    pixels = picture().copy()
    pixels[picture() == 0] = 4095
    pixels[picture() == 4095] = 4094
    write_dicom(path, pixels, "CR", BitsStored=12, PixelPaddingValue=4095)


def inverted(pixels: np.ndarray) -> np.ndarray:
    return 4095 - pixels


def of(bits: int, kind: str, change: Callable[[np.ndarray], np.ndarray] = lambda x: x, **attributes: Any) -> Any:
    """Write the picture, changed, with attributes that undo the change."""
    return lambda path: write_dicom(path, change(picture(bits)), kind, BitsStored=max(8, bits), **attributes)


FALLING = np.arange(4095, -1, -1)
NO_WINDOW = {"WindowCenter": None, "WindowWidth": None}
FORMS: dict[str, tuple[int, Callable[[Path], Any]]] = {
    "DX": (12, of(12, "DX")),
    "DX for processing": (12, of(12, "1.2.840.10008.5.1.4.1.1.1.1.1", PresentationIntentType="FOR PROCESSING")),
    "CR": (12, of(12, "CR")),
    "SC": (8, of(8, "SC")),
    "16 bits": (16, of(16, "DX")),
    "MONOCHROME1": (12, of(12, "CR", inverted, PhotometricInterpretation="MONOCHROME1")),
    "MONOCHROME1, as DX says it": (
        12,
        of(12, "DX", inverted, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"),
    ),
    "presentation LUT INVERSE": (12, of(12, "CR", inverted, PresentationLUTShape="INVERSE")),
    "rescale": (12, of(12, "CR", RescaleSlope=2, RescaleIntercept=-100)),
    "rescale of fractions": (12, of(12, "CR", RescaleSlope="0.25", RescaleIntercept="-7.5")),
    "rescale that turns round": (12, of(12, "CR", inverted, RescaleSlope=-1, RescaleIntercept=4095)),
    "empty rescale and window": (
        12,
        of(12, "CR", RescaleSlope="", RescaleIntercept="", WindowCenter="", WindowWidth=""),
    ),
    "modality LUT": (
        12,
        of(
            12,
            "CR",
            inverted,
            ModalityLUTSequence=table(FALLING),
            WindowCenter=2048,
            WindowWidth=4096,
        ),
    ),
    "VOI LUT": (
        12,
        of(12, "DX", inverted, VOILUTSequence=table(FALLING, bits=12), **NO_WINDOW),
    ),
    "VOI LUT after a rescale": (
        12,
        of(12, "CR", RescaleSlope=1, RescaleIntercept=5, VOILUTSequence=table(np.arange(4096), first=5)),
    ),
    "two windows": (12, of(12, "DX", WindowCenter=[2048, 10], WindowWidth=[4096, 5])),
    "grey RGB": (8, of(8, "SC", lambda x: np.dstack([x] * 3))),
    "palette": (8, palette),
    "signed": (12, signed),
    "signed, of all 16 bits, turned round": (16, signed_of_all_16_bits),
    "overlay in the pixels": (12, embedded_overlay),
    "padding": (12, padded),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [None, 48])
def test_a_picture_as_dicom_is_the_picture_as_png(form: str, size: int | None, tmp_path: Path) -> None:
    bits, write = FORMS[form]
    cv2.imwrite(str(tmp_path / "a.png"), picture(bits))
    write(tmp_path / "a.dcm")
    assert image_size(tmp_path / "a.dcm") == SHAPE
    np.testing.assert_allclose(
        shown(tmp_path / "a.dcm", size),
        shown(tmp_path / "a.png", size),
        atol=5e-3 if form in ("padding", "palette") else 2e-6,
    )


def test_values_of_the_detector_are_taken_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    FORMS["DX for processing"][1](tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_radiograph(tmp_path / "a.dcm"), picture())
    assert "a.dcm: a DX image for processing" in caplog.text


@pytest.mark.parametrize("ends", [(-20000, 20000), (-32768, 32767), (-300, 213), (-32768, -32768 + 300)])
def test_signed_values_keep_their_order_and_scale_whatever_their_range(ends: tuple[int, int], tmp_path: Path) -> None:
    """Differences and sizes of 16-bit numbers do not fit 16 bits."""
    values = np.linspace(*ends, SHAPE[0] * SHAPE[1]).round().astype(np.int16).reshape(SHAPE)
    write_dicom(tmp_path / "a.dcm", values.view(np.uint16), PixelRepresentation=1, **NO_WINDOW)
    np.testing.assert_array_equal(read_radiograph(tmp_path / "a.dcm"), values.astype(np.float32))


def test_bit_depth_does_not_matter(tmp_path: Path) -> None:
    write_dicom(tmp_path / "12.dcm", picture(), BitsStored=12, **NO_WINDOW)
    write_dicom(tmp_path / "16.dcm", picture() * np.uint16(16), **NO_WINDOW)
    for size in (None, 48, 200):
        np.testing.assert_array_equal(shown(tmp_path / "12.dcm", size), shown(tmp_path / "16.dcm", size))


def by_pydicom(uid: str) -> Callable[[Path], None]:
    def recode(path: Path) -> None:
        dataset = dcmread(path)
        compress(dataset, uid)
        dataset.save_as(path)

    return recode


def by_gdcm(path: Path) -> None:
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    assert dcmread(path).file_meta.TransferSyntaxUID == JPEGLosslessSV1


def uncompressed(uid: str) -> Callable[[Path], None]:
    def recode(path: Path) -> None:
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = uid
        dataset.save_as(path)

    return recode


CODINGS = {
    "implicit VR": uncompressed(ImplicitVRLittleEndian),
    "deflated": uncompressed(DeflatedExplicitVRLittleEndian),
    "RLE": by_pydicom(RLELossless),
    "JPEG-LS": by_pydicom(JPEGLSLossless),
    "JPEG 2000": by_pydicom(JPEG2000Lossless),
    "JPEG lossless": by_gdcm,
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_lossless_transfer_syntax_gives_the_pixels(coding: str, bits: int, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", picture(bits), BitsStored=bits)
    CODINGS[coding](path)
    read = read_radiograph(path)
    assert read.dtype == picture(bits).dtype
    np.testing.assert_array_equal(read, picture(bits))


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="needs dcmcjpeg of Debian's dcmtk")
@pytest.mark.parametrize(
    ("option", "bits", "error"), [("+e1", 16, 0), ("+el", 12, 0), ("+ee", 12, 24), ("+eb", 8, 12), ("+e1", 8, 0)]
)
def test_jpeg_of_another_encoder(option: str, bits: int, error: int, tmp_path: Path) -> None:
    """The lossy ones have a rescale or window that undoes what the encoder did to the range."""
    path = write_dicom(tmp_path / "plain.dcm", picture(bits), BitsStored=bits)
    quality = ["+q", "98"] if error else []
    subprocess.run(["dcmcjpeg", option, *quality, path, tmp_path / "a.dcm"], check=True)
    read = read_radiograph(tmp_path / "a.dcm").astype(np.float64)
    np.testing.assert_allclose(read - read.mean(), picture(bits) - picture(bits).mean(), atol=error)


def test_tables_and_windows_are_those_of_pydicom(tmp_path: Path) -> None:
    curve = (65535 * np.linspace(0, 1, 3000) ** 0.4).astype(np.uint16)
    for attributes in (
        {"VOILUTSequence": table(curve, first=400), **NO_WINDOW},
        {"WindowCenter": 1500, "WindowWidth": 900},
        {"WindowCenter": 1500, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 1500, "WindowWidth": 900.5, "VOILUTFunction": "LINEAR_EXACT", "RescaleSlope": "1.5"},
    ):
        dataset = dcmread(write_dicom(tmp_path / "a.dcm", picture(), BitsStored=12, **attributes))
        expected = apply_voi_lut(apply_modality_lut(picture(), dataset), dataset)
        np.testing.assert_allclose(
            read_radiograph(tmp_path / "a.dcm"), expected.astype(np.float32), atol=1e-2, rtol=1e-6
        )


@pytest.mark.parametrize("width", [1, 2])
def test_a_voi_lut_of_8_bits_with_more_than_256_entries(width: int, tmp_path: Path) -> None:
    """Pydicom takes its indices modulo 256; such entries may lie in a byte each, or in two."""
    entries = (np.arange(4096) // 16).astype(f"<u{width}")
    item = table(entries, bits=8)
    item[0].LUTData = entries.tobytes()
    write_dicom(tmp_path / "a.dcm", picture(), BitsStored=12, VOILUTSequence=item, **NO_WINDOW)
    np.testing.assert_array_equal(read_radiograph(tmp_path / "a.dcm"), picture() // 16)


def test_colours_are_their_luminance(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    write_dicom(tmp_path / "a.dcm", colours, "SC")
    np.testing.assert_allclose(read_radiograph(tmp_path / "a.dcm"), colours @ [0.299, 0.587, 0.114], atol=1)


class TestFinding:
    def test_files_with_a_suffix_a_number_or_none(self, tmp_path: Path) -> None:
        names = ["a.dcm", "b/IM000001", "b/1.2.840.113.77", "c.DICOM", "d.png"]
        for name in [*names, "DICOMDIR", "notes.txt", ".hidden"]:
            write_dicom(tmp_path / name, picture())
        (tmp_path / "README").write_text("no DICOM")
        (tmp_path / "short").write_bytes(b"DICM")
        os.mkfifo(tmp_path / "pipe")
        assert find_images(tmp_path) == sorted(tmp_path / name for name in names)
        assert [item["name"] for item in inference_datalist(tmp_path)] == [
            "a.dcm",
            "1.2.840.113.77",
            "IM000001",
            "c.DICOM",
            "d.png",
        ]

    def test_the_mark_decides_whatever_the_suffix(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        names = ["a.ima", "b.IMG", "c.dcm30", "d.gif", "e.v2"]
        for name in names:
            write_dicom(tmp_path / name, picture())
            np.testing.assert_array_equal(read_radiograph(tmp_path / name), read_radiograph(tmp_path / "a.ima"))
        (tmp_path / "f").write_bytes((tmp_path / "a.ima").read_bytes()[132:])
        assert [item["name"] for item in inference_datalist(tmp_path)] == names
        assert "not read; save them as PNG: f (DICOM without its mark, DICM)" in caplog.text

    def test_two_of_one_name_are_refused_unless_relative(self, tmp_path: Path) -> None:
        for person in ("x", "y"):
            write_dicom(tmp_path / person / "IM1", picture())
        with pytest.raises(
            DatasetError,
            match=r"two images of the name IM1: .*; give --relative_names \(in inference: --relative_names true\)",
        ):
            inference_datalist(tmp_path)
        assert [item["name"] for item in inference_datalist(tmp_path, relative_names=True)] == ["x/IM1", "y/IM1"]

    def test_without_pydicom_the_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_dicom(tmp_path / "IM1", picture())
        cv2.imwrite(str(tmp_path / "a.png"), picture(8))
        monkeypatch.setitem(sys.modules, "pydicom", None)
        with pytest.raises(DatasetError, match=r"IM1: .*pip install 'handseg-monai\[dicom\]'"):
            inference_datalist(tmp_path)
        for read in (read_radiograph, image_size):
            with pytest.raises(UnreadableImageError, match=r"IM1: .*pip install 'handseg-monai\[dicom\]'"):
                read(tmp_path / "IM1")
        (tmp_path / "IM1").unlink()
        assert len(inference_datalist(tmp_path)) == 1


def set_to(**attributes: Any) -> Callable[[Path], Any]:
    kind = attributes.pop("kind", "DX")
    return lambda path: write_dicom(path, picture(), kind, **attributes)


def no_mark(path: Path) -> None:
    write_dicom(path, picture())
    path.write_bytes(path.read_bytes()[132:])


def native_as(uid: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = write_dicom(path, picture()).read_bytes()
        path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", uid.encode().ljust(20, b"\0")))

    return write


def bomb(path: Path) -> None:
    write_dicom(path, picture())
    uncompressed(DeflatedExplicitVRLittleEndian)(path)
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = bytes(2**20)
    path.write_bytes(content[:start] + b"".join(squeeze.compress(zeros) for _ in range(257)) + squeeze.flush())


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no pixel data": (set_to(PixelData=None), "holds no pixel data"),
    "several frames": (set_to(NumberOfFrames=3), "holds 3 frames; expected one"),
    "CT": (set_to(kind="1.2.840.10008.5.1.4.1.1.2"), "CT Image Storage: not a radiograph; expected CR, DX or SC"),
    "SEG": (set_to(kind="1.2.840.10008.5.1.4.1.1.66.4"), "Segmentation Storage: not a radiograph"),
    "presentation state": (set_to(kind="1.2.840.10008.5.1.4.1.1.11.1"), "not a radiograph"),
    "chest": (
        set_to(BodyPartExamined="CHEST"),
        r"expected a hand or wrist; --any_body_part accepts it \(in inference: --any_body_part true\)",
    ),
    "huge": (
        set_to(Rows=65535, Columns=65535),
        "65535 x 65535 pixels are more than 200000000, .* raise --max_pixels",
    ),
    "more rows than pixels": (
        set_to(Rows=SHAPE[0] + 1),
        "pixels can't be decoded: 12600 bytes of pixel data; 91 rows x 70 columns .* take 12740",
    ),
    "no rows": (set_to(Rows=None), "Rows is missing"),
    "rows of zero": (set_to(Rows=0), "Rows is 0"),
    "32 bits": (set_to(BitsAllocated=32), "1 samples of 32 bits"),
    "high bit": (set_to(BitsStored=12, HighBit=15), "12 bits stored of 16, the highest is bit 15"),
    "no mark": (no_mark, "not a DICOM file"),
    "text": (lambda path: path.write_text("patient, age\n" * 50), "not a DICOM file"),
    "empty": (lambda path: path.touch(), "the file is empty"),
    "RLE that is none": (native_as(RLELossless), "pixels can't be decoded|damaged"),
    "unknown transfer syntax": (native_as("1.2.3.4"), "pixels can't be decoded|damaged"),
    "deflated bomb": (bomb, "damaged.*inflates to more than 256 MiB"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_not_be_right_is_said(case: str, tmp_path: Path) -> None:
    write, message = BAD[case]
    write(tmp_path / "a.dcm")
    with pytest.raises(UnreadableImageError, match=rf"^{tmp_path}/a\.dcm: .*{message}"):
        read_radiograph(tmp_path / "a.dcm", any_body_part=False)


HIGH_THROUGHPUT = (
    b"|4;u>04YEK0000G0000O00000000000000G0000O0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdTmwh=~7W0"
    b"2crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00001JOBazlfVEb>HGx;bO68r698KM0*7<}zyK3K01|-i>H!OM0P6q;bO68r6;J>LL;wLO0%6+#`U99k"
    b"wE#k`+5lreH30huJhTA702Z780ct=17Jx{=T37^10RuqoLmi(uxCJ(u0K$MIp9Mh662SdH2tc-Pq4brS03Zqh2BbP1GysxXu-xgm0Kfn)$^Zd(FaQg%"
    b")dWN)VH*Gt;S)lzM}#K;(FF3000+d12>oL1**|1HvD<~&gsT+LuZdR^Un@O*=m8NU2v9aI3l=5`Kx+WVFd-3~0<};EW`GK*KmzArApzJS2mqTljqNRA"
    b")E6-EWx5trD)jQ3k6Zzp=BP;ID5at-TGFL$lRTXn2}?{V{wce9|8^E!k^8rK<X!zbhTE!suJRxIq*?+0*#<"
)
"""A ramp in high-throughput JPEG 2000, without losses, of OpenJPH, in base 85: no package that tests have writes it."""


@pytest.mark.parametrize("uid", ["201", "202", "203"])
def test_high_throughput_jpeg_2000_gives_the_pixels(uid: str, tmp_path: Path) -> None:
    y, x = np.mgrid[:24, :16]
    ramp = (40 * y + 13 * x + (x * y) % 7).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", ramp, WindowCenter=None, WindowWidth=None)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([base64.b85decode(HIGH_THROUGHPUT)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{uid}"
    dataset.save_as(path)
    assert np.array_equal(read_radiograph(path), ramp)


def test_a_table_shorter_than_it_says(tmp_path: Path) -> None:
    sequence = table(np.arange(10))
    sequence[0].LUTDescriptor = [4096, 0, 16]
    write_dicom(tmp_path / "a.dcm", picture(), VOILUTSequence=sequence)
    with pytest.raises(UnreadableImageError, match="a table of 10 entries; its header says 4096"):
        read_radiograph(tmp_path / "a.dcm")


@pytest.mark.parametrize("coding", [*CODINGS, "explicit VR"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9, 0.99])
def test_a_file_cut_short_is_refused(coding: str, share: float, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.random.default_rng(0).integers(0, 4096, SHAPE, dtype=np.uint16))
    CODINGS.get(coding, lambda path: None)(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableImageError, match=r"a\.dcm: \S"):
        read_radiograph(path)


def refusal(read: Callable[[Path], Any], path: Path) -> str:
    """What is said of a file; nothing where it is read."""
    try:
        read(path)
    except UnreadableImageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["DX", "CR", "SC"])
def test_a_damaged_header_is_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_dicom(tmp_path / "a.dcm", picture(8)[:20, :20], kind)
    content = path.read_bytes()
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(132, len(content) - 400, rng.integers(1, 5)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        for read in (read_radiograph, image_size):
            message = refusal(read, path)
            assert "\n" not in message
            assert "Anna" not in message
            refused += bool(message)
    assert refused > 10


class TestBodyPart:
    @pytest.mark.parametrize(
        "part", ["HAND", "Wrist", "FINGER", "THUMB", "L HAND", "HAND_WRIST", "EXTREMITY", "UP_EXM", ""]
    )
    def test_taken(self, part: str) -> None:
        assert is_hand(part.upper())

    @pytest.mark.parametrize("part", ["CHEST", "FOOT", "ELBOW", "LOWER EXTREMITY", "KNEE", "TOE PHALANX", "FOREARM"])
    def test_refused(self, part: str) -> None:
        assert not is_hand(part)

    def test_missing_is_taken(self, tmp_path: Path) -> None:
        write_dicom(tmp_path / "a.dcm", picture(), BodyPartExamined=None, AnatomicRegionSequence=None)
        assert read_radiograph(tmp_path / "a.dcm", any_body_part=False).shape == SHAPE

    @pytest.mark.parametrize(("value", "scheme"), [("56459004", "SCT"), ("T-D9700", "SRT")])
    def test_the_code_of_a_region_counts_where_no_word_is_given(self, value: str, scheme: str, tmp_path: Path) -> None:
        region = Dataset()
        region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = value, scheme, "Fuß"
        write_dicom(tmp_path / "a.dcm", picture(), BodyPartExamined=None, AnatomicRegionSequence=Sequence([region]))
        with pytest.raises(UnreadableImageError, match="its header says 'FOOT'"):
            read_radiograph(tmp_path / "a.dcm", any_body_part=False)

    def test_one_that_is_taken_all_the_same_is_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        write_dicom(tmp_path / "a.dcm", picture(), BodyPartExamined="ELBOW")
        assert read_radiograph(tmp_path / "a.dcm").shape == SHAPE
        assert "its header says 'ELBOW', not a hand" in caplog.text


def test_nothing_that_is_said_names_the_patient(tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: Any) -> None:
    """Values that break the standard are what pydicom quotes."""
    caplog.set_level(logging.DEBUG)
    dataset = radiograph(picture(), BodyPartExamined="CHEST")
    with pytest.warns(UserWarning, match="Invalid value|exceeds the maximum"):
        dataset.PatientID, dataset.PatientBirthDate = "Anna" * 30, "Anna1980"
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    recwarn.clear()
    caplog.clear()
    read_radiograph(tmp_path / "a.dcm")
    assert "Anna" not in caplog.text + "".join(str(warning.message) for warning in recwarn)


@pytest.mark.parametrize(
    ("attributes", "spacing"),
    [
        ({}, 0.148),
        ({"PixelSpacing": [0.1, 0.1]}, 0.1),
        ({"PixelSpacing": [0.1, 0.2], "ImagerPixelSpacing": None}, None),
        ({"PixelSpacing": "", "ImagerPixelSpacing": None}, None),
        ({"ImagerPixelSpacing": [0, 0]}, None),
        ({"ImagerPixelSpacing": None}, None),
    ],
)
def test_spacing(attributes: dict[str, Any], spacing: float | None, tmp_path: Path) -> None:
    assert pixel_spacing(write_dicom(tmp_path / "a.dcm", picture(), **attributes)) == spacing


@pytest.fixture(scope="module")
def dicom_dataset(drawn_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn data set with DICOM in place of PNG; names without suffix, the last image without spacing."""
    root = Path(shutil.copytree(drawn_dataset, tmp_path_factory.mktemp("dicom") / "data"))
    paths = sorted((root / "train" / "DCM").rglob("*.png"))
    for path in paths:
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        missing = {"ImagerPixelSpacing": None} if path == paths[-1] else {}
        write_dicom(path.with_suffix(".dcm" if path != paths[0] else ""), pixels, **missing)
        path.unlink()
    return root


def test_a_dataset_of_dicom_is_checked_and_evaluated_in_millimetres(dicom_dataset: Path, tmp_path: Path) -> None:
    training_datalist(dicom_dataset, verify=True)
    names = [item["name"] for item in inference_datalist(dicom_dataset / "train" / "DCM")]
    write_csv(tmp_path / "p.csv", ((name, encode_planes(np.zeros((96, 72), np.int32))) for name in names))
    done = handseg("evaluate", tmp_path / "p.csv", "--truth", dicom_dataset, "--detail")
    assert done.returncode == 0, done.stderr
    assert "at 1 mm 0.0000 (of 9 images; the spacing of the others is not known)" in done.stdout
    detail = evaluate(tmp_path / "p.csv", dicom_dataset, progress=False, detail=True, spacing=0.2).detail
    assert detail is not None
    assert np.isfinite(detail.nsd_mm).all()


def test_inference_finds_the_same_on_dicom_as_on_png(drawn_dataset: Path, tmp_path: Path) -> None:
    """By the command line: 12 and 16 bits, MONOCHROME1, compressed; what fails is listed, exit code 1."""
    images = tmp_path / "images"
    images.mkdir()
    source = sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[0]
    pixels = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * np.uint16(16)
    cv2.imwrite(str(images / "a.png"), pixels)
    write_dicom(images / "b.dcm", pixels, BitsStored=12)
    write_dicom(images / "IM0001", pixels * np.uint16(16), "CR")
    write_dicom(images / "d.dcm", 4095 - pixels, "CR", BitsStored=12, PhotometricInterpretation="MONOCHROME1")
    CODINGS["JPEG 2000"](images / "d.dcm")
    write_dicom(images / "x_chest.dcm", pixels, BodyPartExamined="CHEST")
    write_dicom(images / "y_frames.dcm", pixels, NumberOfFrames=2)
    checkpoint = save_untrained(tmp_path / "model.pt", "dynunet")
    arguments = ["--config_file", str(CONFIGS / "inference.json"), "--checkpoint", str(checkpoint), *TINY]
    arguments += ["--dataset_dir", str(images), "--overlays", "true"]
    done = run_bundle(*arguments, "--output_dir", str(tmp_path / "out"))
    assert done.returncode == 1, done.stderr
    assert "2 of 6 images failed" in done.stderr
    assert "x_chest.dcm: its header says 'CHEST'" in done.stderr
    assert "y_frames.dcm: holds 2 frames" in done.stderr
    assert "Traceback" not in done.stderr
    found = read_csv(tmp_path / "out" / "submission.csv")
    assert list(found) == ["IM0001", "a.png", "b.dcm", "d.dcm"]
    assert any(found["a.png"])
    assert all(texts == found["a.png"] for texts in found.values())
    assert (tmp_path / "out" / "overlays" / "IM0001.jpg").is_file()

    again = run_bundle(*arguments, "--output_dir", str(tmp_path / "again"), "--any_body_part", "true")
    assert "1 of 6 images failed" in again.stderr
    assert (
        "x_chest.dcm: its header says 'CHEST', not a hand; accepted by --any_body_part" in again.stderr + again.stdout
    )
    assert read_csv(tmp_path / "again" / "submission.csv")["x_chest.dcm"] == found["a.png"]
