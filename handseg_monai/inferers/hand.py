"""An inferer that looks for the hand, and then looks closer at it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import avg_pool2d

from handseg_monai.bones import BONES, CARPALS, Group
from handseg_monai.inferers.looks import Look, LookingInferer, Network, averaged, between, composed, sample
from handseg_monai.options import HandView, arguments_of

_ALL = [bone.index for bone in BONES]
_HAND = [bone.index for bone in BONES if bone.group is not Group.FOREARM]
LEVEL = {
    Group.FOREARM: 0.0,
    Group.CARPAL: 1.0,
    Group.METACARPAL: 1.5,
    Group.PROXIMAL_PHALANX: 2.25,
    Group.MIDDLE_PHALANX: 2.8,
    Group.DISTAL_PHALANX: 3.2,
}
"""How far along the hand a group of bones lies, in any unit."""
_ARM = 1.1
"""Side of a look at hand and forearm, relative to the extent of their bones."""
_SURE = 28.0
"""Certainty, of 29 bones, from which a hand that points up as the image is need not be looked at in other turns."""


class HandInferer(LookingInferer):
    """Infer in views of the hand alone: find it in the whole image, then lay upright what was found and look again.

    The first look is at the whole image, in each of `turns` quarter turns, of which the one with the most certain
    bones counts; a hand that points up as the image is, with all of its bones certain, is looked at in no other turn.
    The bones found there say where the hand is and which way it points. Each further look is a square of `margin`
    times the hand's extent, turned so that the fingers point up, at `window` pixels; its intensities are stretched
    again between its own percentiles. Where looks overlap the last one counts, blended over its border; beyond it (down
    the forearm) the first one. Carpal bones are small and lie close together: a look at the wrist alone comes last, and
    what it shows is averaged with what the one before it showed there.

    Parameters
    ----------
    window
        Side of each look in pixels: what the network was trained on.
    turns
        Quarter turns of the first look, 1 to 4.
    closer
        Further looks, 0 or more; each starts from what the one before it found.
    margin
        Side of a further look, relative to the extent of the bones of the hand.
    percentiles
        Of the grey values of a further look, between which they are stretched.
    flip
        Average each further look with that at its mirror image.
    scales
        Average each further look over views whose side is `margin` times these, at least 1, in the frame of the first.
    wrist
        Side of the look at the wrist, relative to the extent of the carpal bones; 0: none.
    wrist_share
        The least side of it, relative to that of the look at the hand: a child's carpal bones, of which some have not
        appeared, would fill it without their neighbours.
    """

    @arguments_of(HandView)
    def __init__(
        self,
        window: int,
        turns: int = 4,
        closer: int = 1,
        margin: float = 1.25,
        percentiles: Sequence[float] = (0.5, 99.5),
        flip: bool = True,
        scales: Sequence[float] = (1.0,),
        wrist: float = 0.0,
        wrist_share: float = 0.4,
    ) -> None:
        super().__init__()
        self.window, self.turns, self.closer, self.margin = window, turns, closer, margin
        self.percentiles, self.flip, self.scales = tuple(percentiles), flip, tuple(scales)
        self.wrist, self.wrist_share = wrist, wrist_share

    def looks(self, inputs: torch.Tensor, network: Network) -> list[list[Look]]:
        """Looks at each of ``inputs``, (B, 1, H, W), float32: what the network saw in them, and where."""
        with self.seeing(network, inputs.device) as see:
            return [self._look(image, lambda view: see(view).float()) for image in inputs.float()]

    def look_at(self, image: torch.Tensor, matrix: torch.Tensor, network: Network) -> Look:
        """What the network saw in a view, (2, 3) as in a look, of an image (1, H, W), float32."""
        with self.seeing(network, image.device) as see:
            return Look(matrix, self._seen(image, matrix, lambda view: see(view).float()))

    def with_arm(self, image: torch.Tensor, looks: Sequence[Look], network: Network) -> list[Look]:
        """Looks at one image (1, H, W), float32, and among them one at hand and forearm, upright.

        It counts over the first look, and further looks over it: down the forearm, too, bones come from an upright view
        and its mirror image. ``looks`` are those that :meth:`looks` gave; where they show no hand they stay as they
        are.
        """
        first, *further = looks
        assert isinstance(first.logits, torch.Tensor)
        shape = (image.shape[-2], image.shape[-1])
        view = closer_view(first.logits, first.matrix, shape, self.window, _ARM, _ALL)
        if view is None:
            return [first, *further]
        arm = self.look_at(image.float(), view, network)
        return [first, Look(view, arm.logits, _ramp(self.window, image.device)), *further]

    def _look(self, image: torch.Tensor, network: Network) -> list[Look]:
        looks = [self._first_look(image, network)]
        for _ in range(self.closer):
            if (look := self._closer_look(image, looks[-1], network)) is None:
                break
            looks.append(look)
        if self.wrist and len(looks) > 1 and (wrist := self._wrist_look(image, looks[-1], network)) is not None:
            looks.append(wrist)
        return looks

    def _closer_look(self, image: torch.Tensor, last: Look, network: Network) -> Look | None:
        assert isinstance(last.logits, torch.Tensor)
        shape, window = (image.shape[-2], image.shape[-1]), (self.window, self.window)
        margins = [self.margin * scale for scale in self.scales]
        views = [closer_view(last.logits, last.matrix, shape, self.window, margin) for margin in margins]
        found = [matrix for matrix in views if matrix is not None]
        if not found:
            return None
        frame, *wider = found
        seen = [self._seen(image, frame, network)]
        seen += [sample(self._seen(image, m, network), between(frame, m), window, "border") for m in wider]
        return Look(frame, averaged(seen), _ramp(self.window, image.device))

    def _wrist_look(self, image: torch.Tensor, hand: Look, network: Network) -> Look | None:
        """Look at the wrist in the direction of the look at the hand; None where that shows it as large, or none."""
        assert isinstance(hand.logits, torch.Tensor)
        view = wrist_view(hand.logits, self.wrist, self.wrist_share)
        if view is None or float(view[0, 0]) >= 1:
            return None
        matrix = composed(hand.matrix, view).to(image.device, torch.float32)
        middle = torch.tensor([0.5 * (self.window - 1)] * 2 + [1.0], device=matrix.device)
        x, y = (matrix @ middle).tolist()
        side = self.window * float(torch.linalg.det(matrix[:, :2]).abs().sqrt())
        matrix[:, 2] += matrix.new_tensor(within((image.shape[-2], image.shape[-1]), side, x, y)) - matrix @ middle
        return Look(matrix, self._seen(image, matrix, network), 0.5 * _ramp(self.window, image.device))

    def _seen(self, image: torch.Tensor, matrix: torch.Tensor, network: Network) -> torch.Tensor:
        """Logits (29, h, w) of a view, and where asked for their mean with those of its mirror image."""
        view = stretched(sample(image, matrix, (self.window, self.window)), *self.percentiles)
        logits = network(view[None])[0]
        if not self.flip:
            return logits
        mirrored = network(view[None].flip(-1))[0].flip(-1)
        return mirrored.add_(logits).mul_(0.5)

    def _first_look(self, image: torch.Tensor, network: Network) -> Look:
        """Look at the whole image, in the quarter turn in which the network is most certain of the bones."""
        height, width = image.shape[-2:]
        step = max(height, width) / self.window
        matrix = _matrix(step, 0.0, 0.5 * (width - 1), 0.5 * (height - 1), self.window).to(image.device)
        view = sample(image, matrix, (self.window, self.window))
        best, most, upright = 0, -1.0, view
        for turn in range(self.turns):
            logits = network(view.rot90(turn, (-2, -1))[None])[0]
            if (certainty := float(_certainty(logits))) > most:
                best, most, upright = turn, certainty, logits
            if turn == 0 and most >= _SURE and _points_up(logits, matrix, (height, width)):
                break
        return Look(matrix, upright.rot90(-best, (-2, -1)).contiguous())


def _points_up(logits: torch.Tensor, matrix: torch.Tensor, shape: tuple[int, int]) -> bool:
    """Whether the fingers that an upright view shows point up, to within 45 degrees."""
    view = closer_view(logits, matrix, shape, logits.shape[-1], 1.0)
    return view is not None and float(view[0, 0]) > abs(float(view[1, 0]))


def _ramp(window: int, device: torch.device) -> torch.Tensor:
    """Return how far each pixel of a further look counts: less towards its border."""
    edge = torch.minimum(torch.arange(window), torch.arange(window).flip(0)).float().to(device)
    return (torch.minimum(edge[:, None], edge[None, :]) / (0.06 * window)).clamp(0, 1)


def _matrix(step: float, angle: float, x: float, y: float, window: int) -> torch.Tensor:
    """Return (2, 3): pixel of a square view to pixel of the image; its middle shows (x, y)."""
    turn = torch.tensor(angle)
    cosine, sine = float(torch.cos(turn)) * step, float(torch.sin(turn)) * step
    half = 0.5 * (window - 1)
    return torch.tensor(
        [
            [cosine, -sine, x - half * (cosine - sine)],
            [sine, cosine, y - half * (sine + cosine)],
        ]
    )


def stretched(image: torch.Tensor, lower: float = 0.5, upper: float = 99.5) -> torch.Tensor:
    """Stretch grey values between two percentiles to [0, 1], clipped; of an even image nothing but zeros is left."""
    values = image.flatten()[:: max(1, image.numel() // 65536)]
    low, high = torch.quantile(values, torch.tensor([lower / 100, upper / 100], device=image.device))
    return ((image - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)


def _certainty(logits: torch.Tensor) -> torch.Tensor:
    """Return the sum over the bones of the mean probability inside of what is taken for the bone."""
    probability = avg_pool2d(logits[None], 4)[0].sigmoid()
    inside = probability > 0.5
    count = inside.sum(dim=(-2, -1))
    mean = (probability * inside).sum(dim=(-2, -1)) / count.clamp_min(1)
    return (mean * (count >= 2)).sum()


def closer_view(
    logits: torch.Tensor,
    matrix: torch.Tensor,
    shape: tuple[int, int],
    window: int,
    margin: float,
    bones: Sequence[int] = _HAND,
) -> torch.Tensor | None:
    """Return the view (2, 3) of a hand upright, from what a view showed; None where that is no hand.

    ``logits``, float (29, h, w), are those of the view ``matrix``. The new one leaves the image of ``shape`` (height,
    width) only where it must, and shows ``bones``, or what it found of them: at least three of the hand. For ``window``
    and ``margin`` see :class:`HandInferer`.
    """
    coarse = avg_pool2d(logits[None], 4)[0].sigmoid()
    inside = coarse > 0.5
    count = inside.sum(dim=(-2, -1))
    found = (count >= 2).nonzero().flatten()
    hand = [bone for bone in found.tolist() if bone in set(_HAND)]
    if len(hand) < 3:
        return None
    y, x = torch.meshgrid(
        *(torch.arange(n, device=logits.device, dtype=torch.float32) for n in inside.shape[1:]), indexing="ij"
    )
    places = torch.stack([x, y], dim=-1) * 4 + 1.5
    matrix = matrix.to(logits.device, torch.float32)
    places = places @ matrix[:, :2].T + matrix[:, 2]
    middles = torch.stack([places[inside[bone]].mean(dim=0) for bone in found.tolist()])
    levels = torch.tensor([LEVEL[BONES[bone].group] for bone in found.tolist()], device=logits.device)
    centred = levels - levels.mean()
    if float(centred.abs().max()) < 0.2:
        return None
    # The direction in which the level rises: fingers.
    up = (centred[:, None] * (middles - middles.mean(dim=0))).sum(dim=0)
    angle = float(torch.atan2(up[0], -up[1]))
    turn = _matrix(1.0, angle, 0.0, 0.0, 1)[:, :2].to(logits.device)
    spread = torch.cat([places[inside[bone]] for bone in found.tolist() if bone in set(bones)]) @ turn
    low, high = (torch.quantile(spread, q, dim=0) for q in (0.002, 0.998))
    middle = turn @ (0.5 * (low + high))
    # Where a wrist fills the image, the forearm stays in view.
    extent = min(float((high - low).max()) * margin, float(max(shape)))
    at_x, at_y = within(shape, extent, float(middle[0]), float(middle[1]))
    return _matrix(extent / window, angle, at_x, at_y, window).to(logits.device)


def within(shape: tuple[int, int], extent: float, x: float, y: float) -> tuple[float, float]:
    """Return the middle nearest to (x, y) of an upright square view that leaves the image no further than it must."""
    half = 0.5 * (extent - 1)
    near_x, near_y = (
        min(max(place, min(half, side - 1 - half)), max(half, side - 1 - half))
        for place, side in ((x, shape[1]), (y, shape[0]))
    )
    return near_x, near_y


def wrist_view(logits: torch.Tensor, margin: float, share: float) -> torch.Tensor | None:
    """Return the view (2, 3) of the wrist, its pixels to those of an upright view of the hand; None of too few bones.

    For ``margin`` and ``share`` see ``wrist`` and ``wrist_share`` of :class:`HandInferer`.
    """
    window = logits.shape[-1]
    rows, columns = (avg_pool2d(logits[list(CARPALS)], 4) > 0).any(dim=0).nonzero(as_tuple=True)
    if len(rows) < 6:
        return None
    places = torch.stack([columns, rows], dim=-1) * 4 + 1.5
    low, high = (torch.quantile(places, q, dim=0) for q in (0.01, 0.99))
    extent = max(float((high - low).max()) * margin, share * window)
    x, y = (0.5 * (low + high)).tolist()
    return _matrix(extent / window, 0.0, x, y, window).to(logits.device)
