"""``handseg infer``, ``train`` and ``publish``: the bundle's own runs, spelled shorter."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from handseg_monai.run.process import overlay_file
from tests.bundle_runs import CONFIGS, TINY, save_untrained
from tests.programs import handseg, in_fork, in_own_process, run_module


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("here") / "model.pt", "dynunet")


def test_infer_is_the_bundle_s_run_with_a_quiet_terminal(drawn_dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    images, options = str(drawn_dataset / "train" / "DCM"), ["--checkpoint", str(checkpoint), *TINY]
    short = in_own_process("handseg_monai", "infer", images, "--out", str(tmp_path / "short"), "--", *options)
    assert short.returncode == 0, short.stderr[-2000:]
    assert not re.search("input summary|Setting logging", short.stdout + short.stderr)
    assert "eval()" not in short.stderr
    log = (tmp_path / "short" / "run.log").read_text()
    assert "--dataset_dir" in log
    assert "input summary" in log
    assert "submission.csv: " in log
    # A logger's line: whole in the log, its message alone on the terminal.
    said = f"checkpoint {checkpoint}: network dynunet, epoch 0"
    assert said in short.stdout.splitlines()
    assert f" INFO handseg_monai.checkpoints.weights: {said}\n" in log
    assert str(tmp_path / "short" / "submission.csv") in short.stdout
    judge = f"handseg plausibility {tmp_path / 'short' / 'submission.csv'} --images {images}"
    assert short.stdout.splitlines()[-1] == f"Which masks do not look like a hand? {judge}"
    # The command that it prints is the one to type.
    shown = short.stdout.splitlines()[0]
    assert shown.startswith("$ python -m monai.bundle run run --config_file ")
    typed = [part.replace(str(tmp_path / "short"), str(tmp_path / "long")) for part in shlex.split(shown[2:])]
    long = run_module(*typed[2:])
    assert long.returncode == 0, long.stderr[-2000:]
    texts = [(tmp_path / name / "submission.csv").read_text() for name in ("short", "long")]
    assert texts[0] == texts[1]


def test_exit_codes_are_those_of_the_run(drawn_dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    images = str(drawn_dataset / "train" / "DCM")
    wrong = handseg("infer", images, "--out", str(tmp_path / "a"), "--", "--chekpoint", str(checkpoint))
    assert wrong.returncode == 2
    assert "did you mean --checkpoint?" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "bad.png").write_bytes(b"no image")
    arguments = ["infer", folder, "--out", tmp_path / "b", "--", "--checkpoint", checkpoint, *TINY]
    failed = in_fork("handseg_monai", *arguments)
    assert failed.returncode == 1
    assert "bad.png" in (tmp_path / "b" / "failures.csv").read_text()


def test_hands_and_invert_are_options_of_infer_itself(tmp_path: Path) -> None:
    arguments = ["infer", "nowhere", "--out", tmp_path / "a", "--hands", "both", "--invert", "no"]
    result = handseg(*arguments, "--", "--amp", "false")
    assert result.returncode == 2
    assert result.stdout.splitlines()[0].endswith(" --amp false --hands both --invert no")
    assert "no such folder: " in result.stderr
    twice = handseg(*arguments, "--", "--hands", "one")
    assert (twice.returncode, twice.stderr) == (2, "handseg: --hands is there before and after --; give it once\n")
    assert handseg("infer", "nowhere", "--hands", "three").returncode == 2


@pytest.mark.parametrize("separated", [[], ["--"]])
@pytest.mark.parametrize(("command", "option"), [("infer", "--threshold"), ("train", "--learning_rate")])
def test_options_of_the_bundle_follow_the_folder(
    command: str, option: str, separated: list[str], tmp_path: Path
) -> None:
    result = handseg(
        command, "nowhere", *separated, option, "0.4", *(["--out", tmp_path / "a"] if not separated else [])
    )
    assert result.returncode == 2
    assert "no such folder: " in result.stderr
    assert result.stdout.splitlines()[0].endswith(f" {option} 0.4")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["infer", "x", "--ouut", "y"], "--ouut: did you mean --out?"),
        (["train", "x", "--overlya", "finetune"], "--overlya: did you mean --overlay?"),
        (["cross-validate", "x", "--procesess", "8"], "--procesess: did you mean --processes?"),
        (["cross-validate", "x", "--fold_file", "y"], "--fold_file: did you mean --folds-file?"),
        (["infer", "x", "--output_dir", "y"], "--output_dir: use --out"),
        (["infer", "x", "--threshold"], "expected pairs --name value, got --threshold"),
        (["infer", "x", "--threshold=0.4"], "expected pairs --name value, got --threshold=0.4"),
        (["infer", "--threshold", "0.4", "x"], "expected DIR, got --threshold; give DIR first"),
        (["train", "--epochs", "4", "x"], "expected DATA, got --epochs; give DATA first"),
        (["cross-validate", "--epochs", "4", "x"], "expected DATA, got --epochs; give DATA first"),
    ],
)
def test_an_option_that_can_not_be_meant(arguments: list[str], words: str) -> None:
    result = handseg(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_train_lays_overlays_over_train_json_and_publish_halves_the_weights(
    drawn_dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = ["--epochs", "1", "--num_folds", "2", "--curves_interval", "0", *TINY]
    result = handseg("train", str(drawn_dataset), "--out", str(out), "--overlay", "loss_bce", "--", *options)
    assert result.returncode == 0, result.stderr[-2000:]
    assert f"'{CONFIGS / 'loss_bce.json'}'" in result.stdout
    assert "val_mean_dice" in (out / "run.log").read_text()
    small = tmp_path / "small.pt"
    published = handseg("publish", str(out / "model.pt"), "--out", str(small))
    assert published.returncode == 0, published.stderr
    assert published.stdout.startswith(f"{small}: ")
    assert small.stat().st_size < 0.6 * (out / "model.pt").stat().st_size
    content = torch.load(small, weights_only=True)
    assert not content.get("trained_on")


def test_overlays_are_found_by_name_or_file(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text("{}")
    files = [overlay_file(name) for name in ("finetune", "loss_bce.json", own)]
    assert files == [CONFIGS / "finetune.json", CONFIGS / "loss_bce.json", own]
    with pytest.raises(ValueError, match=r"--overlay finetun: .*did you mean finetune\?"):
        overlay_file("finetun")
    for name, base in (
        ("evaluate", "train"),
        ("ensemble", "train"),
        ("finetune", "inference"),
        ("evaluate", "inference"),
    ):
        with pytest.raises(ValueError, match=f"--overlay {name}: it does not lie over {base}"):
            overlay_file(name, base)


def test_a_path_that_looks_like_a_number_and_a_secret(
    drawn_dataset: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawn_dataset / "train" / "DCM", "2024_11_25")
    options = ["--checkpoint", str(checkpoint), *TINY]
    result = handseg("infer", "2024_11_25", "--out", "2024_11_26", "--", *options)
    assert result.returncode == 0, result.stderr[-2000:]
    uri = "https://user:verysecret@tracking.example.org"
    told = handseg("infer", "2024_11_25", "--out", "2024_11_26", "--", *options, "--tracking_uri", uri)
    assert told.returncode in (0, 2)
    assert "verysecret" not in Path("2024_11_26", "run.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["infer", ".", "--out", "{file}"], "{file}"),
        (["infer", ".", "--out", "{out}", "--", "checkpoint", "x"], "pairs --name value"),
        (["infer", ".", "--out", "{out}", "--", "--output_dir", "x"], "--output_dir: use --out"),
        (["infer", "{out}", "--out", "{out}", "--"], "{out}"),
        (["train", ".", "--out", "{out}", "--overlay", "nothing"], "--overlay nothing"),
        (["publish", "{file}", "--out", "{out}"], "{file}"),
    ],
)
def test_what_can_not_be_right_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder, and no checkpoint")
    places = {"file": tmp_path / "file", "out": tmp_path / "out"}
    result = handseg(*(text.format(**places) for text in arguments))
    assert result.returncode == 2
    assert said.format(**places) in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
