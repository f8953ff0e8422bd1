"""The 29 bones of the hand and wrist: the only list of them in the project.

A bone's position in :data:`BONES` is its bit in a bit plane (:mod:`handseg_monai.bitplanes`), its channel in the
network's output and its place in a submission.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Literal

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
"""Hands of a person, in the order in which everything lists them."""


class Group(StrEnum):
    """Anatomical group of a bone."""

    DISTAL_PHALANX = "distal phalanx"
    MIDDLE_PHALANX = "middle phalanx"
    PROXIMAL_PHALANX = "proximal phalanx"
    METACARPAL = "metacarpal"
    CARPAL = "carpal"
    FOREARM = "forearm"

    @property
    def korean(self) -> str:
        """Korean name of the group's bones."""
        return _KOREAN_GROUPS[self]


_KOREAN_GROUPS = {
    Group.DISTAL_PHALANX: "끝마디뼈",
    Group.MIDDLE_PHALANX: "중간마디뼈",
    Group.PROXIMAL_PHALANX: "첫마디뼈",
    Group.METACARPAL: "손허리뼈",
    Group.CARPAL: "손목뼈",
    Group.FOREARM: "아래팔뼈",
}


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept of SNOMED CT, from the part of it that DICOM may use freely.

    Attributes
    ----------
    code, meaning
        As DICOM writes them.
    keyword
        Where they come from: the name of the concept in ``pydicom.sr.codedict.codes.SCT``.
    """

    code: str
    meaning: str
    keyword: str


@dataclass(frozen=True, slots=True)
class Bone:
    """One bone.

    Attributes
    ----------
    index
        Bit, channel and place in the submission, 0 to 28.
    name
        Label in the competition's files, for example ``finger-1`` or ``Trapezium``.
    english, korean
        Anatomical name.
    group
        Anatomical group.
    ray
        1 (thumb) to 5 (little finger) for phalanges and metacarpals, None for carpals and forearm.
    colour
        (red, green, blue), 0 to 255. Each ray has a hue, so that neighbours along and across rays differ.
    concept
        The bone's own where DICOM has one, else that of a group which it belongs to: a metacarpal, or a bone of the
        hand. DICOM has none of phalanges, and of the carpal bones only the scaphoid.
    area
        Usual area on a PA radiograph of an adult's hand, square millimetres; of radius and ulna what is mostly seen.
    """

    index: int
    name: str
    english: str
    korean: str
    group: Group
    ray: int | None
    colour: tuple[int, int, int]
    concept: Concept
    area: int


_ROWS = (
    ("finger-1", "thumb distal phalanx", "엄지손가락 끝마디뼈", Group.DISTAL_PHALANX, 1, "ff8a80", 172),
    ("finger-2", "thumb proximal phalanx", "엄지손가락 첫마디뼈", Group.PROXIMAL_PHALANX, 1, "f44336", 353),
    ("finger-3", "first metacarpal", "첫째 손허리뼈", Group.METACARPAL, 1, "b71c1c", 568),
    ("finger-4", "index distal phalanx", "집게손가락 끝마디뼈", Group.DISTAL_PHALANX, 2, "ffd180", 106),
    ("finger-5", "index middle phalanx", "집게손가락 중간마디뼈", Group.MIDDLE_PHALANX, 2, "ffa726", 201),
    ("finger-6", "index proximal phalanx", "집게손가락 첫마디뼈", Group.PROXIMAL_PHALANX, 2, "ff6f00", 438),
    ("finger-7", "second metacarpal", "둘째 손허리뼈", Group.METACARPAL, 2, "bf5600", 749),
    ("finger-8", "middle finger distal phalanx", "가운데손가락 끝마디뼈", Group.DISTAL_PHALANX, 3, "f4ff81", 117),
    ("finger-9", "middle finger middle phalanx", "가운데손가락 중간마디뼈", Group.MIDDLE_PHALANX, 3, "d4e157", 252),
    ("finger-10", "middle finger proximal phalanx", "가운데손가락 첫마디뼈", Group.PROXIMAL_PHALANX, 3, "9e9d24", 495),
    ("finger-11", "third metacarpal", "셋째 손허리뼈", Group.METACARPAL, 3, "827717", 672),
    ("finger-12", "ring finger distal phalanx", "반지손가락 끝마디뼈", Group.DISTAL_PHALANX, 4, "b9f6ca", 112),
    ("finger-13", "ring finger middle phalanx", "반지손가락 중간마디뼈", Group.MIDDLE_PHALANX, 4, "66bb6a", 230),
    ("finger-14", "ring finger proximal phalanx", "반지손가락 첫마디뼈", Group.PROXIMAL_PHALANX, 4, "2e7d32", 415),
    ("finger-15", "fourth metacarpal", "넷째 손허리뼈", Group.METACARPAL, 4, "00600f", 516),
    ("finger-16", "little finger distal phalanx", "새끼손가락 끝마디뼈", Group.DISTAL_PHALANX, 5, "80d8ff", 85),
    ("finger-17", "little finger middle phalanx", "새끼손가락 중간마디뼈", Group.MIDDLE_PHALANX, 5, "29b6f6", 136),
    ("finger-18", "little finger proximal phalanx", "새끼손가락 첫마디뼈", Group.PROXIMAL_PHALANX, 5, "0277bd", 290),
    ("finger-19", "fifth metacarpal", "다섯째 손허리뼈", Group.METACARPAL, 5, "01497c", 513),
    ("Trapezium", "trapezium", "큰마름뼈", Group.CARPAL, None, "ea80fc", 208),
    ("Trapezoid", "trapezoid", "작은마름뼈", Group.CARPAL, None, "00e5ff", 117),
    ("Capitate", "capitate", "알머리뼈", Group.CARPAL, None, "ff4081", 337),
    ("Hamate", "hamate", "갈고리뼈", Group.CARPAL, None, "eeff41", 228),
    ("Scaphoid", "scaphoid", "손배뼈", Group.CARPAL, None, "ffab40", 217),
    ("Lunate", "lunate", "반달뼈", Group.CARPAL, None, "7c4dff", 173),
    ("Triquetrum", "triquetrum", "세모뼈", Group.CARPAL, None, "1de9b6", 148),
    ("Pisiform", "pisiform", "콩알뼈", Group.CARPAL, None, "ff1744", 97),
    ("Radius", "radius", "노뼈", Group.FOREARM, None, "448aff", 1420),
    ("Ulna", "ulna", "자뼈", Group.FOREARM, None, "e040fb", 800),
)


def _colour(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


_HAND_BONE = Concept("24097009", "Hand bone", "HandBone")
_METACARPAL = Concept("36455000", "Metacarpal", "Metacarpal")
_OWN_CONCEPTS = {
    "Scaphoid": Concept("30518006", "Scaphoid", "Scaphoid"),
    "Radius": Concept("62413002", "Radius", "RadiusBone"),
    "Ulna": Concept("23416004", "Ulna", "Ulna"),
}


def _concept(name: str, group: Group) -> Concept:
    return _OWN_CONCEPTS.get(name, _METACARPAL if group is Group.METACARPAL else _HAND_BONE)


BONES: tuple[Bone, ...] = tuple(
    Bone(i, name, english, korean, group, ray, _colour(colour), _concept(name, group), area)
    for i, (name, english, korean, group, ray, colour, area) in enumerate(_ROWS)
)
NUM_BONES = len(BONES)
NAMES: tuple[str, ...] = tuple(bone.name for bone in BONES)
INDEX: dict[str, int] = {name: i for i, name in enumerate(NAMES)}
CARPALS: tuple[int, ...] = tuple(bone.index for bone in BONES if bone.group is Group.CARPAL)
"""Indices of the carpal bones."""

ALL_KNOWN = (1 << NUM_BONES) - 1
"""Bit plane value with every bone's bit set; as an image's ``known``, every bone is labelled there."""

FLAT = 1 << NUM_BONES
"""Bit of an image's ``known`` beside those of the bones: the label holds no overlaps, so that a bone which lies over
another hides part of it (:mod:`handseg_monai.data.labels.flat`)."""


def _pairs(text: str) -> frozenset[tuple[int, int]]:
    pairs = (line.split() for line in text.strip().splitlines())
    return frozenset((min(INDEX[a], INDEX[b]), max(INDEX[a], INDEX[b])) for a, b in pairs)


NEIGHBOURS: frozenset[tuple[int, int]] = _pairs(
    """
    finger-1 finger-2
    finger-2 finger-3
    finger-3 Trapezium
    finger-4 finger-5
    finger-5 finger-6
    finger-6 finger-7
    finger-7 finger-11
    finger-7 Trapezium
    finger-7 Trapezoid
    finger-7 Capitate
    finger-8 finger-9
    finger-9 finger-10
    finger-10 finger-11
    finger-11 finger-15
    finger-11 Capitate
    finger-12 finger-13
    finger-13 finger-14
    finger-14 finger-15
    finger-15 finger-19
    finger-15 Capitate
    finger-15 Hamate
    finger-16 finger-17
    finger-17 finger-18
    finger-18 finger-19
    finger-19 Hamate
    Trapezium Trapezoid
    Trapezium Scaphoid
    Trapezoid Capitate
    Trapezoid Scaphoid
    Capitate Hamate
    Capitate Scaphoid
    Capitate Lunate
    Hamate Lunate
    Hamate Triquetrum
    Scaphoid Lunate
    Scaphoid Radius
    Lunate Triquetrum
    Lunate Radius
    Triquetrum Pisiform
    Radius Ulna
    """
)
"""Pairs (i, j), i < j, of bones that articulate."""

OVERLAPS: frozenset[tuple[int, int]] = NEIGHBOURS | _pairs(
    """
    finger-3 finger-7
    finger-3 Trapezoid
    finger-19 Capitate
    Hamate Pisiform
    Trapezium Capitate
    Lunate Pisiform
    Triquetrum Capitate
    Triquetrum Ulna
    Pisiform Ulna
    Lunate Ulna
    """
)
"""Pairs (i, j), i < j, whose silhouettes naturally overlap on a PA radiograph: neighbours, and bones that lie over
one another. Any other overlap of two labels deserves a look."""

APART: frozenset[tuple[int, int]] = frozenset(
    (i, j) for i, j in combinations([bone.index for bone in BONES if bone.group is Group.CARPAL], 2)
) - _pairs(
    """
    Trapezium Trapezoid
    Hamate Pisiform
    Lunate Pisiform
    Triquetrum Pisiform
    """
)
"""Pairs (i, j), i < j, of carpal bones of which neither lies mostly over the other on a PA radiograph."""


def _depths(text: str) -> dict[tuple[int, int], float]:
    lines = [line.split(":") for line in text.strip().splitlines()]
    return {pair: float(depth) for depth, pairs in lines for pair in _pairs(pairs.replace(",", "\n"))}


DEPTHS: dict[tuple[int, int], float] = dict.fromkeys(
    (
        (bone.index, other.index)
        for bone, other in combinations(BONES, 2)
        if bone.ray is not None and bone.ray == other.ray and other.index == bone.index + 1
    ),
    0.1,
) | _depths(
    """
    0.7: Triquetrum Pisiform
    0.5: Trapezium Trapezoid
    0.3: Capitate Lunate, Capitate Scaphoid, Trapezium Scaphoid, Lunate Radius, Pisiform Ulna
    0.3: Scaphoid Lunate, Scaphoid Radius, finger-19 Hamate, finger-15 finger-19
    0.2: Capitate Hamate, Hamate Triquetrum, Hamate Pisiform, Hamate Lunate, Trapezoid Capitate
    0.2: finger-3 Trapezium, finger-7 Trapezium, finger-7 finger-11, finger-11 finger-15, finger-11 Capitate
    0.1: finger-7 Trapezoid, finger-7 Capitate, finger-15 Capitate, finger-15 Hamate
    0.1: finger-3 finger-7, Lunate Triquetrum, Radius Ulna
    """
)
"""How far two bones reach over one another, for pairs that do so in a tenth of PA views or more: the largest distance
of a shared pixel from where the covered bone lies alone, that of nine views in ten, as a share of the side of the
median bone, which is the root of its area. Measured on phantoms of ``standard``."""
