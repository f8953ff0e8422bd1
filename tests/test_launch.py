"""``--processes`` of ``handseg infer`` and ``train``: several real ranks of this machine, with the output of one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handseg_monai.rle import read_csv
from tests.bundle_runs import TINY, save_untrained
from tests.programs import handseg


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("launch") / "model.pt", "dynunet")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "handseg_monai", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300)


def test_two_processes_write_the_csv_of_one(drawn_dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    images = drawn_dataset / "train" / "DCM"
    options = ["--checkpoint", checkpoint, "--num_workers", "0", *TINY]
    one = handseg("infer", images, "--out", tmp_path / "one", *options)
    two = run("infer", images, "--out", tmp_path / "two", "--processes", "2", *options)
    assert (one.returncode, two.returncode) == (0, 0), one.stderr[-2000:] + two.stderr[-2000:]
    texts = [(tmp_path / name / "submission.csv").read_text() for name in ("one", "two")]
    assert texts[0] == texts[1]
    assert len(read_csv(tmp_path / "two" / "submission.csv")) == 10
    # One of them speaks, and keeps the log.
    assert "torch.distributed.run --standalone --nproc_per_node 2 -m monai.bundle" in two.stdout.splitlines()[0]
    assert two.stdout.count("submission.csv: 10 of 10 images") == 1
    assert (tmp_path / "two" / "run.log").read_text().count("submission.csv: 10 of 10 images") == 1
    assert "ChildFailedError" not in two.stderr


def test_two_processes_train_one_network(drawn_dataset: Path, tmp_path: Path) -> None:
    options = ["--epochs", "1", "--num_folds", "2", "--curves_interval", "0", "--num_workers", "0", *TINY]
    done = run("train", drawn_dataset, "--out", tmp_path / "run", "--processes", "2", *options)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("best score") == 1
    assert (tmp_path / "run" / "model.pt").is_file()


def test_what_can_not_be_right_ends_with_the_code_of_one_process(tmp_path: Path) -> None:
    done = handseg("infer", tmp_path / "nowhere", "--out", tmp_path / "out", "--processes", "2")
    assert done.returncode == 2
    assert done.stderr == f"handseg: no such folder: {tmp_path / 'nowhere'}\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["infer", "train", "cross-validate"])
def test_more_processes_than_can_run_are_refused(name: str, drawn_dataset: Path, tmp_path: Path) -> None:
    """A hundred thousand would stop the machine."""
    done = handseg(name, drawn_dataset, "--out", tmp_path / "out", "--processes", "100000")
    most = max(2, os.cpu_count() or 1)
    words = f"handseg: --processes 100000: expected 1 to {most}, one for each core of this machine\n"
    assert (done.returncode, done.stderr) == (2, words)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def many(drawn_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred images, so that some are left when a signal comes."""
    folder = tmp_path_factory.mktemp("many")
    for path in (drawn_dataset / "train" / "DCM").rglob("*.png"):
        for copy in range(10):
            shutil.copy(path, folder / f"{path.stem}-{copy}.png")
    return folder


def ranks_at_work(images: Path, out: Path) -> set[int]:
    """Ranks of two that have done an image; they take the images by turns."""
    order = sorted(path.name for path in images.iterdir())
    records = out.glob(".submission.parts/*/*.json")
    return {order.index(json.loads(record.read_text())["name"]) % 2 for record in records}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whom", "number", "code", "words"),
    [
        ("rank", signal.SIGKILL, 1, r"^handseg: signal 9 ended process 1; did memory run out\?$"),
        ("all", signal.SIGINT, 130, r"^interrupted: \d+ of 100 images are done"),
        ("all", signal.SIGTERM, 143, ""),
    ],
    ids=["a process is killed", "interrupted", "terminated"],
)
def test_a_run_that_ends_leaves_no_process(
    whom: str, number: int, code: int, words: str, many: Path, checkpoint: Path, tmp_path: Path
) -> None:
    arguments = ["infer", many, "--out", tmp_path / "out", "--processes", "2", "--checkpoint", checkpoint]
    arguments += ["--num_workers", "0", *TINY]
    with subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while ranks_at_work(many, tmp_path / "out") != {0, 1}:
            assert process.poll() is None
            time.sleep(0.02)
        ranks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(ranks) == 2
        os.kill(int(ranks[1]) if whom == "rank" else process.pid, number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == code, said[-2000:]
    assert re.search(words, said, re.MULTILINE), said[-2000:]
    assert "Traceback" not in said
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
    if whom == "rank":
        done = run(*arguments)
        assert done.returncode == 0, done.stderr[-2000:]
        assert len(read_csv(tmp_path / "out" / "submission.csv")) == 100
