"""Training: averages of weights, accumulation, seeds, ranks, compilation, and runs that a kill can't change."""

from __future__ import annotations

import copy
import json
import logging
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from monai.engines import SupervisedTrainer

from handseg_monai.handlers import AccumulationWeights, StepSchedule, WeightAverage
from handseg_monai.options import Options
from handseg_monai.run import join_ranks
from handseg_monai.run.checks import _check_compile, _warn_of_patience
from tests.bundle_runs import CONFIGS, run_bundle, run_here, tiny
from tests.programs import in_fork, said_by, start_fork
from tests.rank_runs import config_files, run_ranks
from tests.services import free_port

pytestmark = pytest.mark.usefixtures("restore_globals")

PLAIN = {"amp": False, "patience": 50, "cache_rate": 0.0, "size": 128}
"""Float32, and images as large as the window."""


def losses_of(data: Path, out: Path, **options: Any) -> list[float]:
    """Losses of all batches of a training run in this process."""
    options = tiny() | PLAIN | {"dataset_dir": str(data), "output_dir": str(out)} | options
    bundle = ConfigWorkflow([str(CONFIGS / "train.json")], **options)
    bundle.initialize()
    losses: list[float] = []
    bundle.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output["loss"].item()))
    bundle.run()
    return losses


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize(("batch_size", "accumulate", "whole"), [(2, 2, 4), (2, 3, 6), (3, 3, 8)])
def test_accumulated_batches_train_the_weights_of_a_large_one(
    drawn_dataset: Path, tmp_path: Path, batch_size: int, accumulate: int, whole: int
) -> None:
    """Of 8 images: whole groups; 2 + 2 + 2 and then 2 alone; 3 + 3 + 2, which don't count alike."""
    # Plain descent: AdamW goes by the sign of a gradient, and near 0 that is the rounding's.
    options = {"optimizer#_target_": "torch.optim.SGD", "learning_rate": 0.05, "epochs": 2, "val_interval": 2}
    losses_of(drawn_dataset, tmp_path / "large", batch_size=whole, **options)
    losses_of(drawn_dataset, tmp_path / "small", batch_size=batch_size, accumulate=accumulate, **options)
    large, small = read(tmp_path / "large" / "last.pt"), read(tmp_path / "small" / "last.pt")
    steps = 2 * -(-8 // whole)
    assert small["states"]["lr_scheduler"]["last_epoch"] == large["states"]["lr_scheduler"]["last_epoch"] == steps
    assert small["states"]["lr_scheduler"]["t_total"] == steps
    for name, value in large["network"].items():
        torch.testing.assert_close(small["network"][name], value, atol=2e-6, rtol=1e-4, msg=name)


def test_the_loss_that_is_logged_is_that_of_the_batch(drawn_dataset: Path, tmp_path: Path) -> None:
    options = {"epochs": 1, "batch_size": 3}
    plain = losses_of(drawn_dataset, tmp_path / "plain", **options)
    accumulated = losses_of(drawn_dataset, tmp_path / "accumulated", accumulate=3, learning_rate=1e-9, **options)
    assert len(plain) == len(accumulated) == 3
    assert accumulated[0] == plain[0]


@pytest.mark.parametrize("validated", [1, 2])
def test_training_that_diverges_at_the_end_of_an_epoch_leaves_the_epoch_before(
    drawn_dataset: Path, tmp_path: Path, validated: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it is resumed from is finite, and so is what counts as the best."""
    options = tiny() | PLAIN | {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path), "epochs": 3}
    bundle = ConfigWorkflow([str(CONFIGS / "train.json")], **options | {"val_interval": validated})
    bundle.initialize()

    def diverge(engine: SupervisedTrainer) -> None:
        next(engine.network.parameters()).data.fill_(float("nan"))

    bundle.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=8), diverge)
    with pytest.raises(SystemExit):
        bundle.run()
    said = capsys.readouterr().err
    assert "the weights are not finite after epoch 2; a lower --learning_rate or a longer --warmup may help" in said
    assert f"{tmp_path / 'last.pt'} holds the finished epochs" in said
    last = read(tmp_path / "last.pt")
    assert last["epoch"] == 1
    assert all(value.isfinite().all() for value in last["network"].values())
    assert (tmp_path / "model.pt").exists() == (validated == 1)


def toy_trainer(network: torch.nn.Module, accumulate: int, epochs: int, handlers: list[Any]) -> SupervisedTrainer:
    generator = torch.Generator().manual_seed(0)
    data = [{key: torch.randn(n, generator=generator) for key, n in (("image", 4), ("label", 2))} for _ in range(10)]
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=torch.utils.data.DataLoader(data, batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=torch.nn.MSELoss(),
        train_handlers=[*handlers, AccumulationWeights(accumulate)],
        accumulation_steps=accumulate,
        decollate=False,
    )


def test_the_average_is_that_of_the_weights_after_each_step() -> None:
    """Against a sum over all steps, with the weight that each has; statistics of batch norm too."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    history = [copy.deepcopy(network.state_dict())]
    average = WeightAverage(network, 0.45, accumulate=2)
    trainer = toy_trainer(network, 2, 3, [average])

    @trainer.on(Events.ITERATION_COMPLETED)
    def remember(engine: Any) -> None:
        # Five batches an epoch: steps after the second, the fourth and the fifth.
        if (engine.state.iteration - 1) % 5 in (1, 3, 4):
            history.append(copy.deepcopy(network.state_dict()))

    trainer.run()
    assert len(history) == 1 + 9
    decays = [min(0.45, (1 + t) / (10 + t)) for t in range(len(history))]
    assert decays[1] < decays[5] < decays[9] == 0.45
    for name, value in average.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == history[-1][name]
            continue
        expected = torch.zeros_like(value)
        for t, weights in enumerate(history):
            share = 1.0 if t == 0 else 1 - decays[t]
            for later in range(t + 1, len(history)):
                share *= decays[later]
            expected += share * weights[name]
        torch.testing.assert_close(value, expected, msg=name)
    assert not torch.allclose(average.state_dict()["0.weight"], network.state_dict()["0.weight"])


def test_no_average_is_the_network_itself() -> None:
    network = torch.nn.Linear(1, 1)
    average = WeightAverage(network, 0)
    assert average.network is network
    assert average.state_dict() == {}


def test_the_averaged_weights_are_those_that_are_validated_and_kept(
    drawn_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"ema": 0.9, "epochs": 1, "output_bias": 0.0, "threshold": 0.45, "learning_rate": 0.01}
    losses_of(drawn_dataset, tmp_path, **options)
    best, last = read(tmp_path / "model.pt"), read(tmp_path / "last.pt")
    assert best["network"].keys() == last["network"].keys()
    for name, value in best["network"].items():
        assert torch.equal(value, last["states"]["average"][name]), name
    assert any(not torch.equal(value, last["network"][name]) for name, value in best["network"].items())
    # Other things equal, the score of training is that of evaluating the file.
    more = tiny() | PLAIN | {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path)} | options
    capsys.readouterr()
    run_here("train.json", "evaluate.json", **more)
    assert f"Dice {best['score']:.6f} of 2 images" in capsys.readouterr().out
    assert 0.01 < best["score"] < 0.99


# Dropout, an average, groups of three batches of which an epoch leaves one over, and augmentation, which all draws.
STIRRED = {
    "network_def#network#dropout": 0.2,
    "ema": 0.9,
    "accumulate": 3,
    "epochs": 3,
    "batch_size": 2,
    "output_bias": 0.0,
    "threshold": 0.45,
}


def watched(folder: Path, at_start: str = "None") -> Path:
    """Write an overlay that notes the losses of each rank in ``$NOTE<rank>``, and does something before each batch."""
    note = "open(os.environ['NOTE'] + os.environ.get('RANK', '0'), 'a')"
    note += ".write(str(engine.state.output['loss'].item()) + chr(10)) and None"
    on = "$@train#trainer.add_event_handler(ignite.engine.Events.ITERATION_%s, lambda engine: %s)"
    overlay = folder / "watched.json"
    training = [on % ("COMPLETED", note), on % ("STARTED", at_start), "$@train#trainer.run()"]
    overlay.write_text(json.dumps({"training": training}))
    return overlay


def test_a_run_that_is_killed_within_an_epoch_goes_on_as_if_it_had_not_been(
    drawn_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process, killed in the second of three epochs of four batches; losses, scores and weights are the same."""
    die = "os.kill(os.getpid(), 9) if str(engine.state.iteration) == os.environ['DIE_AT'] else None"
    overlay = watched(tmp_path, die)
    options = tiny() | {**PLAIN, "amp": True} | STIRRED | {"dataset_dir": str(drawn_dataset)}
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    config = f"['{CONFIGS / 'train.json'}','{overlay}']"

    def run(name: str, *more: str, die_at: str = "") -> int:
        monkeypatch.setenv("NOTE", str(tmp_path / f"{name}."))
        monkeypatch.setenv("DIE_AT", die_at)
        start = partial(in_fork, "monai.bundle", "run") if die_at else run_bundle
        result = start("training", "--config_file", config, "--output_dir", tmp_path / name, *arguments, *more)
        assert result.returncode in (0, -signal.SIGKILL), result.stderr[-2000:]
        return result.returncode

    assert run("whole") == 0
    assert run("parts", die_at="7") == -signal.SIGKILL
    assert read(tmp_path / "parts" / "last.pt")["epoch"] == 1
    assert run("parts", "--resume", "true") == 0
    whole, parts = ((tmp_path / f"{name}.0").read_text().split() for name in ("whole", "parts"))
    assert len(whole) == 12
    assert parts == whole[:6] + whole[4:]  # batches 5 and 6 came before the kill, and again
    for name in ("last.pt", "model.pt"):
        one, other = read(tmp_path / "whole" / name), read(tmp_path / "parts" / name)
        assert one.keys() == other.keys()
        assert _differences(one, other) == []


def _differences(one: Any, other: Any, path: str = "") -> list[str]:
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [path]
    if isinstance(one, list | tuple):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [path]
        return [place for key in one for place in _differences(one[key], other[key], f"{path}/{key}")]
    return [] if one == other else [path]


def test_one_seed_fixes_all_that_is_drawn(drawn_dataset: Path, tmp_path: Path) -> None:
    """Weights, order, augmentation and dropout: the same seed gives the same losses, another one others."""
    options = {"epochs": 1, "val_interval": 1, "network_def#network#dropout": 0.2, "folds_file": None}
    runs = [losses_of(drawn_dataset, tmp_path / str(i), seed=seed, **options) for i, seed in enumerate((3, 3, 4))]
    assert len(runs[0]) == 4
    assert runs[0] == runs[1]
    assert not set(runs[0]) & set(runs[2])


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_ranks_go_on_with_the_statistics_of_the_first(decay: float, tmp_path: Path) -> None:
    """Whether weights are averaged or not: what is validated and saved is one network."""
    port, folders = free_port(), [tmp_path / str(rank) for rank in range(2)]
    processes = []
    for rank, folder in enumerate(folders):
        folder.mkdir()
        environment = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": 2,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        variables = {name: str(value) for name, value in environment.items()}
        processes.append(start_fork(folder, train_normed, rank, decay, folder / "state.pt", **variables))
    for process in processes:
        process.join(120)
        process.kill()
    said = [said_by(process, folder) for process, folder in zip(processes, folders, strict=True)]
    assert [one.returncode for one in said] == [0, 0], said
    first, second = (read(folder / "state.pt") for folder in folders)
    assert first["running_mean"].abs().sum() > 0
    for name, value in first.items():
        assert value.equal(second[name]), name


def train_normed(rank: int, decay: float, path: Path) -> None:
    """Train a batch norm on images of a rank's own, within a Slurm job whose rank nobody tells."""
    os.environ["SLURM_JOB_ID"] = "1"
    join_ranks()
    network = torch.nn.BatchNorm1d(4, affine=False)
    average = WeightAverage(network, decay)
    engine = Engine(lambda engine, batch: network(batch))
    average.attach(engine)
    torch.manual_seed(rank)
    engine.run([torch.randn(8, 4) + rank for _ in range(3)], max_epochs=2)
    torch.save(average.network.state_dict(), path)


def test_two_ranks_have_the_losses_of_one_process_with_the_joined_batch(
    drawn_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay = watched(tmp_path)
    options = tiny() | PLAIN | {"dataset_dir": str(drawn_dataset), "epochs": 1, "ema": 0.9}
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    for name, run, batch, files in (
        ("one", run_bundle, 2, ["train.json"]),
        ("two", run_ranks, 1, ["train.json", "multi_gpu_train.json"]),
    ):
        monkeypatch.setenv("NOTE", str(tmp_path / name))
        config = config_files(*files)[:-1] + f", '{overlay}']"
        out = ["--output_dir", str(tmp_path / f"{name}_run"), "--batch_size", str(batch)]
        result = run("training", "--config_file", config, *out, *arguments)
        assert result.returncode == 0, result.stderr[-2000:]
    joined, *ranks = ([float(x) for x in (tmp_path / n).read_text().split()] for n in ("one0", "two0", "two1"))
    assert len(joined) == len(ranks[0]) == len(ranks[1]) == 4
    means = [sum(pair) / 2 for pair in zip(*ranks, strict=True)]
    assert means[0] == pytest.approx(joined[0], rel=1e-5)
    # AdamW's first steps go by the sign of a gradient: what is near 0 there parts the two slowly.
    assert means == pytest.approx(joined, rel=0.01)
    assert ranks[0][0] != pytest.approx(ranks[1][0], rel=1e-3)


def test_a_compiled_run_leaves_a_checkpoint_for_others(drawn_dataset: Path, tmp_path: Path) -> None:
    """The graph is traced and run without the C++ compiler; the losses are the plain ones."""
    options = {"epochs": 1, "ema": 0.9}
    plain = losses_of(drawn_dataset, tmp_path / "plain", **options)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = losses_of(drawn_dataset, tmp_path / "compiled", compile=True, compile_backend="eager", **options)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert compiled == pytest.approx(plain, rel=1e-3)
    for name in ("model.pt", "last.pt"):
        one, other = read(tmp_path / "plain" / name), read(tmp_path / "compiled" / name)
        assert one["network"].keys() == other["network"].keys()
    texts = {}
    for value in (True, False):
        run_here(
            "inference.json",
            dataset_dir=str(drawn_dataset / "train" / "DCM" / "ID001"),
            output_dir=str(tmp_path / f"out{value}"),
            checkpoint=str(tmp_path / "compiled" / "model.pt"),
            threshold=0.02,
            compile=value,
            compile_backend="eager",
            **(tiny(inference=True) | {"size": 128, "amp": False}),
        )
        texts[value] = (tmp_path / f"out{value}" / "submission.csv").read_text()
    assert texts[True] == texts[False]
    assert len(texts[True]) > 5000


def test_a_backend_that_can_not_run_is_one_line() -> None:
    with pytest.raises(ValueError, match="--compile true: the backend nonsense can't run") as raised:
        _check_compile("nonsense")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("patience", "val_interval", "epochs"), [(1, 1, 3), (2, 1, 3), (1, 2, 5), (1, 2, 4), (3, 1, 4)]
)
def test_the_word_on_patience_comes_where_early_stopping_can_not_take_place(
    patience: int, val_interval: int, epochs: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Against ignite's own handler over scores that never get better."""
    from ignite.engine import Engine
    from monai.handlers import EarlyStopHandler

    trainer, validator = Engine(lambda e, b: None), Engine(lambda e, b: None)
    EarlyStopHandler(patience, lambda e: 0.5, trainer).attach(validator)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=val_interval), lambda e: validator.run([0]) and None)
    stops = trainer.run([0], max_epochs=epochs).epoch < epochs
    with caplog.at_level(logging.WARNING):
        _warn_of_patience(Options(patience=patience, val_interval=val_interval, epochs=epochs), asked=True)
    assert (f"--patience {patience} validations" in caplog.text) == (not stops)


def test_a_schedule_steps_with_the_optimiser() -> None:
    trainer = toy_trainer(torch.nn.Linear(4, 2), accumulate=2, epochs=2, handlers=[])
    schedule = torch.optim.lr_scheduler.StepLR(trainer.optimizer, 1)
    StepSchedule(accumulate=2, lr_scheduler=schedule, epoch_level=False, print_lr=False).attach(trainer)
    trainer.run()
    assert schedule.last_epoch == 6
