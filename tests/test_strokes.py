"""Strokes of the page against slow references in exact fractions, and what they leave alone."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handseg_monai.serve.strokes import FARTHEST, brush, clear, polygon

SHAPE = (13, 17)
BONE = 4
Points = list[tuple[Fraction, Fraction]]


def eighths(least: int, most: int) -> st.SearchStrategy[float]:
    return st.integers(8 * least, 8 * most).map(lambda n: n / 8)


def points(least: int) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(st.tuples(eighths(-8, 25), eighths(-8, 21)), min_size=least, max_size=7)


def planes(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 29, SHAPE).astype(np.int32)


def centres() -> list[tuple[int, int, Fraction, Fraction]]:
    return [
        (row, column, column + Fraction(1, 2), row + Fraction(1, 2))
        for row in range(SHAPE[0])
        for column in range(SHAPE[1])
    ]


def is_near(x: Fraction, y: Fraction, line: Points, square: Fraction) -> bool:
    """Whether a point lies within the root of ``square`` of a line."""
    for (ax, ay), (bx, by) in zip(line, line[1:] or line, strict=False):
        dx, dy = bx - ax, by - ay
        length = dx * dx + dy * dy
        share = min(max(((x - ax) * dx + (y - ay) * dy) / length, Fraction(0)), Fraction(1)) if length else Fraction(0)
        if (x - ax - share * dx) ** 2 + (y - ay - share * dy) ** 2 <= square:
            return True
    return False


def turns(x: Fraction, y: Fraction, corners: Points) -> int:
    """How often a polygon winds round a point; a side that goes through it counts as left of it."""
    found = 0
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        if min(ay, by) <= y < max(ay, by) and ax + (y - ay) * (bx - ax) / (by - ay) <= x:
            found += 1 if ay < by else -1
    return found


def exact(line: list[tuple[float, float]]) -> Points:
    return [(Fraction(x), Fraction(y)) for x, y in line]


def drawn(before: np.ndarray, box: tuple[slice, slice], mask: np.ndarray) -> np.ndarray:
    """The bone's mask once it is replaced within a box; the stroke's own image must have stayed as it was."""
    after = before >> BONE & 1 != 0
    after[box] = mask
    return after


@given(points(1), eighths(1, 9), st.booleans())
@settings(max_examples=50)
def test_a_brush_reaches_the_centres_within_its_radius(
    line: list[tuple[float, float]], radius: float, erase: bool
) -> None:
    image = planes()
    box, mask = brush(image, BONE, np.array(line), radius, erase)
    near = np.zeros(SHAPE, bool)
    for row, column, x, y in centres():
        near[row, column] = is_near(x, y, exact(line), Fraction(radius) ** 2)
    before = image >> BONE & 1 != 0
    assert np.array_equal(drawn(image, box, mask), before & ~near if erase else before | near)
    assert np.array_equal(image, planes())


@given(points(3), st.booleans())
@settings(max_examples=50)
def test_a_polygon_encloses_the_centres_that_it_winds_round(corners: list[tuple[float, float]], cut: bool) -> None:
    image = planes()
    box, mask = polygon(image, BONE, np.array(corners), cut)
    inside = np.zeros(SHAPE, bool)
    for row, column, x, y in centres():
        inside[row, column] = turns(x, y, exact(corners)) != 0
    before = image >> BONE & 1 != 0
    assert np.array_equal(drawn(image, box, mask), before & ~inside if cut else before | inside)


def test_a_polygon_traced_twice_or_backwards_encloses_the_same() -> None:
    corners = np.array([[3, 3], [16, 4], [9, 12]])
    once = polygon(planes(), BONE, corners)[1]
    assert np.array_equal(polygon(planes(), BONE, np.concatenate([corners, corners]))[1], once)
    assert np.array_equal(polygon(planes(), BONE, corners[::-1])[1], once)


@given(st.tuples(eighths(0, SHAPE[1] - 1), eighths(0, SHAPE[0] - 1)))
def test_a_touch_of_the_smallest_brush_colours_the_pixel_under_it(point: tuple[float, float]) -> None:
    box, mask = brush(np.zeros(SHAPE, np.int32), BONE, np.array([point]), 0)
    row, column = int(point[1]) - box[0].start, int(point[0]) - box[1].start
    assert mask[row, column]
    assert mask.sum() <= 4


def test_only_the_box_around_a_stroke_is_touched() -> None:
    box, mask = brush(np.zeros((2048, 2048), np.int32), BONE, np.array([[100.0, 200.0], [140.0, 210.0]]), 6)
    assert (box[0].start, box[0].stop, box[1].start, box[1].stop) == (194, 216, 94, 146)
    assert mask.shape == (22, 52)


@pytest.mark.parametrize("place", [(-50.0, 5.0), (5.0, -50.0), (500.0, 5.0), (5.0, 500.0), (-FARTHEST, FARTHEST)])
def test_a_stroke_beside_the_image_changes_nothing(place: tuple[float, float]) -> None:
    away = np.clip(np.array(place) + np.array([(0, 0), (3, 0), (0, 3)]), -FARTHEST, FARTHEST)
    image = planes()
    for box, mask in (brush(image, BONE, away, 4), polygon(image, BONE, away)):
        assert np.array_equal(drawn(image, box, mask), image >> BONE & 1 != 0)


def test_clear_rubs_out_all_of_a_bone() -> None:
    image = np.zeros(SHAPE, np.int32)
    image[4:9, 3:17] = 1 << BONE | 1
    box, mask = clear(image, BONE)
    assert not drawn(image, box, mask).any()
    assert mask.shape == (5, 14)
    assert clear(image, BONE + 1)[1].size == 0


@pytest.mark.parametrize(
    ("line", "radius", "words"),
    [
        ([], 3, "expected 1 or more pairs"),
        ([[1, 2, 3]], 3, "expected 1 or more pairs"),
        ([[1, float("nan")]], 3, "finite"),
        ([[1, float("inf")]], 3, "finite"),
        ([[1, 2 * FARTHEST]], 3, "finite"),
        ([[1, 2]], float("nan"), "expected a number of pixels"),
        ([[1, 2]], -1, "expected a number of pixels"),
        ([[1, 2]] * 10_001, 3, "at most 10000"),
    ],
)
def test_what_is_no_stroke_is_said_in_words(line: list[list[float]], radius: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        brush(planes(), BONE, np.array(line, float), radius)


def test_a_line_that_would_take_long_is_not_begun() -> None:
    with pytest.raises(ValueError, match="draw it in parts"):
        brush(np.zeros((2048, 2048), np.int32), BONE, np.full((5000, 2), 1000.0), 700)


def test_a_polygon_has_three_corners() -> None:
    with pytest.raises(ValueError, match="expected 3 or more"):
        polygon(planes(), BONE, np.zeros((2, 2)))


def test_strokes_on_a_large_image_take_less_than_ten_milliseconds() -> None:
    image = np.zeros((2048, 2048), np.int32)
    angle = np.linspace(0, 6, 300)
    line = np.stack([1000 + 300 * np.cos(angle), 1000 + 300 * np.sin(angle)], axis=1)

    def least(stroke: str) -> float:
        times = []
        for _ in range(10):
            start = time.thread_time()
            brush(image, BONE, line, 20) if stroke == "brush" else polygon(image, BONE, line)
            times.append(time.thread_time() - start)
        return min(times)

    least("brush"), least("polygon")  # they are compiled first
    assert least("brush") < 0.01
    assert least("polygon") < 0.01
