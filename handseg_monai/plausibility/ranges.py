"""Frozen ranges of a hand's measures over phantoms, and where they put each bone.

:mod:`handseg_monai.plausibility.freeze` writes ``ranges.json`` beside this file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from handseg_monai.bones import BONES, INDEX, NAMES, NEIGHBOURS, NUM_BONES, Group
from handseg_monai.plausibility.hand_measures import HandMeasures, measure_hand
from handseg_monai.plausibility.hand_proportions import Proportions, beyond, view_of

PATH = Path(__file__).with_suffix(".json")
_YEARS = (10, 13), (8, 10), (6, 8), (4, 6)
ADULT = "adult"
AGES = {ADULT: None, **{f"{low} to {high} years": (float(low), float(high)) for low, high in _YEARS}}
"""Ages that have ranges of their own, and their phantoms' skeletal ages; from 13 years on areas are an adult's."""
LAG = -0.28
"""How far the carpal bones that ossify late lag behind those that ossify first, from which a hand is a young child's:
logarithm of areas over the adult's. No adult phantom comes to it, nor most children from eight years on."""
_EARLY = tuple(INDEX[name] for name in ("Capitate", "Hamate"))
_LATE = tuple(INDEX[name] for name in ("Trapezium", "Trapezoid", "Scaphoid", "Lunate", "Triquetrum"))
_LATE_NEEDED = 2
_CARPAL_AREAS = [f"{bone.name} area" for bone in BONES if bone.group is Group.CARPAL]
_GROWN = 0.8
"""Mean area of carpal bones over that of adults' from which no hand is judged by a child's proportions."""

Pair = tuple[int, int]


def _within_two_joints() -> tuple[np.ndarray, ...]:
    touching = np.zeros((NUM_BONES, NUM_BONES), np.int64)
    for a, b in NEIGHBOURS:
        touching[a, b] = touching[b, a] = 1
    near = (touching + touching @ touching) > 0
    np.fill_diagonal(near, False)
    return tuple(np.flatnonzero(row) for row in near)


AROUND = _within_two_joints()
"""For each bone those that at most two joints part it from."""


@dataclass(frozen=True)
class PlausibleRanges:
    """What was measured on phantoms, not widened; millimetres of the median hand."""

    age: str
    """One of :data:`AGES`."""
    late: frozenset[int]
    """Bones that may not have ossified at that age."""
    area: np.ndarray
    """Median area of each bone, float64 (29,), square millimetres. Of radius and ulna what the image shows."""
    area_ratio: np.ndarray
    """Least and greatest area over the median one once the hand's own size is taken out, float64 (29, 2)."""
    atlas: np.ndarray
    """Median centre of each bone in a right hand, fingers up, complex128 (29,)."""
    displacement: np.ndarray
    """Usual greatest distance (:data:`~handseg_monai.plausibility.freeze.USUAL`) of each bone from where the bones
    around it put it (:class:`Placement`), float64 (29,)."""
    gap: dict[Pair, float]
    """Usual greatest gap of each pair of :data:`~handseg_monai.bones.NEIGHBOURS`."""
    overlap: dict[Pair, float]
    """Greatest share of the smaller bone that the larger one covers, for each pair of
    :data:`~handseg_monai.bones.OVERLAPS`."""
    proportions: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    """By view (:func:`~handseg_monai.plausibility.hand_proportions.view_of`) percentiles 1 and 99 of each figure."""


class Placement:
    """A hand laid over the atlas: its side, its axes, and where each bone should be.

    The atlas is moved and turned, not scaled, onto the placed bones by least squares, as it is and mirrored; the
    side with the smaller sum of distances is the hand's.

    Parameters
    ----------
    hand
        Measures with at least one placed bone.
    atlas
        See :class:`PlausibleRanges`.

    Attributes
    ----------
    up, thumbward
        Unit vectors towards the fingertips and the thumb's side, complex numbers.
    side
        ``"left"`` or ``"right"``, of a PA view that is not mirrored.
    """

    def __init__(self, hand: HandMeasures, atlas: np.ndarray) -> None:
        self._hand = hand
        at = np.flatnonzero(hand.placed)
        best = np.inf
        for side, sided in ((-1, atlas), (1, -atlas.conj())):
            turn = turn_onto(sided[at], hand.centre[at])
            moved = hand.centre[at].mean() + turn * (sided - sided[at].mean())
            distance = float(np.abs(moved[at] - hand.centre[at]).sum())
            if distance < best:
                best, self._atlas, self._turn, self._moved = distance, sided, turn, moved
                self.up, self.thumbward = -1j * turn, side * turn
                self.side = "right" if side < 0 else "left"

    def known(self, bone: int) -> bool:
        """Tell whether the bones around one are placed: at least two, and half of them."""
        placed = int(self._hand.placed[AROUND[bone]].sum())
        return placed >= 2 and 2 * placed >= len(AROUND[bone])

    def expected(self, bone: int) -> complex:
        """Centre of a bone by the placed bones around it; by the whole hand, roughly, where these are not known."""
        if not self.known(bone):
            return complex(self._moved[bone])
        around = [k for k in AROUND[bone] if self._hand.placed[k]]
        usual, seen = self._atlas[around], self._hand.centre[around]
        return complex(seen.mean() + turn_onto(usual, seen) * (self._atlas[bone] - usual.mean()))


def turn_onto(points: np.ndarray, onto: np.ndarray) -> complex:
    """Rotation, a complex number of modulus 1, that brings points closest to others by least squares.

    Both are centred first; points without a partner (NaN) count for nothing.
    """
    both = ~np.isnan(points + onto)
    points, onto = points[both], onto[both]
    turn = complex(np.sum((points - points.mean()).conj() * (onto - onto.mean())))
    return turn / abs(turn) if abs(turn) > 0 else 1 + 0j


@cache
def ranges_by_age() -> dict[str, PlausibleRanges]:
    """Read the ranges that the package brings, by :data:`AGES`."""
    return {age: _read_ranges(age, part) for age, part in json.loads(PATH.read_text(encoding="utf-8")).items()}


def load_ranges() -> PlausibleRanges:
    """Return the ranges of an adult's hand that the package brings."""
    return ranges_by_age()[ADULT]


def _read_ranges(age: str, content: Mapping[str, Any]) -> PlausibleRanges:
    bones = [content["bones"][name] for name in NAMES]
    return PlausibleRanges(
        age,
        frozenset(INDEX[name] for name in content["late"]),
        np.array([b["area"] for b in bones]),
        np.array([b["area_ratio"] for b in bones]),
        np.array([complex(*b["centre"]) for b in bones]),
        np.array([b["displacement"] for b in bones]),
        _read_pairs(content["gap"]),
        _read_pairs(content["overlap"]),
        {
            view: {figure: (low, high) for figure, (low, high) in figures.items()}
            for view, figures in content["proportions"].items()
        },
    )


def measure_by_age(planes: np.ndarray) -> list[tuple[HandMeasures, PlausibleRanges]]:
    """Measure a hand, bit planes int32 (H, W), by each age that its carpal bones may have.

    Those that ossify late are much smaller in a young child than those that ossify first (:data:`LAG`). Older children
    can't be told from adults by that, and are measured as such: ranges wide enough for both would let faults pass.

    Returns
    -------
    measures, ranges
        By the areas of the ranges, and these: an adult's first, and a child's of each age where it may be a child.
        Empty where there are too few bones to measure.
    """
    adult = load_ranges()
    hand = measure_hand(planes, adult.area)
    if hand is None:
        return []
    found = [(hand, adult)]
    if _lag(hand, adult) < LAG:
        for age, ranges in ranges_by_age().items():
            measured = measure_hand(planes, ranges.area) if age != ADULT else None
            if measured is not None:
                found.append((measured, ranges))
    return found


def unusual_proportions(hand: Proportions, ranges: PlausibleRanges | None = None) -> tuple[list[str], int]:
    """Return the proportions of a hand that lie beyond those of phantoms, and how many were looked at.

    Without ranges those of adults count, or, where the carpal bones are smaller than any adult's, those of the age that
    suits best.
    """
    adult = load_ranges()
    usual = adult.proportions["any"]
    sizes = [hand.of[name] / np.mean(usual[name]) for name in _CARPAL_AREAS if name in hand.of]
    young = bool(sizes) and float(np.mean(sizes)) < _GROWN
    ages = [ranges] if ranges else list(ranges_by_age().values()) if young else [adult]
    found = [beyond(hand.of, one.proportions.get(view_of(hand.deviation), {})) for one in ages]
    return min(found, key=lambda of_age: len(of_age[0]) / max(of_age[1], 1))


def _lag(hand: HandMeasures, adult: PlausibleRanges) -> float:
    """Median log ratio of area to the adult's, of the late carpal bones less that of the early ones; 0 of too few."""
    late, early = ([k for k in bones if hand.whole[k]] for bones in (_LATE, _EARLY))
    if len(early) < len(_EARLY) or len(late) < _LATE_NEEDED:
        return 0.0
    ratios = np.log(np.maximum(hand.area, 1e-9) / adult.area)
    return float(np.median(ratios[late]) - np.median(ratios[early]))


def _read_pairs(values: dict[str, float]) -> dict[Pair, float]:
    return {(INDEX[a], INDEX[b]): value for key, value in values.items() for a, b in (key.split(),)}
