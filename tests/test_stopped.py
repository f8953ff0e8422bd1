"""Inference that can't go on, by Ctrl-C or on a full disk: one line says what is kept, and the same command goes on."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from ignite.engine import Engine
from monai.handlers import StatsHandler

from handseg_monai.rle import decode_planes, encode_planes, read_csv
from handseg_monai.run.ending import until_stopped
from tests.bundle_runs import CONFIGS, TINY, run_bundle, save_untrained
from tests.conftest import draw_radiograph

COUNT = 40
KEPT = re.compile(rf"(\d+) of {COUNT} images are done and kept in .*\.submission\.parts; the same command continues$")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("checkpoint") / "model.pt", "dynunet")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("radiographs") / "images"
    folder.mkdir()
    image, _ = draw_radiograph(0, (96, 72))
    for number in range(COUNT):
        cv2.imwrite(str(folder / f"{number:03d}.png"), np.roll(image, number, 1))
    return folder


def arguments(images: Path, checkpoint: Path, out: Path, *more: str) -> list[str]:
    options = [
        "--dataset_dir",
        str(images),
        "--checkpoint",
        str(checkpoint),
        "--output_dir",
        str(out),
        "--amp",
        "false",
    ]
    return ["--config_file", str(CONFIGS / "inference.json"), *TINY, *options, *more]


def only_line(stderr: str) -> str:
    """The last line, of what a run has printed that must hold no traceback."""
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
    return stderr.strip().splitlines()[-1]


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(images: Path, checkpoint: Path, tmp_path: Path) -> None:
    """With workers, who get the signal too, as from a terminal. Pictures turned on later come of all images."""
    out = tmp_path / "out"
    given = arguments(images, checkpoint, out, "--num_workers", "1", "--overlays", "false")
    process = subprocess.Popen(
        [sys.executable, "-m", "monai.bundle", "run", *given],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        start_new_session=True,
    )
    until = time.monotonic() + 200
    while time.monotonic() < until and not any((out / ".submission.parts").glob("*/*.json")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 130, stderr
    line = only_line(stderr)
    assert "interrupted: " in line
    assert (match := KEPT.search(line))
    assert 0 < int(match[1]) < COUNT

    pictures = out / "overlays"
    assert not pictures.exists()
    again = run_bundle(*arguments(images, checkpoint, out, "--num_workers", "0", "--overlays", "true"))
    assert again.returncode == 0, again.stderr
    assert f"{match[1]} of {COUNT} images are done already" in again.stdout
    assert sorted(p.stem for p in pictures.iterdir()) == [f"{p.name}" for p in sorted(images.iterdir())]
    texts = read_csv(out / "submission.csv")
    assert list(texts) == [p.name for p in sorted(images.iterdir())]
    # The image that was done before the signal has the picture of its own masks.
    assert decode_planes(texts["000.png"], (96, 72)).any()
    picture = cv2.imread(str(pictures / "000.png.jpg"))
    assert picture.shape == (96, 72, 3)
    assert (picture.max(axis=2) - picture.min(axis=2) > 30).mean() > 0.1


@pytest.mark.slow
def test_a_full_disk_is_one_line(images: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: the record of small images fits, of large ones not."""
    encode_planes(np.ones((4, 4), np.int32))  # what numba compiles is on disk before the limit
    mixed = tmp_path / "images"
    shutil.copytree(images, mixed)
    for path in sorted(mixed.iterdir())[COUNT // 2 :]:
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), None, fx=3, fy=3))
    given = arguments(mixed, checkpoint, tmp_path / "out", "--overlays", "false")
    command = [sys.executable, "-m", "monai.bundle", "run", *given]
    result = subprocess.run(
        ["bash", "-c", f"ulimit -f 120; exec {shlex.join(command)}"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert result.returncode == 1, result.stderr
    line = only_line(result.stderr)
    assert "File too large" in line
    assert (match := KEPT.search(line))
    assert int(match[1]) == COUNT // 2
    again = run_bundle(*given)
    assert again.returncode == 0, again.stderr
    assert f"{match[1]} of {COUNT} images are done already" in again.stdout
    assert len(read_csv(tmp_path / "out" / "submission.csv")) == COUNT


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_is_logged_without_a_stack(
    error: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(engine: Engine, batch: int) -> None:
        raise error("by somebody")

    engine = Engine(stopped)
    StatsHandler(name="stats").attach(engine)
    with pytest.raises(SystemExit if error is KeyboardInterrupt else error):
        until_stopped(lambda: engine.run([0]), lambda: "all is kept")
    said = capsys.readouterr()
    logged = "Traceback" in said.out + said.err
    assert logged == (error is RuntimeError)
    if not logged:
        assert said.err == "interrupted: all is kept\n"
