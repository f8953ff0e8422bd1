"""Children's hands: bones appear in their order, growth plates part epiphyses from shafts, labels stay whole."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest

from handseg_monai.bones import BONES, INDEX, NAMES, Group
from handseg_monai.phantom import PRESETS, Phantom, render_phantom
from handseg_monai.phantom.components import subject_of
from handseg_monai.phantom.growth import draw_growth
from handseg_monai.phantom.mesh import Array
from handseg_monai.plausibility.judge import Plausibility, Severity, plausibility
from handseg_monai.plausibility.ranges import ADULT
from tests.hands import hand, without

CARPALS = [bone.index for bone in BONES if bone.group is Group.CARPAL]


@lru_cache(maxsize=32)
def child(age: float, number: int = 0, size: int = 512) -> Phantom:
    ranges = replace(PRESETS["easy"], child_share=1.0, child_age=(age, age))
    return render_phantom(77, number, "left", ranges, size)


def area(phantom: Phantom, bone: int) -> float:
    """Square millimetres."""
    return float(np.count_nonzero(phantom.planes & np.int32(1 << bone))) * phantom.spacing**2


def volume(points: Array, faces: np.ndarray) -> float:
    a, b, c = (points[faces[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6


class TestOssification:
    def test_carpal_bones_appear_in_their_order(self) -> None:
        seen = [{NAMES[k] for k in CARPALS if area(child(age), k)} for age in (3.5, 6.5, 8.5, 12.0)]
        assert {"Capitate", "Hamate", "Triquetrum"} <= seen[0] <= {"Capitate", "Hamate", "Triquetrum", "Lunate"}
        assert {NAMES[k] for k in CARPALS} - seen[1] == {"Pisiform"}
        assert {NAMES[k] for k in CARPALS} - seen[2] == {"Pisiform"}
        assert {NAMES[k] for k in CARPALS} == seen[3]

    def test_they_begin_as_dots(self) -> None:
        growths = [draw_growth(np.random.default_rng(seed), 5.2) for seed in range(200)]
        sizes = np.array([growth.carpals[INDEX["Scaphoid"]] for growth in growths])
        assert 0.1 <= sizes[sizes > 0].min() < 0.16
        assert 0.3 < sizes.max() < 0.45
        assert 0.2 < np.mean(sizes == 0) < 0.5
        assert all(0.45 < growth.carpals[INDEX["Capitate"]] < 0.75 for growth in growths)

    @pytest.mark.parametrize("name", ["Capitate", "Lunate", "finger-11", "finger-10"])
    def test_they_grow(self, name: str) -> None:
        areas = [area(child(age), INDEX[name]) for age in (4.0, 7.0, 10.0, 13.0)]
        assert areas == sorted(areas)
        assert areas[0] < 0.7 * areas[-1]

    def test_the_forearm_grows_in_breadth(self) -> None:
        # How much of its length is in view depends on the image.
        rows = [((child(age).planes >> INDEX["Radius"]) & 1).sum(axis=1).max() for age in (4.0, 7.0, 10.0, 13.0)]
        breadths = [row * child(age).spacing for row, age in zip(rows, (4.0, 7.0, 10.0, 13.0), strict=True)]
        assert breadths == sorted(breadths)
        assert breadths[0] < 0.84 * breadths[-1]

    def test_an_adult_is_not_touched(self) -> None:
        subject = subject_of(77, 0, PRESETS["standard"])
        assert subject.age is None
        for bone, mesh in zip(subject.bones, subject.anatomy.meshes, strict=True):
            assert bone.surface is mesh.vertices
            assert len(bone.pieces) == 1

    def test_presets(self) -> None:
        ages = [subject_of(5, number, PRESETS["hard"]).age for number in range(40)]
        expected = 40 * PRESETS["hard"].child_share
        assert 0.5 * expected <= sum(age is not None for age in ages) <= 1.5 * expected
        assert PRESETS["standard"].child_share == PRESETS["easy"].child_share == 0


class TestGrowthPlates:
    @pytest.mark.parametrize("name", ["finger-10", "finger-5", "finger-11", "finger-3", "Radius"])
    @pytest.mark.parametrize("age", [5.0, 9.0, 13.0])
    def test_shaft_and_epiphysis_make_up_the_bone_but_for_the_plate(self, name: str, age: float) -> None:
        # The end of a wedged radius is less of the whole.
        ranges = replace(PRESETS["standard"], child_share=1.0, child_age=(age, age), radius_wedge=(0.0, 0.0))
        subject = subject_of(78, 1, ranges)
        bone, faces = subject.bones[INDEX[name]], subject.anatomy.meshes[INDEX[name]].faces
        whole = volume(bone.surface, faces)
        parts = [volume(surface, faces) for surface, _ in bone.pieces]
        cavities = [volume(cavity, faces) for _, cavity in bone.pieces]
        assert len(parts) == 2
        assert min(parts) > 0.01 * whole
        assert 0.8 * whole < sum(parts) < 0.995 * whole
        assert all(0 < cavity < part for part, cavity in zip(parts, cavities, strict=True))

    def test_the_plate_is_dark_between_brighter_bone(self) -> None:
        phantom = child(9.0, size=1024)
        bone = INDEX["finger-10"]
        start, end = phantom.view(phantom.hand.anchors[[bone]])[0], phantom.view(phantom.hand.ends[[bone]])[0]
        along = start[:2] + np.linspace(0.0, 0.4, 120)[:, None] * (end - start)[:2]
        smooth = cv2.GaussianBlur(phantom.image.astype(np.float32), (0, 0), 1.0)
        grey = cv2.remap(smooth, along[None].astype(np.float32), None, cv2.INTER_LINEAR)[0]
        # Joint spaces are as dark: the search begins inside of the bone.
        labels = [phantom.planes[y, x] >> bone & 1 for x, y in np.rint(along).astype(int)]
        begin = labels.index(1) + 5
        dark = begin + int(np.argmin(grey[begin : begin + 40]))
        assert grey[dark] < 0.9 * grey[max(dark - 20, 0) : dark].max()
        assert grey[dark] < 0.9 * grey[dark : dark + 30].max()
        # The label goes on across it.
        x, y = np.rint(along[dark]).astype(int)
        assert phantom.planes[y, x] >> bone & 1

    @pytest.mark.parametrize("age", [4.0, 8.0, 12.0])
    def test_labels_are_of_one_piece(self, age: float) -> None:
        planes = child(age).planes
        for bone in BONES:
            mask = (planes >> bone.index & 1).astype(np.uint8)
            assert cv2.connectedComponents(mask, connectivity=8)[0] <= 2, bone.name

    def test_they_have_closed_by_17(self) -> None:
        ranges = replace(PRESETS["standard"], child_share=1.0, child_age=(17.0, 17.0))
        bones = subject_of(78, 1, ranges).bones
        assert all(len(bones[bone.index].pieces) == 1 for bone in BONES if bone.group is not Group.FOREARM)


class TestPlausibility:
    def test_young_children_are_plausible_as_children(self) -> None:
        judgements = self.judged((4.0, 6.0))
        assert all(j.plausible for j in judgements), [j.findings for j in judgements if not j.plausible]
        assert all(j.age != ADULT for j in judgements)

    def test_of_older_ones_those_that_pass_for_adults_have_findings(self) -> None:
        judgements = self.judged((6.0, 8.0))
        assert sum(j.age != ADULT for j in judgements) >= 4
        assert all(j.plausible == (j.age != ADULT) for j in judgements)

    def test_from_ten_years_on_most_are_plausible_as_adults(self) -> None:
        judgements = self.judged((10.0, 13.0))
        # Or by their own age, as which they are plausible too.
        assert {j.age for j in judgements} <= {ADULT, "10 to 13 years"}
        assert np.mean([j.age == ADULT for j in judgements]) > 0.5
        assert np.mean([j.plausible for j in judgements]) >= 0.5

    @staticmethod
    def judged(years: tuple[float, float]) -> list[Plausibility]:
        ranges = replace(PRESETS["standard"], child_share=1.0, child_age=years)
        return [plausibility(render_phantom(79, n, "right", ranges, 512).planes) for n in range(8)]

    def test_adults_are_judged_as_adults(self) -> None:
        for number in range(12):
            assert plausibility(hand(number)).age == ADULT
            judgement = plausibility(without(hand(number), "Pisiform"))
            assert not judgement.plausible
            assert ("Pisiform",) in [f.bones for f in judgement.findings if f.part == "presence"]

    def test_what_a_child_must_have_is_missed(self) -> None:
        for name in ("Capitate", "finger-7", "Radius"):
            judgement = plausibility(without(child(5.0).planes, name))
            assert name in {b for f in judgement.findings if f.severity is Severity.WRONG for b in f.bones}
