"""Inference on a GPU, as far as a machine without one can tell: see :mod:`tests.device`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from handseg_monai.bitplanes import unpack
from handseg_monai.bones import INDEX
from handseg_monai.rle import decode_planes, read_csv
from handseg_monai.serve.network import Network
from tests.bundle_runs import run_here
from tests.device import cuda
from tests.hands import pair, phantom
from tests.programs import in_fork
from tests.served import save_quick

pytestmark = pytest.mark.usefixtures("restore_globals")

On = Callable[[], AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hand."""
    folder = tmp_path_factory.mktemp("images")
    cv2.imwrite(str(folder / "one.png"), phantom(1).image[::2, ::2])
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped ones, to look at less."""
    return save_quick(tmp_path_factory.mktemp("weights") / "quick.pt")


def infer(images: Path, out: Path, *more: str, on: On = cuda, **options: Any) -> dict[str, list[str]]:
    """Texts of each row; what is written of them is read back by name."""
    options = {"hands": "both", "confidence": True, "num_workers": 0, "amp": False} | options
    with on(), suppress(SystemExit):  # so it ends where an image shows no bone
        run_here("inference.json", *more, dataset_dir=str(images), output_dir=str(out), **options)
    return {name: [text or "" for text in texts] for name, texts in read_csv(out / "submission.csv").items()}


def dice(one: list[str], other: list[str], shape: tuple[int, int]) -> float:
    a, b = (unpack(decode_planes(texts, shape)) for texts in (one, other))
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


class TestInference:
    @pytest.mark.parametrize("views", ["hand", "image"])
    def test_masks_are_those_of_the_cpu(self, views: str, images: Path, weights: Path, tmp_path: Path) -> None:
        """Through views of the hand, or through windows; in float16 they are nearly those."""
        path = tmp_path / "weights.pt"
        torch.save(
            torch.load(weights, weights_only=True) | ({"views": views, "size": 320} if views == "image" else {}), path
        )
        options = {"checkpoint": str(path)} | ({"sw_batch_size": 4} if views == "image" else {})
        here = infer(images, tmp_path / "cpu", on=nullcontext, **options)
        assert infer(images, tmp_path / "gpu", **options) == here
        assert any(here["one.png"]), "empty masks are the same everywhere"
        said = [(tmp_path / name / "confidence.csv").read_text() for name in ("cpu", "gpu")]
        assert said[0] == said[1]
        half = infer(images, tmp_path / "half", **options | {"amp": True})
        shape = cv2.imread(str(images / "one.png")).shape[:2]
        assert dice(half["one.png"], here["one.png"], shape) > 0.99

    def test_both_hands_too(self, weights: Path, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        cv2.imwrite(str(tmp_path / "images" / "two.png"), pair(31, 2, "standard", 480).image)
        options = {"checkpoint": str(weights), "hand_inferer#flip": False}
        here = infer(tmp_path / "images", tmp_path / "cpu", on=nullcontext, **options)
        assert here.keys() == {"two.png#left", "two.png#right"}
        assert all(map(any, here.values()))
        assert infer(tmp_path / "images", tmp_path / "gpu", **options) == here

    def test_an_ensemble_s_too(self, images: Path, weights: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.pt"
        torch.save(torch.load(weights, weights_only=True) | {"views": "image", "size": 256}, other)
        options = {"checkpoints": [str(weights), str(other)]}
        here = infer(images, tmp_path / "cpu", "ensemble.json", on=nullcontext, **options)
        assert any(here["one.png"])
        assert infer(images, tmp_path / "gpu", "ensemble.json", **options) == here

    def test_a_page_s_network_draws_and_looks_closer(self, images: Path, weights: Path) -> None:
        image = cv2.imread(str(images / "one.png"), cv2.IMREAD_GRAYSCALE)
        drawn = []
        for on in (cuda, nullcontext):
            with on():
                network = Network(str(weights), amp=False)
                network.load()
                whole = network.infer(image)
                _, closer = network.ask(image, whole.planes[0], INDEX["Capitate"], whole.note)
            assert whole.planes.any()
            drawn.append((whole.planes, closer["mask"], whole.confidence))
        for one, other in zip(*drawn, strict=True):
            assert np.array_equal(one, other)


@pytest.mark.slow
def test_the_benchmark_runs_without_a_gpu(weights: Path, tmp_path: Path) -> None:
    """All of its steps, small; bfloat16 may cost it the Dice that float16 reaches."""
    options = ["--subjects", 5, "--size", 128, "--images", 2, "--compared", 2, "--side", 64, "--workers", 0]
    done = in_fork(
        "tests.benchmarks.cuda", "--out", tmp_path, "--device", "cpu", "--weights", weights, *options, "--networks"
    )
    figures = json.loads((tmp_path / "cuda.json").read_text())["figures"]
    assert done.returncode in (0, 1), done.stderr
    assert not [what for what in figures if "FAILED" in what], figures
    assert "resumed to 3" in figures["kill and resume"]
    assert float(figures["Dice of its masks and the processor's"].split(",")[0]) > 0.98
