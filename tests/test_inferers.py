"""The autocast inferer: what the network computes in, what comes out, and images that could not be read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer

from handseg_monai.inferers import AutocastInferer


class Network(torch.nn.Module):
    """Two convolutions to 29 channels that note the dtype of what the second one takes and gives."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.second = torch.nn.Conv2d(4, 29, 3, padding=1)
        self.seen: list[tuple[torch.dtype, torch.dtype]] = []
        self.second.register_forward_hook(
            lambda module, inputs, output: self.seen.append((inputs[0].dtype, output.dtype))
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(image))


def image(height: int = 32, width: int = 24) -> torch.Tensor:
    return torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))


INFERERS = [SimpleInferer(), SlidingWindowInferer((16, 16), sw_batch_size=2, overlap=0.5, mode="gaussian")]


@pytest.mark.parametrize("inferer", INFERERS, ids=lambda inferer: type(inferer).__name__)
class TestPrecision:
    def test_convolutions_see_bfloat16_and_the_result_is_float32(self, inferer: Any) -> None:
        network = Network()
        logits = AutocastInferer(inferer)(image(), network)
        assert set(network.seen) == {(torch.bfloat16, torch.bfloat16)}
        assert logits.dtype == torch.float32
        assert tuple(logits.shape) == (1, 29, 32, 24)

    def test_switched_off_convolutions_see_float32(self, inferer: Any) -> None:
        network = Network()
        logits = AutocastInferer(inferer, enabled=False)(image(), network)
        assert set(network.seen) == {(torch.float32, torch.float32)}
        torch.testing.assert_close(logits, inferer(image(), network), rtol=0, atol=0)

    def test_half_the_precision_gives_nearly_the_same_logits(self, inferer: Any) -> None:
        network = Network()
        half, full = (
            AutocastInferer(inferer)(image(), network),
            AutocastInferer(inferer, enabled=False)(image(), network),
        )
        torch.testing.assert_close(half, full, rtol=0, atol=0.02)
        assert not torch.equal(half, full)

    def test_an_image_that_could_not_be_read_is_not_shown_to_the_network(self, inferer: Any) -> None:
        network = Network()
        logits = AutocastInferer(inferer)(torch.empty(1, 1, 0, 0), network)
        assert network.seen == []
        assert tuple(logits.shape) == (1, 29, 0, 0)
        assert logits.dtype == torch.float32


def test_gradients_of_a_loss_in_float32_reach_the_weights() -> None:
    network = Network()
    AutocastInferer(SimpleInferer())(image(), network).square().mean().backward()
    assert network.first.weight.grad is not None
    assert network.first.weight.grad.dtype == torch.float32
    assert network.first.weight.grad.abs().sum() > 0


def test_further_arguments_reach_the_inferer_and_the_network() -> None:
    given = AutocastInferer(SimpleInferer())(image(), lambda x, factor, shift: x * factor + shift, 3, shift=1)
    torch.testing.assert_close(given, image() * 3 + 1)


@pytest.mark.parametrize("dtype", ["float32", "bf16", "", "torch.bfloat16"])
def test_another_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match=f"expected dtype bfloat16 or float16, got '{dtype}'"):
        AutocastInferer(SimpleInferer(), dtype=dtype)


@pytest.mark.parametrize("form", [list, tuple, dict])
def test_heads_of_every_form_are_given_as_float32(form: type) -> None:
    class Heads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 2, 1)

        def forward(self, x: torch.Tensor) -> Any:
            out, aux = self.layer(x), self.layer(x[..., ::2, ::2])
            assert out.dtype == torch.bfloat16
            return {"aux": aux, "out": out} if form is dict else form([out, aux])

    heads = AutocastInferer(SimpleInferer())(torch.rand(1, 1, 8, 8), Heads())
    assert [(head.dtype, head.shape[-1]) for head in heads] == [(torch.float32, 8), (torch.float32, 4)]
