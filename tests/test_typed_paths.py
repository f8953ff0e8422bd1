"""Paths of the command line: each run reads and writes the folders that were typed, and no others."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import cv2
import fire
import monai.bundle
import pytest

from tests.bundle_runs import CONFIGS, TINY, run_bundle, save_untrained, tiny
from tests.conftest import draw_radiograph, write_drawn_dataset
from tests.programs import Done, handseg, in_fork, in_own_process
from tests.rank_runs import bundle_in_forks

INFERENCE = str(CONFIGS / "inference.json")
ODD = [
    *(
        "scan #2",
        "scan#2",
        "001",
        "1e3",
        "2024",
        "a,b",
        "[x]",
        "{a: b}",
        "'q'",
        "(p)",
        "ｓｃａｎ",
        "True",
        "none",
        "sp ",
    ),
    *("  sp", "back\\", "me@#1", "a::b", "#7", "...", "new\n", "x=y", "-1", "it's", "p%q"),
    unicodedata.normalize("NFD", "환자"),
]
"""Names that Fire or MONAI read as something else: a comment, a number, a list, Python, an id."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("weights") / "tiny #1.pt", "dynunet")


def image_in(folder: Path) -> None:
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), draw_radiograph(1, (96, 72))[0])


def infer(checkpoint: Path, place: Path, *arguments: str) -> Done:
    return run_bundle("--config_file", INFERENCE, "--checkpoint", checkpoint, *TINY, *arguments, cwd=place)


def written(place: Path) -> list[str]:
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("submission.csv"))


@pytest.mark.parametrize("name", ODD)
def test_the_folders_that_were_typed_are_read_and_written(checkpoint: Path, tmp_path: Path, name: str) -> None:
    image_in(tmp_path / name)
    done = infer(checkpoint, tmp_path, "--dataset_dir", name, f"--output-dir={name}out")
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}out"}
    assert written(tmp_path) == [f"{name}out/submission.csv"]


def test_results_of_another_folder_stay(checkpoint: Path, tmp_path: Path) -> None:
    image_in(tmp_path / "scan")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "submission.csv").write_text("of another day")
    done = infer(checkpoint, tmp_path, "--dataset_dir", "scan #2", "--output_dir", "out #3")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("no such folder: scan #2 ")
    assert infer(checkpoint, tmp_path, "--dataset_dir", "scan", "--output_dir", "out #3").returncode == 0
    assert (tmp_path / "out" / "submission.csv").read_text() == "of another day"
    assert written(tmp_path) == ["out #3/submission.csv", "out/submission.csv"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "--output_dir is empty; expected a path"),
        ("-dash", "--output_dir has no value; expected a path; write ./ before a name with - in front"),
        ("None", "--output_dir None: MONAI ignores None"),
        ("$x", "name 'x' is not defined; write ./ before a path that begins with $"),
        ("@x", "write ./ before a path that begins with @"),
    ],
)
def test_what_can_not_be_read_as_typed_is_one_line(checkpoint: Path, tmp_path: Path, name: str, said: str) -> None:
    image_in(tmp_path / "scan")
    done = infer(checkpoint, tmp_path, "--dataset_dir", "scan", "--output_dir", name)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]


def test_lists_and_files_of_thresholds(checkpoint: Path, tmp_path: Path) -> None:
    image_in(tmp_path / "scan")
    shutil.copy(checkpoint, tmp_path / "a #1.pt")
    files = f"['{INFERENCE}','{CONFIGS / 'ensemble.json'}']"
    arguments = ["--config_file", files, "--bundle_root", CONFIGS.parent, "--dataset_dir", "scan", "--checkpoints"]
    for typed, said in (("['a #1.pt']", "checkpoint a #1.pt holds another dynunet"), ("['a\\x20#1.pt']", "in quotes")):
        done = run_bundle(*arguments, typed, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr.splitlines()[-1]
    done = infer(checkpoint, tmp_path, "--dataset_dir", "scan", "--output_dir", "out", "--threshold", "t #1.json")
    assert "--threshold 't #1.json': no number, and no such file" in done.stderr.splitlines()[-1]


def test_a_run_in_python_and_a_configuration_name_paths_too(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image_in(tmp_path / "scan #2")
    (tmp_path / "own.json").write_text('{"output_dir": "own #4"}')
    options = {"dataset_dir": "scan #2", "checkpoint": str(checkpoint)} | tiny(inference=True)
    monai.bundle.run(config_file=[INFERENCE, "own.json"], **options)
    assert written(tmp_path) == ["own #4/submission.csv"]


def test_handseg_and_torchrun_read_what_was_typed(checkpoint: Path, tmp_path: Path) -> None:
    image_in(tmp_path / "$x")
    done = handseg("infer", "$x", "--out", "out #3", "--", "--checkpoint", checkpoint, *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out #3" / "run.log").exists()
    image_in(tmp_path / "scan #2")
    files = f"['{INFERENCE}','{CONFIGS / 'multi_gpu_inference.json'}']"
    ranks = ["--standalone", "--nproc_per_node", "1", "-m", "monai.bundle", "run", "--config_file", files]
    options = ["--dataset_dir", "scan #2", "--output_dir", "ranks #1", "--checkpoint", str(checkpoint), *TINY]
    of_ranks = in_own_process("torch.distributed.run", *ranks, *options, cwd=tmp_path)
    assert of_ranks.returncode == 0, of_ranks.stderr[-2000:]
    assert written(tmp_path) == ["out #3/submission.csv", "ranks #1/submission.csv"]
    empty = in_fork("handseg_monai", "infer", "$x", "--out", "", cwd=tmp_path)
    assert (empty.returncode, len(empty.stderr.splitlines())) == (2, 1)
    assert "an argument is empty" in empty.stderr


@pytest.mark.slow
def test_training_cross_validation_and_evaluation_take_names_with_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handseg_monai.run.cross_validation.run_bundle", bundle_in_forks)
    write_drawn_dataset(tmp_path / "data", 2)
    (tmp_path / "data").rename(tmp_path / "data #1")
    options = ["--epochs", "1", "--curves_interval", "0", "--weights", "none", "--run_name", "trial (#3)", *TINY]
    done = handseg("cross-validate", "data #1", "--out", "cv #1", "--k", "2", "--", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in tmp_path.iterdir()} == {"data #1", "cv #1"}
    assert (tmp_path / "cv #1" / "fold1" / "evaluation" / "metrics.csv").exists()
    assert "trial (#3)" in (tmp_path / "cv #1" / "fold1" / "training.log").read_text()


def test_the_command_line_of_a_program_that_runs_a_bundle_is_its_own(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image_in(tmp_path / "scan")

    def program(output_dir: str) -> None:
        options = {"dataset_dir": "scan", "checkpoint": str(checkpoint)} | tiny(inference=True)
        monai.bundle.run(config_file=INFERENCE, output_dir=f"{output_dir}/inner", **options)

    fire.Fire(program, ["--output_dir", "outer"])
    assert written(tmp_path) == ["outer/inner/submission.csv"]
