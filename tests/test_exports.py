"""MONAI's own verbs export every network that MONAI or this project has: TorchScript and ONNX give its logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from handseg_monai import bundle_root
from tests.bundle_runs import CONFIGS, TINY_NETWORK
from tests.test_network_overlays import SMALL

pytestmark = [
    pytest.mark.usefixtures("restore_globals"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning"),
]

TINY = {"dynunet": TINY_NETWORK["dynunet"]} | SMALL
DYNAMIC = {
    "input_names": ["image"],
    "output_names": ["logits"],
    "dynamic_axes": {"image": {0: "batch", 2: "height", 3: "width"}},
}
QUICK = {"dynunet", "segresnet", "segresnet_ds", "unet"}
NETWORKS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in TINY]


def exported(name: str, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A small network, and the arguments with which a verb exports it from a checkpoint."""
    files = [str(CONFIGS / "inference.json")]
    files += [] if name == "dynunet" else [str(CONFIGS / f"network_{name}.json")]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    parser.update(TINY[name])
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def").eval()
    torch.save({"network": network.state_dict(), "network_name": name}, folder / "model.pt")
    return network, {
        "net_id": "network_def",
        "ckpt_file": str(folder / "model.pt"),
        "key_in_ckpt": "network",
        "meta_file": str(CONFIGS / "metadata.json"),
        "config_file": files,
        **TINY[name],
    }


def image(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def by_onnx(path: Path, images: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path))
    (taken,) = session.get_inputs()
    logits = session.run(None, {taken.name: images.numpy()})[0]
    assert isinstance(logits, np.ndarray)
    return torch.from_numpy(logits)


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_the_logits_of_torch(name: str, tmp_path: Path) -> None:
    """At the size that the metadata names, and where a network takes any size at others too."""
    network, arguments = exported(name, tmp_path)
    path = tmp_path / "model.onnx"
    fixed = name == "swinunetr"  # it counts windows in Python
    monai.bundle.onnx_export(filepath=str(path), converter_kwargs={} if fixed else dict(DYNAMIC), **arguments)
    for shape in [(1, 1, 128, 128)] if fixed else [(1, 1, 128, 128), (2, 1, 128, 192)]:
        with torch.no_grad():
            torch.testing.assert_close(by_onnx(path, image(*shape)), network(image(*shape)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_torchscript_gives_the_logits_of_torch(name: str, tmp_path: Path) -> None:
    network, arguments = exported(name, tmp_path)
    path = tmp_path / "model.ts"
    monai.bundle.ckpt_export(filepath=str(path), use_trace=True, **arguments)
    x = image(1, 1, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(str(path)).eval()(x), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_onnx_of_the_shipped_weights_gives_their_logits(tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "inference.json"))
    network = parser.get_parsed_content("network_def").eval()
    weights = bundle_root() / "models" / "model.pt"
    network.load_state_dict(torch.load(weights, weights_only=True)["network"])
    monai.bundle.onnx_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.onnx"),
        ckpt_file=str(weights),
        key_in_ckpt="network",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "inference.json"),
    )
    x = image(1, 1, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(by_onnx(tmp_path / "model.onnx", x), network(x), rtol=1e-3, atol=5e-3)
