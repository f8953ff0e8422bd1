"""Parts of networks: which pixel goes where, which head is which, single values, two probabilities; what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn
from torch.nn.functional import pixel_shuffle

from handseg_monai.bones import NUM_BONES
from handseg_monai.networks import (
    Heads,
    SpaceToDepth,
    UNet3Plus,
    heads_of,
    set_output_bias,
    take_lone_values,
    without,
)
from handseg_monai.networks.ducknet import DUCK, ConvReluNorm
from handseg_monai.networks.unet3plus import both


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_output_and_its_gradient_are_those_of_pixel_shuffle(dtype: torch.dtype) -> None:
    blocks = torch.randn(2, 12, 6, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    one, other = (blocks.clone().requires_grad_() for _ in range(2))
    network = SpaceToDepth(Given(one))
    found, expected = network(torch.zeros(2, 1, 12, 16)), pixel_shuffle(other, 2)
    assert torch.equal(found, expected)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(one.grad, other.grad)


class Given(nn.Module):
    """A network that gives what it was given, whatever it sees."""

    def __init__(self, out: torch.Tensor) -> None:
        super().__init__()
        self.out = out

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.out


class TwoHeads(nn.Module):
    """Two heads, stacked or listed; the second has half the resolution if listed."""

    def __init__(self, stacked: bool) -> None:
        super().__init__()
        self.stacked = stacked

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        return torch.stack([x, 2 * x], 1) if self.stacked else [x, 2 * x[..., ::2, ::2]]


def test_stacked_and_listed_heads_stay_so() -> None:
    image = torch.rand(2, 1, 8, 12)
    stacked = SpaceToDepth(TwoHeads(True))(image)
    assert torch.equal(stacked, torch.stack([image, 2 * image], 1))
    listed = SpaceToDepth(TwoHeads(False))(image)
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


class TestHeads:
    def some(self) -> list[torch.Tensor]:
        return [torch.rand(2, NUM_BONES, side, side) for side in (8, 8, 4)]

    def test_every_form_gives_the_same_list(self) -> None:
        full, other, half = self.some()
        for output, expected in (
            (full, [full]),
            ([full, other, half], [full, other, half]),
            ((half, full, other), [full, other, half]),
            ({"out": full, "aux": other}, [full, other]),
            ({"aux": other, "out": full}, [full, other]),
            (torch.stack([full, other], 1), [full, other]),
        ):
            found = heads_of(output)
            assert len(found) == len(expected)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))

    @pytest.mark.parametrize("output", [None, [], {}, "logits", [None]])
    def test_anything_else_is_refused(self, output: Any) -> None:
        with pytest.raises(TypeError, match="expected logits, or a stack, list or dictionary of them, got"):
            heads_of(output)

    def test_a_grey_image_is_repeated_and_a_small_map_enlarged(self) -> None:
        class Halved(nn.Module):
            def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
                assert x.shape[1] == 3
                assert torch.equal(x[:, 0], x[:, 2])
                return {"aux": -x, "out": x[..., ::2, ::2]}

        image = torch.ones(1, 1, 8, 12)
        network = Heads(Halved(), in_channels=3)
        first, second = network.train()(image)
        assert torch.equal(first, -image.expand(-1, 3, -1, -1))  # the most pixels first
        assert second.shape == (1, 3, 4, 6)
        enlarged = Heads(nn.AvgPool2d(2)).eval()(image)
        assert torch.equal(enlarged, image)


def test_a_single_value_is_normalised_by_running_statistics_and_several_as_ever() -> None:
    plain, lone = nn.BatchNorm2d(3), take_lone_values(nn.Sequential(nn.BatchNorm2d(3)))
    many = torch.rand(2, 3, 4, 4)
    assert torch.equal(lone(many), plain(many))
    single = torch.rand(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value"):
        plain(single)
    before = lone.state_dict()["0.running_mean"].clone()
    assert torch.equal(lone(single), plain.eval()(single))
    assert torch.equal(lone.state_dict()["0.running_mean"], before)


def test_layers_that_are_never_run_are_taken_out() -> None:
    network = without(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sequential(nn.Linear(2, 2))), ["1.0"])
    assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.bias"]
    with pytest.raises(AttributeError, match="absent"):
        without(network, ["absent"])


def test_the_logit_of_two_probabilities_is_that_of_their_product() -> None:
    a, b = torch.linspace(-9, 9, 19, dtype=torch.float64)[:, None], torch.linspace(-9, 9, 19, dtype=torch.float64)
    product = torch.sigmoid(a) * torch.sigmoid(b)
    torch.testing.assert_close(both(a, b), torch.log(product) - torch.log1p(-product), rtol=1e-6, atol=1e-6)
    extreme = torch.tensor([-200.0, 200.0])
    assert both(extreme, extreme.flip(0)).isfinite().all()


class TestUNet3Plus:
    def network(self, **options: Any) -> UNet3Plus:
        torch.manual_seed(0)
        return UNet3Plus(1, NUM_BONES, filters=[4, 4, 8], branch=4, **options)

    def test_every_decoder_level_sees_every_scale(self) -> None:
        network = self.network(classify=False).eval()
        assert [len(branches) for branches in network.branches] == [3, 3]
        image = torch.rand(1, 1, 16, 16)
        with torch.no_grad():
            whole = network(image)
            for level in range(2):
                for scale in range(3):
                    for parameter in network.branches[level][scale].parameters():
                        kept = parameter.clone()
                        parameter.add_(1.0)
                        assert not torch.allclose(network(image), whole), (level, scale)
                        parameter.copy_(kept)

    def test_heads_of_training_are_all_at_full_resolution_and_the_classifier_is_last(self) -> None:
        heads = self.network().train()(torch.rand(2, 1, 16, 24))
        assert [tuple(head.shape[2:]) for head in heads] == [(16, 24)] * 3 + [(1, 1)]
        assert len(self.network(classify=False).train()(torch.rand(2, 1, 16, 24))) == 3

    def test_a_bone_that_the_classifier_denies_has_no_pixels(self) -> None:
        network = set_output_bias(self.network(), 4.0).eval()
        image = torch.rand(1, 1, 16, 16)
        classifier = network.classifier[1]
        assert classifier.out_channels == NUM_BONES
        with torch.no_grad():
            features = network.encoder[2][1].adn.N
            features.weight.zero_()
            features.bias.fill_(
                1.0
            )  # the deepest features are one, and the classifier's logits the sums of its weights
            classifier.weight.fill_(10.0)
            assert network(image).min() > 0
            classifier.weight[7] = -10.0
            logits = network(image)
        assert logits[:, 7].max() < -20
        assert logits[:, :7].min() > 0

    def test_the_output_bias_leaves_the_classifier_alone(self) -> None:
        network = set_output_bias(self.network(), -4.0)
        assert all((head.bias == -4).all() for head in network.heads)
        assert network.classifier[1].bias is None

    def test_one_level_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"at least 2 levels, got \(8,\)"):
            UNet3Plus(1, NUM_BONES, filters=[8])


@pytest.mark.parametrize("kernel", [(3, 3), (1, 6), (6, 1)])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_convolutions_of_a_duck_keep_the_size_and_stay_in_the_middle(kernel: tuple[int, int], dilation: int) -> None:
    layer = ConvReluNorm(1, 1, kernel, dilation)
    out = layer(torch.rand(2, 1, 20, 24))
    assert out.shape == (2, 1, 20, 24)
    impulse = torch.zeros(1, 1, 41, 41)
    impulse[..., 20, 20] = 1
    convolution = nn.Sequential(*[part for part in layer if not isinstance(part, nn.ReLU | nn.BatchNorm2d)])
    with torch.no_grad():
        reached = (convolution(impulse) != convolution(torch.zeros_like(impulse)))[0, 0].nonzero().float()
    for axis, side in enumerate(kernel):
        assert abs(float(reached[:, axis].min() + reached[:, axis].max()) / 2 - 20) <= (
            0.5 * dilation if side == 6 else 0
        )


def test_a_duck_has_six_ways() -> None:
    duck = DUCK(3, 5).eval()
    assert len(duck.branches) == 6
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        by_hand = duck.after(sum(branch(duck.before(x)) for branch in duck.branches))
        torch.testing.assert_close(duck(x), by_hand)
