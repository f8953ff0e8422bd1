"""All measures of one hand, each with its value or the reason why it has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from handseg_monai.bones import BONES, INDEX, NAMES
from handseg_monai.measure import wrist
from handseg_monai.measure.cortex import cortical_index
from handseg_monai.measure.fitting import fitting_spacing
from handseg_monai.measure.long_bones import Shaft, joint_space, metacarpal_sign, shaft
from handseg_monai.measure.measures import Line, Measure, NotMeasured
from handseg_monai.measure.outline import Outline, bone_outlines, nearest, segment
from handseg_monai.measure.references import REFERENCES
from handseg_monai.measure.spacing import Spacing
from handseg_monai.plausibility.bone_order import RAYS
from handseg_monai.plausibility.hand_proportions import STRAIGHT
from handseg_monai.plausibility.judge import Plausibility, Severity, plausibility
from handseg_monai.plausibility.ranges import ADULT

_LONG = tuple(bone.index for bone in BONES if bone.ray is not None)
_THIRD, _FOURTH, _FIFTH = (ray[1] for ray in RAYS[2:])
_CAPITATE, _SCAPHOID, _LUNATE, _TRIQUETRUM = (INDEX[name] for name in ("Capitate", "Scaphoid", "Lunate", "Triquetrum"))
_RADIUS, _ULNA = wrist.RADIUS, wrist.ULNA
_TOUCH = 0.5
"""Pixels within which two bones touch."""
_LEAST_WIDTH, _LEAST_END = 3.0, 20.0
"""Pixels of a long bone's waist, and of the radius' distal end, that are measured. Of phantoms made smaller, lengths
come out wrong by up to 9 %, 4 % root mean square, and radial inclination by 1.2 degrees; of thinner bones, by more."""
_INCLINATION, _VARIANCE = (5.0, 40.0), 0.25
"""Degrees that an adult's radius is inclined by, and how far the ulna reaches beyond it or falls short, in widths of
its distal end (about 8 mm): masks of wrists beyond are more often cut than true. Phantoms: 11 to 27, up to 0.15."""
_BROAD = 0.62
"""Width of an adult radius' distal end over the length of the third metacarpal: phantoms have up to 0.54, and from 0.68
on where the ulna is drawn as radius."""
_TIP = dict(zip((ray[-1] for ray in RAYS), (0.170, 0.076, 0.077, 0.088, 0.095), strict=True))
"""Least length of an adult's distal phalanx over the sum of the other bones of its ray: 0.6 of the phantoms' mean."""
_ADULT_METACARPAL = 50.0
"""Millimetres of the third metacarpal, which adults have."""

Taken = tuple[float, list[tuple[complex, complex]]]
"""A value, and the lines between the points that it was measured between."""


def measure_hand(
    planes: np.ndarray,
    image: np.ndarray | None = None,
    spacing: Spacing | None = None,
    judgement: Plausibility | None = None,
    unknown: int = 0,
) -> list[Measure]:
    """Take all measures of a hand.

    Parameters
    ----------
    planes
        Bit planes, int32 (H, W), of one hand in PA view, turned in any way.
    image
        Its radiograph, (H, W), of any dtype, for the grey profile of the cortical index.
    spacing
        Of the image; None where it is not known, so that lengths are in pixels, as they are where
        :func:`~handseg_monai.measure.fitting.fitting_spacing` does not believe it.
    judgement
        On the masks; made if None. What it finds wrong with a bone is the reason why measures that need it have no
        value.
    unknown
        Bit k says that nobody knows the mask of bone k, which the planes then lack.

    Returns
    -------
    measures
        Always the same ones, in the same order; ``bundle/docs/measures.md`` defines them.

    Raises
    ------
    TypeError, ValueError
        The planes are not int32 (H, W), or the image has another shape.
    """
    if image is not None and image.shape != planes.shape:
        raise ValueError(f"expected an image of the planes' shape {planes.shape}, got {image.shape}")
    judgement = plausibility(planes) if judgement is None else judgement
    hand = _Hand(planes, image, fitting_spacing(planes, spacing), judgement, unknown)
    return list(hand.measures())


@dataclass(frozen=True)
class _Hand:
    planes: np.ndarray
    image: np.ndarray | None
    spacing: Spacing
    judgement: Plausibility
    unknown: int

    def measures(self) -> Iterator[Measure]:
        length = self.spacing.unit
        for bone in _LONG:
            yield self._measure(f"length {NAMES[bone]}", length, (bone,), partial(self._length, bone))
        for bone in _LONG:
            yield self._measure(f"width {NAMES[bone]}", length, (bone,), partial(self._width, bone))
        yield self._measure("ulnar variance", length, (_RADIUS, _ULNA), self._variance)
        yield self._measure("radial inclination", "degrees", (_RADIUS,), self._inclination)
        yield self._measure("radial height", length, (_RADIUS,), self._height)
        yield self._measure("carpal height ratio", "", (_THIRD, _RADIUS), self._youm)
        yield self._measure("carpal height to capitate", "", (_THIRD, _RADIUS, _CAPITATE), self._nattrass)
        row = (_SCAPHOID, _LUNATE, _TRIQUETRUM)
        yield self._measure("carpal angle", "degrees", row, self._angle)
        yield self._measure("scapholunate gap", length, (_SCAPHOID, _LUNATE), self._scapholunate)
        for ray, (_, *bones) in enumerate(RAYS, 1):
            pair = bones[0], bones[1]
            yield self._measure(f"joint space MCP-{ray}", length, pair, partial(self._space, *pair))
        for ray, (_, *bones) in enumerate(RAYS, 1):
            name, pair = ("IP" if ray == 1 else "PIP"), (bones[1], bones[2])
            yield self._measure(f"joint space {name}-{ray}", length, pair, partial(self._space, *pair))
        for ray in (2, 3, 4):
            bone = RAYS[ray - 1][1]
            yield self._measure(f"cortical index {ray}", "", (bone,), partial(self._cortex, bone))
        yield self._measure("wrist deviation", "degrees", (_THIRD, _RADIUS), lambda: (self._deviation, self._axes()))
        yield self._measure("metacarpal sign", length, (_THIRD, _FOURTH, _FIFTH), self._sign)

    def _measure(self, name: str, unit: str, bones: tuple[int, ...], take: Callable[[], Taken]) -> Measure:
        names = tuple(NAMES[k] for k in bones)
        # What others found in adults does not hold for a child, nor in pixels.
        reference = REFERENCES.get(name) if self._adult else None
        reference = reference if reference is not None and reference.unit == unit else None
        try:
            self._require(bones)
            value, ends = take()
            if not np.isfinite(value):
                raise NotMeasured("the outlines of its bones have no shape to take it from")
        except NotMeasured as error:
            return Measure(name, None, unit, str(error), names, (), reference)
        lines: tuple[Line, ...] = tuple(segment(start, end, self.spacing) for start, end in ends)
        return Measure(name, float(value), unit, "", names, lines, reference)

    @cached_property
    def _adult(self) -> bool:
        """Whether the proportions are an adult's, and the third metacarpal as long, where millimetres are known."""
        if self.judgement.age != ADULT or self.spacing.unit != "mm":
            return self.judgement.age == ADULT
        try:
            return self._shaft(_THIRD).length >= _ADULT_METACARPAL if _THIRD in self.outlines else True
        except NotMeasured:
            return True

    def _require(self, bones: tuple[int, ...]) -> None:
        """Raise where a bone is missing, wrong, or cut by the border; the far end of the forearm always is."""
        for finding in self.judgement.findings:
            concerned = not finding.bones or any(NAMES[k] in finding.bones and k in self.outlines for k in bones)
            # Of a bone in pieces only the largest is outlined; a growth plate may part it. A mask of another size than
            # its bone's is cut or spilt.
            if concerned and (finding.severity is Severity.WRONG or finding.part in ("components", "areas")):
                raise NotMeasured(f"implausible masks: {finding.text}")
        for bone in bones:
            if bone not in self.outlines:
                if self.unknown >> bone & 1:
                    raise NotMeasured(f"the mask of {NAMES[bone]} is unknown")
                raise NotMeasured(f"{NAMES[bone]} is missing")
            if not self.outlines[bone].whole:
                raise NotMeasured(f"{NAMES[bone]} is too thin to be outlined: the image is too small")
            if bone not in (_RADIUS, _ULNA) and self.outlines[bone].at_border.any():
                raise NotMeasured(f"{NAMES[bone]} is cut by the image's border")

    @cached_property
    def outlines(self) -> dict[int, Outline]:
        return bone_outlines(self.planes, self.spacing)

    @cached_property
    def _shafts(self) -> dict[int, Shaft | NotMeasured]:
        return {}

    def _shaft(self, bone: int) -> Shaft:
        if bone not in self._shafts:
            try:
                self._shafts[bone] = found = shaft(bone, self.outlines)
                self._require_pixels(NAMES[bone], found.waist, _LEAST_WIDTH)
            except NotMeasured as error:
                self._shafts[bone] = error
        known = self._shafts[bone]
        if isinstance(known, NotMeasured):
            raise known
        return known

    def _require_pixels(self, what: str, width: float, least: float) -> None:
        pixels = width / max(self.spacing.row, self.spacing.column)
        if pixels < least:
            raise NotMeasured(
                f"the image is too small: {what} is {pixels:.1f} pixels wide; measuring it takes {least:.0f}"
            )

    @cached_property
    def _arm_or_reason(self) -> wrist.Forearm | NotMeasured:
        try:
            arm = wrist.forearm(self.outlines)
            self._require_pixels("the distal end of Radius", arm.width, _LEAST_END)
            self._require_narrow(arm.width)
            return arm
        except NotMeasured as error:
            return error

    def _require_narrow(self, width: float) -> None:
        if self.judgement.age != ADULT or _THIRD not in self.outlines or self.outlines[_THIRD].at_border.any():
            return
        if width > _BROAD * self._shaft(_THIRD).length:
            raise NotMeasured(
                "the distal end of Radius is broader than is known of any wrist: its mask probably holds the ulna too"
            )

    @property
    def _arm(self) -> wrist.Forearm:
        found = self._arm_or_reason
        if isinstance(found, NotMeasured):
            raise found
        return found

    @property
    def _surface(self) -> wrist.Forearm:
        """The forearm, if corner and styloid lie as those of a wrist can."""
        arm = self._arm
        slope = arm.styloid - arm.corner
        degrees = float(np.degrees(np.arctan2((slope * np.conj(arm.distal)).real, (slope * np.conj(arm.radial)).real)))
        if self.judgement.age == ADULT and not _INCLINATION[0] <= degrees <= _INCLINATION[1]:
            raise NotMeasured(
                f"a radial inclination of {degrees:.0f} degrees lies beyond what is known of any wrist: the mask of "
                "Radius is probably cut"
            )
        return arm

    def _length(self, bone: int) -> Taken:
        found = self._shaft(bone)
        if bone in _TIP and self.judgement.age == ADULT:
            ray = next(ray for ray in RAYS if bone in ray)
            rest = [k for k in ray[1:-1] if k in self.outlines and not self.outlines[k].at_border.any()]
            if len(rest) == len(ray) - 2 and found.length < _TIP[bone] * sum(self._shaft(k).length for k in rest):
                raise NotMeasured(f"{NAMES[bone]} is too short for its ray: its mask is probably cut")
        return found.length, [(found.at(0.0), found.at(1.0))]

    def _width(self, bone: int) -> Taken:
        found = self._shaft(bone)
        return found.waist, [found.waist_ends]

    def _variance(self) -> Taken:
        arm = self._surface
        head = wrist.ulnar_head(self.outlines[_ULNA], arm)
        value = ((head - arm.corner) * np.conj(arm.distal)).real
        if self.judgement.age == ADULT and abs(value) > _VARIANCE * arm.width:
            raise NotMeasured(
                "an ulna that much longer or shorter lies beyond what is known of any wrist: the mask of Ulna or "
                "Radius is probably cut"
            )
        across = ((head - arm.corner) * np.conj(arm.radial)).real
        level = arm.corner + arm.radial * across
        return value, [(arm.corner, level), (level, head)]

    def _inclination(self) -> Taken:
        arm = self._surface
        slope = arm.styloid - arm.corner
        up, across = ((slope * np.conj(axis)).real for axis in (arm.distal, arm.radial))
        return float(np.degrees(np.arctan2(up, across))), [
            (arm.corner, arm.styloid),
            (arm.corner, arm.corner + arm.radial * across),
        ]

    def _height(self) -> Taken:
        arm = self._surface
        up = ((arm.styloid - arm.corner) * np.conj(arm.distal)).real
        return up, [(arm.styloid, arm.styloid - arm.distal * up), (arm.corner, arm.styloid - arm.distal * up)]

    @cached_property
    def _deviation(self) -> float:
        return wrist.deviation(self._shaft(_THIRD), self._arm)

    def _axes(self) -> list[tuple[complex, complex]]:
        third, arm = self._shaft(_THIRD), self._arm
        return [
            (third.at(0.0), third.at(1.0)),
            (arm.origin + arm.distal * arm.seen[0], arm.origin + arm.distal * (arm.seen[1] + arm.width)),
        ]

    def _straight(self) -> None:
        """Raise where the wrist is bent by more than the straight view of real hands."""
        try:
            self._require((_THIRD, _RADIUS))
            turned = self._deviation
        except NotMeasured as error:
            raise NotMeasured(f"whether the wrist is straight can't be told: {error}") from error
        if abs(turned) > STRAIGHT:
            raise NotMeasured(
                f"the wrist is bent by {abs(turned):.0f} degrees towards the {'thumb' if turned > 0 else 'ulna'}; "
                f"this measure needs a straight one, up to {STRAIGHT:.0f} degrees"
            )

    def _carpal_height(self) -> tuple[complex, complex]:
        self._straight()
        self._surface  # noqa: B018
        return wrist.carpal_height(self._shaft(_THIRD), self.outlines[_RADIUS])

    def _youm(self) -> Taken:
        base, joint = self._carpal_height()
        third = self._shaft(_THIRD)
        return abs(base - joint) / third.length, [(third.at(1.0), base), (base, joint)]

    def _nattrass(self) -> Taken:
        base, joint = self._carpal_height()
        ends = wrist.greatest_length(self.outlines[_CAPITATE])
        return abs(base - joint) / abs(ends[0] - ends[1]), [(base, joint), ends]

    def _angle(self) -> Taken:
        self._straight()
        scaphoid, lunate, triquetrum = (self.outlines[k] for k in (_SCAPHOID, _LUNATE, _TRIQUETRUM))
        angle, points = wrist.carpal_angle(scaphoid, lunate, triquetrum, self._arm.distal)
        return angle, [(points[0], points[1]), (points[2], points[3])]

    def _scapholunate(self) -> Taken:
        return self._gap(_SCAPHOID, _LUNATE, nearest(self.outlines[_SCAPHOID].ring, self.outlines[_LUNATE].ring))

    def _space(self, proximal: int, distal: int) -> Taken:
        ends = joint_space((proximal, self._shaft(proximal)), (distal, self._shaft(distal)))
        return self._gap(proximal, distal, ends)

    def _gap(self, first: int, second: int, ends: tuple[complex, complex]) -> Taken:
        """Return the distance of the nearest points of two bones, where they lie apart."""
        both, width = (1 << first) | (1 << second), abs(ends[0] - ends[1])
        pixel = min(self.spacing.row, self.spacing.column)
        if ((self.planes & both) == both).any() or width < _TOUCH * pixel:
            names = f"{NAMES[first]} and {NAMES[second]}"
            raise NotMeasured(f"{names} touch or overlap in this view, which shows no gap between them")
        return width, [ends]

    def _cortex(self, bone: int) -> Taken:
        if self.image is None:
            raise NotMeasured("taken from the radiograph, which was not given")
        index, points = cortical_index(self.image, self._shaft(bone), self.spacing)
        return index, [(points[0], points[1]), (points[2], points[3])]

    def _sign(self) -> Taken:
        depth, start, end = metacarpal_sign(self._shaft(_THIRD), self._shaft(_FOURTH), self._shaft(_FIFTH))
        return depth, [(start, end)]
