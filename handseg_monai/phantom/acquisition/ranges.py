"""Ranges of the steps between a posed hand and its radiograph."""

from __future__ import annotations

from dataclasses import dataclass

from handseg_monai.phantom.ranges import Range


@dataclass(frozen=True)
class ExposureRanges:
    """Exposure and processing."""

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


@dataclass(frozen=True)
class OverlayRanges:
    """What is laid over the picture, and objects in the beam."""

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


@dataclass(frozen=True)
class AcquisitionRanges(OverlayRanges, ExposureRanges):
    """All of these, those of the exposure first."""
