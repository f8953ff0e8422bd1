"""Each loss that an overlay offers, as its configuration builds it, against plain loops over the pixels in NumPy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from handseg_monai.bones import INDEX, NAMES
from handseg_monai.losses import PerBoneLoss, WeightedLoss, weights_of_bones
from tests.bundle_runs import CONFIGS, run_bundle, run_here
from tests.schedule_runs import SMALL
from tests.targets import packed

pytestmark = pytest.mark.usefixtures("restore_globals")

Loops = Callable[[np.ndarray, np.ndarray], float]


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def bce(logits: np.ndarray, mask: np.ndarray) -> float:
    return float(np.mean([-np.log(sigmoid(x if t else -x)) for x, t in zip(logits, mask, strict=True)]))


def focal(logits: np.ndarray, mask: np.ndarray) -> float:
    right = [sigmoid(x if t else -x) for x, t in zip(logits, mask, strict=True)]
    return float(np.mean([-((1 - p) ** 2) * np.log(p) for p in right]))


def counts(logits: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    """True positives, false positives and false negatives, by probability."""
    true = false = missed = 0.0
    for x, t in zip(logits, mask, strict=True):
        true += sigmoid(x) * t
        false += sigmoid(x) * (1 - t)
        missed += (1 - sigmoid(x)) * t
    return true, false, missed


def dice(logits: np.ndarray, mask: np.ndarray) -> float:
    true, false, missed = counts(logits, mask)
    return 1 - (2 * true + 1) / (2 * true + false + missed + 1)


def jaccard(logits: np.ndarray, mask: np.ndarray) -> float:
    """MONAI counts everything twice, the pixel of smoothing not."""
    true, false, missed = counts(logits, mask)
    return 1 - (2 * true + 1) / (2 * (true + false + missed) + 1)


def focal_tversky(logits: np.ndarray, mask: np.ndarray) -> float:
    true, false, missed = counts(logits, mask)
    return (1 - (true + 1) / (true + 0.3 * false + 0.7 * missed + 1)) ** 0.75


def lovasz(logits: np.ndarray, mask: np.ndarray) -> float:
    """The Jaccard loss of the set of wrong pixels, integrated over the level that an error must reach to be in it."""

    def jaccard_loss(wrong: set[int]) -> float:
        bone = {i for i, t in enumerate(mask) if t}
        predicted = bone ^ wrong
        return 1 - len(bone & predicted) / len(bone | predicted) if bone | predicted else 0.0

    errors = [max(0.0, 1 - x * (2 * t - 1)) for x, t in zip(logits, mask, strict=True)]
    levels = sorted({0.0, *errors})
    return sum(
        (upper - lower) * jaccard_loss({i for i, e in enumerate(errors) if e >= upper})
        for lower, upper in pairwise(levels)
    )


def combined(logits: np.ndarray, mask: np.ndarray) -> float:
    return bce(logits, mask) + dice(logits, mask) + 0.5 * focal_tversky(logits, mask)


LOSSES: dict[str, Loops] = {
    "bce": bce,
    "focal": focal,
    "dice": dice,
    "jaccard": jaccard,
    "focal_tversky": focal_tversky,
    "lovasz": lovasz,
    "combined": combined,
}


def by_hand(loops: Loops, logits: torch.Tensor, target: torch.Tensor, weights: dict[str, float] | None = None) -> float:
    """Mean over images and bones, weighted, of a loss in loops; bones of NaN are left out."""
    total = number = 0.0
    for image in range(len(logits)):
        for bone, name in enumerate(NAMES[: logits.shape[1]]):
            mask = target[image, bone].double().numpy().ravel()
            if not np.isnan(mask).any():
                weight = (weights or {}).get(name, 1.0)
                total += weight * loops(logits[image, bone].double().numpy().ravel(), mask)
                number += weight
    return total / number


def build(name: str, *others: str, before: tuple[str, ...] = (), **override: Any) -> ConfigParser:
    """The configuration of a loss over train.json and others."""
    files = [str(CONFIGS / f"{file}.json") for file in ("train", *before, f"loss_{name}", *others)]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    parser.update(override)
    parser.get_parsed_content("imports")
    return parser


def example(bones: int = 29) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and target, (2, bones, 3, 4); every third bone of the first image is absent, one of the second unknown."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, bones, 3, 4, generator=generator, dtype=torch.float64) * 2
    target = (torch.rand(2, bones, 3, 4, generator=generator) < 0.4).double()
    target[0, ::3] = 0
    target[1, 1] = torch.nan
    return logits, target


@pytest.mark.parametrize("name", LOSSES)
class TestEachLoss:
    def test_is_the_mean_over_known_images_and_bones(self, name: str) -> None:
        logits, target = example()
        loss = build(name).get_parsed_content("loss")(logits, packed(target))
        assert loss.ndim == 0
        assert float(loss) == pytest.approx(by_hand(LOSSES[name], logits, target), rel=2e-6)

    def test_has_the_slope_of_the_loops_and_none_at_unknown_bones(self, name: str) -> None:
        logits, target = example(bones=4)
        logits.requires_grad_()
        build(name).get_parsed_content("loss")(logits, packed(target)).backward()
        assert logits.grad is not None
        assert (logits.grad[1, 1] == 0).all()
        for place in np.ndindex(*logits.shape):
            moved = []
            for step in (1e-6, -1e-6):
                other = logits.detach().clone()
                other[place] += step
                moved.append(by_hand(LOSSES[name], other, target))
            slope = (moved[0] - moved[1]) / 2e-6
            assert float(logits.grad[place]) == pytest.approx(slope, rel=1e-4, abs=1e-8)

    def test_weighs_bones_by_name(self, name: str) -> None:
        logits, target = example()
        weights = {"Pisiform": 2.0, "Trapezoid": 2.0, "finger-2": 3.5, "Radius": 0.0}
        loss = build(name, bone_weights=weights).get_parsed_content("loss")
        leaf = logits.clone().requires_grad_()
        value = loss(leaf, packed(target))
        value.backward()
        assert float(value.detach()) == pytest.approx(by_hand(LOSSES[name], logits, target, weights), rel=2e-6)
        assert (leaf.grad[:, INDEX["Radius"]] == 0).all()
        # Of 57 known bones of two images, finger-2 is unknown in the second.
        plain = logits.clone().requires_grad_()
        build(name).get_parsed_content("loss")(plain, packed(target)).backward()
        number = (26 + 2 + 2 + 3.5 - 1) + (26 + 2 + 2 - 1)
        expected = plain.grad[:, INDEX["Pisiform"]] * 2 * 57 / number
        torch.testing.assert_close(leaf.grad[:, INDEX["Pisiform"]], expected, rtol=1e-5, atol=1e-12)

    def test_of_weights_that_are_equal_is_that_without(self, name: str) -> None:
        logits, target = example()
        weights = dict.fromkeys(NAMES, 0.25)
        values = [build(name, bone_weights=w).get_parsed_content("loss")(logits, packed(target)) for w in ({}, weights)]
        assert float(values[0]) == pytest.approx(float(values[1]), rel=1e-6)

    def test_of_nothing_known_is_zero(self, name: str) -> None:
        logits, target = example()
        for weights in ({}, {"Pisiform": 2}):
            leaf = logits.clone().requires_grad_()
            loss = build(name, bone_weights=weights).get_parsed_content("loss")
            value = loss(leaf, packed(torch.full_like(target, torch.nan)))
            value.backward()
            assert float(value.detach()) == 0
            assert (leaf.grad == 0).all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("size", [1e4, 30.0, 0.0])
    def test_is_finite_at_extreme_logits(self, name: str, dtype: torch.dtype, size: float) -> None:
        """Right, wrong and mixed, for bones that are there, absent, and everywhere."""
        generator = torch.Generator().manual_seed(1)
        target = (torch.rand(1, 9, 300, 300, generator=generator) < 0.3).float()
        target[:, 3:6], target[:, 6:] = 0, 1
        sign = 2 * target - 1
        sign[:, 1::3] *= -1
        sign[:, 2::3] = torch.randn(1, 3, 300, 300, generator=generator).sign()
        logits = (size * sign).to(dtype).requires_grad_()
        loss = build(name).get_parsed_content("loss#loss")(logits, packed(target))
        loss.backward()
        assert loss.isfinite()
        assert logits.grad.isfinite().all()

    def test_in_16_bits_is_that_of_the_same_numbers_in_32(self, name: str) -> None:
        """The sum of 400 x 400 probabilities of one half is beyond float16."""
        target = torch.zeros(1, 1, 400, 400)
        target[..., 100:300, 100:300] = 1
        loss = build(name).get_parsed_content("loss#loss")
        for dtype in (torch.float16, torch.bfloat16):
            logits = torch.linspace(1.5, -0.5, 400**2).reshape(1, 1, 400, 400).to(dtype)
            assert float(loss(logits, packed(target))) == float(loss(logits.float(), packed(target)))

    def test_teaches_a_network_that_a_bone_is_absent(self, name: str) -> None:
        """A false bone of 300 pixels is unlearnt: plain steps of descent, in proportion to a bone that is there."""
        false = torch.full((1, 2, 40, 40), -6.0)
        false[..., 10:25, 10:30] = 1.0
        target = torch.zeros_like(false)
        target[0, 1, 12:27, 12:32] = 1
        loss = build(name).get_parsed_content("loss")
        leaf = false.clone().requires_grad_()
        loss(leaf, packed(target)).backward()
        absent, there = leaf.grad[0].abs().amax(dim=(1, 2))
        assert (leaf.grad[0, 0] >= 0).all()
        assert absent > 1e-3 * there

    def test_lies_over_every_kind_of_training_with_networks_and_schedules(self, name: str) -> None:
        for kind, stride in (("finetune", 1), ("pretrain", 2)):
            parser = build(name, "network_segresnet", "schedule_plateau", before=(kind,))
            loss = parser.get_parsed_content("loss#loss")
            assert isinstance(loss, PerBoneLoss)
            assert loss.stride == stride
            assert parser["network_name"] == "segresnet"

    def test_of_heads_is_their_weighted_sum(self, name: str) -> None:
        logits, target = example()
        stack = torch.stack([logits, logits.flip(2)], dim=1)
        expected = by_hand(LOSSES[name], logits, target) + 0.5 * by_hand(LOSSES[name], logits.flip(2), target)
        assert float(build(name).get_parsed_content("loss")(stack, packed(target))) == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"focal"}))  # MONAI's focal loss takes everything to float32
def test_passes_the_check_of_gradients(name: str) -> None:
    logits, target = example(bones=4)
    loss = build(name).get_parsed_content("loss#loss")
    assert torch.autograd.gradcheck(lambda x: loss(x, packed(target)), logits.requires_grad_())


def test_every_overlay_of_a_loss_is_tested() -> None:
    names = {path.stem.removeprefix("loss_") for path in Path(CONFIGS).glob("loss_*.json")}
    assert names == LOSSES.keys()


def test_a_perfect_mask_has_a_bounded_slope() -> None:
    """Where the Tversky index is 1, or rounding has taken it beyond, its root must not become NaN."""
    target = torch.zeros(1, 1, 64, 64)
    target[..., 10:40, 10:40] = 1
    for size in (8.0, 40.0, 1e3):
        logits = (size * (2 * target - 1)).requires_grad_()
        loss = build("focal_tversky").get_parsed_content("loss")(logits, packed(target))
        loss.backward()
        assert 0 <= float(loss) < 0.01
        assert logits.grad.isfinite().all()


def test_lovasz_of_a_million_pixels_is_that_of_double_precision() -> None:
    """Steps of the Jaccard index, one in a million, are below the rounding of float32 if they are differences."""
    generator = torch.Generator().manual_seed(2)
    # Errors that are exact in float32 and differ from each other, so that there is one order.
    logits = (torch.randperm(10**6, generator=generator) / 2**18 - 2).reshape(1, 1, 1000, 1000)
    target = (torch.rand(1, 1, 1000, 1000, generator=generator) < 0.3).float()
    logits *= 2 * target - 1
    loss, gradients = build("lovasz").get_parsed_content("loss#loss"), []
    for dtype in (torch.float32, torch.float64):
        leaf = logits.clone().to(dtype).requires_grad_()
        loss(leaf, packed(target)).backward()
        gradients.append(leaf.grad.double())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=0)


def test_the_weights_of_a_combination_are_options() -> None:
    logits, target = example()
    weights = dict.fromkeys(LOSSES, 0.0) | {"lovasz": 2.0, "focal": 0.5}
    del weights["combined"]
    loss = build("combined", loss_weights=weights).get_parsed_content("loss")
    expected = 2 * by_hand(lovasz, logits, target) + 0.5 * by_hand(focal, logits, target)
    assert float(loss(logits, packed(target))) == pytest.approx(expected, rel=2e-6)


def test_a_loss_of_weight_zero_is_not_computed() -> None:
    class Never(torch.nn.Module):
        def forward(self, *_: torch.Tensor) -> torch.Tensor:
            raise AssertionError

    loss = WeightedLoss({"one": torch.nn.BCEWithLogitsLoss(), "none": Never()}, {"one": 2.0, "none": 0.0})
    assert float(loss(torch.zeros(1), torch.zeros(1))) == pytest.approx(2 * np.log(2))


def test_weights_need_the_29_bones() -> None:
    loss = PerBoneLoss(torch.nn.BCEWithLogitsLoss(), bone_weights={"Ulna": 2})
    logits, target = example(bones=4)
    with pytest.raises(ValueError, match=r"29 channels, got logits \(2, 4, 3, 4\)"):
        loss(logits, packed(target))


def test_weights_are_in_the_order_of_the_bones() -> None:
    assert weights_of_bones({}) is None
    weights = weights_of_bones({"Pisiform": 2, "finger-1": 0})
    assert weights is not None
    assert [NAMES[k] for k, weight in enumerate(weights) if weight != 1] == ["finger-1", "Pisiform"]
    assert weights[INDEX["Pisiform"]] == 2


REFUSED = {
    "a bone that is none": ("bce", {"bone_weights": {"Pisifrom": 2}}, "unknown bone 'Pisifrom'; did you mean Pisiform"),
    "a weight below zero": ("jaccard", {"bone_weights": {"Ulna": -1}}, "expected a number from 0 for Ulna, got -1"),
    "a weight that is no number": ("dice", {"bone_weights": {"Ulna": "x"}}, "expected weights by name"),
    "no weights by name": ("focal", {"bone_weights": [2, 1]}, r"--bone_weights \[2, 1\]: expected weights by name"),
    "nothing that counts": ("bce", {"bone_weights": dict.fromkeys(NAMES, 0)}, "all bones weigh 0"),
    "another loss": ("combined", {"loss_weights": {"bce": 1}}, "expected a weight for each of bce, dice"),
    "losses of nothing": (
        "combined",
        {"loss_weights": dict.fromkeys(("bce", "dice", "focal_tversky", "focal", "jaccard", "lovasz"), 0)},
        "all losses weigh 0",
    ),
}


@pytest.mark.parametrize(("name", "wrong", "message"), REFUSED.values(), ids=REFUSED)
def test_weights_that_can_not_be_are_refused_in_a_line(
    drawn_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    wrong: dict[str, Any],
    message: str,
) -> None:
    arguments = SMALL | {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path / "run")} | wrong
    with pytest.raises(SystemExit) as exit_:
        run_here("train.json", f"loss_{name}.json", run_id="training", **arguments)
    assert exit_.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--")]
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines[0]
    assert not (tmp_path / "run").exists()


def test_training_takes_a_combination_a_network_a_schedule_and_weights_from_the_command_line(
    drawn_dataset: Path, tmp_path: Path
) -> None:
    files = ["train.json", "network_segresnet.json", "loss_combined.json", "schedule_multistep.json"]
    result = run_bundle(
        *("training", "--config_file", json.dumps([str(CONFIGS / name) for name in files])),
        *("--dataset_dir", str(drawn_dataset), "--output_dir", str(tmp_path / "run")),
        *("--bone_weights", "{'Pisiform': 2, 'Trapezoid': 2}", "--loss_weights#lovasz", "0.5"),
        *("--milestones", "[1]", "--epochs", "2", "--size", "64", "--window", "64", "--num_workers", "0"),
        *("--network_def#init_filters", "8"),
    )
    assert result.returncode == 0, result.stderr[-2000:]
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert last["states"]["optimizer"]["param_groups"][0]["lr"] == pytest.approx(1e-4)
