"""Bones that are not known in an image reach neither loss nor metric, from the datalist to the figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss
from monai.transforms import Compose

from handseg_monai.bitplanes import pack
from handseg_monai.bones import ALL_KNOWN, INDEX, NAMES, NUM_BONES
from handseg_monai.data import training_datalist
from handseg_monai.data.dataset import RadiographDataset, prepare_planes
from handseg_monai.data.labels import convert
from handseg_monai.handlers.planes_dice import PlanesDice
from handseg_monai.losses import PerBoneLoss
from handseg_monai.rle import read_csv
from handseg_monai.score.dice import known_bones
from handseg_monai.score.evaluation import evaluate
from handseg_monai.score.tables import write_evaluation
from handseg_monai.transforms import LoadBonePlanesd, LoadRadiographd
from tests.bundle_runs import run_here, tiny
from tests.label_forms import SHAPE, planes_of, write_images, write_masks

WRIST = NAMES[19:]
KNOWN = sum(1 << INDEX[name] for name in WRIST)


pytestmark = pytest.mark.usefixtures("restore_globals")


@pytest.fixture(scope="module")
def wrists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six converted images of which only the wrist is labelled, one of them without the ulna."""
    root = tmp_path_factory.mktemp("wrists")
    labels = {p: {name: q[name] for name in WRIST} for p, q in write_images(root / "images").items()}
    del next(iter(labels.values()))["Ulna"]
    write_masks(root / "masks", labels)
    convert("masks", root / "masks", root / "images", root / "data")
    return root


def test_a_target_says_which_bones_are_known_and_the_loss_leaves_the_others_alone(wrists: Path) -> None:
    items = [i for part in training_datalist(wrists / "data", num_folds=3).values() for i in part]
    dataset = RadiographDataset(items, Compose([LoadRadiographd("image"), LoadBonePlanesd("label")]))
    samples = [dataset[i] for i in range(len(items))]
    batch = {key: torch.stack([s[key] for s in samples]) for key in ("image", "label", "known")}
    image, (planes, known) = prepare_planes(batch, torch.device("cpu"))
    assert image.isfinite().all()
    assert torch.equal(planes, batch["label"])
    assert known.dtype == torch.int32
    assert known.tolist() == [item["known"] for item in items]
    ulna = [bool(item["known"] >> INDEX["Ulna"] & 1) for item in items]
    assert sorted(ulna) == [False, True, True, True, True, True]
    logits = torch.zeros(6, NUM_BONES, *SHAPE, requires_grad=True)
    PerBoneLoss(DiceCELoss(sigmoid=True))(logits, (planes, known)).backward()
    learnt = (logits.grad != 0).any(dim=(2, 3))
    assert learnt.tolist() == [[bool(item["known"] >> k & 1) for k in range(NUM_BONES)] for item in items]


def test_labels_of_the_competition_are_known_whole(drawn_dataset: Path) -> None:
    items = training_datalist(drawn_dataset)["training"]
    assert all("known" not in item for item in items)
    sample = Compose([LoadRadiographd("image"), LoadBonePlanesd("label")])(items[0])
    assert int(sample["known"]) == ALL_KNOWN


def _dice_by_hand(prediction: np.ndarray, truth: np.ndarray) -> float:
    both = sum(bool(p and t) for p, t in zip(prediction.ravel(), truth.ravel(), strict=True))
    total = int(prediction.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2 * both / total


def test_dice_is_the_mean_over_known_images_and_bones() -> None:
    """Images of several sizes; some bones absent, some predicted where nobody has labelled them."""
    rng = np.random.default_rng(0)
    known = [ALL_KNOWN, 0b1011, 1 << 28]
    masks = []
    for shape in ((7, 5), (4, 9), (6, 6)):
        pair = rng.random((2, NUM_BONES, *shape)) < 0.3
        pair[1, ::4] = False
        masks.append(pair)
    prediction, truth = ([torch.from_numpy(pack(pair[i]))[None] for pair in masks] for i in (0, 1))
    metric = PlanesDice()
    metric(prediction[:1], truth[:1], known=known[:1])
    metric(prediction[1:], truth[1:], known=[torch.tensor(k, dtype=torch.int32) for k in known[1:]])
    expected = [
        _dice_by_hand(pair[0, k], pair[1, k])
        for bones, pair in zip(known, masks, strict=True)
        for k in range(NUM_BONES)
        if bones >> k & 1
    ]
    assert len(expected) == 29 + 3 + 1
    assert float(metric.aggregate()) == pytest.approx(np.mean(expected), rel=1e-12)
    np.testing.assert_array_equal(metric.get_buffer().isnan(), ~np.stack([known_bones(k) for k in known]))


def test_training_on_wrists_leaves_the_fingers_alone_and_all_figures_agree(wrists: Path, tmp_path: Path) -> None:
    """One epoch on converted labels, then evaluation, inference and ``handseg evaluate``."""
    options = tiny() | {"threshold": 0.45}
    common = {"dataset_dir": str(wrists / "data"), "num_folds": 3, "output_dir": str(tmp_path / "run"), **options}
    run_here("train.json", run_id="training", epochs=1, output_bias=0.0, weight_decay=0.0, **common)
    weights = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["network"]
    biases = [value.view(NUM_BONES, -1) for value in weights.values() if value.shape == (4 * NUM_BONES,)]
    assert biases
    for bias in biases:
        taught = (bias != 0).any(dim=1).numpy()
        np.testing.assert_array_equal(taught, known_bones(KNOWN))

    run_here("train.json", "evaluate.json", **common)
    raw = tmp_path / "run" / "evaluation" / "val_mean_dice_raw.csv"
    by_image = np.genfromtxt(raw, delimiter=",", skip_header=1)[:, 1:30]
    assert by_image.shape == (2, NUM_BONES)
    metrics = (tmp_path / "run" / "evaluation" / "metrics.csv").read_text().split()

    run_here(
        "inference.json",
        **(tiny(inference=True) | {"threshold": 0.45}),
        dataset_dir=str(wrists / "images"),
        output_dir=str(tmp_path / "out"),
        checkpoint=str(tmp_path / "run" / "model.pt"),
    )
    assert len(read_csv(tmp_path / "out" / "submission.csv")) == 6
    result = evaluate(tmp_path / "out" / "submission.csv", wrists / "data")
    validation = training_datalist(wrists / "data", num_folds=3)["validation"]
    rows = [result.names.index(item["name"]) for item in validation]
    np.testing.assert_array_equal(np.isnan(result.dice), ~result.known)
    np.testing.assert_array_equal(result.known[rows], [known_bones(item["known"]) for item in validation])
    np.testing.assert_allclose(by_image, result.dice[rows], atol=1e-4)
    assert 0 < np.nanmean(result.dice[rows]) < 1
    assert float(metrics[-1].split(",")[-1]) == pytest.approx(np.nanmean(result.dice[rows]), abs=1e-6)
    assert result.predicted[:, 0].any(), "fingers that nobody has labelled are found somewhere"
    assert result.of_bones()[0]["false_positives"] == 0
    write_evaluation(result, tmp_path / "figures")
    assert json.loads((tmp_path / "figures" / "evaluation.json").read_text())["unknown"] == 6 * 19 + 1


def test_planes_of_unknown_bones_are_empty(wrists: Path) -> None:
    for items in training_datalist(wrists / "data", num_folds=3).values():
        for item in items:
            sample = Compose([LoadRadiographd("image"), LoadBonePlanesd("label")])(item)
            polygons = dict(zip(write_images(wrists / "images"), write_images(wrists / "images").values(), strict=True))
            truth = planes_of(polygons[Path(item["image"])]) & item["known"]
            np.testing.assert_array_equal(sample["label"][0].numpy(), truth)
