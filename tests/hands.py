"""Label masks of phantoms, made once, and what a network might do to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from handseg_monai.bones import BONES, INDEX, Group, Side
from handseg_monai.phantom import PRESETS, Phantom, render_phantom
from handseg_monai.phantom.acquisition.exposure import expose
from handseg_monai.phantom.components import Components, render_components, warped

CARPALS = tuple(bone.index for bone in BONES if bone.group is Group.CARPAL)


@lru_cache(maxsize=64)
def phantom(number: int) -> Phantom:
    """Phantom of 512 px that the frozen ranges have not seen: even numbers are left hands."""
    return render_phantom(99, number // 2, "right" if number % 2 else "left", PRESETS["standard"], 512)


@dataclass(frozen=True)
class Pair:
    """Both hands of a person on one radiograph, and either alone with the same exposure."""

    image: np.ndarray
    """uint8 (H, W)."""
    alone: tuple[np.ndarray, np.ndarray]
    """uint8 (H, W): the left hand alone, and the right one."""
    planes: tuple[np.ndarray, np.ndarray]
    """int32 (H, W), left and right."""


def pair(
    seed: int, number: int, name: str, width: int = 1200, inwards: bool = True, sides: tuple[Side, Side] | None = None
) -> Pair:
    """Lay two hands side by side, tilted up to 15 degrees, up to 5 % of the width over each other or apart.

    Thumbs point inwards or outwards; ``sides`` are those of the hand on the left and of that on the right.
    """
    rng = np.random.default_rng([seed, number])
    ranges = replace(PRESETS[name], inversion_share=0.0, second_hand_share=0.0)
    shape, middle = (5 * width // 8, width), width * (0.5 + rng.uniform(-0.02, 0.02))
    gap = width * rng.uniform(-0.05, 0.04)
    laid: list[Components] = []
    for place, side in enumerate(sides or (("left", "right") if inwards else ("right", "left"))):
        upright = render_components(seed, number, side, ranges, width // 2)
        angle, scale = np.deg2rad(rng.uniform(-15, 15)), 1 / 0.9
        turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        centre = np.array([upright.shape[1], upright.shape[0]]) / 2 - turn @ np.array([width / 2, shape[0] / 2])
        turned = warped(upright, np.column_stack([turn, centre]), shape)
        columns = np.flatnonzero(turned.soft.max(axis=0) > 0)
        inner = middle + gap / 2 - columns[0] if place else middle - gap / 2 - columns[-1]
        lower = width * rng.uniform(-0.03, 0.03)
        laid.append(warped(turned, np.array([[1.0, 0.0, -inner], [0.0, 1.0, -lower]]), shape))
    one, other = laid
    key = int(rng.integers(1 << 60))
    both = replace(one, soft=one.soft + other.soft, bone=one.bone + other.bone)
    image, *alone = (expose(np.random.default_rng(key), ranges, parts) for parts in (both, one, other))
    if sides is None and not inwards:
        one, other, alone = other, one, alone[::-1]
    return Pair(image, (alone[0], alone[1]), (one.planes, other.planes))


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
