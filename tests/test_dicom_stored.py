"""What DICOM stores is read as its header means it, whatever its form, and what is odd is said."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handseg_monai.data.reading.images import read_radiograph
from tests.dicom_streams import (
    COLOURS,
    EXTENDED,
    FINE,
    GREY,
    J2K,
    JPEG,
    JPEG_LS,
    LOSSLESS,
    LUMINANCE,
    RAMP,
    WIDE,
    WINDOW,
    as_signed,
    big_endian,
    coloured,
    dataset,
    in_fragments,
    j2k,
    jls,
    jpeg,
    overlaid,
    overlay_above_signed,
    padded_above_the_bits,
    padded_signed_in_us,
    palette,
    planar_rgb,
    raw_table,
    rle_overlaid,
    rle_padded,
    save,
    signed,
    text_of,
    with_table,
    without_jfif,
    ybr,
)
from tests.dicoms import radiograph
from tests.test_dicom import NO_WINDOW, picture

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
    "padding of signed pixels as US": (padded_signed_in_us, np.maximum(FINE, FINE[FINE >= 600].min()), 0, ""),
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
        "VOI LUT leaves no greys; ignored",
    ),
    "a modality LUT of one grey": (
        lambda p: save(dataset(ModalityLUTSequence=raw_table(0, data=bytes(8192))), p),
        FINE,
        0,
        "modality LUT leaves no greys; ignored",
    ),
    "slope 0": (
        lambda p: save(dataset(RescaleSlope=0, RescaleIntercept=7), p),
        FINE,
        0,
        "slope 0 and intercept 7 is invalid",
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
            f"width {width} is invalid; ignored",
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
        "center that is not a number and width 4096 is invalid",
    ),
    "window that is not a number": (
        lambda p: text_of("WindowWidth", "NaN ", p, WindowCenter=2048),
        FINE,
        0,
        "width that is not a number is invalid",
    ),
    "window beyond all pixels": (
        lambda p: save(dataset(WindowCenter=40000, WindowWidth=100), p),
        FINE,
        0,
        "center 40000 and width 100 leaves no greys; ignored",
    ),
    "two windows, the first of no width": (
        lambda p: save(dataset(WindowCenter=[100, 2048], WindowWidth=[0, 4096]), p),
        FINE,
        2,
        "center 100 and width 0 is invalid",
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
    "RLE padded by 4 zeros": (rle_padded(4), FINE, 0, ""),
    "RLE padded by 300 zeros": (rle_padded(300), FINE, 0, ""),
    "pixels half as high as wide": (
        lambda p: save(dataset(PixelAspectRatio=[1, 2]), p),
        FINE,
        0,
        "its Pixel Aspect Ratio is 1 down, 2 across: not square pixels, read as stored, unstretched",
    ),
    "spacing that differs by 2 %": (
        lambda p: save(dataset(PixelSpacing=None, ImagerPixelSpacing=[0.1, 0.102]), p),
        FINE,
        0,
        "its Imager Pixel Spacing is 0.1 down, 0.102 across",
    ),
    "spacing that differs by 0.5 %": (lambda p: save(dataset(PixelSpacing=[0.2, 0.201]), p), FINE, 0, ""),
    "a few bytes after the pixels": (lambda p: save(dataset(), p, FINE.tobytes() + bytes(6)), FINE, 0, "6 bytes after"),
}


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
