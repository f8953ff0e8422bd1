"""What computes a network in inference: PyTorch, or OpenVINO, which is faster on a CPU."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from functools import cache
from typing import Any

import torch
from monai.networks import eval_mode
from torch import nn

_refused: list[Any] = []
"""What computed a network wrongly. Of SwinUNETR the executor that OpenVINO's requests share keeps a task after it, and
the next inference of any network would call what is gone, and end the process (OpenVINO 2026.4)."""
_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


class BackendError(RuntimeError):
    """A backend computes the network wrongly; the message says which, and what to do."""


class OpenVINONetwork(nn.Module):
    """A network that OpenVINO computes on the CPU; it stands for the network in inference.

    It computes in the precision of the autocast in force, or in float32 where the processor has no units for that one.
    It takes as many threads as PyTorch. OpenVINO is given the network at the first image of each shape and precision,
    which takes a few seconds, with the weights that it has by then.

    Parameters
    ----------
    network
        A network on the CPU that gives a tensor while it evaluates. Its logits of the first image are compared with
        PyTorch's: :class:`BackendError` where OpenVINO's, in float32, are not the same. So it is with SwinUNETR,
        which counts its windows in Python.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._compiled: dict[object, tuple[Any, tuple[int, ...]]] = {}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits, float32, of ``image``, as the network gives them."""
        import openvino

        image = image.float().contiguous()
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        # A network is traced, and so may hold numbers of the first shape that it met.
        key = tuple(image.shape), dtype
        if key not in self._compiled:
            self._compiled[key] = self._compile(image, _PRECISIONS[dtype])
        request, shape = self._compiled[key]
        logits = torch.empty(shape)
        request.set_input_tensor(openvino.Tensor(image.numpy(), shared_memory=True))
        request.set_output_tensor(openvino.Tensor(logits.numpy(), shared_memory=True))
        request.infer()
        return logits

    def _compile(self, image: torch.Tensor, precision: str) -> tuple[Any, tuple[int, ...]]:
        """Return what computes images of this shape, and the shape of the logits."""
        import openvino

        with eval_mode(self.network), torch.autocast("cpu", enabled=False), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = self.network(image)
            # Its sizes stay open: with fixed ones OpenVINO orders the memory of the logits the slower way.
            model = openvino.convert_model(self.network, example_input=image)
            exact = _request(model, "f32")
            if not _same(exact, image, expected):
                _refused.append(exact)
                raise BackendError(
                    "--backend openvino: OpenVINO computes other logits than PyTorch with this network; "
                    "leave --backend out"
                )
        return _request(model, precision), tuple(expected.shape)


@cache
def _core() -> Any:
    """OpenVINO's one core of this process, which is never let go.

    Its CPU plugin gives the thread that loads it a stack for signals of its own, and frees that stack with the last
    core. Freed in another thread, it stays in force where it was: the next signal, Ctrl-C or the end of a child, would
    end the process.
    """
    import openvino

    return openvino.Core()


def _request(model: Any, precision: str) -> Any:
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        # Several processes would all be bound to the first cores.
        "ENABLE_CPU_PINNING": False,
    }
    return _core().compile_model(model, "CPU", settings).create_infer_request()


def _same(request: Any, image: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether the logits of an image are as expected, but for rounding."""
    found = torch.from_numpy(request.infer([image.numpy()])[0])
    return found.shape == expected.shape and bool((found - expected).abs().mean() <= 1e-3 * expected.abs().mean())


def on_backend(network: nn.Module, backend: str) -> nn.Module:
    """Return what computes a network in inference.

    Parameters
    ----------
    network
        The network, where it is to run.
    backend
        ``"torch"``: the network itself; ``"openvino"``: an :class:`OpenVINONetwork`.

    Raises
    ------
    ValueError
        ``backend`` is something else; or OpenVINO is not installed, or the network is not on the CPU.
    """
    if backend == "torch":
        return network
    if backend != "openvino":
        raise ValueError(f"--backend {backend}: expected torch or openvino")
    device = next(network.parameters()).device
    if device.type != "cpu":
        raise ValueError(
            f"--backend openvino: OpenVINO computes on the CPU, but the network is on {device}; "
            "give --device \"\\$torch.device('cpu')\", or leave --backend out"
        )
    # OpenVINO reports each import and conversion to its makers, unless the package that does so is absent.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    if importlib.util.find_spec("openvino") is None:
        raise ValueError(
            "--backend openvino needs the package openvino, which is not installed: "
            "pip install 'handseg-monai[openvino]'"
        )
    return OpenVINONetwork(network)
