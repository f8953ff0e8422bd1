"""A threshold for each bone: chosen where it is sure to gain, written, and read by inference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handseg_monai.bones import NAMES, NUM_BONES
from handseg_monai.inferers import thresholds_of
from handseg_monai.score.evaluation import evaluate
from handseg_monai.score.thresholds import best_thresholds
from tests.bundle_runs import run_here
from tests.programs import handseg

SWEEP = [0.3, 0.4, 0.5, 0.6, 0.7]


class TestChoice:
    def test_the_best_on_average_is_chosen_bone_by_bone(self) -> None:
        rng = np.random.default_rng(0)
        dice = 0.8 + rng.normal(0, 0.01, (40, 5, NUM_BONES))
        dice[:, 1, 3] += 0.1
        dice[:, 4, 8] += 0.05
        index = best_thresholds(dice, SWEEP)
        assert (index[3], index[8]) == (1, 4)

    def test_a_gain_within_its_standard_error_changes_nothing(self) -> None:
        dice = np.full((4, 5, 1), 0.8)
        dice[0, 0, 0] = 0.9
        assert best_thresholds(dice, SWEEP)[0] == 2
        dice[:, 0, 0] = 0.9
        assert best_thresholds(dice, SWEEP)[0] == 0

    def test_images_where_a_bone_is_not_known_are_left_out(self) -> None:
        dice = np.full((6, 5, 2), 0.5)
        dice[:3, 0, 0] = 0.9
        dice[3:, :, 0] = np.nan
        dice[:, :, 1] = np.nan
        assert best_thresholds(dice, SWEEP).tolist() == [0, 2]

    def test_images_of_one_person_are_not_each_a_proof(self) -> None:
        """Eight images of four people: alone the gain counts, of people whose images are alike it does not."""
        dice = np.full((8, 5, 1), 0.8)
        dice[:2, 0, 0] += 0.1
        dice[2:, 0, 0] -= 0.001
        assert best_thresholds(dice, SWEEP)[0] == 0
        assert best_thresholds(dice, SWEEP, list("aabbccdd"))[0] == 2
        assert best_thresholds(dice, SWEEP, list("abcdefgh"))[0] == 0
        assert best_thresholds(dice + (np.arange(5) == 0)[None, :, None], SWEEP, ["a"] * 8)[0] == 2
        with pytest.raises(ValueError, match="expected the subjects of 8 images, got 1"):
            best_thresholds(dice, SWEEP, ["a"])

    def test_other_shapes_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"Dice \(N, 5, bones\)"):
            best_thresholds(np.zeros((3, 4, 29)), SWEEP)


class TestReading:
    def test_one_a_list_and_a_file(self, tmp_path: Path) -> None:
        each = np.linspace(0.2, 0.8, NUM_BONES).tolist()
        (tmp_path / "t.json").write_text(json.dumps(dict(reversed(list(zip(NAMES, each, strict=True))))))
        assert thresholds_of(0.4) == (0.4,) * NUM_BONES
        assert thresholds_of(each) == thresholds_of(str(tmp_path / "t.json")) == tuple(each)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("{", "not a JSON file"),
            ("[0.5]", "a number for each of the 29 bones"),
            (json.dumps(dict.fromkeys(NAMES[1:], 0.5)), "missing or unknown: finger-1"),
            (json.dumps(dict.fromkeys(NAMES, "half")), "'half' in it"),
            (json.dumps(dict.fromkeys(NAMES, 1)), "1 in it"),
        ],
    )
    def test_a_file_that_is_none_is_refused(self, tmp_path: Path, content: str, said: str) -> None:
        (tmp_path / "t.json").write_text(content)
        with pytest.raises(ValueError, match=said):
            thresholds_of(str(tmp_path / "t.json"))

    @pytest.mark.parametrize(
        ("threshold", "said"),
        [
            (0, "got 0"),
            (1.5, r"got 1\.5"),
            (True, "got True"),
            ([0.5] * 28, "one number, 29"),
            ("nowhere.json", "no such file"),
            (None, "got None"),
        ],
    )
    def test_what_is_no_threshold_is_refused(self, threshold: Any, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            thresholds_of(threshold)


@pytest.mark.usefixtures("restore_globals")
def test_thresholds_found_on_a_fold_raise_its_dice(drawn_dataset: Path, tmp_path: Path) -> None:
    """A network whose probability of bone 0 falls slowly off around its place: one half is too low a threshold."""
    net = torch.nn.Conv2d(1, NUM_BONES, 31, padding=15)
    with torch.no_grad():
        net.weight.fill_(0.0)
        net.bias.fill_(-9.0)
        net.weight[:3], net.bias[:3] = 0.03, -6.0
    torch.save({"network": net.state_dict(), "network_name": "blurred"}, tmp_path / "model.pt")
    definition = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": NUM_BONES, "kernel_size": 31}
    common: dict[str, Any] = {
        "checkpoint": str(tmp_path / "model.pt"),
        "network_name": "blurred",
        "network_def": {**definition, "padding": 15},
        "size": 96,
        "window": 128,
        "amp": False,
        "num_workers": 0,
        "least_piece": 0.0,
        "least_carpal_piece": 0.0,
        "most_covered": 1.0,
        "least_bone": 0.0,
        "most_apart": 0.0,
        "most_hole": 0.0,
    }
    run_here(
        *("train.json", "evaluate.json", "thresholds.json"),
        dataset_dir=str(drawn_dataset),
        output_dir=str(tmp_path),
        num_folds=2,
        **common,
    )
    found = thresholds_of(tmp_path / "thresholds.json")
    # The command lays what the weights were trained with over the configuration, and takes its options.
    weights, out = common["checkpoint"], tmp_path / "own.json"
    trained_with = {name: value for name, value in common.items() if name not in ("checkpoint", "size")}
    (tmp_path / "blurred.json").write_text(json.dumps(trained_with))
    given = (
        "--checkpoint",
        weights,
        "--overlay",
        tmp_path / "blurred.json",
        "--size",
        96,
        "--num_folds",
        2,
        "--out",
        out,
    )
    done = handseg("thresholds", drawn_dataset, *given)
    assert done.returncode == 0, done.stderr
    assert thresholds_of(out) == found
    assert " images of " in done.stdout
    for option, said in (("--fold", "--fold"), ("--checkpiont", "did you mean --checkpoint?")):
        assert said in handseg("thresholds", drawn_dataset, *given, "--", option, 1).stderr
    assert set(found[3:]) == {0.5}
    assert any(threshold != 0.5 for threshold in found[:3])
    scores = []
    for number, threshold in enumerate((0.5, str(tmp_path / "thresholds.json"))):
        out = tmp_path / str(number)
        run_here(
            "inference.json",
            dataset_dir=str(drawn_dataset / "train" / "DCM"),
            output_dir=str(out),
            overlays=False,
            threshold=threshold,
            **common,
        )
        scores.append(evaluate(out / "submission.csv", drawn_dataset).dice[:, :3].mean(axis=0))
    better = scores[1] - scores[0]
    for bone in range(3):
        assert (better[bone] != 0) == (found[bone] != 0.5)
    assert better.max() > 0
