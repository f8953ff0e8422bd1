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
    hand_scale: Range = (0.92, 1.08)
    """Size of the whole hand, factor."""
    slenderness: Range = (0.93, 1.09)
    """Width of all long bones, factor."""
    ray_length: Range = (0.96, 1.04)
    """Length of a whole ray, factor."""
    bone_length: Range = (0.97, 1.03)
    """Length of one bone of a ray, factor."""
    bone_width: Range = (0.95, 1.05)
    """Width of one bone of a ray, factor."""
    carpal_scale: Range = (1.0, 1.12)
    """Size of a carpal bone along each axis, factor."""
    carpal_turn: Range = (-4.0, 4.0)
    """Turn of a carpal bone about each axis, degrees."""
    bumps: Range = (0.1, 0.35)
    """Amplitude of smooth hills and dells on a bone's surface, millimetres."""
    carpal_gap: Range = (0.7, 1.2)
    """Joint space between carpal bones, millimetres."""
    radiocarpal_gap: Range = (1.4, 2.3)
    """Joint space between the radius and scaphoid or lunate, millimetres."""
    ulnar_variance: Range = (-2.5, 1.5)
    """Height of the ulna's head relative to the radius' ulnar corner, millimetres."""
    cortex: Range = (0.8, 1.2)
    """Cortical thickness, factor."""
    trabecular_density: Range = (0.75, 1.2)
    """Attenuation of trabecular bone, factor."""
    trabecular_contrast: Range = (0.5, 1.0)
    """Visibility of trabeculae, factor."""
    # Subject: soft tissue.
    finger_flesh: Range = (0.92, 1.12)
    """Width of the fingers, factor."""
    palm_flesh: Range = (0.94, 1.1)
    """Width of the palm, factor."""
    forearm_flesh: Range = (0.9, 1.15)
    """Width of the forearm, factor."""
    thickness: Range = (0.85, 1.15)
    """Thickness of the soft tissue along the beam, factor."""
    muscle: Range = (0.5, 1.3)
    """Muscles of thumb, first web and little finger, factor."""
    fat: Range = (0.8, 2.6)
    """Layer of fat under the skin, millimetres."""

    # Pose, degrees; positive deviation is towards the thumb.
    usual_deviation: Range = (-9.0, 8.0)
    bent_deviation: Range = (-32.0, 22.0)
    """Deviation of a bent wrist."""
    bent_share: float = 0.25
    """Share of bent wrists."""
    spread: Range = (-5.0, 8.0)
    """Fan of the fingers about the middle finger."""
    finger_jitter: Range = (-2.0, 2.0)
    """Spread of one finger on its own."""
    finger_flexion: Range = (0.0, 14.0)
    """Flexion of the finger joints."""
    thumb_abduction: Range = (-8.0, 20.0)
    """Thumb away from the index finger."""
    thumb_opposition: Range = (-12.0, 16.0)
    """Turn of the thumb about its own axis."""
    thumb_flexion: Range = (-4.0, 22.0)
    """Flexion of the thumb's two hinge joints."""
    tilt: Range = (-5.0, 5.0)
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
    carpal_scale=(1.03, 1.09),
    carpal_turn=(-2.0, 2.0),
    usual_deviation=(-4.0, 4.0),
    bent_share=0.0,
    spread=(1.0, 4.0),
    finger_jitter=(-1.0, 1.0),
    finger_flexion=(0.0, 5.0),
    thumb_abduction=(0.0, 7.0),
    thumb_opposition=(-4.0, 4.0),
    thumb_flexion=(0.0, 8.0),
    tilt=(-2.0, 2.0),
    turn=(-3.0, 3.0),
    field=(256.0, 266.0),
    top_margin=(12.0, 17.0),
    side_shift=(-4.0, 4.0),
    angle=(0.0, 0.0),
    turned_share=0.0,
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
_HARD = replace(
    _STANDARD,
    # Geometry of the image.
    long_side=(600.0, 2500.0),
    aspect=(0.55, 1.15),
    field=(180.0, 420.0),
    top_margin=(0.0, 60.0),
    side_shift=(-60.0, 60.0),
    forearm=(3.0, 70.0),
    any_angle_share=0.5,
    part_share=0.3,
)
PRESETS: dict[str, PhantomRanges] = {"easy": _EASY, "standard": _STANDARD, "hard": _HARD}
"""``easy``: upright, centred, alike (a small network learns it within minutes). ``standard``: what clinics produce.
``hard``: more than that, for training: any turn and shape, part views, objects, and exposures beyond the real."""


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
