"""The grey values of a radiograph in DICOM, as its viewer shows them."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.contrast import require_contrast
from handseg_monai.data.reading.dicom import (
    RADIOGRAPHS,
    DicomError,
    Stated,
    body_part,
    is_hand,
    name_of,
    parse,
    read_header,
    stated,
    value_of,
)
from handseg_monai.data.reading.dicom_codestream import COMPRESSED, Samples, decode
from handseg_monai.data.reading.dicom_grey import Grey, Say, numbers_of, read_table, rescaled, windowed

if TYPE_CHECKING:
    from pydicom import Dataset

logger = logging.getLogger(__name__)

_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"}
_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT")
_HALVED = ("YBR_FULL_422", "YBR_PARTIAL_422")
_LUMINANCE = ("YBR_FULL", *_HALVED)
_PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
_ITEM = b"\xfe\xff\x00\xe0"
_SQUARE = 1.01
"""Sides of a pixel, one by the other, up to which it counts as square."""
_ROUNDING, _LEAST = 1e-6, 1e-30


def read_dicom(path: str | Path, any_body_part: bool = True, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a radiograph from DICOM as it is meant to be shown, bright bones on dark.

    The stored values go through the file's own modality LUT or rescale, then its first VOI LUT, or else its first
    window; MONOCHROME1, and *Presentation LUT Shape* ``INVERSE``, turn them round; padding becomes the darkest value.
    What of these can't be is passed over, and the log says so. So it does where pixels are not square; they stay as
    stored.

    Parameters
    ----------
    path
        CR, DX or SC of one frame; native, RLE, JPEG, JPEG-LS or JPEG 2000.
    any_body_part
        Take an image that says to show another part of the body than the hand, and log that.
    max_pixels
        Most pixels that are read.

    Returns
    -------
    pixels
        (H, W), or (H, W, 3) in blue, green, red where the file holds colours: uint8 of files of 8 bits without a
        table, else uint16 where all values are whole and fit, else float32.

    Raises
    ------
    ValueError
        See :func:`~handseg_monai.data.reading.dicom.read_header`; or no pixel data, pixels that can't be decoded, that
        contradict the header or are all the same, or another part of the body.
    """
    _check_body_part(path, read_header(path, max_pixels), any_body_part)
    dataset = parse(path, max_pixels)
    if "PixelData" not in dataset:
        raise DicomError("holds no pixel data, or is cut short before it")

    def say(remark: str) -> None:
        logger.warning("%s: %s", path, remark)

    if RADIOGRAPHS.get(str(value_of(dataset, "SOPClassUID"))) == "DX for processing":
        say("a DX image for processing; its raw detector values may not look like a radiograph")
    _say_not_square(dataset, say)
    try:
        pixels = _shown(dataset, say)
    except DicomError as error:
        raise DicomError(f"pixels can't be decoded: {error}") from error
    except MemoryError:
        raise DicomError("pixels can't be decoded: they take more memory than there is") from None
    except Exception:  # whatever damaged attributes make of the steps above
        raise DicomError("pixels can't be decoded: the attributes that describe them are damaged") from None
    require_contrast(pixels)
    return pixels


def _say_not_square(dataset: Dataset, say: Say) -> None:
    for keyword in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        sides = numbers_of(dataset, keyword)
        if len(sides) == 2 and min(sides) > 0 and max(sides) > _SQUARE * min(sides):
            name = re.sub("(?<=[a-z])(?=[A-Z])", " ", keyword)
            say(f"its {name} is {sides[0]:g} down, {sides[1]:g} across: not square pixels, read as stored, unstretched")
            return


def _check_body_part(path: str | Path, header: Dataset, any_body_part: bool) -> None:
    part = body_part(header)
    if is_hand(part):
        return
    if not any_body_part:
        accepts = "--any_body_part accepts it (in inference: --any_body_part true)"
        raise DicomError(f"its header says {part[:40]!r}; expected a hand or wrist; {accepts}")
    logger.warning("%s: its header says %r, not a hand; accepted by --any_body_part", path, part[:40])


def _shown(dataset: Dataset, say: Say) -> np.ndarray:
    header, photometric = stated(dataset), _photometric(dataset)
    samples = _samples(dataset, header, photometric, say)
    own, values = _values(samples, header, say)
    if photometric == "PALETTE COLOR":
        source = Grey(values, header.least, header.greatest)
        tables = [read_table(dataset, source, "palette", say, colour) for colour in ("Blue", "Green", "Red")]
        return _compact(np.stack([table.look_up(values) for table in tables], axis=-1), header)
    if values.ndim == 3:
        if samples.colours == "YBR" or (not samples.colours and photometric in _LUMINANCE):
            return _compact(np.ascontiguousarray(values[..., 0]), header)
        return _compact(np.ascontiguousarray(values[..., ::-1]), header)
    grey = rescaled(Grey(values, header.least, header.greatest), dataset, say)
    shown = windowed(grey, dataset, say)
    if _is_inverse(dataset, photometric, say):
        wide = shown.astype(np.int32) if shown.dtype.kind in "iu" else shown
        shown = wide.max() - wide + wide.min()
    if header.samples == 1:
        padding = _padding(own, values, dataset, header, say)
        if padding.any():
            shown = np.where(padding, shown[~padding].min(), shown)
    return _compact(shown, header)


def _photometric(dataset: Dataset) -> str:
    said = str(value_of(dataset, "PhotometricInterpretation") or "").strip(" \0").upper()
    samples = stated(dataset).samples
    if said not in (expected := _GREY if samples == 1 else _COLOURS):
        found = said if said in _GREY + _COLOURS else "of another kind" if said else "missing"
        raise DicomError(
            f"Photometric Interpretation is {found}; samples per pixel, {samples}, ask for {', '.join(expected)}"
        )
    return said


def _samples(dataset: Dataset, header: Stated, photometric: str, say: Say) -> Samples:
    """Decode the pixel data, or read native ones."""
    data = bytes(dataset.PixelData or b"")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax in COMPRESSED:
        samples, remark = decode(data, syntax, header)
        if remark:
            say(remark)
        return samples
    if syntax is not None and syntax not in _NATIVE:
        name = name_of(syntax, "that it names")
        raise DicomError(f"the transfer syntax {name} is not read; convert the file to JPEG 2000 or native")
    if data.startswith(_ITEM) and len(data) != _native_length(header, photometric):
        raise DicomError("the pixel data are compressed, the transfer syntax is a native one")
    return Samples(_native(data, dataset, header, photometric, say), header.allocated, None, "")


def _native_length(header: Stated, photometric: str) -> int:
    samples = 2 if photometric in _HALVED else header.samples
    return header.rows * header.columns * samples * header.allocated // 8


def _native(data: bytes, dataset: Dataset, header: Stated, photometric: str, say: Say) -> np.ndarray:
    expected = _native_length(header, photometric)
    # Less than that can't come of a row or column that the header miscounts.
    excess, line = len(data) - expected, min(header.rows, header.columns) * header.allocated // 8
    if excess < 0 or excess >= max(line, 2):
        raise DicomError(
            f"{len(data)} bytes of pixel data; {header.rows} rows x {header.columns} columns of {header.samples} "
            f"samples of {header.allocated} bits, {photometric}, take {expected}"
        )
    if excess > 1:
        say(f"{excess} bytes after the pixels are left out")
    big = dataset.original_encoding[1] is False
    if big and header.allocated == 8 and dataset["PixelData"].VR == "OW":
        data = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    values = np.frombuffer(data[:expected], f"{'>' if big else '<'}u{header.allocated // 8}")
    values = values.astype(values.dtype.newbyteorder("="))
    if photometric in _HALVED:  # two of Y, then one of each colour
        return values.reshape(-1, 4)[:, :2].reshape(header.rows, header.columns)
    if header.samples == 3 and _planar(dataset, say):
        return np.moveaxis(values.reshape(3, header.rows, header.columns), 0, -1)
    return values.reshape(header.shape)


def _planar(dataset: Dataset, say: Say) -> bool:
    said = numbers_of(dataset, "PlanarConfiguration")
    if said not in ([0], [1]):
        say("its Planar Configuration is not 0 or 1; 0, colour by pixel, is assumed")
    return said == [1]


def _values(samples: Samples, header: Stated, say: Say) -> tuple[np.ndarray, np.ndarray]:
    """Return samples as the pixel data alone tell them, and as the header does, by its bits stored and sign."""
    # Without a sign of its own a codestream has that of the header, at the highest bit stored, if it goes up to there.
    signed = (header.signed and samples.bits >= header.stored) if samples.signed is None else samples.signed
    own = _of_bits(samples.values, samples.bits, signed)
    values = _of_bits(samples.values, min(samples.bits, header.stored), header.signed)
    if header.allocated == 16:
        own, values = (array.astype(np.int16 if array.dtype.kind == "i" else np.uint16) for array in (own, values))
    if np.array_equal(own, values):
        return own, values
    # An overlay alone tears nothing; of two signs each tears something.
    if _torn(own, values) > (0.25 if signed == header.signed else 0.5):
        raise DicomError(
            f"the values go beyond the {header.stored} bits, {'signed' if header.signed else 'unsigned'}, of the header"
        )
    if signed != header.signed:
        say(f"its codestream calls its values {'' if signed else 'un'}signed; the header, which decides, does not")
    else:
        say(f"the bits above the {header.stored} stored hold something else, such as an overlay or padding; left out")
    return own, values


def _of_bits(values: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Take the lowest bits of whole numbers, with the highest of them as sign or without one."""
    wide = values.astype(np.int32) & ((1 << bits) - 1)
    if signed:
        wide -= (wide >> (bits - 1)) << bits
    kind = "i" if signed else "u"
    return wide.astype(f"{kind}{1 if bits <= 8 else 2}")


def _torn(own: np.ndarray, values: np.ndarray) -> float:
    """Of the steps between neighbours that two readings of a picture tell differently, the share smoother in ``own``.

    It is high where the bits that the other reading leaves out belong to the picture.
    """
    torn = total = 0
    for axis in (0, 1):
        own_step = np.abs(np.diff(own.astype(np.int32), axis=axis))
        step = np.abs(np.diff(values.astype(np.int32), axis=axis))
        torn += int(np.count_nonzero(own_step < step))
        total += int(np.count_nonzero(own_step != step))
    return torn / max(total, 1)


def _is_inverse(dataset: Dataset, photometric: str, say: Say) -> bool:
    inverse = photometric == "MONOCHROME1"
    shape = str(value_of(dataset, "PresentationLUTShape") or "").strip().upper()
    if inverse and shape not in ("", "INVERSE"):
        say(f"it is MONOCHROME1, which decides; its Presentation LUT Shape, {shape[:16]}, contradicts that")
    if not inverse and shape == "INVERSE":
        say("it is MONOCHROME2 with the Presentation LUT Shape INVERSE; turned round")
    return inverse or shape == "INVERSE"


def _padding(own: np.ndarray, values: np.ndarray, dataset: Dataset, header: Stated, say: Say) -> np.ndarray:
    """Bool (H, W): pixels that the detector has not measured."""
    none = np.zeros(values.shape, bool)
    stated_ends = [numbers_of(dataset, keyword)[:1] for keyword in _PADDING]
    ends = [_with_sign(number, header) for end in stated_ends for number in end if np.isfinite(number)]
    if not stated_ends[0] or not ends:
        return none
    low, high = min(ends), max(ends)
    # A value that the bits stored can't hold lies in all the bits.
    searched = values if header.least <= low and high <= header.greatest else own
    padding = (searched >= low) & (searched <= high)
    if padding.all():
        say("its Pixel Padding Value covers all pixels; ignored")
        return none
    return padding


def _with_sign(number: float, header: Stated) -> int:
    """Whole number with the sign that pixels have, which an element's type may state wrongly."""
    value = int(number)
    if value < 0 and not header.signed:
        return value + (1 << header.allocated)
    return value - (1 << header.allocated) if header.signed and value >= 1 << header.allocated - 1 else value


def _compact(values: np.ndarray, header: Stated) -> np.ndarray:
    if values.dtype.kind == "f" and np.abs(values - (whole := np.rint(values))).max() < _ROUNDING:
        values = whole
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535 or (values.dtype.kind == "f" and (values != np.rint(values)).any()):
        size, span = max(abs(low), abs(high)), high - low
        if size > 2**7 * span > 0 or not _LEAST < size < 1 / _LEAST:  # float32 holds no 16 bits of that
            values = (values - low) / (span or 1)
        return values.astype(np.float32)
    return values.astype(np.uint8 if header.allocated == 8 and high <= 255 else np.uint16)
