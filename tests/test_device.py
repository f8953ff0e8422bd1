"""The device of CUDA that tests have: what it refuses, and that what it computes is true."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.device import DEVICE, DeviceTensor, cuda


def small() -> nn.Module:
    """Convolutions, both kinds of normalisation, and a sum that is broadcast."""
    torch.manual_seed(0)
    norms = nn.InstanceNorm2d(4, affine=True), nn.BatchNorm2d(4)
    return nn.Sequential(nn.Conv2d(1, 4, 3), *norms, nn.ReLU(True), nn.ConvTranspose2d(4, 2, 3))


def loss_of(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    out = network(image).float()
    return (out.square() * out[:, :1].sigmoid()).mean()


@pytest.mark.parametrize(
    "mixed",
    [
        lambda here, there: here + there,
        lambda here, there: torch.cat([here, there]),
        lambda here, there: torch.where(here > 0, here, there),
        lambda here, there: there[here > 0],
        lambda here, there: there.mul_(here),
        lambda here, there: here.index_put_((here > 0,), there),
        lambda here, there: torch.stack([here[0], there[0]]),
        lambda here, there: here.new_zeros(3, 3) @ there,
        lambda here, there: nn.functional.mse_loss(here, there),
    ],
)
def test_tensors_of_two_devices_are_an_error(mixed: Callable[[torch.Tensor, torch.Tensor], object]) -> None:
    with cuda() as device:
        here, there = torch.ones(3, device=device), torch.ones(3)
        with pytest.raises(RuntimeError, match="same device"):
            mixed(here, there)


def test_what_cuda_allows_is_allowed() -> None:
    with cuda():
        here = torch.arange(3.0, device="cuda")
        assert (here * torch.tensor(2.0)).tolist() == [0, 2, 4]
        assert here[torch.tensor([2, 0])].tolist() == here[[2, 0]].tolist() == [2, 0]
        here[:2] = torch.tensor([5.0, 6.0])
        here[2] = torch.tensor(7.0)
        assert here.cpu().tolist() == [5, 6, 7]
        assert here.new_tensor([1]).device == torch.tensor(1, device="cuda").device == DEVICE
        assert torch.zeros(3).copy_(here).device.type == "cpu"
        assert int(here.argmax()) == 2
        assert bool((here > 6).any())


def test_numpy_has_no_view_of_the_device() -> None:
    with cuda(), pytest.raises(RuntimeError, match="numpy"):
        torch.ones(3, device="cuda").numpy()


def test_gradients_are_those_of_the_cpu() -> None:
    here, there = small(), small()
    image = torch.rand(2, 1, 12, 12)
    loss_of(there, image).backward()
    with cuda() as device:
        here.to(device)
        twin = copy.deepcopy(here)
        for network in (here, twin):
            loss_of(network, image.to(device)).backward()
            for one, other in zip(network.parameters(), there.parameters(), strict=True):
                assert isinstance(one.grad, DeviceTensor)
                torch.testing.assert_close(one.grad.cpu(), other.grad)


def test_autocast_is_that_of_cuda() -> None:
    """Convolutions in float16, and sums in float32, which on the CPU stay in float16."""
    with cuda() as device, torch.autocast("cuda", torch.float16):
        seen = small().to(device)(torch.rand(2, 1, 12, 12, device=device))
        assert seen.dtype == torch.float16
        assert seen.sum().dtype == torch.float32
        large = torch.full((3, 3), 300.0, device=device)
        assert (large @ large).isinf().all()


def test_a_step_that_overflows_is_passed_over() -> None:
    with cuda() as device:
        network = small().to(device)
        before = [parameter.tolist() for parameter in network.parameters()]
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda", init_scale=2.0**60)
        with torch.autocast("cuda", torch.float16):
            loss = loss_of(network, torch.rand(2, 1, 12, 12, device=device))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == 2.0**59
        assert [parameter.tolist() for parameter in network.parameters()] == before


def test_a_file_says_where_its_tensors_lay(tmp_path: Path) -> None:
    with cuda() as device:
        network = small().to(device)
        torch.save(network.state_dict(), tmp_path / "a.pt")
    with pytest.raises(RuntimeError, match="map_location"):
        torch.load(tmp_path / "a.pt", weights_only=True)
    found = torch.load(tmp_path / "a.pt", map_location="cpu", weights_only=True)
    for name, value in small().state_dict().items():
        assert torch.equal(found[name], value)


def test_nothing_is_left_of_it() -> None:
    before = torch.cuda.is_available(), torch.tensor, torch.autograd._engine_run_backward
    with cuda():
        assert torch.cuda.is_available()
    assert (torch.cuda.is_available(), torch.tensor, torch.autograd._engine_run_backward) == before
    with pytest.raises((RuntimeError, AssertionError)):
        torch.ones(3, device="cuda:0")
