"""Plausibility: hands of phantoms are plausible, what no hand looks like is found and named."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from handseg_monai.bitplanes import reduce
from handseg_monai.bones import ALL_KNOWN, BONES, INDEX, NAMES, NEIGHBOURS, OVERLAPS, Group
from handseg_monai.plausibility.freeze import freeze_ranges, write_ranges
from handseg_monai.plausibility.hand_measures import measure_hand
from handseg_monai.plausibility.judge import Plausibility, Severity, plausibility
from handseg_monai.plausibility.ranges import Placement, load_ranges
from tests.hands import hand, mask, moved, phantom, shifted, swapped, with_mask, with_mirrored_carpus, without

HANDS = (0, 1, 4)


def wrong_bones(judgement: Plausibility, part: str | None = None) -> set[str]:
    """Bones of the wrong findings of a part, of all parts if None."""
    return {
        bone
        for finding in judgement.findings
        if finding.severity is Severity.WRONG and part in (None, finding.part)
        for bone in finding.bones
    }


class TestTrueMasks:
    def test_phantoms_are_plausible_and_nearly_all_score_1(self) -> None:
        judgements = [plausibility(hand(number)) for number in range(24)]
        assert all(j.plausible for j in judgements), [j.findings for j in judgements if not j.plausible]
        assert np.mean([j.score == 1.0 and not j.findings for j in judgements]) >= 0.9

    @pytest.mark.parametrize(
        "change",
        [
            lambda planes: np.rot90(planes, 2),
            lambda planes: np.rot90(planes),
            lambda planes: planes[:, ::-1],
            lambda planes: cv2.warpAffine(
                planes, cv2.getRotationMatrix2D((255.5, 255.5), 33, 0.6), (512, 512), flags=cv2.INTER_NEAREST
            ),
            lambda planes: reduce(planes, (240, 240)),
            lambda planes: np.kron(planes, np.ones((3, 3), np.int32)),
            lambda planes: np.pad(planes, ((0, 0), (900, 40))),
        ],
        ids=["upside down", "on its side", "the other hand", "turned and smaller", "reduced", "enlarged", "off centre"],
    )
    @pytest.mark.parametrize("number", HANDS)
    def test_turn_side_and_size_do_not_matter(self, change, number: int) -> None:
        judgement = plausibility(np.ascontiguousarray(change(hand(number))))
        assert judgement.plausible, judgement.findings
        assert judgement.score > 0.98

    @pytest.mark.parametrize("number", HANDS)
    def test_views_of_the_wrist_or_the_fingers_alone_are_plausible(self, number: int) -> None:
        planes = hand(number)
        middle = int(np.nonzero(mask(planes, "finger-11"))[0].mean())
        for part in (planes[middle:], planes[:middle]):
            judgement = plausibility(np.ascontiguousarray(part))
            assert judgement.plausible, judgement.findings

    @pytest.mark.parametrize("number", HANDS)
    def test_outlines_half_a_millimetre_off_are_plausible(self, number: int) -> None:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        for change in (cv2.erode, cv2.dilate):
            planes = np.zeros((512, 512), np.int32)
            for name in NAMES:
                planes = with_mask(planes, name, change(mask(hand(number), name).astype(np.uint8), kernel) > 0)
            assert plausibility(planes).plausible

    def test_crumbs_are_tolerated(self) -> None:
        planes = hand(0)
        for name in NAMES:
            planes[5, 10 + 8 * INDEX[name]] |= 1 << INDEX[name]
        assert plausibility(planes).score == 1.0


class TestNoHand:
    @pytest.mark.parametrize(
        "planes",
        [
            np.zeros((300, 200), np.int32),
            np.full((300, 200), ALL_KNOWN, np.int32),
            np.pad(np.full((300, 200), ALL_KNOWN, np.int32), 9),
            np.random.default_rng(0).integers(0, 2**29, (300, 200), dtype=np.int32),
        ],
        ids=["empty", "everything", "everything but a rim", "noise"],
    )
    def test_scores_0(self, planes: np.ndarray) -> None:
        judgement = plausibility(planes)
        assert judgement.score == 0.0
        assert not judgement.plausible
        assert judgement.findings

    def test_one_bone_alone_scores_0(self) -> None:
        planes = hand(0) & np.int32(1 << INDEX["Lunate"])
        assert plausibility(planes).score == 0.0

    def test_wrong_arrays_are_refused(self) -> None:
        with pytest.raises(TypeError, match="int32"):
            plausibility(np.zeros((9, 9), np.int64))
        with pytest.raises(ValueError, match=r"\(1, 9, 9\)"):
            plausibility(np.zeros((1, 9, 9), np.int32))


def centre(planes: np.ndarray, name: str) -> complex:
    rows, columns = np.nonzero(planes & np.int32(1 << INDEX[name]))
    return complex(columns.mean(), rows.mean())


@pytest.mark.parametrize("number", HANDS)
class TestFaultsAreFound:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_missing_bone(self, number: int, name: str) -> None:
        judgement = plausibility(without(hand(number), name))
        assert not judgement.plausible
        assert wrong_bones(judgement, "presence") == {name}
        assert f"{name} is missing" in [str(f) for f in judgement.findings]

    @pytest.mark.parametrize(
        "pair",
        [
            *("finger-5 finger-9", "finger-4 finger-5", "finger-7 finger-11", "finger-1 finger-16", "Radius Ulna"),
            *("Trapezium Trapezoid", "Capitate Hamate", "Scaphoid Lunate", "Lunate Triquetrum", "Lunate Capitate"),
            *("Trapezium Scaphoid", "Hamate Triquetrum"),
        ],
    )
    def test_two_bones_swapped(self, number: int, pair: str) -> None:
        judgement = plausibility(swapped(hand(number), *pair.split()))
        assert not judgement.plausible
        assert wrong_bones(judgement) >= set(pair.split())

    @pytest.mark.parametrize("name", NAMES)
    def test_a_bone_15_mm_off(self, number: int, name: str) -> None:
        # Along its shaft a forearm bone varies by centimetres, with ulnar variance and the wrist's deviation.
        pixels = (20 if name in ("Radius", "Ulna") else 15) / phantom(number).spacing
        angle = INDEX[name] + number
        if BONES[INDEX[name]].group is Group.DISTAL_PHALANX:
            # Sideways: along the finger, over the middle phalanx, it would be the tip of a curled finger.
            before = centre(hand(number), NAMES[INDEX[name] + 1]) - centre(hand(number), name)
            angle = float(np.angle(before * 1j))
        judgement = plausibility(moved(hand(number), name, pixels * np.cos(angle), pixels * np.sin(angle)))
        assert name in {bone for finding in judgement.findings for bone in finding.bones}
        # Along its shaft a forearm may come as close as a bent wrist brings it: doubtful, not wrong.
        assert not judgement.plausible or name in ("Radius", "Ulna")

    @pytest.mark.parametrize("name", NAMES)
    def test_a_bone_that_comes_twice(self, number: int, name: str) -> None:
        planes = hand(number)
        twin = np.zeros((700, 1100), np.int32)
        twin[20:532, 20:532] = planes
        where = np.pad(mask(planes, name), ((20, 168), (20, 568)))
        judgement = plausibility(with_mask(twin, name, shifted(where, 550, -15)))
        assert not judgement.plausible
        assert wrong_bones(judgement, "components") == {name}

    def test_a_mirrored_carpus(self, number: int) -> None:
        judgement = plausibility(with_mirrored_carpus(hand(number)))
        assert not judgement.plausible
        assert judgement.score < 0.7
        assert wrong_bones(judgement, "order") >= {"Trapezium", "Hamate", "Scaphoid", "Triquetrum"}

    def test_a_mask_that_spills(self, number: int) -> None:
        planes = hand(number)
        spilt = cv2.dilate(mask(planes, "finger-9").astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
        judgement = plausibility(with_mask(planes, "finger-9", spilt))
        assert not judgement.plausible
        assert "finger-9" in wrong_bones(judgement, "areas")

    def test_the_more_bones_are_wrong_the_lower_the_score(self, number: int) -> None:
        planes, scores = hand(number), [1.0]
        for name in ("Lunate", "finger-9", "finger-14", "Trapezium"):
            planes = without(planes, name)
            scores.append(plausibility(planes).score)
        assert scores == sorted(set(scores), reverse=True)


def test_overlap_of_bones_that_never_meet_is_found() -> None:
    planes = hand(1)
    both = with_mask(planes, "finger-16", shifted(mask(planes, "finger-16"), 0, 0) | mask(planes, "finger-12"))
    judgement = plausibility(both)
    assert {"finger-12", "finger-16"} <= wrong_bones(judgement, "overlaps")


def test_pisiform_on_triquetrum_is_natural() -> None:
    planes = hand(0)
    on_it = shifted(mask(planes, "Pisiform"), 0, 0) & mask(planes, "Triquetrum")
    assert on_it.any()
    assert "overlaps" not in {f.part for f in plausibility(planes).findings}


class TestRanges:
    def test_they_cover_every_bone_and_pair(self) -> None:
        ranges = load_ranges()
        assert ranges.area.shape == ranges.atlas.shape == ranges.displacement.shape == (29,)
        assert set(ranges.gap) == NEIGHBOURS
        assert set(ranges.overlap) == OVERLAPS
        assert (ranges.area_ratio[:, 0] <= 1).all()
        assert (ranges.area_ratio[:, 1] >= 1).all()

    def test_scale_is_the_phantoms_spacing_but_for_the_size_of_its_hand(self) -> None:
        for number in range(6):
            measured = measure_hand(hand(number), load_ranges().area)
            assert measured is not None
            columns = np.flatnonzero(hand(number).any(axis=0))
            rows = np.flatnonzero(hand(number).any(axis=1))
            factor = min(1.0, 512 / max(np.ptp(columns) + 1, np.ptp(rows) + 1))
            assert measured.pixel * factor == pytest.approx(phantom(number).spacing, rel=0.2)

    def test_the_side_is_the_phantoms(self) -> None:
        for number in range(12):
            measured = measure_hand(hand(number), load_ranges().area)
            assert measured is not None
            thumbward = Placement(measured, load_ranges().atlas).thumbward
            assert (thumbward.real > 0) == (phantom(number).side == "left")

    def test_frozen_ranges_hold_the_hands_they_were_frozen_from(self, tmp_path) -> None:
        phantoms = [phantom(number) for number in range(6)]
        ranges = freeze_ranges(
            [p.planes for p in phantoms], [p.spacing for p in phantoms], [p.side == "left" for p in phantoms]
        )
        assert all(plausibility(p.planes, ranges).score == 1.0 for p in phantoms)
        write_ranges([ranges], tmp_path / "ranges.json")
        assert '"Lunate"' in (tmp_path / "ranges.json").read_text()

    def test_cut_hands_are_refused(self) -> None:
        with pytest.raises(ValueError, match="mask 0"):
            freeze_ranges([hand(0)[150:]], [0.5], [True])
