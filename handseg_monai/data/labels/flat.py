"""Labels without overlaps, as label maps and flattened masks are: recognised, and what may lie hidden in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, overload

import cv2
import numpy as np

from handseg_monai.bitplanes import unpack
from handseg_monai.bones import ALL_KNOWN, DEPTHS, FLAT, INDEX, NUM_BONES

if TYPE_CHECKING:
    import torch

Planes = TypeVar("Planes", np.ndarray, "torch.Tensor")

FLAT_SOURCE = (
    "no bones overlap in these labels, though they do on radiographs; "
    "where one bone may hide another, the label counts as unknown"
)
"""What to say of a flat source."""

_TELLING = (INDEX["Triquetrum"], INDEX["Pisiform"]), (INDEX["Trapezium"], INDEX["Trapezoid"])
"""Pairs that share half of the smaller bone and more in every PA view of an adult's hand."""
_LEAST_MEETINGS = 4
"""Pairs that meet, in all images together, from which a source can be judged: two whole hands."""
_MOST_MEET = 0.75
_NEXT_TO_NONE = 0.02
_COARSE = 150
"""Area in pixels of the smaller bone below which outlines that share a line of pixels look like an overlap."""
_SQUARE = np.ones((3, 3), np.uint8)

_SAMPLED = 256
"""Pixels along the long side that tell the size of the median bone."""
_STEPS = 20
"""Steps in which a bone grows by the side of the median bone."""
_BITE = 0.5
"""Radius, as a share of the side of the median bone, of the disc that closes a bite in an outline."""
_CLEARLY = 2
"""Times that a bone's bite in another is larger than the other way round, from which the first covers the second."""
_VANISHING = INDEX["Pisiform"]
"""A bone of which nothing may be left, where another one covers it."""


@dataclass
class OverlapCount:
    """Counts where bones meet in the labels of a source, and where they overlap; tells whether the source is flat.

    A source is flat where the pairs that overlap in every hand (pisiform and triquetrum, trapezium and trapezoid)
    border on one another instead. Hands of young children, whose bones leave gaps, are not, nor is a source that has
    neither pair.
    """

    seen: np.ndarray = field(default_factory=lambda: np.zeros(len(_TELLING), np.int64))
    """Of each telling pair, images that hold both bones."""
    met: np.ndarray = field(default_factory=lambda: np.zeros(len(_TELLING), np.int64))
    """Images in which they border on one another along a side, or overlap."""
    shared: float = 0.0
    """Sum over all that meet: pixels that both bones share, as a share of those near both."""

    def add(self, planes: np.ndarray) -> None:
        """Count one label, bit planes int32 (H, W)."""
        for i, pair in enumerate(_TELLING):
            both = np.int32(sum(1 << k for k in pair))
            rows = np.flatnonzero(np.bitwise_or.reduce(planes, axis=1) & both)
            columns = np.flatnonzero(np.bitwise_or.reduce(planes, axis=0) & both)
            if not rows.size:
                continue
            cut = planes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            a, b = (np.pad(((cut >> k) & 1).astype(np.uint8), 1) for k in pair)
            smaller = min(int(a.sum()), int(b.sum()))
            if not smaller:
                continue
            near = int(np.count_nonzero(cv2.bitwise_and(cv2.dilate(a, _SQUARE), cv2.dilate(b, _SQUARE))))
            shared = cv2.bitwise_and(a, b)
            if smaller >= _COARSE:
                shared = cv2.erode(shared, _SQUARE)
            self.seen[i] += 1
            if near >= 2 * np.sqrt(smaller):
                self.met[i] += 1
                self.shared += np.count_nonzero(shared) / near

    @property
    def flat(self) -> bool:
        """Whether the labels that were counted hold no overlaps, although bones would overlap."""
        judged = self.seen > 0
        return bool(
            self.met.sum() >= _LEAST_MEETINGS
            and (self.met >= _MOST_MEET * self.seen)[judged].all()
            and self.shared <= _NEXT_TO_NONE * self.met.sum()
        )

    def overlapping(self, images: int, of: int) -> bool:
        """Whether no source of ``of`` labels is flat whose first ``images`` were counted, if the rest is alike."""
        return bool(self.shared * images > 2 * _NEXT_TO_NONE * self.met.sum() * of)


def is_flat(labels: Iterable[np.ndarray], number: int) -> bool:
    """Whether a source of so many labels, bit planes int32 (H, W), holds no overlaps.

    Stops as soon as the overlaps that were seen are too many.
    """
    count = OverlapCount()
    for images, planes in enumerate(labels, 1):
        count.add(planes)
        if count.overlapping(images, number):
            return False
    return count.flat


@overload
def hidden(planes: np.ndarray, either_way: bool = False) -> np.ndarray: ...
@overload
def hidden(planes: torch.Tensor, either_way: bool = False) -> torch.Tensor: ...
def hidden(planes, either_way=False):  # type: ignore[no-untyped-def]
    """Find where a flat label does not tell whether a bone is there, because another one is.

    A pixel of one bone may hide another that naturally overlaps with it (:data:`~handseg_monai.bones.DEPTHS`) and
    lies near, unless the other one takes a bite out of its outline, and so covers it. The pisiform alone may be hidden
    wholly: where a label lacks it, its partners may hide it anywhere.

    Parameters
    ----------
    planes
        Bit planes, int32 (H, W), a NumPy array or a torch tensor on any device.
    either_way
        Of two bones each may hide the other, whatever their outlines say.

    Returns
    -------
    hidden
        int32 (H, W), on the same device; bit k is set where bone k may lie beneath the bone of the pixel.
    """
    height, width = planes.shape
    stride = max(1, max(height, width) // _SAMPLED)
    areas = unpack(planes[::stride, ::stride]).sum((-2, -1)).tolist()
    present = [area for area in areas if area]
    found = planes & 0
    if not present:
        return found
    side = float(np.sqrt(np.median(present))) * stride
    pixel = max(1.0, side / _STEPS)
    shape = max(1, round(height / pixel)), max(1, round(width / pixel))
    near = _resampled(planes, shape)
    # Only where some bone is, which is a small part of a radiograph.
    rows, columns = _places(planes)
    here = planes[rows, columns]
    bone, beneath_here = _top_bone(here), here & 0
    near_rows, near_columns = (
        _looked_up(_nearest(n, m), places) for n, m, places in zip((height, width), shape, (rows, columns), strict=True)
    )
    beneath = _EACH if either_way else _beneath(planes, side)
    grown = 0
    for depth, partners in _PARTNERS.items():
        steps = max(1, round(depth * side / pixel))
        for step in range(grown, steps):
            near = _grow(near, corners=bool(step % 2))
        grown = max(grown, steps)
        beneath_here |= near[near_rows, near_columns] & _looked_up(partners & beneath, bone)
    if not areas[_VANISHING]:
        beneath_here |= _looked_up(_HIDE_IT & beneath, bone)
    found[rows, columns] = beneath_here & ~here
    return found


def _partners() -> dict[float, np.ndarray]:
    """Bits of the bones that each bone may hide, int32 (31,), by the depth; entry k + 1 is that of bone k."""
    partners = {depth: np.zeros(NUM_BONES + 2, np.int32) for depth in sorted(set(DEPTHS.values()))}
    for (a, b), depth in DEPTHS.items():
        partners[depth][a + 1] |= 1 << b
        partners[depth][b + 1] |= 1 << a
    return partners


_PARTNERS = _partners()
_EACH = np.full(NUM_BONES + 2, ALL_KNOWN, np.int32)
_HIDE_IT = np.bitwise_or.reduce(list(_PARTNERS.values())) & np.int32(1 << _VANISHING)


def _beneath(planes: Planes, side: float) -> np.ndarray:
    """Which bones may lie beneath each bone, by the bites that they take out of one another: int32 (31,).

    Bones are round: where one covers part of another, its outline makes a dent in that of the other, which a
    morphological closing fills. Entry k + 1 is that of bone k; a pair without clear bites may lie either way.
    """
    pixel = max(1.0, 2 * side / _STEPS)
    height, width = (max(1, round(n / pixel)) for n in planes.shape)
    planes = _resampled(planes, (height, width))
    radius = max(1, round(_BITE * side / pixel))
    edge = radius + 1
    wide = _like(np.zeros((height + 2 * edge, width + 2 * edge), np.int32), planes)
    inside = slice(edge, edge + height), slice(edge, edge + width)
    wide[inside] = planes
    for step in range(radius):
        wide = _grow(wide, corners=bool(step % 2))
    wide = ~wide
    for step in range(radius):
        wide = _grow(wide, corners=bool(step % 2))
    filled = unpack(~wide[inside] & ~planes)
    bitten = _shared(filled, unpack(planes))
    clearly = bitten + 1 >= _CLEARLY * (bitten.T + 1)
    bits = np.int32(1) << np.arange(NUM_BONES, dtype=np.int32)
    beneath = _EACH.copy()
    # What a bone takes a bite out of does not cover it.
    beneath[1:-1] -= (clearly * bits).sum(axis=1, dtype=np.int32)
    return beneath


def _shared(first: Planes, second: Planes) -> np.ndarray:
    """Pixels that each two masks of boolean (29, H, W) share: float (29, 29)."""
    if isinstance(first, np.ndarray):
        return first.reshape(NUM_BONES, -1).astype(np.float32) @ second.reshape(NUM_BONES, -1).T.astype(np.float32)
    shared: np.ndarray = (first.flatten(1).float() @ second.flatten(1).float().T).cpu().numpy()
    return shared


def _like(values: np.ndarray, planes: Planes) -> Planes:
    if isinstance(planes, np.ndarray):
        return values
    import torch

    return torch.from_numpy(values).to(planes.device)


def _resampled(planes: Planes, shape: tuple[int, int]) -> Planes:
    """Planes at the pixels nearest to those of another (height, width)."""
    rows, columns = (_like(_nearest(n, m), planes) for n, m in zip(shape, planes.shape, strict=True))
    return planes[rows][:, columns]


def _nearest(count: int, of: int) -> np.ndarray:
    """Return the nearest of so many pixels to each of ``count`` that cover the same length: int64 (count,)."""
    return ((np.arange(count) + 0.5) * of / count).astype(np.int64)


def _places(planes: Planes) -> tuple[Planes, Planes]:
    """Rows and columns of the pixels of bones."""
    rows, columns = planes.nonzero() if isinstance(planes, np.ndarray) else planes.nonzero(as_tuple=True)
    return rows, columns


def _top_bone(planes: Planes) -> Planes:
    """1 + index of each pixel's bone, the highest of several, and 0 where there is none."""
    if isinstance(planes, np.ndarray):
        return np.frexp(planes.astype(np.float64))[1]
    import torch

    return torch.frexp(planes.double()).exponent.long()


def _looked_up(table: np.ndarray, index: Planes) -> Planes:
    return _like(table, index)[index]


def _grow(planes: Planes, corners: bool) -> Planes:
    """Grow all bones by a pixel, to the corners too or to the sides alone: in turn they make an octagon."""
    grown = planes | 0
    grown[1:] |= planes[:-1]
    grown[:-1] |= planes[1:]
    across = (grown if corners else planes) | 0
    grown[:, 1:] |= across[:, :-1]
    grown[:, :-1] |= across[:, 1:]
    return grown


def visible(prediction: np.ndarray, truth: np.ndarray, known: int) -> np.ndarray:
    """Prediction without what a flat truth can't judge: bones where they may lie hidden.

    Parameters
    ----------
    prediction, truth
        Bit planes, int32 (H, W); of predictions any number, (..., H, W).
    known
        Of the truth's image; unless it has the bit :data:`~handseg_monai.bones.FLAT` the prediction stays as it is.
    """
    return prediction & ~hidden(truth) if known & FLAT else prediction
