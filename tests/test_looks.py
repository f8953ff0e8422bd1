"""Masks drawn from what networks saw, bone by bone: equal to whole logits, sigmoid, mean and threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer
from torch.nn.functional import grid_sample, interpolate

from handseg_monai.bitplanes import unpack
from handseg_monai.bones import NUM_BONES
from handseg_monai.inferers import EnsembleInferer, HandInferer, PlanesInferer, WindowsInferer
from handseg_monai.inferers import looks as looks_module
from handseg_monai.inferers.looks import Look, merged, moved, planes_of_looks, probabilities_of_looks, whole_view
from tests.test_hand_inferer import SeeingNetwork, drawn

HALF = (0.5,) * NUM_BONES


def blobs(seed: int, height: int, width: int, share: float = 0.3) -> torch.Tensor:
    """Smooth logits (29, H, W), each bone positive in some places, a few of them at the border, and one nowhere."""
    rng = np.random.default_rng(seed)
    noise = np.stack([cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 4) for _ in range(NUM_BONES)])
    logits = 6 * (noise - np.quantile(noise, 1 - share, axis=(1, 2), keepdims=True)) / noise.std()
    logits[7] = -4.0
    return torch.from_numpy(logits.astype(np.float32))


def view(step: float, angle: float, x: float, y: float) -> torch.Tensor:
    cosine, sine = step * math.cos(angle), step * math.sin(angle)
    return torch.tensor([[cosine, -sine, x], [sine, cosine, y]])


def looks_at(seed: int, shape: tuple[int, int]) -> list[Look]:
    """A look at the whole image and a turned one at a part of it."""
    height, width = shape
    whole = Look(
        torch.tensor([[width / 64, 0, 0.5 * width / 64 - 0.5], [0, height / 64, 0.5 * height / 64 - 0.5]]),
        blobs(seed, 64, 64),
    )
    ramp = torch.outer(torch.hann_window(72, periodic=False), torch.hann_window(72, periodic=False))
    return [whole, Look(view(0.9, 0.6, 0.4 * width, 0.1 * height), blobs(seed + 1, 72, 72), ramp)]


def whole_probabilities(members: list[list[Look]], size: tuple[int, int], shape: tuple[int, int]) -> torch.Tensor:
    """Probabilities of all bones everywhere, averaged."""
    scale = torch.tensor(
        [
            [size[1] / shape[1], 0, 0.5 * size[1] / shape[1] - 0.5],
            [0, size[0] / shape[0], 0.5 * size[0] / shape[0] - 0.5],
            [0, 0, 1.0],
        ]
    ).double()
    probabilities = []
    for looks in members:
        moved = [
            Look(
                (scale @ torch.cat([look.matrix.double(), torch.tensor([[0.0, 0, 1]]).double()]))[:2].float(),
                look.logits,
                look.weight,
            )
            for look in looks
        ]
        probabilities.append(merged(moved, size).sigmoid())
    return torch.stack(probabilities).mean(dim=0)


@pytest.mark.parametrize("size", [(90, 120), (61, 47), (30, 40)])
@pytest.mark.parametrize("members", [1, 3])
def test_probabilities_are_those_of_whole_looks_wherever_they_are_not_faint(
    size: tuple[int, int], members: int
) -> None:
    shape, least = (90, 120), 0.7
    seen = [looks_at(10 * member, shape) for member in range(members)]
    found, expected = probabilities_of_looks(seen, shape, size, least), whole_probabilities(seen, size, shape)
    torch.testing.assert_close(found, torch.where(found > 0, expected, 0), atol=1e-4, rtol=1e-4)
    assert (expected[found == 0] < least).all()
    assert (found[7] == 0).all()
    assert (found > 0).any()


@pytest.mark.parametrize("size", [(90, 120), (270, 360), (61, 47), (30, 40)])
@pytest.mark.parametrize("members", [1, 3])
def test_masks_are_those_of_whole_probabilities(size: tuple[int, int], members: int) -> None:
    shape = (90, 120)
    at = tuple(np.linspace(0.2, 0.8, NUM_BONES).tolist())
    seen = [looks_at(10 * member, shape) for member in range(members)]
    planes = planes_of_looks(seen, shape, size, at)
    assert planes.dtype == torch.int32
    found = unpack(planes.numpy())
    expected = (whole_probabilities(seen, size, shape) > torch.tensor(at)[:, None, None]).numpy()
    assert expected.sum() > 0.1 * expected.size
    # Rounding of a place decides where a probability equals the threshold.
    assert (found != expected).mean() < 1e-4


def everywhere(look: Look, plane: torch.Tensor, size: tuple[int, int], padding: str) -> torch.Tensor:
    """Values (h, w) of a look's plane at every pixel of the image, by its inverse matrix."""
    inverse = torch.linalg.inv(torch.cat([look.matrix.double(), torch.tensor([[0.0, 0, 1]]).double()]))
    y, x = torch.meshgrid(*(torch.arange(n).double() for n in size), indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ inverse[:2].T
    width, height = look.logits.shape[-1], look.logits.shape[-2]
    grid = (2 * places + 1) / torch.tensor([width, height]) - 1
    reduction = float(torch.linalg.det(inverse[:2, :2]).abs().sqrt())
    if reduction > 1.3:
        inner = round(height / reduction), round(width / reduction)
        plane = interpolate(plane[None, None], inner, mode="bilinear", antialias=True)[0, 0]
    return grid_sample(plane[None, None], grid[None].float(), padding_mode=padding, align_corners=False)[0, 0]


@pytest.mark.parametrize("size", [(90, 120), (61, 200)])
@pytest.mark.parametrize("step", [0.4, 0.9, 2.5])
def test_a_look_counts_as_far_as_it_shows_the_image_over_those_before_it(size: tuple[int, int], step: float) -> None:
    """Of a part, of a part that reaches beyond the image, and of more than the image."""
    even = torch.ones(72, 72)
    looks = looks_at(5, size)
    looks += [
        Look(view(step, 2.0, 50, 20), blobs(8, 72, 72), even),
        Look(view(0.3, 0, -400, 0), blobs(9, 72, 72), even),
    ]
    expected = []
    for bone in range(NUM_BONES):
        first, *others = looks
        logits = everywhere(first, first.logits[bone], size, "border")
        for look in others:
            assert look.weight is not None
            share = everywhere(look, look.weight, size, "zeros")
            logits = logits + share * (everywhere(look, look.logits[bone], size, "border") - logits)
        expected.append(logits)
    torch.testing.assert_close(merged(looks, size), torch.stack(expected), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("size", [(90, 120), (270, 360), (75, 100)])
@pytest.mark.parametrize("angle", [0.0, 0.6, 3.5])
def test_what_a_look_hides_is_left_out_and_no_more(
    size: tuple[int, int], angle: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small bones, some where the second look counts alone, some across its border; a third counts by half."""
    shape = (90, 120)
    edge = torch.minimum(torch.arange(72), torch.arange(72).flip(0)).float()
    ramp = (torch.minimum(edge[:, None], edge[None, :]) / 8).clamp(0, 1)
    looks = [
        Look(matrix, torch.where(spots(matrix, logits, shape), logits, -5.0), weight)
        for matrix, logits, weight in (
            (whole_view((64, 64), shape).float(), blobs(1, 64, 64), None),
            (around(60, 45, 1.3, angle), blobs(2, 72, 72), ramp),
            (around(70, 60, 0.5, angle), blobs(3, 72, 72), 0.5 * ramp),
        )
    ]
    asked: list[bool] = []
    hides = looks_module._Drawn.hides

    def hides_and_tells(one: looks_module._Drawn, box: looks_module.Box) -> bool:
        if one.weight is not None:
            asked.append(hides(one, box))
        return hides(one, box)

    monkeypatch.setattr(looks_module._Drawn, "hides", hides_and_tells)
    found = planes_of_looks([looks], shape, size, HALF)
    monkeypatch.setattr(looks_module._Drawn, "hides", lambda one, box: one.weight is None)
    expected = planes_of_looks([looks], shape, size, HALF)
    assert float((expected != 0).float().mean()) > 0.05
    assert torch.equal(found, expected)
    assert 0 < sum(asked) < len(asked)

    # Of any box: hidden is where the weight is 1 all over.
    drawn = looks_module._Drawn(moved(looks[1], shape, size))
    weight = everywhere(moved(looks[1], shape, size), ramp, size, "zeros")
    rng, right = np.random.default_rng(0), []
    for _ in range(2000):
        top, left = (int(rng.integers(0, n)) for n in size)
        bottom, end = (int(rng.integers(low + 1, n + 1)) for low, n in zip((top, left), size, strict=True))
        alone = bool((weight[top:bottom, left:end] >= 1 - 1e-5).all())
        told = hides(drawn, (top, left, bottom, end))
        assert alone or not told
        right.append(alone == told)
    assert np.mean(right) > 0.97


def around(x: float, y: float, step: float, angle: float) -> torch.Tensor:
    """The view of 72 x 72 pixels with its middle at (x, y)."""
    turned = view(step, angle, 0, 0)
    return turned + torch.tensor([[0, 0, x], [0, 0, y]]) - turned @ torch.tensor([[0, 0, 35.5]] * 2 + [[0, 0, 0.0]])


def spots(matrix: torch.Tensor, logits: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Where in a view each bone may be, boolean like its logits (29, h, w): a square of the image of its own."""
    y, x = torch.meshgrid(*(torch.arange(n).float() for n in logits.shape[1:]), indexing="ij")
    column, row = (torch.stack([x, y, torch.ones_like(x)], dim=-1) @ matrix.T).unbind(dim=-1)
    square = (row * 5 / shape[0]).floor() * 6 + (column * 6 / shape[1]).floor()
    return square == torch.arange(NUM_BONES)[:, None, None]


def test_a_look_at_all_of_it_is_bilinear_interpolation() -> None:
    logits = blobs(3, 64, 48)
    matrix = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    planes = planes_of_looks([[Look(matrix, logits)]], (64, 48), (256, 192), HALF)
    expected = interpolate(logits[None], (256, 192), mode="bilinear", align_corners=False)[0] > 0
    assert (unpack(planes.numpy()) != expected.numpy()).mean() < 1e-5


def test_bones_that_no_look_shows_are_absent() -> None:
    shape = (40, 50)
    nothing = Look(torch.eye(3)[:2], torch.full((NUM_BONES, *shape), -3.0))
    assert not planes_of_looks([[nothing]], shape, (80, 100), HALF).any()


class TestPlanesInferer:
    @pytest.mark.parametrize("shape", [(300, 400), (420, 260)])
    def test_a_hand_is_drawn_at_the_radiograph_s_own_size(self, shape: tuple[int, int]) -> None:
        image, _ = drawn(*shape, 150.0, 0.55 * shape[1], 0.5 * shape[0], 0.7)
        hand = HandInferer(256)
        size = torch.tensor([shape])
        planes = PlanesInferer(hand, enabled=False)(image[None], SeeingNetwork(), image_size=size)
        assert planes.shape == (1, 1, *shape)
        whole = hand(image[None], SeeingNetwork())[0].sigmoid() > 0.5
        assert (unpack(planes[0, 0].numpy()) != whole.numpy()).mean() < 1e-5
        double = PlanesInferer(hand, enabled=False)(image[None], SeeingNetwork(), image_size=2 * size)
        halved = unpack(double[0, 0].numpy())[:, ::2, ::2]
        assert 2 * (halved & whole.numpy()).sum() / (halved.sum() + whole.numpy().sum()) > 0.97

    @pytest.mark.parametrize("inferer", [SimpleInferer(), SlidingWindowInferer((64, 64), overlap=0.5, mode="gaussian")])
    def test_logits_of_monai_s_inferers_are_drawn_alike(self, inferer: SimpleInferer) -> None:
        torch.manual_seed(0)
        network = torch.nn.Conv2d(1, NUM_BONES, 7, padding=3)
        image = torch.rand(1, 1, 90, 120)
        with torch.no_grad():
            logits = inferer(image, network)
            planes = PlanesInferer(inferer, 0.4, enabled=False)(image, network, image_size=torch.tensor([[180, 240]]))
        whole = interpolate(logits, (180, 240), mode="bilinear", align_corners=False)[0].sigmoid() > 0.4
        assert (unpack(planes[0, 0].numpy()) != whole.numpy()).mean() < 1e-5

    def test_the_network_alone_runs_in_the_lower_precision(self) -> None:
        image, _ = drawn(300, 300, 150.0, 150.0, 150.0, 0.0)
        network = SeeingNetwork()
        PlanesInferer(HandInferer(256), dtype="bfloat16")(image[None], network, image_size=torch.tensor([[300, 300]]))
        assert network.autocast == [True] * len(network.seen)

    def test_an_image_that_could_not_be_read_is_not_shown(self) -> None:
        network = SeeingNetwork()
        planes = PlanesInferer(HandInferer(256))(torch.empty(1, 1, 0, 0), network, image_size=torch.tensor([[0, 0]]))
        assert planes.shape == (1, 1, 0, 0)
        assert planes.dtype == torch.int32
        assert network.seen == []

    def test_several_images_at_once_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"one image at a time.*got 2"):
            PlanesInferer(HandInferer(64))(torch.zeros(2, 1, 64, 64), SeeingNetwork(), image_size=torch.ones(2, 2))


@dataclass(frozen=True)
class Viewer:
    """How a network sees its images."""

    views: str
    size: int | None
    window: int


class Tinted(SeeingNetwork):
    """Less certain than it could be, by so many logits."""

    def __init__(self, less: float) -> None:
        super().__init__()
        self.less = less

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image) - self.less


class TestEnsembleInferer:
    SIZE = torch.tensor([[300, 400]])
    WINDOWS = SlidingWindowInferer((64, 64), overlap=0.5, mode="gaussian")

    def ensemble(self, viewers: list[Viewer]) -> EnsembleInferer:
        return EnsembleInferer(viewers, HandInferer(64), self.WINDOWS, enabled=False)

    def test_of_one_network_twice_it_is_that_network(self) -> None:
        image, _ = drawn(300, 400, 150.0, 220.0, 150.0, 0.4)
        networks = torch.nn.ModuleList([SeeingNetwork(), SeeingNetwork()])
        both = self.ensemble([Viewer("hand", 256, 256)] * 2)(image[None], networks, image_size=self.SIZE)
        one = PlanesInferer(HandInferer(256), enabled=False)(image[None], SeeingNetwork(), image_size=self.SIZE)
        assert torch.equal(both, one)
        assert networks[0].seen[0].shape[-2:] == (256, 256)

    @pytest.mark.parametrize("threshold", [1e-3, 5e-5, 1e-5])
    def test_thresholds_below_what_counts_as_nothing_draw_the_same(self, threshold: float) -> None:
        """What windows drop as nothing must lie below any threshold."""
        image, _ = drawn(300, 400, 150.0, 220.0, 150.0, 0.4)
        windows = WindowsInferer((64, 64), overlap=0.5)
        single = PlanesInferer(windows, threshold, enabled=False)
        one = single(image[None], Tinted(6.0), image_size=self.SIZE)
        assert 0 < (one != 0).float().mean() < 0.9
        seen = single(image[None], Tinted(6.0), image_size=self.SIZE, coarse_side=64)
        assert torch.equal(seen["planes"], one)
        assert seen["probabilities"].shape == (1, NUM_BONES, 48, 64)
        both = EnsembleInferer([Viewer("image", 400, 64)] * 2, HandInferer(64), windows, threshold, enabled=False)
        assert torch.equal(both(image[None], [Tinted(6.0)] * 2, image_size=self.SIZE), one)

    def test_it_is_the_mean_of_the_probabilities_of_networks_that_see_differently(self) -> None:
        image, _ = drawn(300, 400, 150.0, 220.0, 150.0, 0.4)
        viewers = [Viewer("hand", 256, 256), Viewer("image", 200, 128)]
        networks = torch.nn.ModuleList([Tinted(1.0), Tinted(5.0)])
        planes = self.ensemble(viewers)(image[None], networks, image_size=self.SIZE)
        small = interpolate(image[None], (150, 200), mode="bilinear", antialias=True, align_corners=False)
        windows = SlidingWindowInferer((128, 128), overlap=0.5, mode="gaussian")
        seen = [
            HandInferer(256)(image[None], Tinted(1.0))[0],
            interpolate(windows(small, Tinted(5.0)), (300, 400), mode="bilinear", align_corners=False)[0],
        ]
        mean = torch.stack(seen).sigmoid().mean(dim=0) > 0.5
        assert (unpack(planes[0, 0].numpy()) != mean.numpy()).mean() < 1e-4
        # Both count: neither alone gives it.
        assert all((unpack(planes[0, 0].numpy()) != (one > 0).numpy()).sum() > 100 for one in seen)

    def test_networks_without_a_viewer_are_refused(self) -> None:
        with pytest.raises(ValueError, match="argument"):
            self.ensemble([Viewer("hand", 64, 64)])(
                torch.zeros(1, 30, 64, 64), [SeeingNetwork()] * 2, image_size=torch.tensor([[64, 64]])
            )
