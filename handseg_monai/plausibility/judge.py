"""How far the masks of one image make up a hand: an anatomical score that needs no truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from handseg_monai.bones import NAMES, NEIGHBOURS, NUM_BONES, OVERLAPS
from handseg_monai.plausibility.bone_order import ACROSS, ALONG, RAYS
from handseg_monai.plausibility.hand_measures import FOREARM, FOREARM_END, LEAST_WHOLE, HandMeasures, measure_hand
from handseg_monai.plausibility.hand_proportions import proportions
from handseg_monai.plausibility.ranges import (
    Placement,
    PlausibleRanges,
    load_ranges,
    measure_by_age,
    unusual_proportions,
)

LEAST_SCORE = 0.9
"""Score from which an image without a wrong finding is plausible."""

# People vary more than phantoms: the frozen ranges are widened by WIDEN on each side, lengths by some millimetres
# too. Credit falls from 1 at the widened limit to 0 where the second number is reached beyond it.
WIDEN = 1.24
_AREA_RUN_OUT = np.log(1.5)
_GAP = 1.5, 2.5
_DISPLACEMENT = 2.0, 2.0
_NATURAL_OVERLAP = 0.15, 0.35
_OTHER_OVERLAP = 0.05, 0.35
_STRAY = 0.05, 0.2
_REVERSED = 1.0, 3.0
_BEYOND = 0.05, 1.0
_FEWEST_FIGURES = 40
"""Proportions from which their share beyond the usual means something."""
_ROUGHLY = 25.0
"""Millimetres by which the whole hand may misplace a bone of which nothing near is seen."""


class Severity(StrEnum):
    """Of a finding: what a variant or a poor outline may explain, and what no hand looks like."""

    DOUBTFUL = "doubtful"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """Something that does not fit a hand.

    Attributes
    ----------
    part
        ``presence``, ``components``, ``areas``, ``places``, ``neighbours``, ``order``, ``overlaps`` or ``proportions``.
    bones
        Names of the bones concerned; none where the whole image is.
    severity
        Doubtful or wrong.
    text
        In words; millimetres are those of a hand of median size.
    credit
        Of the test that found it, below 1; 0 where it is wrong.
    """

    part: str
    bones: tuple[str, ...]
    severity: Severity
    text: str
    credit: float = 0.0

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Plausibility:
    """Judgement on the masks of one image.

    Attributes
    ----------
    score
        0 to 1: the product of ``parts``.
    parts
        Mean credit, 0 to 1, of the tests of each part.
    findings
        Wrong ones first, and among them those of the bones that most of them name.
    age
        Whose hand it was judged as, one of :data:`~handseg_monai.plausibility.ranges.AGES`.
    unusual, figures
        How many proportions lie beyond those of phantoms, and how many were looked at.
    """

    score: float
    parts: dict[str, float]
    findings: tuple[Finding, ...]
    age: str
    unusual: int = 0
    figures: int = 0

    @property
    def plausible(self) -> bool:
        """Score of at least :data:`LEAST_SCORE`, and nothing is wrong."""
        return self.score >= LEAST_SCORE and not any(f.severity is Severity.WRONG for f in self.findings)


@dataclass(frozen=True)
class _Test:
    """One test: its credit, 0 to 1, and what to say below 1; nothing where another test says it."""

    bones: tuple[int, ...]
    credit: float
    text: str


def _credit(excess: float, run_out: float) -> float:
    return float(np.clip(1 - excess / run_out, 0, 1))


def plausibility(planes: np.ndarray, ranges: PlausibleRanges | None = None) -> Plausibility:
    """Judge the masks of one image by what hands look like, without a truth.

    The score is the product of eight parts, each the mean credit of its tests:

    =========== ========= ===========================================================================================
    part        test for  what it looks at
    =========== ========= ===========================================================================================
    presence    bone      found, if the bones around it put its centre well inside of the image
    components  bone      the largest component holds 95 % of the mask
    areas       bone      area over the hand's scale, which is the median over its bones
    places      bone      its centre lies where the bones around it put it
    neighbours  pair      the gap between bones that articulate is a joint space
    order       pair      rays go from metacarpal to tip and lie in order across the hand; so do carpals and forearm,
                          with radius and trapezium on the thumb's side
    overlaps    bone      only bones that naturally do lie over one another
    proportions hand      the share of its figures (see `hand_proportions`) beyond those of phantoms
    =========== ========= ===========================================================================================

    A test has full credit within the range frozen over phantoms (:mod:`~handseg_monai.plausibility.ranges`),
    widened by :data:`WIDEN`; from there credit falls linearly to 0. Less than full credit is a *doubtful* finding, none
    a *wrong* one; of proportions the share beyond their ranges counts. Bones that the image's border cuts are exempt
    from presence, areas, places, neighbours and order (radius and ulna only where their end is out of view); the area
    of radius and ulna is not judged. A hand whose carpal bones are a young child's is judged by the ranges of that age,
    and bones that ossify late may be missing. The score is the same for a left and a right hand and for any turn;
    whether all masks are mirrored can't be told.

    Parameters
    ----------
    planes
        Bit planes, int32 (H, W), of a hand or a part of it in PA view, at any size.
    ranges
        If None those that the package brings, of the age that suits the masks best (:func:`judge_by_age`).

    Returns
    -------
    judgement
        Score 0 and implausible where fewer than three bones of hand and wrist lie whole in the image: empty masks,
        masks that cover everything.

    Raises
    ------
    TypeError
        The planes are not int32.
    ValueError
        They are not (H, W).
    """
    if planes.dtype != np.int32:
        raise TypeError(f"bit planes are int32, got {planes.dtype}")
    if planes.ndim != 2:
        raise ValueError(f"expected bit planes of shape (H, W), got {planes.shape}")
    if ranges is None:
        return judge_by_age(planes)[0]
    hand = measure_hand(planes, ranges.area)
    return judge_hand(hand, ranges, unusual_proportions(proportions(planes), ranges) if hand else ((), 0))


def judge_by_age(planes: np.ndarray) -> tuple[Plausibility, HandMeasures | None, PlausibleRanges]:
    """Judge the masks of one image, int32 (H, W), as a hand of the age that suits them best.

    Returns
    -------
    judgement, measures, ranges
        The judgement, by which measures and which ranges; no measures where there are too few bones.
    """
    best = None
    measured = measure_by_age(planes)
    unusual = unusual_proportions(proportions(planes)) if measured else ((), 0)
    for hand, ranges in measured:
        judgement = judge_hand(hand, ranges, unusual)
        if best is None or (judgement.plausible, judgement.score) > (best[0].plausible, best[0].score):
            best = judgement, hand, ranges
        if judgement.score == 1.0:
            break
    adult = load_ranges()
    return best or (judge_hand(None, adult), None, adult)


def judge_hand(
    hand: HandMeasures | None, ranges: PlausibleRanges, unusual: tuple[Sequence[str], int] = ((), 0)
) -> Plausibility:
    """Judge a hand that is measured already; see :func:`plausibility`.

    Parameters
    ----------
    hand
        Measures by the areas of ``ranges``, or None where there were too few bones to measure.
    ranges
        What to judge by.
    unusual
        Proportions beyond their ranges, and how many were looked at; see
        :func:`~handseg_monai.plausibility.ranges.unusual_proportions`.
    """
    if hand is None:
        text = f"fewer than {LEAST_WHOLE} bones of hand and wrist lie whole in the image"
        return Plausibility(0.0, {"presence": 0.0}, (Finding("presence", (), Severity.WRONG, text),), ranges.age)
    placement = Placement(hand, ranges.atlas)
    tests = {
        "presence": list(_presence(hand, placement, ranges)),
        "components": list(_components(hand)),
        "areas": list(_areas(hand, ranges)),
        "places": list(_places(hand, placement, ranges)),
        "neighbours": list(_neighbours(hand, ranges)),
        "order": [*_order(hand, placement), *_order_in_rays(hand)],
        "overlaps": list(_overlaps(hand, ranges)),
    }
    tests["proportions"] = list(_proportions(*unusual))
    parts = {part: float(np.mean([t.credit for t in of_part])) if of_part else 1.0 for part, of_part in tests.items()}
    faults = [(test, part) for part, of_part in tests.items() for test in of_part if test.credit < 1 and test.text]
    # One bone astray upsets the tests of its neighbours: what most findings name comes first.
    named = Counter(k for test, _ in faults if test.credit == 0 for k in test.bones)
    faults.sort(
        key=lambda fault: (fault[0].credit > 0, -sum(named[k] for k in fault[0].bones) / max(len(fault[0].bones), 1))
    )
    findings = tuple(
        Finding(
            part,
            tuple(NAMES[k] for k in test.bones),
            Severity.DOUBTFUL if test.credit > 0 else Severity.WRONG,
            test.text,
            test.credit,
        )
        for test, part in faults
    )
    score = float(np.prod(list(parts.values())))
    return Plausibility(score, parts, findings, ranges.age, len(unusual[0]), unusual[1])


def _proportions(unusual: Sequence[str], figures: int) -> Iterator[_Test]:
    limit, run_out = _BEYOND
    if figures >= _FEWEST_FIGURES:
        share = len(unusual) / figures
        text = f"{len(unusual)} of {figures} proportions are unusual, {share:.0%}: {', '.join(unusual[:3])} first"
        yield _Test((), _credit(share - limit, run_out), text)


def disorder(hand: HandMeasures, ranges: PlausibleRanges) -> tuple[float, frozenset[int]]:
    """How far the bones of a hand are out of place and order: quick to compute, for comparing labellings of one hand.

    Returns
    -------
    lost
        Credit lost in the tests of ``places``, ``order`` and ``areas``; 0 where all is in place.
    wrong
        Indices of the bones that those of places and order find wrong.
    """
    placement = Placement(hand, ranges.atlas)
    tests = [*_places(hand, placement, ranges), *_order(hand, placement), *_order_in_rays(hand)]
    lost = sum(1 - test.credit for test in [*tests, *_areas(hand, ranges)])
    return float(lost), frozenset(k for test in tests if test.credit == 0 for k in test.bones)


def _presence(hand: HandMeasures, placement: Placement, ranges: PlausibleRanges) -> Iterator[_Test]:
    for k in range(NUM_BONES):
        if hand.found[k] or k in ranges.late:
            yield _Test((k,), 1.0, "")
        else:
            margin = FOREARM_END if FOREARM[k] else float(np.sqrt(ranges.area[k] / np.pi))
            margin += 0 if placement.known(k) else _ROUGHLY
            if hand.inside(placement.expected(k), margin):
                yield _Test((k,), 0.0, f"{NAMES[k]} is missing")


def _components(hand: HandMeasures) -> Iterator[_Test]:
    limit, run_out = _STRAY
    for k in np.flatnonzero(hand.found).tolist():
        text = f"{NAMES[k]} is in pieces: {hand.stray[k]:.0%} lie apart from the largest"
        yield _Test((k,), _credit(hand.stray[k] - limit, run_out), text)


def _areas(hand: HandMeasures, ranges: PlausibleRanges) -> Iterator[_Test]:
    for k in np.flatnonzero(hand.whole & ~FOREARM).tolist():
        ratio = hand.area[k] / ranges.area[k]
        low = 0.0 if k in ranges.late else ranges.area_ratio[k, 0] / WIDEN
        high = ranges.area_ratio[k, 1] * WIDEN
        size = "large" if ratio > high else "small"
        text = f"{NAMES[k]} is too {size} for this hand: {ratio:.2f} of the usual, {low:.2f} to {high:.2f} expected"
        yield _Test((k,), _credit(float(np.log(max(low / ratio, ratio / high))), float(_AREA_RUN_OUT)), text)


def _places(hand: HandMeasures, placement: Placement, ranges: PlausibleRanges) -> Iterator[_Test]:
    more, run_out = _DISPLACEMENT
    for k in np.flatnonzero(hand.placed).tolist():
        if not placement.known(k):
            continue
        distance = abs(placement.expected(k) - hand.centre[k])
        limit = ranges.displacement[k] * WIDEN + more
        text = f"{NAMES[k]} lies {distance:.0f} mm from where the bones around it put it, up to {limit:.0f} expected"
        yield _Test((k,), _credit(distance - limit, run_out), text)


def _neighbours(hand: HandMeasures, ranges: PlausibleRanges) -> Iterator[_Test]:
    more, run_out = _GAP
    for a, b in sorted(NEIGHBOURS):
        if hand.placed[a] and hand.placed[b]:
            gap, limit = hand.gap(a, b), ranges.gap[a, b] * WIDEN + more
            text = f"{NAMES[a]} and {NAMES[b]} are {gap:.0f} mm apart, up to {limit:.0f} expected"
            yield _Test((a, b), _credit(gap - limit, run_out), text)


def _order(hand: HandMeasures, placement: Placement) -> Iterator[_Test]:
    limit, run_out = _REVERSED
    for pairs, axis, words in (
        (ACROSS, placement.thumbward, "does not lie on the thumb's side of"),
        (ALONG, -placement.up, "does not lie on the forearm's side of"),
    ):
        for a, b in pairs:
            if hand.placed[a] and hand.placed[b]:
                reversed_by = -float(((hand.centre[a] - hand.centre[b]) * axis.conjugate()).real)
                yield _Test((a, b), _credit(reversed_by - limit, run_out), f"{NAMES[a]} {words} {NAMES[b]}")


def _order_in_rays(hand: HandMeasures) -> Iterator[_Test]:
    for ray in RAYS:
        for a, b, c in zip(ray[:-2], ray[1:-1], ray[2:], strict=True):
            if hand.placed[[a, b, c]].all():
                before, after = hand.centre[b] - hand.centre[a], hand.centre[c] - hand.centre[b]
                onwards = (before * after.conj()).real > 0
                text = f"{NAMES[a]}, {NAMES[b]} and {NAMES[c]} do not follow one another"
                yield _Test((a, b, c), float(onwards), text)


def _overlaps(hand: HandMeasures, ranges: PlausibleRanges) -> Iterator[_Test]:
    limits = np.full((NUM_BONES, NUM_BONES), _OTHER_OVERLAP[0])
    run_outs = np.full((NUM_BONES, NUM_BONES), _OTHER_OVERLAP[1])
    for a, b in OVERLAPS:
        # What the border leaves of two bones may well be the part that they share.
        natural = ranges.overlap[a, b] + _NATURAL_OVERLAP[0] if hand.placed[[a, b]].all() else 1.0
        limits[a, b] = limits[b, a] = natural
        run_outs[a, b] = run_outs[b, a] = _NATURAL_OVERLAP[1]
    excess = (hand.overlap - limits) / run_outs
    told: set[tuple[int, int]] = set()
    for k in np.flatnonzero(hand.found).tolist():
        other = int(np.argmax(excess[k]))
        pair = min(k, other), max(k, other)
        credit = _credit(float(excess[k, other]), 1.0)
        text = f"{NAMES[pair[0]]} and {NAMES[pair[1]]} overlap by {hand.overlap[pair]:.0%} of the smaller"
        yield _Test(pair, credit, "" if pair in told else text)
        told.add(pair)
