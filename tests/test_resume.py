"""Checkpoints: training goes on where it stopped, and neither a kill nor a worse score loses anything."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events

from handseg_monai.checkpoints import Checkpoint, CheckpointError, TrainingCheckpoint, load_weights, prepare_run
from tests.bundle_runs import run_here, tiny
from tests.programs import start_fork
from tests.schedule_runs import SMALL

pytestmark = pytest.mark.usefixtures("restore_globals")


def _last(folder: Path) -> dict:
    return torch.load(folder / "last.pt", weights_only=True)


def test_a_resumed_run_ends_as_an_uninterrupted_one(drawn_dataset: Path, tmp_path: Path) -> None:
    # The second run is planned for two epochs, constant in rate so far as it goes, and then told to go on to four.
    options = tiny() | {"dataset_dir": str(drawn_dataset), "amp": False, "patience": 50}
    options |= {
        "lr_scheduler": {
            "_target_": "torch.optim.lr_scheduler.MultiStepLR",
            "optimizer": "@optimizer",
            "milestones": [10],
        }
    }
    for name, runs in (("whole", [(4, False)]), ("parts", [(2, False), (4, True)])):
        for epochs, resume in runs:
            run_here(
                "train.json",
                run_id="training",
                output_dir=str(tmp_path / name),
                epochs=epochs,
                resume=resume,
                **options,
            )
    whole, parts = _last(tmp_path / "whole"), _last(tmp_path / "parts")
    assert parts["epoch"] == whole["epoch"] == 4
    assert parts["best_score"] == whole["best_score"]
    assert parts["states"]["lr_scheduler"]["last_epoch"] == whole["states"]["lr_scheduler"]["last_epoch"] == 16
    assert parts["states"]["early_stop"] == whole["states"]["early_stop"]
    for key, value in whole["network"].items():
        assert torch.equal(value, parts["network"][key]), key
    for number, state in whole["states"]["optimizer"]["state"].items():
        for key, value in state.items():
            assert torch.equal(value, parts["states"]["optimizer"]["state"][number][key])


def test_a_schedule_goes_on_to_the_end_that_is_configured_now(drawn_dataset: Path, tmp_path: Path) -> None:
    """The rate of a run of two epochs that is resumed to four falls to zero once more, and not up again."""
    options = SMALL | {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path / "run"), "patience": 50}
    run_here("train.json", run_id="training", epochs=2, **options)
    assert _last(tmp_path / "run")["states"]["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-9)
    run_here("train.json", run_id="training", epochs=4, resume=True, **options)
    states = _last(tmp_path / "run")["states"]
    assert states["lr_scheduler"]["t_total"] == states["lr_scheduler"]["last_epoch"] == 16
    assert states["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-9)
    # Half as many steps in an epoch, and four of six epochs are done: the schedule is at two thirds of the new steps.
    run_here("train.json", run_id="training", epochs=6, resume=True, accumulate=2, weight_decay=0.02, **options)
    states = _last(tmp_path / "run")["states"]
    assert states["lr_scheduler"]["t_total"] == states["lr_scheduler"]["last_epoch"] == 12
    assert states["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-9)
    assert states["optimizer"]["param_groups"][0]["weight_decay"] == 0.02, "as it is configured now"


def test_no_one_validates_on_images_of_training(
    drawn_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = SMALL | {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path / "run")}
    run_here("train.json", run_id="training", epochs=1, fold=1, **options)
    for names, more in ((["train.json", "evaluate.json"], {}), (["train.json"], {"resume": True, "epochs": 2})):
        with pytest.raises(SystemExit) as exit_:
            run_here(*names, fold=3, **options, **more)
        assert exit_.value.code == 2
        assert "was trained on 2 of the 2 images to validate on" in capsys.readouterr().err
    run_here("train.json", "evaluate.json", fold=1, **options)


class Counter:
    """A part of training with a state."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


def _training(folder: Path, scores: list[float], max_epochs: int = 100) -> SimpleNamespace:
    """Two plain engines, the second with a given score in each epoch, and the checkpoint handler on both."""
    network, counter = torch.nn.Linear(1, 1), Counter()
    trainer, evaluator = Engine(lambda e, b: None), Engine(lambda e, b: None)
    trainer.state.max_epochs, trainer.state.epoch_length = max_epochs, 1
    evaluator.state.key_metric_name = "score"
    remaining = iter(scores)

    @evaluator.on(Events.EPOCH_COMPLETED)
    def _score(engine: Engine) -> None:
        engine.state.metrics["score"] = next(remaining)

    @trainer.on(Events.EPOCH_COMPLETED)
    def _validate(engine: Engine) -> None:
        counter.count += 1
        network.weight.data.fill_(float(engine.state.epoch))
        evaluator.run([0])

    saver = TrainingCheckpoint(folder, network, "linear", trainer, evaluator, {"counter": counter})
    saver.attach()
    return SimpleNamespace(network=network, counter=counter, trainer=trainer, saver=saver)


def test_the_best_file_survives_worse_scores_after_a_resume(tmp_path: Path) -> None:
    first = _training(tmp_path, [0.3, 0.8, 0.5])
    first.trainer.run([0], max_epochs=3)
    assert torch.load(tmp_path / "model.pt", weights_only=True)["epoch"] == 2
    second = _training(tmp_path, [0.7, 0.9])
    second.saver.resume(True)
    assert second.counter.count == 3
    assert second.network.weight.item() == 3.0
    second.trainer.run([0], max_epochs=4)
    assert torch.load(tmp_path / "model.pt", weights_only=True)["epoch"] == 2
    assert _last(tmp_path)["epoch"] == 4
    third = _training(tmp_path, [0.9])
    third.saver.resume(True)
    third.trainer.run([0], max_epochs=5)
    best = torch.load(tmp_path / "model.pt", weights_only=True)
    assert (best["epoch"], best["score"], best["network_name"]) == (5, 0.9, "linear")


def test_an_earlier_run_is_moved_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.txt").touch()
    for number in (1, 2):
        _training(tmp_path, [0.3, 0.4]).trainer.run([0], max_epochs=number)
        (tmp_path / "tensorboard").mkdir()
        prepare_run(tmp_path, resume=False)
        assert f"moved an earlier run to {tmp_path}/earlier/{number}" in capsys.readouterr().out
    for number in (1, 2):
        assert _last(tmp_path / "earlier" / str(number))["epoch"] == number
        assert (tmp_path / "earlier" / str(number) / "tensorboard").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "earlier", "other.txt"]


def hold(folder: Path) -> None:
    """Write to a folder until a kill."""
    prepare_run(folder, resume=False)
    (folder / "held").touch()
    time.sleep(600)


def test_a_folder_that_another_run_writes_to_is_refused(tmp_path: Path) -> None:
    other = start_fork(tmp_path, hold, tmp_path)
    try:
        while not (tmp_path / "held").exists():
            assert other.is_alive()
            time.sleep(0.01)
        (tmp_path / "last.pt").touch()
        for resume in (False, True):
            with pytest.raises(ValueError, match=f"--output_dir {tmp_path}: another run still writes to it"):
                prepare_run(tmp_path, resume)
        assert not (tmp_path / "earlier").exists()
    finally:
        other.kill()
        other.join()
    prepare_run(tmp_path, resume=True)
    prepare_run(tmp_path, resume=True)  # what ran in this process before


def test_half_a_checkpoint_that_a_kill_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".last.pt.0a1b2c3d.part").write_bytes(b"half")
    prepare_run(tmp_path, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_run_that_stopped_early_says_so_instead_of_training_one_more_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _training(tmp_path, [0.3]).trainer.run([0], max_epochs=1)
    again = _training(tmp_path, [])
    again.counter.stopped = True
    with pytest.raises(SystemExit) as exit_:
        again.saver.resume(True)
    assert exit_.value.code == 0
    assert "stopped early after epoch 1; raise --patience" in capsys.readouterr().out


def test_weights_alone_can_not_be_resumed_from(tmp_path: Path) -> None:
    _training(tmp_path, [0.3]).trainer.run([0], max_epochs=1)
    (tmp_path / "model.pt").replace(tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="only weights"):
        _training(tmp_path, []).saver.resume(True)


def test_an_evaluation_without_training_writes_no_checkpoint(tmp_path: Path) -> None:
    run = _training(tmp_path, [0.3])
    run.saver.evaluator.run([0])
    assert not (tmp_path / "model.pt").exists()


def test_a_run_that_is_complete_is_not_begun_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _training(tmp_path, [0.3]).trainer.run([0], max_epochs=1)
    with pytest.raises(SystemExit) as exit_:
        _training(tmp_path, [], max_epochs=1).saver.resume(True)
    assert exit_.value.code == 0
    assert "all 1 epochs are done" in capsys.readouterr().out


def test_resuming_without_a_run_or_with_another_network_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"last\.pt: no such file"):
        prepare_run(tmp_path, resume=True)
    _training(tmp_path, [0.3]).trainer.run([0], max_epochs=1)
    other = _training(tmp_path, [])
    other.saver.network_name = "other"
    with pytest.raises(CheckpointError, match="holds network linear, but the configuration declares other"):
        other.saver.resume(True)


def test_loading_names_the_parameters_of_another_network(tmp_path: Path) -> None:
    torch.save({"network": torch.nn.Linear(2, 1).state_dict(), "network_name": "linear"}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"first weight, \(1, 2\) in the file and \(1, 3\) in the network"):
        load_weights(Checkpoint.read(tmp_path / "m.pt"), torch.nn.Linear(3, 1), "linear")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 no checkpoint")
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        Checkpoint.read(tmp_path / "broken.pt")


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"network": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        Checkpoint.read(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def save_for_ever(folder: Path) -> None:
    """Save a checkpoint of 16 MB after each epoch of no work."""
    trainer = SimpleNamespace(state=SimpleNamespace(epoch=0))
    saver = TrainingCheckpoint(folder, torch.nn.Linear(2000, 2000), "linear", trainer, None, {})
    while True:
        trainer.state.epoch += 1
        saver.save_last(trainer)


@pytest.mark.parametrize("delay", [0.11, *(pytest.param(delay, marks=pytest.mark.slow) for delay in (0.05, 0.23))])
def test_a_kill_while_saving_leaves_a_checkpoint_that_loads(tmp_path: Path, delay: float) -> None:
    process = start_fork(tmp_path, save_for_ever, tmp_path)
    while not (tmp_path / "last.pt").exists():
        assert process.is_alive()
    process.join(delay)
    assert process.is_alive()
    process.kill()
    process.join()
    assert _last(tmp_path)["epoch"] >= 1
