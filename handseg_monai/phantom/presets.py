"""Named sets of ranges to draw phantoms from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from handseg_monai.phantom.acquisition.ranges import AcquisitionRanges
from handseg_monai.phantom.placement import PlacementRanges
from handseg_monai.phantom.pose import PoseRanges
from handseg_monai.phantom.subject_ranges import SubjectRanges


@dataclass(frozen=True)
class PhantomRanges(AcquisitionRanges, PlacementRanges, PoseRanges, SubjectRanges):
    """Ranges of subjects, poses and exposures. All are (low, high) of a uniform draw unless they say *share*.

    A *share* is the probability, 0 to 1, that a feature is present.
    """

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            low, high = value if isinstance(value, tuple) else (value, value)
            if not low <= high:
                raise ValueError(f"{name}: expected (low, high) with low <= high, got {value}")
            if name.endswith("_share") and not 0.0 <= low <= 1.0:
                raise ValueError(f"{name}: expected a share between 0 and 1, got {value}")


_STANDARD = PhantomRanges()
_NO_SHARES: dict[str, Any] = {name: 0.0 for name in vars(_STANDARD) if name.endswith("_share")}
_EASY = replace(
    _STANDARD,
    hand_scale=(0.97, 1.03),
    slenderness=(0.97, 1.04),
    ray_length=(0.995, 1.005),
    metacarpal_length=(0.99, 1.01),
    proximal_length=(0.985, 1.015),
    middle_length=(0.98, 1.02),
    distal_length=(0.97, 1.03),
    joint_space=(-0.1, 0.1),
    metacarpophalangeal_space=(-0.1, 0.1),
    distal_interphalangeal_space=(-0.1, 0.1),
    bone_width=(0.98, 1.02),
    phalanx_scale=(0.98, 1.02),
    base_width=(0.97, 1.03),
    shaft_width=(0.96, 1.03),
    head_width=(0.97, 1.03),
    tuft_width=(0.95, 1.05),
    wrist_warp=(0.1, 0.4),
    carpus_scale=(0.98, 1.02),
    carpal_size=(0.98, 1.02),
    carpal_scale=(0.98, 1.02),
    carpal_shift=(-0.2, 0.2),
    ray_shift=(-0.15, 0.15),
    lunate_shift=(-0.2, 0.2),
    lunate_corner=(-0.2, 0.2),
    trapezium_shift=(-0.2, 0.2),
    trapezoid_width=(0.99, 1.01),
    hamate_shift=(-0.2, 0.2),
    pisiform_shift=(-0.5, 0.5),
    pisiform_scale=(0.97, 1.03),
    carpal_bumps=(0.1, 0.3),
    carpal_ripples=(0.0, 0.1),
    carpal_wedge=(0.0, 0.15),
    carpal_turn=(-2.0, 2.0),
    radiocarpal_gap=(-2.3, -1.7),
    ulnar_variance=(-5.0, -2.0),
    radioulnar_gap=(-1.5, -0.7),
    radius_width=(0.98, 1.03),
    ulna_width=(0.97, 1.03),
    radius_wedge=(0.2, 0.4),
    ulna_wedge=(0.1, 0.3),
    inclination=(22.0, 25.0),
    dorsal_ridge=(1.7, 2.3),
    radial_styloid=(2.0, 3.0),
    ulnar_styloid=(1.2, 2.8),
    bowing=(-1.0, 1.0),
    cortex=(0.85, 1.15),
    trabecular_density=(0.8, 1.15),
    trabecular_contrast=(0.5, 1.0),
    finger_flesh=(0.95, 1.08),
    palm_flesh=(0.96, 1.08),
    forearm_flesh=(0.95, 1.1),
    thickness=(0.9, 1.1),
    muscle=(0.7, 1.3),
    usual_deviation=(-4.0, 4.0),
    spread=(1.0, 4.0),
    finger_jitter=(-1.0, 1.0),
    finger_flexion=(0.0, 5.0),
    thumb_abduction=(1.0, 8.0),
    thumb_opposition=(-4.0, 4.0),
    thumb_flexion=(0.0, 8.0),
    metacarpal_lean=(-1.0, 1.0),
    pitch=(-2.0, 2.0),
    tilt=(-2.0, 2.0),
    turn=(-3.0, 3.0),
    field=(256.0, 266.0),
    top_margin=(12.0, 17.0),
    side_shift=(-4.0, 4.0),
    angle=(0.0, 0.0),
    contrast=(0.95, 1.1),
    brightness=(0.85, 0.95),
    background=(0.03, 0.07),
    gamma=(0.92, 1.05),
    edge_boost=(0.4, 0.7),
    equalisation=(0.1, 0.25),
    blur=(0.07, 0.1),
    noise=(0.004, 0.008),
    scatter=(0.05, 0.1),
    heel=(-0.02, 0.02),
    soft_contrast=(1.0, 1.0),
    s_curve=(0.1, 0.4),
    marker_height=(9.0, 15.0),
    **_NO_SHARES | {"marker_share": 0.5},
)
_HARD = replace(
    _STANDARD,
    child_share=0.3,
    # Shape: about the same means, wider.
    slenderness=(0.87, 1.13),
    ray_length=(0.97, 1.03),
    metacarpal_length=(0.96, 1.04),
    proximal_length=(0.93, 1.07),
    middle_length=(0.9, 1.1),
    distal_length=(0.83, 1.17),
    joint_space=(-0.5, 0.6),
    metacarpophalangeal_space=(-0.8, 0.8),
    distal_interphalangeal_space=(-0.4, 0.4),
    phalanx_scale=(0.93, 1.07),
    base_width=(0.9, 1.1),
    shaft_width=(0.85, 1.15),
    head_width=(0.9, 1.1),
    tuft_width=(0.8, 1.25),
    wrist_warp=(0.4, 2.0),
    carpus_scale=(0.9, 1.1),
    carpal_size=(0.93, 1.07),
    carpal_scale=(0.89, 1.11),
    carpal_shift=(-0.9, 0.9),
    ray_shift=(-0.7, 0.7),
    lunate_shift=(-2.0, 2.0),
    lunate_corner=(-2.6, 2.6),
    trapezium_shift=(-1.8, 1.8),
    trapezoid_width=(0.89, 1.11),
    hamate_shift=(-1.3, 1.1),
    pisiform_shift=(-3.4, 3.4),
    carpal_bumps=(0.15, 0.8),
    carpal_turn=(-6.0, 6.0),
    dorsal_ridge=(0.5, 3.5),
    # Pose.
    usual_deviation=(-25.0, 22.0),
    bent_deviation=(-58.0, -22.0),
    finger_flexion=(0.0, 16.0),
    curled_share=0.08,
    metacarpal_lean=(-7.0, 7.0),
    pitch=(-6.0, 6.0),
    tilt=(-10.0, 10.0),
    # Geometry of the image.
    long_side=(600.0, 2500.0),
    aspect=(0.55, 1.15),
    field=(180.0, 420.0),
    top_margin=(0.0, 60.0),
    side_shift=(-60.0, 60.0),
    forearm=(3.0, 70.0),
    any_angle_share=0.5,
    part_share=0.3,
    # Exposure and processing.
    contrast=(0.5, 1.8),
    soft_contrast=(0.4, 2.0),
    uneven=(0.0, 0.3),
    blur=(0.05, 0.5),
    noise=(0.004, 0.06),
    scatter=(0.0, 0.7),
    heel=(-0.35, 0.35),
    vignette=(-0.3, 0.6),
    grid_share=0.1,
    grid_lines=(0.004, 0.04),
    brightness=(0.4, 1.0),
    background=(0.0, 0.35),
    gamma=(0.35, 2.0),
    s_curve=(-0.4, 1.0),
    edge_boost=(0.0, 1.8),
    halo_share=0.1,
    halo_boost=(1.5, 5.0),
    equalisation=(0.0, 0.8),
    burnt_share=0.1,
    flat_share=0.1,
    cut_share=0.1,
    washed_share=0.1,
    dark_share=0.1,
    clahe_share=0.12,
    inversion_share=0.12,
    posterise_share=0.05,
    jpeg_share=0.2,
    # What is laid over the picture.
    collimation_tilt=(-15.0, 15.0),
    cutting_share=0.3,
    glow_share=0.3,
    corner_share=0.15,
    bar_share=0.15,
    film_edge_share=0.2,
    marker_share=0.7,
    marker_height=(5.0, 24.0),
    marker_turned_share=0.5,
    text_share=0.25,
    annotation_share=0.08,
    # Objects in the beam.
    ring_share=0.15,
    wristband_share=0.1,
    cannula_share=0.07,
    plate_share=0.08,
    wire_share=0.08,
    cast_share=0.1,
    finger_splint_share=0.06,
    second_hand_share=0.1,
)
_CHILDREN = replace(_HARD, child_share=1.0, child_age=(3.2, 9.0))
PRESETS: dict[str, PhantomRanges] = {"easy": _EASY, "standard": _STANDARD, "hard": _HARD, "children": _CHILDREN}
"""``easy``: upright, centred, alike (a small network learns it within minutes). ``standard``: what clinics produce.
``hard``: more than that, for training: children, any turn and shape, part views, objects, and exposures beyond the
real. ``children``: the same of children below nine years alone, whose carpal bones are small, apart or missing."""


def preset(name: str) -> PhantomRanges:
    """Return the ranges of a preset.

    Raises
    ------
    ValueError
        When there is no such preset; the message lists those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"no phantom preset {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]
