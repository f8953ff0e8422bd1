"""Drawing a label onto the stored pixels of its image, and looking at what was drawn."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from handseg_monai.bitplanes import areas, boxes
from handseg_monai.bones import BONES, NAMES, Group
from handseg_monai.data.items import LabelError
from handseg_monai.data.label_fit import misplaced
from handseg_monai.data.labels.label import Label
from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.images import image_size
from handseg_monai.data.reading.orientation import UPRIGHT, orientation, stored_from_upright, upright_shape

Orientation = Literal["upright", "stored"]
"""What labels lie on where an image states an orientation: the image as viewers show it, or its stored pixels."""

LEAST_PIXELS = 12
LEAST_SHARE = 1 / 50
"""Of the area that a bone usually has in a hand of this size."""
MOST_SHARE = 1 / 4
"""Of the image."""
_TWICE, _LIKE, _MOST = 1 / 3, 1 / 4, 2 / 5
"""Two hands: share of the bones that come twice, least size of the second one as a share of the first, and share of the
bone's pixels that the two make up, at least."""
_AREAS = np.array([bone.area for bone in BONES])
_CARPALS = np.array([bone.group is Group.CARPAL for bone in BONES])


def draw(
    label: Label,
    side: Orientation | None = None,
    small_bones: bool = False,
    shifts: list[float] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Draw a label: bit planes, int32 (H, W), of the bones that are known, on the stored pixels of its image.

    Parameters
    ----------
    label
        Not yet drawn.
    side
        What it lies on where the image states an orientation (EXIF, TIFF). None goes by the form, or by the size that
        fits only one of the two.
    small_bones
        Accept bones however small they are.
    shifts
        Of run-lengths; see :func:`~handseg_monai.data.label_fit.misplaced`.
    max_pixels
        Of the image, see :func:`~handseg_monai.data.reading.images.image_size`.

    Raises
    ------
    LabelError
        The label can't be drawn, may lie on either side of a turned image, lies on the bones only once it is turned,
        shows two hands, or holds bones that are too small or too large. The message names the source and lists all of
        them.
    """
    shape = image_size(label.image, max_pixels)
    try:
        planes = _on_stored_pixels(label, shape, side) & np.int32(label.known)
        faults = [*hand_faults(planes), *size_faults(planes, small_bones)]
        if text := misplaced(label.image, planes, shifts, max_pixels):
            faults.append(text)
        if faults:
            raise ValueError("; ".join(faults))
    except ValueError as error:
        raise LabelError(f"{label.source}: {error}") from error
    return planes


def _on_stored_pixels(label: Label, shape: tuple[int, int], side: Orientation | None) -> np.ndarray:
    stated = orientation(label.image)
    if stated == UPRIGHT or label.upright is False:
        return label.draw(shape)
    sizes: dict[Orientation, tuple[int, int]] = {"upright": upright_shape(shape, stated), "stored": shape}
    if side is None and sizes["upright"] != shape:
        # The size may tell: of a file that states one, or of points that leave one of the two.
        fitting = [one for one, size in sizes.items() if _fits(label, size)]
        side = fitting[0] if len(fitting) == 1 else None
    if side is None and label.upright:
        side = "upright"
    if side is None:
        raise ValueError(
            f"{label.image} is stored turned (orientation {stated} in its EXIF or TIFF header); say whether the label "
            "lies on it as viewers show it, with --orientation upright, or as it is stored, with --orientation stored"
        )
    planes = label.draw(sizes[side])
    return stored_from_upright(planes, stated) if side == "upright" else planes


def _fits(label: Label, shape: tuple[int, int]) -> bool:
    try:
        label.draw(shape)
    except ValueError:
        return False
    return True


def size_faults(planes: np.ndarray, small_bones: bool = False) -> list[str]:
    """Say which bones of bit planes, int32 (H, W), can't be as small or as large as they are.

    Areas are compared with those of the other bones, and carpal bones with those of other carpal bones where these are
    small as well: a young child's are dots. Bones that the image cuts off may be small.
    """
    found = areas(planes)
    present = np.flatnonzero(found)
    scales = found / _AREAS
    cut = {k for k, box in boxes(planes) if _at_border(box, planes.shape)}
    faults = []
    for k in present.tolist():
        area, name = int(found[k]), NAMES[k]
        usual = _AREAS[k] * _scale(k, present, scales, cut)
        if area > MOST_SHARE * planes.size:
            faults.append(f"{name} covers {area / planes.size:.0%} of the image; expected at most {MOST_SHARE:.0%}")
        elif small_bones:
            continue
        elif area < LEAST_PIXELS:
            faults.append(f"{name} covers {area} pixels; expected {LEAST_PIXELS} or more, or --small-bones")
        elif area < LEAST_SHARE * usual and k not in cut:
            faults.append(
                f"{name} covers {area} pixels, in a hand of this size usually {usual:.0f}; correct it, or --small-bones"
            )
    return faults


def hand_faults(planes: np.ndarray) -> list[str]:
    """Say that bit planes, int32 (H, W), show two hands: a third of the bones, and at least two, come twice.

    A bone comes twice where two pieces of like size lie farther apart than the root of their area. The
    pieces of one bone lie closer together: epiphysis and shaft, the ends of a fracture, what is left beside an implant.
    """
    twice = [k for k, box in boxes(planes) if _comes_twice(((planes[box] >> k) & 1).astype(np.uint8))]
    present = np.count_nonzero(areas(planes))
    if len(twice) < max(2, _TWICE * present):
        return []
    return [
        f"the label shows two hands: {len(twice)} of {present} bones come twice, far apart, {NAMES[twice[0]]} among "
        "them; a label is of one hand: take the other one out, or cut the image in two"
    ]


def _comes_twice(mask: np.ndarray) -> bool:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    pieces = stats[1:][np.argsort(stats[1:, cv2.CC_STAT_AREA])[::-1]]
    if len(pieces) < 2:
        return False
    one, other = pieces[:2].astype(np.float64)
    (start, end), (other_start, other_end) = ((p[:2], p[:2] + p[2:4]) for p in (one, other))
    gap = np.hypot(*np.maximum(np.maximum(start, other_start) - np.minimum(end, other_end), 0))
    area, other_area = one[cv2.CC_STAT_AREA], other[cv2.CC_STAT_AREA]
    alike = other_area >= _LIKE * area and area + other_area >= _MOST * pieces[:, cv2.CC_STAT_AREA].sum()
    return bool(alike and gap > np.sqrt(area + other_area))


def _scale(bone: int, present: np.ndarray, scales: np.ndarray, cut: set[int]) -> float:
    """Pixels of a square millimetre, by the other bones that the image does not cut off."""
    others = [k for k in present.tolist() if k != bone and k not in cut]
    hand = [scales[k] for k in others if not _CARPALS[k]]
    carpals = [scales[k] for k in others if _CARPALS[k]] if _CARPALS[bone] else []
    return float(min((np.median(part) for part in (hand, carpals) if part), default=0.0))


def _at_border(box: tuple[slice, slice], shape: tuple[int, ...]) -> bool:
    rows, columns = box
    return not (rows.start and columns.start and rows.stop < shape[0] and columns.stop < shape[1])
