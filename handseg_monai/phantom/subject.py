"""One person's hand: the MyoHand reshaped, its joint spaces set, and the marrow cavity of every bone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from handseg_monai.bones import BONES, INDEX, NUM_BONES, Group
from handseg_monai.phantom.anatomy import CARPALS, RADIUS, RAYS, ULNA, Anatomy, reshaped, rotation, with_forearm
from handseg_monai.phantom.carpus import CARPOMETACARPAL, INTERCARPAL, KEPT_APART, settle
from handseg_monai.phantom.facets import grown
from handseg_monai.phantom.forearm import ForearmShape, levelled
from handseg_monai.phantom.growth import SESAMOIDS_APPEAR, Bone, draw_growth, size_at
from handseg_monai.phantom.mesh import Array, Mesh, vertex_normals
from handseg_monai.phantom.ranges import PhantomRanges, Range

_BASE = (6.0, 15.0)
"""Distance from its proximal end (mm) up to which a metacarpal takes part in fitting the joints, wholly and at all."""
_FINGER_METACARPALS = {ray[0] for ray in RAYS[1:]}


@dataclass(frozen=True)
class Flesh:
    """Soft tissue of a person: factors of its widths, thickness and muscles, and the layer of fat in millimetres."""

    finger: float
    palm: float
    forearm: float
    thickness: float
    muscle: float
    fat: float


@dataclass(frozen=True)
class Sesamoid:
    """A small ovoid bone in a tendon at the head of a metacarpal (its index), millimetres.

    Attributes
    ----------
    along, across
        Place from the metacarpal's distal end: along it, and to the right of its direction.
    long, wide
        Half length along the metacarpal, and half width.
    """

    metacarpal: int
    along: float
    across: float
    long: float
    wide: float


@dataclass(frozen=True)
class Subject:
    """One person; both hands share it.

    Attributes
    ----------
    anatomy
        Bones of the right hand at rest, millimetres; of a child with the cartilage.
    bones
        What is ossified of each of the 29.
    age
        Skeletal age of a child in years; None of an adult.
    scale
        Size of the hand, factor; already applied to the bones.
    radiocarpal_gap, carpal_gap
        Joint space between radius and carpus, and between carpal bones, millimetres.
    density, texture
        Attenuation of trabecular bone and visibility of trabeculae, factors.
    flesh
        Soft tissue.
    sesamoids
        Small bones without a label.
    """

    anatomy: Anatomy
    bones: tuple[Bone, ...]
    age: float | None
    scale: float
    radiocarpal_gap: float
    carpal_gap: float
    density: float
    texture: float
    flesh: Flesh
    sesamoids: tuple[Sesamoid, ...]


def draw(rng: np.random.Generator, bounds: Range) -> float:
    """Return a uniform draw from a range."""
    return float(rng.uniform(*bounds))


def make_subject(rng: np.random.Generator, ranges: PhantomRanges, base: Anatomy) -> Subject:
    """Draw a person.

    Parameters
    ----------
    rng
        Source of the draws.
    ranges
        Ranges of the shape.
    base
        The hand to reshape.
    """
    vertices = [mesh.vertices for mesh in base.meshes]
    anchors, ends = base.anchors.copy(), base.ends.copy()
    slender, phalanges = draw(rng, ranges.slenderness), draw(rng, ranges.phalanx_scale)
    for ray in RAYS:
        _reshape_ray(rng, ranges, ray, slender, phalanges, vertices, anchors, ends)
    warp = _warp(rng, draw(rng, ranges.wrist_warp))
    carpus, centre = draw(rng, ranges.carpus_scale), vertices[INDEX["Capitate"]].mean(axis=0)
    for bone in CARPALS:
        vertices[bone] = vertices[bone] + warp(vertices[bone])
        middle = vertices[bone].mean(axis=0)
        turn = np.linalg.multi_dot([rotation(axis, draw(rng, ranges.carpal_turn)) for axis in np.eye(3)])
        size = carpus * np.array([draw(rng, ranges.carpal_scale) for _ in range(3)])
        shift = np.array([draw(rng, ranges.carpal_shift) for _ in range(3)])
        place = centre + carpus * (middle - centre) + shift
        vertices[bone] = ((vertices[bone] - middle) * size) @ turn.T + place
    for bone in range(NUM_BONES):
        if bone in CARPALS:
            relief = _bumps(rng, vertices[bone], draw(rng, ranges.carpal_bumps))
            relief += _bumps(rng, vertices[bone], draw(rng, ranges.carpal_ripples), pitch=0.5)
        else:
            height = draw(rng, ranges.bumps) * (0.5 if BONES[bone].group is Group.DISTAL_PHALANX else 1.0)
            relief = _bumps(rng, vertices[bone], height)
        vertices[bone] = vertices[bone] + relief[:, None] * base.normals[bone]
    # Streams of their own: what is drawn after them stays as it was.
    fitting, growing, sliding, shaping = rng.spawn(4)
    for bone in CARPALS:
        vertices[bone] = _wedged(shaping, vertices[bone], draw(shaping, ranges.carpal_wedge))
    inclination = draw(rng, ranges.inclination)
    rest = INDEX["Scaphoid"], INDEX["Lunate"]
    for bone, rise in zip(rest, levelled((vertices[rest[0]], vertices[rest[1]]), inclination), strict=True):
        vertices[bone] = vertices[bone] + np.array([0.0, rise, 0.0])
    gap = draw(rng, ranges.carpal_gap)
    pisiform = INDEX["Pisiform"]
    vertices[pisiform] = vertices[pisiform] + [*(draw(sliding, ranges.pisiform_shift) for _ in range(2)), 0.0]
    middle = vertices[pisiform].mean(axis=0)
    vertices[pisiform] = middle + draw(sliding, ranges.pisiform_scale) * (vertices[pisiform] - middle)
    _close_joints(base, vertices, anchors, ends, gap)
    fit = draw(fitting, ranges.carpal_fit)
    _fit_joints(base, vertices, anchors, ends, fit, gap)
    radiocarpal = draw(rng, ranges.radiocarpal_gap)
    meshes = [Mesh(points, mesh.faces) for points, mesh in zip(vertices, base.meshes, strict=True)]
    shape = ForearmShape(
        gap=radiocarpal,
        variance=draw(rng, ranges.ulnar_variance),
        radioulnar=draw(rng, ranges.radioulnar_gap),
        radius_width=draw(rng, ranges.radius_width),
        ulna_width=draw(rng, ranges.ulna_width),
        inclination=inclination,
        radial_styloid=draw(rng, ranges.radial_styloid),
        ulnar_styloid=draw(rng, ranges.ulnar_styloid),
        bowing=draw(rng, ranges.bowing),
        radius_wedge=draw(shaping, ranges.radius_wedge),
        ulna_wedge=draw(shaping, ranges.ulna_wedge),
    )
    anatomy = with_forearm(meshes, anchors, ends, base.flexion, shape, softeners=base.softeners)
    anatomy = _fit_radius(anatomy, fit, radiocarpal)
    cortex = draw(rng, ranges.cortex)
    walls = [cortex * _cortex(anatomy, bone)[:, None] * anatomy.normals[bone] for bone in range(NUM_BONES)]
    scale = draw(rng, ranges.hand_scale)
    child = growing.random() < ranges.child_share
    age = draw(growing, ranges.child_age)
    scale *= size_at(age) if child else 1.0
    grown = Anatomy(
        tuple(Mesh(mesh.vertices * scale, mesh.faces) for mesh in anatomy.meshes),
        anatomy.normals,
        anatomy.softeners,
        anatomy.anchors * scale,
        anatomy.ends * scale,
        anatomy.flexion,
    )
    growth = draw_growth(growing, age)
    bones = []
    for bone, wall in enumerate(walls):
        surface = grown.meshes[bone].vertices
        cavity = surface - scale * wall
        axis = grown.ends[bone] - grown.anchors[bone]
        axis = axis / max(float(np.linalg.norm(axis)), 1e-9)
        bones.append(growth.ossified(bone, surface, cavity, axis) if child else Bone(surface, ((surface, cavity),)))
    flesh = Flesh(
        finger=draw(rng, ranges.finger_flesh) * scale,
        palm=draw(rng, ranges.palm_flesh) * scale,
        forearm=draw(rng, ranges.forearm_flesh) * scale,
        thickness=draw(rng, ranges.thickness) * scale,
        muscle=draw(rng, ranges.muscle),
        fat=draw(rng, ranges.fat) * (size_at(age) if child else 1.0),
    )
    return Subject(
        grown,
        tuple(bones),
        age if child else None,
        scale,
        radiocarpal * scale,
        gap * scale,
        draw(rng, ranges.trabecular_density),
        draw(rng, ranges.trabecular_contrast),
        flesh,
        _sesamoids(rng, ranges, scale) if not child or age >= SESAMOIDS_APPEAR else (),
    )


def _sesamoids(rng: np.random.Generator, ranges: PhantomRanges, scale: float) -> tuple[Sesamoid, ...]:
    """Draw two at the thumb's metacarpophalangeal joint, and one each at those of index and little finger."""
    found = []
    for ray, across, share in (
        (RAYS[0], -4.0, ranges.thumb_sesamoids_share),
        (RAYS[0], 3.5, ranges.thumb_sesamoids_share),
        (RAYS[1], -4.5, ranges.finger_sesamoids_share),
        (RAYS[4], 4.0, ranges.finger_sesamoids_share),
    ):
        present = rng.random() < share
        long, wide, along, off = scale * rng.uniform((1.5, 1.2, -3.5, -1.5), (3.0, 2.2, 0.5, 1.5))
        if present:
            found.append(
                Sesamoid(ray[0], float(along), scale * across + float(off), float(max(long, wide)), float(wide))
            )
    return tuple(found)


def _reshape_ray(
    rng: np.random.Generator,
    ranges: PhantomRanges,
    ray: tuple[int, ...],
    slender: float,
    phalanges: float,
    vertices: list[Array],
    anchors: Array,
    ends: Array,
) -> None:
    whole = draw(rng, ranges.ray_length)
    moved = np.zeros(3)
    for bone in ray:
        size = 1.0 if BONES[bone].group is Group.METACARPAL else phalanges
        length = size * whole * draw(rng, ranges.bone_length)
        width = size * slender * draw(rng, ranges.bone_width)
        head = ranges.tuft_width if BONES[bone].group is Group.DISTAL_PHALANX else ranges.head_width
        base = ranges.finger_base_width if bone in _FINGER_METACARPALS else ranges.base_width
        ends_and_waist = [draw(rng, bounds) for bounds in (base, ranges.shaft_width, head)]
        axis = ends[bone] - anchors[bone]
        axis /= np.linalg.norm(axis)
        stretch = width * np.eye(3) + (length - width) * np.outer(axis, axis)
        pivot = anchors[bone].copy()
        offset = vertices[bone] - pivot
        along = offset @ axis
        share = np.clip(along / np.linalg.norm(ends[bone] - pivot), 0, 1)
        broad = PchipInterpolator([-0.01, 0.12, 0.3, 0.65, 0.88, 1.01], np.repeat(ends_and_waist, 2))(share)
        core = along[:, None] * axis
        vertices[bone] = (core + broad[:, None] * (offset - core)) @ stretch.T + pivot + moved
        anchors[bone] = pivot + moved
        end = stretch @ (ends[bone] - pivot) + pivot + moved
        moved, ends[bone] = end - ends[bone], end


def _wedged(rng: np.random.Generator, points: Array, wedge: float) -> Array:
    """Return a bone that is less deep along the beam on one side, by a share, and deeper on the other."""
    angle = rng.uniform(0.0, 2 * np.pi)
    offset = points - points.mean(axis=0)
    across = offset[:, 0] * np.cos(angle) + offset[:, 1] * np.sin(angle)
    return points + np.array([0.0, 0.0, 1.0]) * (wedge * across / np.abs(across).max() * offset[:, 2])[:, None]


def _warp(rng: np.random.Generator, height: float) -> Callable[[Array], Array]:
    """Return a smooth displacement of points, up to about a height in millimetres along each axis."""
    waves = rng.normal(size=(3, 4, 3)) * (2 * np.pi / 48.0)
    phases, weights = rng.uniform(0, 2 * np.pi, (3, 4)), rng.normal(size=(3, 4))

    def displacement(points: Array) -> Array:
        parts = [np.sin(points @ w.T + p) @ a for w, p, a in zip(waves, phases, weights, strict=True)]
        return height * np.stack(parts, axis=1) / 2.0

    return displacement


def _bumps(rng: np.random.Generator, points: Array, height: float, pitch: float = 1.0) -> Array:
    extent = pitch * np.ptp(points, axis=0).min()
    waves = rng.normal(size=(4, 3)) * (2.2 / extent)
    phases, weights = rng.uniform(0, 2 * np.pi, 4), rng.normal(size=4)
    return height * (np.sin(points @ waves.T + phases) @ weights) / 2.0


def _close_joints(base: Anatomy, vertices: list[Array], anchors: Array, ends: Array, gap: float) -> None:
    """Bring carpals and metacarpals to their joint spaces, in place; the capitate stays, rays follow."""
    roots = [ray[0] for ray in RAYS]
    capitate = INDEX["Capitate"]
    free = [bone for bone in (*CARPALS, *roots) if bone != capitate]
    body = [0] * NUM_BONES
    for number, bone in enumerate(free, 1):
        body[bone] = number
    normals: list[Array] = [
        vertex_normals(vertices[bone], base.meshes[bone].faces) if body[bone] or bone == capitate else np.zeros((0, 3))
        for bone in range(NUM_BONES)
    ]
    pairs = INTERCARPAL + CARPOMETACARPAL
    # The base of the thumb needs room to turn; the other carpometacarpal joints are tight.
    gaps = [gap * (1.2 if roots[0] in pair else 0.6 if pair in CARPOMETACARPAL else 0.85) for pair in pairs]
    shifts = settle(vertices, normals, body, pairs, gaps, KEPT_APART, least=0.3, rounds=70)
    for bone in CARPALS:
        vertices[bone] = vertices[bone] + shifts[body[bone]]
        anchors[bone] += shifts[body[bone]]
        ends[bone] += shifts[body[bone]]
    for ray in RAYS:
        for bone in ray:
            vertices[bone] = vertices[bone] + shifts[body[ray[0]]]
            anchors[bone] += shifts[body[ray[0]]]
            ends[bone] += shifts[body[ray[0]]]


def _fit_joints(base: Anatomy, vertices: list[Array], anchors: Array, ends: Array, share: float, gap: float) -> None:
    """Grow carpals and the bases of the four fingers' metacarpals towards each other, in place."""
    weights = {bone: np.full(len(vertices[bone]), share) for bone in CARPALS if bone != INDEX["Pisiform"]}
    for ray in RAYS[1:]:
        axis = ends[ray[0]] - anchors[ray[0]]
        along = (vertices[ray[0]] - anchors[ray[0]]) @ axis / np.linalg.norm(axis)
        weights[ray[0]] = 0.7 * share * np.clip((_BASE[1] - along) / (_BASE[1] - _BASE[0]), 0, 1)
    points = {bone: vertices[bone] for bone in weights}
    for bone, fitting in grown(
        points, [mesh.faces for mesh in base.meshes], base.softeners, weights, max(gap, 0.3)
    ).items():
        vertices[bone] = fitting


def _fit_radius(anatomy: Anatomy, share: float, gap: float) -> Anatomy:
    """Return an anatomy whose radius, scaphoid and lunate have grown towards each other."""
    used = RADIUS, INDEX["Scaphoid"], INDEX["Lunate"]
    points = {bone: anatomy.meshes[bone].vertices for bone in used}
    # The shaft has no part in it.
    weights = {bone: share * (own[:, 1] > points[RADIUS][:, 1].max() - 22.0) for bone, own in points.items()}
    return reshaped(anatomy, grown(points, [mesh.faces for mesh in anatomy.meshes], anatomy.softeners, weights, gap))


def _cortex(anatomy: Anatomy, bone: int) -> Array:
    """Return the cortical thickness at each vertex, millimetres: thick along the shaft, thin towards the joints."""
    points = anatomy.meshes[bone].vertices
    if bone in (RADIUS, ULNA):
        down = points[:, 1].max() - points[:, 1]
        wall = (0.75, 0.75, 0.8, 1.3, 2.0, 2.5) if bone == RADIUS else (0.6, 0.6, 0.7, 1.2, 1.8, 2.1)
        # The joint surface rests on a dense plate.
        plate = 0.35 * np.clip(anatomy.normals[bone][:, 1] - 0.55, 0, 0.4) / 0.4 * (down < 16)
        return np.interp(down, (0, 10, 20, 32, 50, 80), wall) + plate
    if BONES[bone].ray is None:
        return np.full(len(points), 0.5)
    axis = anatomy.ends[bone] - anatomy.anchors[bone]
    length = float(np.linalg.norm(axis))
    axis = axis / length
    along = (points - anatomy.anchors[bone]) @ axis
    across = np.linalg.norm(points - anatomy.anchors[bone] - along[:, None] * axis, axis=1)
    share = (along - along.min()) / np.ptp(along)
    cell = np.minimum((share * 16).astype(np.int64), 15)
    reach = np.bincount(cell, across, 16) / np.maximum(np.bincount(cell, minlength=16), 1)
    local = np.interp(share, (np.arange(16) + 0.5) / 16, reach)
    shaft = np.clip(np.sin(np.pi * np.clip(share, 0, 1)), 0, 1) ** 1.6
    part = 0.36 if BONES[bone].group is Group.DISTAL_PHALANX else 0.44
    return 0.4 + np.maximum(part * local - 0.4, 0.0) * shaft
