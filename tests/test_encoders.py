"""Published weights of encoders: from a file, from a hub that can't be reached, and what is refused."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import EfficientNetBN
from torch import nn

from handseg_monai.networks import begin_encoder
from tests.bundle_runs import CONFIGS, TINY_RUN, run_bundle

networks = pytest.mark.networks


def parsed(name: str, **override: Any) -> ConfigParser:
    files = [str(CONFIGS / "train.json"), str(CONFIGS / f"network_{name}.json")]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    parser.update(override)
    torch.manual_seed(1)
    return parser


def begin(name: str, weights: str, **override: Any) -> nn.Module:
    """A network whose encoder began from weights, as the configuration of training does it."""
    parser = parsed(name, **override)
    network: nn.Module = parser.get_parsed_content("network_def")
    begin_encoder(network, weights, parser.get_parsed_content("pretrained_encoder"))
    return network


@pytest.fixture
def refusing_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A hub at whose address nobody listens, and no cache."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    set_hub(monkeypatch, address, tmp_path)
    return address


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A hub that takes connections and never answers, and no cache."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        set_hub(monkeypatch, address, tmp_path)
        yield address


def set_hub(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def rgb_stem(parameters: dict[str, torch.Tensor]) -> str:
    """Name of the first convolution, of three channels."""
    return next(name for name, value in parameters.items() if value.ndim == 4 and value.shape[1] == 3)


def test_a_file_of_efficientnet_is_loaded_with_its_first_convolution_summed(tmp_path: Path) -> None:
    """Its authors number the blocks of all stages through."""
    published = EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=3).state_dict()
    stem = rgb_stem(published)
    torch.save(
        {re.sub(r"(_blocks)\.\d+(\.\d+\.)", r"\1\2", name): value for name, value in published.items()},
        tmp_path / "b0.pth",
    )
    encoder = begin("flexible_unet", str(tmp_path / "b0.pth")).encoder
    found = encoder.state_dict()
    torch.testing.assert_close(found[stem], published[stem].sum(1, keepdim=True))
    deep = [name for name in found if name.startswith("_blocks.6") and name.endswith("weight")]
    assert deep
    for name in deep:
        assert torch.equal(found[name], published[name]), name


def test_a_grey_image_gives_what_it_gave_as_rgb(tmp_path: Path) -> None:
    rgb = EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=3).eval()
    torch.save(rgb.state_dict(), tmp_path / "b0.pt")
    encoder = begin("flexible_unet", str(tmp_path / "b0.pt")).encoder.eval()
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = rgb._bn0(rgb._conv_stem(rgb._conv_stem_padding(image.expand(-1, 3, -1, -1))))
        found = encoder._bn0(encoder._conv_stem(encoder._conv_stem_padding(image)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--encoder_weights absent\.pt: no such file"):
        begin("flexible_unet", "absent.pt")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"--encoder_weights .*other\.pt"):
        begin("flexible_unet", str(tmp_path / "other.pt"))
    with pytest.raises(ValueError, match="this network has no encoder with published weights"):
        begin("unet", "imagenet")


@pytest.mark.parametrize("weights", [None, "none", "None"])
def test_none_asks_for_nothing(weights: str | None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        begin("flexible_unet", weights)  # type: ignore[arg-type]
        begin("unet", weights)  # type: ignore[arg-type]
    assert caplog.records == []


def test_a_run_whose_weights_cannot_be_had_says_so_in_one_line_and_trains(
    drawn_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(CONFIGS / name) for name in ("train.json", "network_flexible_unet.json")]
    options = [text for key, value in TINY_RUN.items() if key != "overlays" for text in (f"--{key}", str(value))]
    # A proxy at whose address nobody listens: no download can succeed.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    result = run_bundle(
        *("training", "--config_file", files, "--dataset_dir", drawn_dataset, "--output_dir", tmp_path / "run"),
        *("--epochs", "1", *options),
    )
    assert result.returncode == 0, result.stderr[-2000:]
    lines = [line for line in (result.stdout + result.stderr).splitlines() if "can't get the weights" in line]
    assert len(lines) == 1
    assert "encoder: can't get the weights imagenet" in lines[0]
    assert "starts from random ones" in lines[0]
    assert "Traceback" not in result.stderr


@networks
@pytest.mark.parametrize(
    ("name", "hub"),
    [
        ("unetplusplus", "silent_hub"),
        *((name, "refusing_hub") for name in ("unetplusplus", "upernet", "fcn_resnet50", "rapunet")),
    ],
)
def test_a_hub_out_of_reach_is_said_in_one_line_and_soon(
    name: str, hub: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    address = request.getfixturevalue(hub)
    began = time.monotonic()
    network = begin(name, "imagenet")
    assert time.monotonic() - began < 60
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert f"({address} can't be reached, and they are not in its cache)" in warnings[0]
    torch.manual_seed(1)
    untouched = parsed(name).get_parsed_content("network_def").state_dict()
    assert all(torch.equal(value, untouched[key]) for key, value in network.state_dict().items())


@networks
@pytest.mark.parametrize(
    ("name", "encoder", "model"),
    [
        ("unetplusplus", "resnet18", None),
        ("upernet", "tu-swin_tiny_patch4_window7_224", "swin_tiny_patch4_window7_224"),
        ("upernet_convnext", "tu-convnext_atto", "convnext_atto"),
        ("segformer", "mit_b0", None),
        ("rapunet", "caformer_s18", "caformer_s18"),
        ("fcn_resnet50", None, "resnet50"),
    ],
)
def test_files_of_the_hub_are_loaded(name: str, encoder: str | None, model: str | None, tmp_path: Path) -> None:
    """A file as the hub has it: of timm the whole classifier's, of segmentation_models_pytorch the encoder's."""
    import timm
    from safetensors.torch import save_file
    from segmentation_models_pytorch.encoders import get_encoder

    source = timm.create_model(model) if model else get_encoder(encoder)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.normal_()
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    override = {"encoder": encoder} if encoder else {}
    network = begin(name, str(tmp_path / "model.safetensors"), **override)
    module = next(m for n, m in network.named_modules() if n.rpartition(".")[2] in ("encoder", "backbone"))
    # Names may differ: every tensor of the encoder is one of the file's, or its stem summed.
    known = {tensor.shape: [] for tensor in source.state_dict().values()}
    for tensor in source.state_dict().values():
        known[tensor.shape].append(tensor)
        if tensor.ndim == 4 and tensor.shape[1] == 3:
            known.setdefault(tensor.sum(1, keepdim=True).shape, []).append(tensor.sum(1, keepdim=True))
    for key, value in module.named_parameters():
        assert any(torch.allclose(value, other) for other in known.get(value.shape, [])), key


@networks
def test_a_name_that_the_library_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--encoder_weights imagenot: Wrong pretrained weights"):
        begin("unetplusplus", "imagenot")
