"""Dropping what is drawn of carpal bones over one another."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import APART, INDEX

_TRAPEZIUM, _TRAPEZOID, _CAPITATE = (INDEX[name] for name in ("Trapezium", "Trapezoid", "Capitate"))
_HAMATE, _PISIFORM, _UNIT = (INDEX[name] for name in ("Hamate", "Pisiform", "finger-11"))
_CARPALS = {bone for pair in APART for bone in pair} | {_PISIFORM}
_EARLY = {_CAPITATE, _HAMATE}
"""Carpal bones that ossify in the first year; the others follow from the third."""
_SPECK = 0.1
"""Area of a piece over the bone's largest one below which it is never the bone."""
_MOST_ALIKE = 0.5
"""Intersection over union beyond which trapezium and trapezoid are one bone, drawn twice. Phantoms have up to 0.46."""
_USUAL = {
    INDEX[name]: area
    for name, area in (
        ("Trapezium", 0.049),
        ("Trapezoid", 0.031),
        ("Capitate", 0.079),
        ("Hamate", 0.057),
        ("Scaphoid", 0.057),
        ("Lunate", 0.042),
        ("Triquetrum", 0.037),
    )
}
"""Mean areas of adults' carpal bones over the square of the third metacarpal's length."""
_BEFORE_PISIFORM, _BEFORE_PISIFORM_IN_WRISTS = 0.55, 0.65
"""Area of the other carpal bones over the usual one below which a pisiform is not believed, as it is the last to
ossify (Greulich and Pyle, 1959); and, where the third metacarpal is cut, that of those that ossify late over the usual
one, beside that of capitate and hamate. Of 266 phantoms of children with a pisiform 6 and 7 have less, of 254 without
one 230 and 175; adults have at least 0.77 and 0.67."""


@dataclass(frozen=True, eq=False)
class _Piece:
    """Pixels that hang together: their box in the image, the mask in it, and their number."""

    rows: slice
    columns: slice
    mask: np.ndarray
    area: int

    def shared(self, other: _Piece) -> int:
        """Count of pixels that are the other's too."""
        top, left = max(self.rows.start, other.rows.start), max(self.columns.start, other.columns.start)
        bottom, right = min(self.rows.stop, other.rows.stop), min(self.columns.stop, other.columns.stop)
        if bottom <= top or right <= left:
            return 0
        box = top, left, bottom, right
        return int(np.count_nonzero(self._inside(*box) & other._inside(*box)))

    def _inside(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        y, x = self.rows.start, self.columns.start
        return self.mask[top - y : bottom - y, left - x : right - x]

    def cut(self, shape: tuple[int, ...]) -> bool:
        """Whether the image's border touches it."""
        near = self.rows.start == 0 or self.columns.start == 0
        return near or self.rows.stop == shape[0] or self.columns.stop == shape[1]


def _pieces(planes: np.ndarray, bone: int, box: tuple[slice, slice]) -> list[_Piece]:
    """Return the pieces of a bone that are no specks, the largest first."""
    mask = (planes[box] >> bone & 1).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    found = []
    for label in 1 + np.flatnonzero(areas >= _SPECK * areas.max()):
        x, y, width, height, area = (int(value) for value in stats[label])
        top, left = box[0].start + y, box[1].start + x
        piece = labels[y : y + height, x : x + width] == label
        found.append(_Piece(slice(top, top + height), slice(left, left + width), piece, area))
    return sorted(found, key=lambda piece: -piece.area)


def drop_covered(planes: np.ndarray, most: float) -> np.ndarray:
    """Drop pieces of carpal bones that lie mostly within another one, where in a hand the two lie apart, and copies.

    Of two such bones the smaller is drawn where it is not, as happens in young children whose bone has not ossified,
    or is a dot beside. What counts of the other bone is its largest piece. Which pairs lie apart says
    :data:`~handseg_monai.bones.APART`. Of trapezium and trapezoid of nearly one outline the smaller goes, and a
    pisiform where the other carpal bones are too small for a hand that has one. Bones that the image's border cuts are
    left: what it leaves of two may well be the part that they share. Specks count nothing;
    where all else of a bone is dropped they go too.

    Parameters
    ----------
    planes
        int32 (H, W) bit planes; they are left as they are.
    most
        Greatest share of a piece that a larger one of the other bone may cover, 0 to 1.
    """
    found = {bone: _pieces(planes, bone, box) for bone, box in boxes(planes) if bone in _CARPALS}
    whole = {bone: pieces for bone, pieces in found.items() if not any(piece.cut(planes.shape) for piece in pieces)}
    left = {bone: list(pieces) for bone, pieces in found.items()}
    for pair in APART:
        for bone, other in (pair, pair[::-1]):
            if bone in whole and other in whole:
                over = whole[other][0]
                # Of two as large the first of the pair goes.
                largest = over.area if bone == pair[0] else over.area - 1
                left[bone] = [p for p in left[bone] if p.area > largest or p.shared(over) <= most * p.area]
    area = {bone: sum(piece.area for piece in left.get(bone, [])) for bone in _CARPALS}

    def shared(bone: int, other: int) -> int:
        return sum(one.shared(two) for one in left[bone] for two in left[other])

    if {_TRAPEZIUM, _TRAPEZOID} <= whole.keys():
        common = shared(_TRAPEZIUM, _TRAPEZOID)
        if common > _MOST_ALIKE * (area[_TRAPEZIUM] + area[_TRAPEZOID] - common):
            gone = min(_TRAPEZIUM, _TRAPEZOID, key=area.__getitem__)
            left[gone], area[gone] = [], 0
    if _PISIFORM in whole and whole.keys() == found.keys() and _before_pisiform(planes, area):
        left[_PISIFORM] = []
    result = planes.copy()
    for bone, pieces in found.items():
        if not left[bone]:
            result &= np.int32(~(1 << bone))
        for piece in pieces:
            if piece not in left[bone]:
                result[piece.rows, piece.columns] &= ~(piece.mask.astype(np.int32) << np.int32(bone))
    return result


def _before_pisiform(planes: np.ndarray, area: dict[int, int]) -> bool:
    """Tell whether carpal bones of these areas are too small for a hand whose pisiform has ossified."""

    def grown(bones: set[int]) -> float:
        return sum(area[bone] for bone in bones) / sum(_USUAL[bone] for bone in bones)

    found = {bone for bone in _USUAL if area[bone]}
    for bone, box in boxes(planes):
        if bone == _UNIT:
            piece = _pieces(planes, bone, box)[0]
            if found and not piece.cut(planes.shape):
                contours, _ = cv2.findContours(piece.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
                length = max(cv2.minAreaRect(np.concatenate(contours))[1]) + 1.0
                return grown(found) < _BEFORE_PISIFORM * length**2
    early, late = found & _EARLY, found - _EARLY
    return bool(early and late) and grown(late) < _BEFORE_PISIFORM_IN_WRISTS * grown(early)
