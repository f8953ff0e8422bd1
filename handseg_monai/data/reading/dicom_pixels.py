"""The grey values of a radiograph in DICOM, as its viewer shows them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handseg_monai.data.reading.dicom import RADIOGRAPHS, body_part, is_hand, read_header, reason, value_of

if TYPE_CHECKING:
    from pydicom import Dataset

logger = logging.getLogger(__name__)

_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_ROUNDING = 1e-6
_MAY_BE_EMPTY = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction")


def read_dicom(path: str | Path, any_body_part: bool = True) -> np.ndarray:
    """Read a radiograph from DICOM as it is meant to be shown, bright bones on dark.

    The stored values go through the file's own modality LUT or rescale, then its first VOI LUT, or else its first
    window; *Presentation LUT Shape* ``INVERSE``, or without it MONOCHROME1, turns them round; padding becomes the
    darkest value.

    Parameters
    ----------
    path
        CR, DX or SC of one frame, in any transfer syntax that pydicom and its plugins decode.
    any_body_part
        Take an image that says to show another part of the body than the hand, and log that.

    Returns
    -------
    pixels
        (H, W), or (H, W, 3) in blue, green, red where the file holds colours: uint8 of files of 8 bits without a
        table, else uint16 where all values are whole and fit, else float32.

    Raises
    ------
    ValueError
        See :func:`~handseg_monai.data.reading.dicom.read_header`; or no pixel data, pixels that can't be decoded, or
        another part of the body.
    """
    _check_body_part(path, read_header(path), any_body_part)
    from pydicom import dcmread

    try:
        dataset = dcmread(path)
    except Exception as error:  # whatever a damaged file makes of the parser
        raise ValueError(f"damaged, or cut short ({reason(error)})") from error
    if "PixelData" not in dataset:
        raise ValueError("holds no pixel data, or is cut short before it")
    if RADIOGRAPHS.get(str(value_of(dataset, "SOPClassUID"))) == "DX for processing":
        logger.warning("%s: a DX image for processing; its raw detector values may not look like a radiograph", path)
    try:
        return _shown(_stored(path, dataset), dataset)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # whatever damaged pixels make of a decoder; a panic of Rust is no Exception
        raise ValueError(f"pixels can't be decoded ({reason(error)})") from error


def _check_body_part(path: str | Path, header: Dataset, any_body_part: bool) -> None:
    part = body_part(header)
    if is_hand(part):
        return
    if not any_body_part:
        raise ValueError(f"its header says {part[:40]!r}; expected a hand or wrist; --any_body_part true accepts it")
    logger.warning("%s: its header says %r, not a hand; accepted by --any_body_part true", path, part[:40])


def _stored(path: str | Path, dataset: Dataset) -> np.ndarray:
    from pydicom.pixels import pixel_array

    if dataset.file_meta.TransferSyntaxUID == _JPEG_EXTENDED and dataset.BitsStored > 8:
        return _by_gdcm(path, dataset)
    return pixel_array(dataset)


def _by_gdcm(path: str | Path, dataset: Dataset) -> np.ndarray:
    """JPEG of 12 bits with losses, which pydicom's plugins all refuse."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise ValueError("JPEG data are damaged")
    pixels = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(pixels, np.uint16).reshape(dataset.Rows, dataset.Columns)


def _shown(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut

    for keyword in _MAY_BE_EMPTY:
        if value_of(dataset, keyword) is None:
            dataset.pop(keyword, None)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim == 3:
        return np.ascontiguousarray(stored[..., ::-1])
    shown = _windowed(_rescaled(stored, dataset), dataset)
    if _is_inverse(dataset):
        wide = shown.astype(np.int32) if shown.dtype.kind == "i" else shown
        shown = wide.max() - wide + wide.min()
    padding = _padding(stored, dataset)
    if padding.any() and not padding.all():
        shown = np.where(padding, shown[~padding].min(), shown)
    return _compact(shown, stored.dtype)


def _rescaled(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    if table := dataset.get("ModalityLUTSequence"):
        return _looked_up(stored, table[0])
    if "RescaleSlope" not in dataset or "RescaleIntercept" not in dataset:
        return stored
    slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    return stored if (slope, intercept) == (1, 0) else stored * slope + intercept


def _windowed(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    from pydicom.pixels.processing import apply_windowing

    if table := dataset.get("VOILUTSequence"):
        return _looked_up(values, table[0])
    if "WindowCenter" in dataset and "WindowWidth" in dataset:
        return apply_windowing(values, dataset)
    return values


def _looked_up(values: np.ndarray, item: Dataset) -> np.ndarray:
    """Look values up in a table: the first entry stands for all below, the last for all above.

    pydicom's own function takes indices modulo 256 where entries have 8 bits.
    """
    count, first = int(item.LUTDescriptor[0]) or 2**16, int(item.LUTDescriptor[1])
    entries = item.LUTData
    if isinstance(entries, bytes):
        wide = int(item.LUTDescriptor[2]) > 8 or len(entries) >= 2 * count
        order = "<" if item.is_little_endian is not False else ">"
        entries = np.frombuffer(entries, f"{order}u2" if wide else np.uint8)
    table = np.atleast_1d(np.asarray(entries, np.uint16))[:count]
    if len(table) < count:
        raise ValueError(f"a table of {len(table)} entries; its header says {count}")
    places = np.rint(values).astype(np.int64) if values.dtype.kind == "f" else values.astype(np.int64)
    return table[np.clip(places - first, 0, count - 1)]


def _is_inverse(dataset: Dataset) -> bool:
    if shape := dataset.get("PresentationLUTShape"):
        return bool(shape == "INVERSE")
    return bool(dataset.PhotometricInterpretation == "MONOCHROME1")


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Bool (H, W): pixels that the detector has not measured."""
    value = dataset.get("PixelPaddingValue")
    if value is None or value == "":
        return np.zeros(stored.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit in (None, "") else limit)))
    return (stored >= low) & (stored <= high)


def _compact(values: np.ndarray, stored: np.dtype) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite")
    if values.dtype.kind == "f" and np.abs(values - (whole := np.rint(values))).max() < _ROUNDING:
        values = whole
    low, high = values.min(), values.max()
    if low < 0 or high > 65535 or (values.dtype.kind == "f" and (values != np.rint(values)).any()):
        return values.astype(np.float32)
    return values.astype(np.uint8 if stored == np.uint8 and high <= 255 else np.uint16)
