"""The radiograph of a view: attenuation, objects in the beam, detector, processing, and what is laid over the picture.

Most steps have a stream of their own, so that a feature that is switched on leaves the draws of others alone; shading,
border and finish share one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from handseg_monai.phantom.acquisition.annotation import annotate, print_texts
from handseg_monai.phantom.acquisition.cast import add_cast
from handseg_monai.phantom.acquisition.collimation import border, shade
from handseg_monai.phantom.acquisition.detector import detect
from handseg_monai.phantom.acquisition.finishing import finish, local_contrast
from handseg_monai.phantom.acquisition.implants import add_cannula, add_finger_splint, add_plate, add_wires
from handseg_monai.phantom.acquisition.jewellery import add_rings, add_wristband
from handseg_monai.phantom.acquisition.landmarks import locate
from handseg_monai.phantom.acquisition.markers import mark
from handseg_monai.phantom.acquisition.patches import Scene
from handseg_monai.phantom.acquisition.processing import process
from handseg_monai.phantom.acquisition.ranges import AcquisitionRanges
from handseg_monai.phantom.components import Components
from handseg_monai.phantom.ranges import draw
from handseg_monai.phantom.resample import Floats, averaged, enlarged


def expose(rng: np.random.Generator, ranges: AcquisitionRanges, parts: Components) -> NDArray[np.uint8]:
    """Return the radiograph of a view, (H, W) uint8, bones bright unless the picture is inverted.

    The view has at least 64 pixels in either direction and is left as it is; ``parts.planes`` are the labels.
    """
    key = int(rng.integers(0, 2**62))
    beam, objects, detector, processing, edges, lead, texts = (np.random.default_rng([key, k]) for k in range(7))
    signal = _attenuation(beam, ranges, parts)
    _objects(objects, ranges, signal, parts)
    image = process(processing, ranges, detect(detector, ranges, signal, parts.spacing), parts.spacing)
    image = local_contrast(processing, ranges, image)
    shade(edges, ranges, image, parts)
    mark(lead, ranges, image, averaged(parts.soft, 64) < 1e-4, parts)
    border(edges, ranges, image, parts)
    print_texts(texts, ranges, image)
    annotate(texts, ranges, image)
    return finish(edges, ranges, image)


def _attenuation(rng: np.random.Generator, ranges: AcquisitionRanges, parts: Components) -> Floats:
    """Return the sum of soft tissue and bone, each weighted evenly and by a field that varies slowly."""
    contrast, soft_contrast = draw(rng, ranges.contrast), draw(rng, ranges.soft_contrast)
    bone, soft = parts.bone * np.float32(contrast), parts.soft * np.float32(soft_contrast)
    for layer in (bone, soft):
        amplitude, nodes = draw(rng, ranges.uneven), int(rng.integers(3, 9))
        if amplitude > 0:
            field = enlarged(rng.standard_normal((nodes, nodes), np.float32), parts.shape)
            layer *= np.maximum(1 + np.float32(amplitude) * field, np.float32(0.3))
    return np.asarray(soft + bone, np.float32)


def _objects(rng: np.random.Generator, ranges: AcquisitionRanges, signal: Floats, parts: Components) -> None:
    """Add what is worn or implanted, in place; the densest metal is a drawn factor above the densest bone."""
    objects = (
        (add_cast, ranges.cast_share),
        (add_plate, ranges.plate_share),
        (add_wires, ranges.wire_share),
        (add_rings, ranges.ring_share),
        (add_wristband, ranges.wristband_share),
        (add_cannula, ranges.cannula_share),
        (add_finger_splint, ranges.finger_splint_share),
    )
    present = [add for add, share in objects if share > rng.random()]
    densest = float(rng.uniform(1.0, 1.6))
    if not present:
        return
    cap = densest * float(signal.max())
    scene = Scene(signal, parts.soft, parts.spacing, locate(parts))
    for add in present:
        add(rng, scene)
    np.minimum(signal, np.float32(cap), out=signal)
