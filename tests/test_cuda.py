"""Training and inference on a GPU, as far as a machine without one can tell: see :mod:`tests.device`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow

from handseg_monai import bundle_root
from handseg_monai.checkpoints import Checkpoint
from handseg_monai.inferers import AutocastInferer
from handseg_monai.run.ranks import join_ranks
from tests.bundle_runs import CONFIGS, run_here
from tests.conftest import write_drawn_dataset
from tests.device import DEVICE, cuda
from tests.schedule_runs import SCHEDULES
from tests.schedule_runs import SMALL as CONVOLUTION
from tests.test_network_overlays import LARGE, SMALL

pytestmark = [
    pytest.mark.usefixtures("restore_globals"),
    pytest.mark.filterwarnings("ignore:.torch.cuda.amp.GradScaler:FutureWarning"),  # MONAI's
]

On = Callable[[], AbstractContextManager[Any]]
LOSSES = sorted(path.name for path in CONFIGS.glob("loss_*.json"))
RUN: dict[str, Any] = {
    "views": "image",
    "size": 64,
    "window": 64,
    "num_workers": 0,
    "num_folds": 2,
    "epochs": 1,
    "output_bias": 0.0,
    "cache_rate": 0.0,
}
QUICK = ("cosine", "plateau")
"""Schedules that step with the optimiser and with validations; the others step with the optimiser or with epochs."""
ONE_CONVOLUTION = CONVOLUTION | {"amp": True}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects, four images of 60 x 48 pixels."""
    return write_drawn_dataset(tmp_path_factory.mktemp("four"), subjects=2, shape=(60, 48))


def train(data: Path, out: Path, *files: str, on: On = cuda, last: int = 0, at_end: Any = None, **options: Any) -> Any:
    """Train on the device as ``monai.bundle run`` does, to the ``last`` epoch or all, and return the losses."""
    losses: list[float] = []
    with on():
        options = RUN | {"dataset_dir": str(data), "output_dir": str(out)} | options
        bundle = ConfigWorkflow([str(CONFIGS / name) for name in ("train.json", *files)], **options)
        bundle.initialize()
        trainer = bundle.trainer
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output["loss"].item()))
        if last:
            trainer.add_event_handler(Events.EPOCH_COMPLETED(once=last), lambda engine: engine.terminate())
        bundle.run()
        bundle.finalize()
        if on is cuda:
            assert {parameter.device for parameter in trainer.network.parameters()} == {DEVICE}
        if at_end is not None:
            at_end(bundle)
    assert torch.tensor(losses).isfinite().all()
    return losses


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint as those do that know nothing of devices, such as MONAI's ``ckpt_export``."""
    content = torch.load(path, weights_only=True)
    assert isinstance(content, dict)
    return content


class Product(torch.nn.Module):
    """A loss by a matrix product, which autocast would round to float16."""

    def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        product = logits.flatten(1) @ masks.flatten(1).T
        assert product.dtype == torch.float32
        return product.mean()


class TestTraining:
    @pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.networks) for name in LARGE)])
    def test_every_network_trains_and_is_validated(
        self, name: str, four: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
    ) -> None:
        """What it gives in float16 is what it gives in float32; a first step that overflows is no fault."""

        def compare(bundle: Any) -> None:
            network, infer = bundle.trainer.network.eval(), bundle.parser.get_parsed_content("train#inferer")
            assert isinstance(infer, AutocastInferer)
            image = torch.rand(1, 1, 64, 64).to(DEVICE)
            with torch.no_grad():
                half, whole = infer(image, network), network(image)
            assert half.dtype == torch.float32
            assert float((half - whole).abs().max()) <= 0.05 * float(whole.abs().max())

        train(four, tmp_path, f"network_{name}.json", **(SMALL | LARGE)[name], encoder_weights=None, at_end=compare)
        assert Checkpoint.read(tmp_path / "model.pt").network_name == name
        assert not [warning for warning in recwarn if "lr_scheduler.step" in str(warning.message)]

    @pytest.mark.parametrize("loss", LOSSES)
    def test_every_loss_trains(self, loss: str, four: Path, tmp_path: Path) -> None:
        train(four, tmp_path, loss, **ONE_CONVOLUTION, bone_weights={"Pisiform": 2}, loss_stride=2)

    def test_losses_are_taken_in_float32(self, four: Path, tmp_path: Path) -> None:
        train(four, tmp_path, **ONE_CONVOLUTION, **{"loss#loss#loss": {"_target_": f"{__name__}.Product"}})

    def test_the_shipped_weights_are_fine_tuned(self, four: Path, tmp_path: Path) -> None:
        train(four, tmp_path, "finetune.json", size=128, window=128, ema=0.9, views="hand", output_bias=-4.0)
        assert read(tmp_path / "model.pt")["epoch"] == 1

    @pytest.mark.parametrize(
        "schedule", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SCHEDULES]
    )
    def test_a_resumed_run_goes_on_as_if_it_had_not_been_interrupted(
        self, schedule: str, four: Path, tmp_path: Path
    ) -> None:
        """Scale of the loss, optimiser, schedule and average are those of a run in one piece."""
        options = ONE_CONVOLUTION | {"epochs": 3, "accumulate": 2, "batch_size": 1, "ema": 0.9, "patience": 3}
        options["val_interval"] = 1 if schedule == "plateau" else 3
        file = f"schedule_{schedule}.json"
        whole = train(four, tmp_path / "whole", file, **options)
        parts = train(four, tmp_path / "parts", file, last=1, **options)
        assert read(tmp_path / "parts" / "last.pt")["states"]["scaler"]["_growth_tracker"] == 1
        parts += train(four, tmp_path / "parts", file, resume=True, **options)
        assert parts == whole
        one, other = (read(tmp_path / name / "last.pt") for name in ("whole", "parts"))
        assert one["states"]["scaler"] == other["states"]["scaler"]
        for name, value in one["network"].items():
            assert torch.equal(value, other["network"][name])

    def test_a_run_of_a_gpu_goes_on_without_one_and_back(self, four: Path, tmp_path: Path) -> None:
        options = ONE_CONVOLUTION | {"epochs": 3, "batch_size": 1, "val_interval": 3}
        train(four, tmp_path, last=1, **options)
        train(four, tmp_path, on=nullcontext, resume=True, last=2, **options)
        train(four, tmp_path, resume=True, **options)
        assert read(tmp_path / "last.pt")["epoch"] == 3

    def test_in_float32_it_is_that_of_the_cpu(self, four: Path, tmp_path: Path) -> None:
        options = SMALL["segresnet"] | {"amp": False, "epochs": 2, "accumulate": 2, "batch_size": 1}
        losses = [
            train(four, tmp_path / str(number), "network_segresnet.json", on=on, **options)
            for number, on in enumerate((cuda, nullcontext))
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_over_four_million_pixels_is_that_in_float64(name: str) -> None:
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "train.json"), str(CONFIGS / name)]))
    loss = parser.get_parsed_content("loss").loss.loss  # of one bone
    logits = 8 * torch.rand(1, 1, 2048, 2048) - 6
    masks = (logits + torch.randn(logits.shape) > 0).float()
    whole = loss(logits.double(), masks.double()).item()
    assert loss(logits, masks).item() == pytest.approx(whole, rel=1e-4)


def test_thresholds_are_found(four: Path, tmp_path: Path) -> None:
    train(four, tmp_path, **ONE_CONVOLUTION)
    files, found = ("train.json", "evaluate.json", "thresholds.json"), []
    options = RUN | ONE_CONVOLUTION | {"dataset_dir": str(four), "output_dir": str(tmp_path), "amp": False}
    for number, on in enumerate((cuda, nullcontext)):
        path = tmp_path / f"{number}.json"
        with on():
            run_here(*files, **{**options, "thresholds_file": str(path)})
        found.append(json.loads(path.read_text()))
    assert found[0] == found[1]


class TestRanks:
    def test_each_takes_the_gpu_of_its_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Or the only one that it sees, where each rank is given one of its own."""
        monkeypatch.setenv("LOCAL_RANK", "3")
        for name in ("train", "evaluate", "inference"):
            for count, number in ((4, 3), (1, 0)):
                parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / f"multi_gpu_{name}.json")]))
                parser["imports"] = ["$import os", "$import torch"]
                with cuda(), monkeypatch.context() as seen:
                    seen.setattr(torch.cuda, "device_count", lambda count=count: count)
                    assert parser.get_parsed_content("device") == torch.device("cuda", number)

    def test_the_gpu_is_chosen_before_the_ranks_meet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[object] = []
        monkeypatch.setattr(torch.cuda, "set_device", calls.append)
        monkeypatch.setattr(torch.distributed, "init_process_group", calls.append)
        join_ranks(torch.device("cuda", 3))
        assert calls == [torch.device("cuda", 3), "nccl"]


def test_batches_come_from_pinned_memory_where_there_is_a_gpu() -> None:
    for name, loaders, engines in (
        ("train", ("train#dataloader", "validate#dataloader"), ("train#trainer", "validate#evaluator")),
        ("inference", ("dataloader",), ("evaluator",)),
    ):
        parser = ConfigParser(ConfigParser.load_config_files([str(bundle_root() / "configs" / f"{name}.json")]))
        for loader in loaders:
            for on, pinned in ((cuda, True), (nullcontext, False)):
                with on():
                    parser.parse(reset=True)
                    assert parser.get_parsed_content(f"{loader}#pin_memory") is pinned
        assert all(parser[engine]["non_blocking"] for engine in engines)
