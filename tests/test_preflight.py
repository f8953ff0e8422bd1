"""What a bundle run is given is checked before it begins: one line, exit code 2, no traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import monai.bundle
import pytest

from handseg_monai.data import DatasetError
from handseg_monai.run import checked, preflight, stop
from handseg_monai.run.checks import _check_overlays
from tests.bundle_runs import CONFIGS, run_bundle, run_here


class TestStop:
    def test_it_prints_the_message_to_stderr_and_exits_with_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as raised:
            stop("no images in data")
        assert raised.value.code == 2
        assert capsys.readouterr() == ("", "no images in data\n")

    @pytest.mark.parametrize(("rank", "printed"), [("0", "no images\n"), ("1", "rank 1: no images\n")])
    def test_of_several_ranks_each_says_which_it_is(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str, printed: str
    ) -> None:
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as raised:
            stop("no images")
        assert raised.value.code == 2
        assert capsys.readouterr().err == printed


class TestChecked:
    def test_it_hands_on_arguments_and_result(self) -> None:
        assert checked(lambda a, b, *, c: [a, b, c], 1, 2, c=3) == [1, 2, 3]

    @pytest.mark.parametrize(
        "error", [ValueError("window 3"), DatasetError("no images"), FileNotFoundError("no such file"), OSError("full")]
    )
    def test_an_error_of_the_input_stops_with_its_message(
        self, error: Exception, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail() -> None:
            raise error

        with pytest.raises(SystemExit) as raised:
            checked(fail)
        assert raised.value.code == 2
        assert capsys.readouterr().err == f"{error}\n"

    def test_an_error_of_the_program_keeps_its_traceback(self) -> None:
        with pytest.raises(ZeroDivisionError):
            checked(lambda: 1 // 0)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose run writes three of its values to a file."""
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(
            {
                "imports": ["$import json", "$import pathlib", "$import handseg_monai.run as run"],
                "dataset_dir": "data",
                "output_file": str(tmp_path / "ran.json"),
                "epochs": 3,
                "network_def": {"filters": [4, 8], "heads": {"number": 1}},
                "amp": True,
                "initialize": ["@setup", "$run.preflight({})"],
                "setup": None,
                "training": [
                    "$pathlib.Path(@output_file).write_text(json.dumps([@dataset_dir, @epochs, @network_def]))"
                ],
                "run": "@training",
            }
        )
    )
    return path


def written(config: Path) -> list[Any]:
    return json.loads((config.parent / "ran.json").read_text())


class TestOptions:
    def test_a_run_without_options_is_let_through(self, config: Path) -> None:
        monai.bundle.run(config_file=str(config))
        assert written(config) == ["data", 3, {"filters": [4, 8], "heads": {"number": 1}}]

    def test_options_that_the_file_holds_take_effect(self, config: Path) -> None:
        monai.bundle.run(run_id="training", config_file=str(config), dataset_dir="elsewhere", epochs=5)
        assert written(config)[:2] == ["elsewhere", 5]

    def test_options_inside_of_an_item_take_effect(self, config: Path) -> None:
        inside = {"network_def#heads#number": 2, "network_def#filters#1": 16}
        monai.bundle.run(config_file=str(config), **inside)
        assert written(config)[2] == {"filters": [4, 16], "heads": {"number": 2}}

    def test_an_option_that_another_file_holds_takes_effect(self, config: Path, tmp_path: Path) -> None:
        (tmp_path / "overlay.json").write_text(json.dumps({"size_divisor": 8, "epochs": 9}))
        monai.bundle.run(config_file=[str(config), str(tmp_path / "overlay.json")], size_divisor=16)
        assert written(config)[1] == 9

    def test_an_item_that_another_refers_to_may_be_given(self, config: Path, tmp_path: Path) -> None:
        """The files leave its value to the command line."""
        content = json.loads(config.read_text())
        (tmp_path / "open.json").write_text(
            json.dumps({**content, "run": ["$pathlib.Path(@output_file).write_text(@text)"]})
        )
        monai.bundle.run(config_file=str(tmp_path / "open.json"), text='"given"')
        assert written(config) == "given"

    @pytest.mark.parametrize(
        ("option", "hint"),
        [
            ("datset_dir", "did you mean --dataset_dir?"),
            ("epoch", "did you mean --epochs?"),
            ("Epochs", "did you mean --epochs?"),
            ("qqq", "dataset_dir, epochs"),
        ],
    )
    def test_a_misspelt_option_is_refused_with_a_hint(
        self, config: Path, option: str, hint: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as raised:
            monai.bundle.run(config_file=str(config), **{option: "elsewhere"})
        assert raised.value.code == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("option")]
        assert line.startswith(f"option --{option} is unknown: {config} does not hold it; ")
        assert hint in line
        assert not (config.parent / "ran.json").exists()

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"epochs": None}, "--epochs None: MONAI ignores None; expected a whole number, at least 1, or leave"),
            ({"datset_dir": None}, "--datset_dir None: MONAI ignores None"),
            ({"network_def::heads::number": None}, "--network_def#heads#number None: MONAI ignores None"),
            ({"network_def": 3}, "--network_def 3: expected something in it, as --network_def#filters"),
            ({"network_def#heads": "two"}, "--network_def#heads 'two': expected something in it"),
        ],
    )
    def test_what_would_do_nothing_or_leave_no_component_is_named(
        self, config: Path, given: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as raised:
            monai.bundle.run(config_file=str(config), **given)
        assert raised.value.code == 2
        assert said in capsys.readouterr().err
        assert not (config.parent / "ran.json").exists()

    def test_arguments_of_a_component_are_those_that_it_takes(
        self, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        content = json.loads(config.read_text()) | {
            "part": {"_target_": "fractions.Fraction", "numerator": 2},
            "run": ["$pathlib.Path(@output_file).write_text(str(@part))"],
        }
        (tmp_path / "part.json").write_text(json.dumps(content))
        monai.bundle.run(config_file=str(tmp_path / "part.json"), **{"part#denominator": 3})
        assert config.with_name("ran.json").read_text() == "2/3"
        kept = {"part#_target_": "types.SimpleNamespace", "part#other": 3}
        monai.bundle.run(config_file=str(tmp_path / "part.json"), **kept)
        assert config.with_name("ran.json").read_text() == "namespace(numerator=2, other=3)"
        with pytest.raises(SystemExit) as raised:
            monai.bundle.run(config_file=str(tmp_path / "part.json"), **{"part#denominater": 3})
        assert raised.value.code == 2
        said = capsys.readouterr().err
        assert "holds no denominater in part; did you mean --part#denominator?" in said

    def test_a_missing_file_of_thresholds_is_named_by_its_option(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as raised:
            run_here("train.json", dataset_dir=str(tmp_path), threshold="missing.json")
        assert raised.value.code == 2
        assert "--threshold 'missing.json': no number, and no such file" in capsys.readouterr().err

    def test_none_for_what_is_none_and_a_mapping_for_a_component_are_let_through(self, config: Path) -> None:
        monai.bundle.run(config_file=str(config), setup=None, network_def={"filters": [2]})
        assert written(config)[2] == {"filters": [2]}

    def test_what_overlays_refuse_adds_up_in_any_order(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for names in (("schedule_cosine.json", "pretrain.json"), ("pretrain.json", "schedule_cosine.json")):
            for option in ("warmup", "fold"):
                with pytest.raises(SystemExit) as raised:
                    run_here("train.json", *names, dataset_dir=str(tmp_path), **{option: 1})
                assert raised.value.code == 2
                assert f"--{option}: " in capsys.readouterr().err

    def test_the_command_line_ends_with_one_line_and_code_2(self, config: Path) -> None:
        done = run_bundle("--config_file", str(config), "--datset_dir", "elsewhere", "--epochs", "5")
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].endswith("did you mean --dataset_dir?")
        assert not (config.parent / "ran.json").exists()

    @pytest.mark.parametrize(
        ("first", "second", "what"),
        [
            ("loss_bce.json", "loss_dice.json", "loss"),
            ("schedule_cosine.json", "schedule_plateau.json", "schedule"),
            ("network_unet.json", "network_segresnet.json", "network"),
        ],
    )
    def test_two_overlays_of_one_kind_are_refused(
        self, tmp_path: Path, first: str, second: str, what: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Of the first only a part would remain, such as how it wants its batches."""
        with pytest.raises(SystemExit) as raised:
            run_here("train.json", first, second, dataset_dir=str(tmp_path), output_dir=str(tmp_path / "out"))
        assert raised.value.code == 2
        assert f"{second} both choose the {what}; give only one of them" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_overlays_of_different_kinds_go_together(self) -> None:
        names = ("train.json", "network_unet.json", "loss_dice.json", "schedule_cosine.json", "finetune.json")
        _check_overlays([str(CONFIGS / name) for name in names])
        _check_overlays(",".join(str(CONFIGS / name) for name in names))

    def test_outside_of_a_bundle_run_nothing_is_checked(self) -> None:
        assert preflight({}) is None
