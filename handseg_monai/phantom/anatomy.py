"""The MyoHand of ``myo-sim`` as 29 closed meshes with joints, in the frame of a PA radiograph.

Source of the bones and joints: the MyoHand of MyoSim (https://github.com/MyoHub/myo_sim, package ``myo-sim``, Apache
License 2.0), loaded through MuJoCo at run time; nothing of it is copied into this project. Radius and ulna keep their
place but get a smooth shape (:mod:`handseg_monai.phantom.forearm`).

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
from handseg_monai.phantom.mesh import Array, Mesh, averaging_matrix, closed, smoothed, vertex_normals, wrapped

HINT = "needs the packages of the extra 'phantom': pip install 'handseg-monai[phantom]'"
RADIUS, ULNA, CAPITATE = INDEX["Radius"], INDEX["Ulna"], INDEX["Capitate"]
CARPALS = tuple(bone.index for bone in BONES if bone.group is Group.CARPAL)
RAYS: tuple[tuple[int, ...], ...] = tuple(
    tuple(sorted((bone.index for bone in BONES if bone.ray == ray), reverse=True)) for ray in range(1, 6)
)
"""Bones of each ray, metacarpal first."""


@dataclass(frozen=True)
class Anatomy:
    """Bones in the PA frame with what is needed to reshape and pose them.

    Attributes
    ----------
    meshes
        The 29 bones in project order.
    normals
        Outward normals, smoothed over neighbours, one (N, 3) array a bone.
    anchors
        (29, 3), millimetres: the joint at a bone's proximal end; a carpal's middle.
    ends
        (29, 3), millimetres: the distal joint, or the tip of a distal phalanx.
    softeners
        29 (N, N) matrices that average vertex values over neighbours three times.
    flexion
        (29, 3): unit axis of flexion at the proximal joint (zero where there is none); positive turns bend the finger.
    """

    meshes: tuple[Mesh, ...]
    normals: tuple[Array, ...]
    softeners: tuple[sparse.csr_matrix, ...]
    anchors: Array
    ends: Array
    flexion: Array


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
        rotation = data.xmat[body].reshape(3, 3)
        anchors[index] = 1000.0 * turn @ (data.xpos[body] + rotation @ model.jnt_pos[joint])
        flexion[index] = turn @ rotation @ model.jnt_axis[joint]
    # The pisiform's mesh has holes and inner walls; a pea is convex. On a PA view it lies over the triquetrum; that of
    # the MyoHand reaches over the hamate.
    pisiform = INDEX["Pisiform"]
    pea = smoothed(wrapped(meshes[pisiform].vertices), 3)
    meshes[pisiform] = Mesh(pea.vertices + np.array([0.4, -0.9, 0.0]), pea.faces)
    meshes = [closed(mesh) if index not in (RADIUS, ULNA) else mesh for index, mesh in enumerate(meshes)]
    origin = meshes[CAPITATE].vertices.mean(axis=0)
    meshes = [Mesh(mesh.vertices - origin, mesh.faces) for mesh in meshes]
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
    # Laid flat, the carpal arch opens: the thumb's column swings out from under the trapezoid, which grows to fill the
    # notch of the second metacarpal.
    trapezoid = INDEX["Trapezoid"]
    pivot = meshes[trapezoid].vertices.mean(axis=0)
    turn = rotation([0, 1, 0], 17.0)
    for bone in (INDEX["Trapezium"], *RAYS[0]):
        meshes[bone] = Mesh((meshes[bone].vertices - pivot) @ turn.T + pivot, meshes[bone].faces)
        anchors[bone], ends[bone] = turn @ (anchors[bone] - pivot) + pivot, turn @ (ends[bone] - pivot) + pivot
        flexion[bone] = turn @ flexion[bone]
    size = np.array([1.08, 1.22, 1.0])
    meshes[trapezoid] = Mesh((meshes[trapezoid].vertices - pivot) * size + pivot, meshes[trapezoid].faces)
    # Likewise the scaphoid, whose distal pole carries trapezium and trapezoid.
    scaphoid = meshes[INDEX["Scaphoid"]]
    pivot = scaphoid.vertices.mean(axis=0)
    meshes[INDEX["Scaphoid"]] = Mesh((scaphoid.vertices - pivot) * 1.07 + pivot, scaphoid.faces)
    # The proximal row rests turned to the ulnar side; on a straight wrist it lies along the radius.
    turn, pivot = rotation([0, 0, 1], 9.0), np.array([1.0, -5.0, 0.0])
    for name in ("Scaphoid", "Lunate", "Triquetrum", "Pisiform"):
        mesh = meshes[INDEX[name]]
        meshes[INDEX[name]] = Mesh((mesh.vertices - pivot) @ turn.T + pivot, mesh.faces)
    for bone in CARPALS:
        anchors[bone] = ends[bone] = meshes[bone].vertices.mean(axis=0)
    _flatten(meshes, anchors, ends, flexion)
    return with_forearm(meshes, anchors, ends, flexion, gap=1.8, variance=0.0)


def _flatten(meshes: list[Mesh], anchors: Array, ends: Array, flexion: Array) -> None:
    """Lay the palm's arch flat, in place: rays 4 and 5 roll about their axes, and the rays fan out."""
    for ray, fan, roll, lift in ((2, 2.5, -4.0, 0.0), (4, -2.5, 16.0, 2.0), (5, -6.5, 24.0, 6.0)):
        bones = RAYS[ray - 1]
        axis = ends[bones[0]] - anchors[bones[0]]
        turn = rotation([0, 0, 1], fan) @ rotation([1, 0, 0], lift) @ rotation(axis, -roll)
        pivot = anchors[bones[0]].copy()
        for bone in bones:
            meshes[bone] = Mesh((meshes[bone].vertices - pivot) @ turn.T + pivot, meshes[bone].faces)
            anchors[bone] = turn @ (anchors[bone] - pivot) + pivot
            ends[bone] = turn @ (ends[bone] - pivot) + pivot
            flexion[bone] = turn @ flexion[bone]


def with_forearm(
    meshes: list[Mesh],
    anchors: Array,
    ends: Array,
    flexion: Array,
    *,
    gap: float,
    variance: float,
    softeners: tuple[sparse.csr_matrix, ...] | None = None,
) -> Anatomy:
    """Return an anatomy whose radius lies `gap` mm under the carpus; the ulna's head stands `variance` mm higher."""
    meshes = list(meshes)
    anchors, ends = anchors.copy(), ends.copy()
    carried = np.concatenate([meshes[INDEX[name]].vertices for name in ("Scaphoid", "Lunate")])
    meshes[RADIUS] = forearm.radius(carried, gap)
    top = meshes[RADIUS].vertices
    edge = top[top[:, 0] > 3.0]
    head = float(edge[:, 1].max()) - 0.3 + variance
    depth = float(np.median(top[top[:, 1] > top[:, 1].max() - 12, 2]))
    meshes[ULNA] = forearm.ulna(head, depth + 1.5)
    for bone in (RADIUS, ULNA):
        points = meshes[bone].vertices
        ends[bone] = points[points[:, 1] > points[:, 1].max() - 6].mean(axis=0)
        anchors[bone] = points[points[:, 1] < points[:, 1].min() + 10].mean(axis=0)
    softeners = softeners or tuple(_softener(mesh) for mesh in meshes)
    normals = []
    for mesh, softener in zip(meshes, softeners, strict=True):
        soft = softener @ vertex_normals(mesh.vertices, mesh.faces)
        normals.append(soft / np.maximum(np.linalg.norm(soft, axis=1, keepdims=True), 1e-9))
    return Anatomy(tuple(meshes), tuple(normals), softeners, anchors, ends, flexion)


def _softener(mesh: Mesh) -> sparse.csr_matrix:
    mean = averaging_matrix(len(mesh.vertices), mesh.faces)
    return mean @ mean @ mean


def rotation(axis: Array | list[int], degrees: float) -> Array:
    """Return the (3, 3) matrix of a turn about an axis, counter-clockwise seen from its tip."""
    direction = np.asarray(axis, np.float64)
    x, y, z = direction / np.linalg.norm(direction)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
