"""The 29 bones: the contract's names and order, an anatomy that holds together, and no second list of them."""

from __future__ import annotations

import ast
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

import handseg_monai
from handseg_monai import bundle_root
from handseg_monai.bones import ALL_KNOWN, APART, BONES, INDEX, NAMES, NEIGHBOURS, NUM_BONES, OVERLAPS, Group

CARPALS = ["Trapezium", "Trapezoid", "Capitate", "Hamate", "Scaphoid", "Lunate", "Triquetrum", "Pisiform"]
FINGER_GROUPS = [Group.DISTAL_PHALANX, Group.MIDDLE_PHALANX, Group.PROXIMAL_PHALANX, Group.METACARPAL]


def pair(first: str, second: str) -> tuple[int, int]:
    """Indices of two bones, the lower one first."""
    return min(INDEX[first], INDEX[second]), max(INDEX[first], INDEX[second])


class TestContract:
    def test_names_are_the_contracts_in_its_order(self) -> None:
        assert list(NAMES) == [f"finger-{i}" for i in range(1, 20)] + [*CARPALS, "Radius", "Ulna"]
        assert NUM_BONES == len(BONES) == 29

    def test_the_index_is_the_place_in_the_list(self) -> None:
        for i, bone in enumerate(BONES):
            assert bone.index == INDEX[bone.name] == i
            assert NAMES[i] == bone.name

    def test_every_bone_is_known_in_29_bits(self) -> None:
        assert ALL_KNOWN == 2**29 - 1

    def test_the_page_of_labels_lists_them(self) -> None:
        text = (bundle_root() / "docs" / "labels.md").read_text(encoding="utf-8")
        table = re.findall(r"`([\w-]+)` \| ([a-z ]+) \|", text.partition("## The 29 bones")[2].partition("\n## ")[0])
        # Two columns of bones side by side.
        half = (NUM_BONES + 1) // 2
        order = [k for row in range(half) for k in (row, row + half) if k < NUM_BONES]
        assert table == [(BONES[k].name, BONES[k].english) for k in order]

    @pytest.mark.parametrize("attribute", ["name", "english", "korean", "colour"])
    def test_no_two_bones_share(self, attribute: str) -> None:
        values = [getattr(bone, attribute) for bone in BONES]
        assert all(values)
        assert len(set(values)) == 29

    def test_colours_are_bytes_far_enough_apart_to_tell(self) -> None:
        for bone in BONES:
            assert all(0 <= channel <= 255 for channel in bone.colour)
        for i, j in OVERLAPS:
            distance = sum(abs(a - b) for a, b in zip(BONES[i].colour, BONES[j].colour, strict=True))
            assert distance > 60, (NAMES[i], NAMES[j])


class TestAnatomy:
    def test_the_thumb_has_two_phalanges_and_a_metacarpal(self) -> None:
        thumb = [bone for bone in BONES if bone.ray == 1]
        assert [bone.name for bone in thumb] == ["finger-1", "finger-2", "finger-3"]
        assert [bone.group for bone in thumb] == [Group.DISTAL_PHALANX, Group.PROXIMAL_PHALANX, Group.METACARPAL]

    @pytest.mark.parametrize("ray", [2, 3, 4, 5])
    def test_each_finger_has_three_phalanges_and_a_metacarpal(self, ray: int) -> None:
        finger = [bone for bone in BONES if bone.ray == ray]
        assert [bone.name for bone in finger] == [f"finger-{4 * ray - 4 + i}" for i in range(4)]
        assert [bone.group for bone in finger] == FINGER_GROUPS

    def test_carpals_and_forearm_belong_to_no_ray(self) -> None:
        assert [bone.name for bone in BONES if bone.group is Group.CARPAL] == CARPALS
        assert [bone.name for bone in BONES if bone.group is Group.FOREARM] == ["Radius", "Ulna"]
        for bone in BONES:
            assert (bone.ray is None) == (bone.group in (Group.CARPAL, Group.FOREARM))

    def test_english_names_tell_the_group(self) -> None:
        for bone in BONES:
            if bone.ray is not None:
                assert bone.english.endswith(bone.group.value)
            else:
                assert bone.english == bone.name.lower()

    @pytest.mark.parametrize(
        ("name", "digit", "place"),
        [
            (1, "엄지손가락", "끝"),
            (2, "엄지손가락", "첫"),
            (5, "집게손가락", "중간"),
            (8, "가운데손가락", "끝"),
            (14, "반지손가락", "첫"),
            (17, "새끼손가락", "중간"),
            (3, "첫째", "손허리뼈"),
            (19, "다섯째", "손허리뼈"),
        ],
    )
    def test_korean_names_tell_digit_and_place(self, name: int, digit: str, place: str) -> None:
        korean = BONES[INDEX[f"finger-{name}"]].korean
        assert korean.startswith(digit)
        assert place in korean.removeprefix(digit)

    def test_korean_names_of_phalanges_and_metacarpals_end_with_that_of_their_group(self) -> None:
        for bone in BONES:
            assert bone.korean.endswith(bone.group.korean) == (bone.ray is not None)
        assert len({group.korean for group in Group}) == len(Group)


class TestPairs:
    @pytest.mark.parametrize("pairs", [NEIGHBOURS, OVERLAPS, APART])
    def test_pairs_are_of_two_bones_in_order(self, pairs: frozenset[tuple[int, int]]) -> None:
        assert all(0 <= i < j < 29 for i, j in pairs)

    def test_neighbours_overlap_on_a_radiograph(self) -> None:
        assert NEIGHBOURS < OVERLAPS

    def test_every_bone_articulates(self) -> None:
        assert {i for p in NEIGHBOURS for i in p} == set(range(29))

    def test_the_bones_of_a_ray_articulate_one_after_the_other(self) -> None:
        for ray in range(1, 6):
            finger = [bone.index for bone in BONES if bone.ray == ray]
            assert all(p in NEIGHBOURS for p in pairwise(finger))
            phalanges = set(finger[:-1])
            joints = {p for p in NEIGHBOURS if phalanges & set(p)}
            assert joints == set(pairwise(finger))

    @pytest.mark.parametrize(
        ("metacarpal", "carpals"),
        [
            ("finger-3", {"Trapezium"}),
            ("finger-7", {"Trapezium", "Trapezoid", "Capitate"}),
            ("finger-11", {"Capitate"}),
            ("finger-15", {"Capitate", "Hamate"}),
            ("finger-19", {"Hamate"}),
        ],
    )
    def test_metacarpals_stand_on_their_carpals(self, metacarpal: str, carpals: set[str]) -> None:
        assert {c for c in CARPALS if pair(metacarpal, c) in NEIGHBOURS} == carpals

    def test_the_carpus_as_anatomy_has_it(self) -> None:
        assert pair("Triquetrum", "Pisiform") in NEIGHBOURS
        assert {c for c in NAMES if c != "Pisiform" and pair("Pisiform", c) in NEIGHBOURS} == {"Triquetrum"}
        assert {c for c in NAMES if c != "Radius" and pair("Radius", c) in NEIGHBOURS} == {"Scaphoid", "Lunate", "Ulna"}
        assert {c for c in NAMES if c != "Ulna" and pair("Ulna", c) in NEIGHBOURS} == {"Radius"}

    def test_bones_far_from_each_other_do_not_overlap(self) -> None:
        for first, second in [
            ("finger-1", "finger-16"),
            ("finger-4", "Radius"),
            ("finger-3", "Hamate"),
            ("Trapezium", "Ulna"),
        ]:
            assert pair(first, second) not in OVERLAPS


def strings_in(path: Path) -> set[str]:
    """Words of the string literals of a source file, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    constants = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docstrings
    ]
    return {word for constant in constants for word in re.split(r"[\s,/]+", constant.value)}


def test_no_other_module_lists_the_bones() -> None:
    """A module may speak of some bones by name; one that names most carpals or finger bones keeps a list of its own."""
    sources = sorted(Path(handseg_monai.__file__).parent.rglob("*.py"))
    assert len(sources) > 20
    second_lists = {}
    for path in sources:
        named = strings_in(path) & set(NAMES)
        if len(named) > 20:
            second_lists[path.name] = len(named)
    assert second_lists == {"bones.py": 29}


def test_the_bundles_channels_are_the_bones_in_order() -> None:
    """The one list beside it that MONAI asks for."""
    metadata = json.loads((handseg_monai.bundle_root() / "configs" / "metadata.json").read_text(encoding="utf-8"))
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert [channels[str(i)] for i in range(len(channels))] == list(NAMES)
