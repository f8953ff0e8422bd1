"""Options are declared once: what can't be right is named, and tables say what the declarations say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from handseg_monai import bundle_root
from handseg_monai.options import PARTS, HandView, Options, arguments_of, check_window, checked_values, table
from handseg_monai.phantom.presets import PRESETS
from tests.bundle_runs import CONFIGS

DOCS = bundle_root() / "docs"
PLUMBING = {
    *("imports", "bundle_root", "setup", "rank", "world_size", "device", "save_execute_config", "trained", "loaded"),
    *("evaluator#compile", "run", "pretrained_encoder", "pictured"),
}
"""Plain ids that are no options, or MONAI's own."""


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("fold", "abc", "a whole number, at least 0"),
        ("fold", -1, "a whole number, at least 0"),
        ("fold", True, "a whole number, at least 0"),
        ("num_folds", 1, "a whole number, at least 2"),
        ("epochs", 0, "a whole number, at least 1"),
        ("epochs", 2.0, "a whole number, at least 1"),
        ("patience", 0, "a whole number, at least 1"),
        ("batch_size", 0, "a whole number, at least 1"),
        ("size", 0, "a whole number, at least 32"),
        ("frame", -5, "a whole number, at least 32"),
        ("frame", "abc", "a whole number, at least 32"),
        ("overlap", 1.5, "a number, at least 0 and below 1"),
        ("overlap", 1, "a number, at least 0 and below 1"),
        ("least_piece", 1.5, "a number, 0 to 1"),
        ("least_carpal_piece", -0.5, "a number, 0 to 1"),
        ("most_covered", -0.1, "a number, 0 to 1"),
        ("least_bone", 1.1, "a number, 0 to 1"),
        ("most_hole", 2, "a number, 0 to 1"),
        ("cache_rate", 2, "a number, 0 to 1"),
        ("held_out", 0, "a number, above 0 and below 1"),
        ("learning_rate", "abc", "a number, 0 to 10"),
        ("learning_rate", float("nan"), "a number, 0 to 10"),
        ("weight_decay", -0.1, "a number, 0 to 1"),
        ("loss_stride", 0, "a whole number, at least 1"),
        ("seed", -1, "a whole number, 0 to 4294967295"),
        ("ema", 1, "a number, 0 to 0.99999"),
        ("ema", -0.1, "a number, 0 to 0.99999"),
        ("accumulate", 0, "a whole number, at least 1"),
        ("accumulate", 1.5, "a whole number, at least 1"),
        ("amp", "yes", "true or false"),
        ("amp", 1, "true or false"),
        ("amp", None, "true or false"),
        ("overlays", "", "true or false"),
        ("views", "wrist", "image or hand"),
        ("amp_dtype", "float32", "float16 or bfloat16"),
        ("presets", ["soft"], "a list of easy, standard, hard and children"),
        ("checkpoints", [1, 2], "a list of files, such as \"['a.pt','b.pt']\""),
        ("network_files", "mine.json", "a list of files, such as \"['a.json','b.json']\""),
        ("bone_weights", 2, "weights by name, as {'Pisiform': 2}"),
        ("exclude", ("a", "b"), None),
        ("dataset_dir", 20241125, None),
    ],
)
def test_a_value_that_can_not_be_right_is_named_with_what_is_expected(
    option: str, value: object, expected: str | None
) -> None:
    with pytest.raises(ValueError, match=f"^--{option} ") as raised:
        checked_values(Options, {option: value})
    message = str(raised.value)
    assert message.startswith(f"--{option} {value!r}: ")
    assert "\n" not in message
    if expected is not None:
        assert message == f"--{option} {value!r}: expected {expected}"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"val_interval": 3, "epochs": 2}, "--val_interval 3 is above --epochs 2"),
        ({"least_rate": 0.1, "learning_rate": 0.1}, "--least_rate 0.1: expected from 0 and below --learning_rate 0.1"),
        ({"plateau_patience": 3, "patience": 3}, "--plateau_patience 3: training stops after 3 validations"),
        ({"milestones": [3, 3], "epochs": 9}, "--milestones [3, 3]: expected ascending whole numbers from 1 to 8"),
        ({"milestones": [3, 9], "epochs": 9}, "--milestones [3, 9]: expected ascending whole numbers from 1 to 8"),
        ({"milestones": [0, 3], "epochs": 9}, "--milestones [0, 3]: expected ascending whole numbers from 1 to 8"),
        ({"first_cycle": 0.0, "epochs": 9}, "--first_cycle 0.0: expected above 0 and at most the 9 epochs"),
        ({"first_cycle": 2.0, "cycle_warmup": 2.0, "epochs": 9}, "--cycle_warmup 2: expected from 0 and below the fi"),
        ({"window": 100, "size_divisor": 32, "network_name": "unet"}, "--window 100: network unet needs a multiple"),
    ],
)
def test_values_that_do_not_go_together_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        checked_values(Options, values)


def test_none_stands_for_no_path() -> None:
    read = checked_values(
        Options, {"cache_dir": "none", "exclude": "None", "weights": None, "folds_file": "folds.json"}
    )
    assert (read.cache_dir, read.exclude, read.weights, read.folds_file) == (None, None, None, "folds.json")


def test_values_that_are_right_are_read() -> None:
    given = {
        "amp": "False",
        "confidence": "TRUE",
        "size": None,
        "exclude": None,
        "milestones": (2, 5),
        "run_name": 2024,
    }
    read = checked_values(Options, given)
    assert (read.amp, read.confidence, read.size, read.milestones, read.run_name) == (False, True, None, [2, 5], "2024")
    assert read.epochs is None
    assert checked_values(Options, {"weights": "none", "ema": 0, "threshold": 1}).ema == 0


@pytest.mark.parametrize(("window", "divisor"), [(64, 32), (96, 32), (1024, 32), (16, 8), (128, 64)])
def test_windows_of_multiples_from_twice_the_divisor_pass(window: int, divisor: int) -> None:
    assert check_window(window, divisor, "dynunet") is None


@pytest.mark.parametrize(
    ("window", "divisor"), [(32, 32), (65, 32), (0, 32), (-64, 32), (64.0, 32), ("64", 32), (96, 64), (None, 8)]
)
def test_other_windows_are_named_with_what_the_network_takes(window: Any, divisor: int) -> None:
    expected = rf"--window {window}: network swinunetr needs a multiple of {divisor}, at least {2 * divisor}"
    with pytest.raises(ValueError, match=expected):
        check_window(window, divisor, "swinunetr")


class TestArguments:
    """Of a function that is declared by a model."""

    @staticmethod
    @arguments_of(HandView)
    def called(window: int, turns: int = 4, flip: object = True, scales: object = (1.0,), other: str = "?") -> Any:
        return window, turns, flip, scales, other

    def test_they_are_read_as_a_configuration_gives_them(self) -> None:
        assert self.called(64, flip="false", scales=(1, 1.2), other="!") == (64, 4, False, [1.0, 1.2], "!")

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"turns": 7}, "turns: expected a whole number, 1 to 4, got 7"),
            ({"flip": 1}, "flip: expected true or false, got 1"),
            (
                {"scales": [0.5]},
                "scales: expected a list of one or more numbers, at least 1 each, as [1.0,1.2], got",
            ),
            ({"scales": []}, "scales: expected a list of one or more"),
        ],
    )
    def test_one_that_can_not_be_right_is_named(self, wrong: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
            self.called(64, **wrong)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_plain_id_of_a_configuration_is_declared(path: Path) -> None:
    content = json.loads(path.read_text())
    if path.stem == "metadata":
        return
    plain = {
        name
        for name, value in content.items()
        if "#" not in name
        and not name.startswith("+")
        and (not isinstance(value, dict | list) and not str(value).startswith(("$", "@")))
    }
    assert plain - PLUMBING <= Options.model_fields.keys()


def test_every_option_is_in_a_configuration_of_the_bundle() -> None:
    held = set()
    for path in CONFIGS.glob("*.json"):
        held |= json.loads(path.read_text()).keys()
    assert Options.model_fields.keys() <= held


@pytest.mark.parametrize("part", PARTS)
def test_arguments_of_components_are_declared_as_the_configurations_hold_them(part: str) -> None:
    for name in ("train.json", "inference.json"):
        held = json.loads((CONFIGS / name).read_text())[part]
        assert held.keys() - {"_target_"} == PARTS[part].model_fields.keys()


def test_presets_are_those_of_the_phantom() -> None:
    for name in PRESETS:
        assert checked_values(Options, {"presets": [name]}).presets == [name]


PAGES = {
    "training.md": ("train",),
    "inference.md": ("inference",),
    "networks.md": (
        "loss_combined",
        "schedule_multistep",
        "schedule_cosine_restarts",
        "schedule_warmup_restarts",
        "schedule_plateau",
        "schedule_cosine",
    ),
    "ensembles.md": ("ensemble", "thresholds"),
    "phantoms.md": ("pretrain",),
}
"""Pages with a table of the options that configurations hold."""


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_of_the_documentation_say_what_is_declared(page: str) -> None:
    text = (DOCS / page).read_text()
    if page == "training.md":  # it refers to what is the same in inference
        text += (DOCS / "inference.md").read_text()
    for configuration in PAGES[page]:
        for row in table(configuration):
            line = f"| `--{row.name}` | {row.default} | {row.text} |"
            assert line in text, f"{page} lacks or words otherwise:\n{line}"


def test_the_tables_hold_no_option_that_the_configuration_refuses() -> None:
    shown = {name: {row.name for row in table(name)} for name in ("schedule_multistep", "ensemble", "pretrain")}
    assert "milestones" in shown["schedule_multistep"]
    assert "schedule_step" not in shown["schedule_multistep"]
    assert "window" not in shown["ensemble"]
    assert "window" in shown["pretrain"]


def test_a_command_shows_them(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "handseg_monai", "options", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    shown = run("inference").stdout
    assert "--hand_inferer#wrist" in shown
    assert "--epochs" not in shown
    assert "--epochs" in run().stdout
    wrong = run("inferense")
    assert wrong.returncode == 2
    assert wrong.stderr == "handseg: no configuration inferense: did you mean inference?\n"
