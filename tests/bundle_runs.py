"""Running the bundle in tests: by the command line of MONAI, or by its function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai.bundle
import torch
from monai.bundle import ConfigParser

from handseg_monai import bundle_root
from tests.programs import Done, run_module

CONFIGS = bundle_root() / "configs"

NETWORKS = {"dynunet": [], "segresnet": ["network_segresnet.json"], "swinunetr": ["network_swinunetr.json"]}
"""Overlay files of each network."""

TINY_NETWORK: dict[str, dict[str, Any]] = {
    "dynunet": {"network_def#network#filters": [8, 8, 8, 8, 8, 8]},
    "segresnet": {"network_def#init_filters": 8},
    "swinunetr": {"network_def#feature_size": 12},
}
"""Overrides that make each network small."""

TINY_RUN: dict[str, Any] = {"size": 160, "window": 128, "num_workers": 0, "overlays": False, "views": "image"}
"""Overrides that make a run small: 160 pixels in windows of 128."""


def tiny(network: str = "dynunet", inference: bool = False) -> dict[str, Any]:
    """Overrides for a small run of a network; ``overlays`` is an option of inference alone, which asks the weights."""
    run = {key: value for key, value in TINY_RUN.items() if key != ("views" if inference else "overlays")}
    return run | TINY_NETWORK[network]


TINY = [text for key, value in tiny().items() for text in (f"--{key}", str(value))]
"""The same for DynUNet, as arguments of a command line."""


def run_bundle(*arguments: object, cwd: Path | None = None) -> Done:
    """Run ``python -m monai.bundle run`` in this process, its arguments as a user types them."""
    return run_module("monai.bundle", "run", *arguments, cwd=cwd)


def run_here(*names: str, run_id: str = "run", **override: Any) -> None:
    """Run configurations of the bundle, by file name, in this process."""
    files = [str(CONFIGS / name) for name in names]
    monai.bundle.run(run_id=run_id, config_file=files, **override)


def save_untrained(path: Path, network: str) -> Path:
    """Write a checkpoint of a small network as it is before training, its output bias such that masks are not empty."""
    parser = ConfigParser(
        ConfigParser.load_config_files([str(CONFIGS / n) for n in ["train.json", *NETWORKS[network]]])
    )
    parser.update(tiny(network))
    torch.manual_seed(0)
    net = parser.get_parsed_content("network_def")
    torch.save({"network": net.state_dict(), "network_name": network, "epoch": 0}, path)
    return path
