"""Proportions of hands: what is measured, and that phantoms have those of real hands."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from handseg_monai.bitplanes import reduce
from handseg_monai.bones import INDEX
from handseg_monai.plausibility.hand_proportions import Proportions, beyond, proportions, view_of
from handseg_monai.plausibility.judge import plausibility
from handseg_monai.plausibility.ranges import load_ranges
from tests.benchmarks.proportions import compared, measured
from tests.hands import hand, mask, phantom, with_mask, without


@pytest.fixture(scope="module")
def standard() -> list[Proportions]:
    return [found for number in range(40) for found in measured(31, 768, "standard", number)]


class TestFigures:
    def test_a_bar_has_the_lengths_and_widths_of_a_bar(self) -> None:
        planes = np.zeros((600, 400), np.int32)
        planes[100:300, 150:190] |= 1 << INDEX["finger-11"]
        planes[320:400, 140:200] |= 1 << INDEX["Capitate"]
        planes[150:250, 50:70] |= 1 << INDEX["finger-7"]
        figures = proportions(planes).of
        assert figures["finger-11 length"] == 1
        assert figures["finger-7 length"] == pytest.approx(0.5)
        for part in ("base", "waist", "head"):
            assert figures[f"finger-11 {part} width"] == pytest.approx(0.2)
            assert figures[f"finger-7 {part} width"] == pytest.approx(0.2)
        assert figures["Capitate area"] == pytest.approx(80 * 60 / 200**2)
        assert (figures["Capitate long"], figures["Capitate wide"]) == pytest.approx((0.4, 0.3))
        gap = figures["finger-11|Capitate gap"]
        assert gap == pytest.approx(21 / 200, abs=0.01)
        assert figures["finger-11|Capitate overlap"] == 0

    @pytest.mark.parametrize("number", [0, 1, 4])
    def test_size_turn_and_side_hardly_matter(self, number: int) -> None:
        planes = hand(number)
        before = proportions(planes)
        for change in (
            lambda p: np.rot90(p),
            lambda p: p[:, ::-1],
            lambda p: np.kron(p, np.ones((3, 3), np.int32)),
            lambda p: reduce(p, (400, 400)),
        ):
            after = proportions(np.ascontiguousarray(change(planes)))
            assert set(after.of) == set(before.of)
            assert max(abs(after.of[name] - before.of[name]) for name in before.of) < 0.1
            assert np.mean([abs(after.of[name] - before.of[name]) for name in before.of]) < 0.008
            assert after.deviation == pytest.approx(before.deviation, abs=1.5)

    def test_bones_that_are_missing_or_cut_have_none(self) -> None:
        planes = hand(0)
        assert not any("Lunate" in name for name in proportions(without(planes, "Lunate")).of)
        rows = np.nonzero(mask(planes, "finger-8"))[0]
        cut = proportions(planes[int(rows.mean()) :])
        assert not any(name.startswith("finger-8") for name in cut.of)
        assert "finger-10 length" in cut.of
        assert proportions(without(planes, "finger-11")) == Proportions({}, None)

    def test_the_deviation_is_the_phantoms(self) -> None:
        for number in range(8):
            assert proportions(hand(number)).deviation == pytest.approx(phantom(number).pose.deviation, abs=8)
        assert (view_of(0.0), view_of(-42.0), view_of(-20.0), view_of(None)) == ("straight", "bent", "any", "any")


class TestPhantomsAgreeWithRealHands:
    @pytest.mark.parametrize("view", ["straight", "bent"])
    def test_most_figures_lie_within_half_a_standard_deviation(self, standard: list[Proportions], view: str) -> None:
        rows = compared(standard, view)
        assert len(rows) > 220
        shifts = np.abs([row.shift for row in rows])
        # 85 % in a large sample; 40 people leave some chance.
        assert np.mean(shifts <= 0.5) > 0.7, rows[:20]
        assert shifts.max() < 2.5, rows[:5]
        assert np.median([row.spread for row in rows]) == pytest.approx(1.1, abs=0.3)

    def test_both_views_are_as_frequent(self, standard: list[Proportions]) -> None:
        views = [view_of(hand.deviation) for hand in standard]
        assert 0.3 < views.count("straight") / len(views) < 0.6
        assert 0.35 < views.count("bent") / len(views) < 0.7

    def test_hard_is_wider_about_the_same_middles(self, standard: list[Proportions]) -> None:
        hard = [found for number in range(40) for found in measured(31, 768, "hard", number)]
        for name in ("finger-9 head width", "finger-6 length", "Lunate area", "finger-19 length"):
            usual, wide = (
                np.array([found.of[name] for found in some if name in found.of]) for some in (standard, hard)
            )
            assert np.median(wide) == pytest.approx(np.median(usual), rel=0.08), name
            assert wide.std() > 1.1 * usual.std(), name


class TestJudgement:
    def test_true_masks_have_few_unusual_figures(self) -> None:
        judgements = [plausibility(hand(number)) for number in range(16)]
        assert all(judgement.figures > 200 for judgement in judgements)
        assert np.mean([judgement.unusual / judgement.figures for judgement in judgements]) < 0.04

    def test_shrunken_bones_are_unusual_and_lower_the_score(self) -> None:
        planes = hand(2)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        thin = np.zeros_like(planes)
        for name in INDEX:
            small = cv2.erode(mask(planes, name).astype(np.uint8), kernel, iterations=3) > 0
            thin = with_mask(thin, name, small)
        judgement = plausibility(thin)
        assert judgement.unusual > 15 > 3 * plausibility(planes).unusual
        assert judgement.score < 0.98
        finding = next(found for found in judgement.findings if found.part == "proportions")
        assert "proportions are unusual" in finding.text

    def test_what_lies_furthest_beyond_its_range_comes_first(self) -> None:
        ranges = {"a": (0.0, 1.0), "b": (0.0, 1.0), "c": (0.0, 1.0)}
        assert beyond({"a": 1.5, "b": -3.0, "c": 1.05, "d": 9.0}, ranges) == (["b", "a"], 3)

    def test_ranges_are_those_of_both_views(self) -> None:
        ranges = load_ranges().proportions
        assert set(ranges) == {"straight", "bent", "any"}
        assert all(low <= high for view in ranges.values() for low, high in view.values())
        assert ranges["bent"]["Scaphoid long"][0] > ranges["straight"]["Scaphoid long"][0]
