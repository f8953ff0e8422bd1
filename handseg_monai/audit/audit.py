"""The audit of a dataset or a submission: what is known to go wrong in such data, found and listed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from handseg_monai.audit.duplicates import find_duplicates, fingerprint
from handseg_monai.audit.findings import NOTES, AuditFinding, Fault
from handseg_monai.audit.label_faults import LabelFault, doubled_polygons, label_faults, piece_faults
from handseg_monai.audit.rings import BRIGHT, ring_brightness
from handseg_monai.audit.sources import (
    Label,
    Radiograph,
    dataset_radiographs,
    read_label,
    sound_labels,
    submission_radiographs,
)
from handseg_monai.bones import FLAT, NAMES, NUM_BONES
from handseg_monai.data.items import LabelError
from handseg_monai.data.label_fit import EdgeDirections, outline_points, outlines_of
from handseg_monai.data.labels.flat import hidden, is_flat
from handseg_monai.data.polarity import NEGATIVE, bone_brightness
from handseg_monai.data.reading.images import UnreadableImageError, read_radiograph
from handseg_monai.plausibility.freeze import POPULATION, population_ranges
from handseg_monai.plausibility.hand_measures import HandMeasures, measure_hand
from handseg_monai.plausibility.ranges import ADULT, PlausibleRanges, load_ranges, measure_by_age
from handseg_monai.score.dice import known_bones

FIT = 0.4
"""Agreement of outlines and edges below which a label does not lie on its image's bones: true labels of phantoms have
0.7 to 0.9, those of another hand up to 0.3. In a dataset of rough outlines half of their median, if that is less, but
no less than :data:`NOISE`: if most labels are wrong, their median measures nothing."""
NOISE = 0.3
_BETTER = 2.0
"""Factor by which a label must lie better once it is scaled."""
_RESCALED = 0.02
_CONSTANT = 0.02
"""Share of the range of grey below which percentiles 0.5 and 99.5 are one."""
_COMMON = 0.98


@dataclass
class _Seen:
    """What is kept of one radiograph."""

    radiograph: Radiograph
    faults: list[LabelFault] = field(default_factory=list)
    fingerprint: np.ndarray | None = None
    hands: list[tuple[HandMeasures, PlausibleRanges, HandMeasures | None]] = field(default_factory=list)
    """By each age that suits: measures, ranges, and of a flat label the measures with all that may lie hidden."""
    found: np.ndarray | None = None
    agreement: float | None = None
    rescaled: tuple[float, float] = (1.0, 0.0)


@dataclass(frozen=True)
class Audit:
    """Result of an audit."""

    radiographs: tuple[Radiograph, ...]
    """All that were looked at."""
    findings: tuple[AuditFinding, ...]
    """Those that exclude an image first, then by kind and path."""
    own_ranges: bool
    """Whether hands were judged by the dataset's own ranges rather than by the frozen ones."""
    agreement: float | None = None
    """Median agreement of outlines and edges, 0 to 1; None where there are no labels to measure."""
    flat: bool = False
    """Whether no bones overlap in the labels, though they do on radiographs."""

    @property
    def excluded(self) -> dict[str, str]:
        """Images that training should leave out, sorted by path, and the reasons in words."""
        reasons: dict[str, list[str]] = {}
        for finding in self.findings:
            if finding.exclude:
                reasons.setdefault(finding.image, []).append(finding.text)
        return {image: "; ".join(texts) for image, texts in sorted(reasons.items())}


def audit(source: str | Path, images: str | Path | None = None, progress: bool = True) -> Audit:
    """Look for what is known to be wrong in labelled hand radiographs.

    ========== =======================================================================================================
    fault      what is found
    ========== =======================================================================================================
    unreadable an image that is damaged
    constant   an image without contrast
    pairing    an image without a label, a label without an image, an image outside a subject's folder
    duplicate  a radiograph that is there twice, re-encoded, resized or toned too; mirrored hands are none
    label      a file that breaks the contract
    scale      a label that lies on the bones once it is scaled
    misfit     a label that does not lie on the bones of its image
    swapped    labels of two bones or two rays exchanged
    missing    a bone that should be within the image
    doubled    a bone outlined twice, or two bones with one outline
    stray      a piece of a mask that lies apart from its bone
    area       a bone too large or small for the hand
    position   a bone away from its place, apart from its neighbours or out of order
    overlap    bones over one another that never are
    ring       a ring on a finger: noted only
    negative   bones are dark, which training and inference turn round: noted only
    ========== =======================================================================================================

    Areas and positions are judged by the dataset's own population where it has
    :data:`~handseg_monai.plausibility.freeze.POPULATION` whole hands, else by the frozen ranges of phantoms; those
    of children's hands by the frozen ranges of their age. In labels without overlaps, what a bone lacks because another
    may hide it is no fault.

    Parameters
    ----------
    source
        Dataset in the competition's layout (all its splits) or converted, or a submission CSV. Bones that are not known
        in an image are not missed.
    images
        Folder of the images of a submission; not used with a dataset.
    progress
        Show a progress bar on a terminal.

    Raises
    ------
    ValueError
        No such dataset, no images, a submission that breaks the contract or comes without ``images``.
    OSError
        A file can't be read.
    """
    source = Path(source)
    if source.is_file():
        if images is None:
            raise ValueError(f"{source}: a submission needs the folder of its images; give it with --images")
        radiographs, findings = submission_radiographs(source, images)
    else:
        if images is not None:
            raise ValueError(f"--images {images}: is for a submission; {source} is not a file")
        radiographs, findings = dataset_radiographs(source)
    flat = all(r.known & FLAT for r in radiographs) or is_flat(sound_labels(radiographs), len(radiographs))
    seen = [_look(r, flat) for r in tqdm(radiographs, desc="audit", unit="image", disable=None if progress else True)]
    own_ranges = _judge(seen)
    for one in seen:
        findings += [
            AuditFinding(one.radiograph.name, fault, text, bones, exclude=fault not in NOTES)
            for fault, bones, text in one.faults
        ]
    findings += _duplicates(seen, {f.image for f in findings if f.exclude})
    fits = [one.agreement for one in seen if one.agreement is not None]
    agreement = float(np.median(fits)) if fits else None
    return Audit(tuple(radiographs), tuple(sorted(findings, key=lambda f: f.rank)), own_ranges, agreement, flat)


def _look(radiograph: Radiograph, flat: bool) -> _Seen:
    """Find what one radiograph shows by itself, and measure it."""
    seen = _Seen(radiograph)
    try:
        image = read_radiograph(radiograph.path)
    except UnreadableImageError as error:
        seen.faults.append((Fault.UNREADABLE, (), str(error).removeprefix(f"{radiograph.path}: ")))
        return seen
    if _is_constant(image):
        seen.faults.append((Fault.CONSTANT, (), f"the image is constant: grey {np.median(image):g}"))
        return seen
    seen.fingerprint = fingerprint(image)
    height, width = image.shape
    try:
        label = read_label(radiograph, (height, width))
    except LabelError as error:
        seen.faults.append((Fault.LABEL, (), str(error)))
        return seen
    if label is None:
        return seen
    _fit(seen, image, label)
    if label.fault:
        return seen
    if not label.planes.any():
        seen.faults.append((Fault.MISSING, (), "no bone is labelled"))
        return seen
    seen.found = np.array([bool(np.any(label.planes & np.int32(1 << k))) for k in range(NUM_BONES)])
    full = label.planes | hidden(label.planes, either_way=True) if flat else None
    seen.hands = [
        (hand, ranges, None if full is None else measure_hand(full, ranges.area))
        for hand, ranges in measure_by_age(label.planes)
    ]
    twice = list(doubled_polygons(label.polygons or []))
    seen.faults += twice
    if seen.hands:
        millimetres = seen.hands[0][0].frame[2] / width
        told = {fault[:2] for fault in twice}
        pieces = list(piece_faults(label.planes, millimetres))
        if full is not None:
            joined = {fault[:2] for fault in piece_faults(full, millimetres)}
            pieces = [fault for fault in pieces if fault[:2] in joined]
        seen.faults += [fault for fault in pieces if fault[:2] not in told]
        for bone, brightness in ring_brightness(image, label.planes, millimetres).items():
            if brightness >= BRIGHT:
                seen.faults.append((Fault.RING, (NAMES[bone],), f"a ring on {NAMES[bone]}"))
        if bone_brightness(image, label.planes) < NEGATIVE:
            seen.faults.append((Fault.NEGATIVE, (), "bones are dark; training and inference take the negative"))
    elif 2 * seen.found.sum() < (expected := int(known_bones(radiograph.known).sum())):
        bones = ", ".join(NAMES[k] for k in np.flatnonzero(seen.found))
        seen.faults.append((Fault.MISSING, (), f"of {expected} bones only {bones} labelled"))
    return seen


def _is_constant(image: np.ndarray) -> bool:
    low, high = np.percentile(image, (0.5, 99.5))
    # Files of 16 bits may hold data of 10.
    full = max(high, 255) if np.issubdtype(image.dtype, np.integer) else np.abs(image).max()
    return bool(high - low <= _CONSTANT * full)


def _fit(seen: _Seen, image: np.ndarray, label: Label) -> None:
    outlines = outlines_of(label.planes) if label.polygons is None else [points for _, points in label.polygons]
    points, inward = outline_points(outlines)
    if not len(points) and not label.fault:
        return
    edges = EdgeDirections(image)
    seen.agreement = abs(edges.agreement(points, inward))
    if seen.agreement < FIT or label.fault:
        seen.rescaled = edges.best_scale(points, inward)
    if label.fault:
        scale, agreement = seen.rescaled
        if agreement >= FIT and abs(scale - 1) > _RESCALED:
            seen.faults.append((Fault.SCALE, (), _scale_text(scale)))
        else:
            seen.faults.append((Fault.LABEL, (), label.fault))
        seen.agreement = None


def _scale_text(scale: float) -> str:
    return f"the label is at the wrong scale: it lies on the bones once multiplied by {scale:.3g}"


def _judge(seen: Sequence[_Seen]) -> bool:
    """Judge labels by the population; returns whether the dataset's own ranges were used."""
    own = population_ranges([one.hands[0][0] for one in seen if one.hands], load_ranges())
    fits = [one.agreement for one in seen if one.agreement is not None]
    limit = min(FIT, max(NOISE, 0.5 * float(np.median(fits)))) if fits else 0.0
    labelled = [(one.found, known_bones(one.radiograph.known)) for one in seen if one.found is not None]
    found_in, known_in = np.array(labelled, np.int64).reshape(-1, 2, NUM_BONES).sum(axis=0)
    common = (known_in >= POPULATION) & (found_in >= _COMMON * known_in)
    for one in seen:
        if one.agreement is not None and one.agreement < FIT:
            scale, agreement = one.rescaled
            if agreement >= max(FIT, _BETTER * one.agreement) and abs(scale - 1) > _RESCALED:
                one.faults.append((Fault.SCALE, (), _scale_text(scale)))
            elif one.agreement < limit:
                text = f"the label does not lie on the bones: outlines and edges agree by {one.agreement:.2f} of 1"
                one.faults.append((Fault.MISFIT, (), text))
        if any(fault in (Fault.SCALE, Fault.MISFIT) for fault, _, _ in one.faults):
            one.faults = [fault for fault in one.faults if fault[0] is not Fault.RING]
        doubled = [(Fault.OVERLAP, bones) for fault, bones, _ in one.faults if fault is Fault.DOUBLED]
        unknown = {NAMES[k] for k in np.flatnonzero(~known_bones(one.radiograph.known))}
        found, late = _suited(one.hands, own, unknown)
        one.faults += [fault for fault in found if fault[:2] not in doubled]
        if one.found is not None:
            told = {bone for fault, bones, _ in one.faults if fault is Fault.MISSING for bone in bones}
            for k in np.flatnonzero(common & ~one.found).tolist():
                if NAMES[k] not in told and k not in late and NAMES[k] not in unknown:
                    text = f"{NAMES[k]} is missing; nearly all other images have it"
                    one.faults.append((Fault.MISSING, (NAMES[k],), text))
    return own is not None


def _suited(
    hands: Sequence[tuple[HandMeasures, PlausibleRanges, HandMeasures | None]],
    own: PlausibleRanges | None,
    unknown: Collection[str],
) -> tuple[list[LabelFault], frozenset[int]]:
    """Return the faults of a label at the age that suits it best, the adult's if that has none, and its late bones.

    Bones that are unknown may be missing.
    """
    best: tuple[list[LabelFault], frozenset[int]] | None = None
    for hand, ranges, filled in hands:
        judged_by = own if own is not None and ranges.age == ADULT else ranges
        judged = label_faults(hand, judged_by, filled)
        if judged and judged_by is own and not _swaps(judged):  # where a swap is common, own ranges allow for it
            judged = _swaps(label_faults(hand, ranges, filled)) + judged
        faults = [fault for fault in judged if not (fault[0] is Fault.MISSING and set(fault[1]) <= set(unknown))]
        if best is None or len(faults) < len(best[0]):
            best = faults, ranges.late
        if not faults:
            break
    return best or ([], frozenset())


def _swaps(faults: Sequence[LabelFault]) -> list[LabelFault]:
    return [fault for fault in faults if fault[0] is Fault.SWAPPED]


def _duplicates(seen: Sequence[_Seen], excluded: set[str]) -> list[AuditFinding]:
    known = [one for one in seen if one.fingerprint is not None and one.fingerprint.any()]
    if not known:
        return []
    findings: dict[str, AuditFinding] = {}
    prints = [one.fingerprint for one in known if one.fingerprint is not None]
    for i, j, correlation in find_duplicates(np.stack(prints)):
        first, second = known[i].radiograph, known[j].radiograph
        # The two hands of one image are rows of one file.
        if second.name not in findings and first.path != second.path:
            across = f" of subject {first.subject}" if first.subject != second.subject else ""
            text = f"the same radiograph as {first.name}{across} (correlation {correlation:.3f})"
            keep = first.name in excluded
            findings[second.name] = AuditFinding(second.name, Fault.DUPLICATE, text, other=first.name, exclude=not keep)
    return list(findings.values())
