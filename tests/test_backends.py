"""OpenVINO as what computes the network: PyTorch's logits and masks, what it can't do, and no word to its makers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handseg_monai.networks import OpenVINONetwork, SpaceToDepth, on_backend
from handseg_monai.networks.backends import BackendError, _core
from handseg_monai.options import Options, checked_values
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.rle import read_csv
from handseg_monai.run.inference import Inference
from handseg_monai.score.dice import dice
from tests.bundle_runs import CONFIGS, run_bundle, run_here, save_untrained, tiny
from tests.served import save_quick
from tests.test_network_overlays import parsed

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("restore_globals")


def network() -> SpaceToDepth:
    torch.manual_seed(0)
    layers = (
        torch.nn.Conv2d(4, 8, 3, padding=1),
        torch.nn.InstanceNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 116, 1),
    )
    return SpaceToDepth(torch.nn.Sequential(*layers)).eval()


def image(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


class TestNetwork:
    @pytest.mark.parametrize("grad", [torch.no_grad, torch.inference_mode])
    def test_gives_the_logits_of_torch_at_every_shape(self, grad: Any) -> None:
        own = network()
        fast = on_backend(own, "openvino")
        assert isinstance(fast, OpenVINONetwork)
        with grad():
            for shape in ((1, 1, 32, 32), (2, 1, 32, 48), (1, 1, 32, 32)):
                x = image(*shape)
                torch.testing.assert_close(fast(x), own(x), rtol=1e-4, atol=1e-5)
                mirrored = x.flip(-1)
                torch.testing.assert_close(fast(mirrored), own(mirrored), rtol=1e-4, atol=1e-5)

    def test_what_it_gave_stays_as_it_was(self) -> None:
        fast, x = on_backend(network(), "openvino"), image(1, 1, 32, 32)
        with torch.no_grad():
            first = fast(x)
            kept = first.clone()
            fast(1 - x)
        assert torch.equal(first, kept)

    def test_takes_the_weights_that_were_loaded_after_it_was_made(self) -> None:
        own = network()
        fast, x = on_backend(own, "openvino"), image(1, 1, 32, 32)
        own.load_state_dict({name: 2 * value for name, value in own.state_dict().items()})
        with torch.no_grad():
            torch.testing.assert_close(fast(x), own(x), rtol=1e-4, atol=1e-5)

    def test_computes_in_the_precision_of_the_autocast_in_force(self) -> None:
        own = network()
        fast, x = on_backend(own, "openvino"), image(1, 1, 32, 32)
        with torch.no_grad():
            exact = own(x)
            with torch.autocast("cpu", torch.bfloat16):
                seen, expected = fast(x), own(x).float()
            again = fast(x)
        assert seen.dtype == torch.float32
        torch.testing.assert_close(again, exact, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(seen, expected, rtol=0.05, atol=0.05)
        if "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            assert (seen - exact).abs().max() > 1e-4

    def test_takes_as_many_threads_as_torch(self) -> None:
        fast = on_backend(network(), "openvino")
        assert isinstance(fast, OpenVINONetwork)
        before = torch.get_num_threads()
        try:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                with torch.no_grad():
                    fast(image(1, 1, 32, 16 * threads))
                request, _ = list(fast._compiled.values())[-1]
                assert request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == threads
        finally:
            torch.set_num_threads(before)


class TestRefused:
    def test_another_backend(self) -> None:
        with pytest.raises(ValueError, match=r"^--backend 'tensorrt': expected torch or openvino"):
            checked_values(Options, {"backend": "tensorrt"})
        with pytest.raises(ValueError, match=r"^--backend tensorrt: expected torch or openvino"):
            on_backend(network(), "tensorrt")

    def test_together_with_torch_compile(self) -> None:
        with pytest.raises(ValueError, match=r"^--compile true and --backend openvino: .* only one"):
            checked_values(Options, {"compile": True, "backend": "openvino"})

    def test_another_device_than_the_cpu(self) -> None:
        with pytest.raises(ValueError, match=r"^--backend openvino: .* the network is on meta; give --device"):
            on_backend(network().to("meta"), "openvino")

    def test_where_it_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "openvino", None)
        with pytest.raises(ValueError, match=r"needs the package openvino, .* pip install 'handseg-monai\[openvino\]'"):
            on_backend(network(), "openvino")

    def test_a_network_of_which_it_gives_other_logits(self) -> None:
        """SwinUNETR pads, and counts its windows, by numbers that it computes in Python."""
        own = parsed("swinunetr", "inference.json").get_parsed_content("network_def").eval()
        with (
            torch.inference_mode(),
            pytest.raises(BackendError, match=r"^--backend openvino: .* other logits"),
        ):
            on_backend(own, "openvino")(image(1, 1, 64, 96))

    @pytest.mark.slow
    def test_another_network_is_computed_after_it(self, tmp_path: Path) -> None:
        script = (
            "import pytest\nfrom pathlib import Path\nfrom tests import test_backends as tests\n"
            "tests.TestRefused().test_a_network_of_which_it_gives_other_logits()\n"
            f"tests.test_masks_of_the_shipped_weights_are_those_of_torch(Path({str(tmp_path)!r}))\n"
        )
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
        assert result.returncode == 0, result.stderr[-1000:]

    def test_a_run_says_so_in_one_line(self, drawn_dataset: Path, tmp_path: Path) -> None:
        arguments = ["--config_file", CONFIGS / "inference.json", "--dataset_dir", drawn_dataset / "train"]
        arguments += ["--output_dir", tmp_path / "out", "--backend", "onnx"]
        result = run_bundle(*arguments)
        assert result.returncode == 2
        assert "--backend 'onnx': expected torch or openvino" in result.stderr
        assert not (tmp_path / "out").exists()


def test_masks_of_the_shipped_weights_are_those_of_torch(tmp_path: Path) -> None:
    phantom = render_phantom(5, 0, "right", PRESETS["standard"], 512)
    checkpoint = str(save_quick(tmp_path / "quick.pt"))
    drawn = {}
    for backend in ("torch", "openvino"):
        inference = Inference(checkpoint, backend=backend, amp=False)
        inference.load()
        drawn[backend] = inference.infer(phantom.image)
    assert isinstance(inference.network, OpenVINONetwork)
    assert dice(drawn["openvino"].planes[0], drawn["torch"].planes[0]).min() >= 0.999
    assert (drawn["torch"].planes != 0).mean() > 0.02
    np.testing.assert_allclose(drawn["openvino"].confidence, drawn["torch"].confidence, atol=1e-3)


def test_runs_of_the_bundle_give_the_rows_of_torch(drawn_dataset: Path, tmp_path: Path) -> None:
    checkpoint = save_untrained(tmp_path / "tiny.pt", "dynunet")
    rows = {}
    for backend in ("torch", "openvino"):
        run_here(
            "inference.json",
            dataset_dir=str(drawn_dataset / "train" / "DCM" / "ID001"),
            output_dir=str(tmp_path / backend),
            checkpoint=str(checkpoint),
            backend=backend,
            **{"network_def#network#filters": [8, 8, 8, 8, 8, 8]},
            **{"size": 160, "window": 128, "num_workers": 0, "overlays": False, "amp": False},
        )
        rows[backend] = read_csv(tmp_path / backend / "submission.csv")
    assert rows["openvino"].keys() == rows["torch"].keys()
    texts = [(a, b) for name in rows["torch"] for a, b in zip(rows["torch"][name], rows["openvino"][name], strict=True)]
    assert any(a for a, _ in texts)
    assert sum(a == b for a, b in texts) >= 0.9 * len(texts)


def test_an_evaluation_finds_the_dice_of_torch(drawn_dataset: Path, tmp_path: Path) -> None:
    checkpoint, found = save_untrained(tmp_path / "tiny.pt", "dynunet"), []
    for backend in ("torch", "openvino"):
        run_here(
            *("train.json", "evaluate.json"),
            dataset_dir=str(drawn_dataset),
            output_dir=str(tmp_path / backend),
            checkpoint=str(checkpoint),
            backend=backend,
            amp=False,
            **tiny(),
        )
        table = tmp_path / backend / "evaluation" / "val_mean_dice_raw.csv"
        found.append(np.genfromtxt(table, delimiter=",", skip_header=1)[:, 1:30])
    assert found[0].max() > 0
    np.testing.assert_allclose(found[1], found[0], atol=5e-3)


def test_a_network_that_openvino_can_not_compute_ends_the_run_in_one_line(
    drawn_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run_here(
            *("inference.json", "network_swinunetr.json"),
            dataset_dir=str(drawn_dataset / "train" / "DCM" / "ID001"),
            output_dir=str(tmp_path / "out"),
            checkpoint=str(save_untrained(tmp_path / "tiny.pt", "swinunetr")),
            backend="openvino",
            amp=False,
            **tiny("swinunetr", inference=True),
        )
    assert end.value.code == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("--backend openvino: OpenVINO computes other logits than PyTorch with this network")
    assert not (tmp_path / "out" / "submission.csv").exists()


def test_a_network_let_go_in_another_thread_leaves_signals_in_order_and_reports_nothing(tmp_path: Path) -> None:
    """By itself OpenVINO leaves an identity in the home folder, and sends events of each import and conversion."""
    script = (
        "import os, signal, sys, threading, torch\nfrom handseg_monai.networks import on_backend\n"
        "networks = [on_backend(torch.nn.Conv2d(1, 2, 1).eval(), 'openvino')]\n"
        "networks[0](torch.rand(1, 1, 8, 8))\n"
        "thread = threading.Thread(target=networks.clear)\nthread.start()\nthread.join()\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('seen'))\nos.kill(os.getpid(), signal.SIGUSR1)\n"
        "print('alive')\nassert 'openvino' in sys.modules\n"
        "assert not [m for m in sys.modules if m.startswith('openvino_telemetry.')]\n"
    )
    # OpenVINO sets its own stack for signals only where one was set before, as faulthandler does.
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert (result.returncode, result.stdout) == (0, "seen\nalive\n"), result.stderr[-1000:]
    assert not (tmp_path / "intel").exists()
