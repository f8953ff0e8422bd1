"""Soft tissue around the bones: skin outline, thickness along the beam, fat and muscles.

The outline is a smooth union of tapered capsules along fingers, palm and forearm: a signed distance to the skin that
blends where capsules meet, so that webs are round. Thickness rises from zero at the skin like the chord of a circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from handseg_monai.bones import INDEX
from handseg_monai.phantom.anatomy import CARPALS, RADIUS, RAYS, ULNA
from handseg_monai.phantom.growth import size_at
from handseg_monai.phantom.mesh import Array
from handseg_monai.phantom.pose import PosedHand
from handseg_monai.phantom.resample import Floats, enlarged
from handseg_monai.phantom.subject import Subject
from handseg_monai.phantom.view import View

_STEP = 0.75
"""Grid of the soft tissue, millimetres: it has no detail finer than that."""


@dataclass(frozen=True)
class Tissue:
    """Soft tissue on the coarse grid, all (h, w) float32 in millimetres."""

    depth: Floats
    """Depth under the skin's outline in the image plane; negative outside."""
    half: Floats
    """Half the thickness along the beam far from the outline."""
    muscle: Floats
    """Muscle in addition to that, along the beam."""


@numba.njit(cache=True, nogil=True, inline="always")
def _capsule(x: float, y: float, c: NDArray[np.float64], far: float) -> tuple[float, float]:
    """Return distance to a tapered capsule (x, y, r, half of each end, 1 / length²) and the position along it.

    Beyond `far` the distance is only known to be more than that.
    """
    dx, dy, ux, uy = x - c[0], y - c[1], c[4] - c[0], c[5] - c[1]
    t = min(1.0, max(0.0, (dx * ux + dy * uy) * c[8]))
    square = (dx - t * ux) ** 2 + (dy - t * uy) ** 2
    reach = c[2] + t * (c[6] - c[2])
    if square > (reach + far) ** 2:
        return far + 1.0, t
    return np.sqrt(square) - reach, t


@numba.njit(cache=True, nogil=True)
def _union(
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    palm: NDArray[np.float64],
    fingers: NDArray[np.float64],
    muscles: NDArray[np.float64],
    depth: NDArray[np.float32],
    half: NDArray[np.float32],
    muscle: NDArray[np.float32],
) -> None:
    for row in range(len(ys)):
        for column in range(len(xs)):
            x, y = xs[column], ys[row]
            broad, narrow, weight, thick = 0.0, 0.0, 1e-12, 0.0
            for c in palm:
                d, t = _capsule(x, y, c, 30.0)
                if d < 30.0:
                    w = np.exp(-d / 6.0)
                    broad += w
                    weight += w
                    thick += w * (c[3] + t * (c[7] - c[3]))
            for c in fingers:
                d, t = _capsule(x, y, c, 15.0)
                if d < 15.0:
                    narrow += np.exp(-d / 1.6)
                    w = np.exp(-d / 5.0)
                    weight += w
                    thick += w * (c[3] + t * (c[7] - c[3]))
            a = -6.0 * np.log(broad + 1e-9)
            b = -1.6 * np.log(narrow + 1e-12)
            low, high = min(a, b), max(a, b)
            depth[row, column] = -(low - 3.0 * np.log(1.0 + np.exp(-(high - low) / 3.0)))
            half[row, column] = thick / weight
            total = 0.0
            for c in muscles:
                d, t = _capsule(x, y, c, 0.0)
                if d >= 0.0:
                    continue
                reach = c[2] + t * (c[6] - c[2])
                inside = min(1.0, -d / reach)
                total += (c[3] + t * (c[7] - c[3])) * np.sqrt(inside * (2.0 - inside)) * min(1.0, 0.25 + 3.0 * inside)
            muscle[row, column] = total


def make_tissue(rng: np.random.Generator, subject: Subject, hand: PosedHand, view: View) -> Tissue:
    """Return the soft tissue of a posed hand over the field of a view, on a grid of about 0.75 mm."""
    count = int(np.ceil(view.size * view.spacing / _STEP))
    grid = view.resized(count)
    cells = np.arange(count, dtype=np.float64) + 0.5
    xs = view.sign * (grid.middle[0] - 0.5 * grid.width * grid.spacing + cells * grid.spacing)
    ys = grid.middle[1] + 0.5 * grid.height * grid.spacing - cells * grid.spacing
    palm = np.array(_palm_capsules(subject, hand) + _forearm_capsules(subject, hand))
    fingers, muscles = np.array(_finger_capsules(subject, hand)), np.array(_muscle_capsules(subject, hand))
    depth, half, muscle = (np.zeros((count, count), np.float32) for _ in range(3))
    _union(xs, ys, palm, fingers, muscles, depth, half, muscle)
    # Nobody's skin is a capsule.
    for nodes, height in ((max(count // 45, 1), 0.4), (max(count // 18, 1), 0.15)):
        waves = rng.standard_normal((nodes, nodes), np.float32)
        depth += height * enlarged(waves, count, smooth=True)
    return Tissue(depth, half, muscle)


Row = list[float]


def _row(a: Array, ra: float, ha: float, b: Array, rb: float, hb: float) -> Row:
    square = float((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2)
    return [float(a[0]), float(a[1]), ra, ha, float(b[0]), float(b[1]), rb, hb, 1.0 / (square + 1e-9)]


def _between(a: Array, b: Array, share: float) -> Array:
    return a + share * (b - a)


def _along(hand: PosedHand, bone: int, share: float) -> Array:
    """Return the point at a share of a bone's length, from its proximal end."""
    return _between(hand.anchors[bone], hand.ends[bone], share)


def _finger_capsules(subject: Subject, hand: PosedHand) -> list[Row]:
    flesh, rows = subject.flesh, []
    for number, ray in enumerate(RAYS):
        wide = flesh.finger * (1.08, 1.0, 1.03, 0.97, 0.86)[number]
        joints = [hand.anchors[bone] for bone in ray[1:]] + [hand.ends[ray[-1]]]
        radii = (11.0, 10.4, 8.4) if number == 0 else (10.2, 9.7, 8.9, 7.5)
        halves = (9.5, 8.5, 6.8) if number == 0 else (9.5, 8.2, 7.0, 5.6)
        for k in range(len(joints) - 1):
            # A finger is narrower between its joints.
            r, h = 0.485 * (radii[k] + radii[k + 1]) * wide, 0.5 * (halves[k] + halves[k + 1]) * flesh.thickness
            middle = _between(joints[k], joints[k + 1], 0.5)
            rows.append(_row(joints[k], radii[k] * wide, halves[k] * flesh.thickness, middle, r, h))
            rows.append(_row(middle, r, h, joints[k + 1], radii[k + 1] * wide, halves[k + 1] * flesh.thickness))
    return rows


def _palm_capsules(subject: Subject, hand: PosedHand) -> list[Row]:
    wide, thick = subject.flesh.palm, subject.flesh.thickness
    reaches = ((12.5, 9.5), (11.0, 8.5), (10.0, 8.0), (10.0, 8.0), (13.0, 9.5))
    rows = [
        _row(hand.anchors[ray[0]], near * wide, 15.0 * thick, hand.ends[ray[0]], far * wide, 10.5 * thick)
        for ray, (near, far) in zip(RAYS, reaches, strict=True)
    ]
    for first, second in pairwise(RAYS[1:]):
        # Webs reach over a good quarter of the bones of the proximal phalanges, with their rounding over two fifths.
        a = _between(hand.ends[first[0]], hand.ends[second[0]], 0.5)
        b = _between(_along(hand, first[1], 0.27), _along(hand, second[1], 0.27), 0.5)
        rows.append(_row(a, 6.0 * wide, 10.0 * thick, b, 3.0 * wide, 6.5 * thick))
    for share, reach in ((0.25, 9.0), (0.5, 7.5), (0.75, 5.5), (0.95, 4.0)):
        a, b = _along(hand, RAYS[0][0], share), _along(hand, RAYS[1][0], 0.9 * share)
        rows.append(_row(a, reach * wide, 10.0 * thick, b, reach * wide, 11.0 * thick))
    scaphoid, triquetrum = hand.anchors[INDEX["Scaphoid"]], hand.anchors[INDEX["Triquetrum"]]
    rows.append(_row(scaphoid, 15.0 * wide, 16.0 * thick, triquetrum, 14.5 * wide, 15.0 * thick))
    return rows


def _forearm_frame(hand: PosedHand) -> tuple[Array, Array, Array]:
    """Return the middle of the wrist joint, and unit vectors up the arm and across it to the right."""
    joint = 0.5 * (hand.ends[RADIUS] + hand.ends[ULNA])
    axis = 0.5 * (hand.anchors[RADIUS] + hand.anchors[ULNA]) - joint
    axis /= np.linalg.norm(axis[:2])
    across = np.array([-axis[1], axis[0], 0.0])
    across *= 1.0 if across[0] > 0 else -1.0
    return joint - 1.5 * across, axis, across


def _forearm_capsules(subject: Subject, hand: PosedHand) -> list[Row]:
    wide, thick = subject.flesh.forearm, subject.flesh.thickness
    joint, axis, across = _forearm_frame(hand)
    wrist = np.mean([hand.anchors[bone] for bone in CARPALS], axis=0)
    rows = [_row(wrist, 19.0 * wide, 16.0 * thick, joint, 17.0 * wide, 17.0 * thick)]
    # Distance from the joint, of the capsule's axis from the arm's, radius, half thickness.
    stations = (
        (2.0, 12.5, 17.0, 17.0),
        (14.0, 13.0, 17.5, 17.5),
        (40.0, 12.5, 18.0, 18.5),
        (90.0, 14.0, 19.0, 23.0),
        (230.0, 20.0, 24.0, 30.0),
    )
    for side in (-1.0, 1.0):
        for upper, lower in pairwise(stations):
            a, b = (joint + subject.scale * (s[0] * axis + side * s[1] * across) for s in (upper, lower))
            rows.append(_row(a, upper[2] * wide, upper[3] * thick, b, lower[2] * wide, lower[3] * thick))
    return rows


def _muscle_capsules(subject: Subject, hand: PosedHand) -> list[Row]:
    strong, anchors = subject.flesh.muscle, hand.anchors
    thumb, index, middle, _, little = (ray[0] for ray in RAYS)
    rows = []
    for first, second in pairwise(RAYS[1:]):
        a, b = (_between(_along(hand, first[0], s), _along(hand, second[0], s), 0.5) for s in (0.25, 0.75))
        rows.append(_row(a, 4.0, 2.0 * strong, b, 4.0, 1.2 * strong))
    # First dorsal interosseous and adductor of the thumb fill the first web.
    root = _between(anchors[thumb], anchors[index], 0.5)
    web = _between(_along(hand, thumb, 0.8), _along(hand, index, 0.62), 0.5)
    rows.append(_row(_between(root, web, 0.3), 10.0, 4.0 * strong, _between(root, web, 0.78), 14.0, 5.5 * strong))
    rows.append(_row(_along(hand, middle, 0.45), 8.0, 2.0 * strong, hand.ends[thumb], 8.0, 3.0 * strong))
    # Thenar and hypothenar.
    scaphoid, pisiform = anchors[INDEX["Scaphoid"]], anchors[INDEX["Pisiform"]]
    rows.append(_row(scaphoid, 9.0, 3.0 * strong, _along(hand, thumb, 0.9), 9.5, 6.0 * strong))
    rows.append(_row(pisiform, 9.0, 4.0 * strong, _along(hand, little, 0.85), 8.0, 3.0 * strong))
    joint, axis, across = _forearm_frame(hand)
    for out in (-12.0, 11.0):
        a = joint + subject.scale * (25.0 * axis + out * across)
        b = joint + subject.scale * (220.0 * axis + 1.3 * out * across)
        rows.append(_row(a, 6.0, 1.0, b, 16.0, 9.0 * strong))
    # Radii and thicknesses above are an adult's.
    scaled = np.array(rows)
    scaled[:, [2, 3, 6, 7]] *= 1.0 if subject.age is None else size_at(subject.age)
    return [[float(value) for value in row] for row in scaled]
