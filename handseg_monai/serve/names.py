"""Names of images as people give them: text that is shown and handed on, and never a path of the store."""

from __future__ import annotations

from collections.abc import Collection
from itertools import count

from handseg_monai.data.reading.images import without_suffix
from handseg_monai.files import plain_name

_LONGEST = 1000
"""Characters of a name, but for its suffix, that are kept."""
_LONGEST_TITLE = 200
"""Bytes of a title but for its suffix: files are called so where it is handed on."""
_NAMELESS = "image"


def one_line(name: str) -> str:
    """Return a name in one line of valid, composed Unicode, of a length that people read."""
    line = plain_name(name.encode(errors="replace").decode())
    return without_suffix(line)[:_LONGEST] + line[len(without_suffix(line)) :] or _NAMELESS


def suffix_of(name: str) -> str:
    """Suffix of a name in lower case, where it is one of images; else empty."""
    return name[len(without_suffix(name)) :].lower()


def title_of(name: str, taken: Collection[str]) -> str:
    """Return the last part of a name, numbered where ``taken`` has it already, in whatever case: ``hand (2).png``."""
    base = name.replace("\\", "/").rpartition("/")[2]
    whole = without_suffix(base)
    suffix = base[len(whole) :]
    stem = whole.lstrip(". ").encode()[:_LONGEST_TITLE].decode(errors="ignore") or _NAMELESS
    titles = (f"{stem} ({number}){suffix}" if number > 1 else f"{stem}{suffix}" for number in count(1))
    others = {title.casefold() for title in taken}
    return next(title for title in titles if title.casefold() not in others)
