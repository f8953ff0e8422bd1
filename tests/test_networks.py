"""Space-to-depth networks: which pixel goes where, and what is refused."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn

from handseg_monai.bones import NUM_BONES
from handseg_monai.networks import SpaceToDepth, set_output_bias


def repeat_blocks(factor: int, channels: int) -> nn.Conv2d:
    """A 1 x 1 convolution that gives each pixel of a block back, times the channel's number plus one."""
    pixels = factor**2
    layer = nn.Conv2d(pixels, channels * pixels, 1, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for channel in range(channels):
            for pixel in range(pixels):
                layer.weight[channel * pixels + pixel, pixel] = channel + 1
    return layer


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_every_pixel_keeps_its_place(factor: int) -> None:
    image = torch.rand(2, 1, 8, 12)
    out = SpaceToDepth(repeat_blocks(factor, 3), factor)(image)
    assert torch.equal(out, torch.cat([image, 2 * image, 3 * image], 1))


class Heads(nn.Module):
    """Two heads, stacked or listed; the second has half the resolution if listed."""

    def __init__(self, stacked: bool) -> None:
        super().__init__()
        self.stacked = stacked

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        return torch.stack([x, 2 * x], 1) if self.stacked else [x, 2 * x[..., ::2, ::2]]


def test_stacked_and_listed_heads_stay_so() -> None:
    image = torch.rand(2, 1, 8, 12)
    stacked = SpaceToDepth(Heads(True))(image)
    assert torch.equal(stacked, torch.stack([image, 2 * image], 1))
    listed = SpaceToDepth(Heads(False))(image)
    assert torch.equal(listed[0], image)
    assert listed[1].shape == (2, 1, 4, 6)


@pytest.mark.parametrize("shape", [(7, 8), (8, 9)])
def test_sides_that_don_t_divide_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="divide by 2"):
        SpaceToDepth(nn.Identity())(torch.rand(1, 1, *shape))


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        SpaceToDepth(nn.Identity(), 0)


def test_the_output_bias_of_every_pixel_of_a_block_is_set() -> None:
    inner = DynUNet(2, 4, 4 * NUM_BONES, [3] * 3, [1, 2, 2], [2, 2], filters=[8] * 3, norm_name="instance")
    network = set_output_bias(SpaceToDepth(inner), -4.0)
    biases = [p for p in network.parameters() if p.shape == (4 * NUM_BONES,)]
    assert biases
    assert all((bias == -4.0).all() for bias in biases)


def test_a_network_without_such_a_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="no convolution of 116 output channels"):
        set_output_bias(SpaceToDepth(nn.Conv2d(4, NUM_BONES, 1)), -4.0)
