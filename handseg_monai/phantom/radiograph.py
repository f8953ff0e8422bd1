"""Bones and soft tissue of a view as attenuation along the beam, and the silhouette of each bone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from handseg_monai.bones import BONES, NUM_BONES, Group
from handseg_monai.phantom.anatomy import RADIUS, ULNA
from handseg_monai.phantom.mesh import Array
from handseg_monai.phantom.pose import PosedHand
from handseg_monai.phantom.raster import add_silhouette, add_thickness
from handseg_monai.phantom.resample import Floats, Shape
from handseg_monai.phantom.subject import Sesamoid, Subject
from handseg_monai.phantom.tissue import Tissue
from handseg_monai.phantom.view import View

Polygon = NDArray[np.int32]

# Linear attenuation at about 40 keV, 1/mm; for bone what it adds to the muscle in its place. Rounded from the tables of
# NIST for ICRU-44 tissues (https://physics.nist.gov/PhysRefData/XrayMassCoef/tab4.html); trabecular bone with marrow
# is taken as three tenths of cortical bone.
_MUSCLE, _FAT = 0.028, 0.023
_CORTICAL, _TRABECULAR = 0.100, 0.030
_TILE_MM = 0.12
"""Pixel of the trabecular texture, millimetres."""


@cache
def _trabeculae() -> tuple[Floats, Floats]:
    """Return textures (1024, 1024) of mean 0: struts along the second axis for long bones, and an even mesh."""
    rng = np.random.default_rng(20240229)
    wave = np.fft.fftfreq(1024, _TILE_MM)
    across, along = np.meshgrid(wave, wave)

    def ridges(stretch: float, pitch: float) -> Floats:
        radius = np.hypot(across, along * stretch) * pitch
        band = np.exp(-((np.log(np.maximum(radius, 1e-6))) ** 2) / (2 * 0.35**2))
        field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((1024, 1024))) * band).real
        field /= field.std()
        # Struts run where the wave crosses zero: thin, branching lines.
        return np.exp(-((field / 0.45) ** 2)).astype(np.float32)

    def cloud(pitch: float) -> Floats:
        band = np.exp(-((np.hypot(across, along) * pitch) ** 2))
        field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((1024, 1024))) * band).real
        return (field / field.std()).astype(np.float32)

    shaft = 0.7 * ridges(6.0, 0.85) + 0.35 * ridges(0.6, 1.1) + 0.06 * cloud(6.0)
    mesh = 0.6 * ridges(1.3, 1.2) + 0.5 * ridges(0.8, 1.9) + 0.07 * cloud(6.0)
    return shaft - shaft.mean(), mesh - mesh.mean()


@numba.njit(cache=True, nogil=True)
def _add_bone(
    out: NDArray[np.float32],
    outer: NDArray[np.float32],
    inner: NDArray[np.float32],
    texture: NDArray[np.float32],
    line: NDArray[np.float64],
    profile: NDArray[np.float64],
    contrast: float,
) -> None:
    """Add cortex and trabecular bone; `line` is (a, b, c): a x + b y + c runs 0 to 1 along the bone."""
    height, width = out.shape
    last = len(profile) - 1
    for row in range(height):
        for column in range(width):
            chord = outer[row, column]
            if chord <= 0.0:
                continue
            cavity = min(max(inner[row, column], 0.0), chord)
            place = min(max(line[0] * column + line[1] * row + line[2], 0.0), 1.0) * last
            cell = min(int(place), last - 1)
            density = profile[cell] + (place - cell) * (profile[cell + 1] - profile[cell])
            strut = 1.0 + contrast * texture[row, column]
            out[row, column] += _CORTICAL * (chord - cavity) * (1.0 + 0.12 * contrast * texture[row, column])
            out[row, column] += _TRABECULAR * density * cavity * strut


def bone_attenuation(rng: np.random.Generator, subject: Subject, hand: PosedHand, view: View) -> Floats:
    """Return (H, W) float32: what the bones add to the attenuation of the soft tissue."""
    out = np.zeros(view.shape, np.float32)
    for bone in range(NUM_BONES):
        outer = view(hand.outer[bone])
        # Carpal bones have the coarser trabeculae.
        carpal = BONES[bone].group is Group.CARPAL
        offset, scale = rng.uniform(0, 400, 2), 1.0 / ((1.2 if carpal else 1.1) * rng.uniform(0.8, 1.3))
        box = _box(outer, view.shape)
        if box is None:
            continue
        x0, y0, x1, y1 = box
        shell = np.zeros((y1 - y0, x1 - x0), np.float32)
        cavity = np.zeros_like(shell)
        faces = subject.anatomy.meshes[bone].faces
        for surface, marrow in hand.pieces[bone]:
            add_thickness(shell, view(surface), faces, x0, y0, -view.sign)
            add_thickness(cavity, view(marrow), faces, x0, y0, -view.sign)
        start, end = view(hand.anchors[[bone]])[0], view(hand.ends[[bone]])[0]
        if carpal:
            start, end = np.array([x0, y1, 0.0]), np.array([x0, y0, 0.0])
        axis = (end - start)[:2]
        length = float(np.hypot(*axis))
        line = np.array([*(axis / length**2), float((np.array([x0, y0]) - start[:2]) @ axis) / length**2])
        # The texture lies fixed in the bone: its second axis runs along it.
        unit = axis / length
        pitch = scale * view.spacing / _TILE_MM
        warp = pitch * np.array([[-unit[1], unit[0], 0.0], [unit[0], unit[1], 0.0]])
        warp[:, 2] = offset
        flags, tile = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, _trabeculae()[1 if carpal else 0]
        texture = np.asarray(
            cv2.warpAffine(tile, warp, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REFLECT), np.float32
        )
        profile = _density(bone) * subject.density
        _add_bone(out[y0:y1, x0:x1], shell, cavity, texture, line, profile, 0.62 * subject.texture)
    for sesamoid in subject.sesamoids:
        _add_sesamoid(out, sesamoid, subject, hand, view)
    return out


def _add_sesamoid(out: Floats, sesamoid: Sesamoid, subject: Subject, hand: PosedHand, view: View) -> None:
    """Add an ovoid bone on the palm's side of a metacarpal's head."""
    place, axis, _ = _sesamoid_frame(sesamoid, hand)
    x, y, _ = view(place[None])[0]
    long, wide = sesamoid.long / view.spacing, sesamoid.wide / view.spacing
    box = _box(np.array([[x - long, y - long, 0.0], [x + long, y + long, 0.0]]), view.shape)
    if box is None:
        return
    x0, y0, x1, y1 = box
    row, column = np.mgrid[y0:y1, x0:x1]
    unit = (view((place + axis)[None])[0] - (x, y, 0.0))[:2]
    unit /= np.hypot(*unit)
    u, v = (column - x) * unit[0] + (row - y) * unit[1], (row - y) * unit[0] - (column - x) * unit[1]
    chord, marrow = (
        2 * sesamoid.wide * share * np.sqrt(np.maximum(1 - (u / (share * long)) ** 2 - (v / (share * wide)) ** 2, 0))
        for share in (1.0, 0.78)
    )
    out[y0:y1, x0:x1] += (_CORTICAL * (chord - marrow) + _TRABECULAR * subject.density * marrow).astype(np.float32)


def _sesamoid_frame(sesamoid: Sesamoid, hand: PosedHand) -> tuple[Array, Array, Array]:
    """Return the middle of a sesamoid (mm), and unit vectors along its metacarpal and across it."""
    axis = hand.ends[sesamoid.metacarpal] - hand.anchors[sesamoid.metacarpal]
    axis = axis / np.linalg.norm(axis)
    across = np.array([axis[1], -axis[0], 0.0]) / float(np.hypot(axis[0], axis[1]))
    return hand.ends[sesamoid.metacarpal] + sesamoid.along * axis + sesamoid.across * across, axis, across


def _density(bone: int) -> Array:
    """Return the density of trabecular bone at 33 points from the proximal to the distal end; 1 in a carpal bone."""
    share = np.linspace(0, 1, 33)
    if bone in (RADIUS, ULNA):
        return 0.12 + 0.85 * np.clip((share - 0.8) / 0.18, 0, 1) ** 1.3
    group = BONES[bone].group
    if group is Group.CARPAL:
        return np.ones(33)
    if group is Group.DISTAL_PHALANX:
        return 0.8 + 0.2 * np.abs(2 * share - 1)
    return 0.2 + 0.8 * np.abs(2 * share - 1) ** 1.7


def _box(points: Array, shape: Shape) -> tuple[int, int, int, int] | None:
    low = np.maximum(np.floor(points[:, :2].min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(points[:, :2].max(axis=0)).astype(int) + 2, (shape[1], shape[0]))
    if (high <= low).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def bone_polygons(subject: Subject, hand: PosedHand, view: View) -> tuple[tuple[Polygon, ...], ...]:
    """Return 29 tuples of (N, 2) int32 polygons, x and y in pixels: the outlines of each bone inside the image.

    Filled with ``cv2.fillPoly`` they are the silhouette, of the first metacarpal with its sesamoids where they are
    labelled.
    """
    meshes = subject.anatomy.meshes
    ovals: dict[int, list[Array]] = {}
    for sesamoid in subject.sesamoids:
        if sesamoid.labelled:
            ovals.setdefault(sesamoid.metacarpal, []).append(_oval(sesamoid, hand, view))
    return tuple(
        _outline(view(hand.outer[bone]), meshes[bone].faces, view.shape, ovals.get(bone, []))
        for bone in range(NUM_BONES)
    )


def _oval(sesamoid: Sesamoid, hand: PosedHand, view: View) -> Array:
    """Return the outline of a sesamoid, (32, 2) in pixels."""
    middle, along, across = _sesamoid_frame(sesamoid, hand)
    along = np.array([along[0], along[1], 0.0]) / float(np.hypot(along[0], along[1]))
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)[:, None]
    points = middle + sesamoid.long * np.cos(angle) * along + sesamoid.wide * np.sin(angle) * across
    return view(points)[:, :2]


def _outline(points: Array, faces: NDArray[np.int32], shape: Shape, ovals: Sequence[Array]) -> tuple[Polygon, ...]:
    box = _box(np.concatenate([points[:, :2], *ovals]), shape)
    if box is None:
        return ()
    x0, y0, x1, y1 = box
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    add_silhouette(mask, points, faces, x0, y0)
    for oval in ovals:
        cv2.fillPoly(mask, [np.round(oval - (x0, y0)).astype(np.int32)], 1)
    # A closed surface has no pinholes or hairs; those of one pixel come from the sampling.
    mask = np.asarray(cv2.medianBlur(mask, 3), np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))
    return tuple(contour[:, 0, :].astype(np.int32) for contour in contours if len(contour) >= 3)


def soft_attenuation(tissue: Tissue, fat: float, view: View, upright: View) -> Floats:
    """Return (H, W) float32: attenuation in a view of the soft tissue over `upright`, zero outside of the skin.

    `fat` is the layer under the skin in millimetres, `upright` the view's ``view.upright()``.
    """
    grid = upright.resized(tissue.depth.shape[0])
    # From pixels of the view to cells of the grid, by way of millimetres.
    fine, coarse = (np.vstack([v.matrix, (0.0, 0.0, 1.0)]) for v in (view, grid))
    matrix = (coarse @ np.linalg.inv(fine))[:2]

    def sampled(image: Floats, method: int) -> Floats:
        flags = method | cv2.WARP_INVERSE_MAP
        turned = cv2.warpAffine(image, matrix, (view.width, view.height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(turned, np.float32)

    depth = sampled(tissue.depth, cv2.INTER_CUBIC)
    half, muscle = sampled(tissue.half, cv2.INTER_LINEAR), sampled(tissue.muscle, cv2.INTER_LINEAR)
    out = np.empty(view.shape, np.float32)
    _chords(depth, half, muscle, fat, out)
    return out


@numba.njit(cache=True, nogil=True)
def _chords(
    depth: NDArray[np.float32],
    half: NDArray[np.float32],
    muscle: NDArray[np.float32],
    fat: float,
    out: NDArray[np.float32],
) -> None:
    height, width = out.shape
    for row in range(height):
        for column in range(width):
            d, h = depth[row, column], half[row, column]
            if d <= 0.0:
                out[row, column] = 0.0
                continue
            d = min(d, h)
            chord = 2.0 * np.sqrt(d * (2.0 * h - d))
            rind = min(fat, 0.22 * h)
            lean = max(d - rind, 0.0)
            core = h - rind
            flesh = 2.0 * np.sqrt(lean * (2.0 * core - lean)) if lean > 0.0 else 0.0
            extra = muscle[row, column] * min(1.0, lean / 4.0)
            out[row, column] = _FAT * (chord - flesh) + _MUSCLE * (flesh + extra)
