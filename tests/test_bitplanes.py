"""Bit planes against 29 plain masks, rasterising against OpenCV on the whole image, reducing against fractions."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from handseg_monai.bitplanes import areas, boxes, pack, rasterise, reduce, unpack

Polygons = list[tuple[int, np.ndarray]]


def bits_by_pixel(planes: np.ndarray) -> np.ndarray:
    """Read bit k of each pixel with Python's integers: bool (29, H, W)."""
    masks = np.zeros((29, *planes.shape), bool)
    for row in range(planes.shape[0]):
        for column in range(planes.shape[1]):
            for k in range(29):
                masks[k, row, column] = bool((int(planes[row, column]) >> k) & 1)
    return masks


def fill_whole_image(polygons: Polygons, shape: tuple[int, int]) -> np.ndarray:
    """Fill every polygon on an image of its own, as large as the radiograph, and unite them: bool (29, H, W)."""
    masks = np.zeros((29, *shape), bool)
    for bone, points in polygons:
        filled = np.zeros(shape, np.uint8)
        cv2.fillPoly(filled, [points.astype(np.int32)], 1)
        turns = windings(points, shape)
        masks[bone] |= (filled > 0) | ((turns != 0) & (turns % 2 == 0))
    return masks


def windings(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How often an outline winds round each pixel, by the edges that a ray from it downwards crosses: int (H, W)."""
    turns = np.zeros(shape, int)
    corners = points.tolist()
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        for x in range(max(min(x0, x1), 0), min(max(x0, x1), shape[1])):
            crossing = y0 + Fraction((x - x0) * (y1 - y0), x1 - x0)
            for y in range(shape[0]):
                if y >= crossing:
                    turns[y, x] += 1 if x1 > x0 else -1
    return turns


def area_shares(mask: np.ndarray, size: tuple[int, int]) -> list[list[Fraction]]:
    """Exact share of each output pixel that a mask covers, summed input pixel by input pixel."""
    height, width = Fraction(mask.shape[0], size[0]), Fraction(mask.shape[1], size[1])
    shares = []
    for i in range(size[0]):
        shares.append([])
        for j in range(size[1]):
            top, bottom, left, right = i * height, (i + 1) * height, j * width, (j + 1) * width
            covered = Fraction(0)
            for r in range(floor(top), ceil(bottom)):
                for c in range(floor(left), ceil(right)):
                    if mask[r, c]:
                        covered += (min(bottom, r + 1) - max(top, r)) * (min(right, c + 1) - max(left, c))
            shares[-1].append(covered / (height * width))
    return shares


def assert_majority(reduced: np.ndarray, mask: np.ndarray) -> None:
    """More than half of an output pixel's area decides; an exact half is judged by the area tests further down."""
    for i, row in enumerate(area_shares(mask, reduced.shape)):
        for j, share in enumerate(row):
            if share != Fraction(1, 2):
                assert reduced[i, j] == (share > Fraction(1, 2)), f"pixel ({i}, {j}), share {share}"


def small_bones(count: int, edge: int = 256) -> list[np.ndarray]:
    """Draw ellipses of 4,000 pixels, round to long, at all angles and places: points of each."""
    rng = np.random.default_rng(0)
    bones = []
    for i in range(count):
        x, y = (int(n) for n in rng.integers(edge // 2 - 40, edge // 2 + 40, 2))
        axes = [(36, 36), (50, 25), (64, 20)][i % 3]
        bones.append(cv2.ellipse2Poly((x, y), axes, int(rng.integers(180)), 0, 360, 3))
    return bones


MASKS = hnp.arrays(np.bool_, st.tuples(st.just(29), st.integers(1, 5), st.integers(1, 6)))
PLANES = hnp.arrays(
    np.int32, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.integers(0, 2**29 - 1), fill=st.just(0)
)


class TestPack:
    @given(MASKS)
    def test_bit_k_is_bone_k(self, masks: np.ndarray) -> None:
        planes = pack(masks)
        assert planes.dtype == np.int32
        np.testing.assert_array_equal(bits_by_pixel(planes), masks)

    @given(PLANES)
    def test_unpack_is_the_inverse(self, planes: np.ndarray) -> None:
        masks = unpack(planes)
        assert masks.dtype == np.bool_
        np.testing.assert_array_equal(masks, bits_by_pixel(planes))
        np.testing.assert_array_equal(pack(masks), planes)

    @given(MASKS)
    def test_torch_does_as_numpy(self, masks: np.ndarray) -> None:
        planes = pack(torch.from_numpy(masks))
        assert planes.dtype == torch.int32
        np.testing.assert_array_equal(planes.numpy(), pack(masks))
        unpacked = unpack(planes)
        assert unpacked.dtype == torch.bool
        np.testing.assert_array_equal(unpacked.numpy(), masks)

    @pytest.mark.parametrize("leading", [(2,), (2, 3), (0,)])
    def test_leading_axes_are_kept(self, leading: tuple[int, ...]) -> None:
        masks = np.random.default_rng(0).random((*leading, 29, 4, 5)) < 0.5
        planes = pack(masks)
        assert planes.shape == (*leading, 4, 5)
        for index in np.ndindex(leading):
            np.testing.assert_array_equal(planes[index], pack(masks[index]))
        np.testing.assert_array_equal(unpack(planes), masks)
        np.testing.assert_array_equal(pack(torch.from_numpy(masks)).numpy(), planes)
        np.testing.assert_array_equal(unpack(torch.from_numpy(planes)).numpy(), masks)

    def test_every_bone_at_once_stays_below_bit_29(self) -> None:
        everything = np.ones((29, 2, 3), bool)
        for planes in (pack(everything), pack(torch.from_numpy(everything)).numpy()):
            np.testing.assert_array_equal(planes, np.full((2, 3), 2**29 - 1))
        whole = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])
        planes = rasterise([(k, whole) for k in range(29)], (10, 10))
        np.testing.assert_array_equal(planes, np.full((10, 10), 2**29 - 1))
        np.testing.assert_array_equal(reduce(planes, (4, 7)), np.full((4, 7), 2**29 - 1))

    @pytest.mark.parametrize("shape", [(28, 4, 5), (30, 4, 5), (29, 4), (4, 5, 29)])
    def test_another_number_of_masks_is_refused(self, shape: tuple[int, ...]) -> None:
        for masks in (np.zeros(shape, bool), torch.zeros(shape, dtype=torch.bool)):
            with pytest.raises(ValueError, match=rf"\(\.\.\., 29, H, W\), got \({shape[0]}, "):
                pack(masks)

    def test_probabilities_are_refused(self) -> None:
        with pytest.raises(TypeError, match=r"boolean masks, got float32; threshold"):
            pack(np.zeros((29, 4, 5), np.float32))
        with pytest.raises(TypeError, match=r"boolean masks, got torch\.uint8; threshold"):
            pack(torch.zeros((29, 4, 5), dtype=torch.uint8))

    def test_planes_of_another_dtype_are_refused(self) -> None:
        with pytest.raises(TypeError, match="int32, got float32"):
            unpack(np.zeros((4, 5), np.float32))
        with pytest.raises(TypeError, match=r"int32, got torch\.int64"):
            unpack(torch.zeros((4, 5), dtype=torch.int64))
        with pytest.raises(TypeError, match="int32, got uint32"):
            areas(np.zeros((4, 5), np.uint32))
        with pytest.raises(TypeError, match="int32, got int64"):
            reduce(np.zeros((4, 5), np.int64), (2, 2))


class TestAreasAndBoxes:
    @given(PLANES)
    def test_areas_count_the_pixels_of_each_bone(self, planes: np.ndarray) -> None:
        np.testing.assert_array_equal(areas(planes), bits_by_pixel(planes).sum(axis=(1, 2)))

    @given(PLANES)
    def test_boxes_are_tight_around_each_bone_that_is_there(self, planes: np.ndarray) -> None:
        expected = []
        for k, mask in enumerate(bits_by_pixel(planes)):
            rows, columns = np.nonzero(mask)
            if len(rows):
                expected.append((k, (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))))
        assert list(boxes(planes)) == expected


class TestRasterise:
    @settings(max_examples=150)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([0, 1, 28]),
                hnp.arrays(np.int32, st.tuples(st.integers(3, 6), st.just(2)), elements=st.integers(-2, 24)),
            ),
            max_size=4,
        )
    )
    def test_equals_filling_the_whole_image_and_uniting(self, polygons: Polygons) -> None:
        planes = rasterise(polygons, (23, 17))
        assert planes.dtype == np.int32
        np.testing.assert_array_equal(unpack(planes), fill_whole_image(polygons, (23, 17)))

    @pytest.mark.parametrize("by", [(-30, 0), (30, 0), (0, -40), (0, 40), (-30, -40), (30, 40), (200, 0), (0, -200)])
    def test_a_bone_that_crosses_the_edge_is_cut_there(self, by: tuple[int, int]) -> None:
        points = cv2.ellipse2Poly((30, 40), (25, 17), 20, 0, 360, 5) + by
        planes = rasterise([(5, points)], (80, 60))
        np.testing.assert_array_equal(unpack(planes), fill_whole_image([(5, points)], (80, 60)))

    def test_a_bone_given_twice_is_the_union(self) -> None:
        """Also where the two polygons cross: one even-odd fill of both would leave a hole."""
        square = np.array([[2, 2], [12, 2], [12, 12], [2, 12]])
        planes = rasterise([(4, square), (9, square), (4, square + 5)], (20, 20))
        once, shifted = fill_whole_image([(4, square)], (20, 20))[4], fill_whole_image([(4, square + 5)], (20, 20))[4]
        np.testing.assert_array_equal(planes & (1 << 4) != 0, once | shifted)
        np.testing.assert_array_equal(planes & (1 << 9) != 0, once)
        assert (once & shifted).sum() == 36

    def test_bones_that_overlap_are_both_whole(self) -> None:
        first = cv2.ellipse2Poly((20, 20), (12, 9), 0, 0, 360, 5)
        planes = rasterise([(25, first), (26, first + 4)], (40, 50))
        masks = fill_whole_image([(25, first), (26, first + 4)], (40, 50))
        assert (masks[25] & masks[26]).any()
        np.testing.assert_array_equal(unpack(planes), masks)

    def test_no_polygons_are_no_bones(self) -> None:
        np.testing.assert_array_equal(rasterise([], (3, 4)), np.zeros((3, 4), np.int32))
        np.testing.assert_array_equal(rasterise([], (3, 4), (2, 2)), np.zeros((2, 2), np.int32))


SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))


OUTLINE = cv2.ellipse2Poly((128, 100), (80, 40), 30, 0, 360, 2)
SHAKY = np.rint(OUTLINE + np.random.default_rng(3).normal(0, 0.8, OUTLINE.shape)).astype(np.int32)


class TestOutlinesOverThemselves:
    """An outline that runs over itself is filled once; even-odd filling would leave nothing but the outline."""

    @pytest.mark.parametrize(
        "outline",
        [
            np.concatenate([OUTLINE, OUTLINE]),
            np.concatenate([OUTLINE] * 4),
            np.concatenate([OUTLINE, OUTLINE[::-1]]),
            np.roll(np.concatenate([OUTLINE, OUTLINE[::-1]]), 77, axis=0),
            np.concatenate([OUTLINE, OUTLINE[:40]]),
            np.concatenate([OUTLINE, OUTLINE[:40], OUTLINE[:40][::-1]]),
        ],
        ids=["twice", "four times", "there and back", "from the middle", "too far", "too far and back"],
    )
    def test_the_same_line_gives_the_same_mask(self, outline: np.ndarray) -> None:
        expected = rasterise([(4, OUTLINE)], (200, 256))
        np.testing.assert_array_equal(rasterise([(4, outline)], (200, 256)), expected)
        np.testing.assert_array_equal(
            rasterise([(4, outline)], (200, 256), (70, 90)), rasterise([(4, OUTLINE)], (200, 256), (70, 90))
        )

    @pytest.mark.parametrize("second", [SHAKY, SHAKY[::-1]], ids=["twice", "there and back"])
    def test_a_second_round_by_a_shaky_hand_gives_both(self, second: np.ndarray) -> None:
        found = rasterise([(4, np.concatenate([OUTLINE, second]))], (200, 256)) != 0
        both = rasterise([(4, OUTLINE), (4, SHAKY)], (200, 256)) != 0
        assert np.sum(found != both) < 0.01 * both.sum()

    def test_an_outline_that_crosses_itself_near_its_end_has_no_hole(self) -> None:
        """As where a hand goes on a little beyond where it began."""
        points = [[10, 10], [60, 10], [60, 60], [10, 60], [10, 5], [17, 5], [17, 30]]
        np.testing.assert_array_equal(
            unpack(rasterise([(0, np.array(points))], (70, 70))), fill_whole_image([(0, np.array(points))], (70, 70))
        )

    def test_a_figure_of_eight_keeps_both_loops_and_nothing_else(self) -> None:
        angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        for scale in (6, 60):
            points = np.rint(100 + scale * np.stack([np.sin(angles), np.sin(2 * angles)], axis=1)).astype(np.int32)
            plain = np.zeros((200, 200), np.uint8)
            cv2.fillPoly(plain, [points], 1)
            np.testing.assert_array_equal(rasterise([(0, points)], (200, 200)), plain)

    def test_a_hole_that_an_outline_goes_round_backwards_stays_open(self) -> None:
        """An outline with a bridge to the hole, as tools write holes."""
        outer, inner = [[10, 10], [90, 10], [90, 90], [10, 90]], [[40, 40], [40, 60], [60, 60], [60, 40]]
        ring = np.array([*outer, outer[0], *inner, inner[0]])
        assert rasterise([(0, ring)], (100, 100))[50, 50] == 0

    @settings(max_examples=100)
    @given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.floats(0.05, 1))
    def test_simple_outlines_are_those_of_opencv(self, seed: int, count: int, least: float) -> None:
        rng = np.random.default_rng(seed)
        angles, radii = np.sort(rng.uniform(0, 2 * np.pi, count)), rng.uniform(40 * least, 40, count)
        points = np.rint(50 + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)).astype(np.int32)
        plain = np.zeros((100, 100), np.uint8)
        cv2.fillPoly(plain, [points], 1)
        np.testing.assert_array_equal(rasterise([(0, points)], (100, 100)), plain)


class TestReduce:
    @settings(max_examples=60)
    @given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))), SIZES, st.integers(0, 28))
    def test_the_majority_of_a_pixels_area_decides(self, mask: np.ndarray, size: tuple[int, int], bone: int) -> None:
        reduced = reduce(mask.astype(np.int32) << np.int32(bone), size)
        assert reduced.dtype == np.int32
        assert reduced.shape == size
        assert set(np.unique(reduced)) <= {0, 1 << bone}
        assert_majority(reduced != 0, mask)

    @pytest.mark.parametrize("size", [(16, 11), (13, 17), (29, 40), (31, 9), (57, 23)])
    def test_overlapping_bones_are_judged_one_by_one(self, size: tuple[int, int]) -> None:
        points = cv2.ellipse2Poly((11, 14), (8, 6), 30, 0, 360, 10)
        polygons = [(0, points), (28, points + np.array([3, 2])), (28, points // 2 + 9)]
        reduced = reduce(rasterise(polygons, (31, 23)), size)
        masks = fill_whole_image(polygons, (31, 23))
        for k in (0, 28):
            assert_majority((reduced >> k) & 1 != 0, masks[k])
        assert set(np.unique(reduced)) <= {0, 1, 1 << 28, 1 | 1 << 28}

    @settings(max_examples=60)
    @given(hnp.arrays(np.int32, st.tuples(st.integers(3, 7), st.just(2)), elements=st.integers(-4, 34)), SIZES)
    def test_rasterising_at_a_size_is_reducing_the_whole(self, points: np.ndarray, size: tuple[int, int]) -> None:
        polygons = [(2, points), (7, points[::-1] // 2)]
        np.testing.assert_array_equal(rasterise(polygons, (31, 23), size), reduce(rasterise(polygons, (31, 23)), size))

    def test_the_same_size_changes_nothing(self) -> None:
        planes = np.random.default_rng(0).integers(0, 2**29, (7, 9), dtype=np.int32)
        np.testing.assert_array_equal(reduce(planes, (7, 9)), planes)

    def test_a_whole_factor_larger_repeats_each_pixel(self) -> None:
        planes = np.random.default_rng(0).integers(0, 2**29, (7, 9), dtype=np.int32)
        np.testing.assert_array_equal(reduce(planes, (21, 18)), planes.repeat(3, axis=0).repeat(2, axis=1))

    def test_mirroring_before_and_after_is_the_same(self) -> None:
        """Pixel centres are aligned: nothing drifts to one side (47 x 39 to 20 x 17 has no exact halves)."""
        planes = rasterise([(1, cv2.ellipse2Poly((15, 20), (12, 9), 25, 0, 360, 5))], (47, 39))
        expected = reduce(planes, (20, 17))
        for axis in (0, 1):
            np.testing.assert_array_equal(np.flip(reduce(np.flip(planes, axis), (20, 17)), axis), expected)


class TestTruthRule:
    """A bone of 4,000 pixels on an image of 2048, here cut to its 256 x 256 surroundings at the same ratios."""

    @pytest.mark.parametrize("size", [128, 192, 171, 96, 85, 64, 300])
    def test_small_bones_keep_their_area(self, size: int) -> None:
        ratios = []
        for points in small_bones(96):
            area = areas(rasterise([(3, points)], (256, 256)))[3]
            assert 3_900 < area < 4_300
            ratios.append(areas(rasterise([(3, points)], (256, 256), (size, size)))[3] * (256 / size) ** 2 / area)
        assert np.mean(ratios) == pytest.approx(1, abs=0.005)

    @pytest.mark.parametrize(("size", "least"), [(128, 0.985), (192, 0.99), (171, 0.985), (375, 0.999)])
    def test_small_bones_come_back_from_another_size(self, size: int, least: float) -> None:
        scores = []
        for points in small_bones(24):
            truth = rasterise([(3, points)], (256, 256))
            back = reduce(reduce(truth, (size, size)), (256, 256))
            scores.append(2 * np.count_nonzero(back & truth) / (np.count_nonzero(back) + np.count_nonzero(truth)))
        assert np.mean(scores) >= least

    def test_filling_at_the_small_size_would_break_the_rule(self) -> None:
        """What the rule is there to prevent, so that the limits above are known to tell the difference."""
        ratios = []
        for points in small_bones(24):
            small = rasterise([(3, np.rint((points + 0.5) / 2 - 0.5).astype(np.int32))], (128, 128))
            ratios.append(4 * areas(small)[3] / areas(rasterise([(3, points)], (256, 256)))[3])
        assert np.mean(ratios) > 1.025
