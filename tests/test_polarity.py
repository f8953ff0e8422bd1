"""Radiographs whose bones are dark: told by their labels, and turned round for training."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from handseg_monai import bundle_root
from handseg_monai.data.polarity import bone_brightness
from handseg_monai.transforms import TurnNegatived
from tests.conftest import write_drawn_dataset
from tests.hands import phantom


def sample(number: int, inverted: bool) -> dict[str, torch.Tensor]:
    one = phantom(number)
    image = one.image.astype(np.float32) / 255
    image = 1 - image if inverted else image
    return {"image": torch.from_numpy(image[None]), "label": torch.from_numpy(one.planes[None])}


@pytest.mark.parametrize("number", range(6))
def test_bones_are_bright_upright_and_as_dark_inverted(number: int) -> None:
    one = phantom(number)
    brightness = bone_brightness(one.image, one.planes)
    assert brightness > 0.1
    assert bone_brightness(255 - one.image, one.planes) == pytest.approx(-brightness, abs=0.01)
    assert bone_brightness(one.image.astype(np.uint16) * 257, one.planes) == pytest.approx(brightness, abs=0.001)


@pytest.mark.parametrize("spoil", ["no bones", "all bones", "even"])
def test_nothing_to_compare(spoil: str) -> None:
    image, planes = phantom(0).image, phantom(0).planes
    planes = {"no bones": planes * 0, "all bones": planes * 0 + 1}.get(spoil, planes)
    assert math.isnan(bone_brightness(image * 0 if spoil == "even" else image, planes))


@pytest.mark.parametrize("inverted", [False, True])
def test_auto_turns_what_is_dark_and_nothing_else(inverted: bool) -> None:
    turned = TurnNegatived("image", "label")(sample(3, inverted))
    torch.testing.assert_close(turned["image"], sample(3, False)["image"])


@pytest.mark.parametrize(("invert", "turns"), [("yes", True), ("no", False)])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_user_who_says_so_is_obeyed(invert: str, turns: bool, inverted: bool) -> None:
    turned = TurnNegatived("image", "label", invert)(sample(3, inverted))  # type: ignore[arg-type]
    torch.testing.assert_close(turned["image"], sample(3, inverted != turns)["image"])


def test_an_image_without_labels_stays() -> None:
    data = sample(3, True)
    data["label"] = data["label"] * 0
    torch.testing.assert_close(TurnNegatived("image", "label")(data)["image"], data["image"])


def test_training_sees_bright_bones_whatever_the_files_hold(tmp_path: Path) -> None:
    for folder in ("bright", "dark"):
        write_drawn_dataset(tmp_path / folder, subjects=2)
    for path in (tmp_path / "dark").rglob("*.png"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))

    def first(folder: str, invert: str) -> np.ndarray:
        parser = ConfigParser(ConfigParser.load_config_file(bundle_root() / "configs" / "train.json"))
        parser.update({"dataset_dir": str(tmp_path / folder), "size": 96, "window": 64, "cache_rate": 0.0})
        parser.update({"num_folds": 2, "invert": invert})
        return parser.get_parsed_content("train#dataset")[0]["image"].numpy()

    upright = first("bright", "auto")
    np.testing.assert_allclose(first("dark", "auto"), upright, atol=0.02)
    assert np.abs(first("dark", "no") - upright).mean() > 0.1
    np.testing.assert_array_equal(first("bright", "no"), upright)
