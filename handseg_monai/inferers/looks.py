"""What a network saw in views of an image, and the masks of the whole image that follow from it.

Whole logits of 29 bones take 116 bytes a pixel, 487 MB of a radiograph of 2048 x 2048. Looks are kept at the size at
which the network gave them instead, of large views only where bones are, and each bone is drawn straight at the image's
size, inside of its own box.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from monai.inferers import Inferer
from torch.nn.functional import grid_sample, interpolate

from handseg_monai.bones import NUM_BONES

Box = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels."""
_REDUCED = 1.3
"""From this reduction on images are averaged before they are sampled."""
_AT_ONCE = 256
"""Rows of a bone that are drawn at once: places of its pixels take 32 bytes each."""
_MOST = 60000.0
"""Logits are cut to what float16 can hold."""
Network = Callable[[torch.Tensor], torch.Tensor]


class NearBones:
    """Logits of a view (h, w) of which only those near bones are kept, in pieces, each bone's in its own.

    Elsewhere stands ``below``.
    """

    def __init__(self, shape: tuple[int, int], below: float, device: torch.device) -> None:
        self.shape = (NUM_BONES, *shape)
        self.below = below
        self.device = device
        self._pieces: list[list[tuple[int, int, torch.Tensor]]] = [[] for _ in range(NUM_BONES)]

    def keep(self, bone: int, top: int, left: int, logits: torch.Tensor) -> None:
        """Keep a piece (h', w') of a bone's logits, as float16; what it shares with one before it must be the same."""
        self._pieces[bone].append((top, left, logits.clamp(-_MOST, _MOST).half()))

    def __getitem__(self, bone: int) -> torch.Tensor:
        """Logits of a bone all over the view, float32 (h, w)."""
        plane = torch.full(self.shape[1:], self.below, device=self.device)
        for top, left, logits in self._pieces[bone]:
            plane[top : top + logits.shape[0], left : left + logits.shape[1]] = logits
        return plane

    def has(self, bone: int) -> bool:
        """Whether anything of a bone was kept."""
        return bool(self._pieces[bone])


@dataclass(frozen=True)
class Look:
    """A view of an image."""

    matrix: torch.Tensor
    """float (2, 3): pixel (x, y) of the view to pixel of the image; the centre of the first pixel is (0, 0)."""
    logits: torch.Tensor | NearBones
    """float (29, h, w), or those near bones: what the network saw in the view."""
    weight: torch.Tensor | None = None
    """float32 (h, w), 0 to 1: how far the view counts over those before it; beyond it they count alone. None: all over,
    as of the first one, which shows the whole image."""


class LookingInferer(Inferer, ABC):
    """An inferer that tells what the network saw, and where; :class:`PlanesInferer` needs no more."""

    def __call__(self, inputs: torch.Tensor, network: Network, *args: object, **kwargs: object) -> torch.Tensor:
        """Logits (B, 29, H, W), float32, of ``inputs`` (B, 1, H, W), grey values in [0, 1], whole."""
        shape = (inputs.shape[-2], inputs.shape[-1])
        return torch.stack([merged(looks, shape) for looks in self.looks(inputs, network)])

    @abstractmethod
    def looks(self, inputs: torch.Tensor, network: Network) -> list[list[Look]]:
        """Looks at each of ``inputs``, (B, 1, H, W), float32.

        The network runs under the autocast that is in force; nothing else does.
        """

    @staticmethod
    @contextmanager
    def seeing(network: Network, device: torch.device) -> Iterator[Network]:
        """Give the network under the autocast that is in force, and turn that off for all else."""
        enabled, dtype = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)

        def see(views: torch.Tensor) -> torch.Tensor:
            with torch.autocast(device.type, dtype=dtype, enabled=enabled):
                return network(views)

        with torch.autocast(device.type, enabled=False):
            yield see


def sample(
    image: torch.Tensor, matrix: torch.Tensor, shape: tuple[int, int], padding_mode: str = "zeros"
) -> torch.Tensor:
    """Resample an image by an affine map, averaged first where the map reduces.

    Parameters
    ----------
    image
        float (C, H, W).
    matrix
        (2, 3): pixel (x, y) of the output to pixel of the image; the centre of the first pixel is (0, 0).
    shape
        (height, width) of the output.
    padding_mode
        What lies beyond the image: ``"zeros"``, or ``"border"``, its outermost pixels.
    """
    matrix = matrix.cpu().double()
    reduction = float(torch.linalg.det(matrix[:, :2]).abs().sqrt())
    grid = _grid(matrix, (0, 0, *shape), image.shape[-2], image.shape[-1], image.device)[None]
    return grid_sample(
        _reduced(image, reduction)[None], grid, mode="bilinear", padding_mode=padding_mode, align_corners=False
    )[0]


def _reduced(image: torch.Tensor, reduction: float) -> torch.Tensor:
    if reduction <= _REDUCED:
        return image
    inner = max(round(image.shape[-2] / reduction), 1), max(round(image.shape[-1] / reduction), 1)
    return interpolate(image[None], inner, mode="bilinear", antialias=True, align_corners=False)[0]


def _grid(matrix: torch.Tensor, box: Box, height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return where the pixels of a box (top, left, bottom, right) lie in a view, in units of grid_sample."""
    rows = torch.arange(box[0], box[2], device=device, dtype=torch.float64)[:, None]
    columns = torch.arange(box[1], box[3], device=device, dtype=torch.float64)
    grid = torch.empty(len(rows), len(columns), 2, device=device)
    # Of rows and of columns first, in float64: one sum a pixel is left, which of an upright view changes nothing.
    for axis, size in enumerate((width, height)):
        along, down, start = (float(value) for value in matrix[axis])
        by_row, by_column = 2 / size * down * rows, 2 / size * along * columns
        (by_row if abs(down) > abs(along) else by_column).add_((2 * start + 1) / size - 1)
        torch.add(by_row.float(), by_column.float(), out=grid[..., axis])
    return grid


def whole_view(view: tuple[int, int], shape: tuple[int, int]) -> torch.Tensor:
    """Return the matrix (2, 3) of a view (height, width) that shows the whole of an image (height, width)."""
    y, x = shape[0] / view[0], shape[1] / view[1]
    return torch.tensor([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5]], dtype=torch.float64)


def moved(look: Look, shape: tuple[int, int], onto: tuple[int, int]) -> Look:
    """Return a look at an image of ``shape`` as one at the same image brought to the size ``onto``."""
    matrix = whole_view(shape, onto) @ _squared(look.matrix)
    return Look(matrix, look.logits, look.weight)


def placed(look: Look, box: Box) -> Look:
    """Return a look at what lies inside of a box of an image as one at the whole image."""
    return Look(look.matrix + look.matrix.new_tensor([[0, 0, box[1]], [0, 0, box[0]]]), look.logits, look.weight)


def box_around(mask: torch.Tensor) -> Box:
    """Return the smallest box (top, left, bottom, right) around a mask (h, w) that has pixels."""
    rows, columns = (mask.any(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def between(view: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the matrix (2, 3) from pixels of one view of an image to those of another one, both given as in a look."""
    return (torch.linalg.inv(_squared(other)) @ _squared(view))[:2]


def composed(view: torch.Tensor, within: torch.Tensor) -> torch.Tensor:
    """Return the matrix (2, 3) of a view whose place is given in pixels of another view."""
    return (_squared(view) @ _squared(within))[:2]


def averaged(planes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean of tensors of one shape; a single one as it is, without a copy."""
    return planes[0] if len(planes) == 1 else torch.stack(tuple(planes)).mean(dim=0)


def _squared(matrix: torch.Tensor) -> torch.Tensor:
    return torch.cat([matrix.cpu().double(), torch.tensor([[0.0, 0.0, 1.0]]).double()])


class _Drawn:
    """A look to be drawn into an image."""

    def __init__(self, look: Look) -> None:
        self.height, self.width = look.logits.shape[-2:]
        self.forward = _squared(look.matrix)
        self.matrix = torch.linalg.inv(self.forward)[:2]
        self.reduction = float(torch.linalg.det(self.matrix[:, :2]).abs().sqrt())
        self.logits = look.logits
        self.weight = None if look.weight is None else _reduced(look.weight[None], self.reduction)
        self._whole = None if self.weight is None else _whole(self.weight[0], self.height, self.width)
        step = 2 * max(self.reduction, 1.0)  # so far beyond the view its weight, averaged, may come
        self.shown = self._image_of((-step, -step, self.height - 1 + step, self.width - 1 + step))
        self._last: tuple[int, torch.Tensor] | None = None

    def _image_of(self, box: tuple[float, float, float, float]) -> Box:
        """Return the box of the image around a box (top, left, bottom, right) of the view."""
        top, left, bottom, right = box
        corners = [(left, top, 1.0), (right, top, 1.0), (left, bottom, 1.0), (right, bottom, 1.0)]
        places = torch.tensor(corners).double() @ self.forward.T
        low, high = places.amin(dim=0).tolist(), places.amax(dim=0).tolist()
        return math.floor(low[1]) - 1, math.floor(low[0]) - 1, math.ceil(high[1]) + 2, math.ceil(high[0]) + 2

    def plane(self, bone: int) -> torch.Tensor:
        """Logits of a bone all over the view, float32 (h, w), averaged where the image is smaller."""
        if self._last is None or self._last[0] != bone:
            self._last = bone, _reduced(self.logits[bone].float()[None], self.reduction)[0]
        return self._last[1]

    def all_planes(self) -> torch.Tensor:
        """The same of all bones at once, float32 (29, h, w)."""
        assert isinstance(self.logits, torch.Tensor)
        return _reduced(self.logits.float(), self.reduction)

    def box(self, bone: int, limit: float) -> Box | None:
        """Where in the image a bone may be: wherever its logits may come to its limit."""
        if isinstance(self.logits, NearBones) and not self.logits.has(bone) and self.logits.below <= limit:
            return None
        plane = self.plane(bone)
        y, x = ((plane.amax(dim=axis) > limit).nonzero().flatten().cpu() for axis in (1, 0))
        if not len(y):
            return None
        step_y, step_x = self.height / plane.shape[0], self.width / plane.shape[1]
        # A pixel further, where bilinear interpolation still comes to it; at the view's border it goes on.
        low_y, high_y = (int(y[0]) - 1) * step_y, (int(y[-1]) + 2) * step_y
        low_x, high_x = (int(x[0]) - 1) * step_x, (int(x[-1]) + 2) * step_x
        return self._image_of((low_y, low_x, high_y, high_x))

    def hides(self, box: Box) -> bool:
        """Whether in a box of the image nothing of the looks before this one counts."""
        if self.weight is None or self._whole is None:
            return self.weight is None
        corners = [(x, y, 1.0) for y in (box[0], box[2] - 1) for x in (box[1], box[3] - 1)]
        x, y = (torch.tensor(corners).double() @ self.matrix.T).unbind(dim=1)
        top, left, bottom, right = self._whole
        return bool(((x >= left) & (x <= right) & (y >= top) & (y <= bottom)).all())

    def over(self, below: torch.Tensor | None, planes: torch.Tensor, box: Box) -> torch.Tensor:
        """Logits (C, h, w) of ``planes`` of the view in a box, over what looks before this one give there.

        Writes into ``below``.
        """
        if below is None or self.weight is None or self.hides(box):
            return _sampled(planes, self._grid_of(box), "border")
        part = _union([self.shown], box)
        if part is not None:  # beyond the view its weight is 0
            grid = self._grid_of(part)
            there = below[:, part[0] - box[0] : part[2] - box[0], part[1] - box[1] : part[3] - box[1]]
            there += _sampled(self.weight, grid, "zeros") * (_sampled(planes, grid, "border") - there)
        return below

    def _grid_of(self, box: Box) -> torch.Tensor:
        return _grid(self.matrix, box, self.height, self.width, self.logits.device)[None]


def _sampled(image: torch.Tensor, grid: torch.Tensor, padding_mode: str) -> torch.Tensor:
    return grid_sample(image[None], grid, mode="bilinear", padding_mode=padding_mode, align_corners=False)[0]


def merged(looks: Sequence[Look], shape: tuple[int, int]) -> torch.Tensor:
    """Return the logits of the whole image, float32 (29, H, W): each look over those before it."""
    if not looks:
        raise ValueError("expected at least one look")
    drawn, whole = [_Drawn(look) for look in looks], (0, 0, *shape)
    if any(isinstance(look.logits, NearBones) for look in looks):  # whole, all bones of a large view take too much
        return torch.cat([_of_bone(drawn, bone, whole) for bone in range(NUM_BONES)])
    return _laid([(one, one.all_planes()) for one in drawn], whole)


def planes_of_looks(
    members: Sequence[Sequence[Look]], shape: tuple[int, int], size: tuple[int, int], thresholds: Sequence[float]
) -> torch.Tensor:
    """Draw the masks of an image from what networks saw in it, bone by bone: int32 ``size``.

    Equal to whole logits of that size, sigmoid, mean and threshold, but for rounding.

    Parameters
    ----------
    members
        Looks of each network of an ensemble, or of the only one. Of several the mean of the probabilities counts.
    shape
        (height, width) of the image that the looks refer to.
    size
        (height, width) to draw at.
    thresholds
        29 probabilities: a pixel belongs to a bone where its probability is above.
    """
    device = members[0][0].logits.device
    planes = torch.zeros(size, dtype=torch.int32, device=device)
    for bone, part, logits in _drawn_bones(members, shape, size, thresholds):
        if len(logits) == 1:
            inside = logits[0] > _logit(thresholds[bone])
        else:
            inside = averaged([each.sigmoid() for each in logits]) > thresholds[bone]
        planes[part] |= inside.to(torch.int32) << bone
    return planes


def probabilities_of_looks(
    members: Sequence[Sequence[Look]], shape: tuple[int, int], size: tuple[int, int], least: float
) -> torch.Tensor:
    """Draw each bone's mean probability over the networks: float32 (29, height, width).

    It is 0 outside of the boxes in which some look comes to ``least``. For the rest see :func:`planes_of_looks`.
    """
    probabilities = torch.zeros(NUM_BONES, *size, device=members[0][0].logits.device)
    for bone, part, logits in _drawn_bones(members, shape, size, [least] * NUM_BONES):
        probabilities[bone][part] = averaged([each.sigmoid() for each in logits])
    return probabilities


def _drawn_bones(
    members: Sequence[Sequence[Look]], shape: tuple[int, int], size: tuple[int, int], least: Sequence[float]
) -> Iterator[tuple[int, tuple[slice, slice], list[torch.Tensor]]]:
    """Give each bone's logits (h, w) of each member, part by part, wherever the mean may come to its least probability.

    The parts of a bone are rows and columns of ``size``.
    """
    drawn = [[_Drawn(moved(look, shape, size)) for look in looks] for looks in members]
    for bone in range(NUM_BONES):
        # A mean above it takes a member, and in it a look, above it.
        box = _union([look.box(bone, _logit(least[bone])) for looks in drawn for look in looks], (0, 0, *size))
        if box is None:
            continue
        for top in range(box[0], box[2], _AT_ONCE):
            strip = top, box[1], min(top + _AT_ONCE, box[2]), box[3]
            part = slice(strip[0], strip[2]), slice(strip[1], strip[3])
            yield bone, part, [_of_bone(looks, bone, strip)[0] for looks in drawn]


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _of_bone(looks: Sequence[_Drawn], bone: int, box: Box) -> torch.Tensor:
    hidden = max((number for number, look in enumerate(looks) if look.hides(box)), default=0)
    return _laid([(look, look.plane(bone)[None]) for look in looks[hidden:]], box)


def _whole(weight: torch.Tensor, height: int, width: int) -> tuple[float, float, float, float] | None:
    """Return where in a view (height, width) its weight (h, w) is 1: the first and last row and column, or None."""
    full = weight >= 1
    if not full.any():
        return None
    top, left, bottom, right = box_around(full)
    if not full[top:bottom, left:right].all():
        return None
    step_y, step_x = height / weight.shape[0], width / weight.shape[1]
    # Middles of the outermost pixels, between which bilinear interpolation gives 1 too.
    return (
        (top + 0.5) * step_y - 0.5,
        (left + 0.5) * step_x - 0.5,
        (bottom - 0.5) * step_y - 0.5,
        (right - 0.5) * step_x - 0.5,
    )


def _laid(looks: Sequence[tuple[_Drawn, torch.Tensor]], box: Box) -> torch.Tensor:
    """Return the logits (C, h, w) of a box: planes (C, h', w') of each look over those of the looks before it."""
    logits: torch.Tensor | None = None
    for look, planes in looks:
        logits = look.over(logits, planes, box)
    assert logits is not None
    return logits


def _union(boxes: Sequence[Box | None], within: Box) -> Box | None:
    """Return the smallest box around some, or what of it lies within another one; None where nothing does."""
    there = [box for box in boxes if box is not None]
    if not there:
        return None
    top, left = max(min(b[0] for b in there), within[0]), max(min(b[1] for b in there), within[1])
    bottom, right = min(max(b[2] for b in there), within[2]), min(max(b[3] for b in there), within[3])
    return (top, left, bottom, right) if top < bottom and left < right else None
