"""What an image shows before its masks are drawn: bright bones or dark ones, one hand or two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from torch.nn.functional import interpolate, max_pool2d, pad, unfold

from handseg_monai.bones import BONES, CARPALS, Group
from handseg_monai.inferers.coarse import coarse_probabilities
from handseg_monai.inferers.hand import LEVEL
from handseg_monai.inferers.looks import Box, Look, box_around
from handseg_monai.transforms import fitted_shape

_GRID = 192
"""Long side of the grid on which a scene is judged, pixels."""
_AROUND = 13
"""Side of the square whose middle counts as around a bone where the square touches it, pixels of the grid."""
_BRIGHT = 0.15
"""Bones that stand out so brightly are not dark: of 140 hard phantoms those of no negative come to it."""
_STANDS_OUT = 10.0
"""Bones that count as much as one grey value, black to white, by which they stand out."""
_LEAST_AREA = 4
"""Of a bone that counts, pixels of the grid."""
_ACROSS = {
    **{"Trapezium": 1.3, "Trapezoid": 2.2, "Capitate": 3.0, "Hamate": 4.2, "Radius": 2.2, "Ulna": 4.4},
    **{"Scaphoid": 1.8, "Lunate": 3.0, "Triquetrum": 4.4, "Pisiform": 4.8},
}
"""How far across the hand bones lie that belong to no ray, in rays from the thumb."""
_DIRECTIONS = 24
"""In which a line is tried between two hands."""
_POINTS = 800
"""Pixels that are looked at, at most twice as many."""
_LEAST_SHARE = 0.2
"""Of the pixels of bones or of what is bright, that lies on either side of such a line."""
_NEAR = (0.01, 0.03)
"""What is near a line, in shares of the extent of the bones."""
_TOUCHED = 0.06
"""Share of the pixels near a line, from which it would cut a hand."""
_MARGIN = 5
"""Around a part, pixels of the grid: enough for even background along the box's border."""
_CORE = [b.index for b in BONES if b.group in (Group.CARPAL, Group.METACARPAL) and b.ray != 1]
"""Bones that lie deep in a hand, so that a line leaves them on their own side."""
_SECOND_CARPUS, _APART = 0.4, 1.5
"""A second group of carpal bones is at least so large as the first one, and so many times their length away."""
_NEXT = [b.index for b in BONES if b.group is Group.PROXIMAL_PHALANX or (b.group is Group.METACARPAL and b.ray == 1)]
_NEAR_LINE = 3
"""What is nearer to a line, pixels of the grid, may belong to the other hand, unless it lies deep in a hand."""
_SHARED = 1.0
"""Where fingers cross: what is hardly farther from one hand than from the other, in steps beside it, both show."""
_THICK = 77
"""What is narrower may be a hand beside another one, pixels of the grid."""
_THROUGH, _OVER = 40.0, 8.0
"""A step through bones of the hand is so many times shorter than one beside it, and one out of it so much longer. Of 49
pairs of phantoms less than .1 % of the bones fell to the other hand, and less than 1 % of any hand."""
_REACH = 30.0
"""Way from a hand, in steps beside it, within which all of the hand lies."""
_TISSUE, _LEAST_CUT = 0.1, 12
"""Brightness of a hand, where its bones have 1, and pixels of the grid from which a line cuts it."""
_COMMON, _ALIKE = 12.5, 0.65
"""Certainties of two hands, the lower one of each bone, summed: at least so much, and so large a share of the more
certain hand's own. A piece of a hand, with what the network makes up in it, came to 14.1 of the 28.2 beside it; halves
of one hand to 10.7 of 25.9."""


@dataclass(frozen=True)
class Scene:
    """What networks saw in an image, on a coarse grid."""

    image: torch.Tensor
    """float32 (1, H, W), grey values in [0, 1]: what they saw."""
    members: Sequence[Sequence[Look]]
    """Looks of each network."""
    probabilities: torch.Tensor
    """float32 (29, h, w), their mean."""
    certainties: torch.Tensor
    """float32 (29,): mean probability inside of what is taken for the bone; 0 where nothing is."""
    grey: torch.Tensor
    """float32 (h, w), the image on the grid."""
    brightness: float
    """How much brighter bones are than what lies around them, -1 to 1; 0 where there is none."""

    @property
    def surely_bright(self) -> bool:
        """Whether bones stand out so brightly that nobody need look at the negative."""
        return self.brightness >= _BRIGHT

    @property
    def certainty(self) -> float:
        """Sum of the certainties, 0 to 29."""
        return float(self.certainties.sum())

    @property
    def evidence(self) -> float:
        """Certainty and brightness together, by which a picture and its negative compare."""
        return self.certainty + _STANDS_OUT * self.brightness

    @property
    def area(self) -> int:
        """Pixels of bones."""
        return int((self.probabilities.amax(dim=0) > 0.5).sum())

    @property
    def frame(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of what is seen, in (x, y): the middle, which way the fingers point, and which way the rays count up."""
        inside = self.probabilities > 0.5
        found = self.certainties.nonzero().flatten().tolist()
        if not found:
            zero = self.probabilities.new_zeros(2)
            return zero, zero, zero
        middles = torch.stack([inside[bone].nonzero().float().mean(dim=0).flip(0) for bone in found])
        level = middles.new_tensor([LEVEL[BONES[bone].group] for bone in found])
        ray = middles.new_tensor([BONES[bone].ray or _ACROSS[BONES[bone].name] for bone in found])
        middle = middles.mean(dim=0)
        up, across = ((of - of.mean()) @ (middles - middle) for of in (level, ray))
        return middle, up, across


class Looking(Protocol):
    """Looks at an image, float32 (1, h, w), or at a box of it alone, and judges the scene in the whole of it."""

    def __call__(self, image: torch.Tensor, box: Box = ...) -> Scene:
        """Look."""
        ...


def scene_of(members: Sequence[Sequence[Look]], image: torch.Tensor) -> Scene:
    """Judge looks of networks at an image, float32 (1, h, w), grey values in [0, 1]."""
    shape = (image.shape[-2], image.shape[-1])
    probabilities = coarse_probabilities(members, shape, _GRID)
    inside = probabilities > 0.5
    count = inside.sum(dim=(-2, -1))
    mean = (probabilities * inside).sum(dim=(-2, -1)) / count.clamp_min(1)
    grey = interpolate(image[None, :1], fitted_shape(shape, _GRID), mode="bilinear", antialias=True)[0, 0]
    return Scene(
        image, members, probabilities, mean * (count >= _LEAST_AREA), grey, _brightness(grey, inside.any(dim=0))
    )


def _brightness(grey: torch.Tensor, bones: torch.Tensor) -> float:
    around = (max_pool2d(bones[None].float(), _AROUND, 1, _AROUND // 2)[0] > 0) & ~bones
    if not bones.any() or not around.any():
        return 0.0
    return float(grey[bones].mean() - grey[around].mean())


def two_hands(scene: Scene, look: Looking) -> list[Scene]:
    """Look at two parts of a scene's image that may be hands: scenes of two hands, or none.

    A line parts the bones that were found, or else what is bright, where it touches hardly any bone. Each part is
    looked at in the box around it, with even background beyond the line. If there are two groups of carpal bones, the
    line lies between them. Two parts are hands where they show most of the same bones, rather than halves of one hand.
    Where the line cuts a hand, each hand is looked at once more, with all that belongs to it and little more.
    """
    bones = scene.probabilities.amax(dim=0) > 0.5
    rows, columns = (torch.arange(n, device=bones.device) for n in bones.shape)
    wrists = _wrists(scene)
    for mask in (bones, _bright(scene.grey)):
        line = _line_between(mask, wrists)
        if line is None:
            continue
        beyond = line[0] * columns[None, :] + line[1] * rows[:, None] + line[2]
        if mask is not bones and _touched(beyond, bones) > _TOUCHED:
            continue
        # First the part with fewer bones, of which one look says mostly that it is no hand.
        if beyond[bones].ge(0).float().mean() < 0.5:
            beyond = -beyond
        hands: list[Scene] = []
        for part in _parts(beyond, (beyond < 0, beyond >= 0), scene.image):
            hands.append(look(*part))
            if hands[-1].certainty < _COMMON:
                break
        else:
            if _alike(hands) and (own := _own(hands, beyond, scene.grey)) is not None:
                hands = [look(*part) for part in _parts(*own, scene.image, _SHARED)]
            if _alike(hands):
                return hands
    return []


def _alike(hands: Sequence[Scene]) -> bool:
    """Whether two scenes show most of the same bones."""
    common = float(torch.minimum(hands[0].certainties, hands[1].certainties).sum())
    return common >= max(_COMMON, _ALIKE * max(hand.certainty for hand in hands))


def _touched(beyond: torch.Tensor, mask: torch.Tensor) -> float:
    """Return the share of a mask (h, w) near a line, from which each pixel of the grid lies so far, (h, w)."""
    if not mask.any():
        return 0.0
    rows, columns = mask.nonzero(as_tuple=True)
    extent = math.hypot(int(rows.max() - rows.min()), int(columns.max() - columns.min())) + 1
    distance = beyond[mask] / extent
    return sum(float((-0.5 * (distance / near) ** 2).exp().mean()) for near in _NEAR)


def _own(
    hands: Sequence[Scene], beyond: torch.Tensor, grey: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]] | None:
    """Return how much farther from the first of two hands than from the second each pixel of the grid lies, (h, w).

    With it come masks of what lies near either hand. A way through a hand is short, and one over its outline long, so
    that a finger beyond the line belongs to the hand from which it comes. None where the line cuts no hand.
    """
    first, second = (
        _surely(hand.probabilities > 0.5, beyond.abs() >= _NEAR_LINE) & side
        for hand, side in zip(hands, (beyond < 0, beyond >= 0), strict=True)
    )
    if not first.any() or not second.any():
        return None
    above = _above(grey)
    above = above / above[first | second].median().clamp_min(1e-3)
    steps = 1 / (1 + _THROUGH * above.flatten()) + _OVER * (_around(above) - above.flatten()).abs()
    to_first, to_second = _ways(first, steps), _ways(second, steps)
    own = to_first - to_second
    if int(((above > _TISSUE) & ((own < 0) != (beyond < 0))).sum()) < _LEAST_CUT:
        return None
    return own, ((to_first < _REACH) & (own < 0), (to_second < _REACH) & (own >= 0))


def _surely(bones: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
    """Return what surely belongs to a hand, (h, w), of bones found, (29, h, w), and what lies far from the line."""
    return bones[_CORE].any(dim=0) | (bones[_NEXT].any(dim=0) & far)


def _ways(start: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Return the length (h, w) of the shortest way from any pixel of a mask, by steps from the nine around each."""
    places = torch.arange(start.numel(), dtype=torch.float64).view(start.shape)
    origin = _around(places).numpy()
    _, target = inside = np.isfinite(origin).nonzero()
    edges = csr_array(
        (steps.cpu().numpy()[inside], (origin[inside].astype(np.int64), target)), shape=(start.numel(),) * 2
    )
    ways = dijkstra(edges, indices=np.flatnonzero(start.cpu().numpy()), min_only=True)
    return torch.from_numpy(ways.astype(np.float32)).view(start.shape).to(start.device)


def _around(plane: torch.Tensor) -> torch.Tensor:
    """Return what the nine pixels around each pixel of a plane (h, w) hold, infinity beyond it: (9, h w)."""
    return unfold(pad(plane[None, None], (1, 1, 1, 1), value=torch.inf), 3)[0]


def _bright(grey: torch.Tensor) -> torch.Tensor:
    """Return what is brighter, above its surroundings, than Otsu's threshold."""
    values = (255 * _above(grey).clamp(0, 1)).byte().cpu().numpy()
    _, bright = cv2.threshold(values, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return torch.from_numpy(bright).to(grey.device) > 0


def _above(grey: torch.Tensor) -> torch.Tensor:
    """Return how much brighter a grid (h, w) is than what lies around anything as narrow as a hand."""
    # Beyond its border the grid goes on as it is there, so that an edge of the collimation is as wide as it may be.
    padded = cv2.copyMakeBorder(grey.cpu().numpy(), _THICK, _THICK, _THICK, _THICK, cv2.BORDER_REPLICATE)
    above = cv2.morphologyEx(padded, cv2.MORPH_TOPHAT, np.ones((_THICK, _THICK), np.uint8))
    return torch.from_numpy(above[_THICK:-_THICK, _THICK:-_THICK].copy()).to(grey.device)


def _parts(
    beyond: torch.Tensor, around: Sequence[torch.Tensor], image: torch.Tensor, shared: float = 0.0
) -> list[tuple[torch.Tensor, Box]]:
    """Return two images, (1, h, w), each with one part alone: where a field of the grid is negative, and elsewhere.

    Both show where it differs from 0 by less than ``shared``. With each image comes the box around its mask of the
    grid, and a little more.
    """
    height, width = image.shape[-2:]
    step = height / beyond.shape[0], width / beyond.shape[1]
    beyond = interpolate(beyond[None, None], (height, width), mode="bilinear")[0, 0]
    near = image[:, beyond.abs() < 0.02 * _GRID]
    background = near.median() if near.numel() else image.median()
    parts = []
    for side, mask in zip((beyond < shared, beyond >= -shared), around, strict=True):
        top, left, bottom, right = box_around(mask)
        rows = slice(max(int((top - _MARGIN) * step[0]), 0), min(math.ceil((bottom + _MARGIN) * step[0]), height))
        columns = slice(max(int((left - _MARGIN) * step[1]), 0), min(math.ceil((right + _MARGIN) * step[1]), width))
        parts.append((torch.where(side, image, background), (rows.start, columns.start, rows.stop, columns.stop)))
    return parts


def _wrists(scene: Scene) -> np.ndarray | None:
    """Return the middles (x, y) of two groups of carpal bones, (2, 2); None of one, whole or in pieces."""
    carpus = (scene.probabilities[list(CARPALS)] > 0.5).any(dim=0).byte().cpu().numpy()
    closed = cv2.morphologyEx(carpus, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, _, found, middles = cv2.connectedComponentsWithStats(closed)
    sizes = found[1:, cv2.CC_STAT_AREA]
    large = 1 + np.flatnonzero(sizes >= max(_SECOND_CARPUS * sizes.max(initial=0), 2 * _LEAST_AREA))
    if len(large) != 2:
        return None
    first, second = middles[large]
    far = np.linalg.norm(first - second) > _APART * found[large][:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max()
    return middles[large] if far else None


def _line_between(mask: torch.Tensor, wrists: np.ndarray | None = None) -> torch.Tensor | None:
    """Return (a, b, c), (a, b) of length 1: ``a x + b y + c`` is 0 on the line that a mask (h, w) touches least.

    It lies between ``wrists``, (x, y) of two, if they are given. None where any line with enough of the mask on both
    sides cuts it.
    """
    rows, columns = mask.nonzero(as_tuple=True)
    if len(rows) < _LEAST_AREA:
        return None
    # So few points are quicker on the processor than by waiting for a device at each step.
    points = torch.stack([columns, rows], dim=1).float()[:: max(1, len(rows) // _POINTS)].cpu()
    extent = float((points.amax(dim=0) - points.amin(dim=0)).norm()) + 1
    least, line = _TOUCHED, None
    for step in range(_DIRECTIONS):
        angle = math.pi * step / _DIRECTIONS
        normal = points.new_tensor([math.cos(angle), math.sin(angle)])
        along = (points @ normal).sort().values
        low, high = (float(along[int((len(along) - 1) * share)]) for share in (_LEAST_SHARE, 1 - _LEAST_SHARE))
        places = torch.arange(low, high + 1e-3, 0.01 * extent)
        distance = (along[None] - places[:, None]).abs() / extent
        touched = torch.stack([(-0.5 * (distance / near) ** 2).exp().mean(dim=1) for near in _NEAR]).sum(dim=0)
        if wrists is not None:
            one, other = sorted((wrists @ [math.cos(angle), math.sin(angle)]).tolist())
            touched[(places <= one) | (places >= other)] = torch.inf
        if float(touched.min()) < least:
            least = float(touched.min())
            line = torch.cat([normal, -places[touched.argmin()][None]])
    return line if line is None else line.to(mask.device)


def sides(first: Scene, second: Scene) -> tuple[list[str], bool]:
    """Say which hand each of two scenes shows, in a PA view, and whether the order of their bones says so.

    Where both look like the same hand, the one that lies to the left of the other counts as the left one, seen with
    fingers upwards.
    """
    frames = [first.frame, second.frame]
    right = [float(up[0] * across[1] - up[1] * across[0]) > 0 for _, up, across in frames]
    told = right[0] != right[1]
    if not told:
        (here, up, _), (there, other_up, _) = frames
        up = up + other_up
        to_the_right = torch.stack([-up[1], up[0]])
        right[0] = float((here - there) @ to_the_right) > 0
        right[1] = not right[0]
    return ["right" if one else "left" for one in right], told
