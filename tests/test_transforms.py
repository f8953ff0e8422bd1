"""Transforms: sizes and alignment on loading, bit planes exact through warps, logits back at the image's own size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import albumentations as A
import cv2
import numpy as np
import pytest
import scipy.ndimage
import skimage.measure
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, ScaleIntensityRangePercentilesd
from PIL import Image

from handseg_monai import bundle_root
from handseg_monai.bitplanes import boxes, pack, rasterise, unpack
from handseg_monai.bones import BONES, INDEX, NAMES, Group
from handseg_monai.data.labels.competition import read_polygons
from handseg_monai.phantom import render_planes
from handseg_monai.phantom.presets import preset
from handseg_monai.rle import decode_planes, encode_planes, read_csv, write_csv
from handseg_monai.transforms import (
    CleanPlanesd,
    LoadBonePlanesd,
    LoadRadiographd,
    RandAlbumentationsd,
    ScalePercentilesd,
    drop_apart,
    drop_covered,
    drop_pieces,
    drop_small,
    fill_holes,
    fitted_shape,
)
from tests.conftest import draw_radiograph, write_label

SHAPE = (512, 384)


def drawn_planes(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Bit planes of 29 overlapping bones."""
    _, polygons = draw_radiograph(0, shape)
    return rasterise([(INDEX[name], np.array(points)) for name, points in polygons.items()], shape)


def configured(name: str) -> list[Any]:
    """New instances of the transforms of train.json of one class, at a small size."""
    parser = ConfigParser(ConfigParser.load_config_file(bundle_root() / "configs" / "train.json"))
    parser["size"], parser["window"] = max(SHAPE), 96
    return [t for t in parser.get_parsed_content("train#preprocessing").transforms if type(t).__name__ == name]


def configured_albumentations() -> list[A.BasicTransform]:
    return [transform for adapter in configured("RandAlbumentationsd") for transform in adapter.compose.transforms]


GEOMETRIC = [transform for transform in configured_albumentations() if isinstance(transform, A.DualTransform)]
# Some that a configuration may come to hold; A.Affine chooses an interpolation for masks and is told another one here.
OTHERS = [
    A.Affine(rotate=(-30, 30), scale=(0.7, 1.3), interpolation=cv2.INTER_CUBIC, mask_interpolation=cv2.INTER_LINEAR),
    A.OneOf([A.ElasticTransform(alpha=30, sigma=6, mask_interpolation=cv2.INTER_LINEAR), A.Perspective()], p=1),
    A.GridDistortion(mask_interpolation=cv2.INTER_CUBIC),
    A.Transpose(),
    A.RandomResizedCrop((300, 260), scale=(0.5, 1.0)),
]


def name_of(transform: Any) -> str:
    return type(transform).__name__


def always(transform: A.BasicTransform) -> A.BasicTransform:
    transform.p = 1
    return transform


def warp(transforms: list[Any], image: np.ndarray, planes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    adapter = RandAlbumentationsd("image", "label", transforms)
    adapter.set_random_state(seed=seed)
    out = adapter({"image": torch.from_numpy(image[None]), "label": torch.from_numpy(planes[None])})
    assert out["image"].dtype == torch.float32
    assert out["label"].dtype == torch.int32
    assert out["image"].shape == out["label"].shape
    return out["image"][0].numpy(), out["label"][0].numpy()


def assert_exact(transforms: list[Any], seed: int) -> None:
    """Every value occurs in the input or is 0, and a palette image of one byte a pixel is warped to the same."""
    planes = drawn_planes()
    values, palette = np.unique(planes, return_inverse=True)
    assert values[0] == 0
    assert len(values) <= 256
    blank = np.zeros(SHAPE, np.float32)
    _, warped = warp(transforms, blank, planes, seed)
    assert np.isin(warped, values).all()

    compose = A.Compose(transforms, mask_interpolation=cv2.INTER_NEAREST)
    adapter = RandAlbumentationsd("image", "label", transforms)
    adapter.set_random_state(seed=seed)
    compose.set_random_seed(int(adapter.R.randint(2**31 - 1)))
    expected = compose(image=blank[..., None], mask=palette.reshape(SHAPE).astype(np.uint8))["mask"]
    assert expected.dtype == np.uint8
    assert np.mean(values[expected] != warped) <= 1e-4
    assert len(np.unique(warped)) > 10


class TestRandAlbumentations:
    def test_the_configuration_has_geometric_transforms(self) -> None:
        assert "Affine" in [name_of(transform) for transform in GEOMETRIC]

    @pytest.mark.parametrize("transform", GEOMETRIC + OTHERS, ids=name_of)
    @pytest.mark.parametrize("seed", range(3))
    def test_bit_planes_are_exact_through_each_geometric_transform(
        self, transform: A.BasicTransform, seed: int
    ) -> None:
        assert_exact([always(transform)], seed)

    @pytest.mark.parametrize("seed", range(3))
    def test_bit_planes_are_exact_through_all_of_the_configuration(self, seed: int) -> None:
        assert_exact(configured_albumentations(), seed)

    @pytest.mark.parametrize("transform", GEOMETRIC + OTHERS, ids=name_of)
    @pytest.mark.parametrize("seed", range(3))
    def test_image_and_planes_move_together(self, transform: A.BasicTransform, seed: int) -> None:
        planes = drawn_planes()
        bone = (planes & (1 << INDEX["Capitate"] | 1 << INDEX["finger-4"])) != 0
        image, warped = warp([always(transform)], bone.astype(np.float32), planes, seed)
        moved = (warped & (1 << INDEX["Capitate"] | 1 << INDEX["finger-4"])) != 0
        # Linear against nearest: they may differ on the outline, by a pixel.
        kernel = np.ones((3, 3), np.uint8)
        inner, outer = cv2.erode(moved.astype(np.uint8), kernel), cv2.dilate(moved.astype(np.uint8), kernel)
        assert inner.sum() > 1000
        assert (image[inner > 0] > 0.5).all()
        assert (image[outer == 0] < 0.5).all()
        assert not np.array_equal(moved, bone)

    def test_pixel_transforms_leave_the_planes_alone(self) -> None:
        planes, image = drawn_planes(), np.full(SHAPE, 0.5, np.float32)
        pixel = [always(t) for t in configured_albumentations() if not isinstance(t, A.DualTransform)]
        assert pixel
        changed, same = warp(pixel, image, planes, 0)
        np.testing.assert_array_equal(same, planes)
        assert not np.array_equal(changed, image)

    def test_the_image_stays_between_0_and_1(self) -> None:
        image = np.random.default_rng(0).random(SHAPE, np.float32)
        overshoot = A.Lambda(image=lambda image, **_: image * 3 - 1, p=1)
        clipped, _ = warp([overshoot], image, drawn_planes(), 0)
        np.testing.assert_array_equal(clipped, np.clip(image * 3 - 1, 0, 1))

    def test_the_draw_is_a_function_of_the_random_state(self) -> None:
        image, planes = np.random.default_rng(0).random(SHAPE, np.float32), drawn_planes()
        transforms = configured_albumentations()
        first = warp(transforms, image, planes, 1)
        again = warp(transforms, image, planes, 1)
        other = warp(transforms, image, planes, 2)
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
        assert not np.array_equal(first[0], other[0])

    def test_one_random_state_gives_a_new_draw_each_time(self) -> None:
        adapter = RandAlbumentationsd("image", "label", [A.GaussNoise(p=1)])
        adapter.set_random_state(seed=0)
        data = {"image": torch.full((1, *SHAPE), 0.5), "label": torch.zeros((1, *SHAPE), dtype=torch.int32)}
        assert not torch.equal(adapter(data)["image"], adapter(data)["image"])

    def test_the_input_is_not_changed(self) -> None:
        data = {"image": torch.rand(1, *SHAPE), "label": torch.from_numpy(drawn_planes()[None])}
        before = {key: value.clone() for key, value in data.items()}
        adapter = RandAlbumentationsd("image", "label", [always(t) for t in configured_albumentations()])
        adapter(data)
        for key, value in before.items():
            torch.testing.assert_close(data[key], value, rtol=0, atol=0)


class TestPaddingAndCropping:
    def test_padding_keeps_the_planes_and_fills_with_no_bone(self) -> None:
        (pad,) = configured("SpatialPadd")
        planes = drawn_planes()
        out = pad({"image": torch.rand(1, *SHAPE), "label": torch.from_numpy(planes[None])})
        label = torch.as_tensor(out["label"])
        assert label.dtype == torch.int32
        assert tuple(label.shape) == tuple(out["image"].shape) == (1, max(SHAPE), max(SHAPE))
        height, width = SHAPE
        top, left = (max(SHAPE) - height) // 2, (max(SHAPE) - width) // 2
        np.testing.assert_array_equal(label[0, top : top + height, left : left + width].numpy(), planes)
        assert np.count_nonzero(label) == np.count_nonzero(planes)

    def test_cropping_takes_the_same_window_of_image_and_planes(self) -> None:
        (crop,) = configured("RandSpatialCropd")
        planes = np.arange(SHAPE[0] * SHAPE[1], dtype=np.int32).reshape(1, *SHAPE) * 17_000 % 2**29
        image = torch.from_numpy(planes.astype(np.float64))
        corners = set()
        for seed in range(4):
            crop.set_random_state(seed=seed)
            out = crop({"image": image, "label": torch.from_numpy(planes)})
            label = torch.as_tensor(out["label"])
            assert label.dtype == torch.int32
            assert tuple(label.shape) == (1, 96, 96)
            np.testing.assert_array_equal(label.numpy(), np.asarray(out["image"]).astype(np.int64))
            row, column = np.argwhere(planes[0] == int(label[0, 0, 0]))[0]
            np.testing.assert_array_equal(label[0], planes[0, row : row + 96, column : column + 96])
            corners.add((int(row), int(column)))
        assert len(corners) == 4


class TestLoadRadiograph:
    @pytest.mark.parametrize(
        ("shape", "size", "expected"),
        [
            ((96, 72), None, (96, 72)),
            ((96, 72), 48, (48, 36)),
            ((72, 96), 48, (36, 48)),
            ((96, 72), 192, (192, 144)),
            ((50, 50), 33, (33, 33)),
            ((101, 37), 50, (50, 18)),
            ((400, 3), 32, (32, 1)),
        ],
    )
    def test_the_long_side_becomes_the_size_and_the_aspect_stays(
        self, tmp_path: Path, shape: tuple[int, int], size: int | None, expected: tuple[int, int]
    ) -> None:
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros(shape, np.uint8))
        out = LoadRadiographd("image", size)({"image": str(tmp_path / "a.png"), "name": "a.png"})
        assert fitted_shape(shape, size) == expected
        assert out["image"].dtype == torch.float32
        assert tuple(out["image"].shape) == (1, *expected)
        assert out["image_size"].dtype == torch.int64
        assert out["image_size"].tolist() == list(shape)
        assert out["name"] == "a.png"

    def test_without_a_size_the_grey_values_are_as_stored(self, tmp_path: Path) -> None:
        stored = np.random.default_rng(0).integers(0, 65536, (40, 30), dtype=np.uint16)
        cv2.imwrite(str(tmp_path / "a.png"), stored)
        out = LoadRadiographd("image")({"image": str(tmp_path / "a.png")})
        np.testing.assert_array_equal(out["image"][0].numpy(), stored)

    @pytest.mark.parametrize(("side", "shape"), [(24, (24, 18)), (500, (96, 72))])
    def test_a_picture_to_show_is_the_stored_image_stretched_and_at_most_so_large(
        self, tmp_path: Path, side: int, shape: tuple[int, int]
    ) -> None:
        stored = np.random.default_rng(0).integers(1000, 3000, (96, 72), dtype=np.uint16)
        cv2.imwrite(str(tmp_path / "a.png"), stored)
        item = {"image": str(tmp_path / "a.png")}
        out = LoadRadiographd("image", 40, picture_side=side)(item)
        assert torch.equal(out["image"], LoadRadiographd("image", 40)(item)["image"])
        assert out["picture"].dtype == torch.uint8
        small = cv2.resize(stored, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
        low, high = np.percentile(small, (0.5, 99.5))
        np.testing.assert_allclose(out["picture"], 255 * np.clip((small - low) / (high - low), 0, 1), atol=1)
        assert "picture" not in LoadRadiographd("image", 40)(item)

    @pytest.mark.parametrize("size", [24, 40, 96, 100, 192, 250])
    @pytest.mark.parametrize("shape", [(96, 72), (72, 96)])
    def test_pixel_centres_are_aligned(self, tmp_path: Path, shape: tuple[int, int], size: int) -> None:
        """A ramp stays: output pixel i has the value of the input at (i + .5) s - .5, within 0.06 pixels."""
        for axis in (0, 1):
            ramp = np.broadcast_to(np.expand_dims(np.arange(shape[axis]) * 500, 1 - axis), shape).astype(np.uint16)
            cv2.imwrite(str(tmp_path / "a.png"), ramp)
            image = LoadRadiographd("image", size)({"image": str(tmp_path / "a.png")})["image"][0].numpy()
            scale = shape[axis] / image.shape[axis]
            expected = np.expand_dims((np.arange(image.shape[axis]) + 0.5) * scale - 0.5, 1 - axis) * 500
            inside = slice(2, -2)  # at the border a larger image repeats the last pixel
            np.testing.assert_allclose(
                image[inside, inside], np.broadcast_to(expected, image.shape)[inside, inside], atol=0.06 * 500
            )

    def test_a_smaller_image_is_the_mean_of_areas(self, tmp_path: Path) -> None:
        stored = np.random.default_rng(0).integers(0, 256, (96, 72), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "a.png"), stored)
        image = LoadRadiographd("image", 24)({"image": str(tmp_path / "a.png")})["image"][0].numpy()
        expected = np.array([[stored[r : r + 4, c : c + 4].mean() for c in range(0, 72, 4)] for r in range(0, 96, 4)])
        np.testing.assert_allclose(image, expected, atol=0.5)


class TestScalePercentiles:
    @pytest.mark.parametrize("percentiles", [(0.5, 99.5), (0.0, 100.0), (12.34, 77.7)])
    @pytest.mark.parametrize("values", ["bytes", "few bytes", "deep", "fractions", "negative"])
    @pytest.mark.parametrize("shape", [(1, 1, 7), (1, 97, 31), (1, 256, 300)])
    def test_it_does_as_monai(self, shape: tuple[int, ...], values: str, percentiles: tuple[float, float]) -> None:
        rng = np.random.default_rng(int(np.prod(shape)))
        drawn = {
            "bytes": rng.normal(90, 60, shape).clip(0, 255).round(),
            "few bytes": rng.choice([3, 4, 200], shape),
            "deep": rng.integers(0, 65536, shape),
            "fractions": rng.gamma(2.0, 30.0, shape),
            "negative": rng.integers(-128, 128, shape),
        }[values]
        image = torch.from_numpy(drawn.astype(np.float32))
        before = image.clone()
        scaled = ScalePercentilesd("image", *percentiles)({"image": image})["image"]
        plain = ScaleIntensityRangePercentilesd("image", *percentiles, b_min=0.0, b_max=1.0, clip=True)
        assert scaled.dtype == torch.float32
        torch.testing.assert_close(scaled, torch.as_tensor(plain({"image": image})["image"]), rtol=0, atol=1e-6)
        assert torch.equal(image, before), "the cached image is left as it is"

    @pytest.mark.parametrize("background", [7.0, 7.25])
    def test_one_value_has_no_range(self, background: float) -> None:
        image = torch.full((1, 40, 50), background)
        image[0, 3, 4], image[0, 9, 9] = 90.0, 2.0
        scaled = ScalePercentilesd("image", 0.5, 99.5)({"image": image})["image"]
        assert scaled.sum() == scaled[0, 3, 4] == 1.0

    def test_extreme_values_make_no_noise(self, recwarn: pytest.WarningsRecorder) -> None:
        image = np.linspace(-3e38, 3e38, 200, dtype=np.float32).reshape(1, 10, 20)
        image.flags.writeable = False
        scaled = ScalePercentilesd("image", 25, 75)({"image": image})["image"]
        assert (scaled[0, 0].numpy() == 0).all()
        assert (scaled[0, -1].numpy() == 1).all()
        assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]

    @pytest.mark.parametrize("percentiles", [(50.0, 50.0), (99.0, 1.0), (-1.0, 50.0), (5.0, 101.0)])
    def test_percentiles_out_of_order_are_refused(self, percentiles: tuple[float, float]) -> None:
        with pytest.raises(ValueError, match="0 <= lower < upper <= 100"):
            ScalePercentilesd("image", *percentiles)


class TestLoadBonePlanes:
    @pytest.mark.parametrize("size", [None, 48, 61, 120])
    def test_planes_are_the_truth_rule_at_the_images_size(self, tmp_path: Path, size: int | None) -> None:
        image, polygons = draw_radiograph(3, (96, 72))
        cv2.imwrite(str(tmp_path / "a.png"), image)
        write_label(tmp_path / "a.json", polygons)
        load = Compose([LoadRadiographd("image", size), LoadBonePlanesd("label", size)])
        out = load({"image": str(tmp_path / "a.png"), "label": str(tmp_path / "a.json")})
        assert out["label"].dtype == torch.int32
        assert out["label"].shape == out["image"].shape
        expected = rasterise(read_polygons(tmp_path / "a.json", (96, 72)), (96, 72), fitted_shape((96, 72), size))
        np.testing.assert_array_equal(out["label"][0].numpy(), expected)
        assert all(unpack(expected).any(axis=(1, 2)))


def masks_by_probability(logits: torch.Tensor, size: tuple[int, int], threshold: float) -> np.ndarray:
    """The plain path: all 29 channels interpolated, sigmoid, threshold."""
    return (torch.sigmoid(torch.nn.functional.interpolate(logits[None], size, mode="bilinear")[0]) > threshold).numpy()


class TestDropPieces:
    """Bone 3 of one large, one half as large and one small piece, and bone 7 of one alone."""

    PLANES = np.zeros((20, 30), np.int32)
    PLANES[1:9, 1:11] |= 1 << 3
    PLANES[12:17, 1:9] |= 1 << 3
    PLANES[2:4, 20:24] |= 1 << 3
    PLANES[0:6, 18:30] |= 1 << 7

    @pytest.mark.parametrize(
        ("least", "area"), [(0.0, 128), (0.1, 128), (0.11, 120), (0.5, 120), (0.51, 80), (1.0, 80)]
    )
    def test_pieces_below_a_share_of_the_largest_go(self, least: float, area: int) -> None:
        before = self.PLANES.copy()
        kept = drop_pieces(self.PLANES, least, 1.0)
        np.testing.assert_array_equal(self.PLANES, before)
        assert (kept >> 3 & 1).sum() == area
        np.testing.assert_array_equal(kept >> 7 & 1, before >> 7 & 1)
        assert kept.dtype == np.int32

    @pytest.mark.parametrize(("least_carpal", "area"), [(0.4, 120), (0.51, 80), (1.0, 80)])
    def test_carpal_bones_have_a_share_of_their_own(self, least_carpal: float, area: int) -> None:
        scaphoid = ((self.PLANES >> 3 & 1) << INDEX["Scaphoid"]).astype(np.int32)
        kept = drop_pieces(self.PLANES | scaphoid, 0.0, least_carpal)
        assert (kept >> INDEX["Scaphoid"] & 1).sum() == area
        np.testing.assert_array_equal(kept & np.int32(1 << 3 | 1 << 7), self.PLANES)

    def test_equals_labelling_each_mask(self) -> None:
        rng = np.random.default_rng(0)
        planes = pack(cv2.blur(rng.random((40, 50, 29)), (5, 5)).transpose(2, 0, 1) > 0.55)
        expected = unpack(planes)
        for bone, mask in zip(BONES, expected, strict=True):
            least = 0.7 if bone.group is Group.CARPAL else 0.4
            labels = skimage.measure.label(mask, connectivity=2)
            sizes = np.bincount(labels.ravel())[1:]
            for piece in np.flatnonzero(sizes < least * sizes.max(initial=0)):
                mask[labels == piece + 1] = 0
        np.testing.assert_array_equal(unpack(drop_pieces(planes, 0.4, 0.7)), expected)


class TestDropCovered:
    """A scaphoid three fifths of which lie within the capitate, and a pisiform within the triquetrum."""

    PLANES = np.zeros((30, 40), np.int32)
    PLANES[2:20, 2:20] |= 1 << INDEX["Capitate"]
    PLANES[14:24, 5:15] |= 1 << INDEX["Scaphoid"]
    PLANES[5:15, 22:38] |= 1 << INDEX["Triquetrum"]
    PLANES[6:12, 24:30] |= 1 << INDEX["Pisiform"]
    PLANES[4:10, 4:10] |= 1 << INDEX["finger-7"]

    def test_the_smaller_of_two_that_lie_apart_in_a_hand_goes(self) -> None:
        before = self.PLANES.copy()
        kept = drop_covered(self.PLANES, 0.5)
        np.testing.assert_array_equal(self.PLANES, before)
        assert kept.dtype == np.int32
        np.testing.assert_array_equal(kept, before & np.int32(~(1 << INDEX["Scaphoid"])))

    def test_a_covered_piece_goes_and_the_one_beside_stays(self) -> None:
        """A child's scaphoid that is a dot, and a larger blob of it over the capitate."""
        planes = self.PLANES.copy()
        planes[25:28, 3:7] |= 1 << INDEX["Scaphoid"]
        mask = drop_covered(planes, 0.5) >> INDEX["Scaphoid"] & 1
        assert mask[25:28, 3:7].all()
        assert mask.sum() == 12

    @pytest.mark.parametrize(("columns", "kept"), [(6, False), (5, True)])
    def test_of_trapezium_and_trapezoid_with_nearly_one_outline_the_smaller_goes(
        self, columns: int, kept: bool
    ) -> None:
        planes = np.zeros((20, 20), np.int32)
        planes[5:15, 5:15] |= 1 << INDEX["Trapezium"]
        planes[5:15, 5 : 5 + columns] |= 1 << INDEX["Trapezoid"]
        after = drop_covered(planes, 0.5)
        assert (after >> INDEX["Trapezium"] & 1).sum() == 100
        assert (after >> INDEX["Trapezoid"] & 1).any() == kept

    @staticmethod
    def wrist(early: float, late: float, names: tuple[str, ...] = ()) -> np.ndarray:
        """A third metacarpal of 200 pixels and carpal bones apart, with these shares of an adult's areas."""
        planes = np.zeros((640, 700), np.int32)
        planes[20:220, 300:330] |= 1 << INDEX["finger-11"]
        adult = {"Capitate": 0.079, "Hamate": 0.057, "Scaphoid": 0.057, "Lunate": 0.042, "Triquetrum": 0.037}
        for place, (name, area) in enumerate((adult | {"Trapezium": 0.049, "Trapezoid": 0.031}).items()):
            if name not in names:
                side = round((area * (early if place < 2 else late)) ** 0.5 * 200)
                x, y = 20 + 160 * (place % 4), 260 + 160 * (place // 4)
                planes[y : y + side, x : x + side] |= 1 << INDEX[name]
        planes[500:530, 500:530] |= 1 << INDEX["Pisiform"]
        return planes

    @pytest.mark.parametrize(
        ("early", "late", "kept"), [(1.0, 1.0, True), (0.8, 0.5, True), (0.6, 0.4, False), (0.3, 0.1, False)]
    )
    def test_no_pisiform_before_the_other_carpal_bones_have_grown(self, early: float, late: float, kept: bool) -> None:
        planes = self.wrist(early, late)
        after = drop_covered(planes, 0.5)
        assert (after >> INDEX["Pisiform"] & 1).any() == kept
        np.testing.assert_array_equal(after & np.int32(~(1 << INDEX["Pisiform"])), planes & ~(1 << INDEX["Pisiform"]))

    @pytest.mark.parametrize(("late", "kept"), [(0.8, True), (0.5, False)])
    def test_where_the_metacarpal_is_cut_capitate_and_hamate_tell(self, late: float, kept: bool) -> None:
        planes = np.ascontiguousarray(self.wrist(1.0, late)[100:])
        assert (drop_covered(planes, 0.5) >> INDEX["Pisiform"] & 1).any() == kept

    def test_a_speck_neither_excuses_a_bone_nor_becomes_it(self) -> None:
        for place in ((0, 39), (27, 3)):
            planes = self.PLANES.copy()
            planes[place] |= 1 << INDEX["Scaphoid"]
            assert not (drop_covered(planes, 0.5) >> INDEX["Scaphoid"] & 1).any()

    def test_where_bones_are_not_seen_an_adult_keeps_the_pisiform(self) -> None:
        planes = self.wrist(1.0, 1.0, ("Scaphoid", "Trapezium", "Lunate"))
        np.testing.assert_array_equal(drop_covered(planes, 0.5), planes)
        cut = self.wrist(0.6, 0.4)
        cut[-3:, 100:200] |= 1 << INDEX["Scaphoid"]
        assert (drop_covered(cut, 0.5) >> INDEX["Pisiform"] & 1).any(), "a bone that the border cuts tells nothing"

    def test_a_stray_piece_covers_nothing(self) -> None:
        """A lunate of its own place, and a blob of it over the scaphoid, smaller than it."""
        planes = np.zeros((40, 40), np.int32)
        planes[2:10, 2:10] |= 1 << INDEX["Scaphoid"]
        planes[1:11, 1:11] |= 1 << INDEX["Lunate"]
        planes[20:35, 20:35] |= 1 << INDEX["Lunate"]
        kept = drop_covered(planes, 0.5)
        assert (kept >> INDEX["Scaphoid"] & 1).sum() == 64

    def test_of_two_alike_one_stays(self) -> None:
        planes = np.zeros((20, 20), np.int32)
        planes[4:12, 4:12] = 1 << INDEX["Scaphoid"] | 1 << INDEX["Capitate"]
        kept = drop_covered(planes, 0.5)
        assert {int(v) for v in np.unique(kept)} in (
            {0, 1 << INDEX["Scaphoid"]},
            {0, 1 << INDEX["Capitate"]},
        )

    @pytest.mark.parametrize(("most", "kept"), [(0.59, False), (0.6, True), (1.0, True)])
    def test_only_beyond_the_share(self, most: float, kept: bool) -> None:
        assert bool((drop_covered(self.PLANES, most) >> INDEX["Scaphoid"] & 1).any()) == kept

    @pytest.mark.parametrize("rows", [slice(None, 20), slice(14, None)])
    def test_what_the_border_cuts_stays(self, rows: slice) -> None:
        """The capitate ends with the image, or it and the scaphoid begin with it."""
        cut = np.ascontiguousarray(self.PLANES[rows])
        np.testing.assert_array_equal(drop_covered(cut, 0.5), cut)

    def test_nothing_of_nothing(self) -> None:
        np.testing.assert_array_equal(drop_covered(np.zeros((4, 5), np.int32), 0.5), np.zeros((4, 5), np.int32))

    def test_true_hands_keep_all(self, phantom_dataset: Path) -> None:
        load = Compose([LoadRadiographd("image", None), LoadBonePlanesd("label", None)])
        for path in sorted(phantom_dataset.rglob("*.json")):
            image = path.parents[2] / "DCM" / path.parent.name / f"{path.stem}.png"
            planes = load({"image": str(image), "label": str(path)})["label"][0].numpy()
            np.testing.assert_array_equal(drop_covered(planes, 0.5), planes)


class TestFillHoles:
    """A bone of 96 pixels with a hole of 4, and another one within the hole and beyond."""

    PLANES = np.zeros((20, 20), np.int32)
    PLANES[5:15, 5:15] |= 1 << 3
    PLANES[8:10, 8:10] ^= 1 << 3
    PLANES[9:18, 9:18] |= 1 << 7

    @pytest.mark.parametrize(("most", "filled"), [(0.0, False), (0.04, False), (0.042, True), (1.0, True)])
    def test_holes_up_to_a_share_of_the_bone_are_filled(self, most: float, filled: bool) -> None:
        before = self.PLANES.copy()
        out = fill_holes(self.PLANES, most)
        np.testing.assert_array_equal(self.PLANES, before)
        assert out.dtype == np.int32
        assert (out >> 3 & 1).sum() == (100 if filled else 96)
        np.testing.assert_array_equal(out >> 7 & 1, before >> 7 & 1)

    def test_bays_and_the_border_are_no_holes(self) -> None:
        planes = self.PLANES.copy()
        planes[8:10, 5:10] &= ~np.int32(1 << 3)
        cut = self.PLANES[9:].copy()
        for open_ in (planes, cut):
            np.testing.assert_array_equal(fill_holes(open_, 1.0), open_)

    def test_equals_filling_each_mask(self) -> None:
        rng = np.random.default_rng(1)
        planes = pack(cv2.blur(rng.random((40, 50, 29)), (3, 3)).transpose(2, 0, 1) > 0.45)
        expected = np.stack([scipy.ndimage.binary_fill_holes(mask) for mask in unpack(planes)])
        assert (expected != unpack(planes)).any()
        np.testing.assert_array_equal(unpack(fill_holes(planes, 1.0)), expected)


@pytest.fixture(scope="module")
def planes() -> np.ndarray:
    """Bit planes of a phantom's whole hand, int32 (512, 512)."""
    return render_planes(5, 0, "right", preset("easy"), 512)[0]


class TestDropSmall:
    """The hand of a phantom, and specks of bones."""

    @staticmethod
    def shrunken(planes: np.ndarray, bone: int, share: float) -> np.ndarray:
        """Planes whose bone keeps so much of its area, by rows from its top."""
        rows, columns = np.nonzero(planes >> bone & 1)
        gone = round((1 - share) * len(rows))
        out = planes.copy()
        out[rows[:gone], columns[:gone]] &= ~np.int32(1 << bone)
        return out

    def test_true_hands_keep_all(self, planes: np.ndarray) -> None:
        assert drop_small(planes, 0.25) is planes

    @pytest.mark.parametrize(("bone", "share", "kept"), [(5, 0.15, False), (5, 0.4, True), (10, 0.15, False)])
    def test_a_finger_bone_that_is_too_small_for_the_hand_goes(
        self, planes: np.ndarray, bone: int, share: float, kept: bool
    ) -> None:
        small = self.shrunken(planes, bone, share)
        before = small.copy()
        out = drop_small(small, 0.25)
        np.testing.assert_array_equal(small, before)
        np.testing.assert_array_equal(out, small if kept else small & ~np.int32(1 << bone))

    @pytest.mark.parametrize(("share", "kept"), [(0.05, True), (0.004, False)])
    def test_of_carpal_bones_only_specks_go(self, planes: np.ndarray, share: float, kept: bool) -> None:
        small = self.shrunken(planes, INDEX["Trapezoid"], share)
        bone = np.int32(1 << INDEX["Trapezoid"])
        assert (small & bone).any()
        np.testing.assert_array_equal(drop_small(small, 0.25), small if kept else small & ~bone)

    @pytest.mark.parametrize("covered", [False, True])
    def test_of_cut_bones_those_go_that_others_cover(self, planes: np.ndarray, covered: bool) -> None:
        bone = np.int32(1 << INDEX["finger-9"])
        cut = np.pad(planes & ~bone, ((0, 0), (6, 0)))
        cut[200:230, :6] |= bone
        if covered:
            cut[200:230, :6] |= np.int32(1 << INDEX["finger-11"])
        np.testing.assert_array_equal(drop_small(cut, 0.25), cut & ~bone if covered else cut)

    def test_a_speck_at_the_border_goes(self, planes: np.ndarray) -> None:
        bone = np.int32(1 << INDEX["finger-9"])
        cut = np.pad(planes & ~bone, ((0, 0), (6, 0)))
        cut[200:204, :2] |= bone
        np.testing.assert_array_equal(drop_small(cut, 0.25), cut & ~bone)

    def test_the_scale_needs_three_whole_bones(self, planes: np.ndarray) -> None:
        few = planes & np.int32(1 << 5 | 1 << 6)
        assert drop_small(self.shrunken(few, 5, 0.01), 0.25).any()
        np.testing.assert_array_equal(drop_small(np.zeros((4, 5), np.int32), 0.25), np.zeros((4, 5), np.int32))


class TestDropApart:
    @staticmethod
    def with_tip_at(planes: np.ndarray, row: int) -> np.ndarray:
        """Planes whose index fingertip lies somewhere else, in the same columns."""
        tip = np.int32(1 << INDEX["finger-4"])
        rows, columns = np.nonzero(planes & tip)
        out = planes & ~tip
        out[rows - rows.min() + row, columns] |= tip
        return out

    def test_true_hands_keep_all(self, planes: np.ndarray) -> None:
        assert drop_apart(planes, 30.0) is planes

    def test_a_fingertip_on_the_forearm_goes_and_the_others_stay(self, planes: np.ndarray) -> None:
        (rows, _) = dict(boxes(planes))[INDEX["finger-4"]]
        moved = self.with_tip_at(planes, planes.shape[0] - (rows.stop - rows.start))
        before = moved.copy()
        np.testing.assert_array_equal(drop_apart(moved, 30.0), moved & ~np.int32(1 << INDEX["finger-4"]))
        np.testing.assert_array_equal(moved, before)

    def test_without_what_it_articulates_with_any_other_bone_counts(self, planes: np.ndarray) -> None:
        alone = planes & ~np.int32(1 << INDEX["finger-5"])
        assert drop_apart(alone, 30.0) is alone
        (rows, _) = dict(boxes(planes))[INDEX["finger-4"]]
        tip = np.int32(1 << INDEX["finger-4"])
        wide = np.pad(alone, ((0, 4 * planes.shape[0]), (0, 0)))
        moved = self.with_tip_at(wide, wide.shape[0] - 1 - (rows.stop - rows.start))
        np.testing.assert_array_equal(drop_apart(moved, 30.0), moved & ~tip)

    def test_distances_are_those_of_a_hand_of_median_size(self, planes: np.ndarray) -> None:
        """A fingertip that is dropped from an image is dropped from one twice as large."""
        moved = self.with_tip_at(planes, planes.shape[0] - 60)
        large = np.repeat(np.repeat(moved, 2, axis=0), 2, axis=1)
        dropped = []
        for most in (30.0, 60.0, 90.0, 120.0, 150.0, 240.0):
            result = drop_apart(moved, most)
            np.testing.assert_array_equal(drop_apart(large, most)[::2, ::2], result)
            dropped.append(bool((result != moved).any()))
        assert dropped == sorted(dropped, reverse=True)
        assert dropped[0]
        assert not dropped[-1]

    def test_of_a_few_bones_nobody_knows_the_scale(self, planes: np.ndarray) -> None:
        few = planes & np.int32((1 << INDEX["finger-4"]) | (1 << INDEX["Radius"]))
        assert drop_apart(few, 0.01) is few


class TestCleanPlanes:
    NOTHING: ClassVar[dict[str, float]] = {
        "most_covered": 1.0,
        "least_piece": 0.0,
        "least_carpal_piece": 0.0,
        "least_bone": 0.0,
        "most_apart": 0.0,
        "most_hole": 0.0,
    }

    def test_each_share_does_its_own_part(self, planes: np.ndarray) -> None:
        pieces, covered, holes = TestDropPieces.PLANES, TestDropCovered.PLANES, TestFillHoles.PLANES
        small = TestDropSmall.shrunken(planes, 5, 0.1)
        apart = TestDropApart.with_tip_at(planes, planes.shape[0] - 60)
        for before, changed, result in (
            (pieces, {"least_piece": 1.0, "least_carpal_piece": 1.0}, drop_pieces(pieces, 1.0, 1.0)),
            (covered, {"most_covered": 0.5}, drop_covered(covered, 0.5)),
            (holes, {"most_hole": 1.0}, fill_holes(holes, 1.0)),
            (small, {"least_bone": 0.25}, drop_small(small, 0.25)),
            (apart, {"most_apart": 30.0}, drop_apart(apart, 30.0)),
        ):
            given = torch.from_numpy(before.copy())[None]
            out = CleanPlanesd("pred", **self.NOTHING | changed)({"pred": given})["pred"]
            np.testing.assert_array_equal(out[0].numpy(), result)
            assert (result != before).any()
            np.testing.assert_array_equal(CleanPlanesd("pred", **self.NOTHING)({"pred": given})["pred"][0], before)

    def test_two_hands_are_cleaned_each_for_itself(self) -> None:
        holes = TestFillHoles.PLANES
        given = torch.from_numpy(np.stack([holes, holes[::-1]]))
        out = CleanPlanesd("pred", **self.NOTHING | {"most_hole": 1.0})({"pred": given})["pred"].numpy()
        filled = fill_holes(holes, 1.0)
        assert (filled != holes).any()
        np.testing.assert_array_equal(out, np.stack([filled, filled[::-1]]))

    def test_failures_pass(self) -> None:
        failed = {"pred": torch.zeros(1, 0, 0), "failure": "not an image"}
        assert CleanPlanesd("pred", 0.5, 0.5, 1.0, 0.25, 30.0, 0.1)(failed) == failed

    @pytest.mark.parametrize("value", [-1.0, float("inf"), True, "far"])
    def test_a_distance_that_is_none_is_refused(self, value: object) -> None:
        with pytest.raises(ValueError, match="most_apart: expected millimetres, 0 or more, got "):
            CleanPlanesd("pred", **self.NOTHING | {"most_apart": value})

    @pytest.mark.parametrize("name", sorted(NOTHING.keys() - {"most_apart"}))
    def test_a_share_beyond_one_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match=rf"{name}: expected a share from 0 to 1, got 1\.2"):
            CleanPlanesd("pred", **self.NOTHING | {name: 1.2})


class TestOrientation:
    """An asymmetric, non-square radiograph from its file to the submission and back."""

    @pytest.mark.parametrize("shape", [(90, 60), (60, 90)])
    @pytest.mark.parametrize("size", [None, 45, 90, 180])
    def test_a_bone_comes_back_where_it_was(self, tmp_path: Path, shape: tuple[int, int], size: int | None) -> None:
        height, width = shape
        # The Ulna low at the left, an L-shaped Radius at the top: no mirroring or transposing maps them to themselves.
        masks = np.zeros((29, *shape), bool)
        masks[INDEX["Ulna"], height - 24 : height - 6, 4:16] = True
        masks[INDEX["Radius"], 6:12, 6 : width - 20] = True
        masks[INDEX["Radius"], 6:36, 6:12] = True
        grey = np.full(shape, 10, np.uint8)
        grey[masks[INDEX["Ulna"]]], grey[masks[INDEX["Radius"]]] = 120, 240
        Image.fromarray(grey).save(tmp_path / "a.png")
        corners = {
            "Ulna": [[4, height - 24], [15, height - 24], [15, height - 7], [4, height - 7]],
            "Radius": [[6, 6], [width - 21, 6], [width - 21, 11], [11, 11], [11, 35], [6, 35]],
        }
        write_label(tmp_path / "a.json", corners)

        load = Compose([LoadRadiographd("image", size), LoadBonePlanesd("label", size)])
        item = load({"image": str(tmp_path / "a.png"), "label": str(tmp_path / "a.json")})
        grey_levels, labels = item["image"][0].numpy(), unpack(item["label"][0].numpy())
        for name, level in (("Ulna", 120), ("Radius", 240)):
            inner = cv2.erode(labels[INDEX[name]].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            assert inner.any()
            np.testing.assert_allclose(grey_levels[inner], level, atol=1)

        # A network that draws the label: bright pixels become logits, as a segmentation would.
        logits = torch.full((29, *grey_levels.shape), -9.0)
        logits[INDEX["Ulna"]] = torch.from_numpy(60 - np.abs(grey_levels - 120))
        logits[INDEX["Radius"]] = torch.from_numpy(grey_levels - 180)
        height, width = (int(n) for n in item["image_size"])
        planes = pack(masks_by_probability(logits, (height, width), 0.5))
        write_csv(tmp_path / "s.csv", [("a.png", encode_planes(planes))])
        decoded = unpack(decode_planes(read_csv(tmp_path / "s.csv")["a.png"], shape))
        np.testing.assert_array_equal(decoded.any(axis=(1, 2)), [name in corners for name in NAMES])
        if size is None:
            # The edge of the Radius crosses the Ulna's grey, hence the Radius alone is compared pixel by pixel.
            np.testing.assert_array_equal(decoded[INDEX["Radius"]], masks[INDEX["Radius"]])
            np.testing.assert_array_equal(pack(masks), rasterise(read_polygons(tmp_path / "a.json", shape), shape))
        for name in corners:
            truth, found = masks[INDEX[name]], decoded[INDEX[name]]
            score = 2 * (truth & found).sum() / (truth.sum() + found.sum())
            turned = [np.flipud(found), np.fliplr(found), found[::-1, ::-1], np.resize(found.T, shape)]
            assert score > 0.8
            assert all(score > 2 * (truth & f).sum() / (truth.sum() + f.sum()) + 0.2 for f in turned)
