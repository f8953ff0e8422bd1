"""Stored values of a radiograph -> values as a viewer shows them: rescale, windows and lookup tables.

What can't be (a window of no width, a slope of 0, a table or window that leaves one grey of all) is passed over, and
the log says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from handseg_monai.data.reading.contrast import has_greys
from handseg_monai.data.reading.dicom import DicomError, value_of

if TYPE_CHECKING:
    from pydicom import Dataset

Say = Callable[[str], None]
"""Takes a remark for the log."""
_LINEAR, _EXACT, _SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"


@dataclass(frozen=True)
class Grey:
    """Values of a grey picture, (H, W), and the least and the greatest that it could hold."""

    values: np.ndarray
    low: float
    high: float


def rescaled(stored: Grey, dataset: Dataset, say: Say) -> Grey:
    """Apply the modality LUT, or else *Rescale Slope* and *Rescale Intercept*, where they can be."""
    for item in items_of(dataset, "ModalityLUTSequence")[:1]:
        table = read_table(item, stored, "modality LUT", say)
        values = table.look_up(stored.values)
        if _keeps_greys(stored.values, values):
            return Grey(values, 0, (1 << table.bits) - 1)
        say("its modality LUT leaves no greys; ignored")
        return stored
    slopes, intercepts = numbers_of(dataset, "RescaleSlope"), numbers_of(dataset, "RescaleIntercept")
    if not slopes and not intercepts:
        return stored
    if max(len(slopes), len(intercepts)) > 1:
        say("its rescale has several slopes or intercepts; the first is taken")
    slope, intercept = (slopes or [1.0])[0], (intercepts or [0.0])[0]
    ends = sorted((stored.low * slope + intercept, stored.high * slope + intercept))
    if not slope or not all(math.isfinite(end) for end in ends) or ends[0] == ends[1]:
        say(f"a rescale of slope {_named(slope)} and intercept {_named(intercept)} is invalid; ignored")
        return stored
    if (slope, intercept) == (1, 0):
        return stored
    return Grey(stored.values * slope + intercept, *ends)


def windowed(grey: Grey, dataset: Dataset, say: Say) -> np.ndarray:
    """Apply the first VOI LUT, or else the first window, that leaves greys; the values as they are without one."""
    for item in items_of(dataset, "VOILUTSequence"):
        values = read_table(item, grey, "VOI LUT", say).look_up(grey.values)
        if _keeps_greys(grey.values, values):
            return values
        say("its VOI LUT leaves no greys; ignored")
    function = _function(dataset, say)
    for center, width in _windows(dataset, say):
        if not (math.isfinite(center) and math.isfinite(width)) or width < (1 if function == _LINEAR else 1e-9):
            say(f"a window of center {_named(center)} and width {_named(width)} is invalid; ignored")
            continue
        values = _through_window(grey, function, center, width)
        if _keeps_greys(grey.values, values):
            return values
        say(f"a window of center {_named(center)} and width {_named(width)} leaves no greys; ignored")
    return grey.values


def _function(dataset: Dataset, say: Say) -> str:
    said = str(value_of(dataset, "VOILUTFunction") or _LINEAR).strip().upper()
    if said in (_LINEAR, _EXACT, _SIGMOID):
        return said
    say("its VOI LUT Function is none that DICOM defines; LINEAR is assumed")
    return _LINEAR


def _windows(dataset: Dataset, say: Say) -> Iterator[tuple[float, float]]:
    centers, widths = numbers_of(dataset, "WindowCenter"), numbers_of(dataset, "WindowWidth")
    if len(centers) != len(widths):
        say(f"{len(centers)} window centers, {len(widths)} window widths; those without a partner are passed over")
    return zip(centers, widths, strict=False)


def _through_window(grey: Grey, function: str, center: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1 and C.11.2.1.3; float64 from the least to the greatest value, rising."""
    values = grey.values.astype(np.float64)
    if function == _SIGMOID:
        share = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    else:
        if function == _LINEAR:
            center, width = center - 0.5, max(width - 1, 1e-9)
        share = np.clip((values - center) / width + 0.5, 0, 1)
    return share * (grey.high - grey.low) + grey.low


@dataclass(frozen=True)
class Table:
    """A lookup table: the first entry stands for all values below, the last for all above."""

    entries: np.ndarray
    first: int
    bits: int

    def look_up(self, values: np.ndarray) -> np.ndarray:
        """Map values, of any shape, to entries."""
        places = (np.rint(values) if values.dtype.kind == "f" else values).astype(np.int64)
        return self.entries[np.clip(places - self.first, 0, len(self.entries) - 1)]


def read_table(item: Dataset, source: Grey, name: str, say: Say, colour: str = "") -> Table:
    """Read a table of *LUT Descriptor* and *LUT Data*, or those of a palette's colour.

    Raises
    ------
    DicomError
        One of them is missing or damaged, or there are fewer entries than the descriptor says.
    """
    stem = f"{colour}PaletteColorLookupTable" if colour else "LUT"
    count, first, bits = _descriptor(item, f"{stem}Descriptor", name)
    entries = _entries(item, f"{stem}Data", count, bits, name, say)
    if len(entries) < count:
        raise DicomError(f"the {name}: a table of {len(entries)} entries; its header says {count}")
    first, said_otherwise = _with_sign(first, count, source)
    if said_otherwise:
        say(f"the first value of its {name} lies outside of what its pixels can be, but for its sign; that is changed")
    return Table(entries[:count], first, max(bits, int(entries[:count].max()).bit_length()))


def _descriptor(item: Dataset, keyword: str, name: str) -> tuple[int, int, int]:
    """Number of entries, first value mapped without a sign, and bits."""
    value = value_of(item, keyword)
    try:
        count, first, bits = (int(number) % 2**16 for number in value)
    except (TypeError, ValueError):
        raise DicomError(f"the {name}: its descriptor is missing, or not three whole numbers") from None
    if not 1 <= bits <= 16:
        raise DicomError(f"the {name}: entries of {bits} bits; expected 8 to 16")
    return count or 2**16, first, bits


def _entries(item: Dataset, keyword: str, count: int, bits: int, name: str, say: Say) -> np.ndarray:
    value = value_of(item, keyword)
    if value is None and "Palette" in keyword and f"Segmented{keyword}" in item:
        raise DicomError(f"the {name} is in segments (Segmented … Lookup Table Data); expected a whole table")
    if value is None:
        raise DicomError(f"the {name} holds no data")
    order = "<" if item.original_encoding[1] is not False else ">"
    if not isinstance(value, bytes):
        try:
            words = np.atleast_1d(np.asarray(value, np.int64) % 2**16).astype(f"{order}u2")
        except (TypeError, ValueError):
            raise DicomError(f"the {name}: its data are not numbers") from None
        value = words.tobytes()
    if len(value) >= 2 * count:
        return np.frombuffer(value[: 2 * count], f"{order}u2").astype(np.uint16)
    if bits > 8 and len(value) - count in (0, count % 2):
        say(f"the {name} holds entries of 8 bits; its header says {bits}")
    elif bits > 8:
        return np.frombuffer(value[: len(value) // 2 * 2], f"{order}u2").astype(np.uint16)
    # Two entries to a word.
    packed = np.frombuffer(value, np.uint8)
    if order == ">" and len(packed) % 2 == 0:
        packed = packed.reshape(-1, 2)[:, ::-1].ravel()
    return packed.astype(np.uint16)


def _with_sign(first: int, count: int, source: Grey) -> tuple[int, bool]:
    """Sign of the first value mapped, which an element's type may state wrongly (PS3.3 C.11.2.1.1).

    It goes by the values that its input can have: after the rescale, if there is one. The other sign is taken, and
    that is the second result, where only with it the table meets these values.
    """
    if first < 2**15:
        return first, False
    likely, other = (first - 2**16, first) if source.low < 0 else (first, first - 2**16)

    def meets(value: int) -> bool:
        return value <= source.high and value + count > source.low

    return (other, True) if meets(other) and not meets(likely) else (likely, False)


def numbers_of(dataset: Dataset, keyword: str) -> list[float]:
    """Return numbers of an attribute, NaN for each that is none; empty where it is missing or empty."""
    try:
        value: Any = value_of(dataset, keyword)
    except DicomError:
        return [math.nan]
    if value is None:
        return []
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    parts = value.split("\\") if isinstance(value, str) else value if isinstance(value, list | tuple) else None
    if parts is None:
        parts = list(value) if hasattr(value, "__iter__") and not isinstance(value, float) else [value]
    return [_number(part) for part in parts]


def _number(value: Any) -> float:
    try:
        return float(str(value).strip(" \0"))
    except ValueError:
        return math.nan


def items_of(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence; none where it is missing, empty or no sequence."""
    value = value_of(dataset, keyword)
    return [] if value is None or isinstance(value, str | bytes) else list(value)


def _keeps_greys(before: np.ndarray, after: np.ndarray) -> bool:
    return has_greys(after) or not has_greys(before)


def _named(number: float) -> str:
    return f"{number:g}" if math.isfinite(number) else "that is not a number"
