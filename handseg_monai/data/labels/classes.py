"""The classes of a source -> bones, and which bones are not to be learnt from it."""

from __future__ import annotations

import difflib
import json
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from handseg_monai.bones import BONES, INDEX, NAMES
from handseg_monai.files import nfc

logger = logging.getLogger(__name__)

_SHOWN = 5

Meaning = str | list[str] | None
"""A bone; bones that a mask covers jointly or in part, which makes them unknown; or None for no bone at all."""


def _plain(name: str) -> str:
    """Letters and digits of a name in lower case; a space where signs part two numbers, as in ``finger 1.2``.

    A name of signs alone stays as it is.
    """
    spaced = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in nfc(name))
    return re.sub(r"(?<!\d) +| +(?!\d)", "", re.sub(" +", " ", spaced)).lower() or name


_BY_NAME = {_plain(name): bone.name for bone in BONES for name in (bone.name, bone.english)}


@dataclass(frozen=True)
class Classes:
    """Which bone each class of a source stands for."""

    bone_of: dict[str, int]
    """Bone index of each class that stands for one whole bone. Pixels of other classes are not drawn."""
    unknown: int
    """Bits of the bones that some class covers jointly or in part."""

    def known(self, classes: Iterable[str]) -> int:
        """Bits of the bones that are known where these classes are labelled."""
        bits = 0
        for name in classes:
            if name in self.bone_of:
                bits |= 1 << self.bone_of[name]
        return bits & ~self.unknown


def read_classes(path: str | Path) -> dict[str, Meaning]:
    """Read a class map: a JSON object of class -> bone, list of bones, or null.

    ``ValueError`` for another file, a class that comes twice, or bones that there are not, all of which it names.
    """
    path = Path(path)
    twice: list[str] = []

    def distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
        twice.extend(name for name, number in Counter(nfc(name) for name, _ in pairs).items() if number > 1)
        return dict(pairs)

    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=distinct)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror} (--classes)") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not JSON (byte {error.start} is not UTF-8)") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object of class -> bone, list of bones, or null")
    if twice:
        raise ValueError(f"{path}: class {twice[0]!r} comes twice; expected each class once")
    wrong = []
    for name, meaning in content.items():
        for bone in meaning if isinstance(meaning, list) else [] if meaning is None else [meaning]:
            if not isinstance(bone, str) or bone not in INDEX:
                wrong.append(f"{name!r}: {bone!r}{_hint(str(bone), NAMES)}")
    if wrong:
        raise ValueError(f"{path}: no such bone: {'; '.join(wrong)}; the bones are {', '.join(NAMES)}")
    return content


def class_map(path: str | Path | None, ignore: Collection[str]) -> dict[str, Meaning]:
    """Join the class map in a file, if there is one, and further classes that are not bones, which come first."""
    ignored = {_plain(name) for name in ignore}
    given = read_classes(path) if path else {}
    return {name: bone for name, bone in given.items() if _plain(name) not in ignored} | dict.fromkeys(ignore)


def resolve(found: Collection[str], given: Mapping[str, Meaning], source: str | Path) -> Classes:
    """Say what each class of a source stands for.

    Raises ``ValueError`` with all classes that are neither given nor named after a bone.

    Parameters
    ----------
    found
        Classes of the source.
    given
        A class map, whose classes match whatever the case and the signs between words, unless it has one to the
        letter; the log names those that the source does not have. What it leaves out goes by its name where that is a
        bone's, in the competition's word or in English, matched likewise; two or more bones' names in one
        (``Pisiform_Triquetrum``) are bones that were labelled jointly.
    source
        Named in errors.
    """
    key_of = _keys_of(found, given, source)
    bone_of, unknown, strange = {}, 0, []
    for name in sorted(found):
        meaning = given[key_of[name]] if name in key_of else _by_name(name)
        if meaning == "":
            strange.append(name)
        elif isinstance(meaning, list):
            unknown |= sum(1 << INDEX[bone] for bone in set(meaning))
        elif meaning is not None:
            bone_of[name] = INDEX[meaning]
    if strange:
        first = {side: name for name in reversed(strange) for side, bone in [_sided(name)] if bone}
        if len(first) == 2:
            raise ValueError(
                f"{source}: classes of two hands ({first['left']}, {first['right']}, …); a label is of one hand: in "
                "--classes give each class of one hand its bone, and each of the other null"
            )
        named = ", ".join(name + _hint(name, given) for name in strange)
        raise ValueError(
            f"{source}: unknown classes {named}; give each a bone, a list of bones (labelled jointly or "
            "in part) or null in --classes, or leave it out with --ignore"
        )
    return Classes(bone_of, unknown)


def _keys_of(found: Collection[str], given: Mapping[str, Meaning], source: str | Path) -> dict[str, str]:
    """Key of a class map for each class of a source that it has; the log names keys that match no class."""
    exact = {nfc(key): key for key in given}
    alike: dict[str, list[str]] = {}
    for key in given:
        alike.setdefault(_plain(key), []).append(key)
    key_of = {}
    for name in found:
        keys = [exact[nfc(name)]] if nfc(name) in exact else alike.get(_plain(name), [])
        if any(given[key] != given[keys[0]] for key in keys):
            raise ValueError(f"{source}: class {name} may be {' or '.join(keys)} of --classes; name it to the letter")
        if keys:
            key_of[name] = keys[0]
    used = {_plain(key) for key in key_of.values()}
    idle = [key for key in given if _plain(key) not in used and key not in key_of.values()]
    if idle:
        some = ", ".join(repr(key) + _hint(key, found) for key in idle[:_SHOWN]) + (", …" if idle[_SHOWN:] else "")
        logger.warning("%s: no class %s; --classes or --ignore names it in vain", source, some)
    return key_of


def _by_name(name: str) -> Meaning:
    if bone := _BY_NAME.get(_plain(name)):
        return bone
    parts = [_BY_NAME.get(_plain(part)) for part in re.split(r"[/&+,_]| and ", name) if part.strip()]
    joint = [bone for bone in parts if bone]
    return joint if len(joint) == len(parts) > 1 else ""


def _sided(name: str) -> tuple[str, Meaning]:
    """Side and bone of a class such as ``left_Radius``; both empty where it has none."""
    match = re.fullmatch(r"(left|right)[\W_]+(.+)", name, re.IGNORECASE)
    return (match[1].lower(), _by_name(match[2])) if match else ("", "")


def _hint(name: str, possible: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(possible), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
