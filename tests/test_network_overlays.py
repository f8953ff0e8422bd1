"""Every network overlay: 29 logits of the image's size, a gradient for all of it, a loss that falls, and its export."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from handseg_monai.bones import NUM_BONES
from handseg_monai.checkpoints import load_members
from handseg_monai.networks import check_packages, set_output_bias
from handseg_monai.rle import read_csv
from tests.bundle_runs import CONFIGS, TINY_RUN, run_bundle
from tests.targets import packed

pytestmark = pytest.mark.usefixtures("restore_globals")

SMALL: dict[str, dict[str, Any]] = {
    "custom": {"network_def#filters": [8, 8, 16, 16, 16]},
    "ducknet": {"network_def#filters": 4},
    "flexible_unet": {},
    "mednext": {"network_def#init_filters": 8},
    "segresnet": {"network_def#init_filters": 8},
    "segresnet_ds": {"network_def#init_filters": 8},
    "swinunetr": {"network_def#feature_size": 12},
    "unet": {"network_def#channels": [8, 8, 16, 16, 16]},
    "unet3plus": {"network_def#filters": [8, 8, 16, 16, 16], "network_def#branch": 8},
}
"""Overrides that make the networks of MONAI and of this project small; all others need torchvision."""

LARGE: dict[str, dict[str, Any]] = {
    "deeplabv3plus": {"encoder": "resnet18"},
    "fcn_resnet50": {},
    "hrnet": {"encoder": "tu-hrnet_w18_small"},
    "manet": {"encoder": "resnet18"},
    "rapunet": {"network_def#filters": 8},
    "segformer": {"encoder": "mit_b0"},
    "unetplusplus": {"encoder": "resnet18"},
    "upernet": {},
    "upernet_convnext": {"encoder": "tu-convnext_atto"},
}
"""The same for those that need torchvision, segmentation_models_pytorch and timm."""

OVERLAYS = [*SMALL, *(pytest.param(name, marks=pytest.mark.networks) for name in LARGE)]
STEPS = 10


def parsed(name: str, base: str = "train.json") -> ConfigParser:
    """Configuration with a small network laid over it."""
    files = [str(CONFIGS / base), str(CONFIGS / f"network_{name}.json")]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    parser.update((SMALL | LARGE)[name])
    return parser


@dataclass
class Trained:
    """A network after a few steps on one image, and what was seen on the way."""

    network: nn.Module
    image: torch.Tensor
    losses: list[float]
    without_gradient: list[str]
    bad_gradient: list[str]


@pytest.fixture(scope="module", params=OVERLAYS)
def trained(request: pytest.FixtureRequest) -> Trained:
    parser = parsed(request.param)
    torch.manual_seed(0)
    network: nn.Module = parser.get_parsed_content("network_def")
    set_output_bias(network, parser["output_bias"])
    loss = parser.get_parsed_content("loss")
    divisor = parser["size_divisor"]
    # One image, as the last batch of an epoch may be; not square; the least height that is let through.
    image = torch.rand(1, 1, max(2 * divisor, 32), max(2 * divisor, 32) + divisor)
    target = torch.zeros(1, NUM_BONES, *image.shape[2:])
    for bone in range(NUM_BONES - 4):  # four are absent
        target[:, bone, bone : bone + 12, bone : bone + 9] = 1
    image = image + target.sum(1, keepdim=True) / 10
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses, moved, bad = [], set(), set()
    network.train()
    for _ in range(STEPS):
        value = loss(network(image), packed(target))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                # A bias before a normalisation has a gradient of zero, all else has one in some step.
                moved |= {name} if parameter.ndim < 2 or bool(parameter.grad.any()) else set()
                bad |= set() if bool(parameter.grad.isfinite().all()) else {name}
    missing = sorted({name for name, _ in network.named_parameters()} - moved)
    return Trained(network.eval(), image, losses, missing, sorted(bad))


def test_all_overlays_are_tested() -> None:
    assert {path.stem[8:] for path in CONFIGS.glob("network_*.json")} == SMALL.keys() | LARGE.keys()


def test_names_are_the_files_and_overlays_hold_top_level_ids_only() -> None:
    for path in CONFIGS.glob("network_*.json"):
        content = json.loads(path.read_text())
        assert content["network_name"] == path.stem[8:]
        assert content["size_divisor"] % 8 == 0
        encoders = {"encoder", "encoder_weights", "pretrained_encoder"}
        assert content.keys() <= {"network_name", "size_divisor", "network_def"} | encoders
        # Only training begins from published weights: the definition itself never asks for any.
        assert '"imagenet"' not in json.dumps(content["network_def"])


def test_logits_have_the_size_of_the_image(trained: Trained) -> None:
    with torch.no_grad():
        logits = trained.network(trained.image)
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (1, NUM_BONES, *trained.image.shape[2:])
    assert logits.isfinite().all()
    assert logits.flatten(2).std(2).min() > 0


def test_every_parameter_has_a_gradient(trained: Trained) -> None:
    assert trained.without_gradient == []
    assert trained.bad_gradient == []


def test_the_loss_falls(trained: Trained) -> None:
    assert trained.losses[-1] < 0.98 * trained.losses[0], trained.losses


def test_its_export_gives_the_same_logits(trained: Trained) -> None:
    exported = torch.export.export(trained.network, (trained.image,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(trained.image), trained.network(trained.image), rtol=1e-4, atol=1e-4)


@pytest.mark.networks
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (224, 224)])
def test_swin_takes_every_size_that_divides_by_32(size: tuple[int, int]) -> None:
    network = parsed("upernet").get_parsed_content("network_def").eval()
    with torch.no_grad():
        assert network(torch.rand(1, 1, *size)).shape == (1, NUM_BONES, *size)


def train_and_infer(data: Path, folder: Path, name: str) -> None:
    """Train and infer with an overlay as a user does, and read what came of it."""
    overlay = str(CONFIGS / f"network_{name}.json")
    options = [
        text
        for key, value in (TINY_RUN | (SMALL | LARGE)[name]).items()
        if key != "overlays"
        for text in (f"--{key}", str(value))
    ]
    run = str(folder / "run")
    result = run_bundle(
        *("training", "--config_file", str([str(CONFIGS / "train.json"), overlay]), "--dataset_dir", str(data)),
        *("--output_dir", run, "--epochs", "1", "--output_bias", "0.0", "--encoder_weights", "none", *options),
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert torch.load(f"{run}/model.pt", weights_only=True)["network_name"] == name
    # A file that is not there does not matter: inference has the checkpoint.
    encoder = ["--encoder_weights", "absent.pt"] if "encoder_weights" in json.loads(Path(overlay).read_text()) else []
    result = run_bundle(
        *("--config_file", str([str(CONFIGS / "inference.json"), overlay]), "--output_dir", str(folder / "out")),
        *("--dataset_dir", str(data / "train" / "DCM" / "ID001"), "--checkpoint", f"{run}/model.pt"),
        *("--overlays", "false", "--threshold", "0.05", *encoder, *options),
    )
    assert result.returncode == 0, result.stderr[-2000:]
    texts = read_csv(folder / "out" / "submission.csv")
    assert len(texts) == 2
    assert all(len(rows) == NUM_BONES and None not in rows for rows in texts.values())
    assert any(row for rows in texts.values() for row in rows)


def test_a_network_of_several_heads_goes_from_training_to_a_csv(drawn_dataset: Path, tmp_path: Path) -> None:
    """MONAI gives MedNeXt's as a tuple, at several resolutions."""
    train_and_infer(drawn_dataset, tmp_path, "mednext")


def test_unet_3_plus_with_its_classifier_goes_from_training_to_a_csv(drawn_dataset: Path, tmp_path: Path) -> None:
    train_and_infer(drawn_dataset, tmp_path, "unet3plus")


@pytest.mark.networks
@pytest.mark.parametrize("name", ["fcn_resnet50", "unetplusplus", "rapunet"])
def test_networks_of_other_libraries_go_from_training_to_a_csv(drawn_dataset: Path, tmp_path: Path, name: str) -> None:
    """A dictionary of torchvision, a network of segmentation_models_pytorch, an encoder of timm below our decoder."""
    train_and_infer(drawn_dataset, tmp_path, name)


def members(folder: Path, names: list[str]) -> list[nn.Module]:
    """Networks of an ensemble from checkpoints of small networks, declared in files."""
    checkpoints, files = [], []
    for name in names:
        parser = parsed(name, "inference.json")
        network = parser.get_parsed_content("network_def")
        torch.save({"network": network.state_dict(), "network_name": name}, folder / f"{name}.pt")
        checkpoints.append(folder / f"{name}.pt")
        overlay = {key: parser[key] for key in ("network_name", "network_def")}
        overlay |= {"encoder": parser["encoder"]} if "encoder" in parser else {}
        (folder / f"{name}.json").write_text(json.dumps(overlay))
        files.append(folder / f"{name}.json")
    return [member.network for member in load_members(checkpoints, CONFIGS, files)]


@pytest.mark.parametrize(
    "names",
    [
        ["unet3plus", "mednext", "segresnet_ds"],
        pytest.param(["fcn_resnet50", "segformer", "unet3plus"], marks=pytest.mark.networks),
    ],
)
def test_networks_of_several_heads_go_together_in_an_ensemble(tmp_path: Path, names: list[str]) -> None:
    networks = members(tmp_path, names)
    assert len(networks) == 3
    for network in networks:
        with torch.no_grad():
            assert network.eval()(torch.rand(1, 1, 64, 64)).shape == (1, NUM_BONES, 64, 64)


def test_a_network_of_a_library_that_is_not_installed_is_refused() -> None:
    network = {"_target_": "handseg_monai.networks.Heads", "network": {"_target_": "no_such_library.nets.Net"}}
    with pytest.raises(ValueError, match=r"network mine needs the package no_such_library.*\[networks\]"):
        check_packages("mine", network)
    check_packages("mine", {"_target_": "torch.nn.Conv2d"})
    check_packages("mine", {"_target_": "DynUNet"})


def test_running_statistics_of_efficientnet_follow_a_short_training() -> None:
    """Validation takes them: at EfficientNet's own momentum they lag hundreds of steps behind the weights."""
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in ("train.json", "network_flexible_unet.json")])
    network = parser.get_parsed_content("network_def")
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.1}
