"""The bundle is complete, and each network goes from training to a CSV through it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import monai.bundle
import monai.data
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from handseg_monai.bones import NAMES, NUM_BONES
from handseg_monai.data import training_datalist
from handseg_monai.data.reading.images import read_radiograph
from handseg_monai.rle import decode, read_csv
from handseg_monai.score.evaluation import evaluate
from tests.bundle_runs import CONFIGS, NETWORKS, TINY, run_bundle, run_here, save_untrained, tiny

pytestmark = pytest.mark.usefixtures("restore_globals")


@pytest.fixture(scope="module")
def partly_absent(drawn_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn data set, each label without five bones, among them one that every image lacks."""
    root = tmp_path_factory.mktemp("partly_absent")
    shutil.copytree(drawn_dataset, root, dirs_exist_ok=True)
    for i, path in enumerate(sorted(root.rglob("*.json"))):
        content = json.loads(path.read_text())
        gone = {NAMES[28], *(NAMES[(7 * i + j) % 28] for j in range(4))}
        content["annotations"] = [a for a in content["annotations"] if a["label"] not in gone]
        path.write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("network", NETWORKS)
def test_one_epoch_of_each_network_then_evaluate_infer_and_csv_agree(
    partly_absent: Path, tmp_path: Path, network: str
) -> None:
    common = {"dataset_dir": str(partly_absent), "fold": 2}
    run_dir = str(tmp_path / "run")
    # With a bias of 0 and a low threshold the masks of one epoch are not empty.
    settings = tiny(network) | {"threshold": 0.45}
    run_here(
        "train.json",
        *NETWORKS[network],
        run_id="training",
        epochs=1,
        output_bias=0.0,
        output_dir=run_dir,
        **common,
        **settings,
    )
    _silence_every_third_bone(tmp_path / "run" / "model.pt")
    run_here("train.json", *NETWORKS[network], "evaluate.json", output_dir=run_dir, **common, **settings)
    metrics = (tmp_path / "run" / "evaluation" / "metrics.csv").read_text().split()
    raw = np.genfromtxt(tmp_path / "run" / "evaluation" / "val_mean_dice_raw.csv", delimiter=",", skip_header=1)[
        :, 1:30
    ]

    run_here(
        *("inference.json", *NETWORKS[network]),
        dataset_dir=str(partly_absent / "train" / "DCM"),
        output_dir=str(tmp_path / "out"),
        checkpoint=f"{run_dir}/model.pt",
        **(tiny(network, inference=True) | {"threshold": 0.45}),
    )
    texts = read_csv(tmp_path / "out" / "submission.csv")
    assert len(texts) == 10
    assert all(len(t) == NUM_BONES and None not in t for t in texts.values())
    result = evaluate(tmp_path / "out" / "submission.csv", partly_absent)
    assert 0.3 < (result.predicted > 0).mean() < 0.7
    both_empty = (result.truth == 0) & (result.predicted == 0)
    assert both_empty.sum() > 5
    assert (result.dice[both_empty] == 1).all()

    fold = json.loads((CONFIGS / "train.json").read_text())
    names = [i["name"] for i in training_datalist(partly_absent, 2, fold["num_folds"], fold["seed"])["validation"]]
    of_csv = np.array([result.dice[result.names.index(name)] for name in names])
    assert np.abs(raw - of_csv).max() < 1e-4  # the file holds four digits
    assert float(metrics[-1].split(",")[-1]) == pytest.approx(of_csv.mean(), abs=1e-6)


def _silence_every_third_bone(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    # A head gives one channel a bone, or one for each of the four pixels of a block.
    heads = [value for value in content["network"].values() if value.shape in {(NUM_BONES,), (4 * NUM_BONES,)}]
    assert heads
    for bias in heads:
        bias.view(NUM_BONES, -1)[::3] = -100
    torch.save(content, checkpoint)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_network_takes_and_gives_what_the_metadata_says(network: str) -> None:
    monai.bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=[str(CONFIGS / name) for name in ["inference.json", *NETWORKS[network]]],
        device="cpu",
        p=1,
        n=1,
        any=1,
    )


@pytest.mark.parametrize(
    ("workflow", "names"),
    [("train", ["train.json"]), ("train", ["train.json", "evaluate.json"]), ("infer", ["inference.json"])],
    ids=["train", "evaluate", "inference"],
)
def test_no_property_of_the_bundle_is_missing(
    drawn_dataset: Path, tmp_path: Path, workflow: str, names: list[str]
) -> None:
    options = tiny(inference=workflow == "infer") | {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path)}
    if names != ["train.json"]:
        options["checkpoint"] = str(save_untrained(tmp_path / "model.pt", "dynunet"))
    bundle = ConfigWorkflow([str(CONFIGS / name) for name in names], workflow_type=workflow, **options)
    bundle.initialize()
    assert bundle.check_properties() == []


def test_metadata_names_the_bones_in_channel_order() -> None:
    outputs = json.loads((CONFIGS / "metadata.json").read_text())["network_data_format"]["outputs"]["pred"]
    assert list(outputs["channel_def"].values()) == list(NAMES)
    assert [int(key) for key in outputs["channel_def"]] == list(range(NUM_BONES))


def test_training_and_inference_prepare_images_alike() -> None:
    train, infer = (json.loads((CONFIGS / name).read_text()) for name in ("train.json", "inference.json"))
    steps = infer["preprocessing"]["transforms"]
    assert train["train"]["preprocessing"]["transforms"][1] == steps[1] == "@intensity"
    assert steps[0].pop("any_body_part") == "@any_body_part"  # which labels have answered in training
    del steps[0]["picture_side"]
    assert infer["inferer"].pop("hands") == "@hands"  # a label is of one hand
    assert train["validate"]["preprocessing"]["transforms"][:2] == steps
    assert infer["network"] == f"$run.checked(networks.on_backend, {train['network'][1:]}, @backend)"
    # Where results go, how a checkpoint says that it saw images, what computes the network, and the run itself.
    own = {"imports", "output_dir", "checkpoint", "views", "size", "window", "datalist", "network"}
    own |= {"follow", "initialize", "evaluating", "run", "finalize"}
    shared = train.keys() & infer.keys() - own
    assert len(shared) >= 30
    for key in shared:
        assert train[key] == infer[key], key
    assert train["validate"]["inferer"] == infer["inferer"]
    assert train["validate"]["postprocessing"] == infer["postprocessing"]


def test_convolutions_of_a_training_run_see_bfloat16_on_the_cpu(drawn_dataset: Path, tmp_path: Path) -> None:
    seen = set()
    options = tiny() | {"dataset_dir": str(drawn_dataset), "output_dir": str(tmp_path), "epochs": 1}
    bundle = ConfigWorkflow([str(CONFIGS / "train.json")], device="$torch.device('cpu')", **options)
    bundle.initialize()
    for module in bundle.network_def.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _m, _i, output: seen.add(output.dtype))
    losses = []
    bundle.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output["loss"].dtype))
    bundle.run()
    assert seen == {torch.bfloat16}
    assert set(losses) == {torch.float32}


def test_masks_lie_where_the_radiograph_shows_them(tmp_path: Path, drawn_dataset: Path) -> None:
    """From a file that is not square to the CSV and back, through the whole inference configuration.

    The network is a single 1 x 1 convolution: bone 0 is where the prepared image is above one half.
    """
    net = torch.nn.Conv2d(1, NUM_BONES, 1)
    with torch.no_grad():
        net.weight.fill_(0.0)
        net.bias.fill_(-1.0)
        net.weight[0], net.bias[0] = 100.0, -50.0
    torch.save({"network": net.state_dict(), "network_name": "threshold"}, tmp_path / "model.pt")
    run_here(
        "inference.json",
        dataset_dir=str(drawn_dataset / "train" / "DCM"),
        output_dir=str(tmp_path),
        checkpoint=str(tmp_path / "model.pt"),
        network_name="threshold",
        network_def={"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": NUM_BONES, "kernel_size": 1},
        size="$None",
        window=128,
        amp=False,
        least_piece=0.0,
        least_carpal_piece=0.0,
        most_covered=1.0,
        least_bone=0.0,
        most_apart=0.0,
        most_hole=0.0,
        num_workers=0,
    )
    paths = sorted((drawn_dataset / "train" / "DCM").rglob("*.png"))
    texts = read_csv(tmp_path / "submission.csv")
    for path in paths:
        image = read_radiograph(path).astype(np.float64)
        assert image.shape == (96, 72)
        low, high = np.percentile(image, (0.5, 99.5))
        found = decode(texts[path.name][0], image.shape)
        expected = (image - low) / (high - low) > 0.5
        assert 0.1 < expected.mean() < 0.9
        assert (found != expected).mean() < 0.002
        assert texts[path.name][1:] == [""] * 28
    assert len(list((tmp_path / "overlays").glob("*.jpg"))) == len(paths)


def test_the_commands_of_the_readme_run_as_written(drawn_dataset: Path, tmp_path: Path) -> None:
    """From a folder that holds ``bundle``, with defaults but for what makes the run small."""
    shutil.copytree(CONFIGS.parent, tmp_path / "bundle")
    train, evaluate_, infer = (
        "bundle/configs/train.json",
        "bundle/configs/evaluate.json",
        "bundle/configs/inference.json",
    )
    images = drawn_dataset / "train" / "DCM" / "ID001"
    faint = ["--threshold", "0.001"]  # a network of one epoch is sure of no bone
    for arguments, expected in (
        (["training", "--config_file", train, "--dataset_dir", str(drawn_dataset), "--epochs", "1"], "best score"),
        (["--config_file", f"['{train}','{evaluate_}']", "--dataset_dir", str(drawn_dataset)], "of 2 images, fold 0"),
        (["--config_file", infer, "--dataset_dir", str(images), "--output_dir", "OUT", *faint], "2 of 2 images"),
        (["training", "--config_file", train, "--dataset_dir", str(drawn_dataset), "--epochs", "1"], "earlier run"),
    ):
        result = run_bundle(*arguments, *TINY, cwd=tmp_path)
        assert result.returncode == 0, result.stderr[-2000:]
        assert expected in result.stdout
    assert len((tmp_path / "OUT" / "submission.csv").read_text().splitlines()) == 1 + 2 * 29
    events = list((tmp_path / "runs" / "train" / "tensorboard").iterdir())
    assert len(events) == 1
    _expect_scalars_and_overlays(events[0])


def _log(events: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(events))
    log.Reload()
    return log


def _expect_scalars_and_overlays(events: Path) -> None:
    log = _log(events)
    assert {"train_loss", "learning_rate", "val_mean_dice"} <= set(log.Tags()["scalars"])
    assert log.Tags()["images"] == ["prediction and truth/0", "prediction and truth/1"]
