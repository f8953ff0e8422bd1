"""Text of DICOM files in any character set (PS3.5 6.1.2) -> Unicode.

pydicom looks for delimiters before it decodes and takes a byte of a kanji for one; and it reads bytes that no set of
the file explains as Latin. Here those become U+FFFD, and a caller can refuse them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from handseg_monai.data.reading.dicom import value_of

if TYPE_CHECKING:
    from pydicom import Dataset

UNKNOWN = "\ufffd"
_TEXTS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC"}
_WHOLE = {"192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}
"""Sets without escape sequences."""
_UPPER = {
    **{"100": "latin_1", "101": "iso8859_2", "109": "iso8859_3", "110": "iso8859_4", "144": "iso8859_5"},
    **{"127": "iso8859_6", "126": "iso8859_7", "138": "iso8859_8", "148": "iso8859_9", "203": "iso8859_15"},
    **{"166": "iso8859_11", "13": "shift_jis", "149": "euc_kr", "58": "gb2312"},
}
"""Sets of the upper half of a byte, by their ISO registry number."""
_WIDE = ("euc_kr", "gb2312")
"""Of these, the ones of two bytes a character."""
_TO_UPPER = {
    **{b"-A": "100", b"-B": "101", b"-C": "109", b"-D": "110", b"-L": "144", b"-G": "127", b"-F": "126"},
    **{b"-H": "138", b"-M": "148", b"-b": "203", b"-T": "166", b")I": "13", b"$)C": "149", b"$)A": "58"},
}
_TO_LOWER = {b"(B": "", b"(J": "", b"$B": "\x1b$B", b"$@": "\x1b$@", b"$(D": "\x1b$(D"}
"""The lower half: ASCII, or kanji of two bytes by the escape that Python's codec takes."""
_ESCAPE = re.compile(rb"\x1b(\$[()][ACD]|\$[B@]|[(][BJ]|[)]I|-[A-Za-z])")
_DELIMITERS = {"PN": b"\\^=\r\n\f\t"}


def to_unicode(dataset: Dataset, sets: Sequence[str] = ()) -> None:
    """Decode all texts of a data set that was just parsed, items of sequences too, and take its character set away.

    What can't be decoded becomes :data:`UNKNOWN`.
    """
    from pydicom import DataElement
    from pydicom.datadict import dictionary_VR

    said = value_of(dataset, "SpecificCharacterSet")
    own = sets if said is None else [said] if isinstance(said, str) else [str(one) for one in said]
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        try:
            kind = element.VR or dictionary_VR(tag)
        except KeyError:
            continue
        if kind == "SQ":
            for item in dataset[tag].value or ():
                to_unicode(item, own)
        elif kind in _TEXTS and isinstance(element.value, bytes):
            dataset[tag] = DataElement(tag, kind, decode_text(element.value, own, kind))
    dataset.pop("SpecificCharacterSet", None)


def decode_text(value: bytes, sets: Sequence[str], kind: str = "LO") -> str:
    """Decode the bytes of an element.

    Parameters
    ----------
    value
        As stored.
    sets
        Values of *Specific Character Set*.
    kind
        Value representation, which says what ends the effect of an escape sequence.

    Returns
    -------
    text
        Without padding; :data:`UNKNOWN` for each byte that no set explains.
    """
    numbers = [_number(name) for name in sets]
    whole = next((_WHOLE[number] for number in numbers if number in _WHOLE), None)
    if whole:
        return value.decode(whole, "replace").rstrip(" \0")
    declared = {_UPPER[number] for number in numbers if number in _UPPER}
    # Where one set alone can be meant, a missing escape sequence takes nothing away.
    first = _UPPER.get(numbers[0] if numbers else "") or (declared.pop() if len(declared) == 1 else "")
    return _by_escapes(value, first, _DELIMITERS.get(kind, b"\\\r\n\f\t")).rstrip(" \0")


def _number(name: str) -> str:
    """Registry number, or name, of a set, however it is spelled."""
    found = re.fullmatch(r"ISO[ _-]?(?:2022[ _-]?)?(?:IR[ _-]?)?(\d+|GBK)", name.strip().upper())
    return found[1] if found else name.strip().upper().replace("UTF-8", "192")


def _by_escapes(value: bytes, first: str, delimiters: bytes) -> str:
    text, at, lower, upper = "", 0, "", first
    while at < len(value):
        if escape := _ESCAPE.match(value, at):
            at = escape.end()
            if (code := escape[1]) in _TO_LOWER:
                lower = _TO_LOWER[code]
            else:
                upper = _UPPER.get(_TO_UPPER.get(code, ""), "")
            continue
        byte = value[at]
        high = byte >= 0x80
        wide = upper in _WIDE if high else bool(lower) and byte > 0x20
        part = value[at : at + 1 + wide]
        at += len(part)
        if high:
            text += _decoded(part, upper)
        elif wide:
            text += _decoded(lower.encode() + part + b"\x1b(B", "iso2022_jp_2")
        else:
            text += UNKNOWN if byte == 0x1B else chr(byte)
            if byte in delimiters:
                lower, upper = "", first
    return text


def _decoded(part: bytes, encoding: str) -> str:
    try:
        return part.decode(encoding) if encoding else UNKNOWN * len(part)
    except UnicodeDecodeError:
        return UNKNOWN
