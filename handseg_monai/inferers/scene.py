"""What an image shows before its masks are drawn: bright bones or dark ones, one hand or two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import torch
from torch.nn.functional import interpolate, max_pool2d

from handseg_monai.bones import BONES
from handseg_monai.inferers.coarse import coarse_probabilities
from handseg_monai.inferers.hand import LEVEL
from handseg_monai.inferers.looks import Look
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
_COMMON, _ALIKE = 12.5, 0.65
"""Certainties of two hands, the lower one of each bone, summed: at least so much, and so large a share of the more
certain hand's own. A piece of a hand, with what the network makes up in it, came to 14.1 of the 28.2 beside it; halves
of one hand to 10.7 of 25.9."""


@dataclass(frozen=True)
class Scene:
    """What networks saw in an image, on a coarse grid."""

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


def scene_of(members: Sequence[Sequence[Look]], image: torch.Tensor) -> Scene:
    """Judge looks of networks at an image, float32 (1, h, w), grey values in [0, 1]."""
    shape = (image.shape[-2], image.shape[-1])
    probabilities = coarse_probabilities(members, shape, _GRID)
    inside = probabilities > 0.5
    count = inside.sum(dim=(-2, -1))
    mean = (probabilities * inside).sum(dim=(-2, -1)) / count.clamp_min(1)
    grey = interpolate(image[None, :1], fitted_shape(shape, _GRID), mode="bilinear", antialias=True)[0, 0]
    return Scene(members, probabilities, mean * (count >= _LEAST_AREA), grey, _brightness(grey, inside.any(dim=0)))


def _brightness(grey: torch.Tensor, bones: torch.Tensor) -> float:
    around = (max_pool2d(bones[None].float(), _AROUND, 1, _AROUND // 2)[0] > 0) & ~bones
    if not bones.any() or not around.any():
        return 0.0
    return float(grey[bones].mean() - grey[around].mean())


def two_hands(scene: Scene, image: torch.Tensor, look: Callable[[torch.Tensor], Scene]) -> list[Scene]:
    """Look at two parts of an image, (1, h, w), that may be hands: scenes of two hands, or none.

    A line parts the bones that were found, or else what is bright, where nearly all bones that were found lie on one
    side. Each part is looked at in an image of the same size that is even background beyond the line. Two parts are
    hands where they show most of the same bones, rather than halves of one hand.
    """
    bones = scene.probabilities.amax(dim=0) > 0.5
    for mask in (bones, _bright(scene.grey)):
        line = _line_between(mask)
        if line is None or (mask is not bones and not _spares(line, bones)):
            continue
        hands: list[Scene] = []
        for part in _parts(line, bones, image):
            hands.append(look(part))
            if hands[-1].certainty < _COMMON:
                break
        else:
            common = float(torch.minimum(hands[0].certainties, hands[1].certainties).sum())
            if common >= max(_COMMON, _ALIKE * max(hand.certainty for hand in hands)):
                return hands
    return []


def _bright(grey: torch.Tensor) -> torch.Tensor:
    """Return what is brighter than Otsu's threshold."""
    values = (255 * grey.clamp(0, 1)).byte().cpu().numpy()
    _, bright = cv2.threshold(values, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return torch.from_numpy(bright).to(grey.device) > 0


def _parts(line: torch.Tensor, mask: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
    """Return two images, (1, h, w), with either part of one alone, first the one with less of a mask of the grid."""
    height, width = image.shape[-2:]
    # Pixels of the image to those of the grid, both counted from their middles.
    step = mask.shape[1] / width, mask.shape[0] / height
    x = (torch.arange(width, device=image.device) + 0.5) * step[0] - 0.5
    y = (torch.arange(height, device=image.device) + 0.5) * step[1] - 0.5
    beyond = line[0] * x[None, :] + line[1] * y[:, None] + line[2]
    near = image[:, beyond.abs() < 0.02 * _GRID]
    background = near.median() if near.numel() else image.median()
    images = [torch.where(side, image, background) for side in (beyond < 0, beyond >= 0)]
    rows, columns = mask.nonzero(as_tuple=True)
    is_less = float((line[0] * columns + line[1] * rows + line[2] >= 0).float().mean()) < 0.5
    return images[::-1] if is_less else images


def _spares(line: torch.Tensor, bones: torch.Tensor) -> bool:
    """Whether nearly all bones of the grid, bool (h, w), lie on one side of a line."""
    rows, columns = bones.nonzero(as_tuple=True)
    beyond = line[0] * columns + line[1] * rows + line[2] >= 0
    return min(int(beyond.sum()), int((~beyond).sum())) <= _LEAST_SHARE * len(rows)


def _line_between(mask: torch.Tensor) -> torch.Tensor | None:
    """Return (a, b, c), (a, b) of length 1: ``a x + b y + c`` is 0 on the line that a mask (h, w) touches least.

    None where any line with enough of the mask on both sides cuts it.
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
