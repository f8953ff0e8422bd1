"""How well a label lies on the bones of its image, and at which scale, or turned how, it would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from handseg_monai.bitplanes import Polygon, boxes
from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.images import UnreadableImageError, read_radiograph

SIZE = 512
"""Long side that images are looked at, pixels."""
_BLUR = 1.2
_STEP = 2.0
_SCALES = np.exp(np.linspace(np.log(0.25), np.log(4.0), 601))
_RIM = 2
_POOR, _GOOD = 0.4, 0.5
"""Agreement up to which a label may lie elsewhere, and from which it does; true labels of phantoms have 0.7 to 0.9,
those of another hand up to 0.3."""
_BETTER, _RESCALED = 2.0, 0.05
_LEAST_POINTS, _SIDE = 40, 0.2
TELLING = 20
"""Images that tell what run-lengths count from, which is the same in all of a file."""
_SOME = 5000
"""Points of a side that are looked at."""
_REMAPPED = 1 << 15
"""Side of an image that OpenCV remaps no more, pixels."""
_FINE, _FACING, LEVEL = 0.5, 0.7, 0.4
_ACROSS = np.arange(-4, 4 + _FINE, _FINE, dtype=np.float32)
"""Places across an outline where its edge is looked for, pixels."""

_DOWN, _ALONG = "read down the columns, not along the rows", "read along the rows, not down the columns"
Turn = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From points or vectors, (N, 2), and (width, height) less 1, or 0 for vectors, to those after a turn."""
_TURNS: dict[str, Turn] = {
    "rows and columns exchanged": lambda at, last: at[:, ::-1],
    "turned by 180 degrees": lambda at, last: last - at,
    "mirrored, left for right": lambda at, last: np.stack([last[0] - at[:, 0], at[:, 1]], axis=1),
    "turned over, top for bottom": lambda at, last: np.stack([at[:, 0], last[1] - at[:, 1]], axis=1),
    "turned by 90 degrees to the right": lambda at, last: np.stack([last[0] - at[:, 1], at[:, 0]], axis=1),
    "turned by 90 degrees to the left": lambda at, last: np.stack([at[:, 1], last[1] - at[:, 0]], axis=1),
    "turned by 180 degrees, rows and columns exchanged": lambda at, last: last - at[:, ::-1],
}


class EdgeDirections:
    """Direction in which an image, (H, W) of any real dtype, grows brighter at each of its pixels, as unit vectors."""

    def __init__(self, radiograph: np.ndarray) -> None:
        self._factor = min(1.0, SIZE / max(radiograph.shape))
        size = [max(1, round(n * self._factor)) for n in radiograph.shape[::-1]]
        small = cv2.resize(radiograph.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), _BLUR)
        x, y = (cv2.Sobel(small, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
        length = np.maximum(np.hypot(x, y), 1e-6 * max(float(np.ptp(small)), 1e-6))
        self._x, self._y = x / length, y / length

    def agreement(self, points: np.ndarray, inward: np.ndarray, scale: float = 1.0) -> float:
        """Mean cosine between an outline's inward normals and the image's gradient, -1 to 1.

        Bones are brighter than what is around them: a label that lies on them comes near to 1, one that lies anywhere
        near to 0, and one on an image whose bones are dark near to -1.

        Points and inward normals are those of :func:`outline_points`, in pixels of the image; points are multiplied by
        `scale` first. Those within the image count; the agreement is 0 where less than half of them are.
        """
        x, y = np.rint(points * (scale * self._factor) - 0.5 * (1 - self._factor)).astype(np.int64).T
        height, width = self._x.shape
        inside = (x >= _RIM) & (y >= _RIM) & (x < width - _RIM) & (y < height - _RIM)
        if 2 * inside.sum() < max(len(points), 1):
            return 0.0
        x, y, normals = x[inside], y[inside], inward[inside]
        return float(np.mean(self._x[y, x] * normals[:, 0] + self._y[y, x] * normals[:, 1]))

    def best_scale(self, points: np.ndarray, inward: np.ndarray) -> tuple[float, float]:
        """Scale between 1/4 and 4 at which points lie best on the image, and the agreement there."""
        agreements = [abs(self.agreement(points, inward, float(scale))) for scale in _SCALES]
        best = int(np.argmax(agreements))
        return float(_SCALES[best]), agreements[best]


def outline_points(polygons: Sequence[Polygon]) -> tuple[np.ndarray, np.ndarray]:
    """Points along the outlines of polygons, about two pixels apart, and the normals into them: float64 (N, 2) each."""
    points, normals = [np.zeros((0, 2))], [np.zeros((0, 2))]
    for polygon in polygons:
        corners = polygon.astype(np.float64)
        edges = np.roll(corners, -1, axis=0) - corners
        lengths = np.hypot(*edges.T)
        counts = np.maximum(np.rint(lengths / _STEP), lengths > 0).astype(np.int64)
        before = np.repeat(np.cumsum(counts) - counts, counts)
        along = (np.arange(counts.sum()) - before + 0.5) / np.repeat(counts, counts)
        points.append(np.repeat(corners, counts, axis=0) + along[:, None] * np.repeat(edges, counts, axis=0))
        normal = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / np.maximum(lengths, 1e-9)[:, None]
        x, y = corners.T
        turning = np.sign(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)))
        normals.append(np.repeat(normal * turning, counts, axis=0))
    return np.concatenate(points), np.concatenate(normals)


def outlines_of(planes: np.ndarray) -> list[Polygon]:
    """Outlines of the pieces of each bone in bit planes, int32 (H, W): border pixels, int32 (N, 2)."""
    found: list[Polygon] = []
    for k, (rows, columns) in boxes(planes):
        mask = ((planes[rows, columns] >> k) & 1).astype(np.uint8)
        pieces, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        found += [piece[:, 0] + np.array([columns.start, rows.start], np.int32) for piece in pieces]
    return found


def elsewhere(radiograph: np.ndarray, planes: np.ndarray, runs: bool = False) -> str:
    """Say how a label would lie on the bones of its image, where it lies on none as it is.

    Parameters
    ----------
    radiograph
        Any real dtype, (H, W).
    planes
        Bit planes, int32 (H, W).
    runs
        They come from run-lengths of a submission, which run along the rows.

    Returns
    -------
    text
        A sentence; empty where the label lies on the bones, or the edges can't tell.
    """
    edges = EdgeDirections(radiograph)
    points, inward = outline_points(outlines_of(planes))
    if len(points) < _LEAST_POINTS or (own := abs(edges.agreement(points, inward))) >= _POOR:
        return ""
    last = np.array(planes.shape[::-1]) - 1.0
    found = {text: (turn(points, last), turn(inward, np.zeros(2))) for text, turn in _TURNS.items()}
    anew = {}
    if runs or planes.shape[0] != planes.shape[1]:  # else it is that rows and columns are exchanged
        anew[_DOWN] = planes.reshape(planes.shape[::-1]).T
    if not runs and planes.shape[0] != planes.shape[1]:
        anew[_ALONG] = planes.T.reshape(planes.shape)
    found = {text: outline_points(outlines_of(np.ascontiguousarray(of))) for text, of in anew.items()} | found
    scale, _ = edges.best_scale(points, inward)
    if abs(scale - 1) > _RESCALED:
        found[f"multiplied by {scale:.3g}"] = points * scale, inward
    fits = {text: abs(edges.agreement(*turned)) for text, turned in found.items()}
    best = max(fits, key=lambda text: fits[text])  # of several that are alike the first
    if fits[best] < max(_GOOD, _BETTER * own) or not _all_round(edges, *found[best]):
        return ""
    if best == _DOWN and runs:
        return "by the image's edges the run-lengths run down the columns; expected runs along the rows"
    return f"by the image's edges the label lies on the bones only once it is {best}; correct the label"


def _all_round(edges: EdgeDirections, points: np.ndarray, inward: np.ndarray) -> bool:
    """Whether edges agree with outlines on every side of the bones: a slope of brightness alone does on one."""
    sides = [sign * inward[:, axis] > _FACING for axis in (0, 1) for sign in (-1, 1)]
    agreements = [edges.agreement(points[side], inward[side]) for side in sides if side.any()]
    return len(agreements) == len(sides) and (min(agreements) > _SIDE or max(agreements) < -_SIDE)


def shift(radiograph: np.ndarray, planes: np.ndarray) -> tuple[float, float]:
    """How far the edges of a radiograph, (H, W), lie right of and below those of a label, int32 (H, W): pixels.

    On either side of the bones it is the mean place of the edge across the outline, weighted by how steep it is; the
    mean of two opposite sides leaves out that labels are somewhat wide or narrow.
    """
    points, inward = outline_points(outlines_of(planes))
    dark = EdgeDirections(radiograph).agreement(points, inward) < 0 if len(points) else False
    image = radiograph.astype(np.float32) * (-1 if dark else 1)
    right, below = (
        sum(_edge(image, points[side * inward[:, axis] > _FACING], axis, side) for side in (-1, 1)) / 2
        for axis in (0, 1)
    )
    return right, below


def _edge(image: np.ndarray, points: np.ndarray, axis: int, side: int) -> float:
    """Mean place of the edge across points of an outline, all on one side of bones, along an axis; NaN without any."""
    some = points[:: 1 + len(points) // _SOME].astype(np.float32)
    if not len(some):
        return np.nan
    at = np.repeat(some[None], len(_ACROSS) + 1, axis=0)
    at[..., axis] += np.append(_ACROSS, _ACROSS[-1] + _FINE)[:, None] - _FINE / 2
    grey = [cv2.remap(image, x[None], y[None], cv2.INTER_LINEAR)[0] for x, y in np.moveaxis(at, 2, 1).copy()]
    steep = np.maximum(side * np.diff(grey, axis=0), 0).sum(axis=1)
    steep -= steep.min()
    return float(steep @ _ACROSS / steep.sum()) if steep.sum() > 0 else np.nan


def misplaced(image: Path, planes: np.ndarray, shifts: list[float] | None = None, max_pixels: int = MAX_PIXELS) -> str:
    """Say what :func:`elsewhere` does of a label and its image, of at most ``max_pixels`` pixels.

    An image that can't be read tells nothing.

    ``shifts`` is for run-lengths: it gets how far the edges of the first images lie to the right of the label, for
    :func:`counted_from_0`, if they don't lie above or below it as well.
    """
    try:
        radiograph = read_radiograph(image, max_pixels=max_pixels)
    except UnreadableImageError:
        return ""
    text = elsewhere(radiograph, planes, shifts is not None)
    if shifts is not None and len(shifts) < TELLING and max(planes.shape) < _REMAPPED and not text and planes.any():
        right, below = shift(radiograph, planes)
        if abs(below) < LEVEL and np.isfinite(right):
            shifts.append(right)
    return text


def counted_from_0(shifts: Sequence[float]) -> str:
    """Say that run-lengths count pixels from 0, by the shifts of all their images; empty where they don't."""
    if not shifts or abs(float(np.median(shifts)) - 1) > LEVEL:
        return ""
    return (
        "by the images' edges all masks lie one pixel to the left of the bones: the run-lengths count pixels from 0; "
        "expected from 1"
    )
