"""Windows over the whole image: blended as MONAI does, masks those of whole logits, fewer windows where nothing is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch.nn.functional import avg_pool2d, interpolate

from handseg_monai.bitplanes import areas, unpack
from handseg_monai.bones import NUM_BONES
from handseg_monai.inferers import EnsembleInferer, HandInferer, PlanesInferer, SweepInferer, WindowsInferer
from handseg_monai.inferers.looks import Look, NearBones
from handseg_monai.phantom import PRESETS, render_phantom
from tests.test_hand_inferer import SeeingNetwork, drawn
from tests.test_looks import HALF, Tinted, Viewer, blobs, planes_of_looks

SHAPES = [(96, 130), (130, 96), (200, 64), (40, 150), (50, 30), (64, 64), (65, 129)]


class Placed(torch.nn.Module):
    """A network whose logits depend on the place in the window, so that blending counts, and are smooth."""

    def __init__(self, side: int = 64) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Conv2d(1, NUM_BONES, 9, padding=4)
        self.tilt = torch.linspace(-1.5, 1.0, side)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 4 * self.net(image) + self.tilt[: image.shape[-1]] + 0.5 * self.tilt[: image.shape[-2], None]


def smooth(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return blobs(seed, *shape)[None, :1].sigmoid()


def monai_s(overlap: float, mode: str = "gaussian", side: int = 64) -> SlidingWindowInferer:
    return SlidingWindowInferer((side, side), sw_batch_size=3, overlap=overlap, mode=mode)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_blended_as_monai_does(shape: tuple[int, int], overlap: float) -> None:
    image = smooth(shape)
    with torch.no_grad():
        for mode, batch in (("gaussian", 1), ("constant", 3)):
            found = WindowsInferer((64, 64), batch, overlap, mode)(image, Placed())
            expected = monai_s(overlap, mode)(image, Placed())
            # Sums of up to sixteen windows in float16; logits reach 10.
            torch.testing.assert_close(found, expected, rtol=2e-3, atol=4e-3)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
@pytest.mark.parametrize("ratio", [1.0, 2.0, 1.7, 0.6, 0.25])
@pytest.mark.parametrize("shape", [(96, 130), (200, 64), (50, 30)])
def test_masks_are_those_of_whole_logits(shape: tuple[int, int], ratio: float, overlap: float) -> None:
    """Whole logits, brought to the radiograph's size, sigmoid, threshold: the same but for 1e-3 of the outlines."""
    size = round(shape[0] * ratio), round(shape[1] * ratio)
    image, network, at = smooth(shape, 3), Placed(), tuple(np.linspace(0.3, 0.8, NUM_BONES).tolist())
    sized = {"image_size": torch.tensor([size])}
    with torch.no_grad():
        found, whole = (
            PlanesInferer(inferer, at, enabled=False, invert="no")(image, network, **sized)
            for inferer in (WindowsInferer((64, 64), 2, overlap), monai_s(overlap))
        )
        logits = monai_s(overlap)(image, network)
    expected = unpack(whole[0, 0].numpy())
    assert 0.05 < expected.mean() < 0.9
    assert (unpack(found[0, 0].numpy()) != expected).mean() < 1e-3
    if ratio >= 1:
        plain = interpolate(logits, size, mode="bilinear", align_corners=False)[0].sigmoid()
        assert (unpack(found[0, 0].numpy()) != (plain > torch.tensor(at)[:, None, None]).numpy()).mean() < 1e-3


def test_what_is_kept_near_bones_gives_the_masks_that_all_of_it_gives() -> None:
    """Pieces of every bone, some of them apart, drawn at sizes from a quarter up: not a pixel differs."""
    logits = blobs(5, 90, 120, 0.1).half().float()
    for size in ((90, 120), (270, 300), (41, 55), (22, 30)):
        reach = 2 + int(np.ceil(2 * max(90 / size[0], 120 / size[1])))
        near = NearBones((90, 120), -1.0, torch.device("cpu"))
        for top in range(0, 90, 30):
            rows = slice(max(top - reach, 0), top + 30)
            for bone, part in enumerate(logits[:, rows]):
                places = (part > 0).nonzero()
                if len(places):
                    (y0, x0), (y1, x1) = (places.amin(0) - reach).clamp_min(0).tolist(), places.amax(0).tolist()
                    near.keep(bone, rows.start + y0, x0, part[y0 : y1 + reach + 1, x0 : x1 + reach + 1])
        eye = torch.eye(3)[:2]
        found = planes_of_looks([[Look(eye, near)]], (90, 120), size, HALF)
        assert torch.equal(found, planes_of_looks([[Look(eye, logits)]], (90, 120), size, HALF))
        assert found.any()


@pytest.mark.parametrize("ratio", [3.0, 1.0, 0.4, 0.15])
def test_bones_apart_from_each_other_are_drawn_with_what_is_around_them(ratio: float) -> None:
    """What is kept of each is enough for sizes from a seventh to three times: the same but for a pixel or two."""
    image, _ = drawn(300, 400, 150.0, 220.0, 150.0, 0.4)
    soft = avg_pool2d(image[None], 9, stride=1, padding=4)
    size = {"image_size": torch.tensor([[round(300 * ratio), round(400 * ratio)]])}
    found, expected = (
        unpack(PlanesInferer(inferer, enabled=False)(soft, SeeingNetwork(), **size)[0, 0].numpy())
        for inferer in (WindowsInferer((64, 64)), monai_s(0.5))
    )
    assert expected.any(axis=(1, 2)).sum() == 7
    assert (found != expected).sum() <= 2 + 1e-3 * expected.sum()


@pytest.mark.parametrize("top", [62, 63, 64, 65, 66])
def test_a_bone_that_begins_where_rows_are_let_go_is_whole(top: int) -> None:
    """What lies above its first row belongs to the rows before, which no longer are there in whole."""
    image = torch.zeros(1, 1, 192, 64)
    image[..., top : top + 30, 20:40] = 1

    def network(view: torch.Tensor) -> torch.Tensor:
        return (12 * avg_pool2d(view, 3, stride=1, padding=1) - 2.5).repeat(1, NUM_BONES, 1, 1)

    size = {"image_size": torch.tensor([[7 * 192, 7 * 64]])}
    found, expected = (
        PlanesInferer(inferer, enabled=False)(image, network, **size)
        for inferer in (WindowsInferer((64, 64), overlap=0, where="everywhere"), monai_s(0.0))
    )
    assert expected.any()
    assert (found != expected).sum() <= 4


def test_logits_are_kept_near_bones_alone() -> None:
    """What a run holds at its end is a small part of the whole logits."""
    image = torch.zeros(1, 1, 256, 256)
    image[..., 100:120, 60:90] = 1

    def network(view: torch.Tensor) -> torch.Tensor:
        return 8 * (view - 0.5) * torch.linspace(-1, 1, NUM_BONES)[:, None, None].sign()

    (look,) = WindowsInferer((64, 64), where="everywhere").looks(image, network, 0.0, 4)[0]
    assert isinstance(look.logits, NearBones)
    assert not WindowsInferer((64, 64)).looks(torch.zeros(1, 1, 256, 256), network, 0.0, 4)[0][0].logits.has(28)
    held = sum(piece.numel() for _, _, piece in look.logits._pieces[28])
    assert 20 * 30 <= held < 4 * 40 * 50


class TestInferers:
    IMAGE_SIZE = torch.tensor([[240, 320]])

    def test_a_sweep_draws_each_threshold_from_one_run(self) -> None:
        image, network, sweep = smooth((120, 160), 4), Placed(), [0.3, 0.5, 0.8]
        inferer = WindowsInferer((64, 64))
        with torch.no_grad():
            planes = SweepInferer(inferer, sweep, enabled=False)(image, network, image_size=self.IMAGE_SIZE)
            shown = inferer.shown
            for drawn_at, threshold in zip(planes[0], sweep, strict=True):
                one = PlanesInferer(inferer, threshold, enabled=False)(image, network, image_size=self.IMAGE_SIZE)
                assert torch.equal(one[0, 0], drawn_at)
        assert shown == 3 * 4

    def test_an_ensemble_is_the_mean_of_probabilities(self) -> None:
        image, _ = drawn(300, 400, 150.0, 220.0, 150.0, 0.4)
        viewers = [Viewer("hand", 256, 256), Viewer("image", 200, 128), Viewer("image", 400, 192)]
        networks = torch.nn.ModuleList([Tinted(2.0), Tinted(5.0), Tinted(4.0)])
        planes = [
            EnsembleInferer(viewers, HandInferer(256), windows, enabled=False)(
                image[None], networks, image_size=self.IMAGE_SIZE
            )
            for windows in (WindowsInferer((64, 64)), monai_s(0.5))
        ]
        found, expected = (unpack(one[0, 0].numpy()) for one in planes)
        assert expected.sum() > 1000
        assert (found != expected).mean() < 1e-4

    def test_the_network_alone_runs_in_the_lower_precision(self) -> None:
        network = SeeingNetwork()
        image, _ = drawn(150, 200, 75.0, 100.0, 75.0, 0.0)
        PlanesInferer(WindowsInferer((64, 64), flip=True, scales=[1.0, 1.25]))(
            image[None], network, image_size=self.IMAGE_SIZE
        )
        assert network.autocast == [True] * len(network.seen)


class TestViews:
    def test_a_mirrored_window_counts_half(self) -> None:
        image, network = smooth((96, 130), 1), Placed()
        with torch.no_grad():
            found = WindowsInferer((64, 64), 2, 0.5, flip=True)(image, network)

            def both(view: torch.Tensor) -> torch.Tensor:
                return 0.5 * (network(view) + network(view.flip(-1)).flip(-1))

            torch.testing.assert_close(found, monai_s(0.5)(image, both), rtol=2e-3, atol=4e-3)

    def test_larger_views_are_laid_where_their_window_is(self) -> None:
        """A network that sees each pixel for itself gives about the same through views of any scale."""
        image, masks = drawn(240, 300, 150.0, 140.0, 120.0, 0.3)
        size = {"image_size": torch.tensor([[240, 300]])}
        network = SeeingNetwork()
        inferer = WindowsInferer((128, 128), scales=[1.0, 1.3])
        planes = PlanesInferer(inferer, enabled=False)(image[None], network, **size)
        found = unpack(planes[0, 0].numpy())
        assert 2 * (found & (masks > 0.5).numpy()).sum() / (found.sum() + masks.sum()) > 0.97
        assert len(network.seen) == 2 * inferer.shown
        # The view of 1.3 shows what lies around its window, zeros beyond the image.
        assert network.seen[1][0, -1, 0].max() < 0.3 < network.seen[0][0, -1, 0].min()

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"scales": [0.5]}, "scales: expected a list of one or more numbers, at least 1 each"),
            ({"scales": "[0.5]"}, "scales: expected a list of one or more"),
            ({"scales": []}, "scales: expected a list of one or more"),
            ({"overlap": 1.0}, "overlap: expected a number, at least 0 and below 1, got 1.0"),
            ({"overlap": "abc"}, "overlap: expected a number, at least 0 and below 1, got 'abc'"),
            ({"mode": "nomode"}, "mode: expected gaussian or constant, got 'nomode'"),
            ({"flip": "no"}, "flip: expected true or false, got 'no'"),
            ({"roi_size": 128}, "roi_size: expected height and width"),
            ({"roi_size": [64]}, "roi_size: expected height and width"),
            ({"where": "somewhere"}, "where: expected everywhere, content or hand"),
        ],
    )
    def test_options_that_can_not_be_are_refused(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            WindowsInferer(**{"roi_size": (64, 64)} | options)

    def test_false_as_a_text_is_false(self) -> None:
        """The command line hands on ``--window_inferer#flip false`` so."""
        assert WindowsInferer((64, 64), flip="false").flip is False  # type: ignore[arg-type]


class Bright(torch.nn.Module):
    """Sees "bones" in what is bright after smoothing, each from a value of its own on: nothing in the background."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen += len(image)
        limits = torch.linspace(0.5, 0.75, NUM_BONES)[:, None, None]
        return 25 * (avg_pool2d(image, 5, stride=1, padding=2, count_include_pad=False) - limits)


class TestWhere:
    @pytest.fixture(scope="class")
    @classmethod
    def radiograph(cls) -> torch.Tensor:
        """A phantom in the corner of a large image of noise, (1, 1, 512, 640)."""
        hand = render_phantom(5, 0, "right", PRESETS["standard"], 224).image
        image = np.random.default_rng(0).normal(8, 2, (512, 640)).clip(0, 255)
        image[20:244, 30:254] = np.maximum(hand, image[20:244, 30:254])
        low, high = np.percentile(image, [0.5, 99.5])
        return torch.from_numpy(((image - low) / (high - low)).clip(0, 1)).float()[None, None]

    def infer(self, image: torch.Tensor, network: torch.nn.Module, where: str) -> tuple[np.ndarray, WindowsInferer]:
        inferer = WindowsInferer((128, 128), where=where)
        size = torch.tensor([image.shape[-2:]])
        return PlanesInferer(inferer, enabled=False)(image, network, image_size=size)[0, 0].numpy(), inferer

    @pytest.fixture(scope="class")
    @classmethod
    def uneven(cls, radiograph: torch.Tensor) -> torch.Tensor:
        """The same on a ground that is nowhere even, and a speck of bone apart from it that is lost when shrunk."""
        image = torch.maximum(radiograph, torch.linspace(0, 0.3, 640).expand_as(radiograph))
        image[..., 330:338, 120:128] = 0.9
        return image

    @pytest.mark.parametrize(("ground", "where", "extra"), [("radiograph", "content", 0), ("uneven", "hand", 1)])
    def test_windows_of_nothing_are_passed_over_and_no_mask_changes(
        self, ground: str, where: str, extra: int, request: pytest.FixtureRequest
    ) -> None:
        image, network = request.getfixturevalue(ground), Bright()
        found, inferer = self.infer(image, network, where)
        all_of_them, everywhere = self.infer(image, Bright(), "everywhere")
        assert everywhere.shown == 7 * 9
        assert everywhere.passed_over == 0
        assert inferer.shown + inferer.passed_over == 7 * 9
        assert inferer.passed_over >= 38, f"{inferer.passed_over} of 63 windows were passed over"
        assert network.seen == inferer.shown + extra
        assert areas(all_of_them).min() > 100
        assert np.array_equal(found, all_of_them)

    def test_a_bone_on_a_film_burnt_black_is_looked_at(self, radiograph: torch.Tensor) -> None:
        """A fingertip that is 3 % brighter than the noise around them, far from the hand."""
        image = radiograph.clone()
        _, without = self.infer(image, Bright(), "content")
        image[..., 440:470, 560:580] += 0.03
        _, inferer = self.infer(image, Bright(), "content")
        assert inferer.shown > without.shown

    def test_a_first_look_that_does_not_find_the_hand_leaves_no_window_out(self, uneven: torch.Tensor) -> None:
        class Shortsighted(Bright):
            """Misses four bones in its first view, that of the whole image."""

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                logits = super().forward(image)
                logits[:, : 4 if self.seen == 1 else 0] = -9
                return logits

        found, inferer = self.infer(uneven, Shortsighted(), "hand")
        assert inferer.shown == 7 * 9
        assert np.array_equal(found, self.infer(uneven, Bright(), "everywhere")[0])

    def test_of_an_image_without_any_content_nothing_is_shown(self) -> None:
        network = Bright()
        planes, inferer = self.infer(torch.full((1, 1, 300, 200), 0.7), network, "content")
        assert not planes.any()
        assert (network.seen, inferer.shown) == (0, 0)
        assert inferer.passed_over == 4 * 3
