"""Rings on fingers: a bright band across a proximal phalanx that goes on beside the bone."""

from __future__ import annotations

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import BONES, Group

BRIGHT = 1.3
"""Brightness over the flesh beside the bone from which a band is a ring; that of the bone's own shaft is 1."""
_PROXIMAL = tuple(bone.index for bone in BONES if bone.group is Group.PROXIMAL_PHALANX)
_STEP = 0.5
_FLANK = 0.8, 7.0
_ENDS = 0.38
_LEAST = 12.0
_OFFSET = 2
_FAINT = 0.1
"""Share of the image's range of grey below which bone and flesh hardly differ."""


def ring_brightness(radiograph: np.ndarray, planes: np.ndarray, millimetres: float) -> dict[int, float]:
    """Measure how bright a band lies across each proximal phalanx, beside the bone.

    Along the bone the flesh on either side is nearly even. A ring stands out of it on both sides at the same place.

    Parameters
    ----------
    radiograph
        Any real dtype, (H, W).
    planes
        Bit planes, int32 (H, W). Other bones do not count as flesh.
    millimetres
        Per pixel, of a hand of median size.

    Returns
    -------
    brightness
        By bone: the brighter side's flank counts no more than the darker one's; see :data:`BRIGHT`. Bones of which
        too little is seen are left out.
    """
    image = radiograph.astype(np.float32)
    grey = float(np.ptp(np.percentile(image, (0.5, 99.5))))
    return {
        bone: brightness
        for bone, box in boxes(planes & np.int32(sum(1 << k for k in _PROXIMAL)))
        if (brightness := _across(image, planes, bone, box, millimetres, grey)) is not None
    }


def _across(
    image: np.ndarray, planes: np.ndarray, bone: int, box: tuple[slice, slice], millimetres: float, grey: float
) -> float | None:
    y, x = np.nonzero((planes[box] >> bone) & 1)
    if x.size < 3:
        return None
    points = np.stack([x + box[1].start, y + box[0].start], axis=1).astype(np.float64)
    centre = points.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov((points - centre).T))
    along, across = vectors[:, 1], vectors[:, 0]
    reach = _ENDS * np.ptp((points - centre) @ along)
    half = 0.5 * x.size / max(np.ptp((points - centre) @ along), 1)
    if 2 * reach * millimetres < _LEAST:
        return None
    step = _STEP / millimetres
    rows = np.arange(-reach, reach + step, step)
    columns = np.arange(-half - _FLANK[1] / millimetres, half + _FLANK[1] / millimetres + step, step)
    grid = centre + rows[:, None, None] * along + columns[None, :, None] * across
    maps = grid[..., 0].astype(np.float32), grid[..., 1].astype(np.float32)
    smooth = cv2.GaussianBlur(image, (0, 0), 0.5 * step) if step > 1.5 else image
    patch = cv2.remap(smooth, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    bones = cv2.remap((planes != 0).astype(np.uint8), *maps, cv2.INTER_NEAREST)
    own = cv2.remap(((planes >> bone) & 1).astype(np.uint8), *maps, cv2.INTER_NEAREST) > 0
    flesh = cv2.dilate(bones, np.ones((3, 5), np.uint8)) == 0
    if not own.any():  # its middle lies beside what is bent, or off the image
        return None
    shaft = float(np.median(patch[own]))
    sides = []
    for sign in (-1, 1):
        place = sign * columns > half
        beside, seen = flesh[:, place], patch[:, place]
        if beside.any(axis=1).mean() < 0.7:
            return None
        columns_of = zip(seen.T, beside.T, strict=True)
        usual = [float(np.median(column[free])) if free.any() else np.inf for column, free in columns_of]
        over = np.where(beside, seen - np.array(usual), -np.inf).max(axis=1)
        contrast = shaft - float(np.median(seen[beside]))
        if contrast == 0:
            return None
        sides.append(over / max(abs(contrast), _FAINT * grey, 1e-6) * np.sign(contrast))
    # A ring may lie aslant: its two sides are some millimetres apart along the bone.
    window = np.ones((2 * _OFFSET + 1, 1), np.uint8)
    near = [cv2.dilate(np.maximum(side, -9).astype(np.float32)[:, None], window) for side in sides]
    return float(np.minimum(*near).max())
