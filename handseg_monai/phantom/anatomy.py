"""The MyoHand of ``myo-sim`` as 29 closed meshes with joints, in the frame of a PA radiograph.

Source of the bones and joints: the MyoHand of MyoSim (https://github.com/MyoHub/myo_sim, package ``myo-sim``, Apache
License 2.0), loaded through MuJoCo at run time; nothing of it is copied into this project. Phalanges are its meshes,
metacarpals are lofted through its (:mod:`handseg_monai.phantom.metacarpals`); carpal bones, radius and ulna have shapes
of their own (:mod:`handseg_monai.phantom.carpals`, :mod:`handseg_monai.phantom.forearm`).

Frame: right hand, x to the right (towards the ulna), y up (distal), z to the tube (dorsal), millimetres, origin in the
capitate's middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from scipy import sparse

from handseg_monai.bones import BONES, INDEX, NUM_BONES, Group
from handseg_monai.phantom import forearm
from handseg_monai.phantom.carpals import carpal
from handseg_monai.phantom.mesh import Array, Mesh, averaging_matrix, closed, vertex_normals
from handseg_monai.phantom.metacarpals import metacarpal

HINT = "needs the packages of the extra 'phantom': pip install 'handseg-monai[phantom]'"
RADIUS, ULNA, CAPITATE = INDEX["Radius"], INDEX["Ulna"], INDEX["Capitate"]
CARPALS = tuple(bone.index for bone in BONES if bone.group is Group.CARPAL)
RAYS: tuple[tuple[int, ...], ...] = tuple(
    tuple(sorted((bone.index for bone in BONES if bone.ray == ray), reverse=True)) for ray in range(1, 6)
)
"""Bones of each ray, metacarpal first."""


@dataclass(frozen=True)
class Anatomy:
    """Bones in the PA frame with what is needed to reshape and pose them."""

    meshes: tuple[Mesh, ...]
    """The 29 bones in project order."""
    normals: tuple[Array, ...]
    """Outward normals, smoothed over neighbours, one (N, 3) array a bone."""
    softeners: tuple[sparse.csr_matrix, ...]
    """29 (N, N) matrices that average vertex values over neighbours three times."""
    anchors: Array
    """(29, 3), millimetres: the joint at a bone's proximal end; a carpal's middle."""
    ends: Array
    """(29, 3), millimetres: the distal joint, or the tip of a distal phalanx."""
    flexion: Array
    """(29, 3): unit axis of flexion at the proximal joint (zero where there is none); positive turns bend a finger."""


def _mesh_name(index: int) -> str:
    bone = BONES[index]
    if bone.ray is None:
        return bone.name.lower()
    place = RAYS[bone.ray - 1].index(index)
    if bone.ray == 1:
        return ("1mc", "thumbprox", "thumbdist")[place]
    return f"{bone.ray}" + ("mc", "proxph", "midph", "distph")[place]


def _joint_name(index: int) -> str | None:
    bone = BONES[index]
    if bone.ray is None or (bone.group is Group.METACARPAL and bone.ray != 1):
        return None
    place = RAYS[bone.ray - 1].index(index)
    if bone.ray == 1:
        return ("cmc_flexion", "mp_flexion", "ip_flexion")[place]
    return ("", "mcp", "pm", "md")[place] + f"{bone.ray}_flexion"


@cache
def myohand() -> Anatomy:
    """Return the MyoHand at rest, its palm laid flat.

    Raises
    ------
    ImportError
        When ``mujoco`` or ``myo-sim`` is missing; the message names the extra to install.
    """
    try:
        import mujoco
        import myo_sim
    except ImportError as error:
        raise ImportError(f"The phantom {HINT}") from error
    model = myo_sim.FRAGMENT_SPEC_BUILDERS["myohand_r"]().compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    geom_of = {model.mesh(model.geom_dataid[g]).name: g for g in range(model.ngeom) if model.geom_dataid[g] >= 0}

    def world(index: int) -> Mesh:
        geom = geom_of[_mesh_name(index) + "_r"]
        mesh = model.geom_dataid[geom]
        rows = slice(model.mesh_vertadr[mesh], model.mesh_vertadr[mesh] + model.mesh_vertnum[mesh])
        faces = model.mesh_face[model.mesh_faceadr[mesh] : model.mesh_faceadr[mesh] + model.mesh_facenum[mesh]]
        local = model.mesh_vert[rows].astype(np.float64)
        points = local @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
        return Mesh(1000.0 * points @ turn.T, faces.astype(np.int32))

    meshes = [world(index) for index in range(NUM_BONES)]
    anchors, flexion = np.zeros((NUM_BONES, 3)), np.zeros((NUM_BONES, 3))
    for index in range(NUM_BONES):
        name = _joint_name(index)
        if name is None:
            continue
        joint = model.joint(name + "_r").id
        body = model.jnt_bodyid[joint]
        turned = data.xmat[body].reshape(3, 3)
        anchors[index] = 1000.0 * turn @ (data.xpos[body] + turned @ model.jnt_pos[joint])
        flexion[index] = turn @ turned @ model.jnt_axis[joint]
    origin = meshes[CAPITATE].vertices.mean(axis=0)
    meshes = [closed(Mesh(m.vertices - origin, m.faces)) if BONES[k].ray else m for k, m in enumerate(meshes)]
    for bone in CARPALS:
        meshes[bone] = carpal(BONES[bone].name)
    return _finish(meshes, anchors - origin, flexion)


def _finish(meshes: list[Mesh], anchors: Array, flexion: Array) -> Anatomy:
    ends = np.zeros_like(anchors)
    for ray in RAYS:
        points = meshes[ray[0]].vertices
        middle = points.mean(axis=0)
        axis = anchors[ray[1]] - middle
        along = (points - middle) @ axis
        anchors[ray[0]] = points[along < np.percentile(along, 4)].mean(axis=0)
        for bone, after in pairwise(ray):
            ends[bone] = anchors[after]
        tip = meshes[ray[-1]].vertices
        along = (tip - anchors[ray[-1]]) @ (tip.mean(axis=0) - anchors[ray[-1]])
        ends[ray[-1]] = tip[along > np.percentile(along, 97)].mean(axis=0)
    for bone in CARPALS:
        anchors[bone] = ends[bone] = meshes[bone].vertices.mean(axis=0)
    _flatten(meshes, anchors, ends, flexion)
    return with_forearm(meshes, anchors, ends, flexion, forearm.ForearmShape())


_LAID = (
    # Base of the metacarpal (mm), its lean from straight up towards the ulna, its rise and roll (degrees).
    ((-29.52, 7.47, -9.0), -32.3, -6.0, -10.0),
    ((-13.88, 10.14, 1.0), -4.6, 6.0, -4.0),
    ((-1.67, 13.94, 1.5), 5.3, 4.0, 0.0),
    ((9.77, 12.42, 0.5), 9.3, 4.0, 12.0),
    ((19.63, 8.86, -1.5), 16.2, 5.0, 20.0),
)
"""Where the rays of a hand lie that is pressed flat; they fan out from the distal row of the carpus."""


def _flatten(meshes: list[Mesh], anchors: Array, ends: Array, flexion: Array) -> None:
    """Lay the palm's arch flat, in place."""
    for number, (bones, (base, lean, rise, roll)) in enumerate(zip(RAYS, _LAID, strict=True), 1):
        axis = ends[bones[0]] - anchors[bones[0]]
        axis /= np.linalg.norm(axis)
        across = np.cross(axis, [0.0, 0.0, 1.0])
        across /= np.linalg.norm(across)
        slope, way = np.radians(rise), np.radians(lean)
        to = np.array([np.sin(way) * np.cos(slope), np.cos(way) * np.cos(slope), np.sin(slope)])
        side = np.cross(to, [0.0, 0.0, 1.0])
        side /= np.linalg.norm(side)
        before = np.stack([axis, across, np.cross(axis, across)], axis=1)
        after = np.stack([to, side, np.cross(to, side)], axis=1)
        turn = after @ before.T @ rotation(axis, -roll)
        pivot = anchors[bones[0]].copy()
        meshes[bones[0]] = metacarpal(number, meshes[bones[0]], before, pivot)
        for bone in bones:
            meshes[bone] = Mesh((meshes[bone].vertices - pivot) @ turn.T + base, meshes[bone].faces)
            anchors[bone] = turn @ (anchors[bone] - pivot) + base
            ends[bone] = turn @ (ends[bone] - pivot) + base
            flexion[bone] = turn @ flexion[bone]


def with_forearm(
    meshes: list[Mesh],
    anchors: Array,
    ends: Array,
    flexion: Array,
    shape: forearm.ForearmShape,
    *,
    softeners: tuple[sparse.csr_matrix, ...] | None = None,
) -> Anatomy:
    """Return an anatomy whose radius lies under the carpus, and the ulna beside it."""
    meshes = list(meshes)
    anchors, ends = anchors.copy(), ends.copy()
    carried = np.concatenate([meshes[INDEX[name]].vertices for name in ("Scaphoid", "Lunate")])
    meshes[RADIUS] = forearm.radius(carried, shape)
    top = meshes[RADIUS].vertices
    corner = float(top[top[:, 0] > 3.0, 1].max()) - 0.3
    depth = float(np.median(top[top[:, 1] > top[:, 1].max() - 12, 2]))
    head = corner + shape.variance
    beside = float(top[np.abs(top[:, 1] - head + 4.0) < 2.5, 0].max())
    meshes[ULNA] = forearm.ulna(head, depth + 1.5, beside, shape)
    for bone in (RADIUS, ULNA):
        points = meshes[bone].vertices
        ends[bone] = points[points[:, 1] > points[:, 1].max() - 6].mean(axis=0)
        anchors[bone] = points[points[:, 1] < points[:, 1].min() + 10].mean(axis=0)
    if softeners is None:
        means = (averaging_matrix(len(mesh.vertices), mesh.faces) for mesh in meshes)
        softeners = tuple(mean @ mean @ mean for mean in means)
    normals = []
    for mesh, softener in zip(meshes, softeners, strict=True):
        soft = softener @ vertex_normals(mesh.vertices, mesh.faces)
        normals.append(soft / np.maximum(np.linalg.norm(soft, axis=1, keepdims=True), 1e-9))
    return Anatomy(tuple(meshes), tuple(normals), softeners, anchors, ends, flexion)


def rotation(axis: Array | list[int], degrees: float) -> Array:
    """Return the (3, 3) matrix of a turn about an axis, counter-clockwise seen from its tip."""
    direction = np.asarray(axis, np.float64)
    x, y, z = direction / np.linalg.norm(direction)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
