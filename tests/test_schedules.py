"""Schedules: the rates that the optimiser takes in training, against formulas of their own, resumed runs among them."""

from __future__ import annotations

import json
import re
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from handseg_monai.options import Options, checked_values
from handseg_monai.schedules import CosineAnnealingWarmUpRestarts, first_cycle
from tests.bundle_runs import CONFIGS, run_here
from tests.conftest import write_drawn_dataset
from tests.rank_runs import config_files, run_ranks
from tests.schedule_runs import SCHEDULES, SMALL, run_schedule

pytestmark = pytest.mark.usefixtures("restore_globals")

RATE = 0.004
STEPS = 4
"""Steps of an epoch: eight images in batches of two."""
EPOCHS = 7


@pytest.fixture(scope="module")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five subjects, ten images of 48 x 40 pixels."""
    return write_drawn_dataset(tmp_path_factory.mktemp("small"), subjects=5, shape=(48, 40))


def options(schedule: str | None, **more: Any) -> dict[str, Any]:
    """Options of a run of seven epochs; only the plateau needs validations."""
    return {"learning_rate": RATE, "epochs": EPOCHS, "val_interval": 1 if schedule == "plateau" else 2} | more


def cosine(share: float, peak: float, least: float = 0.0) -> float:
    """Rate when this share of a half wave is behind."""
    return least + (peak - least) * (1 + cos(pi * share)) / 2


def reference(schedule: str | None) -> list[float]:
    """The rate of each of the 28 steps, cycle by cycle, written by hand for seven epochs."""
    if schedule is None:  # a twentieth of 28 steps is one step of warm-up, from a hundredth of the rate
        return [0.01 * RATE, *(cosine(t / 27, RATE) for t in range(27))]
    if schedule == "multistep":  # after .6 and .85 of seven epochs: four and six
        return [RATE] * 16 + [0.1 * RATE] * 8 + [0.01 * RATE] * 4
    if schedule == "cosine":
        return [cosine(t / 28, RATE) for t in range(28)]
    if schedule == "cosine_restarts":  # one, two and four epochs
        return [cosine(t / length, RATE) for length in (4, 8, 16) for t in range(length)]
    if schedule == "warmup_restarts":  # a twentieth of the run warms up, a third of it in each cycle
        warm, rest, least, t0, rates = 28 / 60, 28 * 0.95 / 7, 0.01 * RATE, 0.0, [0.0] * 28
        for length, peak in ((rest, RATE), (2 * rest, 0.6 * RATE), (4 * rest, 0.36 * RATE)):
            for t in range(28):
                if t0 <= t < t0 + warm:
                    rates[t] = least + (peak - least) * (t - t0) / warm
                elif t0 + warm <= t < t0 + warm + length:
                    rates[t] = cosine((t - t0 - warm) / length, peak, least)
            t0 += warm + length
        return rates
    raise KeyError(schedule)


def plateau_by_hand(dice: list[float], rate: float, factor: float, patience: int, interval: int = 1) -> list[float]:
    """The rate of each epoch: times ``factor`` once more than ``patience`` validations have brought nothing."""
    best, bad, rates = float("-inf"), 0, []
    for value in dice:
        rates += [rate] * interval
        best, bad = (value, 0) if value > best + 1e-4 else (best, bad + 1)
        if bad > patience:
            rate, bad = rate * factor, 0
    return rates


@pytest.mark.parametrize("schedule", [None, *(name for name in SCHEDULES if name != "plateau")])
def test_the_optimiser_takes_the_rates_of_the_formula_after_a_kill_and_with_more_epochs_too(
    small_dataset: Path, tmp_path: Path, schedule: str | None
) -> None:
    """A run planned for five epochs and killed after three, resumed to seven, goes on as if planned for seven."""
    whole = run_schedule(schedule, small_dataset, tmp_path / "whole", **options(schedule))
    assert whole.rates == pytest.approx(reference(schedule), rel=1e-9, abs=1e-12)
    killed = run_schedule(schedule, small_dataset, tmp_path / "parts", kill_after=3, **options(schedule, epochs=5))
    assert len(killed.rates) == 3 * STEPS
    resumed = run_schedule(schedule, small_dataset, tmp_path / "parts", **options(schedule, resume=True))
    assert resumed.rates == whole.rates[3 * STEPS :]


@pytest.mark.parametrize("interval", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_plateau_lowers_the_rate_after_validations_alone_and_survives_a_kill(
    small_dataset: Path, tmp_path: Path, interval: int
) -> None:
    epochs = 12 * interval
    chosen = options("plateau", epochs=epochs, val_interval=interval, plateau_patience=1, learning_rate=0.05)
    # From masks that are empty, over some that are too large, to ones that stay.
    chosen |= {"output_bias": -6.0, "threshold": 0.1}
    whole = run_schedule("plateau", small_dataset, tmp_path / "whole", **chosen)
    assert len(whole.dice) == 12
    expected = plateau_by_hand(whole.dice, 0.05, 0.3, 1, interval)
    assert whole.rates[::STEPS] == pytest.approx(expected, rel=1e-12)
    assert [whole.rates[i * STEPS : (i + 1) * STEPS] for i in range(epochs)] == [
        [rate] * STEPS for rate in whole.rates[::STEPS]
    ]
    assert min(expected) < 0.05
    assert max(whole.dice[1:]) > whole.dice[0] + 1e-4
    # A kill while bad validations are counted: the best one and their number must be put back.
    after = next(k for k in range(1, 12) if whole.dice[k] <= max(whole.dice[:k])) + 1
    parts = [
        run_schedule("plateau", small_dataset, tmp_path / "parts", kill_after=after * interval, **chosen),
        run_schedule("plateau", small_dataset, tmp_path / "parts", resume=True, **chosen),
    ]
    assert [value for part in parts for value in part.dice] == whole.dice
    assert [rate for part in parts for rate in part.rates] == whole.rates


def test_a_schedule_of_cosines_may_step_by_epochs(small_dataset: Path, tmp_path: Path) -> None:
    run = run_schedule("cosine", small_dataset, tmp_path, **options("cosine", schedule_step="epoch"))
    expected = [cosine(epoch / EPOCHS, RATE) for epoch in range(EPOCHS) for _ in range(STEPS)]
    assert run.rates == pytest.approx(expected, rel=1e-9)


def test_two_ranks_lower_the_rate_together(small_dataset: Path, tmp_path: Path) -> None:
    """The two images of validation lie on different ranks; both ranks must see the mean of both."""
    told = tmp_path / "told.json"
    told.write_text(
        json.dumps(
            {
                "+finalize": [
                    "$print(f\"rank {@rank}: {[@validate#evaluator.state.metrics['val_mean_dice'], "
                    "@lr_scheduler.best, @lr_scheduler.num_bad_epochs, @optimizer.param_groups[0]['lr']]}\")"
                ]
            }
        )
    )
    arguments = SMALL | {
        "dataset_dir": small_dataset,
        "output_dir": tmp_path / "run",
        "epochs": 6,
        "learning_rate": 0.05,
        "output_bias": -6.0,
        "threshold": 0.02,
    }
    result = run_ranks(
        *("training", "--plateau_patience", "0", "--config_file"),
        config_files("train.json", "schedule_plateau.json", str(told), "multi_gpu_train.json"),
        *(text for key, value in arguments.items() for text in (f"--{key}", str(value))),
    )
    assert result.returncode == 0, result.stderr[-2000:]
    lines = [line.partition(": ")[2] for line in sorted(result.stdout.splitlines()) if line.startswith("rank ")]
    assert len(lines) == 2
    assert lines[0] == lines[1]
    dice, best, _, rate = json.loads(lines[0])
    assert rate < 0.05
    assert best >= dice > 0


@pytest.mark.parametrize(
    ("growth", "warm_up", "decay", "least"), [(1.0, 0.0, 1.0, 0.0), (1.5, 3.0, 0.5, 0.01), (2.0, 2.5, 0.9, 0.3)]
)
def test_warm_up_restarts_by_running_through_the_cycles(
    growth: float, warm_up: float, decay: float, least: float
) -> None:
    """Two groups of parameters; a peak never falls below the least rate."""
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [p], "lr": rate} for p, rate in zip(parameters, (1.0, 0.2), strict=True)])
    schedule = CosineAnnealingWarmUpRestarts(optimizer, 10, growth, warm_up, decay, least)
    begun, length, cycle = 0.0, 10 - warm_up, 0
    for t in range(120):
        if t >= begun + warm_up + length:
            begun, length, cycle = begun + warm_up + length, length * growth, cycle + 1
        for group, base in zip(optimizer.param_groups, (1.0, 0.2), strict=True):
            peak = max(base * decay**cycle, least)
            into = t - begun
            rising = into < warm_up
            expected = (
                least + (peak - least) * into / warm_up if rising else cosine((into - warm_up) / length, peak, least)
            )
            assert group["lr"] == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        schedule.step()
    assert cycle > 2


def test_warm_up_restarts_go_on_from_their_state() -> None:
    def made() -> CosineAnnealingWarmUpRestarts:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return CosineAnnealingWarmUpRestarts(optimizer, 6, 2, 2, 0.5)

    first, second = made(), made()
    for _ in range(11):
        first.optimizer.step()
        first.step()
    second.load_state_dict(first.state_dict())
    for schedule in (first, second):
        schedule.optimizer.step()
        schedule.step()
    assert first.get_last_lr() == second.get_last_lr()


@pytest.mark.parametrize("arguments", [{"warm_up": 10.0}, {"growth": 0.5}, {"decay": 0.0}, {"decay": 1.5}])
def test_warm_up_restarts_that_can_not_be_are_refused(arguments: dict[str, float]) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match="expected a"):
        CosineAnnealingWarmUpRestarts(optimizer, 10, **arguments)


@pytest.mark.parametrize(("cycles", "growth", "warm_up"), [(3, 2, 0.0), (4, 1, 1.5), (3, 3, 0.5), (1, 2, 2.0)])
def test_the_cycles_fill_a_run(cycles: int, growth: int, warm_up: float) -> None:
    length, total = first_cycle(50, cycles, growth, warm_up), 0.0
    for _ in range(cycles):
        total += length
        length = (length - warm_up) * growth + warm_up
    assert total == pytest.approx(50)


REFUSED = {
    "a milestone beyond the run": ("multistep", {"milestones": [2, 9]}, r"--milestones \[2, 9\]: .*1 to 6"),
    "a milestone at its end": ("multistep", {"milestones": [7]}, "from 1 to 6"),
    "milestones out of order": ("multistep", {"milestones": [4, 2]}, "ascending whole numbers from 1 to 6"),
    "milestones that are no list": ("multistep", {"milestones": 3}, "--milestones 3: expected ascending"),
    "a warm-up where there is none": ("cosine", {"warmup": 0.1}, r"--warmup: schedule_cosine\.json has no warm-up"),
    "a least rate above the rate": (
        "cosine",
        {"least_rate": 0.5},
        r"--least_rate 0\.5: .*below --learning_rate 0\.004",
    ),
    "a cycle longer than the run": ("cosine_restarts", {"first_cycle": 8}, r"--first_cycle 8\.0: .*the 7 epochs"),
    "no cycle": ("warmup_restarts", {"cycles": 0}, "--cycles 0: expected a whole number, at least 1"),
    "a growth in part": ("cosine_restarts", {"cycle_growth": 1.5}, r"--cycle_growth 1\.5: expected a whole number"),
    "a warm-up as long as its cycle": ("warmup_restarts", {"first_cycle": 2, "cycle_warmup": 2}, "--cycle_warmup 2: "),
    "a peak that grows": ("warmup_restarts", {"peak_decay": 1.1}, r"--peak_decay 1\.1: expected a number, 0\.01 to 1"),
    "a rate that stays": ("plateau", {"lr_decay": 1}, r"--lr_decay 1: expected a number, 0\.001 to 0\.99"),
    "a plateau that outlasts training": ("plateau", {"plateau_patience": 20}, "after 20 validations"),
    "a plateau by epochs": ("plateau", {"schedule_step": "epoch"}, "ReduceLROnPlateau takes validation"),
    "milestones by steps": (
        "multistep",
        {"schedule_step": "iteration"},
        "--schedule_step: milestones are epochs",
    ),
    "a metric for a cosine": (None, {"schedule_step": "validation"}, "WarmupCosineSchedule takes iteration or epoch"),
}


@pytest.mark.parametrize(("schedule", "wrong", "message"), REFUSED.values(), ids=REFUSED)
def test_options_that_can_not_be_are_refused_in_a_line(
    small_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    schedule: str | None,
    wrong: dict[str, Any],
    message: str,
) -> None:
    names = ["train.json", *([f"schedule_{schedule}.json"] if schedule else [])]
    arguments = SMALL | {"dataset_dir": str(small_dataset), "output_dir": str(tmp_path / "run")} | options(schedule)
    with pytest.raises(SystemExit) as exit_:
        run_here(*names, run_id="training", **arguments | wrong)
    assert exit_.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--")]
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 2, 3, 12, 40])
def test_what_an_overlay_chooses_fits_runs_of_any_length(schedule: str, epochs: int) -> None:
    """Its options are such as can be, without one of the user's."""
    files = [str(CONFIGS / name) for name in ("train.json", f"schedule_{schedule}.json")]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    parser.update({"epochs": epochs, "val_interval": 1})
    names = (name for name in Options.model_fields if name in parser)
    read = checked_values(Options, {name: parser.get_parsed_content(name) for name in names})
    assert read.epochs == epochs
