"""Ranges of a person's bones and soft tissue."""

from __future__ import annotations

from dataclasses import dataclass

from handseg_monai.phantom.ranges import Range


@dataclass(frozen=True)
class SubjectRanges:
    """What varies from person to person; factors are relative to the mean hand of adults (:mod:`.long_bones`)."""

    hand_scale: Range = (0.85, 1.15)
    """Size of the whole hand, factor."""
    child_share: float = 0.0
    """Share of people who still grow."""
    child_age: Range = (3.2, 16.0)
    """Their skeletal age, years."""
    slenderness: Range = (0.92, 1.08)
    """Width of all long bones, factor."""
    ray_length: Range = (0.99, 1.01)
    """Length of a whole ray, factor."""
    metacarpal_length: Range = (0.972, 1.028)
    """Length of a metacarpal, factor."""
    proximal_length: Range = (0.95, 1.05)
    """Length of a proximal phalanx, factor."""
    middle_length: Range = (0.915, 1.085)
    """Length of a middle phalanx, factor."""
    distal_length: Range = (0.845, 1.155)
    """Length of a distal phalanx, factor."""
    short_little_share: float = 0.22
    """Share of people whose middle phalanx of the little finger is short (brachymesophalangia)."""
    short_little: Range = (0.6, 0.9)
    """Length of that, factor."""
    joint_space: Range = (-0.5, 0.5)
    """Added to the mean space of the other joints of a ray, millimetres."""
    metacarpophalangeal_space: Range = (-0.75, 0.75)
    distal_interphalangeal_space: Range = (-0.3, 0.3)
    """The same at the proximal and at the distal end of a ray's phalanges."""
    bone_width: Range = (0.955, 1.045)
    """Width of one bone of a ray, factor."""
    phalanx_scale: Range = (0.945, 1.055)
    """Size of all phalanges against metacarpals, factor."""
    base_width: Range = (0.925, 1.075)
    """Width of the proximal end of a long bone, factor."""
    shaft_width: Range = (0.88, 1.12)
    """Width of the waist of a long bone, factor."""
    head_width: Range = (0.94, 1.06)
    """Width of the distal end of a long bone, factor."""
    tuft_width: Range = (0.82, 1.18)
    """Width of the tuft of a distal phalanx, factor."""
    wrist_warp: Range = (0.3, 0.9)
    """Amplitude of a smooth warp that all carpal bones share, so that they still fit each other, millimetres."""
    carpus_scale: Range = (0.915, 1.085)
    """Size of all carpal bones against the other bones, factor."""
    carpal_size: Range = (0.965, 1.035)
    """Size of one carpal bone, factor."""
    carpal_scale: Range = (0.92, 1.08)
    """The same along one axis."""
    carpal_shift: Range = (-0.47, 0.47)
    """Shift of a carpal bone along each axis, millimetres."""
    ray_shift: Range = (-0.55, 0.55)
    """Shift of a ray's base along each axis in the image plane, millimetres."""
    lunate_shift: Range = (-1.6, 1.6)
    """Shift across the hand of lunate and triquetrum, whose ligament holds them together, millimetres; the pisiform
    follows."""
    lunate_corner: Range = (-1.8, 1.8)
    """How far the lunate reaches towards the hamate, which it meets in some hands (type II), millimetres."""
    trapezium_shift: Range = (-1.4, 1.4)
    """Shift of the trapezium along the hand besides, millimetres; the thumb goes half of it."""
    trapezoid_width: Range = (0.91, 1.09)
    """Width of the trapezoid in addition, factor."""
    hamate_shift: Range = (-0.9, 0.8)
    """Shift of the hamate along the hand besides, millimetres."""
    pisiform_shift: Range = (-2.6, 2.6)
    """Shift of the pisiform besides, across and along the hand, millimetres; it slides on the triquetrum."""
    pisiform_scale: Range = (0.87, 1.13)
    """Size of the pisiform in addition, factor."""
    carpal_bumps: Range = (0.15, 0.5)
    """Amplitude of broad hills and dells of a carpal bone, millimetres."""
    carpal_ripples: Range = (0.05, 0.3)
    """Amplitude of its hills and dells of half that breadth, millimetres."""
    carpal_wedge: Range = (0.0, 0.4)
    """How much less deep along the beam, and dimmer, a carpal bone is on one side, and deeper on the other, share."""
    carpal_turn: Range = (-3.8, 3.8)
    """Turn of a carpal bone about each axis, degrees."""
    bumps: Range = (0.1, 0.35)
    """Amplitude of smooth hills and dells on a long bone's surface, millimetres."""
    radiocarpal_gap: Range = (-2.5, -1.3)
    """Between the radius and scaphoid or lunate in the image, millimetres; negative: its rim covers them."""
    ulnar_variance: Range = (-6.0, -1.4)
    """Height of the ulna's head relative to the radius' ulnar corner, millimetres."""
    radioulnar_gap: Range = (-2.9, 0.7)
    """Joint space between the radius and the head of the ulna, millimetres."""
    radius_width: Range = (0.88, 1.12)
    """Width of the radius, factor."""
    ulna_width: Range = (0.86, 1.24)
    """Width of the ulna, factor."""
    radius_wedge: Range = (0.0, 0.75)
    """How much less deep along the beam the end of the radius is at its styloid, which is dimmer therefore, share."""
    ulna_wedge: Range = (0.0, 0.6)
    """The same of the ulna."""
    inclination: Range = (18.2, 28.4)
    """Radial inclination: slope of the radius' joint surface, degrees."""
    dorsal_ridge: Range = (1.2, 2.8)
    """How far the radius' dorsal rim stands up between the facets of scaphoid and lunate, millimetres."""
    radial_styloid: Range = (0.4, 4.8)
    """Length of the radius' styloid over the usual one, millimetres."""
    ulnar_styloid: Range = (0.0, 3.2)
    """Length of the ulna's styloid, millimetres."""
    bowing: Range = (-4.0, 4.0)
    """How far the forearm's bones bow towards the ulna in the middle, millimetres."""
    cortex: Range = (0.6, 1.4)
    """Cortical thickness, factor."""
    trabecular_density: Range = (0.55, 1.3)
    """Attenuation of trabecular bone, factor."""
    trabecular_contrast: Range = (0.4, 2.4)
    """Visibility of trabeculae, factor."""
    thumb_sesamoids_share: float = 0.97
    """Share of each of the two sesamoids at the thumb's metacarpophalangeal joint."""
    labelled_sesamoids_share: float = 0.92
    """Share of hands whose label of the first metacarpal includes these."""
    finger_sesamoids_share: float = 0.35
    """Share of a sesamoid at that of the index and of the little finger."""
    finger_flesh: Range = (0.88, 1.2)
    """Width of the fingers, factor."""
    palm_flesh: Range = (0.9, 1.15)
    """Width of the palm, factor."""
    forearm_flesh: Range = (0.88, 1.2)
    """Width of the forearm, factor."""
    thickness: Range = (0.8, 1.2)
    """Thickness of the soft tissue along the beam, factor."""
    muscle: Range = (0.5, 2.0)
    """Muscles of thumb, first web and little finger, factor."""
    fat: Range = (0.8, 2.6)
    """Layer of fat under the skin, millimetres."""
