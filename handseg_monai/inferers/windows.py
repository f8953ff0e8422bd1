"""An inferer that slides a window over the whole image, and never holds the logits of all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from torch.nn.functional import adaptive_avg_pool2d, max_pool2d, pad

from handseg_monai.bones import NUM_BONES
from handseg_monai.inferers.looks import Look, LookingInferer, NearBones, Network, between, sample, whole_view
from handseg_monai.options import WindowView, arguments_of

_CELLS = 16
"""Cells along a window's side, over which grey values are averaged before it is said to be even."""
_EVEN = 0.01
"""Range of grey values, of the whole image's, below which nothing is to be seen; bones on a burnt film have more."""
_FAINT, _SURE = 0.02, 0.5
"""Probability from which a bone may be there, and from which it is."""
_NEARLY_ALL = 26
"""A view of the whole image that shows fewer bones for sure has not found the hand."""
_LEAST = -60000.0
"""A logit that stands for minus infinity in sums that must stay finite."""


class WindowsInferer(LookingInferer):
    """Slide a window over the image and blend the logits of windows where they overlap.

    Gives what MONAI's ``SlidingWindowInferer`` gives, but for the rounding of sums in float16: each of the windows that
    are blended at a place may move the logit by 0.05 % of the largest one. Windows are taken row by row. Sums are held
    for as many rows as a window has; those that no later window touches are divided by their weights, and kept near
    bones alone.

    Parameters
    ----------
    roi_size
        (height, width) of the window in pixels. Smaller images are padded with zeros.
    sw_batch_size
        Windows of a row that are shown to the network at once.
    overlap
        Of neighbouring windows, 0 or more, below 1.
    mode
        ``"gaussian"``: windows count less towards their border; ``"constant"``.
    flip
        Average each window with its mirror image.
    scales
        Average each window over views of its place whose side is these times its own, at least 1.
    where
        ``"everywhere"``: all windows. ``"content"``: those in which there is something, not just even grey. ``"hand"``:
        of these, where one look at the whole image, shrunk to a window, shows a trace of a bone, and the eight windows
        around; all of them if that look doesn't show nearly all bones for sure. A window that is passed over has no say
        where others overlap it, so that none takes a bone from them.

    Attributes
    ----------
    shown, passed_over
        Count of windows that the network has seen so far, and of those it has not.
    """

    @arguments_of(WindowView)
    def __init__(
        self,
        roi_size: Sequence[int],
        sw_batch_size: int = 1,
        overlap: float = 0.5,
        mode: str = "gaussian",
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        where: str = "content",
    ) -> None:
        super().__init__()
        self.roi_size, self.sw_batch_size = (roi_size[0], roi_size[1]), sw_batch_size
        self.overlap, self.mode, self.where = overlap, mode, where
        self.flip, self.scales = flip, tuple(scales)
        self.shown = self.passed_over = 0

    def looks(
        self, inputs: torch.Tensor, network: Network, floor: float = -math.inf, reach: int = 0
    ) -> list[list[Look]]:
        """One look at each of ``inputs``, (B, 1, H, W), float32: the logits of all of it, blended.

        They are kept where they are above ``floor``, and within ``reach`` pixels of such places; elsewhere they are
        taken to be just below.
        """
        with self.seeing(network, inputs.device) as see:
            return [[self._look(image, see, floor, reach)] for image in inputs.float()]

    def look_at(self, image: torch.Tensor, matrix: torch.Tensor, network: Network) -> Look:
        """What the network saw in a view, (2, 3) as in a look, of an image (1, H, W), float32."""
        with self.seeing(network, image.device) as see:
            view = sample(image, matrix, self.roi_size)[None]
            logits = see(view)[0].float()
            if self.flip:
                logits = 0.5 * (logits + see(view.flip(-1))[0].flip(-1).float())
            return Look(matrix, logits)

    def _look(self, image: torch.Tensor, see: Network, floor: float, reach: int) -> Look:
        shape = (image.shape[-2], image.shape[-1])
        short = [max(side - own, 0) for side, own in zip(self.roi_size, shape, strict=True)]
        top, left = short[0] // 2, short[1] // 2
        if any(short):
            image = pad(image, (left, short[1] - left, top, short[0] - top))
        rows, columns = (self._starts(axis, image.shape[axis + 1]) for axis in (0, 1))
        chosen = self._chosen(image, rows, columns, see)
        self.shown += int(chosen.sum())
        self.passed_over += int((~chosen).sum())
        matrix = whole_view(shape, shape)
        if chosen.numel() == 1:  # as the network gave it
            (logits,) = self._seen(image, [(0, 0)], see)
            return Look(matrix, logits[:, top : top + shape[0], left : left + shape[1]])
        found = NearBones(shape, floor - 1 if math.isfinite(floor) else _LEAST, image.device)
        importance = compute_importance_map(self.roi_size, self.mode, 0.125, image.device)
        seen = [x for x, some in zip(columns, chosen.any(dim=0).tolist(), strict=True) if some]
        if not seen:
            return Look(matrix, found)
        band = _Band(importance, (seen[0], seen[-1] + self.roi_size[1]), reach)
        for row, y in enumerate(rows):
            band.move(y)
            places = [(y, x) for x, some in zip(columns, chosen[row].tolist(), strict=True) if some]
            for start in range(0, len(places), self.sw_batch_size):
                some = places[start : start + self.sw_batch_size]
                band.add([x for _, x in some], self._seen(image, some, see))
            finished = rows[row + 1] if row + 1 < len(rows) else image.shape[-2]
            band.finish(finished, floor, found, (top, left))
        return Look(matrix, found)

    def _starts(self, axis: int, length: int) -> list[int]:
        """First pixels of the windows along an axis, as MONAI has them."""
        window = self.roi_size[axis]
        step = max(int(window * (1 - self.overlap)), 1) if length > window else window
        return [places[0].start for places in dense_patch_slices((length,), (window,), (step,))]

    def _seen(self, image: torch.Tensor, places: Sequence[tuple[int, int]], see: Network) -> torch.Tensor:
        """Logits (N, 29, h, w) of the windows at (top, left), as the network gives them or averaged over views."""
        if not self.flip and self.scales == (1.0,):
            return see(self._windows(image, places))
        total: torch.Tensor | float = 0.0
        for scale in self.scales:
            matrices = [_scaled(self.roi_size, place, scale) for place in places]
            if scale == 1:
                views = self._windows(image, places)
            else:
                views = torch.stack([sample(image, matrix, self.roi_size) for matrix in matrices])
            logits = see(views).float()
            if self.flip:
                logits = 0.5 * (logits + see(views.flip(-1)).float().flip(-1))
            if scale != 1:
                frames = [_scaled(self.roi_size, place, 1.0) for place in places]
                logits = torch.stack(
                    [
                        sample(one, between(frame, matrix), self.roi_size, "border")
                        for one, frame, matrix in zip(logits, frames, matrices, strict=True)
                    ]
                )
            total = total + logits / len(self.scales)
        assert isinstance(total, torch.Tensor)
        return total

    def _windows(self, image: torch.Tensor, places: Sequence[tuple[int, int]]) -> torch.Tensor:
        windows = [self._window(image, place) for place in places]
        return windows[0][None] if len(windows) == 1 else torch.stack(windows)

    def _window(self, image: torch.Tensor, place: tuple[int, int]) -> torch.Tensor:
        return image[:, place[0] : place[0] + self.roi_size[0], place[1] : place[1] + self.roi_size[1]]

    def _chosen(self, image: torch.Tensor, rows: list[int], columns: list[int], see: Network) -> torch.Tensor:
        """Bool (rows, columns): the windows to show to the network."""
        chosen = torch.ones(len(rows), len(columns), dtype=torch.bool)
        if self.where == "everywhere" or chosen.numel() == 1:
            return chosen
        least = _EVEN * (image.amax(dim=(1, 2)) - image.amin(dim=(1, 2)))
        for row, y in enumerate(rows):
            for column, x in enumerate(columns):
                cells = adaptive_avg_pool2d(self._window(image, (y, x)), _CELLS)
                chosen[row, column] = (cells.amax(dim=(1, 2)) - cells.amin(dim=(1, 2)) > least).any()
        if self.where == "hand":
            chosen &= self._near_hand(image, rows, columns, see)
        return chosen

    def _near_hand(self, image: torch.Tensor, rows: list[int], columns: list[int], see: Network) -> torch.Tensor:
        shape = (image.shape[-2], image.shape[-1])
        step = max(side / own for side, own in zip(shape, self.roi_size, strict=True))
        small = torch.tensor([[step, 0, 0.5 * step - 0.5], [0, step, 0.5 * step - 0.5]], dtype=torch.float64)
        seen = see(sample(image, small, self.roi_size)[None])[0].float()
        inside = [math.ceil(side / step) for side in shape]
        seen = seen[:, : inside[0], : inside[1]].sigmoid()
        if int((seen.amax(dim=(1, 2)) > _SURE).sum()) < _NEARLY_ALL:
            return torch.ones(len(rows), len(columns), dtype=torch.bool)
        trace = seen.amax(dim=0) > _FAINT
        near = torch.zeros(1, len(rows), len(columns))
        for row, y in enumerate(rows):
            for column, x in enumerate(columns):
                top, left = int(y / step), int(x / step)
                bottom, right = math.ceil((y + self.roi_size[0]) / step), math.ceil((x + self.roi_size[1]) / step)
                near[0, row, column] = trace[top:bottom, left:right].any()
        return max_pool2d(near, 3, stride=1, padding=1)[0] > 0


class _Band:
    """Sums of the logits of windows, for the rows that windows still come to.

    Sums are in float16: the rows of one window over 2048 pixels take 121 MB of 29 bones at 1024, in float32 twice that.
    """

    def __init__(self, importance: torch.Tensor, columns: tuple[int, int], reach: int) -> None:
        self.importance, self.left, self.reach = importance, columns[0], reach
        size = reach + importance.shape[0], columns[1] - columns[0]
        self.top = -reach
        self.finished = 0
        self.sums = torch.zeros(NUM_BONES, *size, dtype=torch.float16, device=importance.device)
        self.weights = torch.zeros(size, device=importance.device)

    def move(self, y: int) -> None:
        """Let go of rows, so that windows may be added that begin in row ``y``; those of the reach before it stay."""
        by = y - self.reach - self.top
        self.top += by
        for plane in (*self.sums, self.weights):
            kept = plane[by:].clone()
            plane[: len(kept)] = kept
            plane[len(kept) :] = 0

    def add(self, columns: Sequence[int], logits: torch.Tensor) -> None:
        """Add the logits (N, 29, h, w) of windows that begin in some columns."""
        for x, window in zip(columns, logits, strict=True):
            place = slice(self.reach, None), slice(x - self.left, x - self.left + window.shape[-1])
            for total, seen in zip(self.sums, window, strict=True):
                total[place] += seen.float().clamp(_LEAST, -_LEAST).mul_(self.importance)
            self.weights[place] += self.importance

    def finish(self, until: int, floor: float, found: NearBones, padding: tuple[int, int]) -> None:
        """Keep of the rows before ``until`` what lies near bones; ``padding`` is what comes before the image."""
        height, width = found.shape[1:]
        begin, end = max(self.finished - self.reach, padding[0]), min(until, padding[0] + height)
        self.finished = until
        left, right = max(self.left, padding[1]), min(self.left + self.sums.shape[2], padding[1] + width)
        if begin >= end:
            return
        place = slice(begin - self.top, end - self.top), slice(left - self.left, right - self.left)
        weights = self.weights[place]
        nothing = None if bool(weights.all()) else weights == 0
        for bone, sums in enumerate(self.sums):
            logits = sums[place] / weights
            if nothing is not None:
                logits[nothing] = found.below
            near = logits > floor
            y, x = (near.any(dim=axis).nonzero().flatten() for axis in (1, 0))
            if len(y):
                y0, y1 = max(int(y[0]) - self.reach, 0), int(y[-1]) + 1 + self.reach
                x0, x1 = max(int(x[0]) - self.reach, 0), int(x[-1]) + 1 + self.reach
                found.keep(bone, begin - padding[0] + y0, left - padding[1] + x0, logits[y0:y1, x0:x1])


def _scaled(window: Sequence[int], place: tuple[int, int], scale: float) -> torch.Tensor:
    """Return the view (2, 3) of a place (top, left) that is so many times as large as a window, in its pixels."""
    off_y, off_x = (start + 0.5 * (1 - scale) * (side - 1) for start, side in zip(place, window, strict=True))
    return torch.tensor([[scale, 0, off_x], [0, scale, off_y]], dtype=torch.float64)
