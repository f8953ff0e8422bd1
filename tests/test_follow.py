"""Followers of a run are told what happens, in order, and can't break it."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from ignite.engine import Engine

from handseg_monai.follow import Follower, FollowRun, Run
from handseg_monai.follow.mailbox import Mailbox, one_line
from tests.bundle_runs import run_here, tiny


class Recorder(Follower):
    """Keeps what it is told."""

    told: ClassVar[list[Any]] = []

    def started(self, run: Run) -> None:
        self.told.append(("started", run.epoch, run.epochs, run.best))

    def epoch(self, run: Run, metrics: Mapping[str, float]) -> None:
        self.told.append(("epoch", run.epoch, sorted(metrics)))

    def best(self, run: Run) -> None:
        self.told.append(("best", run.best_epoch, run.best))

    def ended(self, run: Run) -> None:
        self.told.append("ended")

    def failed(self, run: Run, reason: str) -> None:
        self.told.append(("failed", reason.split("\n")[-1]))

    def close(self) -> None:
        self.told.append("closed")


class Breaking(Follower):
    """Raises at all that it is told."""

    def started(self, run: Run) -> None:
        raise KeyError("started")

    def ended(self, run: Run) -> None:
        raise ValueError("ended\nbadly")


class Data(Engine):
    """An engine that holds its data, as MONAI's do."""

    def run(self) -> Any:  # type: ignore[override]
        return super().run(range(2))


@pytest.fixture(autouse=True)
def _forget() -> None:
    Recorder.told.clear()


@pytest.mark.usefixtures("restore_globals")
def test_training_tells_start_epochs_best_and_end(drawn_dataset: Path, tmp_path: Path) -> None:
    options = {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path), "val_interval": 2, "threshold": 0.2}
    options |= {"follow#followers": [{"_target_": "tests.test_follow.Recorder"}], "output_bias": 0.0}
    run_here("train.json", run_id="training", epochs=3, **options, **tiny())
    best = torch.load(tmp_path / "model.pt", weights_only=True)["score"]
    assert best > 0
    metric = ["val_mean_dice"]
    assert Recorder.told == [
        *[("started", 0, 3, None), ("epoch", 1, []), ("epoch", 2, metric), ("best", 2, best), ("epoch", 3, [])],
        *["ended", "closed"],
    ]
    Recorder.told.clear()
    run_here("train.json", run_id="training", epochs=4, resume=True, **options, **tiny())
    assert Recorder.told[:2] == [("started", 3, 4, best), ("epoch", 4, metric)]
    assert Recorder.told[-2:] == ["ended", "closed"]


@pytest.mark.usefixtures("restore_globals")
def test_inference_whose_images_fail_is_told_as_failed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "damaged.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit) as exit_:
        run_here(
            "inference.json",
            dataset_dir=str(tmp_path / "in"),
            output_dir=str(tmp_path / "out"),
            **{"follow#followers": [{"_target_": "tests.test_follow.Recorder"}], "overlays": False, "num_workers": 0},
        )
    assert exit_.value.code == 1
    assert Recorder.told == [("started", 0, None, None), ("failed", "ended with exit code 1"), "closed"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_what_breaks_is_told_and_raised(tmp_path: Path, error: BaseException) -> None:
    def fail(engine: Engine, batch: int) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        FollowRun("night", tmp_path, [Recorder()]).run(Data(fail))
    assert raised.value is error
    said = {ValueError: "ValueError: no", KeyboardInterrupt: "KeyboardInterrupt", SystemExit: "ended with exit code 3"}
    assert Recorder.told == [("started", 0, None, None), ("failed", said[type(error)]), "closed"]


def test_losses_that_stay_not_finite_end_the_run(tmp_path: Path) -> None:
    """One of them alone may be of float16, and passes."""
    losses = iter([0.7, math.nan, 0.6, *[math.inf, math.nan] * 20])

    class Trainer(Engine):
        def run(self) -> Any:  # type: ignore[override]
            return super().run(range(20), max_epochs=2)

    engine = Trainer(lambda engine, batch: {"loss": torch.tensor(next(losses))})
    evaluator = SimpleNamespace(state=SimpleNamespace(best_metric=0, best_metric_epoch=-1, epoch=0))
    with pytest.raises(FloatingPointError, match="the loss is nan in the last 10 iterations, to iteration 13; a lower"):
        FollowRun("night", tmp_path, [Recorder()], evaluator).run(engine)
    assert Recorder.told[1][0] == "failed"


def test_other_ranks_tell_only_what_breaks(tmp_path: Path) -> None:
    follow = FollowRun("night", tmp_path, [Recorder()])
    follow.current.rank = 1
    follow.run(Data(lambda engine, batch: None))
    assert Recorder.told == []
    with pytest.raises(SystemExit):
        follow.end(lambda: sys.exit(1))
    assert Recorder.told == [("failed", "ended with exit code 1"), "closed"]


def test_a_follower_that_breaks_costs_a_line_and_the_next_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps: list[int] = []
    follow = FollowRun("night", tmp_path, [Breaking(), Recorder()])
    follow.run(Data(lambda engine, batch: steps.append(batch)))
    follow.end()
    assert steps == [0, 1]
    assert Recorder.told == [("started", 0, None, None), "ended", "closed"]
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("handseg")]
    assert lines == ["Breaking: KeyError: 'started'", "Breaking: ended badly"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (90000, "25 h 00 min")]
)
def test_how_long_it_took(tmp_path: Path, seconds: float, text: str) -> None:
    run = Run("night", tmp_path)
    run._start = time.monotonic() - seconds
    assert run.took == text


class TestMailbox:
    def test_jobs_are_done_in_order_and_one_that_breaks_stops_none(self, caplog: pytest.LogCaptureFixture) -> None:
        done: list[int] = []
        box = Mailbox("box")
        for number in range(3):
            box.put(lambda number=number: done.append(12 // (number - 1)))
        box.wait(time.monotonic() + 60)
        assert done == [-12, 12]
        assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
            "box: ZeroDivisionError: integer division or modulo by zero"
        ]

    def test_of_too_many_the_oldest_are_dropped(self) -> None:
        done: list[int] = []
        begun, go = threading.Event(), threading.Event()
        box = Mailbox("box", most=2)
        box.put(lambda: (begun.set(), go.wait()))
        begun.wait()
        for number in range(5):
            box.put(lambda number=number: done.append(number))
        go.set()
        box.wait(time.monotonic() + 60)
        assert done == [3, 4]

    def test_what_waits_too_long_is_dropped(self, caplog: pytest.LogCaptureFixture) -> None:
        done: list[int] = []
        begun, go = threading.Event(), threading.Event()
        box = Mailbox("box")
        box.put(lambda: (begun.set(), go.wait()))
        box.put(lambda: done.append(1))
        begun.wait()
        box.wait(time.monotonic())
        go.set()
        box.wait(time.monotonic() + 60)
        assert done == []
        assert caplog.messages == ["box: no answer in time, 2 messages were not sent"]


def test_a_reason_is_cut_to_a_line() -> None:
    assert one_line("what", ValueError("a\n b" * 200)) == ("what: " + "a b" * 200)[:299] + "…"
