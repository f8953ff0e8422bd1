"""Every range that the phantom draws from, in one place."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]
"""(low, high) of a uniform draw."""


@dataclass(frozen=True)
class PhantomRanges:
    """Ranges of subjects, poses and exposures. All are (low, high) of a uniform draw unless they say *share*.

    A *share* is the probability, 0 to 1, that a feature is present.
    """

    # Subject: bones. Factors are relative to the mean hand of adults (`proportions`).
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
    metacarpal_length: Range = (0.975, 1.025)
    """Length of a metacarpal, factor."""
    proximal_length: Range = (0.95, 1.05)
    """Length of a proximal phalanx, factor."""
    middle_length: Range = (0.93, 1.07)
    """Length of a middle phalanx, factor."""
    distal_length: Range = (0.9, 1.1)
    """Length of a distal phalanx, factor."""
    short_little_share: float = 0.22
    """Share of people whose middle phalanx of the little finger is short (brachymesophalangia)."""
    short_little: Range = (0.6, 0.9)
    """Length of that, factor."""
    joint_space: Range = (-0.25, 0.25)
    """Added to the mean space of a joint of a ray, millimetres."""
    bone_width: Range = (0.96, 1.04)
    """Width of one bone of a ray, factor."""
    phalanx_scale: Range = (0.95, 1.05)
    """Size of all phalanges against metacarpals, factor."""
    base_width: Range = (0.94, 1.06)
    """Width of the proximal end of a long bone, factor."""
    shaft_width: Range = (0.92, 1.08)
    """Width of the waist of a long bone, factor."""
    head_width: Range = (0.94, 1.06)
    """Width of the distal end of a long bone, factor."""
    tuft_width: Range = (0.85, 1.15)
    """Width of the tuft of a distal phalanx, factor."""
    wrist_warp: Range = (0.3, 0.9)
    """Amplitude of a smooth warp that all carpal bones share, so that they still fit each other, millimetres."""
    carpus_scale: Range = (0.92, 1.08)
    """Size of all carpal bones against the other bones, factor."""
    carpal_size: Range = (0.97, 1.03)
    """Size of one carpal bone, factor."""
    carpal_scale: Range = (0.96, 1.04)
    """The same along one axis."""
    carpal_shift: Range = (-0.4, 0.4)
    """Shift of a carpal bone along each axis, millimetres."""
    ray_shift: Range = (-0.4, 0.4)
    """Shift of a ray's base along each axis in the image plane, millimetres."""
    pisiform_shift: Range = (-2.4, 2.4)
    """Shift of the pisiform besides, across and along the hand, millimetres; it slides on the triquetrum."""
    pisiform_scale: Range = (0.9, 1.1)
    """Size of the pisiform in addition, factor."""
    carpal_bumps: Range = (0.15, 0.5)
    """Amplitude of broad hills and dells of a carpal bone, millimetres."""
    carpal_ripples: Range = (0.05, 0.3)
    """Amplitude of its hills and dells of half that breadth, millimetres."""
    carpal_wedge: Range = (0.0, 0.4)
    """How much less deep along the beam, and dimmer, a carpal bone is on one side, and deeper on the other, share."""
    carpal_turn: Range = (-2.5, 2.5)
    """Turn of a carpal bone about each axis, degrees."""
    bumps: Range = (0.1, 0.35)
    """Amplitude of smooth hills and dells on a long bone's surface, millimetres."""
    radiocarpal_gap: Range = (-2.6, -1.4)
    """Between the radius and scaphoid or lunate in the image, millimetres; negative: its rim covers them."""
    ulnar_variance: Range = (-6.2, -1.2)
    """Height of the ulna's head relative to the radius' ulnar corner, millimetres."""
    radioulnar_gap: Range = (-2.1, 0.0)
    """Joint space between the radius and the head of the ulna, millimetres."""
    radius_width: Range = (0.9, 1.1)
    """Width of the radius, factor."""
    ulna_width: Range = (0.89, 1.16)
    """Width of the ulna, factor."""
    radius_wedge: Range = (0.0, 0.75)
    """How much less deep along the beam the end of the radius is at its styloid, which is dimmer therefore, share."""
    ulna_wedge: Range = (0.0, 0.6)
    """The same of the ulna."""
    inclination: Range = (19.2, 27.2)
    """Radial inclination: slope of the radius' joint surface, degrees."""
    radial_styloid: Range = (0.4, 3.7)
    """Length of the radius' styloid over the usual one, millimetres."""
    ulnar_styloid: Range = (0.0, 4.2)
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
    # Subject: soft tissue.
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

    # Pose, degrees; positive deviation is towards the thumb.
    usual_deviation: Range = (-12.0, 8.0)
    bent_deviation: Range = (-54.0, -29.0)
    """Deviation of a bent wrist."""
    bent_share: float = 0.5
    """Share of bent wrists."""
    spread: Range = (-8.0, 12.0)
    """Fan of the fingers about the middle finger."""
    finger_jitter: Range = (-3.0, 3.0)
    """Spread of one finger on its own."""
    finger_flexion: Range = (0.0, 8.0)
    """Flexion of the finger joints."""
    curled_share: float = 0.0
    """Share of fingers that are curled."""
    curled_flexion: Range = (15.0, 50.0)
    """Flexion of the middle joint of a curled finger; its last joint bends up to as far."""
    thumb_abduction: Range = (-7.0, 17.0)
    """Thumb away from the index finger."""
    thumb_opposition: Range = (-20.0, 25.0)
    """Turn of the thumb about its own axis."""
    thumb_flexion: Range = (-6.0, 30.0)
    """Flexion of the thumb's two hinge joints."""
    tilt: Range = (-6.0, 6.0)
    """Turn of the whole hand about each axis in the image plane."""
    turn: Range = (-14.0, 14.0)
    """Turn of the whole hand in the image plane."""

    # Geometry of the image.
    long_side: Range = (2048.0, 2048.0)
    """Longer side of the image where no size is asked for, pixels."""
    aspect: Range = (1.0, 1.0)
    """Width by height; of a hand that lies sideways mostly height by width."""
    field: Range = (245.0, 290.0)
    """Longer side of the field of view, millimetres; grows where a hand would not fit."""
    top_margin: Range = (6.0, 26.0)
    """Fingertips to the edge beyond them, millimetres."""
    side_shift: Range = (-12.0, 12.0)
    """Hand off the middle line along its fingers, millimetres."""
    forearm: Range = (45.0, 45.0)
    """Least length of the image beyond the carpus towards the elbow, millimetres."""
    angle: Range = (-14.0, 14.0)
    """Turn of the image against the hand, degrees; comes to the pose's own turn."""
    turned_share: float = 0.08
    """Share of images turned by another 90, 180 or 270 degrees."""
    any_angle_share: float = 0.0
    """Share of images turned by any angle."""
    part_share: float = 0.0
    """Share of images of a part: the wrist, the fingers, or one or two rays."""

    # Exposure and processing.
    contrast: Range = (0.75, 1.25)
    """Attenuation of bone, factor."""
    soft_contrast: Range = (0.9, 1.1)
    """Attenuation of soft tissue, factor."""
    uneven: Range = (0.0, 0.0)
    """Amplitude of slow variations over the image of either, factor; beyond the real."""
    blur: Range = (0.06, 0.16)
    """Focal and detector blur, standard deviation in millimetres."""
    noise: Range = (0.006, 0.022)
    """Quantum noise behind air, standard deviation in log exposure."""
    scatter: Range = (0.05, 0.25)
    """Scattered radiation, share of the primary beam."""
    heel: Range = (-0.08, 0.08)
    """Fall of the exposure from one side of the image to the other, log exposure."""
    vignette: Range = (0.0, 0.0)
    """Fall of the exposure from the middle to a corner, twice the log exposure."""
    grid_share: float = 0.02
    """Share of images with lines of an anti-scatter grid."""
    grid_lines: Range = (0.002, 0.01)
    """Amplitude of those, log exposure."""
    brightness: Range = (0.5, 1.0)
    """Grey of the densest bone, 0 to 1."""
    background: Range = (0.0, 0.2)
    """Grey of air, 0 to 1."""
    gamma: Range = (0.6, 1.3)
    """Exponent of the tone curve."""
    s_curve: Range = (0.0, 0.6)
    """Share of an S in the tone curve; negative: of its opposite."""
    edge_boost: Range = (0.2, 1.1)
    """Edge enhancement (unsharp masking), factor."""
    halo_share: float = 0.02
    """Share of images sharpened so much that edges have halos."""
    halo_boost: Range = (1.5, 3.0)
    """Edge enhancement of those, factor."""
    equalisation: Range = (0.0, 0.45)
    """How far broad differences of brightness (finger against forearm) are levelled, 0 to 1."""
    burnt_share: float = 0.02
    """Share of images whose window leaves the densest bones white."""
    flat_share: float = 0.03
    """Share of images whose window is wider than the hand's densities."""
    cut_share: float = 0.02
    """Share of images whose window leaves thin soft tissue black."""
    washed_share: float = 0.04
    """Share of bright grey images of low contrast."""
    dark_share: float = 0.03
    """Share of nearly black images."""
    clahe_share: float = 0.03
    """Share of images after adaptive histogram equalisation."""
    inversion_share: float = 0.0
    """Share of images with dark bones."""
    posterise_share: float = 0.0
    """Share of images with few grey levels."""
    jpeg_share: float = 0.05
    """Share of images with traces of JPEG's compression."""

    # What is laid over the picture.
    collimation_share: float = 0.45
    """Share of images with visible collimator edges or borders."""
    collimation_tilt: Range = (-5.0, 5.0)
    """Tilt of the collimator, degrees."""
    cutting_share: float = 0.1
    """Share of collimators that lie over a part of the hand, which shows through faintly."""
    glow_share: float = 0.1
    """Share of collimators with a bright line along their edge."""
    corner_share: float = 0.05
    """Share of images turned after the exposure, with empty corners."""
    bar_share: float = 0.04
    """Share of images with black, white or grey bars at their sides."""
    film_edge_share: float = 0.08
    """Share of images with bright lines along their sides."""
    marker_share: float = 0.6
    """Share of images with a side marker."""
    marker_height: Range = (8.0, 16.0)
    """Height of its letter, millimetres."""
    marker_turned_share: float = 0.1
    """Share of markers that lie on their side, on their head or anyhow."""
    text_share: float = 0.05
    """Share of images with printed texts."""
    annotation_share: float = 0.01
    """Share of images with a reader's arrow, circle, line or ruler."""

    # Objects in the beam.
    ring_share: float = 0.03
    """Share of images with rings on fingers."""
    wristband_share: float = 0.01
    """Share of images with a bracelet, a band or a watch."""
    cannula_share: float = 0.005
    """Share of images with a cannula in the back of the hand."""
    plate_share: float = 0.01
    """Share of images with a plate and screws on a bone."""
    wire_share: float = 0.01
    """Share of images with wires through a bone."""
    cast_share: float = 0.01
    """Share of images with a plaster, a splint or a bandage over wrist and forearm."""
    finger_splint_share: float = 0.005
    """Share of images with a splint along a finger."""
    second_hand_share: float = 0.0
    """Share of images into which the other hand reaches, unlabelled."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            low, high = value if isinstance(value, tuple) else (value, value)
            if not low <= high:
                raise ValueError(f"{name}: expected (low, high) with low <= high, got {value}")
            if name.endswith("_share") and not 0.0 <= low <= 1.0:
                raise ValueError(f"{name}: expected a share between 0 and 1, got {value}")
