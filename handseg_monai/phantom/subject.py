"""One person's hand: the MyoHand with the proportions of a person, and the marrow cavity of every bone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator

from handseg_monai.bones import BONES, INDEX, NUM_BONES, Group
from handseg_monai.phantom.anatomy import CARPALS, RADIUS, RAYS, ULNA, Anatomy, rotation, with_forearm
from handseg_monai.phantom.carpals import LUNATE_CORNER, reaching
from handseg_monai.phantom.forearm import ForearmShape
from handseg_monai.phantom.growth import SESAMOIDS_APPEAR, Bone, draw_growth, size_at
from handseg_monai.phantom.long_bones import LONG_BONES
from handseg_monai.phantom.mesh import Array, Mesh
from handseg_monai.phantom.ranges import draw
from handseg_monai.phantom.subject_ranges import SubjectRanges


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
    """A small ovoid bone in a tendon at the head of a metacarpal, millimetres."""

    metacarpal: int
    """Index of that."""
    along: float
    across: float
    """Place from the metacarpal's distal end: along it, and to the right of its direction."""
    long: float
    wide: float
    """Half length along the metacarpal, and half width."""
    labelled: bool = False
    """Whether the label of the metacarpal includes it."""


@dataclass(frozen=True)
class Subject:
    """One person; both hands share it."""

    anatomy: Anatomy
    """Bones of the right hand at rest, millimetres; of a child with the cartilage."""
    bones: tuple[Bone, ...]
    """What is ossified of each of the 29."""
    age: float | None
    """Skeletal age of a child in years; None of an adult."""
    scale: float
    """Size of the hand, factor; already applied to the bones."""
    density: float
    texture: float
    """Attenuation of trabecular bone and visibility of trabeculae, factors."""
    flesh: Flesh
    """Soft tissue."""
    sesamoids: tuple[Sesamoid, ...]
    """Small bones in tendons."""


def make_subject(rng: np.random.Generator, ranges: SubjectRanges, base: Anatomy) -> Subject:
    """Draw a person, whose hand is `base` reshaped."""
    vertices = [mesh.vertices for mesh in base.meshes]
    anchors, ends = base.anchors.copy(), base.ends.copy()
    slender, phalanges = draw(rng, ranges.slenderness), draw(rng, ranges.phalanx_scale)
    for ray in RAYS:
        _reshape_ray(rng, ranges, ray, slender, phalanges, vertices, anchors, ends)
    # Streams of their own: what is drawn after them stays as it was.
    growing, shaping, fitting = rng.spawn(3)
    _reshape_carpus(rng, fitting, ranges, vertices, anchors, ends)
    for bone in range(NUM_BONES):
        if bone in CARPALS:
            relief = _bumps(rng, vertices[bone], draw(rng, ranges.carpal_bumps))
            relief += _bumps(rng, vertices[bone], draw(rng, ranges.carpal_ripples), pitch=0.5)
        else:
            height = draw(rng, ranges.bumps) * (0.5 if BONES[bone].group is Group.DISTAL_PHALANX else 1.0)
            relief = _bumps(rng, vertices[bone], height)
        vertices[bone] = vertices[bone] + relief[:, None] * base.normals[bone]
    for bone in CARPALS:
        vertices[bone] = _wedged(shaping, vertices[bone], draw(shaping, ranges.carpal_wedge))
    meshes = [Mesh(points, mesh.faces) for points, mesh in zip(vertices, base.meshes, strict=True)]
    shape = ForearmShape(
        gap=draw(rng, ranges.radiocarpal_gap),
        variance=draw(rng, ranges.ulnar_variance),
        radioulnar=draw(rng, ranges.radioulnar_gap),
        radius_width=draw(rng, ranges.radius_width),
        ulna_width=draw(rng, ranges.ulna_width),
        inclination=draw(rng, ranges.inclination),
        radial_styloid=draw(rng, ranges.radial_styloid),
        dorsal_ridge=draw(fitting, ranges.dorsal_ridge),
        ulnar_styloid=draw(rng, ranges.ulnar_styloid),
        bowing=draw(rng, ranges.bowing),
        radius_wedge=draw(shaping, ranges.radius_wedge),
        ulna_wedge=draw(shaping, ranges.ulna_wedge),
    )
    anatomy = with_forearm(meshes, anchors, ends, base.flexion, shape, softeners=base.softeners)
    cortex = draw(rng, ranges.cortex)
    walls = [cortex * _cortex(anatomy, bone)[:, None] * anatomy.normals[bone] for bone in range(NUM_BONES)]
    scale = draw(rng, ranges.hand_scale)
    child = growing.random() < ranges.child_share
    age = draw(growing, ranges.child_age)
    scale *= size_at(age) if child else 1.0
    grown = replace(
        anatomy,
        meshes=tuple(Mesh(mesh.vertices * scale, mesh.faces) for mesh in anatomy.meshes),
        anchors=anatomy.anchors * scale,
        ends=anatomy.ends * scale,
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
        draw(rng, ranges.trabecular_density),
        draw(rng, ranges.trabecular_contrast),
        flesh,
        _sesamoids(rng, ranges, grown, scale) if not child or age >= SESAMOIDS_APPEAR else (),
    )


def _sesamoids(rng: np.random.Generator, ranges: SubjectRanges, anatomy: Anatomy, scale: float) -> tuple[Sesamoid, ...]:
    """Draw two at the thumb's metacarpophalangeal joint, and one each at those of index and little finger.

    Those of the thumb stand out beside the metacarpal's head.
    """
    found = []
    (naming,) = rng.spawn(1)
    labelled = naming.random() < ranges.labelled_sesamoids_share
    for ray, side, out, along, size, share in (
        (RAYS[0], -1, (-0.9, -0.1), (-6.5, -2.5), 1.0, ranges.thumb_sesamoids_share),
        (RAYS[0], 1, (-0.1, 0.75), (-6.5, -2.5), 1.2, ranges.thumb_sesamoids_share),
        (RAYS[1], -1, (-2.0, -0.5), (-3.5, 0.5), 0.9, ranges.finger_sesamoids_share),
        (RAYS[4], 1, (-2.0, -0.5), (-3.5, 0.5), 0.9, ranges.finger_sesamoids_share),
    ):
        present = rng.random() < share
        wide, stretch = scale * size * float(rng.uniform(1.6, 2.5)), float(rng.uniform(1.0, 1.5))
        place, reach = scale * float(rng.uniform(*along)), float(rng.uniform(*out))
        if present:
            across = side * (_half_head(anatomy, ray[0]) + reach * wide)
            found.append(Sesamoid(ray[0], place, across, wide * stretch, wide, ray == RAYS[0] and labelled))
    return tuple(found)


def _half_head(anatomy: Anatomy, bone: int) -> float:
    """Return half the width of a metacarpal's head in the image plane, millimetres."""
    axis = anatomy.ends[bone] - anatomy.anchors[bone]
    offset = (anatomy.meshes[bone].vertices - anatomy.anchors[bone]) @ np.stack([axis, [axis[1], -axis[0], 0.0]]).T
    length = float(np.linalg.norm(axis))
    head = offset[:, 0] > 0.8 * length**2
    return 0.5 * float(np.ptp(offset[head, 1])) / float(np.hypot(axis[0], axis[1]))


def _reshape_ray(
    rng: np.random.Generator,
    ranges: SubjectRanges,
    ray: tuple[int, ...],
    slender: float,
    phalanges: float,
    vertices: list[Array],
    anchors: Array,
    ends: Array,
) -> None:
    lengths = {
        Group.METACARPAL: ranges.proximal_length if ray == RAYS[0] else ranges.metacarpal_length,
        Group.PROXIMAL_PHALANX: ranges.proximal_length,
        Group.MIDDLE_PHALANX: ranges.middle_length,
        Group.DISTAL_PHALANX: ranges.distal_length,
    }
    spaces = {
        Group.PROXIMAL_PHALANX: ranges.metacarpophalangeal_space,
        Group.DISTAL_PHALANX: ranges.distal_interphalangeal_space,
    }
    ray_length = draw(rng, ranges.ray_length)
    short = rng.random() < ranges.short_little_share
    shortening = draw(rng, ranges.short_little)
    moved = np.zeros(3)
    for bone in ray:
        mean, group = LONG_BONES[BONES[bone].name], BONES[bone].group
        size = 1.0 if group is Group.METACARPAL else phalanges
        length = mean.length * size * ray_length * draw(rng, lengths[group])
        if short and BONES[bone].name == "finger-17":
            length *= shortening
            # What a short bone lacks in length it has in part in width.
            size /= np.sqrt(shortening)
        width = size * slender * draw(rng, ranges.bone_width)
        head = ranges.tuft_width if group is Group.DISTAL_PHALANX else ranges.head_width
        ends_and_waist = [
            mean.base * draw(rng, ranges.base_width),
            mean.waist * draw(rng, ranges.shaft_width),
            mean.head * draw(rng, head),
        ]
        axis = ends[bone] - anchors[bone]
        axis /= np.linalg.norm(axis)
        moved = moved + (mean.gap + draw(rng, spaces.get(group, ranges.joint_space))) * axis
        stretch = width * np.eye(3) + (length - width) * np.outer(axis, axis)
        pivot = anchors[bone].copy()
        offset = vertices[bone] - pivot
        along = offset @ axis
        share = np.clip(along / np.linalg.norm(ends[bone] - pivot), 0, 1)
        broad = PchipInterpolator([-0.01, 0.16, 0.33, 0.7, 0.87, 1.01], np.repeat(ends_and_waist, 2))(share)
        core = along[:, None] * axis
        # A bone that is broader in the image is not as much deeper.
        broadened = (offset - core) * np.stack([broad, broad, np.sqrt(broad)], axis=1)
        vertices[bone] = (core + broadened) @ stretch.T + pivot + moved
        anchors[bone] = pivot + moved
        end = stretch @ (ends[bone] - pivot) + pivot + moved
        moved, ends[bone] = end - ends[bone], end


def _reshape_carpus(
    rng: np.random.Generator,
    fitting: np.random.Generator,
    ranges: SubjectRanges,
    vertices: list[Array],
    anchors: Array,
    ends: Array,
) -> None:
    """Vary the carpal bones, in place; the rays follow the warp and the size of the carpus that they stand on."""
    warp = _warp(rng, draw(rng, ranges.wrist_warp))
    slides = {bone: np.zeros(3) for bone in CARPALS}
    row, trapezium = draw(rng, ranges.lunate_shift), draw(rng, ranges.trapezium_shift)
    slides[INDEX["Hamate"]][1] = draw(fitting, ranges.hamate_shift)
    for name in ("Lunate", "Triquetrum", "Pisiform"):
        slides[INDEX[name]][0] = row
    slides[INDEX["Trapezium"]][1] = trapezium
    corner = draw(rng, ranges.lunate_corner)
    carpus, centre = draw(rng, ranges.carpus_scale), vertices[INDEX["Capitate"]].mean(axis=0)
    for bone in CARPALS:
        vertices[bone] = vertices[bone] + warp(vertices[bone])
        middle = vertices[bone].mean(axis=0)
        turn = np.linalg.multi_dot([rotation(axis, draw(rng, ranges.carpal_turn)) for axis in np.eye(3)])
        size = carpus * draw(rng, ranges.carpal_size) * np.array([draw(rng, ranges.carpal_scale) for _ in range(3)])
        shift = slides[bone] + [draw(rng, ranges.carpal_shift) for _ in range(3)]
        if bone == INDEX["Pisiform"]:
            shift[:2] += [draw(rng, ranges.pisiform_shift) for _ in range(2)]
            size *= draw(rng, ranges.pisiform_scale)
        elif bone == INDEX["Trapezoid"]:
            size[0] *= draw(fitting, ranges.trapezoid_width)
        place = centre + carpus * (middle - centre) + shift
        offset = (vertices[bone] - middle) * size
        if bone == INDEX["Lunate"]:
            offset = reaching(offset, corner, *LUNATE_CORNER)
        vertices[bone] = offset @ turn.T + place
        anchors[bone] = ends[bone] = place
    for number, ray in enumerate(RAYS):
        base = anchors[ray[0]]
        shift = warp(base[None])[0] + (carpus - 1.0) * (base - centre)
        shift[:2] += [draw(rng, ranges.ray_shift) for _ in range(2)]
        if number == 0:
            shift[1] += 0.5 * trapezium
        for bone in ray:
            vertices[bone] = vertices[bone] + shift
        anchors[list(ray)] += shift
        ends[list(ray)] += shift


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
