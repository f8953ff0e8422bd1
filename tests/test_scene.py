"""Dark bones are turned bright, and two hands told apart, before masks are drawn."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from handseg_monai import bundle_root
from handseg_monai.bitplanes import unpack
from handseg_monai.bones import INDEX, NUM_BONES
from handseg_monai.inferers import EnsembleInferer, HandInferer, PlanesInferer, WindowsInferer
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.transforms import ScalePercentilesd
from tests.hands import mask, pair, phantom
from tests.test_hand_inferer import BASE, SeeingNetwork, dice, drawn

WINDOW = 256
DARK = "bones are dark, inferred in the negative"


@cache
def network() -> torch.nn.Module:
    """The shipped one."""
    parser = ConfigParser()
    parser.read_config(str(bundle_root() / "configs" / "inference.json"))
    parser["checkpoint"], parser["device"] = str(bundle_root() / "models" / "model.pt"), "$torch.device('cpu')"
    parser.get_parsed_content("loaded")
    found = parser.get_parsed_content("network")
    assert isinstance(found, torch.nn.Module)
    return found.eval()


def infer(image: np.ndarray, **options: Any) -> tuple[np.ndarray, str]:
    """Bit planes (1, H, W) or (2, H, W) of a radiograph, and what is said of it."""
    grey = ScalePercentilesd("image", 0.5, 99.5)({"image": torch.from_numpy(image.astype(np.float32)[None])})["image"]
    inferer = PlanesInferer(HandInferer(384, wrist=2.2), **options)
    with torch.no_grad():
        found = inferer(grey[None], network(), image_size=torch.tensor([image.shape]), notes=True)
    assert isinstance(found, dict)
    return found["planes"][0].numpy(), found["notes"][0]


def mean_dice(found: np.ndarray, truth: np.ndarray) -> float:
    a, b = unpack(found), unpack(truth)
    there = b.any(axis=(1, 2))
    return float((2 * (a & b).sum((1, 2))[there] / (a.sum((1, 2)) + b.sum((1, 2)))[there]).mean())


class DarkNetwork(SeeingNetwork):
    """Sees bones, all but the first, only where the last channel is white."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = super().forward(image)
        logits[:, 0] = -6.0
        return logits if image[:, NUM_BONES].mean() > 0.5 else torch.full_like(logits, -6.0)


class TestDarkBones:
    IMAGE, MASKS = drawn(300, 300, 160.0, 150.0, 150.0, 0.3)
    """The first channel of the negative is what a radiograph is: bones bright or dark."""
    DARK_IMAGE = 1 - IMAGE
    DARK_IMAGE[0] = 1 - MASKS.amax(dim=0)

    def planes(self, image: torch.Tensor, inferer: Any = None, **options: Any) -> tuple[torch.Tensor, str]:
        planes_inferer = PlanesInferer(inferer or HandInferer(WINDOW), enabled=False, **options)
        found = planes_inferer(image[None], DarkNetwork(), image_size=torch.tensor([[300, 300]]), notes=True)
        assert isinstance(found, dict)
        return found["planes"][0, 0], found["notes"][0]

    @pytest.mark.parametrize("view", ["hand", "windows"])
    def test_dark_bones_are_found_in_the_negative_and_said(self, view: str) -> None:
        inferer = HandInferer(WINDOW) if view == "hand" else WindowsInferer((300, 300))
        found, said = self.planes(self.DARK_IMAGE, inferer)
        assert dice(found >> BASE & 1 > 0, self.MASKS[BASE] > 0) > 0.93
        assert said == DARK
        found, said = self.planes(self.DARK_IMAGE, inferer, invert="yes")
        assert dice(found >> BASE & 1 > 0, self.MASKS[BASE] > 0) > 0.93
        assert said == ""
        found, said = self.planes(self.DARK_IMAGE, inferer, invert="no")
        assert not found.any()
        assert said == ""

    def test_bones_that_do_not_stand_out_there_do_not_count(self) -> None:
        image = self.DARK_IMAGE.clone()
        image[0] = self.MASKS.amax(dim=0)
        found, said = self.planes(image)
        assert not found.any()
        assert said == ""

    def test_where_bones_are_surely_bright_nobody_looks_at_the_negative(self) -> None:
        image = self.IMAGE.clone()
        image[0] = self.MASKS.amax(dim=0)
        seeing = SeeingNetwork()
        PlanesInferer(HandInferer(WINDOW), enabled=False)(image[None], seeing, image_size=torch.tensor([[300, 300]]))
        one = len(seeing.seen)
        image[0] = 0.5 + 0.01 * image[0]
        PlanesInferer(HandInferer(WINDOW), enabled=False)(image[None], seeing, image_size=torch.tensor([[300, 300]]))
        # The look at the negative is one more in four turns, and a closer one with its mirror image.
        assert len(seeing.seen) - one == one + 6

    def test_an_even_image_has_no_negative(self) -> None:
        seeing = SeeingNetwork()
        image = torch.zeros(1, 30, 300, 300)
        PlanesInferer(HandInferer(WINDOW), enabled=False)(image, seeing, image_size=torch.tensor([[300, 300]]))
        assert len(seeing.seen) == 4

    def test_the_masks_of_a_negative_are_those_of_the_radiograph(self) -> None:
        image = phantom(3).image
        upright, said = infer(image)
        assert said == ""
        inverted, said = infer(255 - image)
        assert said == DARK
        assert mean_dice(inverted, upright) > 0.99
        assert mean_dice(upright, phantom(3).planes[None]) > 0.9

    @pytest.mark.parametrize(("option", "value"), [("invert", "maybe"), ("hands", "three")])
    def test_a_choice_that_is_none_is_an_error(self, option: str, value: str) -> None:
        with pytest.raises(ValueError, match=f"{option}: expected .* got '{value}'"):
            PlanesInferer(HandInferer(WINDOW), **{option: value})


class TestTwoHands:
    @pytest.mark.parametrize(("inwards", "turns"), [(True, 1), (False, 0)])
    def test_both_are_segmented_as_if_each_were_alone(self, inwards: bool, turns: int) -> None:
        both = pair(31, 2, "standard", 1000, inwards)
        found, said = infer(np.rot90(both.image, turns).copy(), hands="both")
        assert said == ""
        assert len(found) == 2
        for planes, truth, alone in zip(found, both.planes, both.alone, strict=True):
            single, _ = infer(alone)
            assert mean_dice(np.rot90(planes, -turns), truth) > mean_dice(single[0], truth) - 0.02

    @pytest.mark.parametrize(
        ("number", "bones"),
        [
            # Radius and ulna go on beyond the closer look, where the whole picture alone would show them small.
            (21, ("Radius", "Ulna")),
            # The thumbs lie over each other, and a line between the hands cuts one of them.
            (11, ("finger-1", "finger-2", "Radius", "Ulna")),
            # Beyond the collimation the film is brighter than hands.
            (22, ("Radius", "Ulna", "Capitate")),
            # Bones of one hand are found in part, and a line through its fingers touches fewer than one between wrists.
            (14, ("finger-4", "finger-19", "Capitate", "Ulna")),
            # Noise frays the forearm in a look that is not upright.
            (30, ("Radius", "Ulna")),
        ],
    )
    def test_hard_pairs_lose_no_bone(self, number: int, bones: tuple[str, ...]) -> None:
        both = pair(910002, number, "hard", 1024)
        found, _ = infer(both.image, hands="both")
        assert len(found) == 2
        for planes, truth in zip(found, both.planes, strict=True):
            assert min(dice(mask(planes, bone), mask(truth, bone)) for bone in bones) > 0.75

    def test_a_thumb_that_reaches_the_other_hand_belongs_to_its_own(self) -> None:
        both = pair(910002, 1, "hard", 1024)
        found, _ = infer(both.image, hands="both")
        assert dice(mask(found[0], "finger-1"), mask(both.planes[0], "finger-1")) > 0.5

    def test_one_of_them_is_drawn_unless_both_are_wanted_and_the_other_is_said(self) -> None:
        both = pair(31, 2, "standard", 1000)
        found, said = infer(both.image)
        assert len(found) == 1
        scores = dict(zip(("left", "right"), (mean_dice(found[0], truth) for truth in both.planes), strict=True))
        side = max(scores, key=lambda name: scores[name])
        assert said == f"two hands, the {side} one is segmented; `--hands both` segments both"
        assert scores[side] > 0.9
        assert min(scores.values()) < 0.1

    def test_of_two_right_hands_the_place_says_which_is_which(self) -> None:
        both = pair(31, 4, "standard", 1000, sides=("right", "right"))
        found, said = infer(both.image, hands="both")
        assert said == "both hands look like the same one, so their places name them"
        assert all(mean_dice(a, b) > 0.9 for a, b in zip(found, both.planes, strict=True))

    def test_a_hand_alone_is_one_hand(self) -> None:
        found, said = infer(phantom(2).image, hands="both")
        assert len(found) == 1
        assert said == ""

    def test_a_piece_of_another_hand_is_no_second_hand(self) -> None:
        ranges = replace(PRESETS["hard"], inversion_share=0.0)
        found, said = infer(render_phantom(910002, 59, "right", ranges, 1024).image, hands="both")
        assert len(found) == 1
        assert said == ""

    def test_the_networks_of_an_ensemble_see_each_hand_and_probabilities_are_those_of_each(self) -> None:
        both = pair(31, 2, "standard", 600)
        grey = torch.from_numpy(both.image / np.float32(255))[None, None]
        viewers = [SimpleNamespace(views="hand", size=None, window=384)] * 2
        inferer = EnsembleInferer(viewers, HandInferer(384), WindowsInferer((384, 384)), hands="both")
        size = torch.tensor([both.image.shape])
        with torch.no_grad():
            found = inferer(grey, [network(), network()], image_size=size, coarse_side=128)
        assert isinstance(found, dict)
        assert found["planes"].shape == (1, 2, *both.image.shape)
        assert found["probabilities"].shape == (1, 2 * NUM_BONES, 80, 128)
        bone = INDEX["Capitate"]
        left, right = (found["probabilities"][0, k * NUM_BONES + bone].amax(dim=0).argmax() for k in range(2))
        assert left < 64 < right
