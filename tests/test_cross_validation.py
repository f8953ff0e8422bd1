"""Cross-validation: a table over folds that no kill changes, and no mixing of two configurations."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from handseg_monai.checkpoints.members import load_members
from handseg_monai.checkpoints.weights import Checkpoint
from handseg_monai.data.folds import read_folds
from handseg_monai.files import exclusive
from handseg_monai.run.cross_validation import cross_validate
from handseg_monai.run.process import bundle_command
from tests.bundle_runs import CONFIGS, TINY
from tests.programs import handseg
from tests.rank_runs import bundle_in_forks

OPTIONS = [*TINY, "--epochs", "2", "--output_bias", "0.0", "--threshold", "0.45"]


def arguments(data: Path, out: Path) -> list[str]:
    return ["cross-validate", str(data), "--k", "2", "--out", str(out), "--", *OPTIONS]


def finish(data: Path, out: Path) -> str:
    done = handseg(*arguments(data, out))
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def uninterrupted(drawn_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("cv") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("handseg_monai.run.cross_validation.run_bundle", bundle_in_forks)
        return out, finish(drawn_dataset, out)


@pytest.mark.slow
def test_a_kill_in_the_second_fold_changes_nothing(
    drawn_dataset: Path, tmp_path: Path, uninterrupted: tuple[Path, str]
) -> None:
    whole, _ = uninterrupted
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "handseg_monai", *arguments(drawn_dataset, out)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, start_new_session=True)
    while not (out / "fold1" / "last.pt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    with contextlib.suppress(ProcessLookupError):  # the last of its children may end a moment after it
        while True:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    finished = (out / "fold0" / "result.json").stat().st_mtime_ns
    assert not (out / "fold1" / "result.json").exists()
    text = finish(drawn_dataset, out)
    assert "fold 0 of 2: finished" in text
    assert text.count("--resume true") == 1
    assert (out / "fold0" / "result.json").stat().st_mtime_ns == finished
    for name in ("cross_validation.csv", "cross_validation.json", "folds.json"):
        assert (out / name).read_text() == (whole / name).read_text(), name


@pytest.mark.slow
def test_it_goes_on_where_a_kill_left_it(
    drawn_dataset: Path,
    tmp_path: Path,
    uninterrupted: tuple[Path, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if it was killed between the training and the evaluation of the second fold."""
    whole, _ = uninterrupted
    out = Path(shutil.copytree(whole, tmp_path / "killed"))
    for path in (out / "fold1" / "result.json", *out.glob("cross_validation.*")):
        path.unlink()
    shutil.rmtree(out / "fold1" / "evaluation")
    finished = (out / "fold0" / "result.json").stat().st_mtime_ns
    monkeypatch.setattr("handseg_monai.run.cross_validation.run_bundle", bundle_in_forks)
    cross_validate(drawn_dataset, out, k=2, options=OPTIONS)
    text = capsys.readouterr().out
    assert "fold 0 of 2: finished" in text
    assert text.count("--resume true") == 1
    assert (out / "fold0" / "result.json").stat().st_mtime_ns == finished
    for name in ("cross_validation.csv", "cross_validation.json"):
        assert (out / name).read_text() == (whole / name).read_text(), name


def test_several_ranks_start_by_torchrun() -> None:
    command = bundle_command("training", [CONFIGS / "train.json"], ["--fold", "1"], processes=2)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    assert command[1:8] == [*torchrun, "-m", "monai.bundle"]
    assert command[-2:] == ["--fold", "1"]


def test_the_table_is_that_of_the_folds(drawn_dataset: Path, uninterrupted: tuple[Path, str]) -> None:
    out, text = uninterrupted
    (network,) = re.findall(r"--network_files \"?\['([^']*)'\]", text.replace("\n", ""))
    checkpoints = [out / f"fold{fold}" / "model.pt" for fold in range(2)]
    assert len(load_members(checkpoints, CONFIGS, [network])) == 2, "options have made the network another one"
    summary = json.loads((out / "cross_validation.json").read_text())
    folds = read_folds(out / "folds.json")
    with (out / "cross_validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = {path.name: path.parent.name for path in (drawn_dataset / "train" / "DCM").rglob("*.png")}
    assert sorted(row["image"] for row in rows) == sorted(images)
    assert all(int(row["fold"]) == folds[images[row["image"]]] for row in rows)
    values = np.array([[float(text) for text in list(row.values())[2:]] for row in rows])
    assert values.shape == (10, 29)
    of_folds = [values[[row["fold"] == fold for row in rows]].mean() for fold in ("0", "1")]
    assert [fold["dice"] for fold in summary["folds"]] == pytest.approx(of_folds, abs=1e-4)
    assert summary["mean"] == pytest.approx(np.mean(of_folds), abs=1e-4)
    assert summary["sd"] == pytest.approx(np.std(of_folds, ddof=1), abs=1e-4)
    assert summary["bones"]["Ulna"] == pytest.approx(values[:, 28].mean())
    assert 0.01 < summary["mean"] < 0.99
    weakest = min(summary["bones"].values())
    assert f"{weakest:.4f}" in text.split("weakest bones")[1]
    assert f"--checkpoints \"['{out}/fold0/model.pt', '{out}/fold1/model.pt']\"" in text


@pytest.mark.slow
def test_two_ranks_share_the_images_of_each_run(
    drawn_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handseg_monai.run.cross_validation.run_bundle", bundle_in_forks)
    options = [*TINY, "--epochs", "1", "--output_bias", "0.0", "--batch_size", "1"]
    cross_validate(drawn_dataset, tmp_path / "cv", k=2, options=options, processes=2)
    images = [path.name for path in (drawn_dataset / "train" / "DCM").rglob("*.png")]
    with (tmp_path / "cv" / "cross_validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["image"] for row in rows) == sorted(images), "each is measured once"
    for fold in range(2):
        others = sum(int(row["fold"]) != fold for row in rows)
        last = Checkpoint.read(tmp_path / "cv" / f"fold{fold}" / "last.pt").content
        assert last["states"]["lr_scheduler"]["last_epoch"] == -(-others // 2), "a step takes an image from each rank"


def test_another_configuration_or_data_is_refused(
    drawn_dataset: Path, tmp_path: Path, uninterrupted: tuple[Path, str]
) -> None:
    out = tmp_path / "again"
    shutil.copytree(uninterrupted[0], out)
    data = shutil.copytree(drawn_dataset, tmp_path / "data")
    overlay = tmp_path / "overlay.json"
    overlay.write_text('{"learning_rate": 0.1}')
    same = {"k": 2, "options": OPTIONS}
    label = next(data.rglob("*.json"))
    for other, what in (
        ({"k": 3}, "folds"),
        ({"options": [*OPTIONS, "--patience", "3"]}, "options"),
        ({"configs": [overlay]}, "configuration"),
    ):
        with pytest.raises(ValueError, match=f"holds a run with other {what}; choose another folder"):
            cross_validate(drawn_dataset, out, **(same | other))
    assert len(cross_validate(drawn_dataset, out, **same)) == 2
    assert len(cross_validate(data, out, **same)) == 2  # moved, with its times
    label.write_text(label.read_text() + "\n")
    with pytest.raises(ValueError, match="holds a run with other data;"):
        cross_validate(data, out, **same)


def test_what_can_not_be_right_is_refused_before_training(drawn_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "cv"
    for options, match in (
        (["--fold", "1"], "--fold: cross-validate sets it itself"),
        (["--fold=1", "--epochs=1"], "expected pairs --name value"),
        (["--epochs"], "expected pairs --name value"),
        (["epochs", "3"], "expected pairs --name value"),
    ):
        with pytest.raises(ValueError, match=match):
            cross_validate(drawn_dataset, out, options=options)
    with pytest.raises(ValueError, match="--k 1: expected at least 2"):
        cross_validate(drawn_dataset, out, k=1)
    with pytest.raises(ValueError, match=r"--overlay nothing\.json: no such file"):
        cross_validate(drawn_dataset, out, configs=["nothing.json"])
    assert not out.exists()
    # What an option was refused for may be given anew; nothing was trained.
    for k, options in ((2, ["--epohs", "1"]), (3, ["--epochs", "0"])):
        with pytest.raises(ValueError, match=r"ended with code 2; its log is .*training\.log"):
            cross_validate(drawn_dataset, out, k=k, options=options)
    assert set(read_folds(out / "folds.json").values()) == {0, 1, 2}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"holds thesis\.txt, which cross-validate did not write"):
        cross_validate(drawn_dataset, tmp_path / "other", k=2)


def test_two_at_once_are_refused(drawn_dataset: Path, tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / ".lock", "the first"),
        pytest.raises(ValueError, match="another run still writes to it"),
    ):
        cross_validate(drawn_dataset, tmp_path, k=2)
