"""Every range that the phantom draws from, in one place, with named presets."""

from __future__ import annotations

from dataclasses import dataclass, replace

Range = tuple[float, float]
"""(low, high) of a uniform draw."""


@dataclass(frozen=True)
class PhantomRanges:
    """Ranges of subjects, poses and exposures. All are (low, high) of a uniform draw unless they say *share*.

    A *share* is the probability, 0 to 1, that a feature is present.
    """

    # Subject: bones. Factors are relative to the MyoHand (an adult's right hand).
    hand_scale: Range = (0.85, 1.15)
    """Size of the whole hand, factor."""
    slenderness: Range = (0.88, 1.12)
    """Width of all long bones, factor."""
    ray_length: Range = (0.96, 1.04)
    """Length of a whole ray, factor."""
    bone_length: Range = (0.97, 1.03)
    """Length of one bone of a ray, factor."""
    bone_width: Range = (0.95, 1.05)
    """Width of one bone of a ray, factor."""
    base_width: Range = (0.9, 1.12)
    """Width of the proximal end of a long bone, factor."""
    shaft_width: Range = (0.86, 1.12)
    """Width of the waist of a long bone, factor."""
    head_width: Range = (0.9, 1.12)
    """Width of the distal end of a long bone, factor."""
    tuft_width: Range = (0.8, 1.25)
    """Width of the tuft of a distal phalanx, factor."""
    wrist_warp: Range = (0.2, 1.1)
    """Amplitude of a smooth warp that all carpal bones share, so that they still fit each other, millimetres."""
    carpal_scale: Range = (0.9, 1.12)
    """Size of a carpal bone along each axis, factor."""
    carpal_shift: Range = (-0.8, 0.8)
    """Shift of a carpal bone along each axis before the joint spaces are set, millimetres."""
    carpal_bumps: Range = (0.2, 0.8)
    """Amplitude of broad hills and dells of a carpal bone, millimetres."""
    carpal_ripples: Range = (0.05, 0.3)
    """Amplitude of its hills and dells of half that breadth, millimetres."""
    carpal_turn: Range = (-8.0, 8.0)
    """Turn of a carpal bone about each axis, degrees."""
    bumps: Range = (0.1, 0.35)
    """Amplitude of smooth hills and dells on a long bone's surface, millimetres."""
    carpal_gap: Range = (0.4, 1.1)
    """Joint space between carpal bones, millimetres."""
    radiocarpal_gap: Range = (1.1, 2.2)
    """Joint space between the radius and scaphoid or lunate, millimetres."""
    ulnar_variance: Range = (-4.0, 3.0)
    """Height of the ulna's head relative to the radius' ulnar corner, millimetres."""
    radioulnar_gap: Range = (0.2, 2.3)
    """Joint space between the radius and the head of the ulna, millimetres."""
    radius_width: Range = (0.92, 1.1)
    """Width of the radius, factor."""
    ulna_width: Range = (0.88, 1.12)
    """Width of the ulna, factor."""
    inclination: Range = (18.0, 26.0)
    """Radial inclination: slope of the radius' joint surface, degrees."""
    radial_styloid: Range = (-1.2, 2.2)
    """Length of the radius' styloid over the usual one, millimetres."""
    ulnar_styloid: Range = (1.5, 7.0)
    """Length of the ulna's styloid, millimetres."""
    bowing: Range = (-4.0, 4.0)
    """How far the forearm's bones bow towards the ulna in the middle, millimetres."""
    cortex: Range = (0.6, 1.4)
    """Cortical thickness, factor."""
    trabecular_density: Range = (0.55, 1.3)
    """Attenuation of trabecular bone, factor."""
    trabecular_contrast: Range = (0.4, 1.2)
    """Visibility of trabeculae, factor."""
    thumb_sesamoids_share: float = 0.85
    """Share of each of the two sesamoids at the thumb's metacarpophalangeal joint."""
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
    usual_deviation: Range = (-12.0, 10.0)
    bent_deviation: Range = (-33.0, 28.0)
    """Deviation of a bent wrist."""
    bent_share: float = 0.35
    """Share of bent wrists."""
    spread: Range = (-8.0, 12.0)
    """Fan of the fingers about the middle finger."""
    finger_jitter: Range = (-3.0, 3.0)
    """Spread of one finger on its own."""
    finger_flexion: Range = (0.0, 16.0)
    """Flexion of the finger joints."""
    curled_share: float = 0.08
    """Share of fingers that are curled."""
    curled_flexion: Range = (15.0, 50.0)
    """Flexion of the middle joint of a curled finger; its last joint bends up to as far."""
    thumb_abduction: Range = (-20.0, 22.0)
    """Thumb away from the index finger."""
    thumb_opposition: Range = (-20.0, 25.0)
    """Turn of the thumb about its own axis."""
    thumb_flexion: Range = (-6.0, 30.0)
    """Flexion of the thumb's two hinge joints."""
    tilt: Range = (-10.0, 10.0)
    """Turn of the whole hand about each axis in the image plane."""
    turn: Range = (-14.0, 14.0)
    """Turn of the whole hand in the image plane."""

    # Geometry of the image.
    field: Range = (245.0, 290.0)
    """Side of the square field of view, millimetres; grows where a hand would not fit."""
    top_margin: Range = (6.0, 26.0)
    """Fingertips to the upper edge, millimetres."""
    side_shift: Range = (-12.0, 12.0)
    """Hand off the vertical middle line, millimetres."""

    # Exposure and processing.
    contrast: Range = (0.75, 1.25)
    """Bone against soft tissue, factor."""
    brightness: Range = (0.5, 1.0)
    """Grey of the densest bone, 0 to 1."""
    background: Range = (0.0, 0.2)
    """Grey of air, 0 to 1."""
    gamma: Range = (0.75, 1.25)
    """Exponent of the tone curve."""
    edge_boost: Range = (0.2, 1.1)
    """Edge enhancement (unsharp masking), factor."""
    equalisation: Range = (0.0, 0.45)
    """How far broad differences of brightness (finger against forearm) are levelled, 0 to 1."""
    blur: Range = (0.06, 0.16)
    """Focal and detector blur, standard deviation in millimetres."""
    noise: Range = (0.006, 0.022)
    """Quantum noise behind air, standard deviation in log exposure."""
    scatter: Range = (0.05, 0.25)
    """Scattered radiation, share of the primary beam."""
    heel: Range = (-0.08, 0.08)
    """Fall of the exposure from one side of the image to the other, log exposure."""
    collimation_share: float = 0.45
    """Share of images with visible collimator edges or borders."""
    collimation_tilt: Range = (-5.0, 5.0)
    """Tilt of the collimator, degrees."""
    marker_share: float = 0.6
    """Share of images with a side marker."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            low, high = value if isinstance(value, tuple) else (value, value)
            if not low <= high:
                raise ValueError(f"{name}: expected (low, high) with low <= high, got {value}")
            if name.endswith("_share") and not 0.0 <= low <= 1.0:
                raise ValueError(f"{name}: expected a share between 0 and 1, got {value}")


_STANDARD = PhantomRanges()
_EASY = replace(
    _STANDARD,
    hand_scale=(0.97, 1.03),
    slenderness=(0.97, 1.04),
    ray_length=(0.985, 1.015),
    bone_length=(0.99, 1.01),
    bone_width=(0.98, 1.02),
    base_width=(0.97, 1.03),
    shaft_width=(0.96, 1.03),
    head_width=(0.97, 1.03),
    tuft_width=(0.95, 1.05),
    wrist_warp=(0.1, 0.4),
    carpal_scale=(0.98, 1.05),
    carpal_shift=(-0.2, 0.2),
    carpal_bumps=(0.1, 0.3),
    carpal_ripples=(0.0, 0.1),
    carpal_turn=(-2.0, 2.0),
    carpal_gap=(0.6, 0.9),
    radiocarpal_gap=(1.4, 2.0),
    ulnar_variance=(-2.0, 1.0),
    radioulnar_gap=(0.8, 1.6),
    radius_width=(0.98, 1.03),
    ulna_width=(0.97, 1.03),
    inclination=(20.5, 23.5),
    radial_styloid=(-0.3, 0.5),
    ulnar_styloid=(4.0, 6.0),
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
    bent_share=0.0,
    spread=(1.0, 4.0),
    finger_jitter=(-1.0, 1.0),
    finger_flexion=(0.0, 5.0),
    curled_share=0.0,
    thumb_abduction=(0.0, 7.0),
    thumb_opposition=(-4.0, 4.0),
    thumb_flexion=(0.0, 8.0),
    tilt=(-2.0, 2.0),
    turn=(-3.0, 3.0),
    field=(256.0, 266.0),
    top_margin=(12.0, 17.0),
    side_shift=(-4.0, 4.0),
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
    collimation_share=0.0,
    marker_share=0.5,
)
PRESETS: dict[str, PhantomRanges] = {"easy": _EASY, "standard": _STANDARD}
"""``easy``: upright, centred, alike (a small network learns it within minutes). ``standard``: what clinics produce."""


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
