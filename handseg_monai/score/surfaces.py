"""How far outlines lie apart: normalised surface distance and Hausdorff distance, bone by bone, inside its box."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import NUM_BONES

TOLERANCE_PIXELS, TOLERANCE_MM = 2.0, 1.0
_PERCENTILE = 95


@dataclass(frozen=True)
class Surfaces:
    """Of one image, float64 (29,) each."""

    nsd_pixels: np.ndarray
    nsd_mm: np.ndarray
    """Share of both outlines that lies within 2 pixels, or 1 mm, of the other one: 1 where both masks are empty, 0
    where one is. In millimetres NaN where the spacing is not known."""
    hd95: np.ndarray
    """The larger one of the two 95th percentiles of the distances, in pixels; NaN where a mask is empty."""


def surfaces(prediction: np.ndarray, truth: np.ndarray, spacing: float | None = None) -> Surfaces:
    """Compare the outlines of bit planes, int32 (H, W), of equal shape.

    Distances are those of MONAI's ``SurfaceDiceMetric`` and ``HausdorffDistanceMetric``, between pixels on the edge
    of the masks, computed on each bone's box.

    Parameters
    ----------
    prediction, truth
        Bit planes.
    spacing
        Millimetres a pixel, if known.
    """
    # MONAI takes seconds to import, and only these figures need it here.
    from monai.metrics.utils import get_edge_surface_distance

    # MONAI 1.6 warns of an argument that it passes itself.
    warnings.filterwarnings("ignore", message=".*always_return_as_numpy.*", category=FutureWarning)
    where = [dict(boxes(planes)) for planes in (prediction, truth)]
    nsd_pixels, hd95 = np.ones(NUM_BONES), np.full(NUM_BONES, np.nan)
    nsd_mm = np.full(NUM_BONES, np.nan if spacing is None else 1.0)
    for bone in sorted(where[0].keys() | where[1].keys()):
        outer = [box[bone] for box in where if bone in box]
        if len(outer) < 2:
            nsd_pixels[bone] = 0.0
            nsd_mm[bone] *= 0.0
            continue
        window = tuple(
            slice(max(0, min(box[axis].start for box in outer) - 1), max(box[axis].stop for box in outer) + 1)
            for axis in (0, 1)
        )
        found, true = ((planes[window] & np.int32(1 << bone)) != 0 for planes in (prediction, truth))
        # MONAI's types say tensors; it takes arrays as well.
        pair: tuple[Any, Any] = found, true
        _, apart, _ = get_edge_surface_distance(pair[0], pair[1], symmetric=True, warn_empty=False)
        there, back = (np.asarray(distances, np.float64) for distances in apart)
        both = np.concatenate([there, back])
        nsd_pixels[bone] = np.mean(both <= TOLERANCE_PIXELS)
        if spacing is not None:
            nsd_mm[bone] = np.mean(both * spacing <= TOLERANCE_MM)
        hd95[bone] = max(np.percentile(there, _PERCENTILE), np.percentile(back, _PERCENTILE))
    return Surfaces(nsd_pixels, nsd_mm, hd95)
