"""In which order the bones of a hand lie, across it and along it."""

from __future__ import annotations

import itertools

from handseg_monai.bones import BONES, INDEX, NAMES, Group

_CARRIERS = ("Trapezium", "Trapezoid", "Capitate", "Hamate", "Hamate")
RAYS = [
    [INDEX[carrier], *sorted((bone.index for bone in BONES if bone.ray == ray), reverse=True)]
    for ray, carrier in enumerate(_CARRIERS, 1)
]
"""Of each ray the carpal bone that carries it, then its bones from metacarpal to distal phalanx, indices."""
ACROSS = [
    (INDEX[a], INDEX[b])
    for a, b in (
        ("finger-1", "finger-6"),
        ("finger-2", "finger-7"),
        ("finger-3", "finger-7"),
        ("Trapezium", "Trapezoid"),
        ("Trapezoid", "Capitate"),
        ("Capitate", "Hamate"),
        ("Trapezium", "Hamate"),
        ("Scaphoid", "Lunate"),
        ("Lunate", "Triquetrum"),
        ("Scaphoid", "Triquetrum"),
        ("Scaphoid", "Pisiform"),
        ("Radius", "Ulna"),
    )
]
"""Pairs whose first bone lies on the thumb's side of the second."""
for _group in (Group.METACARPAL, Group.PROXIMAL_PHALANX, Group.MIDDLE_PHALANX, Group.DISTAL_PHALANX):
    ACROSS += itertools.pairwise(bone.index for bone in BONES if bone.group is _group and bone.ray != 1)
ALONG = [
    (INDEX[a], INDEX[b])
    for a, b in (
        ("Radius", "Scaphoid"),
        ("Radius", "Lunate"),
        ("Ulna", "Triquetrum"),
        ("Scaphoid", "Trapezium"),
        ("Scaphoid", "Trapezoid"),
        ("Lunate", "Capitate"),
        ("Triquetrum", "Hamate"),
        *((NAMES[ray[0]], NAMES[ray[1]]) for ray in RAYS[1:]),
    )
]
"""Pairs whose second bone lies further towards the fingertips."""
