"""Two real gloo ranks: training, evaluation, and one whole CSV."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch

from handseg_monai.rle import read_csv
from tests.bundle_runs import CONFIGS, TINY, run_bundle, save_untrained
from tests.rank_runs import config_files, run_ranks, torchrun


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("checkpoint") / "model.pt", "dynunet")


def test_two_ranks_train_the_same_weights_and_write_one_checkpoint(drawn_dataset: Path, tmp_path: Path) -> None:
    """By the command that a user types."""
    result = torchrun(
        "training",
        *("--config_file", config_files("train.json", "multi_gpu_train.json")),
        *("--dataset_dir", str(drawn_dataset), "--output_dir", str(tmp_path / "run"), "--epochs", "2", *TINY),
        *("--patience", "5"),
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert (result.stdout + result.stderr).count("no early stopping: --patience 5") == 1
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    # 8 training images on 2 ranks with batches of 2: 2 steps an epoch, not 4.
    assert (last["epoch"], last["states"]["lr_scheduler"]["last_epoch"]) == (2, 4)
    assert result.stdout.count("best score") == 1
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1


def test_two_ranks_evaluate_to_the_figure_of_one(drawn_dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["--dataset_dir", str(drawn_dataset), "--checkpoint", str(checkpoint), *TINY]
    figures = []
    for name, run in (("one", run_bundle), ("two", run_ranks)):
        overlays = ["train.json", "evaluate.json"] + (["multi_gpu_evaluate.json"] if name == "two" else [])
        result = run(
            "--config_file", config_files(*overlays), "--output_dir", str(tmp_path / name), "--fold", "1", *arguments
        )
        assert result.returncode == 0, result.stderr[-2000:]
        figures.append((tmp_path / name / "evaluation" / "metrics.csv").read_text())
        with (tmp_path / name / "evaluation" / "val_mean_dice_raw.csv").open() as file:
            assert len(list(csv.reader(file))) == 1 + 2
    assert figures[0] == figures[1]


@pytest.mark.parametrize("count", [5, 1], ids=["odd count", "fewer images than ranks"])
def test_two_ranks_write_each_image_once(drawn_dataset: Path, checkpoint: Path, tmp_path: Path, count: int) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[:count]:
        shutil.copy(path, images)
    arguments = ["--dataset_dir", str(images), "--checkpoint", str(checkpoint), *TINY]
    one = run_bundle(
        "--config_file", str(CONFIGS / "inference.json"), "--output_dir", str(tmp_path / "one"), *arguments
    )
    two = run_ranks(
        *("--config_file", config_files("inference.json", "multi_gpu_inference.json")),
        *("--output_dir", str(tmp_path / "two"), *arguments),
    )
    assert (one.returncode, two.returncode) == (0, 0), two.stderr[-2000:]
    texts = (tmp_path / "two" / "submission.csv").read_text()
    assert len(texts.splitlines()) == 1 + 29 * count
    assert texts == (tmp_path / "one" / "submission.csv").read_text()
    assert not (tmp_path / "two" / ".submission.parts").exists()


def test_a_failure_on_one_rank_is_listed_and_the_rest_is_written(
    drawn_dataset: Path, checkpoint: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))[:3]:
        shutil.copy(path, images)
    (images / "bad.png").write_bytes(b"no image")
    result = run_ranks(
        *("--config_file", config_files("inference.json", "multi_gpu_inference.json")),
        *("--dataset_dir", str(images), "--output_dir", str(tmp_path / "out")),
        *("--checkpoint", str(checkpoint), *TINY),
    )
    assert result.returncode == 1
    assert "bad.png" in (tmp_path / "out" / "failures.csv").read_text()
    assert len(read_csv(tmp_path / "out" / "submission.csv")) == 3
