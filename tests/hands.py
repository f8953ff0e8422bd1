"""Label masks of phantoms, made once, and what a network might do to them."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from handseg_monai.bones import BONES, INDEX, Group
from handseg_monai.phantom import PRESETS, Phantom, render_phantom

CARPALS = tuple(bone.index for bone in BONES if bone.group is Group.CARPAL)


@lru_cache(maxsize=64)
def phantom(number: int) -> Phantom:
    """Phantom of 512 px that the frozen ranges have not seen: even numbers are left hands."""
    return render_phantom(99, number // 2, "right" if number % 2 else "left", PRESETS["standard"], 512)


def hand(number: int) -> np.ndarray:
    """Masks of :func:`phantom`, a copy."""
    return phantom(number).planes.copy()


def mask(planes: np.ndarray, name: str) -> np.ndarray:
    return (planes & np.int32(1 << INDEX[name])) != 0


def without(planes: np.ndarray, name: str) -> np.ndarray:
    return planes & ~np.int32(1 << INDEX[name])


def with_mask(planes: np.ndarray, name: str, added: np.ndarray) -> np.ndarray:
    """Add a mask to what a bone has."""
    return planes | (added.astype(np.int32) << np.int32(INDEX[name]))


def swapped(planes: np.ndarray, a: str, b: str) -> np.ndarray:
    rest = without(without(planes, a), b)
    return with_mask(with_mask(rest, a, mask(planes, b)), b, mask(planes, a))


def shifted(moved: np.ndarray, right: float, down: float) -> np.ndarray:
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(moved.astype(np.uint8), matrix, moved.shape[::-1], flags=cv2.INTER_NEAREST) > 0


def moved(planes: np.ndarray, name: str, right: float, down: float) -> np.ndarray:
    """Move a bone by pixels."""
    return with_mask(without(planes, name), name, shifted(mask(planes, name), right, down))


def with_mirrored_carpus(planes: np.ndarray) -> np.ndarray:
    """Swap the thumb's and the little finger's side of the carpus."""
    bits = np.int32(sum(1 << k for k in CARPALS))
    columns = np.flatnonzero((planes & bits).any(axis=0))
    box = slice(int(columns[0]), int(columns[-1]) + 1)
    result = planes & ~bits
    result[:, box] |= (planes & bits)[:, box][:, ::-1]
    return result


def both_hands(left: int, right: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Radiograph of two phantoms side by side, by their numbers, and the planes of each hand on it by its side."""
    empty = np.zeros_like(hand(left))
    planes = {"left": np.hstack([hand(left), empty]), "right": np.hstack([empty, hand(right)])}
    return np.hstack([phantom(left).image, phantom(right).image]), planes
