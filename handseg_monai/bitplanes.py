"""Overlapping labels as one 32-bit value per pixel: bit k of a pixel is set where bone k is.

The bones of a hand overlap on a radiograph, so a label map with one class per pixel cuts the truth. Twenty-nine
masks hold it, at 116 bytes a pixel as float32; a bit plane holds the same in 4 bytes and passes unharmed through
every nearest-neighbour warp. The dtype is ``int32`` in NumPy and torch alike, and bit 31 is never set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import cv2
import numpy as np

from handseg_monai.bones import NUM_BONES
from handseg_monai.compiled import compiled
from handseg_monai.outlines import fill_outline, fill_overlaps

if TYPE_CHECKING:
    import torch

Polygon = np.ndarray
"""Corner points of one polygon, integer (N, 2), columns x and y in pixels."""


@overload
def pack(masks: np.ndarray) -> np.ndarray: ...
@overload
def pack(masks: torch.Tensor) -> torch.Tensor: ...
def pack(masks: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """Pack one mask per bone into bit planes.

    Parameters
    ----------
    masks
        Boolean, (..., 29, H, W). A NumPy array or a torch tensor on any device.

    Returns
    -------
    planes
        int32, (..., H, W), on the same device.

    Raises
    ------
    ValueError
        The third axis from the end does not have 29 entries.
    TypeError
        The masks are not boolean. (A threshold is a decision that belongs to the caller.)
    """
    if masks.ndim < 3 or masks.shape[-3] != NUM_BONES:
        raise ValueError(f"expected masks of shape (..., {NUM_BONES}, H, W), got {tuple(masks.shape)}")
    if str(masks.dtype) not in ("bool", "torch.bool"):
        raise TypeError(f"expected boolean masks, got {masks.dtype}; threshold them first")
    if isinstance(masks, np.ndarray):
        planes = np.zeros((*masks.shape[:-3], *masks.shape[-2:]), np.int32)
        for k in range(NUM_BONES):
            planes |= masks[..., k, :, :].astype(np.int32) << np.int32(k)
        return planes
    import torch

    packed = torch.zeros((*masks.shape[:-3], *masks.shape[-2:]), dtype=torch.int32, device=masks.device)
    for k in range(NUM_BONES):
        packed |= masks[..., k, :, :].to(torch.int32) << k
    return packed


@overload
def unpack(planes: np.ndarray) -> np.ndarray: ...
@overload
def unpack(planes: torch.Tensor) -> torch.Tensor: ...
def unpack(planes: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """Unpack bit planes into one mask per bone, the inverse of :func:`pack`.

    Parameters
    ----------
    planes
        int32, (..., H, W). A NumPy array or a torch tensor on any device.

    Returns
    -------
    masks
        Boolean, (..., 29, H, W), on the same device.

    Raises
    ------
    TypeError
        The planes are not int32.
    """
    _require_int32(planes)
    if isinstance(planes, np.ndarray):
        bits = np.left_shift(1, np.arange(NUM_BONES, dtype=np.int32), dtype=np.int32)
        return (planes[..., None, :, :] & bits[:, None, None]) != 0
    import torch

    shifts = torch.arange(NUM_BONES, dtype=torch.int32, device=planes.device)
    return (planes.unsqueeze(-3) & (1 << shifts)[:, None, None]).ne(0)


def _require_int32(planes: np.ndarray | torch.Tensor) -> None:
    if str(planes.dtype) not in ("int32", "torch.int32"):
        raise TypeError(f"bit planes are int32, got {planes.dtype}")


def areas(planes: np.ndarray) -> np.ndarray:
    """Area of each bone in pixels: int64, (29,), from int32 (H, W)."""
    _require_int32(planes)
    found = planes[planes != 0]
    return np.array([np.count_nonzero(found & np.int32(1 << k)) for k in range(NUM_BONES)], np.int64)


def shared_areas(planes: np.ndarray) -> np.ndarray:
    """Count the pixels that each two bones share in bit planes of any shape: int64 (29, 29), areas on the diagonal."""
    _require_int32(planes)
    values, counts = np.unique(planes[planes != 0], return_counts=True)
    bits = (values[:, None] >> np.arange(NUM_BONES)) & 1
    return np.asarray((bits * counts[:, None]).T @ bits, np.int64)


def rasterise(
    polygons: Iterable[tuple[int, Polygon]], shape: tuple[int, int], size: tuple[int, int] | None = None
) -> np.ndarray:
    """Fill polygons into bit planes.

    The truth is ``cv2.fillPoly`` of the integer points at the image's own size, united per bone; an outline that runs
    over itself is filled once (:func:`~handseg_monai.outlines.fill_overlaps`). At another size a pixel belongs to a
    bone where more than half of its area does, and where exactly half does, if its centre does.
    (Filling scaled points at the small size instead fattens a small bone by 3 %, because ``fillPoly`` paints the
    outline too.)

    Parameters
    ----------
    polygons
        Pairs of bone index and points, integer (N, 2), x and y in pixels of an image of ``shape``. A bone may come
        several times.
    shape
        (height, width) that the points refer to.
    size
        (height, width) of the result; ``shape`` if None.

    Returns
    -------
    planes
        int32, ``size``.
    """
    points_of: dict[int, list[Polygon]] = {}
    for bone, points in polygons:
        points_of.setdefault(bone, []).append(np.ascontiguousarray(points, np.int32))
    planes = np.zeros(size or shape, np.int32)
    for bone, rings in points_of.items():
        corners = np.concatenate(rings)
        left, top = np.maximum(corners.min(axis=0), 0)
        right, bottom = np.minimum(corners.max(axis=0) + 1, (shape[1], shape[0]))
        if right <= left or bottom <= top:
            continue
        mask = np.zeros((bottom - top, right - left), np.uint8)
        for ring in rings:  # one by one: a single call would leave holes where rings cross
            inside = mask if len(rings) == 1 else np.zeros_like(mask)
            ring = ring - (left, top)
            fill_outline(inside, ring)
            fill_overlaps(inside, ring)
            mask |= inside
        _paint(planes, bone, mask, int(top), int(left), shape)
    return planes


def reduce(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring bit planes to another size by the majority of area, as :func:`rasterise` does.

    Parameters
    ----------
    planes
        int32, (H, W).
    size
        (height, width) of the result, smaller or larger.

    Returns
    -------
    reduced
        int32, ``size``. Pixel centres are aligned: output pixel i covers the input from i·s to (i + 1)·s.
    """
    _require_int32(planes)
    result = np.zeros(size, np.int32)
    for bone, box in boxes(planes):
        mask = ((planes[box] >> bone) & 1).astype(np.uint8)
        _paint(result, bone, mask, box[0].start, box[1].start, planes.shape)
    return result


def boxes(planes: np.ndarray) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Yield the index and the bounding box, (rows, columns), of every bone present in int32 (H, W)."""
    of_rows = np.bitwise_or.reduce(planes, axis=1)
    of_columns = np.bitwise_or.reduce(planes, axis=0)
    for k in range(NUM_BONES):
        rows = np.flatnonzero(of_rows & np.int32(1 << k))
        if rows.size:
            columns = np.flatnonzero(of_columns & np.int32(1 << k))
            yield k, (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected piece of a mask, (H, W) that holds pixels, as uint8: diagonals connect."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)


def _paint(planes: np.ndarray, bone: int, mask: np.ndarray, top: int, left: int, shape: Sequence[int]) -> None:
    """Set the bone's bit where a mask, cut from an image of ``shape`` at (top, left), covers the most of a pixel."""
    height, width = planes.shape
    if (height, width) == tuple(shape):
        planes[top : top + mask.shape[0], left : left + mask.shape[1]] |= (mask != 0).astype(np.int32) << np.int32(bone)
    else:
        mask = np.ascontiguousarray(mask)  # of planes in another order come such masks
        _paint_majority(
            planes, height, width, 1 << bone, mask, *mask.shape, top, left, shape[0] / height, shape[1] / width
        )


@compiled(
    "int64", "int32*", "int64", "int64", "int32", "uint8*", "int64", "int64", "int64", "int64", "float64", "float64"
)
def _paint_majority(  # type: ignore[no-untyped-def]  # pragma: no cover
    planes, height, width, bit, mask, rows, columns, top, left, scale_y, scale_x
):
    """Set a bit where a mask of 0 and 1 at (top, left) covers more than half of the scale_y x scale_x pixels below.

    Planes are (height, width), the mask is (rows, columns). Exact halves go to the side that the pixel's centre lies
    on: all to the bone would fatten it, by 2 % at half the size. The centre lies in the input pixel before it where it
    lies between two.
    """
    first_row, first_column = int(top / scale_y), int(left / scale_x)
    last_row = min(int(np.ceil((top + rows) / scale_y)), height)
    last_column = min(int(np.ceil((left + columns) / scale_x)), width)
    whole = scale_y * scale_x
    for y in range(first_row, last_row):
        upper, lower = y * scale_y - top, (y + 1) * scale_y - top
        for x in range(first_column, last_column):
            begin, end = x * scale_x - left, (x + 1) * scale_x - left
            covered = 0.0
            for i in range(max(int(np.floor(upper)), 0), min(int(np.ceil(lower)), rows)):
                line = 0.0
                for j in range(max(int(np.floor(begin)), 0), min(int(np.ceil(end)), columns)):
                    if mask[i * columns + j]:
                        line += min(end, j + 1.0) - max(begin, float(j))
                covered += line * (min(lower, i + 1.0) - max(upper, float(i)))
            share = covered / whole
            if abs(share - 0.5) < 1e-4:
                i = int(np.ceil((y + 0.5) * scale_y - 1e-6)) - 1 - top
                j = int(np.ceil((x + 0.5) * scale_x - 1e-6)) - 1 - left
                if 0 <= i < rows and 0 <= j < columns and mask[i * columns + j]:
                    planes[y * width + x] |= bit
            elif share > 0.5:
                planes[y * width + x] |= bit
    return 0
