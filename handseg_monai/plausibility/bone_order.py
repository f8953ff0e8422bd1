"""In which order the bones of a hand lie, across it and along it."""

from __future__ import annotations

import itertools

from handseg_monai.bones import BONES, INDEX, NAMES, Group


def _rays() -> list[list[int]]:
    """Of each ray the carpal bone that carries it, then its bones from metacarpal to distal phalanx."""
    carriers = ("Trapezium", "Trapezoid", "Capitate", "Hamate", "Hamate")
    return [
        [INDEX[carrier], *sorted((b.index for b in BONES if b.ray == ray), reverse=True)]
        for ray, carrier in enumerate(carriers, 1)
    ]


def _across() -> list[tuple[int, int]]:
    """Pairs whose first bone lies on the thumb's side of the second."""
    pairs = [
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
    ]
    found = [(INDEX[a], INDEX[b]) for a, b in pairs]
    for group in (Group.METACARPAL, Group.PROXIMAL_PHALANX, Group.MIDDLE_PHALANX, Group.DISTAL_PHALANX):
        row = [bone.index for bone in BONES if bone.group is group and bone.ray != 1]
        found += itertools.pairwise(row)
    return found


RAYS = _rays()
"""Of each ray its carpal bone, then from metacarpal to distal phalanx, indices."""
ACROSS = _across()
"""Pairs whose first bone lies on the thumb's side of the second."""
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
