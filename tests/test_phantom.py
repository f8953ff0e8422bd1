"""The phantom: its files, its labels, and the anatomy that they must show."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest
from scipy.spatial import cKDTree

from handseg_monai.bones import BONES, INDEX, NEIGHBOURS, NUM_BONES, Group, Side
from handseg_monai.phantom import PRESETS, Phantom, PhantomRanges, render_phantom, write_dataset
from handseg_monai.phantom.anatomy import myohand
from handseg_monai.phantom.components import subject_of
from handseg_monai.phantom.mesh import Mesh, ball
from handseg_monai.phantom.pose import apply_pose, draw_pose
from handseg_monai.phantom.raster import add_silhouette, add_thickness
from handseg_monai.phantom.tissue import make_tissue
from tests.programs import handseg

SIZE = 256
UPRIGHT = dataclasses.replace(PRESETS["standard"], angle=(0.0, 0.0), turned_share=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "data"
    write_dataset(
        out, subjects=2, test_subjects=1, size=SIZE, seed=5, workers=2, preview=out.parent / "sheet.png", progress=False
    )
    return out


@pytest.fixture(scope="module")
def full_size() -> Phantom:
    return render_phantom(3, 0, "right", UPRIGHT, 2048)


@pytest.fixture(scope="module")
def easy() -> list[Phantom]:
    return [render_phantom(1, k, side, PRESETS["easy"], SIZE) for k in range(3) for side in ("left", "right")]


def mask(planes: np.ndarray, name: str) -> np.ndarray:
    return (planes >> INDEX[name] & 1).astype(bool)


def content(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.suffix in (".png", ".json")}


def rows(root: Path) -> list[tuple[object, ...]]:
    return list(openpyxl.load_workbook(root / "meta_data.xlsx").active.values)


def test_files_do_not_depend_on_the_number_of_workers(folder: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", subjects=2, test_subjects=1, size=SIZE, seed=5, workers=1, progress=False)
    assert content(tmp_path / "data") == content(folder)
    assert rows(tmp_path / "data") == rows(folder)


def test_another_seed_and_another_subject_give_another_hand(folder: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", subjects=1, size=SIZE, seed=6, workers=1, progress=False)
    images = [p.read_bytes() for root in (folder, tmp_path / "data") for p in root.rglob("*.png")]
    assert len(images) == len(set(images)) == 8


def test_layout_and_quirks_of_the_competition(folder: Path) -> None:
    images = sorted(folder.glob("*/DCM/*/*.png"))
    assert [str(p.parent.relative_to(folder)) for p in images] == [
        "test/DCM/ID003", "test/DCM/ID003", "train/DCM/ID001", "train/DCM/ID001", "train/DCM/ID002", "train/DCM/ID002"
    ]  # fmt: skip
    assert len({p.name for p in images}) == 6
    shuffled = 0
    for path in images:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image.shape == (SIZE, SIZE, 3)
        assert image.dtype == np.uint8
        assert (image == image[..., :1]).all()
        record = json.loads((path.parents[2] / "outputs_json" / path.parent.name / f"{path.stem}.json").read_text())
        assert record["metadata"] == {"height": 3060, "width": 3060}
        assert record["filename"] == path.stem + ".jpg"
        assert set(record) == {
            "annotations", "attributes", "file_id", "filename", "parent_path", "last_modifier_id", "metadata",
            "last_workers",
        }  # fmt: skip
        assert all(set(a) == {"id", "type", "attributes", "points", "label"} for a in record["annotations"])
        assert {a["type"] for a in record["annotations"]} == {"poly_seg"}
        order = [INDEX[a["label"]] for a in record["annotations"]]
        shuffled += order != sorted(order)
    assert shuffled == 6
    files = [p.name for p in folder.rglob("*") if p.is_file()]
    assert not [name for name in files if name.endswith(".part")]
    assert len(files) == 13
    assert (folder.parent / "sheet.png").stat().st_size > 10_000


def test_a_few_names_tell_the_side() -> None:
    from handseg_monai.bones import SIDES
    from handseg_monai.phantom.dataset import _stem

    stems = [_stem(0, number, side) for number in range(300) for side in SIDES]
    assert len(set(stems)) == 600
    told = [stem for stem in stems if stem[-2:] in ("_L", "_R")]
    assert 4 <= len(told) <= 60
    assert all(stem.removeprefix("image").split("_")[0].isdigit() for stem in stems)


def test_table_has_the_korean_headings_and_stray_characters(folder: Path, tmp_path: Path) -> None:
    from handseg_monai.phantom.metadata import write_metadata

    assert rows(folder)[0] == ("ID", "나이", "성별", "체중(몸무게)", "키(신장)", "Unnamed: 5")
    assert [row[0] for row in rows(folder)[1:]] == ["ID001", "ID002", "ID003"]
    write_metadata(tmp_path / "meta_data.xlsx", [f"ID{k:03d}" for k in range(1, 201)], 0)
    sexes = {row[2] for row in rows(tmp_path)[1:]}
    assert {"남", "여"} < sexes
    assert any("_x0008_" in s for s in sexes)
    assert any(s != s.strip() for s in sexes)


def test_polygons_of_the_file_filled_are_the_truth(folder: Path) -> None:
    for number, side in ((0, "left"), (0, "right"), (2, "right")):
        phantom = render_phantom(5, number, side, PRESETS["standard"], SIZE)  # type: ignore[arg-type]
        image = cv2.merge([phantom.image] * 3)
        folders = folder.glob(f"*/DCM/ID{number + 1:03d}/*.png")
        path = next(p for p in folders if (cv2.imread(str(p)) == image).all())
        record = json.loads((path.parents[2] / "outputs_json" / path.parent.name / f"{path.stem}.json").read_text())
        filled = np.zeros((SIZE, SIZE), np.int32)
        for annotation in record["annotations"]:
            one = np.zeros((SIZE, SIZE), np.uint8)
            cv2.fillPoly(one, [np.array(annotation["points"], np.int32)], 1)
            filled |= one.astype(np.int32) << INDEX[annotation["label"]]
        assert (filled == phantom.planes).all()
        assert all(0 <= v < SIZE for a in record["annotations"] for point in a["points"] for v in point)


def test_labels_lie_on_the_bones_of_the_image() -> None:
    # Without soft tissue's gradients, noise and processing a bone's border is where the image has its edge: the mean
    # grey just inside of the labels is above that just outside, for any shift of the labels by 2 pixels less so.
    phantom = render_phantom(1, 0, "right", PRESETS["easy"], 1024)
    bones = (phantom.planes & sum(1 << b.index for b in BONES if b.group is not Group.CARPAL) != 0).astype(np.uint8)
    inside, outside = bones - cv2.erode(bones, np.ones((3, 3))), cv2.dilate(bones, np.ones((3, 3))) - bones
    grey = phantom.image.astype(float)

    def step(dx: int, dy: int) -> float:
        moved = np.roll(grey, (dy, dx), (0, 1))
        return float(moved[inside == 1].mean() - moved[outside == 1].mean())

    here = step(0, 0)
    assert here > 5
    assert all(step(dx, dy) < here for dx, dy in ((2, 0), (-2, 0), (0, 2), (0, -2)))


def test_the_two_hands_of_a_person_share_the_anatomy_but_not_the_pose() -> None:
    left, right = (render_phantom(4, 7, side, PRESETS["standard"], 128) for side in ("left", "right"))  # type: ignore[arg-type]
    for name in ("finger-6", "finger-10", "finger-7", "Capitate"):
        span = [np.linalg.norm(p.hand.outer[INDEX[name]][0] - p.hand.outer[INDEX[name]], axis=1) for p in (left, right)]
        if name in ("finger-6", "finger-10"):
            np.testing.assert_allclose(span[0], span[1], atol=1e-9)
        # Where bones of the wrist cover one another, they part along the beam as the pose wants it.
        assert np.mean(np.abs(span[0] - span[1]) < 1e-9) > 0.4, name
    assert left.pose != right.pose


def test_thumb_points_left_on_a_right_hand_and_right_on_a_left_hand() -> None:
    for number in range(3):
        for side, sign in (("right", -1), ("left", 1)):
            phantom = render_phantom(2, number, side, UPRIGHT, SIZE)  # type: ignore[arg-type]
            centre = {
                n: np.argwhere(mask(phantom.planes, n)).mean(axis=0) for n in ("finger-1", "finger-7", "finger-19")
            }
            radius, ulna = (np.argwhere(mask(phantom.planes, n)).mean(axis=0) for n in ("Radius", "Ulna"))
            assert sign * (centre["finger-1"][1] - centre["finger-19"][1]) > 0
            assert sign * (centre["finger-7"][1] - centre["finger-19"][1]) > 0
            assert sign * (radius[1] - ulna[1]) > 0
            assert centre["finger-7"][0] < radius[0], "fingers up"


def test_easy_shows_every_bone_once(easy: list[Phantom]) -> None:
    for phantom in easy:
        assert [len(polygons) for polygons in phantom.polygons] == [1] * NUM_BONES


def test_forearm_is_cut_by_the_edge_of_the_image() -> None:
    for number in range(4):
        phantom = render_phantom(8, number, "left", UPRIGHT, SIZE)
        for name in ("Radius", "Ulna"):
            bone = mask(phantom.planes, name)
            assert bone[-1].any() or bone[:, 0].any() or bone[:, -1].any()
        assert not phantom.planes[0].any(), "fingertips lie inside"


def test_areas_and_overlaps_are_those_of_the_published_data(full_size: Phantom) -> None:
    areas = {bone.name: int(mask(full_size.planes, bone.name).sum()) for bone in BONES}
    assert BONES[INDEX[min(areas, key=areas.__getitem__)]].group is Group.DISTAL_PHALANX
    assert max(areas, key=areas.__getitem__) == "Radius"
    assert 2_500 < areas["finger-16"] < 5_500
    assert 35_000 < areas["Radius"] < 115_000
    count = np.zeros(full_size.planes.shape, np.uint8)
    for bone in BONES:
        count += mask(full_size.planes, bone.name)
    assert 0.001 < (count > 1).mean() < 0.008


def test_pisiform_lies_over_triquetrum() -> None:
    shares = []
    for number in range(8):
        phantom = render_phantom(9, number, "right", PRESETS["easy"], 512)
        pisiform, triquetrum = mask(phantom.planes, "Pisiform"), mask(phantom.planes, "Triquetrum")
        shares.append((pisiform & triquetrum).sum() / (pisiform | triquetrum).sum())
    assert 0.3 < np.mean(shares) < 0.6


def depth(mesh: Mesh, part: np.ndarray) -> float:
    """How far the vertices of a part reach along the beam, millimetres."""
    return float(np.ptp(mesh.vertices[part, 2]))


@pytest.mark.parametrize(("name", "side"), [("Radius", -1), ("Ulna", 1)])
def test_forearm_thins_towards_its_styloids(name: str, side: int) -> None:
    ranges = dataclasses.replace(PRESETS["easy"], radius_wedge=(0.0, 0.0), ulna_wedge=(0.0, 0.0))
    wedge = dataclasses.replace(ranges, radius_wedge=(0.6, 0.6), ulna_wedge=(0.6, 0.6))
    ratios = []
    for bounds in (ranges, wedge):
        mesh = subject_of(5, 0, bounds).anatomy.meshes[INDEX[name]]
        x, y = mesh.vertices[:, 0], mesh.vertices[:, 1]
        end = (y < y.max() - 8) & (y > y.max() - 16)
        middle, half = 0.5 * (x[end].max() + x[end].min()), 0.5 * np.ptp(x[end])
        outer, inner = (end & (s * side * (x - middle) > 0.5 * half) for s in (1, -1))
        ratios.append(depth(mesh, outer) / depth(mesh, inner))
    assert ratios[0] == pytest.approx(1.0, abs=0.15)
    assert ratios[1] < 0.75


def test_carpal_bones_may_be_thin_on_one_side_and_keep_their_outline() -> None:
    even = dataclasses.replace(PRESETS["easy"], carpal_wedge=(0.0, 0.0))
    plain, wedged = (
        subject_of(5, 1, r).anatomy.meshes for r in (even, dataclasses.replace(even, carpal_wedge=(0.4, 0.4)))
    )
    for name in ("Capitate", "Trapezoid", "Triquetrum"):
        a, b = (meshes[INDEX[name]].vertices for meshes in (plain, wedged))
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        # Joint spaces are set afterwards, which moves borders by fractions of a millimetre.
        assert np.abs(a[:, :2] - b[:, :2]).max() < 1.0, name
        assert np.abs(a[:, 2] - b[:, 2]).max() > 0.12 * np.ptp(a[:, 2]), name


def test_the_thumb_goes_half_the_way_with_the_trapezium() -> None:
    still, shifted = (
        subject_of(5, 2, dataclasses.replace(PRESETS["standard"], trapezium_shift=(shift, shift)))
        for shift in (0.0, 1.2)
    )
    moved = [
        (after.vertices - before.vertices).mean(axis=0) / still.scale
        for before, after in zip(still.anatomy.meshes, shifted.anatomy.meshes, strict=True)
    ]
    assert moved[INDEX["Trapezium"]] == pytest.approx([0.0, 1.2, 0.0], abs=0.05)
    for name in ("finger-1", "finger-2", "finger-3"):
        assert moved[INDEX[name]] == pytest.approx([0.0, 0.6, 0.0], abs=0.05)
    assert moved[INDEX["finger-7"]] == pytest.approx([0.0, 0.0, 0.0], abs=0.05)


def test_the_radius_stands_up_on_its_dorsal_side_between_scaphoid_and_lunate() -> None:
    even, ridged = (
        subject_of(5, 2, dataclasses.replace(PRESETS["standard"], dorsal_ridge=(ridge, ridge), hand_scale=(1.0, 1.0)))
        for ridge in (0.0, 3.0)
    )
    before, after = (subject.anatomy.meshes[INDEX["Radius"]].vertices for subject in (even, ridged))
    rise, up = (after - before)[:, 1], before[:, 1] > before[:, 1].max() - 12
    dorsal = before[:, 2] > np.median(before[up, 2])
    assert rise[dorsal].max() == pytest.approx(2.6, abs=0.4)
    assert np.abs(before[rise > 1.5, 0] + 7.5).max() < 4
    assert np.abs(rise[up & ~dorsal]).max() < 0.8


def inside(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return which points lie inside of a closed mesh: where its faces fill the whole solid angle.

    Each face's share of it after Van Oosterom and Strackee, IEEE Trans Biomed Eng 30 (1983).
    """
    a, b, c = (vertices[faces[:, k]].T[:, None] - points.T[:, :, None] for k in range(3))
    la, lb, lc = (np.sqrt((corner * corner).sum(0)) for corner in (a, b, c))
    volume = (a * np.cross(b, c, axis=0)).sum(0)
    rest = la * lb * lc + (a * b).sum(0) * lc + (b * c).sum(0) * la + (c * a).sum(0) * lb
    return np.arctan2(volume, rest).sum(axis=1) > np.pi


def from_triangles(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the distance (N,) of points from the nearest of a mesh's triangles, sampled at 45 places each."""
    u, v = np.array([(i, j) for i in range(9) for j in range(9 - i)]).T / 8.0
    corners = vertices[faces]
    places = np.einsum("k,fx->fkx", 1 - u - v, corners[:, 0])
    places += np.einsum("k,fx->fkx", u, corners[:, 1]) + np.einsum("k,fx->fkx", v, corners[:, 2])
    return np.asarray(cKDTree(places.reshape(-1, 3)).query(points)[0])


def surface_gap(a: np.ndarray, b: np.ndarray, faces: np.ndarray) -> float:
    """Return the least distance (mm) of points `a` from mesh `b`, or less the greatest depth of those inside of it."""
    distance = cKDTree(b).query(a)[0]
    # Only points in the mesh's box can lie inside of it.
    near = np.flatnonzero((distance < 4.0) & (a > b.min(axis=0)).all(axis=1) & (a < b.max(axis=0)).all(axis=1))
    within = near[inside(a[near], b, faces)] if len(near) else near
    return -float(from_triangles(a[within], b, faces).max()) if len(within) else float(distance.min())


@pytest.mark.parametrize(
    "deviation", [-54, *(pytest.param(angle, marks=pytest.mark.slow) for angle in (-42, -20, 0, 22))]
)
def test_bones_of_the_wrist_do_not_pass_through_one_another(deviation: int) -> None:
    ranges = PRESETS["standard"]
    assert ranges.bent_deviation[0] == -54
    wrist = [bone.index for bone in BONES if bone.group in (Group.CARPAL, Group.METACARPAL, Group.FOREARM)]
    for number in range(2):
        subject = subject_of(11, number, ranges)
        pose = dataclasses.replace(draw_pose(np.random.default_rng(number), ranges), deviation=float(deviation))
        outer = apply_pose(subject, pose).outer

        def gap(a: int, b: int) -> float:
            return surface_gap(outer[a], outer[b], subject.anatomy.meshes[b].faces)  # noqa: B023

        gaps = {(a, b): gap(a, b) for a, b in combinations(wrist, 2)}
        # What is left is as deep as the triangles are wide that reach over the other bone's border.
        assert min(gaps.values()) > -1.8, (number, min(gaps, key=gaps.__getitem__))
        assert np.mean([deep < -0.8 for deep in gaps.values()]) < 0.06, number
        for a, b in sorted(NEIGHBOURS):
            if a in wrist and b in wrist:
                assert gaps[min(a, b), max(a, b)] < 6.0, (number, BONES[a].name, BONES[b].name)


def test_carpal_bones_of_a_straight_wrist_have_the_sizes_and_order_of_anatomy() -> None:
    """Sizes in a PA view against common anthropometry, and the two rows of the carpus."""
    ranges = PRESETS["easy"]
    pose = dataclasses.replace(
        draw_pose(np.random.default_rng(0), ranges), deviation=0.0, tilt=(0.0, 0.0), turn=0.0, thumb_opposition=0.0
    )
    for number in range(4):
        outer = apply_pose(subject_of(3, number, ranges), pose).outer
        extent = {bone.name: np.ptp(outer[bone.index], axis=0) for bone in BONES}
        middle = {bone.name: outer[bone.index].mean(axis=0) for bone in BONES}
        # Percentiles 1 to 99 of adults, over the third metacarpal.
        assert 0.349 < extent["Capitate"][1] / extent["finger-11"][1] < 0.46
        assert 12 < extent["Capitate"][0] < 18
        assert 14 < extent["Lunate"][0] < 20
        assert 9 < extent["Pisiform"][0] < 13
        assert 24 < extent["Radius"][0] < 36
        assert middle["Pisiform"][2] < middle["Triquetrum"][2] - 5, "the pisiform lies on the palm's side"
        proximal = [middle[name][0] for name in ("Scaphoid", "Lunate", "Triquetrum")]
        distal = [middle[name][0] for name in ("Trapezium", "Trapezoid", "Capitate", "Hamate")]
        assert proximal == sorted(proximal)
        assert distal == sorted(distal)
        for upper, lower in (("Trapezoid", "Scaphoid"), ("Capitate", "Lunate"), ("Hamate", "Triquetrum")):
            assert middle[upper][1] > middle[lower][1] + 4
        styloid = outer[INDEX["Radius"]][:, 1].max()
        corner = outer[INDEX["Radius"]]
        corner = corner[corner[:, 0] > np.percentile(corner[:, 0], 99), 1].max()
        assert 6 < styloid - corner < 18


def test_neighbours_of_the_wrist_overlap_as_on_a_radiograph() -> None:
    both = {"Trapezium/Trapezoid": [], "Hamate/finger-15": [], "Radius/Ulna": []}  # type: dict[str, list[float]]
    for number in range(6):
        phantom = render_phantom(9, number, "right", PRESETS["standard"], 512)
        for pair, shares in both.items():
            a, b = (mask(phantom.planes, name) for name in pair.split("/"))
            shares.append(float((a & b).sum() / min(a.sum(), b.sum())))
    mean = {pair: np.mean(shares) for pair, shares in both.items()}
    assert 0.05 < mean["Trapezium/Trapezoid"] < 0.5
    assert mean["Hamate/finger-15"] < 0.15
    assert mean["Radius/Ulna"] < 0.02


def test_deviation_turns_the_hand_towards_the_thumb() -> None:
    subject = subject_of(0, 0, PRESETS["easy"])
    pose = dataclasses.replace(draw_pose(np.random.default_rng(0), PRESETS["easy"]), turn=0.0, tilt=(0.0, 0.0))
    angles = []
    for deviation in (-20.0, 0.0, 20.0):
        hand = apply_pose(subject, dataclasses.replace(pose, deviation=deviation))
        x, y, _ = hand.ends[INDEX["finger-11"]] - hand.anchors[INDEX["finger-11"]]
        angles.append(np.degrees(np.arctan2(-x, y)))
    np.testing.assert_allclose(np.diff(angles), 20.0, atol=0.5)


def test_bones_lie_under_the_skin() -> None:
    ranges = UPRIGHT
    for number in range(6):
        phantom = render_phantom(31, number, "left", ranges, 512)
        tissue = make_tissue(np.random.default_rng(0), subject_of(31, number, ranges), phantom.hand, phantom.view)
        depth = cv2.resize(tissue.depth, (512, 512), interpolation=cv2.INTER_CUBIC)
        for bone in BONES:
            inside = mask(phantom.planes, bone.name)
            assert depth[inside].min() > 0.5, (number, bone.name)
        assert (depth < 0).mean() > 0.3, "air around the hand"


def test_thickness_of_a_sphere_is_its_chord() -> None:
    sphere = ball(5)
    shifted = Mesh(20.0 * sphere.vertices + (32.0, 30.0, 5.0), sphere.faces)
    thickness, shadow = np.zeros((64, 64), np.float32), np.zeros((64, 64), np.uint8)
    # Pixel rows run down, so that the frame is left-handed for a mesh wound in a right-handed one.
    add_thickness(thickness, shifted.vertices, shifted.faces, 0, 0, 1.0)
    add_silhouette(shadow, shifted.vertices, shifted.faces, 0, 0)
    row, column = np.mgrid[:64, :64]
    inside = 20.0**2 - (column - 32.0) ** 2 - (row - 30.0) ** 2
    chord = 2 * np.sqrt(np.maximum(inside, 0))
    deep = inside > 40
    np.testing.assert_allclose(thickness[deep], chord[deep], atol=0.1)
    assert ((shadow == 1) == (thickness > 0)).mean() > 0.999
    assert abs(int(shadow.sum()) - np.pi * 400) < 15


def test_meshes_are_closed_and_wound_outwards() -> None:
    for bone, mesh in zip(BONES, myohand().meshes, strict=True):
        edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
        _, uses = np.unique(edges, axis=0, return_counts=True)
        assert (uses % 2 == 0).mean() > 0.999, bone.name
        a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
        assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6 > 50.0, bone.name


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"preset": "eazy"}, ValueError, "easy, standard"),
        ({"subjects": 0}, ValueError, "subjects: expected at least 1"),
        ({"test_subjects": -1}, ValueError, "test_subjects: expected at least 0"),
        ({"size": 32}, ValueError, "size: expected at least 64"),
        ({"workers": 0}, ValueError, "workers: expected at least 1"),
        ({"preview": "sheet.xyz"}, ValueError, "preview: expected a file name that ends in .png"),
        ({"seed": -1}, ValueError, "seed: expected at least 0"),
    ],
)
def test_a_bad_option_is_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        write_dataset(tmp_path / "data", **{"subjects": 1, **options})  # type: ignore[arg-type]
    assert not (tmp_path / "data").exists()


def test_a_folder_with_a_data_set_is_refused_and_left_alone(folder: Path) -> None:
    before = content(folder)
    with pytest.raises(FileExistsError, match=r"already holds a data set .*choose another folder"):
        write_dataset(folder, subjects=1, size=SIZE)
    assert content(folder) == before


def test_ctrl_c_leaves_no_half_file_and_no_worker(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = [sys.executable, "-m", "handseg_monai", "phantom", data, "--subjects", "500", "--size", "64"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 180
    while len(list(tmp_path.rglob("*.json"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert message.endswith(f"interrupted: {data} is not whole; remove it, or choose another folder\n")
    assert "Traceback" not in message
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert not [p for p in files if p.suffix == ".part"]
    images, truths = ({p.stem for p in files if p.suffix == suffix} for suffix in (".png", ".json"))
    assert images == truths
    assert 4 <= len(images) < 1000


def test_ranges_are_checked() -> None:
    with pytest.raises(ValueError, match=r"spread.*low <= high"):
        PhantomRanges(spread=(3.0, 1.0))
    with pytest.raises(ValueError, match=r"bent_share.*between 0 and 1"):
        PhantomRanges(bent_share=1.5)


@pytest.mark.parametrize(
    ("seed", "number", "side", "size", "words"),
    [
        (-1, 0, "left", 64, "seed: expected at least 0, got -1"),
        (0, -2, "left", 64, "number: expected at least 0, got -2"),
        (0, 0, "left", 63, "size: expected at least 64, got 63"),
    ],
)
def test_an_impossible_phantom_is_named(seed: int, number: int, side: Side, size: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        render_phantom(seed, number, side, PRESETS["easy"], size)


def test_importing_the_package_is_cheap_and_a_missing_extra_is_named() -> None:
    program = (
        "import sys, handseg_monai.phantom as p\n"
        "assert not {'mujoco', 'numba', 'cv2', 'torch'} & set(sys.modules)\n"
        "sys.modules['mujoco'] = None\n"
        "from handseg_monai.phantom.anatomy import myohand\n"
        "assert 'torch' not in sys.modules\n"
        "try:\n    myohand()\nexcept ImportError as e:\n    print(e)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "handseg-monai[phantom]" in result.stdout


def test_hands_before_exposure_are_gone_on_with_after_ctrl_c(tmp_path: Path) -> None:
    given = ["phantom", tmp_path / "parts", "--components", "--workers", "1"]
    command = [sys.executable, "-m", "handseg_monai", *given, "--subjects", "500"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 180
    while not list(tmp_path.rglob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert message.endswith(f"interrupted: {tmp_path / 'parts'} is not whole; the same command goes on\n")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    done = handseg(*given, "--subjects", len(times) // 2 + 1)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    done = handseg("phantom", tmp_path / "data", "--subjects", 1, "--size", 64, "--workers", 1)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'data'}: 2 radiographs of 1 subject\n")
    done = handseg("phantom", tmp_path / "parts", "--subjects", 1, "--components", "--workers", 1)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'parts'}: 2 hands of 1 subject\n")
