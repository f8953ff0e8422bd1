"""The criteria of a plausible hand: what each of the eight parts of the score tests, and with which credit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from handseg_monai.bones import NAMES, NEIGHBOURS, NUM_BONES, OVERLAPS
from handseg_monai.plausibility.bone_order import ACROSS, ALONG, RAYS
from handseg_monai.plausibility.hand_measures import FOREARM, FOREARM_END, HandMeasures
from handseg_monai.plausibility.ranges import Placement, PlausibleRanges

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


@dataclass(frozen=True)
class Outcome:
    """Of one test: its credit, 0 to 1, and what to say below 1; nothing where another test says it."""

    bones: tuple[int, ...]
    credit: float
    text: str


def _credit(excess: float, run_out: float) -> float:
    return float(np.clip(1 - excess / run_out, 0, 1))


def outcomes(
    hand: HandMeasures, ranges: PlausibleRanges, unusual: Sequence[str], figures: int
) -> dict[str, list[Outcome]]:
    """Return what the tests of each part find; for parameters see :func:`.judge.judge_hand`."""
    placement = Placement(hand, ranges.atlas)
    return {
        "presence": list(_presence(hand, placement, ranges)),
        "components": list(_components(hand)),
        "areas": list(_areas(hand, ranges)),
        "places": list(_places(hand, placement, ranges)),
        "neighbours": list(_neighbours(hand, ranges)),
        "order": [*_order(hand, placement), *_order_in_rays(hand)],
        "overlaps": list(_overlaps(hand, ranges)),
        "proportions": list(_proportions(unusual, figures)),
    }


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


def _proportions(unusual: Sequence[str], figures: int) -> Iterator[Outcome]:
    limit, run_out = _BEYOND
    if figures >= _FEWEST_FIGURES:
        share = len(unusual) / figures
        text = f"{len(unusual)} of {figures} proportions are unusual, {share:.0%}: {', '.join(unusual[:3])} first"
        yield Outcome((), _credit(share - limit, run_out), text)


def _presence(hand: HandMeasures, placement: Placement, ranges: PlausibleRanges) -> Iterator[Outcome]:
    for k in range(NUM_BONES):
        if hand.found[k] or k in ranges.late:
            yield Outcome((k,), 1.0, "")
        else:
            margin = FOREARM_END if FOREARM[k] else float(np.sqrt(ranges.area[k] / np.pi))
            margin += 0 if placement.known(k) else _ROUGHLY
            if hand.inside(placement.expected(k), margin):
                yield Outcome((k,), 0.0, f"{NAMES[k]} is missing")


def _components(hand: HandMeasures) -> Iterator[Outcome]:
    limit, run_out = _STRAY
    for k in np.flatnonzero(hand.found).tolist():
        text = f"{NAMES[k]} is in pieces: {hand.stray[k]:.0%} lie apart from the largest"
        yield Outcome((k,), _credit(hand.stray[k] - limit, run_out), text)


def _areas(hand: HandMeasures, ranges: PlausibleRanges) -> Iterator[Outcome]:
    for k in np.flatnonzero(hand.whole & ~FOREARM).tolist():
        ratio = hand.area[k] / ranges.area[k]
        low = 0.0 if k in ranges.late else ranges.area_ratio[k, 0] / WIDEN
        high = ranges.area_ratio[k, 1] * WIDEN
        size = "large" if ratio > high else "small"
        text = f"{NAMES[k]} is too {size} for this hand: {ratio:.2f} of the usual, {low:.2f} to {high:.2f} expected"
        yield Outcome((k,), _credit(float(np.log(max(low / ratio, ratio / high))), float(_AREA_RUN_OUT)), text)


def _places(hand: HandMeasures, placement: Placement, ranges: PlausibleRanges) -> Iterator[Outcome]:
    more, run_out = _DISPLACEMENT
    for k in np.flatnonzero(hand.placed).tolist():
        if not placement.known(k):
            continue
        distance = abs(placement.expected(k) - hand.centre[k])
        limit = ranges.displacement[k] * WIDEN + more
        text = f"{NAMES[k]} lies {distance:.1f} mm from where the bones around it put it, up to {limit:.1f} expected"
        yield Outcome((k,), _credit(distance - limit, run_out), text)


def _neighbours(hand: HandMeasures, ranges: PlausibleRanges) -> Iterator[Outcome]:
    more, run_out = _GAP
    for a, b in sorted(NEIGHBOURS):
        if hand.placed[a] and hand.placed[b]:
            gap, limit = hand.gap(a, b), ranges.gap[a, b] * WIDEN + more
            text = f"{NAMES[a]} and {NAMES[b]} are {gap:.1f} mm apart, up to {limit:.1f} expected"
            yield Outcome((a, b), _credit(gap - limit, run_out), text)


def _order(hand: HandMeasures, placement: Placement) -> Iterator[Outcome]:
    limit, run_out = _REVERSED
    for pairs, axis, words in (
        (ACROSS, placement.thumbward, "does not lie on the thumb's side of"),
        (ALONG, -placement.up, "does not lie on the forearm's side of"),
    ):
        for a, b in pairs:
            if hand.placed[a] and hand.placed[b]:
                reversed_by = -float(((hand.centre[a] - hand.centre[b]) * axis.conjugate()).real)
                yield Outcome((a, b), _credit(reversed_by - limit, run_out), f"{NAMES[a]} {words} {NAMES[b]}")


def _order_in_rays(hand: HandMeasures) -> Iterator[Outcome]:
    for ray in RAYS:
        for a, b, c in zip(ray[:-2], ray[1:-1], ray[2:], strict=True):
            if hand.placed[[a, b, c]].all():
                before, after = hand.centre[b] - hand.centre[a], hand.centre[c] - hand.centre[b]
                onwards = (before * after.conj()).real > 0
                text = f"{NAMES[a]}, {NAMES[b]} and {NAMES[c]} do not follow one another"
                yield Outcome((a, b, c), float(onwards), text)


def _overlaps(hand: HandMeasures, ranges: PlausibleRanges) -> Iterator[Outcome]:
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
        yield Outcome(pair, credit, "" if pair in told else text)
        told.add(pair)
