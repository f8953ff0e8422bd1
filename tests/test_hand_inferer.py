"""The hand is found wherever it lies, laid upright, looked at again, and its masks come back to their place."""

from __future__ import annotations

import math

import pytest
import torch

from handseg_monai.bones import BONES, INDEX, NUM_BONES
from handseg_monai.inferers import AutocastInferer
from handseg_monai.inferers.hand import HandInferer, closer_view, stretched, wrist_view
from handseg_monai.inferers.looks import merged, sample

WINDOW = 256
# Bone, place across and up, radius: in units of the hand's length.
SPOTS = [
    ("Radius", 0.0, -0.75, 0.09),
    ("Capitate", 0.0, -0.4, 0.06),
    ("Hamate", 0.12, -0.4, 0.05),
    ("finger-11", 0.0, -0.1, 0.07),
    ("finger-10", 0.0, 0.2, 0.06),
    ("finger-8", 0.0, 0.45, 0.05),
    ("finger-1", -0.3, 0.0, 0.05),
]
BASE, TIP = INDEX["Capitate"], INDEX["finger-8"]


def drawn(
    height: int, width: int, length: float, x: float, y: float, angle: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A hand of discs: masks (29, H, W), and an image (30, H, W) that shows each bone in a channel of its own."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    masks = torch.zeros(NUM_BONES, height, width)
    cosine, sine = math.cos(angle), math.sin(angle)
    for name, across, up, radius in SPOTS:
        cx = x + length * (across * cosine + up * sine)
        cy = y + length * (across * sine - up * cosine)
        masks[INDEX[name]] = (columns - cx) ** 2 + (rows - cy) ** 2 <= (radius * length) ** 2
    # One channel is white, so that stretching the grey values keeps them.
    return torch.cat([masks, torch.ones(1, height, width)]), masks


class SeeingNetwork(torch.nn.Module):
    """Sees each bone in its channel, but only where the hand points up to within `reach` degrees."""

    def __init__(self, reach: float = 180.0) -> None:
        super().__init__()
        self.reach = reach
        self.seen: list[torch.Tensor] = []
        self.autocast: list[bool] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(image)
        self.autocast.append(torch.is_autocast_enabled("cpu"))
        logits = 12.0 * (image[:, :NUM_BONES] - 0.5)
        if self.reach < 180.0:
            base, tip = _middle(image[0, BASE] > 0.5), _middle(image[0, TIP] > 0.5)
            if base is None or tip is None or abs(_tilt(base, tip)) > self.reach:
                return torch.full_like(logits, -6.0)
        return logits


def _tilt(base: tuple[float, float], tip: tuple[float, float]) -> float:
    return math.degrees(math.atan2(tip[0] - base[0], base[1] - tip[1]))


def _middle(mask: torch.Tensor) -> tuple[float, float] | None:
    rows, columns = mask.nonzero(as_tuple=True)
    return (float(columns.float().mean()), float(rows.float().mean())) if len(rows) else None


def dice(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("angle", [0, 40, 90, 160, 180, -100])
@pytest.mark.parametrize("shape", [(300, 400), (420, 260)])
def test_masks_come_back_to_where_the_hand_lies(angle: float, shape: tuple[int, int]) -> None:
    image, masks = drawn(*shape, 150.0, 0.55 * shape[1], 0.5 * shape[0], math.radians(angle))
    logits = HandInferer(WINDOW)(image[None], SeeingNetwork())
    assert logits.shape == (1, NUM_BONES, *shape)
    for name, *_ in SPOTS:
        found, true = logits[0, INDEX[name]] > 0, masks[INDEX[name]] > 0
        assert dice(found, true) > 0.93, name
    others = [k for k in range(NUM_BONES) if k not in {INDEX[name] for name, *_ in SPOTS}]
    assert (logits[0, others] < 0).all()


@pytest.mark.parametrize("angle", [0, 50, 90, 180, -90, -150])
def test_the_second_look_shows_the_hand_upright_and_filling_the_view(angle: float) -> None:
    image, _ = drawn(400, 400, 180.0, 210.0, 190.0, math.radians(angle))
    network = SeeingNetwork()
    HandInferer(WINDOW, flip=False)(image[None], network)
    last = network.seen[-1][0]
    base, tip = _middle(last[BASE] > 0.5), _middle(last[TIP] > 0.5)
    assert base is not None
    assert tip is not None
    assert abs(_tilt(base, tip)) < 12
    assert base[1] - tip[1] > 0.6 * WINDOW


def test_a_network_that_knows_upright_hands_alone_finds_one_that_lies_on_its_side() -> None:
    image, masks = drawn(300, 300, 160.0, 150.0, 150.0, math.radians(95))
    logits = HandInferer(WINDOW)(image[None], SeeingNetwork(reach=30.0))
    assert dice(logits[0, INDEX["Capitate"]] > 0, masks[INDEX["Capitate"]] > 0) > 0.93
    one = HandInferer(WINDOW, turns=1)(image[None], SeeingNetwork(reach=30.0))
    assert (one < 0).all()


class SureNetwork(SeeingNetwork):
    """Sees all 29 bones for sure: those that are not drawn where one of their group is."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        shown = {INDEX[name] for name, *_ in SPOTS}
        of_group = {BONES[index].group: index for index in shown}
        channels = [bone.index if bone.index in shown else of_group.get(bone.group, TIP) for bone in BONES]
        return 20 * super().forward(image)[:, channels]


@pytest.mark.parametrize(
    ("network", "angle", "looks"),
    [(SureNetwork(), 30, 1), (SureNetwork(), -60, 4), (SureNetwork(), 180, 4), (SeeingNetwork(), 30, 4)],
)
def test_a_hand_that_surely_points_up_is_looked_at_in_no_other_turn(
    network: SeeingNetwork, angle: float, looks: int
) -> None:
    image, _ = drawn(400, 400, 180.0, 210.0, 190.0, math.radians(angle))
    network.seen.clear()
    HandInferer(WINDOW, flip=False)(image[None], network)
    assert len(network.seen) == looks + 1


def test_what_lies_beyond_the_second_look_comes_from_the_first() -> None:
    image, _ = drawn(500, 300, 120.0, 150.0, 120.0, 0.0)
    image[INDEX["Radius"], 400:440, 130:170] = 1.0
    logits = HandInferer(WINDOW)(image[None], SeeingNetwork())
    assert dice((logits[0, INDEX["Radius"]] > 0)[300:], image[INDEX["Radius"], 300:] > 0.5) > 0.85


def test_a_bone_that_the_border_cuts_keeps_its_outermost_pixels() -> None:
    image, _ = drawn(600, 600, 300.0, 300.0, 300.0, 0.0)
    image[INDEX["Ulna"], 560:, 100:160] = 1.0
    logits = HandInferer(WINDOW)(image[None], SeeingNetwork())
    assert (logits[0, INDEX["Ulna"], 570:, 110:150] > 0).all()


def test_under_autocast_the_network_alone_is_rounded() -> None:
    """Places of some hundred pixels in bfloat16 would be off by several."""
    image, masks = drawn(900, 700, 420.0, 360.0, 430.0, math.radians(70))
    network = SeeingNetwork()
    logits = AutocastInferer(HandInferer(WINDOW), dtype="bfloat16")(image[None], network)
    plain = SeeingNetwork()
    HandInferer(WINDOW)(image[None], plain)
    assert len(network.seen) == len(plain.seen)
    for seen, expected in zip(network.seen, plain.seen, strict=True):
        assert (seen - expected).abs().max() < 1e-4
    assert network.autocast == [True] * len(network.seen)
    assert logits.dtype == torch.float32
    assert dice(logits[0, BASE] > 0, masks[BASE] > 0) > 0.95


def test_an_image_without_a_hand_gives_no_bones() -> None:
    logits = HandInferer(WINDOW)(torch.zeros(2, 30, 200, 130), SeeingNetwork())
    assert logits.shape == (2, NUM_BONES, 200, 130)
    assert (logits < 0).all()


def test_flipping_averages_the_mirror_image() -> None:
    image, _ = drawn(300, 300, 140.0, 150.0, 150.0, 0.2)
    network = SeeingNetwork()
    HandInferer(WINDOW, flip=True)(image[None], network)
    assert torch.equal(network.seen[-1], network.seen[-2].flip(-1))


def test_false_as_a_text_is_false() -> None:
    """The command line hands on ``--hand_inferer#flip false`` so."""
    assert HandInferer(WINDOW, flip="false").flip is False  # type: ignore[arg-type]
    assert HandInferer(WINDOW, flip="True").flip is True  # type: ignore[arg-type]


def test_scales_average_views_of_several_sizes_in_one_frame() -> None:
    image, masks = drawn(300, 400, 140.0, 200.0, 150.0, 0.5)
    network = SeeingNetwork()
    logits = HandInferer(WINDOW, flip=False, scales=(1.0, 1.2))(image[None], network)
    sizes = [float((view[0, BASE] > 0.5).sum()) for view in network.seen[-2:]]
    assert sizes[0] / sizes[1] == pytest.approx(1.2**2, rel=0.05)
    one = HandInferer(WINDOW, flip=False)(image[None], SeeingNetwork())
    for name, *_ in SPOTS:
        bone = INDEX[name]
        assert dice(logits[0, bone] > 0, masks[bone] > 0) > 0.93, name
        # The border is softer, and in the same place.
        assert dice(logits[0, bone] > 0, one[0, bone] > 0) > 0.97, name
    assert not torch.equal(logits, one)


def test_sampling_by_the_identity_gives_the_image_back() -> None:
    image = torch.rand(3, 20, 31)
    same = sample(image, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), (20, 31))
    assert torch.allclose(same, image, atol=1e-5)


def test_sampling_averages_where_it_reduces() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 64, 64)
    half = sample(stripes, torch.tensor([[4.0, 0.0, 1.5], [0.0, 4.0, 1.5]]), (16, 16))
    assert (half[0, 2:-2, 2:-2] - 0.5).abs().max() < 0.05


def test_stretching_spans_zero_to_one_and_leaves_an_even_image_black() -> None:
    out = stretched(torch.linspace(0.2, 0.4, 1000).reshape(1, 10, 100))
    assert out.min() == 0
    assert out.max() == 1
    assert (stretched(torch.full((1, 8, 8), 0.7)) == 0).all()


def test_three_bones_of_one_kind_don_t_say_which_way_a_hand_points() -> None:
    logits = torch.full((NUM_BONES, 64, 64), -6.0)
    for k, name in enumerate(("Capitate", "Hamate", "Lunate")):
        logits[INDEX[name], 20:32, 16 * k : 16 * k + 12] = 6.0
    assert closer_view(logits, torch.eye(3)[:2], (64, 64), 64, 1.25) is None


@pytest.mark.parametrize("angle", [0, 75, 180])
def test_a_look_at_hand_and_forearm_shows_all_bones_upright_below_the_closer_ones(angle: float) -> None:
    image, masks = drawn(600, 600, 320.0, 300.0, 300.0, math.radians(angle))
    inferer, network = HandInferer(WINDOW, wrist=2.2), SeeingNetwork()
    looks = inferer.looks(image[None], network)[0]
    network.seen.clear()
    first, arm, *further = inferer.with_arm(image, looks, network)
    assert [first, *further] == looks
    assert len(network.seen) == 2
    seen = network.seen[0][0] > 0.5
    base, tip = _middle(seen[BASE]), _middle(seen[TIP])
    assert base is not None
    assert tip is not None
    assert abs(_tilt(base, tip)) < 15
    pixel = float(torch.linalg.det(arm.matrix[:, :2]))
    for bone in (INDEX["Radius"], TIP):
        assert float(seen[bone].sum()) * pixel == pytest.approx(float(masks[bone].sum()), rel=0.1)


def test_where_no_hand_is_seen_nobody_looks_at_its_forearm() -> None:
    image, inferer, network = torch.zeros(NUM_BONES + 1, 300, 300), HandInferer(WINDOW), SeeingNetwork()
    looks = inferer.looks(image[None], network)[0]
    assert inferer.with_arm(image, looks, network) == looks


class TestWrist:
    """The look at the wrist, after that at the hand."""

    @pytest.mark.parametrize("angle", [0, 75, 180, -120])
    def test_carpal_bones_are_drawn_finer_and_the_others_as_before(self, angle: float) -> None:
        image, masks = drawn(600, 600, 320.0, 300.0, 300.0, math.radians(angle))
        coarse, fine = (HandInferer(128, wrist=wrist)(image[None], SeeingNetwork())[0] > 0 for wrist in (0.0, 2.2))
        for name in ("Capitate", "Hamate"):
            before, after = (dice(found[INDEX[name]], masks[INDEX[name]] > 0) for found in (coarse, fine))
            assert before < 0.998 < after, name
        assert torch.equal(coarse[TIP], fine[TIP])

    def test_it_shows_the_carpal_bones_upright_at_the_size_asked_for(self) -> None:
        image, _ = drawn(600, 600, 320.0, 300.0, 300.0, math.radians(40))
        network = SeeingNetwork()
        looks = HandInferer(WINDOW, flip=False, wrist=3.0, wrist_share=0.0).looks(image[None], network)[0]
        assert len(looks) == 3
        carpus = network.seen[-1][0, [INDEX["Capitate"], INDEX["Hamate"]]].amax(dim=0) > 0.5
        rows, columns = carpus.nonzero(as_tuple=True)
        extent = max(int(rows.max() - rows.min()), int(columns.max() - columns.min()))
        # The extent is taken between the middles of cells of four pixels.
        assert extent == pytest.approx(WINDOW / 3.0, rel=0.15)
        assert float(rows.float().mean()) == pytest.approx(0.5 * WINDOW, abs=0.06 * WINDOW)
        capitate, hamate = (_middle(network.seen[-1][0, INDEX[name]] > 0.5) for name in ("Capitate", "Hamate"))
        assert capitate is not None
        assert hamate is not None
        assert abs(capitate[1] - hamate[1]) < 0.1 * WINDOW

    def test_what_it_shows_is_averaged_with_what_the_hand_showed_there(self) -> None:
        class Counting(SeeingNetwork):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return super().forward(image) + len(self.seen)

        image, _ = drawn(600, 600, 320.0, 300.0, 300.0, 0.0)
        inferer = HandInferer(WINDOW, turns=1, flip=False, wrist=2.2)
        looks = inferer.looks(image[None], Counting())[0]
        # Looks at the image, the hand and the wrist: 1, 2 and 3 over what is to be seen.
        logits = merged(looks, (600, 600))
        x, y = 300, 300 + round(0.4 * 320)
        assert float(logits[INDEX["Capitate"], y, x]) == pytest.approx(6.0 + 2.5, abs=0.05)
        x, y = 300, 300 - round(0.45 * 320)
        assert float(logits[TIP, y, x]) == pytest.approx(6.0 + 2.0, abs=0.05)

    def test_few_small_bones_are_shown_with_what_lies_around_them(self) -> None:
        logits = torch.full((NUM_BONES, 200, 200), -6.0)
        logits[INDEX["Capitate"], 100:110, 80:92] = 6.0
        view = wrist_view(logits, 2.2, 0.4)
        assert view is not None
        assert float(view[0, 0]) == pytest.approx(0.4)
        middle = view @ torch.tensor([99.5, 99.5, 1.0])
        assert middle.tolist() == pytest.approx([85.5, 104.5], abs=2.0)
        assert wrist_view(torch.full((NUM_BONES, 200, 200), -6.0), 2.2, 0.4) is None

    def test_at_the_border_it_shows_the_image_and_not_what_lies_beyond(self) -> None:
        image, _ = drawn(600, 600, 320.0, 300.0, 440.0, 0.0)
        network = SeeingNetwork()
        looks = HandInferer(WINDOW, flip=False, wrist=3.5).looks(image[None], network)[0]
        corners = looks[-1].matrix @ torch.tensor([[0.0, WINDOW - 1], [0.0, WINDOW - 1], [1.0, 1.0]])
        assert float(corners.min()) > -2
        assert float(corners.max()) < 601
        assert network.seen[-1][0, INDEX["Capitate"]].max() > 0.5

    def test_a_view_as_large_as_that_of_the_hand_is_not_looked_at(self) -> None:
        image, _ = drawn(600, 600, 320.0, 300.0, 300.0, 0.0)
        assert len(HandInferer(WINDOW, wrist=20.0).looks(image[None], SeeingNetwork())[0]) == 2
        assert len(HandInferer(WINDOW, closer=0, wrist=2.2).looks(image[None], SeeingNetwork())[0]) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"turns": 5}, "turns: expected a whole number, 1 to 4, got 5"),
        ({"turns": 0}, "1 to 4"),
        ({"turns": 1.5}, "turns: expected a whole number"),
        ({"turns": True}, "turns: expected a whole number"),
        ({"closer": -1}, "closer: expected a whole number, at least 0"),
        ({"margin": 0.5}, "margin: expected a number, at least 1"),
        ({"margin": "abc"}, "margin: expected a number"),
        ({"flip": "maybe"}, "flip: expected true or false, got 'maybe'"),
        ({"percentiles": (99.5, 0.5)}, "percentiles: expected a lower and a higher one"),
        ({"percentiles": (0.5, 200)}, "percentiles: expected a lower and a higher one"),
        ({"percentiles": 5}, "percentiles: expected a lower and a higher percentage"),
        ({"scales": (1.0, 0.8)}, "at least 1"),
        ({"scales": (1.0, None)}, "scales: expected a list of one or more numbers, at least 1 each"),
        ({"scales": ()}, "one or more"),
        ({"wrist": 0.5}, "wrist: expected at least 1, or 0"),
        ({"wrist": -1}, "wrist: expected a number, at least 1, or 0, got -1"),
        ({"wrist": float("inf")}, "wrist: expected a number, at least 1, or 0, got inf"),
        ({"wrist_share": 1.1}, "wrist_share: expected a number, 0 to 1"),
        ({"wrist_share": "abc"}, "wrist_share: expected a number, 0 to 1, got 'abc'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HandInferer(WINDOW, **options)  # type: ignore[arg-type]
