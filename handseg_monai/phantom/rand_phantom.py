"""Dictionary transform that views and exposes a cached phantom anew each time: the training images of pretraining."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from monai.transforms import RandomizableTransform
from numpy.typing import NDArray

from handseg_monai.bones import ALL_KNOWN, BONES, CARPALS, Group
from handseg_monai.phantom.acquisition.exposure import expose
from handseg_monai.phantom.cache import load_components
from handseg_monai.phantom.components import Components
from handseg_monai.phantom.placement import shortness
from handseg_monai.phantom.presets import preset
from handseg_monai.phantom.ranges import Range
from handseg_monai.phantom.resample import averaged
from handseg_monai.phantom.second_hand import add_second_hand
from handseg_monai.phantom.view import OPPOSITE

_AIR = 16
"""Pixels of air: more than the coarsest view averages."""
_HAND = np.int32(sum(1 << bone.index for bone in BONES if bone.group is not Group.FOREARM))
_CARPUS = np.int32(sum(1 << bone for bone in CARPALS))


@dataclass(frozen=True)
class ViewRanges:
    """What a training image shows of a hand. Ranges are (low, high) of a uniform draw; *shares* are 0 to 1.

    A view is *close* (the whole hand fills it), *wide* (a hand somewhere in a larger image), a *wrist*, or a *part*
    (any few bones). Extents are the side of the view in millimetres, for a child's hand that of an adult's.
    """

    close: Range = (185.0, 265.0)
    wide: Range = (265.0, 430.0)
    wrist: Range = (60.0, 150.0)
    part: Range = (90.0, 185.0)
    wide_share: float = 0.15
    wrist_share: float = 0.35
    part_share: float = 0.2
    wrist_shift: Range = (-0.25, 0.25)
    """Middle of a wrist view from that of the carpus, relative to its extent."""
    shift: Range = (-18.0, 18.0)
    """Middle of a close view from that of the hand, millimetres."""
    turn: Range = (-30.0, 30.0)
    """Turn of a close view, a wrist or a part, degrees."""
    wide_turn: Range = (-55.0, 55.0)
    """Turn of a wide view, degrees: the first look at an image is taken at every quarter turn."""
    turned_share: float = 0.08
    """Share of views at any angle."""
    box_share: float = 0.3
    """Share of images that are not square: bars beside or above and below them show nothing."""
    box: Range = (0.6, 0.95)
    """Short side of such an image, relative to the long one."""
    stretch: Range = (0.92, 1.08)
    """Height against width, factor."""
    shear: Range = (-0.06, 0.06)
    """Slope of the vertical against the horizontal."""
    bend: Range = (0.0, 1.5)
    """Smooth deformation of everything in view, standard deviation in millimetres."""
    bend_length: Range = (25.0, 70.0)
    """Distance over which it changes, millimetres."""


def rand_view(rng: np.random.Generator, ranges: ViewRanges, parts: Components, size: int) -> Components:
    """Return a drawn view of a hand, (size, size); where the view leaves the hand's own image the forearm goes on.

    Attenuations are averaged over areas where the view is coarser and interpolated linearly; planes come from the
    nearest pixel, exact in value.
    """
    parts = _in_air(parts)
    kind = _kind(rng.random(), ranges)
    extent = rng.uniform(*getattr(ranges, kind))
    turned = rng.random() < ranges.turned_share
    turn = (-180.0, 180.0) if turned else ranges.wide_turn if kind == "wide" else ranges.turn
    angle = np.radians(rng.uniform(*turn))
    stretch, shear = rng.uniform(*ranges.stretch), rng.uniform(*ranges.shear)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    rows, columns = np.nonzero(parts.planes[::4, ::4] & (_CARPUS if kind == "wrist" else _HAND))
    low, high = (np.array([f(columns), f(rows)]) * 4.0 for f in (np.min, np.max))
    of_hand = np.flatnonzero((parts.planes[::4, ::4] & _HAND).any(axis=1))
    child = shortness(4.0 * parts.spacing * float(np.ptp(of_hand)))
    extent *= child
    middle = 0.5 * (low + high)
    if kind == "part":
        pick = int(rng.integers(len(rows)))
        middle = np.array([columns[pick], rows[pick]]) * 4.0
    elif kind == "wrist":
        middle = middle + rng.uniform(*ranges.wrist_shift, 2) * extent / parts.spacing
    elif kind == "wide":
        middle = middle + rng.uniform(-0.5, 0.5, 2) * max(extent - 200.0 * child, 0.0) / parts.spacing
    else:
        middle = middle + rng.uniform(*ranges.shift, 2) / parts.spacing
    step = extent / size / parts.spacing
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[mirror, shear], [0.0, stretch]]) * step
    grid = np.arange(size, dtype=np.float32) - np.float32(0.5 * (size - 1))
    x, y = np.meshgrid(grid, grid)
    across = np.float32(matrix[0, 0]) * x + np.float32(matrix[0, 1]) * y + np.float32(middle[0])
    down = np.float32(matrix[1, 0]) * x + np.float32(matrix[1, 1]) * y + np.float32(middle[1])
    nodes = max(int(extent / rng.uniform(*ranges.bend_length)), 1) + 3
    waves = rng.standard_normal((2, nodes, nodes), np.float32) * np.float32(rng.uniform(*ranges.bend) / parts.spacing)
    across += cv2.resize(waves[0], (size, size), interpolation=cv2.INTER_CUBIC)
    down += cv2.resize(waves[1], (size, size), interpolation=cv2.INTER_CUBIC)

    height, width = parts.shape
    inner = (max(round(height / step), 1), max(round(width / step), 1)) if step > 1.3 else (height, width)
    scale = np.float32(inner[1] / width), np.float32(inner[0] / height)
    half = np.float32(0.5)
    fine = (across + half) * scale[0] - half, (down + half) * scale[1] - half

    def linear(image: NDArray[np.float32]) -> NDArray[np.float32]:
        small = averaged(image, inner) if inner != image.shape else image
        return np.asarray(cv2.remap(small, *fine, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)

    nearest = cv2.remap(parts.planes, across, down, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    planes = np.asarray(nearest, np.int32)
    side = parts.side if mirror > 0 else OPPOSITE[parts.side]
    return Components(linear(parts.soft), linear(parts.bone), planes, parts.spacing * step, side)


def _kind(draw: float, ranges: ViewRanges) -> str:
    """Return the kind of view that a draw from 0 to 1 stands for."""
    for name in ("wide", "wrist", "part"):
        draw -= getattr(ranges, f"{name}_share")
        if draw < 0:
            return name
    return "close"


def _bars(rng: np.random.Generator, ranges: ViewRanges, size: int) -> NDArray[np.bool_]:
    """Return (size, size), true where an image of another aspect, laid into the middle of a square, shows nothing."""
    bar = round(0.5 * (1.0 - rng.uniform(*ranges.box)) * size)
    bars = np.zeros((size, size), bool)
    if bar:
        bars[:bar] = bars[-bar:] = True
    return bars if rng.random() < 0.4 else bars.T


def _in_air(parts: Components) -> Components:
    """Return a hand with air above and beside it, so that repeating the border goes on with the forearm alone."""

    def padded(image: NDArray[Any]) -> NDArray[Any]:
        return np.pad(image, ((_AIR, 0), (_AIR, _AIR)))

    return replace(parts, soft=padded(parts.soft), bone=padded(parts.bone), planes=padded(parts.planes))


class RandPhantomd(RandomizableTransform):
    """Load a cached phantom, view it and expose it.

    Parameters
    ----------
    image_key
        Key of the path of a phantom before exposure (``handseg phantom --components``), replaced by the radiograph,
        float32 (1, size, size), grey values 0 to 255; ``image_size`` is set beside it, int64 (2,).
    label_key
        Key of its bit planes, int32 (1, size, size); ``known`` is set beside it, all 29 bones.
    size
        Side of the image in pixels.
    presets
        Names of ranges of exposure, one of which is drawn for each image.
    others
        Paths of phantoms that may reach into an image as a second hand, where the ranges have a share of them.
    views
        Ranges of the view.
    """

    def __init__(
        self,
        image_key: str,
        label_key: str,
        size: int,
        presets: Sequence[str],
        others: Sequence[str] = (),
        views: ViewRanges | None = None,
    ) -> None:
        super().__init__(prob=1.0)
        self.image_key, self.label_key = image_key, label_key
        self.size = size
        self.ranges = [preset(name) for name in presets]
        self.others = list(others)
        self.views = views or ViewRanges()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        rng = np.random.default_rng(int(self.R.randint(2**31 - 1)))
        parts = rand_view(rng, self.views, load_components(result[self.image_key]), self.size)
        ranges = self.ranges[int(rng.integers(len(self.ranges)))]
        if rng.random() < ranges.second_hand_share and self.others:
            other = self.others[int(rng.integers(len(self.others)))]
            parts = add_second_hand(rng, parts, load_components(other))
        image = expose(rng, ranges, parts)
        if rng.random() < self.views.box_share:
            bars = _bars(rng, self.views, self.size)
            image[bars] = np.uint8(np.percentile(image[~bars], 0.5))
            parts.planes[bars] = 0
        result[self.image_key] = torch.from_numpy(image.astype(np.float32)[None])
        result["image_size"] = torch.tensor([self.size, self.size])
        result[self.label_key] = torch.from_numpy(parts.planes[None])
        result["known"] = torch.tensor(ALL_KNOWN, dtype=torch.int32)
        return result
