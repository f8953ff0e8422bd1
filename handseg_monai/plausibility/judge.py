"""How far the masks of one image make up a hand: an anatomical score that needs no truth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from handseg_monai.bones import NAMES
from handseg_monai.plausibility.criteria import Outcome, outcomes
from handseg_monai.plausibility.hand_measures import LEAST_WHOLE, HandMeasures, measure_hand
from handseg_monai.plausibility.hand_proportions import proportions
from handseg_monai.plausibility.ranges import PlausibleRanges, load_ranges, measure_by_age, unusual_proportions

LEAST_SCORE = 0.9
"""Score from which an image without a wrong finding is plausible."""
LEAST_CREDIT = 0.05
"""Credit below which the doubts about one bone, multiplied, are an error: two at a fifth say together what one at 0
says."""


class Severity(StrEnum):
    """Of a finding: what a variant or a poor outline may explain, and what no hand looks like."""

    DOUBTFUL = "doubtful"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """Something that does not fit a hand."""

    part: str
    """``presence``, ``components``, ``areas``, ``places``, ``neighbours``, ``order``, ``overlaps``, ``proportions``."""
    bones: tuple[str, ...]
    """Names of the bones concerned; none where the whole image is."""
    severity: Severity
    """Doubtful or wrong."""
    text: str
    """In words; millimetres are those of a hand of median size."""
    credit: float = 0.0
    """Of the test that found it, 0 to below 1."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Plausibility:
    """Judgement on the masks of one image."""

    score: float
    """0 to 1: the product of ``parts``."""
    parts: dict[str, float]
    """Mean credit, 0 to 1, of the tests of each part."""
    findings: tuple[Finding, ...]
    """Wrong ones first, and among them those of the bones that most of them name."""
    age: str
    """Whose hand it was judged as, one of :data:`~handseg_monai.plausibility.ranges.AGES`."""
    unusual: int = 0
    figures: int = 0
    """How many proportions lie beyond those of phantoms, and how many were looked at."""

    @property
    def plausible(self) -> bool:
        """Score of at least :data:`LEAST_SCORE`, and nothing is wrong."""
        return self.score >= LEAST_SCORE and not any(f.severity is Severity.WRONG for f in self.findings)


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

    A test has full credit within the range frozen over phantoms (:mod:`~handseg_monai.plausibility.ranges`), widened
    by :data:`~handseg_monai.plausibility.criteria.WIDEN`; from there credit falls linearly to 0. Less than full credit
    is a *doubtful* finding, none a *wrong* one; doubtful ones on one bone are wrong where their credits multiply to
    less than :data:`LEAST_CREDIT`. Of proportions the share beyond their ranges counts. Bones that the
    image's border cuts are exempt from presence, areas, places, neighbours and order (radius and ulna only where their
    end is out of view); the area of radius and ulna is not judged. A hand whose carpal bones are a young child's is
    judged by the ranges of that age, and bones that ossify late may be missing. The score is the same for a left and a
    right hand and for any turn; whether all masks are mirrored can't be told.

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
    tests = outcomes(hand, ranges, *unusual)
    parts = {part: float(np.mean([t.credit for t in of_part])) if of_part else 1.0 for part, of_part in tests.items()}
    faults = [(test, part) for part, of_part in tests.items() for test in of_part if test.credit < 1 and test.text]
    credits = [[test.credit for test, _ in faults if k in test.bones and test.credit] for k in range(len(NAMES))]
    astray = {k for k, of_bone in enumerate(credits) if math.prod(of_bone) < LEAST_CREDIT}

    def is_wrong(test: Outcome) -> bool:
        return test.credit == 0 or not astray.isdisjoint(test.bones)

    # One bone astray upsets the tests of its neighbours: what most findings name comes first.
    named = Counter(k for test, _ in faults if is_wrong(test) for k in test.bones)
    faults.sort(
        key=lambda fault: (not is_wrong(fault[0]), -sum(named[k] for k in fault[0].bones) / max(len(fault[0].bones), 1))
    )
    findings = tuple(
        Finding(
            part,
            tuple(NAMES[k] for k in test.bones),
            Severity.WRONG if is_wrong(test) else Severity.DOUBTFUL,
            test.text,
            test.credit,
        )
        for test, part in faults
    )
    score = float(np.prod(list(parts.values())))
    return Plausibility(score, parts, findings, ranges.age, len(unusual[0]), unusual[1])
