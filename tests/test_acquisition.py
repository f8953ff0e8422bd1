"""Acquisition: turned, cut and warped views, and exposures that vary the picture but never the labels."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from handseg_monai.bones import BONES, INDEX, NUM_BONES, Group
from handseg_monai.phantom import PRESETS, render_phantom, write_dataset
from handseg_monai.phantom.acquisition import (
    annotation,
    collimation,
    detector,
    exposure,
    finishing,
    markers,
    processing,
)
from handseg_monai.phantom.acquisition.exposure import expose
from handseg_monai.phantom.acquisition.landmarks import locate, wrist
from handseg_monai.phantom.components import Components, render_components, subject_of, warped
from handseg_monai.phantom.placement import place
from handseg_monai.phantom.pose import apply_pose, draw_pose
from handseg_monai.phantom.second_hand import add_second_hand

EASY = dataclasses.replace(PRESETS["easy"], marker_share=0.0)
SIZE = 320
_STEPS = (annotation, collimation, detector, exposure, finishing, markers, processing)
_SOURCE = "".join(inspect.getsource(module) for module in _STEPS)
EXPOSURE_SHARES = [name for name in vars(EASY) if name.endswith("_share") and f"ranges.{name}" in _SOURCE]


@pytest.fixture(scope="module")
def view() -> Components:
    whole = render_components(3, 0, "right", EASY, SIZE)
    return dataclasses.replace(whole, soft=whole.soft[:SIZE], bone=whole.bone[:SIZE], planes=whole.planes[:SIZE])


def dice(a: np.ndarray, b: np.ndarray) -> list[float]:
    pairs = [((a >> k & 1).astype(bool), (b >> k & 1).astype(bool)) for k in range(NUM_BONES)]
    return [2 * float((p & q).sum()) / float(p.sum() + q.sum()) for p, q in pairs if (p | q).any()]


def about_centre(shape: tuple[int, int], degrees: float) -> np.ndarray:
    """(2, 3) from pixels of an image turned clockwise to pixels of the upright one."""
    centre = 0.5 * (shape[1] - 1), 0.5 * (shape[0] - 1)
    matrix = cv2.getRotationMatrix2D(centre, -degrees, 1.0)
    return np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def test_labels_turn_with_the_image() -> None:
    # A field that no turn can outgrow: the turned view has the middle and the scale of the upright one.
    ranges = dataclasses.replace(EASY, field=(420.0, 420.0), top_margin=(110.0, 110.0), side_shift=(0.0, 0.0))
    upright = render_phantom(1, 0, "left", ranges, 1024)
    for angle in (90.0, 33.0, -140.0):
        turned = render_phantom(1, 0, "left", dataclasses.replace(ranges, angle=(angle, angle)), 1024)
        assert turned.spacing == pytest.approx(upright.spacing)
        matrix = about_centre((1024, 1024), angle)
        parts = Components(upright.planes * 0.0, upright.planes * 0.0, upright.planes, upright.spacing, "left")
        moved = warped(parts, matrix, (1024, 1024)).planes
        # The upright image cuts the forearm elsewhere.
        big = [b.index for b in BONES if b.group is not Group.FOREARM and (moved >> b.index & 1).sum() > 300]
        bits = sum(1 << k for k in big)
        assert len(big) >= 20
        assert np.mean(dice(turned.planes & bits, moved & bits)) > 0.97
        grey = cv2.warpAffine(
            upright.image, matrix, (1024, 1024), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=0
        )
        seen = (turned.planes != 0) & (moved != 0)
        assert np.corrcoef(grey[seen], turned.image[seen])[0, 1] > 0.9


def test_an_image_of_any_aspect_holds_the_hand() -> None:
    for number, aspect in enumerate((0.55, 0.8, 1.25)):
        for share in (0.0, 1.0):
            ranges = dataclasses.replace(EASY, aspect=(aspect, aspect), any_angle_share=share)
            phantom = render_phantom(6, number, "left", ranges, SIZE)
            height, width = phantom.image.shape
            assert phantom.planes.shape == (height, width)
            assert max(height, width) == SIZE
            assert min(height, width) == pytest.approx(SIZE * min(aspect, 1 / aspect), abs=1)
            inner = phantom.planes[1:-1, 1:-1]
            hand = sum(1 << bone.index for bone in BONES if bone.group is not Group.FOREARM)
            assert ((phantom.planes & hand) != 0).sum() == ((inner & hand) != 0).sum(), "no bone of the hand is cut"


def test_the_size_is_drawn_where_none_is_given() -> None:
    ranges = PRESETS["hard"]
    hand = apply_pose(subject_of(2, 0, ranges), draw_pose(np.random.default_rng(0), ranges))
    sizes = [place(np.random.default_rng(k), ranges, hand, "left").size for k in range(20)]
    assert len(set(sizes)) == 20
    assert min(sizes) >= 600
    assert max(sizes) <= 2500
    assert place(np.random.default_rng(0), PRESETS["standard"], hand, "left").shape == (2048, 2048)


def test_a_part_view_leaves_far_bones_out() -> None:
    ranges = dataclasses.replace(EASY, part_share=1.0)
    missing = []
    for number in range(8):
        phantom = render_phantom(9, number, "right", ranges, 192)
        empty = [k for k in range(NUM_BONES) if not (phantom.planes >> k & 1).any()]
        missing.append(len(empty))
        for bone in empty:
            assert all(len(polygon) >= 3 for polygon in phantom.polygons[bone])
        assert (phantom.planes != 0).mean() > 0.03
    assert np.count_nonzero(missing) >= 5


def test_warping_keeps_plane_values_and_attenuation(view: Components) -> None:
    half = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5]])
    small = warped(view, half, (SIZE // 2, SIZE // 2))
    assert set(np.unique(small.planes)) <= set(np.unique(view.planes))
    assert small.spacing == pytest.approx(2 * view.spacing)
    assert small.side == "right"
    np.testing.assert_allclose(small.bone, view.bone.reshape(SIZE // 2, 2, -1, 2).mean(axis=(1, 3)), atol=1e-3)
    assert small.bone.mean() == pytest.approx(view.bone.mean(), rel=1e-3)
    flipped = warped(view, np.array([[-1.0, 0.0, SIZE - 1.0], [0.0, 1.0, 0.0]]), (SIZE, SIZE))
    assert flipped.side == "left"
    assert (flipped.planes == view.planes[:, ::-1]).all()
    np.testing.assert_allclose(flipped.soft, view.soft[:, ::-1], atol=1e-4)
    away = warped(view, np.array([[1.0, 0.0, 5000.0], [0.0, 1.0, 0.0]]), (70, 90))
    assert not away.planes.any()
    assert not away.soft.any()


def test_float16_views_can_be_warped(view: Components) -> None:
    cached = dataclasses.replace(view, soft=view.soft.astype(np.float16), bone=view.bone.astype(np.float16))
    small = warped(cached, np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5]]), (SIZE // 2, SIZE // 2))
    assert small.soft.dtype == np.float32
    np.testing.assert_allclose(small.soft.mean(), view.soft.mean(), rtol=1e-3)


@pytest.mark.parametrize("preset", ["easy", "standard", "hard"])
def test_expose_follows_its_stream_and_leaves_the_view_alone(view: Components, preset: str) -> None:
    before = [a.copy() for a in (view.soft, view.bone, view.planes)]
    pictures = [expose(np.random.default_rng(k), PRESETS[preset], view) for k in (1, 1, 2)]
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] != pictures[2]).any()
    assert all((a == b).all() for a, b in zip(before, (view.soft, view.bone, view.planes), strict=True))


@pytest.mark.parametrize("shape", [(64, 64), (64, 200), (333, 97)])
def test_expose_takes_any_shape(view: Components, shape: tuple[int, int]) -> None:
    matrix = np.array([[SIZE / shape[1], 0.0, 0.0], [0.0, SIZE / shape[0], 0.0]])
    parts = warped(view, matrix, shape)
    for k in range(12):
        picture = expose(np.random.default_rng(k), PRESETS["hard"], parts)
        assert picture.shape == shape
        assert picture.dtype == np.uint8


def test_a_view_without_a_hand_can_be_exposed() -> None:
    empty = np.zeros((80, 100), np.float32)
    parts = Components(empty, empty, np.zeros((80, 100), np.int32), 1.0, "left")
    ranges = dataclasses.replace(PRESETS["hard"], **dict.fromkeys(EXPOSURE_SHARES, 1.0))
    for k in range(6):
        assert expose(np.random.default_rng(k), ranges, parts).shape == (80, 100)


@pytest.mark.parametrize("name", EXPOSURE_SHARES)
def test_every_share_changes_the_picture(view: Components, name: str) -> None:
    # What only changes how another feature looks needs that one.
    needed = {
        "cutting_share": "collimation_share",
        "glow_share": "collimation_share",
        "marker_turned_share": "marker_share",
    }
    plain = dataclasses.replace(EASY, **({needed[name]: 1.0} if name in needed else {}))  # type: ignore[arg-type]
    changed = 0
    for k in range(6):
        without = expose(np.random.default_rng(k), plain, view)
        picture = expose(np.random.default_rng(k), dataclasses.replace(plain, **{name: 1.0}), view)  # type: ignore[arg-type]
        changed += bool((without != picture).mean() > 0.0005)
    assert changed >= 4


def test_inversion_darkens_bones(view: Components) -> None:
    dark = dataclasses.replace(EASY, inversion_share=1.0)
    bones, air = view.planes != 0, view.soft == 0
    for ranges, sign in ((EASY, 1), (dark, -1)):
        picture = expose(np.random.default_rng(0), ranges, view).astype(float)
        assert sign * (picture[bones].mean() - picture[air].mean()) > 30


def test_bones_stay_visible_where_a_collimator_cuts_the_hand(view: Components) -> None:
    ranges = dataclasses.replace(EASY, collimation_share=1.0, cutting_share=1.0, collimation_tilt=(-12.0, 12.0))
    bones = view.planes != 0
    rim = (cv2.dilate(bones.astype(np.uint8), np.ones((7, 7), np.uint8)) != 0) & ~bones
    for k in range(5):
        picture = expose(np.random.default_rng(k), ranges, view).astype(float)
        for rows in (slice(0, SIZE // 3), slice(SIZE // 3, 2 * SIZE // 3), slice(2 * SIZE // 3, SIZE)):
            assert picture[rows][bones[rows]].mean() > picture[rows][rim[rows]].mean() + 3


def test_landmarks_follow_the_fingers(view: Components) -> None:
    marks = locate(view)
    assert len(marks) == NUM_BONES
    for name in ("finger-5", "finger-10", "finger-15"):
        assert marks[INDEX[name]].axis[1] < -0.8, "fingers point up"
        assert marks[INDEX[name]].length > 2 * marks[INDEX[name]].width
    place_ = wrist(marks)
    assert place_ is not None
    assert place_[1][1] > 0.9


def test_a_second_hand_spares_the_labelled_one(view: Components) -> None:
    other = render_components(3, 1, "left", EASY, SIZE)
    added = 0
    for k in range(8):
        both = add_second_hand(np.random.default_rng(k), view, other)
        assert both.planes is view.planes
        more = both.soft > view.soft + 1e-3
        added += bool(more.mean() > 0.005)
        assert (more & (view.planes != 0)).sum() < 0.12 * (view.planes != 0).sum()
    assert added >= 6


def test_a_hard_data_set_has_images_of_many_shapes_and_their_truth(tmp_path: Path) -> None:
    images = write_dataset(tmp_path / "data", subjects=3, size=256, seed=4, workers=1, preset="hard", progress=False)
    shapes = set()
    for number, path in enumerate(images):
        phantom = render_phantom(4, number // 2, ("left", "right")[number % 2], PRESETS["hard"], 256)  # type: ignore[arg-type]
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert (grey == phantom.image).all()
        shapes.add(grey.shape)
        assert max(grey.shape) == 256
        truth = path.parents[2] / "outputs_json" / path.parent.name / f"{path.stem}.json"
        filled = np.zeros(grey.shape, np.int32)
        for annotation_ in json.loads(truth.read_text())["annotations"]:
            one = np.zeros(grey.shape, np.uint8)
            cv2.fillPoly(one, [np.array(annotation_["points"], np.int32)], 1)
            filled |= one.astype(np.int32) << INDEX[annotation_["label"]]
        assert (filled == phantom.planes).all()
    assert len(shapes) > 3
