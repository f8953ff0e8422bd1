"""TensorBoard shows the Dice of each bone, and precision and recall over thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
from torch.utils.tensorboard import SummaryWriter

from handseg_monai.bones import BONES, NUM_BONES
from handseg_monai.data.dataset import prepare_sized
from handseg_monai.handlers import TensorBoardPrecisionRecall
from handseg_monai.inferers import PlanesInferer
from tests.bundle_runs import run_here, tiny

pytestmark = pytest.mark.usefixtures("restore_globals")


def log_of(folder: Path) -> EventAccumulator:
    log = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    log.Reload()
    return log


def test_curves_are_those_of_all_pixels_and_images_of_the_known_bones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shape, known = (16, 12), [(1 << 29) - 1, (1 << 29) - 1 - (1 << 4)]
    logits = [rng.normal(0, 2, (NUM_BONES, *shape)).astype(np.float32) for _ in range(2)]
    truths = [rng.random((NUM_BONES, *shape)) < 0.3 for _ in range(2)]
    planes = [sum(truth[k].astype(np.int32) << np.int32(k) for k in range(NUM_BONES)) for truth in truths]
    writer = SummaryWriter(str(tmp_path))
    images = [
        {"image": torch.zeros(1, *shape), "label": torch.from_numpy(p[None]), "number": i, "known": known[i]}
        for i, p in enumerate(planes)
    ]

    class Seeing(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(logits[evaluator.state.batch["number"][0]])[None]

    evaluator = SupervisedEvaluator(
        torch.device("cpu"),
        DataLoader(images, batch_size=1),
        Seeing(),
        prepare_batch=prepare_sized,
        inferer=PlanesInferer(SimpleInferer(), enabled=False),
        val_handlers=[TensorBoardPrecisionRecall(writer, interval=2, long_side=16, thresholds=11)],
    )
    for _ in range(3):
        evaluator.run()
    writer.close()
    log = log_of(tmp_path)
    assert len(log.Tags()["tensors"]) == NUM_BONES + 1
    for bones, name in (([4], BONES[4].english), ([9], BONES[9].english), (range(NUM_BONES), "all bones")):
        events = log.Tensors(f"precision and recall/{name}")
        assert len(events) == 2  # of three validations the first and the third
        curve = make_ndarray(events[0].tensor_proto)
        for i in range(11):
            tp = fp = tn = fn = 0
            for number in range(2):
                for bone in bones:
                    if not known[number] >> bone & 1:
                        continue
                    predicted = 1 / (1 + np.exp(-logits[number][bone].astype(np.float64))) >= i / 10
                    truth = truths[number][bone]
                    tp, fp = tp + (predicted & truth).sum(), fp + (predicted & ~truth).sum()
                    tn, fn = tn + (~predicted & ~truth).sum(), fn + (~predicted & truth).sum()
            expected = [tp, fp, tn, fn, tp / max(tp + fp, 1), tp / (tp + fn)]
            assert curve[:, i].tolist() == pytest.approx(expected), (name, i)


@pytest.mark.parametrize(("interval", "asked"), [(0, [False] * 3), (1, [True] * 3), (2, [True, False, True])])
def test_probabilities_are_computed_for_validations_with_curves_alone(
    tmp_path: Path, interval: int, asked: list[bool]
) -> None:
    images = [{"image": torch.zeros(1, 16, 12), "label": torch.zeros(1, 16, 12, dtype=torch.int32)}]
    evaluator = SupervisedEvaluator(
        torch.device("cpu"),
        DataLoader(images, batch_size=1),
        torch.nn.Conv2d(1, NUM_BONES, 1),
        prepare_batch=prepare_sized,
        inferer=PlanesInferer(SimpleInferer(), enabled=False),
        val_handlers=[TensorBoardPrecisionRecall(None, interval=interval)],
    )
    found = []
    for _ in asked:
        evaluator.run()
        found.append("probabilities" in evaluator.state.output[0])
    assert found == asked


def test_a_run_logs_each_bone(drawn_dataset: Path, tmp_path: Path) -> None:
    options = tiny() | {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path), "epochs": 2, "patience": 1}
    run_here("train.json", run_id="training", output_bias=0.0, threshold=0.45, **options)
    log = log_of(tmp_path / "tensorboard")
    tags = [f"val_dice/{bone.english}" for bone in BONES]
    assert {*tags, "learning_rate", "train_loss"} <= set(log.Tags()["scalars"])
    means = np.mean([[event.value for event in log.Scalars(tag)] for tag in tags], axis=0)
    assert means.tolist() == pytest.approx([event.value for event in log.Scalars("val_mean_dice")], abs=1e-6)
    assert [event.step for event in log.Scalars(tags[0])] == [1, 2]
    events = log.Tensors("precision and recall/all bones")
    assert [event.step for event in events] == [1, 2]
    # Two images of 96 x 72, as long as the grid is 256.
    assert make_ndarray(events[0].tensor_proto)[:4, 0].sum() == 2 * NUM_BONES * 256 * 192
