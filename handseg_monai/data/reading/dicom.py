"""Radiographs in DICOM files: the kinds that the project reads, and their size and spacing from the header.

A message never quotes what a file says of its patient.
"""

from __future__ import annotations

import logging
import re
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.stored import require_pixels

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES = (".dcm", ".dicom", ".dcm30", ".ima")
RADIOGRAPHS = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX for processing",
    "1.2.840.10008.5.1.4.1.1.7": "SC",
    "1.2.840.10008.5.1.4.1.1.7.2": "SC of bytes",
    "1.2.840.10008.5.1.4.1.1.7.3": "SC of words",
    "1.2.840.10008.5.1.4.1.1.7.4": "SC of colours",
}
"""Storage classes that the project reads, by UID."""
MISSING = "a DICOM file; reading it takes more packages: pip install 'handseg-monai[dicom]'"
_UNMARKED = re.compile(rb"[\x02\x08]\0[\0\1\5\x08\x12\x16]\0(UL|OB|CS|UI|DA|TM|[\0-@]\0\0\0)", re.DOTALL)
"""First element of a file without preamble and mark: of the file's meta information, or of its group 8."""
_MARK, _MARK_AT = b"DICM", 128
_DEFLATED = "1.2.840.10008.1.2.1.99"
_LARGEST = 2**28
"""Bytes of a deflated file at most; it is inflated in one go."""
_HEADER = 2**24
_HAND = re.compile(r"HAND|WRIST|FINGER|THUMB|CARP|PHALAN")
_MAY_BE = re.compile(r"EXTREMIT|UPPER.?LIMB|UP_?EX")
_OTHER = re.compile(r"LOW|FOOT|TOE|LEG|PELVI")


class DicomError(ValueError):
    """A file that is not read, and why in words of DICOM; never with a value that may be a patient's."""


@dataclass(frozen=True)
class Stated:
    """What a header says of its pixels."""

    rows: int
    columns: int
    samples: int
    allocated: int
    """Bits that a sample takes in native pixel data."""
    stored: int
    """Bits of a sample that mean something, the lowest."""
    signed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns), and 3 where there are as many samples."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def least(self) -> int:
        """Least value that the bits stored can hold."""
        return -(1 << self.stored - 1) if self.signed else 0

    @property
    def greatest(self) -> int:
        """Greatest value that the bits stored can hold."""
        return (1 << self.stored - self.signed) - 1


def is_dicom(path: str | Path) -> bool:
    """Whether a file carries the mark of DICOM files."""
    try:
        with Path(path).open("rb") as file:
            return has_mark(file.read(_MARK_AT + len(_MARK)))
    except OSError:
        return False


def has_mark(start: bytes) -> bool:
    """Whether a file whose first 132 bytes these are carries the mark of DICOM files."""
    return start[_MARK_AT : _MARK_AT + len(_MARK)] == _MARK


def begins_unmarked(start: bytes) -> bool:
    """Whether a file begins as a data set of DICOM does whose preamble and mark are missing."""
    return _UNMARKED.match(start) is not None


def require_dicom() -> None:
    """Raise ``ValueError``, which says what to install, where the packages that read DICOM are not there."""
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise ValueError(MISSING) from error
    # pydicom quotes values that break the standard, which may be a patient's.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")


def read_header(path: str | Path, max_pixels: int = MAX_PIXELS) -> Dataset:
    """Read all of a file but its pixels, and make sure that it is one radiograph of at most so many pixels.

    Raises
    ------
    ValueError
        pydicom is not installed; or the file is not DICOM, is damaged, is no CR, DX or SC, holds several frames, or
        pixels in a form or number that is not read.
    """
    require_dicom()
    if not is_dicom(path):
        raise DicomError("not a DICOM file: no DICM after the first 128 bytes")
    dataset = parse(path, max_pixels, stop_before_pixels=True)
    _check(dataset, max_pixels)
    return dataset


def parse(path: str | Path, max_pixels: int = MAX_PIXELS, stop_before_pixels: bool = False) -> Dataset:
    """Parse a file that carries the mark of DICOM; :class:`DicomError` where it is damaged, or inflates to too much."""
    from pydicom import dcmread

    try:
        _refuse_bomb(Path(path), min(_LARGEST, 8 * max_pixels + _HEADER))
        return dcmread(path, stop_before_pixels=stop_before_pixels)
    except (DicomError, OSError) as error:
        if isinstance(error, DicomError) or error.errno is not None:
            raise
        raise DicomError("damaged, or cut short") from None
    except Exception:  # whatever a damaged file makes of the parser
        raise DicomError("damaged, or cut short") from None


def dicom_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) of a radiograph in pixels; raises as :func:`read_header`."""
    header = read_header(path, max_pixels)
    return int(header.Rows), int(header.Columns)


def stated(header: Dataset) -> Stated:
    """Say what a header that was checked tells of its pixels."""
    allocated = _whole(header, "BitsAllocated", 16)
    return Stated(
        _whole(header, "Rows"),
        _whole(header, "Columns"),
        _whole(header, "SamplesPerPixel", 1),
        allocated,
        _whole(header, "BitsStored", allocated),
        bool(_whole(header, "PixelRepresentation", 0)),
    )


def pixel_spacing(path: str | Path) -> float | None:
    """Millimetres a pixel: *Pixel Spacing*, which may be calibrated, else *Imager Pixel Spacing*, at the detector.

    None where neither is stated, where pixels are not square, and of files that are not DICOM. Raises as
    :func:`read_header`.
    """
    if not is_dicom(path):
        return None
    header = read_header(path)
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            rows, columns = (float(value) for value in value_of(header, keyword) or ())
        except (TypeError, ValueError):
            continue
        if 0 < rows < 10 and abs(rows - columns) <= 0.01 * rows:
            return (rows + columns) / 2
    return None


def body_part(dataset: Dataset) -> str:
    """What a file says to show: *Body Part Examined*, else its *Anatomic Region*; empty where it does not tell."""
    if part := str(value_of(dataset, "BodyPartExamined") or "").strip().upper():
        return part
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    regions = codes.cid4031
    for item in value_of(dataset, "AnatomicRegionSequence") or ():
        said = Code(str(value_of(item, "CodeValue")), str(value_of(item, "CodingSchemeDesignator")), "")
        for keyword in regions.dir():
            if getattr(regions, keyword) == said:
                return keyword.upper()
    return ""


def is_hand(part: str) -> bool:
    """Whether a body part is the hand, a part of it, or one that may hold it; also where it is empty."""
    return not part or names_hand(part) or (bool(_MAY_BE.search(part)) and not _OTHER.search(part))


def names_hand(part: str) -> bool:
    """Whether a body part is the hand or a part of it."""
    return bool(_HAND.search(part)) and not _OTHER.search(part)


def value_of(dataset: Dataset, keyword: str) -> Any:
    """Value of an attribute, None where it is missing or empty; :class:`DicomError` where it can't be parsed."""
    try:
        value = dataset.get(keyword)
    except Exception:  # whatever damaged bytes make of the parser
        raise DicomError(f"{keyword} can't be read: its bytes are damaged") from None
    return None if isinstance(value, str) and not value.strip(" \0") else value


def name_of(uid: Any, otherwise: str) -> str:
    """Name of a UID by the standard, the UID itself where that has none, or something else where it is no UID."""
    if not isinstance(uid, str) or not re.fullmatch(r"[0-9.]{1,64}", uid):
        return otherwise
    return " ".join(str(getattr(uid, "name", uid)).split())[:80]


def _check(dataset: Dataset, max_pixels: int) -> None:
    uid = value_of(dataset, "SOPClassUID") or value_of(dataset.file_meta, "MediaStorageSOPClassUID")
    if str(uid) not in RADIOGRAPHS:
        raise DicomError(f"{name_of(uid, 'no SOP class that is known')}: not a radiograph; expected CR, DX or SC")
    if (frames := _whole(dataset, "NumberOfFrames", 1)) != 1:
        raise DicomError(f"holds {frames} frames; expected one")
    require_pixels((_whole(dataset, "Rows"), _whole(dataset, "Columns")), max_pixels)
    samples, bits = _whole(dataset, "SamplesPerPixel", 1), _whole(dataset, "BitsAllocated", 16)
    if bits not in (8, 16) or samples not in (1, 3):
        raise DicomError(f"pixels of {samples} samples of {bits} bits; expected 1 or 3 of 8 or 16")
    stored = _whole(dataset, "BitsStored", bits)
    highest = _whole(dataset, "HighBit", stored - 1)
    if stored > bits or highest != stored - 1:
        raise DicomError(f"{stored} bits stored of {bits}, the highest is bit {highest}")
    if (signed := _whole(dataset, "PixelRepresentation", 0)) > 1:
        raise DicomError(f"PixelRepresentation is {signed}; expected 0, unsigned, or 1, signed")


def _whole(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    value = value_of(dataset, keyword)
    if value is None:
        value = default
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DicomError(f"{keyword} is {'missing' if value is None else 'not a number'}") from error
    if number < (0 if keyword in ("HighBit", "PixelRepresentation") else 1):
        raise DicomError(f"{keyword} is {number}")
    return number


def _refuse_bomb(path: Path, largest: int) -> None:
    """A deflated file is inflated in one go; look first how large it becomes."""
    from pydicom.filereader import read_file_meta_info

    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != _DEFLATED:
        return
    with path.open("rb") as file:
        file.seek(_MARK_AT + len(_MARK) + 12 + int(meta.FileMetaInformationGroupLength))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(file.read(), largest)
    if inflater.unconsumed_tail:
        raise DicomError(f"damaged, or no radiograph: inflates to more than {largest >> 20} MiB")
    if not inflater.eof:
        raise DicomError("damaged, or cut short: its deflated part has no end")
