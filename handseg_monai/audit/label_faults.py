"""What is wrong with the label of one radiograph: bones swapped, missing, doubled, stray, out of range or place."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from handseg_monai.audit.findings import Fault
from handseg_monai.bitplanes import Polygon, boxes, shared_areas
from handseg_monai.bones import BONES, INDEX, NAMES, Group
from handseg_monai.plausibility.criteria import WIDEN, disorder
from handseg_monai.plausibility.hand_measures import HandMeasures
from handseg_monai.plausibility.judge import Severity, judge_hand
from handseg_monai.plausibility.ranges import PlausibleRanges

Pairs = tuple[tuple[int, int], ...]
LabelFault = tuple[Fault, tuple[str, ...], str]
"""Kind, bones and words."""

_SWAPS = 3
_PAYS = 1.5
"""Credit that an exchange of labels must win back to pass for a swap: that of one and a half tests."""
_ON_IT = INDEX["Pisiform"], INDEX["Triquetrum"]
"""A bone that lies on another one: size tells them apart, and which of them reaches farther from the capitate."""
_FARTHER = 0.1
"""What a millimetre by which the first lies farther out than the second says for it, as a logarithm of their areas."""
_CUT = 0.1
"""Solidity by which a bone that another one cuts falls short of it; of phantoms an uncut one has 0.8 and more."""
_SAME = 1e-9
_HALF = 0.5
_APART = 6.0
"""Millimetres between a bone and another piece of its mask from which the piece is not part of the bone."""
_CRUMB = 4
_ALIKE = 0.6
_SAME_SHAPE = 0.8
_SAME_MASK = 0.9

_PARTS = {
    "presence": Fault.MISSING,
    "areas": Fault.AREA,
    "places": Fault.POSITION,
    "neighbours": Fault.POSITION,
    "order": Fault.POSITION,
    "overlaps": Fault.OVERLAP,
}


def _rays() -> dict[int, dict[Group, int]]:
    rays: dict[int, dict[Group, int]] = defaultdict(dict)
    for bone in BONES:
        if bone.ray is not None:
            rays[bone.ray][bone.group] = bone.index
    return dict(rays)


def _exchanges() -> list[Pairs]:
    """Exchanges of labels that an annotator may make: rays, fingers without metacarpal, and two bones of a kind."""
    rays = _rays()
    found: list[Pairs] = []
    for a, b in itertools.combinations(rays, 2):
        shared = [group for group in rays[a] if group in rays[b]]
        phalanges = [group for group in shared if group is not Group.METACARPAL]
        found += [tuple((rays[a][g], rays[b][g]) for g in groups) for groups in (shared, phalanges)]
    for bone, other in itertools.combinations(BONES, 2):
        if bone.group is other.group or (bone.ray is not None and bone.ray == other.ray):
            found.append(((bone.index, other.index),))
    return found


_EXCHANGES = _exchanges()


def label_faults(
    hand: HandMeasures | None, ranges: PlausibleRanges, filled: HandMeasures | None = None
) -> list[LabelFault]:
    """Judge the measures of a label by what hands look like.

    Labels are taken for swapped where their exchange puts the bones concerned into their place, and wins back at
    least :data:`_PAYS` tests of place, order and area (:func:`~handseg_monai.plausibility.criteria.disorder`); pisiform
    and triquetrum where the first is the larger one and does not lie farther out than that allows. What remains is what
    :func:`~handseg_monai.plausibility.judge.judge_hand` finds wrong after the exchange, and areas with less than half
    the credit.

    A label without overlaps is judged twice, as it is and with all that may lie hidden: only what is wrong both times
    is a fault, but for labels that are swapped. Of pisiform and triquetrum the one that is not cut tells by its size
    which of them it is.

    Parameters
    ----------
    hand
        Measures by the areas of ``ranges``; None where there were too few bones to measure.
    ranges
        Frozen ones, or those of the dataset.
    filled
        Of a label without overlaps: measures of each bone with the pixels in which it may lie hidden
        (:func:`~handseg_monai.data.labels.flat.hidden`).

    Returns
    -------
    faults
        A bone has one of each kind at most.
    """
    if hand is None:
        return []
    if filled is None:
        return _faults(hand, ranges, _swap_by_size_and_place)
    both = _faults(filled, ranges, None)
    return [one for one in _faults(hand, ranges, _swap_by_shape) if one[0] is Fault.SWAPPED or _alike(one, both)]


def _alike(fault: LabelFault, others: Sequence[LabelFault]) -> bool:
    """Whether others hold a fault of the same kind and of one of its bones."""
    return any(fault[0] is other[0] and not set(fault[1]).isdisjoint(other[1]) for other in others)


def _faults(
    hand: HandMeasures, ranges: PlausibleRanges, on_it: Callable[[HandMeasures, PlausibleRanges], Pairs] | None
) -> list[LabelFault]:
    faults: list[LabelFault] = []
    for _ in range(_SWAPS):
        pairs = _swap(hand, ranges) or (on_it(hand, ranges) if on_it else ())
        if not pairs:
            break
        hand = hand.exchanged(pairs)
        bones = tuple(NAMES[k] for pair in pairs for k in pair)
        names = " and ".join(", ".join(NAMES[pair[side]] for pair in pairs) for side in (0, 1))
        faults.append((Fault.SWAPPED, bones, f"{names} are swapped"))
    told: set[tuple[Fault, str]] = set()
    for finding in judge_hand(hand, ranges).findings:
        fault = _PARTS.get(finding.part)
        wrong = finding.severity is Severity.WRONG or (fault is Fault.AREA and finding.credit < _HALF)
        if fault is None or not wrong or all((fault, bone) in told for bone in finding.bones):
            continue
        told.update((fault, bone) for bone in finding.bones)
        faults.append((fault, finding.bones, finding.text))
    return faults


def _swap(hand: HandMeasures, ranges: PlausibleRanges) -> Pairs:
    """Exchange that puts most bones in their place; none where none does."""
    before, wrong = disorder(hand, ranges)
    if len(wrong) < 2:
        return ()
    best: Pairs = ()
    cost = before - _PAYS
    for pairs in _EXCHANGES:
        bones = {k for pair in pairs for k in pair}
        if not hand.placed[list(bones)].all() or 2 * len(bones & wrong) < len(bones):
            continue
        after, left = disorder(hand.exchanged(pairs), ranges)
        if after < cost and not bones & left:
            best, cost = pairs, after
    return best


def _swap_by_size_and_place(hand: HandMeasures, ranges: PlausibleRanges) -> Pairs:
    pair = list(_ON_IT)
    if not hand.whole[pair].all():
        return ()
    if np.log(hand.area[pair[0]] / hand.area[pair[1]]) <= _FARTHER * _farther_out(hand, *_ON_IT):
        return ()
    # In a dataset that always outlines the first larger its own ranges say so.
    return (_ON_IT,) if ranges.area[pair[0]] <= ranges.area[pair[1]] else ()


def _farther_out(hand: HandMeasures, bone: int, other: int) -> float:
    """Millimetres that a bone lies farther from the capitate than another one; 0 where the capitate is out of view."""
    capitate = INDEX["Capitate"]
    if not hand.placed[capitate]:
        return 0.0
    away = (hand.centre[bone] + hand.centre[other]) / 2 - hand.centre[capitate]
    return float(((hand.centre[bone] - hand.centre[other]) * np.conj(away)).real / max(abs(away), _SAME))


def _swap_by_shape(hand: HandMeasures, ranges: PlausibleRanges) -> Pairs:
    """Of two bones that do not overlap in their label, tell by its size which of them lies uncut on the other."""
    pair = list(_ON_IT)
    if not hand.whole[pair].all():
        return ()
    solidity = [_solidity(hand, k) for k in pair]
    whole, cut = pair if solidity[0] > solidity[1] else pair[::-1]
    if abs(solidity[0] - solidity[1]) < _CUT:
        return ()
    of_own, of_other = hand.area[whole] / ranges.area[[whole, cut]]
    low, high = ranges.area_ratio[whole]
    other_low, other_high = ranges.area_ratio[cut]
    too_odd = not low / WIDEN <= of_own <= high * WIDEN
    return (_ON_IT,) if too_odd and other_low <= of_other <= other_high else ()


def _solidity(hand: HandMeasures, bone: int) -> float:
    """Area of a bone over that of its convex hull."""
    points = np.stack([hand.outlines[bone].real, hand.outlines[bone].imag], axis=1).astype(np.float32)
    hull = cv2.convexHull(points)
    around = cv2.arcLength(hull, closed=True)
    # Outlines run through the middle of pixels.
    return float(hand.area[bone] / (cv2.contourArea(hull) + around * hand.pixel / 2 + hand.pixel**2))


def piece_faults(planes: np.ndarray, millimetres: float) -> Iterator[LabelFault]:
    """Find pieces of a mask that lie apart from the bone, and two bones with one mask.

    Parameters
    ----------
    planes
        Bit planes, int32 (H, W).
    millimetres
        Per pixel, of a hand of median size.

    Yields
    ------
    fault
        *Doubled* where a piece is about as large as the bone, *stray* where it is smaller, and *doubled* for two bones
        that share nine tenths of their area.
    """
    counts: dict[int, int] = {}
    for k, box in boxes(planes):
        mask = ((planes[box] >> k) & 1).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        counts[k] = int(mask.sum())
        if count < 3:
            continue
        main = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        away = cv2.distanceTransform((labels != main).astype(np.uint8), cv2.DIST_L2, 5)
        largest = int(stats[main, cv2.CC_STAT_AREA])
        for piece in range(1, count):
            area = int(stats[piece, cv2.CC_STAT_AREA])
            gap = float(away[labels == piece].min()) * millimetres
            if piece == main or area < _CRUMB or gap < _APART:
                continue
            if area >= _HALF * largest:
                yield Fault.DOUBLED, (NAMES[k],), f"{NAMES[k]} is there twice, {gap:.0f} mm apart"
            else:
                text = f"a stray piece of {NAMES[k]}, {area} pixels, lies {gap:.0f} mm from the bone"
                yield Fault.STRAY, (NAMES[k],), text
    shared = shared_areas(planes[planes & (planes - 1) != 0])
    for a, b in itertools.combinations(counts, 2):
        if shared[a, b] >= _SAME_MASK * (counts[a] + counts[b] - shared[a, b]):
            yield Fault.DOUBLED, (NAMES[a], NAMES[b]), f"{NAMES[a]} and {NAMES[b]} have the same outline"


def doubled_polygons(polygons: Sequence[tuple[int, Polygon]]) -> Iterator[LabelFault]:
    """Find bones outlined twice, by two polygons of one shape, and polygons that stand there for two bones."""
    of: dict[int, list[Polygon]] = defaultdict(list)
    for bone, points in polygons:
        of[bone].append(points)
    for bone, outlines in of.items():
        if any(_one_shape(a, b) for a, b in itertools.combinations(outlines, 2)):
            yield Fault.DOUBLED, (NAMES[bone],), f"{NAMES[bone]} is outlined twice"
    bones_of: dict[bytes, set[int]] = defaultdict(set)
    for bone, points in polygons:
        bones_of[points.tobytes()].add(bone)
    for bones in bones_of.values():
        if len(bones) > 1:
            names = tuple(NAMES[k] for k in sorted(bones))
            yield Fault.DOUBLED, names, f"{' and '.join(names)} have the same outline"


def _one_shape(a: Polygon, b: Polygon) -> bool:
    areas = sorted(abs(cv2.contourArea(polygon.astype(np.int32))) for polygon in (a, b))
    if areas[0] < _CRUMB or areas[0] < _ALIKE * areas[1]:
        return False
    spans = [np.ptp(polygon, axis=0) + 1 for polygon in (a, b)]
    size = np.max(spans, axis=0)
    masks = np.zeros((2, size[1], size[0]), np.uint8)
    for mask, polygon, span in zip(masks, (a, b), spans, strict=True):
        cv2.fillPoly(mask, [(polygon - polygon.min(axis=0) + (size - span) // 2).astype(np.int32)], 1)
    return bool(np.sum(masks[0] & masks[1]) >= _SAME_SHAPE * np.sum(masks[0] | masks[1]))
