"""Dictionary transform that drops what is drawn of carpal bones over one another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import APART, INDEX

_TRAPEZIUM, _TRAPEZOID, _CAPITATE = (INDEX[name] for name in ("Trapezium", "Trapezoid", "Capitate"))
_SCAPHOID, _TRIQUETRUM, _PISIFORM = (INDEX[name] for name in ("Scaphoid", "Triquetrum", "Pisiform"))
_CARPALS = {bone for pair in APART for bone in pair} | {_PISIFORM}
_MOST_ALIKE = 0.5
"""Intersection over union beyond which trapezium and trapezoid are one bone, drawn twice. Phantoms have up to 0.41."""
_BEFORE_PISIFORM = 0.4
"""Area of the scaphoid over the capitate's below which no pisiform has ossified: it does so four years after the
scaphoid (Greulich and Pyle, 1959). 954 phantoms with a pisiform have 0.39 or more, two thirds of those without less."""


def drop_covered(planes: np.ndarray, most: float) -> np.ndarray:
    """Drop pieces of carpal bones that lie mostly within another one, where in a hand the two lie apart, and copies.

    Of two such bones the smaller is drawn where it is not, as happens in young children whose bone has not ossified,
    or is a dot beside. What counts of the other bone is its largest piece. Which pairs lie apart says
    :data:`~handseg_monai.bones.APART`. Of trapezium and trapezoid of nearly one outline the smaller goes, and from over
    a triquetrum the pisiform, where the scaphoid is too small beside the capitate for a hand that has one. Bones that
    the image's border cuts are left: what it leaves of two may well be the part that they share.

    Parameters
    ----------
    planes
        int32 (H, W) bit planes; they are left as they are.
    most
        Greatest share of a piece that a larger one of the other bone may cover, 0 to 1.
    """
    cut = np.bitwise_or.reduce(np.concatenate([planes[0], planes[-1], planes[:, 0], planes[:, -1]]))
    where = {k: box for k, box in boxes(planes) if k in _CARPALS and not cut >> k & 1}
    result = planes.copy()
    if not where:
        return result
    carpus = tuple(
        slice(min(box[axis].start for box in where.values()), max(box[axis].stop for box in where.values()))
        for axis in (0, 1)
    )
    labels, areas, largest = {}, {}, {}
    for k in where:
        mask = (planes[carpus] >> k & 1).astype(np.uint8)
        _, labels[k], stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        areas[k] = stats[1:, cv2.CC_STAT_AREA]
        largest[k] = labels[k] == 1 + int(areas[k].argmax())
    for pair in APART:
        for bone, other in (pair, pair[::-1]):
            if bone in where and other in where:
                shared = np.bincount(labels[bone][largest[other]], minlength=len(areas[bone]) + 1)[1:]
                whole = int(areas[other].max())
                # Of two as large the first of the pair goes.
                smaller = areas[bone] < whole if bone == pair[1] else areas[bone] <= whole
                stray = np.concatenate([[False], (shared > most * areas[bone]) & smaller])
                result[carpus] &= ~(stray[labels[bone]].astype(np.int32) << np.int32(bone))
    sizes = {k: int(np.count_nonzero(result[carpus] & np.int32(1 << k))) for k in _CARPALS}

    def shared_by(*pair: int) -> int:
        both = np.int32(1 << pair[0] | 1 << pair[1])
        return int(np.count_nonzero((result[carpus] & both) == both))

    gone = 0
    if {_TRAPEZIUM, _TRAPEZOID} <= where.keys():
        common = shared_by(_TRAPEZIUM, _TRAPEZOID)
        if common > _MOST_ALIKE * (sizes[_TRAPEZIUM] + sizes[_TRAPEZOID] - common):
            gone |= 1 << min(_TRAPEZIUM, _TRAPEZOID, key=sizes.__getitem__)
    if {_CAPITATE, _TRIQUETRUM, _PISIFORM} <= where.keys() and not cut >> _SCAPHOID & 1:
        young = sizes[_SCAPHOID] < _BEFORE_PISIFORM * sizes[_CAPITATE]
        if young and shared_by(_TRIQUETRUM, _PISIFORM) > most * sizes[_PISIFORM]:
            gone |= 1 << _PISIFORM
    return result & np.int32(~gone)


class DropCoveredd(MapTransform):
    """Drop pieces of carpal bones that lie mostly within another one; see :func:`drop_covered`.

    Parameters
    ----------
    keys
        Keys of bit planes, int32 (1, H, W), on any device. Items that carry ``failure`` pass unchanged.
    most
        See :func:`drop_covered`; 1 keeps everything.
    """

    def __init__(self, keys: KeysCollection, most: float) -> None:
        super().__init__(keys)
        if not 0 <= most <= 1:
            raise ValueError(f"most: expected a share from 0 to 1, got {most}")
        self.most = most

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        if "failure" in result or self.most == 1:
            return result
        for key in self.keys:
            planes = result[key]
            kept = drop_covered(planes[0].cpu().numpy(), self.most)
            result[key] = torch.from_numpy(kept)[None].to(planes.device)
        return result
