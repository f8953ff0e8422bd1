"""A closer look at the region around one bone, where masks of the hand are there already."""

from __future__ import annotations

import numpy as np
import torch

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import BONES, NAMES, NEIGHBOURS, Group
from handseg_monai.inferers.coarse import coarse_masks
from handseg_monai.inferers.hand import HandInferer, closer_view, within
from handseg_monai.inferers.looks import Look, Network, whole_view
from handseg_monai.inferers.windows import WindowsInferer
from handseg_monai.transforms import fitted_shape

_GRID = 512
"""Long side of the grid on which the masks say where the hand lies, pixels."""
_SURE = 10.0
"""Logit of a bone where a mask says so."""
_AROUND = 2.2
"""Side of a view, at least, relative to the bone's own extent: what :class:`HandInferer` shows of the wrist."""
_SHARES = {Group.CARPAL: (0.4, 0.6, 0.8), Group.FOREARM: (0.4, 0.6, 0.8)}
"""Sides of the views, relative to that of a look at the hand."""
_OF_RAYS = (0.6, 0.8, 1.0)
"""The same of other bones: closer by, the network takes one phalanx for another."""


def looks_around(
    inferer: HandInferer | WindowsInferer, image: torch.Tensor, planes: np.ndarray, bone: int, network: Network
) -> list[Look]:
    """Look at the region around a bone: what the network sees in views of it, with the logits of that bone alone.

    The mean of their probabilities counts.

    Parameters
    ----------
    inferer
        How the network sees its images. Of whole hands upright: three views that are upright too, the bone in their
        middle. Of windows of the image: one window, the bone in its middle.
    image
        float32 (1, h, w), grey values in [0, 1], bones bright.
    planes
        Bit planes, int32 (H, W), of the same image at any size. They say where the bone lies, or where it has no mask,
        where the bones do that articulate with it; and which way the fingers point.
    bone
        Its index.
    network
        What to look with, under the autocast that is in force.

    Raises
    ------
    ValueError
        No mask says where the bone lies.
    """
    shape = (image.shape[-2], image.shape[-1])
    x, y, extent = _place(planes, bone, shape)
    if isinstance(inferer, WindowsInferer):
        return [_alone(inferer.look_at(image, _view(torch.eye(2), x, y, inferer.roi_size), network), bone)]
    grid = fitted_shape((planes.shape[0], planes.shape[1]), _GRID)
    masks = coarse_masks(torch.from_numpy(planes), grid)
    logits = torch.where(masks, _SURE, -_SURE)
    hand = closer_view(logits, whole_view(grid, shape), shape, inferer.window, inferer.margin)
    if hand is None:
        hand = whole_view((inferer.window, inferer.window), (max(shape), max(shape))).float()
    step = float(torch.linalg.det(hand[:, :2]).abs().sqrt())
    looks = []
    for share in _SHARES.get(BONES[bone].group, _OF_RAYS):
        side = max(_AROUND * extent, share * step * inferer.window)
        turn = hand[:, :2] / step * (side / inferer.window)
        matrix = _view(turn, *within(shape, side, x, y), (inferer.window, inferer.window))
        looks.append(_alone(inferer.look_at(image, matrix.to(image.device), network), bone))
    return looks


def _view(turn: torch.Tensor, x: float, y: float, window: tuple[int, int]) -> torch.Tensor:
    """Matrix (2, 3) of a view whose middle shows (x, y)."""
    middle = turn @ torch.tensor([0.5 * (window[1] - 1), 0.5 * (window[0] - 1)])
    return torch.cat([turn, (torch.tensor([x, y]) - middle)[:, None]], dim=1)


def _alone(look: Look, bone: int) -> Look:
    assert isinstance(look.logits, torch.Tensor)
    alone = torch.full_like(look.logits, -_SURE)
    alone[bone] = look.logits[bone]
    return Look(look.matrix, alone)


def _place(planes: np.ndarray, bone: int, shape: tuple[int, int]) -> tuple[float, float, float]:
    """Middle (x, y) and extent of a bone, or of what articulates with it, in pixels of an image of ``shape``."""
    found = dict(boxes(planes))
    near = (
        [bone] if bone in found else [other for pair in NEIGHBOURS if bone in pair for other in pair if other in found]
    )
    if not near:
        raise ValueError(
            f"no mask says where {NAMES[bone]} lies: neither it nor a bone beside it has one; draw it first"
        )
    scale = shape[0] / planes.shape[0], shape[1] / planes.shape[1]
    middles = [[0.5 * (box[k].start + box[k].stop) * scale[k] for k in (1, 0)] for box in map(found.get, near) if box]
    rows, columns = found[near[0]]
    extent = max((rows.stop - rows.start) * scale[0], (columns.stop - columns.start) * scale[1])
    x, y = np.mean(middles, axis=0).tolist()
    return x - 0.5, y - 0.5, extent if bone in found else 0.0
