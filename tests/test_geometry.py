"""The phantom's own truth of measures: what must change with a hand, what must not, and a slow reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from scipy.spatial import ConvexHull, cKDTree

from handseg_monai.bones import BONES, INDEX
from handseg_monai.phantom import PRESETS, PhantomRanges
from handseg_monai.phantom.anatomy import myohand, rotation
from handseg_monai.phantom.components import posed_hand
from handseg_monai.phantom.geometry import JOINTS, true_measures
from handseg_monai.phantom.pose import Pose, PosedHand

STANDARD = PRESETS["standard"]
FLAT = Pose(0.0, (4.0, 0.0, -3.0, -6.0), ((0.0,) * 3,) * 5, 5.0, 0.0, 0.0, (0.0, 0.0), 0.0)
LENGTHS = ("length", "width", "joint space", "ulnar variance", "radial height", "scapholunate", "metacarpal sign")


def hand_of(number: int = 0, ranges: PhantomRanges = STANDARD, pose: Pose | None = None) -> PosedHand:
    return posed_hand(31, number, "right", ranges, pose)[3]


@cache
def measured(number: int = 0, pose: Pose | None = None) -> dict[str, float]:
    return true_measures(hand_of(number, pose=pose))


def changed(hand: PosedHand, change: Callable[[np.ndarray], np.ndarray], only: tuple[str, ...] = ()) -> PosedHand:
    """Change the points of all bones, or of some."""
    which = [not only or bone.name in only for bone in BONES]
    return PosedHand(
        tuple(change(points) if here else points for points, here in zip(hand.outer, which, strict=True)),
        tuple(
            tuple((change(surface), change(cavity)) for surface, cavity in parts) if here else parts
            for parts, here in zip(hand.pieces, which, strict=True)
        ),
        *(np.where(np.array(which)[:, None], change(points), points) for points in (hand.anchors, hand.ends)),
    )


def forearm_way(hand: PosedHand) -> np.ndarray:
    """Unit vector (3,) of the radius towards the hand, such that it lies in the image."""
    way = (hand.ends - hand.anchors)[INDEX["Radius"]] * (1, 1, 0)
    return way / np.linalg.norm(way)


def test_a_hand_has_every_measure() -> None:
    names = {name for name in measured() if not name.startswith(("length", "width"))}
    assert names == {
        "ulnar variance", "radial inclination", "radial height", "carpal height ratio", "carpal height to capitate",
        "carpal angle", "scapholunate gap", "wrist deviation", "metacarpal sign",
        *(f"cortical index {number}" for number in (2, 3, 4)), *(f"joint space MCP-{number}" for number in range(1, 6)),
        *(f"joint space PIP-{number}" for number in range(2, 6)), "joint space IP-1",
    }  # fmt: skip
    for number in range(1, 20):
        assert 12 < measured()[f"length finger-{number}"] < 80
        assert 3 < measured()[f"width finger-{number}"] < 13


def test_a_larger_hand_has_longer_lengths_and_the_same_angles_and_ratios() -> None:
    before, after = measured(), true_measures(changed(hand_of(), lambda points: 1.3 * points))
    for name, value in before.items():
        assert after[name] == pytest.approx(value * (1.3 if name.startswith(LENGTHS) else 1.0), rel=1e-9, abs=1e-9)


def test_where_the_hand_lies_in_the_image_changes_nothing() -> None:
    def laid(points: np.ndarray) -> np.ndarray:
        return points @ rotation([0, 0, 1], 131.0).T + [40.0, -7.0, 3.0]

    assert true_measures(changed(hand_of(), laid)) == pytest.approx(measured(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("asked", [-40.0, -8.0, 10.0])
def test_a_wrist_deviates_by_what_was_asked(asked: float) -> None:
    turned = measured(2, replace(FLAT, deviation=asked))["wrist deviation"] - measured(2, FLAT)["wrist deviation"]
    assert turned == pytest.approx(asked, abs=0.01)


def test_a_bent_wrist_leaves_the_bones_themselves_alone() -> None:
    bent = measured(2, replace(FLAT, deviation=-30.0))
    for name, value in measured(2, FLAT).items():
        if name.startswith(("length", "width", "joint", "cortical", "ulnar", "radial")):
            assert bent[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name
        if name == "metacarpal sign":  # the metacarpals slide a little on the carpus
            assert bent[name] == pytest.approx(value, abs=0.5)


def test_a_bent_finger_shows_shorter() -> None:
    bent = replace(FLAT, flexion=(*FLAT.flexion[:2], (0.0, 40.0, 0.0), *FLAT.flexion[3:]))
    short, long = measured(2, bent), measured(2, FLAT)
    assert 0.8 < short["length finger-9"] / long["length finger-9"] < 0.9
    assert short["length finger-10"] == pytest.approx(long["length finger-10"], rel=1e-6)


def test_variance_follows_the_ulna_and_not_its_styloid() -> None:
    hand = hand_of()
    before = measured()["ulnar variance"]
    longer = changed(hand, lambda points: points + 2.0 * forearm_way(hand), ("Ulna",))
    # The joint line is not quite that of the axis of the visible shaft.
    assert true_measures(longer)["ulnar variance"] == pytest.approx(before + 2.0, abs=0.02)
    short, long = (
        true_measures(hand_of(1, replace(STANDARD, ulnar_styloid=(length, length))))["ulnar variance"]
        for length in (0.0, 4.0)
    )
    assert long == pytest.approx(short, abs=0.1)


def test_inclination_and_height_follow_the_styloid_of_the_radius() -> None:
    changed = []
    for hand in range(4):
        short, long = (
            true_measures(hand_of(hand, replace(STANDARD, radial_styloid=(length, length)), FLAT))
            for length in (1.0, 3.0)
        )
        higher = long["radial height"] - short["radial height"]
        assert 1.0 < higher < 2.4
        assert long["radial inclination"] > short["radial inclination"] + 1.5
        changed.append(abs(long["ulnar variance"] - short["ulnar variance"]))
        assert changed[-1] < 0.1 * higher
    assert np.mean(changed) < 0.1


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_the_cortical_index_is_what_the_marrow_leaves(share: float) -> None:
    hand = hand_of()
    pieces = list(hand.pieces)
    for name in ("finger-7", "finger-11", "finger-15"):
        bone = INDEX[name]
        axis = hand.ends[bone] - hand.anchors[bone]
        surface = hand.outer[bone]
        core = hand.anchors[bone] + ((surface - hand.anchors[bone]) @ axis / (axis @ axis))[:, None] * axis
        pieces[bone] = ((surface, core + share * (surface - core)),)
    after = true_measures(replace(hand, pieces=tuple(pieces)))
    for number in (2, 3, 4):
        assert after[f"cortical index {number}"] == pytest.approx(1 - share, abs=0.01)


def test_a_bone_that_lies_wholly_over_another_leaves_no_gap() -> None:
    hand = hand_of()
    place = hand.outer[INDEX["Scaphoid"]].mean(axis=0)
    small = changed(hand, lambda points: place + 0.2 * (points - points.mean(axis=0)), ("Lunate",))
    assert true_measures(small)["scapholunate gap"] == 0
    away = changed(hand, lambda points: points - (0.0, 60.0, 0.0), ("Lunate",))
    assert 30 < true_measures(away)["scapholunate gap"] < 60


def test_a_childs_hand_lacks_what_its_missing_bones_would_give() -> None:
    young = replace(STANDARD, child_share=1.0, child_age=(3.3, 3.3))
    found = true_measures(hand_of(0, young, FLAT))
    assert "scapholunate gap" not in found
    assert "carpal angle" not in found
    assert np.isfinite(list(found.values())).all()
    assert found["length finger-11"] < 0.7 * true_measures(hand_of(0, pose=FLAT))["length finger-11"]


class Reference:
    """A bone drawn at 0.03 mm: slow, and nothing in it is shared with the truth but the definitions."""

    PIXEL = 0.03

    def __init__(self, hand: PosedHand, name: str, low: np.ndarray) -> None:
        bone = INDEX[name]
        corners = (hand.outer[bone][:, :2] - low)[myohand().meshes[bone].faces] / self.PIXEL
        first = np.floor(corners.min(axis=(0, 1))).astype(int) - 3
        wide, high = (np.ceil(corners.max(axis=(0, 1))).astype(int) - first + 3).tolist()
        mask = np.zeros((high, wide), np.uint8)
        for triangle in np.round((corners - first) * 16).astype(np.int32):
            cv2.fillConvexPoly(mask, triangle, 1, shift=4)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        self.points = (np.concatenate(outlines)[:, 0] + first) * self.PIXEL + low
        self.covered = np.argwhere(mask)[:, ::-1] + first

    def axis(self, way: np.ndarray) -> tuple[np.ndarray, float, float, float]:
        """Unit vector of a long bone's axis, least and greatest place along it, and the least width across."""
        near = np.ones(len(self.points), bool)
        for _ in range(6):
            along = self.points @ way
            low, high = along[near].min(), along[near].max()
            places = low + np.linspace(0.3, 0.7, 9) * (high - low)
            slope, offset = np.polyfit(places, [self.strip(way, place).mean() for place in places], 1)
            off = self.points @ [-way[1], way[0]] - slope * along - offset
            way = way + slope * np.array([-way[1], way[0]])
            way = way / np.linalg.norm(way)
            low, high = (self.points @ way)[near].min(), (self.points @ way)[near].max()
            waist = min(np.ptp(self.strip(way, low + share * (high - low))) for share in np.linspace(0.3, 0.75, 46))
            near = np.abs(off) <= 0.5 * waist
        along = (self.points @ way)[near]
        return way, along.min(), along.max(), waist

    def strip(self, way: np.ndarray, at: float) -> np.ndarray:
        """Least and greatest place across a vector where the bone is cut at a place along it."""
        across = self.points[np.abs(self.points @ way - at) < 1.5 * self.PIXEL] @ [-way[1], way[0]]
        return np.array([across.min(), across.max()])

    def gap(self, other: Reference) -> float:
        if np.intersect1d(self.covered @ [1, 100_000], other.covered @ [1, 100_000]).size:
            return 0.0
        return float(cKDTree(self.points).query(other.points)[0].min())


def test_the_truth_equals_a_slow_reference() -> None:
    hand = hand_of(7)
    truth = true_measures(hand)
    low = hand.outer[INDEX["Radius"]][:, :2].min(axis=0) - 100.0
    drawn = {bone.name: Reference(hand, bone.name, low) for bone in BONES}
    axes = {}
    for bone in BONES[:19]:
        start = (hand.ends - hand.anchors)[bone.index, :2]
        axes[bone.name] = _, near, far, waist = drawn[bone.name].axis(start / np.linalg.norm(start))
        assert truth[f"length {bone.name}"] == pytest.approx(far - near, abs=0.08)
        assert truth[f"width {bone.name}"] == pytest.approx(waist, abs=0.08)
    for name, (a, b) in {"scapholunate gap": (INDEX["Scaphoid"], INDEX["Lunate"]), **JOINTS}.items():
        assert truth[name] == pytest.approx(drawn[BONES[a].name].gap(drawn[BONES[b].name]), abs=0.06), name
    third, near, far, _ = axes["finger-11"]
    offset = drawn["Capitate"].covered - drawn["Capitate"].covered.mean(axis=0)
    main = np.linalg.svd(offset.T @ offset)[0][:, 0]
    capitate = np.ptp(drawn["Capitate"].points @ main)
    middle = drawn["finger-11"].strip(third, near + 0.5 * (far - near)).mean()
    side = np.array([-third[1], third[0]])
    line = drawn["Radius"].points[np.abs(drawn["Radius"].points @ side - middle) < 0.03] @ third
    assert truth["carpal height ratio"] == pytest.approx((near - line.max()) / (far - near), abs=0.003)
    assert truth["carpal height to capitate"] == pytest.approx((near - line.max()) / capitate, abs=0.006)
    assert_forearm(truth, drawn, np.array(forearm_way(hand)[:2]))
    fourth, fifth = bridge(drawn["finger-15"].points, drawn["finger-19"].points, np.argmax)
    # Where the tangent meets the third metacarpal's axis.
    share, _ = np.linalg.solve(np.stack([third, fourth - fifth], axis=1), fourth - middle * side)
    assert truth["metacarpal sign"] == pytest.approx(far - share, abs=0.1)
    pairs = (("Scaphoid", "Lunate"), ("Lunate", "Triquetrum"))
    first, second = (np.subtract(*bridge(drawn[a].points, drawn[b].points, np.argmin)) for a, b in pairs)
    between = np.degrees(np.arccos(first @ second / np.linalg.norm(first) / np.linalg.norm(second)))
    assert truth["carpal angle"] == pytest.approx(180.0 - between, abs=0.3)


def assert_forearm(truth: dict[str, float], drawn: dict[str, Reference], way: np.ndarray) -> None:
    """Compare variance, inclination and height of a right hand, whose thumb is on the left."""
    radius, ulna = drawn["Radius"], drawn["Ulna"]
    for _ in range(6):
        tip = (radius.points @ way).max()
        end = radius.points[radius.points @ way > tip - 14.0]
        places = tip - np.ptp(end @ [-way[1], way[0]]) * np.linspace(0.8, 1.4, 13)
        slope = np.polyfit(places, [radius.strip(way, place).mean() for place in places], 1)[0]
        way = way + slope * np.array([-way[1], way[0]])
        way = way / np.linalg.norm(way)
    thumb = np.array([-way[1], way[0]])
    end = radius.points[radius.points @ way > tip - 14.0]
    border, wide = (end @ thumb).min(), np.ptp(end @ thumb)
    places = border + wide * np.linspace(0.05, 0.35, 31)
    surface = [(end[np.abs(end @ thumb - place) < 0.03] @ way).max() for place in places]
    corner = border * thumb + np.polyval(np.polyfit(places, surface, 1), border) * way
    rise = end[np.argmax(end @ way)] - corner
    assert truth["radial height"] == pytest.approx(rise @ way, abs=0.1)
    assert truth["radial inclination"] == pytest.approx(np.degrees(np.arctan2(rise @ way, rise @ thumb)), abs=0.5)
    head = ulna.points[ulna.points @ way > (ulna.points @ way).max() - 10.0]
    across = head @ thumb
    # Half of the head lies off the styloid for certain.
    most = (head[across > across.mean()] @ way).max()
    assert truth["ulnar variance"] == pytest.approx(most - corner @ way, abs=0.3)


def bridge(a: np.ndarray, b: np.ndarray, end: Callable[[np.ndarray], np.intp]) -> tuple[np.ndarray, np.ndarray]:
    """Points of the first bone and of the second where the lower or the upper tangent to both touches them."""
    both = np.concatenate([a, b])
    # The hull of two bones has two edges that lead from one to the other.
    edges = [edge for edge in np.sort(ConvexHull(both).simplices) if edge[0] < len(a) <= edge[1]]
    chosen = edges[int(end(np.array([both[edge, 1].mean() for edge in edges])))]
    return both[chosen[0]], both[chosen[1]]
