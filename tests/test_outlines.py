"""Outlines are filled as pycocotools, LabelMe and OpenCV fill them, by a float reference, and once where they cross."""

from __future__ import annotations

import base64
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from handseg_monai.data import LabelError
from handseg_monai.data.labels import convert
from handseg_monai.data.labels.polygons import Fill, fill_centres, fill_coco, fill_labelme, require_pixels
from handseg_monai.data.layouts import read_truth

SHAPE = (90, 120)
ANGLES = np.linspace(0, 2 * np.pi, 60, endpoint=False)
ROUND = np.stack([60.3 + 30 * np.cos(ANGLES), 44.8 + 20 * np.sin(ANGLES)], axis=1)


def filled(fill: Fill, points: np.ndarray, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, bool)
    box, inside = fill(points, shape)
    mask[box] = inside != 0
    return mask


def by_pycocotools(points: np.ndarray) -> np.ndarray:
    return coco_mask.decode(coco_mask.frPyObjects([points.ravel().tolist()], *SHAPE))[..., 0] > 0


def by_labelme(points: np.ndarray, kind: str = "polygon") -> np.ndarray:
    """As LabelMe's ``shape_to_mask`` draws shapes: with Pillow, outline and inside."""
    picture = Image.new("L", SHAPE[::-1])
    draw = ImageDraw.Draw(picture)
    corners = [tuple(point) for point in points.tolist()]
    if kind == "circle":
        (x, y), rim = corners
        radius = math.dist((x, y), rim)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
    elif kind == "rectangle":
        (a, b), (c, d) = corners
        draw.rectangle((min(a, c), min(b, d), max(a, c), max(b, d)), outline=1, fill=1)
    else:
        draw.polygon(corners, outline=1, fill=1)
    return np.array(picture, bool)


def centres_inside(points: np.ndarray) -> np.ndarray:
    """The float reference: an odd number of edges lies to the right of the pixel's centre."""
    mask = np.zeros(SHAPE, bool)
    for row in range(SHAPE[0]):
        for column in range(SHAPE[1]):
            x, y = column + 0.5, row + 0.5
            for (x0, y0), (x1, y1) in zip(points.tolist(), np.roll(points, -1, axis=0).tolist(), strict=True):
                if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                    mask[row, column] = not mask[row, column]
    return mask


def distance_to(points: np.ndarray) -> np.ndarray:
    """Distance of each pixel's centre to an outline, pixels."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    at = np.stack([columns + 0.5, rows + 0.5], axis=-1)
    nearest = np.full(SHAPE, np.inf)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        along = end - start
        share = np.clip((at - start) @ along / max(along @ along, 1e-12), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(at - start - share[..., None] * along, axis=-1))
    return nearest


@st.composite
def outlines(draw: st.DrawFn) -> np.ndarray:
    """Simple outlines, star-shaped, smooth to jagged, some with integer corners, some twice the same corner."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(3, 60))
    least = draw(st.floats(0.3, 1))
    angles, radii = np.sort(rng.uniform(0, 2 * np.pi, count)), rng.uniform(40 * least, 40, count)
    assume(np.diff(angles, append=angles[0] + 2 * np.pi).max() < np.pi)
    points = np.array([60.2, 44.7]) + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    if draw(st.booleans()):
        points = np.rint(points)
    return np.repeat(points, 2, axis=0) if draw(st.booleans()) else points


@settings(max_examples=200)
@given(outlines())
def test_coco_is_filled_as_pycocotools_does(points: np.ndarray) -> None:
    np.testing.assert_array_equal(filled(fill_coco, points), by_pycocotools(points))


@settings(max_examples=200)
@given(outlines())
@example(np.array([[98.88175426, 54.8843943], [55.23985713, 84.39127086], [34.11934946, 14.37180079]]))
def test_labelme_is_filled_as_labelme_does(points: np.ndarray) -> None:
    np.testing.assert_array_equal(filled(fill_labelme, points), by_labelme(points))


@settings(max_examples=15)
@given(outlines())
def test_pixels_belong_where_their_centre_lies_inside(points: np.ndarray) -> None:
    """COCO but for centres within 0.4 pixels of the outline; LabelMe also takes the pixels that it runs through."""
    inside, distance = centres_inside(points), distance_to(points)
    coco, labelme = filled(fill_coco, points), filled(fill_labelme, points)
    np.testing.assert_array_equal(coco[distance > 0.4], inside[distance > 0.4])
    np.testing.assert_array_equal(labelme[distance > 1.5], inside[distance > 1.5])
    centres = filled(fill_centres, points - 0.5)
    np.testing.assert_array_equal(centres[distance > 1.5], inside[distance > 1.5])


def test_the_rules_differ_by_half_a_pixel_all_round() -> None:
    square = np.array([[10.0, 20], [30, 20], [30, 60], [10, 60]])
    areas = [int(filled(fill, square).sum()) for fill in (fill_coco, fill_labelme, fill_centres)]
    assert areas == [20 * 40, 21 * 41, 21 * 41]
    within = square + np.array([[0.1, 0.1], [-0.1, 0.1], [-0.1, -0.1], [0.1, -0.1]])
    areas = [int(filled(fill, within).sum()) for fill in (fill_coco, fill_labelme, fill_centres)]
    assert areas == [20 * 40, 20 * 40, 21 * 41]


@pytest.mark.parametrize("fill", [fill_coco, fill_labelme, fill_centres])
@pytest.mark.parametrize(
    "outline",
    [
        np.concatenate([ROUND, ROUND]),
        np.concatenate([ROUND, ROUND[::-1]]),
        np.roll(np.concatenate([ROUND, ROUND[::-1]]), 33, axis=0),
        np.concatenate([ROUND, ROUND[:20]]),
    ],
    ids=["twice", "there and back", "from the middle", "too far"],
)
def test_an_outline_over_itself_is_filled_once(fill: Fill, outline: np.ndarray) -> None:
    found, expected = filled(fill, outline), filled(fill, ROUND)
    if fill is fill_labelme:  # Pillow draws some pixels beside a flat piece of an outline that comes twice
        assert np.sum(found != expected) <= 0.02 * expected.sum()
        expected = np.where(distance_to(ROUND) < 1.5, found, expected)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("fill", [fill_coco, fill_labelme, fill_centres])
def test_both_loops_of_a_figure_of_eight_are_filled(fill: Fill) -> None:
    eight = np.stack([60.3 + 40 * np.sin(ANGLES), 44.8 + 30 * np.sin(2 * ANGLES)], axis=1)
    mask = filled(fill, eight)
    assert mask[44, 80]
    assert mask[44, 40]
    assert not mask[20, 60]
    np.testing.assert_array_equal(filled(fill, eight[::-1]), mask)


@pytest.mark.parametrize("count", [3, 8, 40])
def test_an_outline_within_one_pixel_is_that_pixel(count: int) -> None:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    dot = np.stack([50.5 + 0.3 * np.cos(angles), 20.5 + 0.3 * np.sin(angles)], axis=1)
    for fill, points in ((fill_coco, dot), (fill_labelme, dot), (fill_centres, dot - 0.5)):
        assert np.argwhere(filled(fill, points)).tolist() == [[20, 50]]


@pytest.mark.parametrize("fill", [fill_coco, fill_labelme, fill_centres])
def test_an_outline_that_runs_to_and_fro_is_told_before_it_is_filled(fill: Fill) -> None:
    """Filling this one in COCO's way would take gigabytes."""
    zigzag = np.stack([np.tile([10.0, 500.0], 10_000), np.linspace(10, 500, 20_000)], axis=1)
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=r"outline of 20000 points that runs through 9800\d\d\d pixels in a box of 490"
    ):
        fill(zigzag, (512, 512))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert np.sum(filled(fill, np.concatenate([ROUND] * 40)) != filled(fill, ROUND)) < 30  # Pillow draws beside lines


@pytest.mark.parametrize("fill", [fill_coco, fill_labelme])
def test_points_a_little_outside_are_tolerated_and_others_told(fill: Fill) -> None:
    square = np.array([[-1.5, 20], [121.9, 20], [121.9, 91], [-1.5, 91]])
    mask = filled(fill, square)
    assert mask[20:].all()
    assert not mask[:20].any()
    with pytest.raises(ValueError, match=r"a point lies 3 pixels outside the image of 120 x 90 pixels$"):
        fill(square + np.array([1.1, 0]), SHAPE)
    with pytest.raises(ValueError, match=r"a point lies 5 pixels outside .* x and y may be exchanged"):
        fill(np.array([[10.0, 20], [20, 20], [20, 95]]), SHAPE)


@pytest.mark.parametrize(
    ("points", "shape", "unit"),
    [(ROUND / [120, 90], SHAPE, "shares of the image's size"), (ROUND / [1.2, 0.9], (300, 400), "percent")],
)
def test_shares_and_percent_are_no_pixels(points: np.ndarray, shape: tuple[int, int], unit: str) -> None:
    with pytest.raises(ValueError, match=f"all coordinates lie within 0 to 1.* as {unit} do; expected pixels"):
        require_pixels([("Ulna", points), ("Ulna", points[:10])], shape)
    require_pixels([("Ulna", points), ("Ulna", np.array([[150.0, 3]]))], shape)
    require_pixels([("Ulna", points), ("Ulna", np.array([[-1.0, 3]]))], shape)
    others = [("Radius", np.array([[150.0, 3]])), ("Lunate", np.array([[0.0, 3]]))]
    if "shares" in unit:
        with pytest.raises(ValueError, match=r"all coordinates of Ulna lie within 0 to 1, as shares"):
            require_pixels([*others, ("Ulna", points)], shape)
    else:
        require_pixels([*others, ("Ulna", points)], shape)  # may lie in the corner
    require_pixels([("Ulna", ROUND)], (150, 400))  # of so small an image it is a good part


def png(mask: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", mask)[1].tobytes()).decode()


def labelme(tmp_path: Path, shape: dict[str, Any], **options: Any) -> np.ndarray:
    """Convert one shape of an image without edges: its mask."""
    (tmp_path / "im").mkdir(exist_ok=True)
    cv2.imwrite(str(tmp_path / "im" / "a.png"), np.zeros(SHAPE, np.uint8))
    content = {"shapes": [{"label": "Ulna", "group_id": 3, "flags": {"x": True}, **shape}], "imagePath": "a.png"}
    content |= options.pop("content", {})
    (tmp_path / "a.json").write_text(json.dumps(content))
    convert("labelme", tmp_path / "a.json", tmp_path / "im", tmp_path / "out", progress=False, **options)
    return read_truth(tmp_path / "out" / "labels" / "a.png.npz", SHAPE) != 0


class TestShapesOfLabelMe:
    @pytest.mark.parametrize(
        ("kind", "points"),
        [
            ("rectangle", [[10.6, 20.2], [40.9, 33.5]]),
            ("rectangle", [[40.9, 20.2], [10.6, 33.5]]),
            ("circle", [[50.2, 40.7], [60.1, 44]]),
            ("circle", [[20.2, 20.7], [39, 20]]),
            ("oriented_rectangle", [[10.5, 20], [20, 10.5], [30, 20], [20.5, 30]]),
            (None, [[10.5, 20], [20, 10.5], [30, 20], [20.5, 30]]),
        ],
    )
    def test_are_drawn_as_labelme_does(self, tmp_path: Path, kind: str | None, points: list[list[float]]) -> None:
        found = labelme(tmp_path, {"shape_type": kind, "points": points})
        np.testing.assert_array_equal(found, by_labelme(np.array(points), kind or "polygon"))

    def test_a_file_of_the_first_versions_names_no_type(self, tmp_path: Path) -> None:
        np.testing.assert_array_equal(labelme(tmp_path, {"points": ROUND.tolist()}), by_labelme(ROUND))

    def test_pixel_centres_are_filled_as_the_competition_does(self, tmp_path: Path) -> None:
        expected = np.zeros(SHAPE, np.uint8)
        cv2.fillPoly(expected, [np.rint(ROUND).astype(np.int32)], 1)
        np.testing.assert_array_equal(labelme(tmp_path, {"points": ROUND.tolist()}, pixel_centres=True), expected > 0)
        box = labelme(tmp_path, {"shape_type": "rectangle", "points": [[10.6, 20.2], [40.9, 33.5]]}, pixel_centres=True)
        assert box[20:35, 11:42].all()
        assert box.sum() == 15 * 31

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            (
                {"shape_type": "line", "points": [[1, 1], [50, 50]]},
                "shape_type 'line' encloses nothing; expected",
            ),
            ({"shape_type": "point", "points": [[9, 9]]}, "shape_type 'point' encloses nothing"),
            ({"shape_type": "linestrip", "points": ROUND.tolist()}, "shape_type 'linestrip' encloses nothing"),
            ({"shape_type": "ellipse", "points": ROUND.tolist()}, "shape_type 'ellipse'; expected polygon, rectangle"),
            ({"shape_type": "circle", "points": [[1, 1]]}, "circle of 1 points; expected the centre and a point of"),
            ({"shape_type": "rectangle", "points": [[1, 1]] * 3}, "rectangle of 3 points; expected two opposite"),
            ({"shape_type": "circle", "points": [[20, 20], [60, 20]]}, "a point lies 20 pixels outside the image"),
        ],
    )
    def test_others_are_refused_by_name(self, tmp_path: Path, shape: dict[str, Any], words: str) -> None:
        with pytest.raises(LabelError, match=f"shape 1, Ulna: {words}"):
            labelme(tmp_path, shape)

    def test_a_mask_lies_at_the_rounded_corner(self, tmp_path: Path) -> None:
        """As in LabelMe: whole corners must fit the mask, of others the first one counts."""
        mask = np.full((20, 30), 255, np.uint8)
        mask[:5, :7] = 0
        for points, place in (([[10, 20], [39, 39]], (20, 10)), ([[10.4, 19.6], [40.6, 38.7]], (20, 10))):
            expected = np.zeros(SHAPE, bool)
            expected[place[0] : place[0] + 20, place[1] : place[1] + 30] = mask > 0
            found = labelme(tmp_path, {"shape_type": "mask", "points": points, "mask": png(mask)})
            np.testing.assert_array_equal(found, expected)
        found = labelme(tmp_path, {"shape_type": "mask", "points": [[91.4, 71.2], [121.1, 90.4]], "mask": png(mask)})
        assert found.sum() == (mask[:19, :29] > 0).sum()
        with pytest.raises(LabelError, match="a mask of 30 x 20 pixels in a box of 31 x 20"):
            labelme(tmp_path, {"shape_type": "mask", "points": [[10, 20], [40, 39]], "mask": png(mask)})

    def test_a_picture_of_another_size_is_what_was_drawn_on(self, tmp_path: Path) -> None:
        other, same = (png(np.zeros(size, np.uint8)) for size in ((45, 60), SHAPE))
        with pytest.raises(LabelError, match="'imageData' is a picture of 60 x 45 pixels, the image has 120 x 90"):
            labelme(tmp_path, {"points": ROUND.tolist()}, content={"imageData": other})
        labelme(tmp_path, {"points": ROUND.tolist()}, content={"imageData": same})


def coco(tmp_path: Path, annotation: dict[str, Any], **options: Any) -> np.ndarray:
    """Convert one annotation of an image without edges: its mask."""
    (tmp_path / "im").mkdir(exist_ok=True)
    cv2.imwrite(str(tmp_path / "im" / "a.png"), np.zeros(SHAPE, np.uint8))
    image = {"id": 1, "file_name": "a.png", "height": 90.0, "width": "120"} | options.pop("image", {})
    content = {
        "images": [image],
        "categories": [{"id": 1, "name": "Ulna"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **annotation}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    convert("coco", tmp_path / "a.json", tmp_path / "im", tmp_path / "out", progress=False, **options)
    return read_truth(tmp_path / "out" / "labels" / "a.png.npz", SHAPE) != 0


INNER = ((ROUND - ROUND.mean(axis=0)) * 0.5 + ROUND.mean(axis=0))[::-1]


class TestAnnotationsOfCoco:
    def test_a_second_ring_is_no_hole(self, tmp_path: Path) -> None:
        rings = [ROUND.ravel().tolist(), INNER.ravel().tolist()]
        found = coco(tmp_path, {"segmentation": rings})
        expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, *SHAPE))) > 0
        np.testing.assert_array_equal(found, expected)

    def test_one_ring_may_stand_without_its_list(self, tmp_path: Path) -> None:
        np.testing.assert_array_equal(coco(tmp_path, {"segmentation": ROUND.ravel().tolist()}), by_pycocotools(ROUND))

    def test_a_crowd_in_run_lengths_is_a_mask_as_any(self, tmp_path: Path) -> None:
        rle = coco_mask.frPyObjects([ROUND.ravel().tolist()], *SHAPE)[0]
        held = {"size": rle["size"], "counts": rle["counts"].decode()}
        np.testing.assert_array_equal(coco(tmp_path, {"segmentation": held, "iscrowd": 1}), by_pycocotools(ROUND))

    @pytest.mark.parametrize(
        "stated",
        [
            {"area": float(by_pycocotools(ROUND).sum())},
            {"area": math.pi * 30 * 20},
            {"area": 60 * 40},
            {"area": 0},
            {"area": None, "bbox": None},
            {"bbox": [30.3, 24.8, 60, 40]},
            {"bbox": [30, 25, 61, 40], "area": 1900},
            {"bbox": []},
            {"bbox": [0, 0, 0, 0]},
        ],
    )
    def test_a_stated_area_or_box_that_fits_passes(self, tmp_path: Path, stated: dict[str, Any]) -> None:
        coco(tmp_path, {"segmentation": [ROUND.ravel().tolist()], **stated})

    @pytest.mark.parametrize(
        ("stated", "words"),
        [
            ({"area": 4 * math.pi * 30 * 20}, r"'area' is 7539\.82, but the segmentation covers 18\d\d pixels"),
            ({"area": 0.35}, r"'area' is 0\.35, but"),
            ({"bbox": [24.8, 30.3, 40, 60]}, r"'bbox' is 24\.8, 30\.3, 40, 60, but the segmentation lies in 30, 25, 6"),
            ({"bbox": [60.6, 49.6, 120, 80]}, r"'bbox' is 60\.6"),
            ({"bbox": [0.17, 0.16, 0.67, 0.67]}, r"'bbox' is 0\.17"),
        ],
    )
    def test_a_stated_area_or_box_that_differs_is_told(
        self, tmp_path: Path, stated: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(LabelError, match=f"annotation 1, Ulna: {words}"):
            coco(tmp_path, {"segmentation": [ROUND.ravel().tolist()], **stated})

    @pytest.mark.parametrize(
        ("annotation", "words"),
        [
            ({"keypoints": [3, 4, 2]}, "'segmentation' is empty; expected polygons or a run-length"),
            ({"segmentation": [], "bbox": [1, 2, 30, 40]}, "'segmentation' is empty"),
            ({"segmentation": None}, "'segmentation' is empty"),
            ({"segmentation": [[]]}, "'points' is not a list|a polygon of 0 points"),
            ({"segmentation": "x"}, "'segmentation' is str"),
        ],
    )
    def test_an_annotation_without_outline_is_told(
        self, tmp_path: Path, annotation: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(LabelError, match=f"annotation 1, Ulna: ({words})"):
            coco(tmp_path, annotation)

    def test_sizes_that_are_no_whole_numbers_are_told(self, tmp_path: Path) -> None:
        with pytest.raises(LabelError, match=r"a label of height 90\.5 and width '120'; expected whole numbers"):
            coco(tmp_path, {"segmentation": [ROUND.ravel().tolist()]}, image={"height": 90.5})

    def test_all_faults_of_an_image_are_listed(self, tmp_path: Path) -> None:
        def spoilt(points: np.ndarray) -> list[float]:
            return points.ravel().tolist()

        far, few = spoilt(ROUND + 40), spoilt(ROUND[:2])
        (tmp_path / "im").mkdir()
        cv2.imwrite(str(tmp_path / "im" / "a.png"), np.zeros(SHAPE, np.uint8))
        annotations = [{"image_id": 1, "category_id": k, "segmentation": [ring]} for k, ring in ((1, far), (2, far))]
        content = {
            "images": [{"id": 1, "file_name": "a.png"}],
            "categories": [{"id": 1, "name": "Ulna"}, {"id": 2, "name": "Radius"}],
            "annotations": annotations,
        }
        for rings, words in (([far, far], "a point lies"), ([few, few], "a polygon of 2 points")):
            for annotation, ring in zip(annotations, rings, strict=True):
                annotation["segmentation"] = [ring]
            (tmp_path / "a.json").write_text(json.dumps(content))
            with pytest.raises(LabelError) as raised:
                convert("coco", tmp_path / "a.json", tmp_path / "im", tmp_path / "out", progress=False)
            assert str(raised.value).count(words) == 2
            assert not (tmp_path / "out").exists()
