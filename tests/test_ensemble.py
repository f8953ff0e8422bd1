"""Ensembles through the bundle: any checkpoints, in one pass; what does not fit is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from handseg_monai.checkpoints import CheckpointError, load_members
from handseg_monai.rle import decode_planes, read_csv
from handseg_monai.score.dice import dice
from tests.bundle_runs import CONFIGS, NETWORKS, run_here, save_untrained, tiny

pytestmark = pytest.mark.usefixtures("restore_globals")

RUN = {"num_workers": 0, "overlays": False, "amp": False}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small networks of two kinds; one that sees hands, one windows of the whole image."""
    folder = tmp_path_factory.mktemp("members")
    paths = {name: save_untrained(folder / f"{name}.pt", name) for name in ("dynunet", "segresnet")}
    for name, facts in (
        ("dynunet", {"views": "hand", "size": 128, "window": 128}),
        ("segresnet", {"views": "image", "size": 160, "window": 96}),
    ):
        content = torch.load(paths[name], weights_only=True)
        torch.save(content | facts, paths[name])
    return paths


@pytest.fixture(scope="module")
def network_files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overlays that declare the small networks, by names that the bundle's own files have too."""
    folder, files = tmp_path_factory.mktemp("overlays"), []
    for network in ("dynunet", "segresnet"):
        parser = ConfigParser()
        parser.read_config([str(CONFIGS / name) for name in ["inference.json", *NETWORKS[network]]])
        parser.update(tiny(network, inference=True))
        content = {"network_name": network, "network_def": parser["network_def"]}
        (folder / f"{network}.json").write_text(json.dumps(content))
        files.append(str(folder / f"{network}.json"))
    return files


def infer(
    data: Path, out: Path, checkpoints: list[Path], network_files: list[str], **more: Any
) -> dict[str, list[str | None]]:
    run_here(
        *("inference.json", "ensemble.json"),
        dataset_dir=str(data / "train" / "DCM" / "ID001"),
        output_dir=str(out),
        checkpoints=[str(path) for path in checkpoints],
        network_files=network_files,
        **RUN,
        **more,
    )
    return read_csv(out / "submission.csv")


def test_a_checkpoint_given_twice_is_that_checkpoint(
    drawn_dataset: Path, checkpoints: dict[str, Path], network_files: list[str], tmp_path: Path
) -> None:
    run_here(
        "inference.json",
        dataset_dir=str(drawn_dataset / "train" / "DCM" / "ID001"),
        output_dir=str(tmp_path / "one"),
        checkpoint=str(checkpoints["dynunet"]),
        **{"network_def#network#filters": [8, 8, 8, 8, 8, 8]},
        **RUN,
    )
    one = read_csv(tmp_path / "one" / "submission.csv")
    assert infer(drawn_dataset, tmp_path / "two", [checkpoints["dynunet"]] * 2, network_files) == one
    assert any(text for texts in one.values() for text in texts)


def test_a_compiled_ensemble_gives_the_masks_of_a_plain_one(
    drawn_dataset: Path, checkpoints: dict[str, Path], network_files: list[str], tmp_path: Path
) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    members = list(checkpoints.values())
    plain = infer(drawn_dataset, tmp_path / "plain", members, network_files)
    assert not torch._dynamo.utils.counters["stats"]
    compiled = infer(drawn_dataset, tmp_path / "out", members, network_files, compile=True, compile_backend="eager")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1
    assert compiled == plain


def test_an_ensemble_that_openvino_computes_gives_the_masks_of_torch(
    drawn_dataset: Path, checkpoints: dict[str, Path], network_files: list[str], tmp_path: Path
) -> None:
    # Both see the whole image: where an untrained network sees hands, rounding decides which way up.
    whole = tmp_path / "whole.pt"
    torch.save(torch.load(checkpoints["dynunet"], weights_only=True) | {"views": "image"}, whole)
    members = [whole, checkpoints["segresnet"]]
    plain, fast = (
        infer(drawn_dataset, tmp_path / backend, members, network_files, backend=backend)
        for backend in ("torch", "openvino")
    )
    assert plain.keys() == fast.keys()
    for name, texts in plain.items():
        masks = decode_planes(texts, (96, 72))
        assert masks.any()
        assert dice(decode_planes(fast[name], (96, 72)), masks).min() > 0.98


def test_networks_that_see_differently_go_together(
    drawn_dataset: Path, checkpoints: dict[str, Path], network_files: list[str], tmp_path: Path
) -> None:
    both = infer(drawn_dataset, tmp_path / "both", list(checkpoints.values()), network_files)
    assert len(both) == 2
    alone = [infer(drawn_dataset, tmp_path / name, [path], network_files) for name, path in checkpoints.items()]
    assert both not in alone


class TestMembers:
    def test_each_network_is_made_by_the_name_in_its_checkpoint(
        self, checkpoints: dict[str, Path], network_files: list[str]
    ) -> None:
        members = load_members(list(checkpoints.values()), CONFIGS, network_files)
        assert [type(member.network).__name__ for member in members] == ["SpaceToDepth", "SegResNet"]
        assert [(m.views, m.size, m.window) for m in members] == [("hand", 128, 128), ("image", 160, 96)]

    def test_of_one_network_each_checkpoint_has_its_own(
        self, checkpoints: dict[str, Path], network_files: list[str], tmp_path: Path
    ) -> None:
        content = torch.load(checkpoints["dynunet"], weights_only=True)
        content["network"] = {key: value + 1 for key, value in content["network"].items()}
        torch.save(content, tmp_path / "other.pt")
        one, other = load_members([checkpoints["dynunet"], tmp_path / "other.pt"], CONFIGS, network_files)
        for key, value in one.network.state_dict().items():
            assert torch.equal(other.network.state_dict()[key], value + 1)

    def test_the_bundle_s_own_declarations_serve_without_others(self) -> None:
        (member,) = load_members([CONFIGS.parent / "models" / "model.pt"], CONFIGS)
        assert member.views == "hand"

    def test_a_network_that_nothing_declares_is_refused(self, checkpoints: dict[str, Path], tmp_path: Path) -> None:
        content = torch.load(checkpoints["dynunet"], weights_only=True)
        torch.save(content | {"network_name": "mine"}, tmp_path / "mine.pt")
        with pytest.raises(CheckpointError, match=r"holds network mine; known are dynunet, .*--network_files"):
            load_members([tmp_path / "mine.pt"], CONFIGS)

    def test_no_checkpoints_are_one_line(self) -> None:
        with pytest.raises(CheckpointError, match=r"^no checkpoints; train some, or give --checkpoints"):
            load_members([], CONFIGS)
