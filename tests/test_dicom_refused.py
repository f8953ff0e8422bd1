"""DICOM that contradicts itself, or is damaged, is refused in words of DICOM."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from handseg_monai.data.reading.contrast import require_contrast
from handseg_monai.data.reading.dicom import dicom_size
from handseg_monai.data.reading.dicom_pixels import read_dicom
from handseg_monai.data.reading.images import UnreadableImageError, read_radiograph
from tests.dicom_streams import (
    COLOURS,
    FINE,
    GREY,
    J2K,
    JPEG,
    JPEG_LS,
    WINDOW,
    changed,
    coloured,
    dataset,
    deflated_and_cut,
    empty_items,
    j2k,
    jls,
    jpeg,
    lossless,
    native_called,
    palette,
    raw_table,
    rle_of,
    save,
    signed,
    sized,
    two_frames,
    with_shape,
    with_table,
    without,
)
from tests.dicoms import radiograph
from tests.test_dicom import SHAPE

ROWS, COLUMNS = SHAPE


def in_segments(path: Path) -> None:
    made = changed(dataset(GREY, 8), PhotometricInterpretation="PALETTE COLOR")
    for name in (f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")):
        made.add_new(f"{name}Descriptor", "US", [256, 0, 16])
        made.add_new(f"Segmented{name}Data", "OW", np.array([0, 256, *range(256)], np.uint16).tobytes())
    save(made, path)


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
    "14000 x 14000 pixels in a few thousand bytes": (
        lambda p: save(with_shape(dataset(), 14000, 14000), p, sized(j2k(FINE, 12), 14000, 14000), J2K),
        "a codestream of [0-9]+ bytes holds no 14000 x 14000 pixels",
    ),
    "huge header and codestream": (
        lambda p: save(with_shape(dataset(), 60000, 60000), p, sized(j2k(FINE, 12), 60000, 60000), J2K),
        "60000 x 60000 pixels are more than 200000000, .* raise --max_pixels",
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
    "a codestream without a sign, of fewer bits than the signed ones of the header": (
        lambda p: save(signed(16), p, jls(FINE), JPEG_LS),
        "values go beyond the 16 bits, signed, of the header",
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
    "a palette in segments": (in_segments, "the palette is in segments .*; expected a whole table"),
    "deflated and cut": (deflated_and_cut, "damaged, or cut short: its deflated part has no end"),
}


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
        with pytest.raises(ValueError, match="70 x 90 pixels are more than 6299"):
            read(tmp_path / "a.dcm", max_pixels=6299)
    assert dicom_size(tmp_path / "a.dcm", max_pixels=6300) == SHAPE


def test_contrast_is_two_values() -> None:
    require_contrast(np.array([[0, 0], [0, 1]], np.uint8))
    with pytest.raises(ValueError, match="all pixels have the same value"):
        require_contrast(np.full((4, 4), 9, np.uint16))
