"""Measures of a drawn hand whose figures are known, of phantoms turned and mirrored, and reasons for having none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage.draw import polygon

from handseg_monai.bones import INDEX, NAMES
from handseg_monai.measure import Measure, Spacing, fitting_spacing, measure_hand, pattern_profile
from handseg_monai.measure.measures import NotMeasured
from handseg_monai.measure.outline import Outline
from handseg_monai.plausibility.bone_order import RAYS
from handseg_monai.plausibility.judge import Finding, Plausibility, Severity
from tests.hands import phantom

PLAUSIBLE = Plausibility(1.0, {}, (), "adult")
MM = Spacing(0.1, 0.1, "in the patient's plane")
NAMES_OF_MEASURES = [
    *(f"{what} {bone}" for what in ("length", "width") for bone in NAMES[:19]),
    *("ulnar variance", "radial inclination", "radial height", "carpal height ratio", "carpal height to capitate"),
    *("carpal angle", "scapholunate gap", *(f"joint space MCP-{ray}" for ray in range(1, 6))),
    *("joint space IP-1", *(f"joint space PIP-{ray}" for ray in range(2, 6))),
    *("cortical index 2", "cortical index 3", "cortical index 4", "wrist deviation", "metacarpal sign"),
]


def bar(x: float, low: float, high: float, width: float) -> np.ndarray:
    """Corners of an upright bone, millimetres, y distal."""
    half = width / 2
    return np.array([(x - half, low), (x - half, high), (x + half, high), (x + half, low)])


def disc(x: float, y: float, radius: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


# The thumb's side is on the left; millimetres. The styloids of radius and ulna reach beyond their joint surfaces.
HAND = {
    "Radius": np.array([(-8, -70), (-8, -25), (-15, -12), (-15, 2), (15, -10), (15, -14), (8, -25), (8, -70)], float),
    "Ulna": np.array([(20, -70), (18, -14), (18, -12), (27, -12), (32, -5), (34, -12), (32, -70)], float),
    "Capitate": bar(0, 14, 38, 14),
    "Scaphoid": disc(-12, 10, 6),
    "Lunate": disc(2, 6, 6),
    "Triquetrum": disc(15, 12, 6),
    "finger-7": bar(-20, 38, 104, 10),
    "finger-11": bar(0, 40, 100, 8),
    "finger-10": bar(0, 102, 140, 9),
    "finger-9": bar(0, 139, 160, 9),
    "finger-15": bar(20, 38, 95, 8),
    "finger-19": bar(38, 36, 85, 8),
}
WHAT_IT_MEASURES = {
    "length finger-11": 60.0,
    "width finger-11": 8.0,
    "length finger-10": 38.0,
    "ulnar variance": -2.0,
    "radial inclination": math.degrees(math.atan2(12, 30)),
    "radial height": 12.0,
    "carpal height ratio": 44 / 60,
    "carpal height to capitate": 44 / 24,
    "carpal angle": 180 - math.degrees(math.atan2(4, 14) + math.atan2(6, 13)),
    "scapholunate gap": math.hypot(14, 4) - 12,
    "joint space MCP-3": 2.0,
    "cortical index 2": 0.4,
    "wrist deviation": 0.0,
    "metacarpal sign": 100 - (95 + 24 * 10 / 18),
}


def drawn(
    turned: float = 0.0,
    mirrored: bool = False,
    spacing: Spacing = MM,
    hand: dict[str, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the hand amid an image of 260 mm: planes, and a radiograph of the tube of the second metacarpal."""
    shape = round(260 / spacing.row), round(260 / spacing.column)
    angle = math.radians(turned)
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = matrix @ np.diag([-1.0 if mirrored else 1.0, -1.0])
    offset = 130 - matrix @ np.array([0.0, 45.0])
    planes = np.zeros(shape, np.int32)
    for name, corners in (hand or HAND).items():
        x, y = matrix @ corners.T + offset[:, None]
        planes[polygon(y / spacing.row - 0.5, x / spacing.column - 0.5, shape)] |= 1 << INDEX[name]
    image = np.full(shape, 60.0, np.float32)
    x, y = matrix @ bar(-20, 38, 104, 11).T + offset[:, None]
    inside = rows, columns = polygon(y / spacing.row, x / spacing.column, shape)
    at = np.stack([(columns + 0.5) * spacing.column - offset[0], (rows + 0.5) * spacing.row - offset[1]])
    across, along = np.linalg.inv(matrix) @ at
    outer, inner = (np.sqrt(np.maximum(radius**2 - (across + 20) ** 2, 0)) for radius in (5.0, 3.0))
    image[inside] += np.where((along > 38) & (along < 104), 10 * outer - 8 * inner, 0)
    return planes, np.round(cv2.GaussianBlur(image, (0, 0), 0.7)).astype(np.uint8)


def measured(
    planes: np.ndarray,
    image: np.ndarray | None = None,
    spacing: Spacing | None = MM,
    judgement: Plausibility = PLAUSIBLE,
) -> dict[str, Measure]:
    return {measure.name: measure for measure in measure_hand(planes, image, spacing, judgement)}


def assert_known(found: dict[str, Measure]) -> None:
    """Within .25 mm, which smoothing takes from the sharpest corner, half a degree, .01 of ratios, .015 of the last."""
    allowed = {"mm": 0.25, "degrees": 0.5, "": 0.01}
    for name, value in WHAT_IT_MEASURES.items():
        measure = found[name]
        slack = 0.015 if name.startswith("cortical") else allowed[measure.unit]
        assert measure.value == pytest.approx(value, abs=slack), (name, measure)
        assert measure.reason == ""
        assert measure.lines


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turned", [0.0, 37.0, 90.0, 171.0])
def test_a_drawn_hand_has_its_measures_however_it_lies(turned: float, mirrored: bool) -> None:
    assert_known(measured(*drawn(turned, mirrored)))


@pytest.mark.parametrize("turned", [0.0, 50.0])
def test_pixels_that_are_not_square_change_nothing(turned: float) -> None:
    spacing = replace(MM, row=0.14)
    assert_known(measured(*drawn(turned, spacing=spacing), spacing=spacing))


@pytest.mark.parametrize(
    "spacing",
    [
        Spacing(9.9, 9.9, "at the detector"),
        Spacing(1e-9, 1e-9, "at the detector"),
        Spacing(9.9, 0.0099, "at the detector"),
        Spacing(0.0099, 9.9, "at the detector"),
        Spacing(1e6, 1.0, "in widths of a pixel", "px"),
    ],
)
def test_a_spacing_that_no_hand_has_gives_lengths_in_pixels(spacing: Spacing) -> None:
    planes, image = drawn(turned=37)
    assert fitting_spacing(planes, spacing).says == (
        "in pixels: the spacing that the file states can't be that of a hand"
    )
    found, plain = measured(planes, image, spacing), measured(planes, image, None)
    assert found == plain
    assert found["length finger-11"].unit == "px"


def test_a_hand_without_third_metacarpal_is_as_long_as_all_of_it() -> None:
    planes = _without("finger-11")(drawn()[0])
    assert fitting_spacing(planes, MM) == MM
    assert fitting_spacing(planes, replace(MM, row=0.3, column=0.3)).unit == "px"
    assert fitting_spacing(planes, replace(MM, row=0.004, column=0.004)).unit == "px"
    assert fitting_spacing(np.zeros((40, 30), np.int32), MM) == MM


def _cut(ring: np.ndarray, at: float) -> list[float]:
    """Where edges of a ring cross a value of their real part, one edge at a time."""
    crossed = []
    for start, end in zip(ring, np.roll(ring, -1), strict=True):
        if (start.real > at) != (end.real > at):
            share = (at - start.real) / (end.real - start.real)
            crossed.append(start.imag + share * (end.imag - start.imag))
    return crossed


@pytest.mark.parametrize("seed", range(5))
def test_an_outline_is_cut_where_its_edges_cross_a_line(seed: int) -> None:
    """However often it winds over itself."""
    rng = np.random.default_rng(seed)
    ring = rng.normal(size=12) + 1j * rng.normal(size=12)
    outline, way = Outline(ring, np.zeros(12, bool)), np.exp(1j * seed)
    seen = (ring - 0.2j) * np.conj(way)
    at = np.array([-9.0, *rng.normal(size=6), 0.0, 9.0, -np.inf])
    low, high = outline.cuts(0.2j, way, at[::2])  # in memory apart, too
    for place, least, greatest in zip(at[::2], low, high, strict=True):
        if crossed := _cut(seen, place):
            assert (least, greatest) == (pytest.approx(min(crossed)), pytest.approx(max(crossed)))
        else:
            assert math.isnan(least)
            assert math.isnan(greatest)
    across = seen.imag + 1j * seen.real
    for band in (0.1, 0.5, np.inf):
        every = [*seen.real[abs(seen.imag) <= band], *_cut(across, -band), *_cut(across, 0.0), *_cut(across, band)]
        ends = outline.ends(0.2j, way, band)
        assert ends == (pytest.approx(min(every)), pytest.approx(max(every)))


def test_an_outline_without_area_or_end_says_so() -> None:
    ring = np.array([0, 1, 2, 1], np.complex128)
    outline = Outline(ring, np.zeros(4, bool))
    with pytest.raises(NotMeasured, match="holds no area"):
        outline.middle  # noqa: B018
    with pytest.raises(NotMeasured, match="has no point where its end should lie"):
        outline.furthest(1j, np.zeros(4, bool))


def _shrunken(planes: np.ndarray, side: int) -> np.ndarray:
    bones = [((planes >> k) & 1).astype(np.float32) for k in range(len(NAMES))]
    small = [cv2.resize(bone, (side, side), interpolation=cv2.INTER_AREA) > 0.5 for bone in bones]
    return np.bitwise_or.reduce([bone.astype(np.int32) << k for k, bone in enumerate(small)])


@pytest.mark.parametrize("number", [2, 3, 4])
@pytest.mark.parametrize("side", [64, 96, 192])
def test_a_small_image_gives_lengths_that_are_right_or_none(number: int, side: int) -> None:
    hand = phantom(number)
    pixel, factor = hand.spacing, hand.planes.shape[0] / side
    large = measured(hand.planes, None, Spacing(pixel, pixel, ""))
    small = measured(_shrunken(hand.planes, side), None, Spacing(pixel * factor, pixel * factor, ""))
    lengths = [name for name in small if name.startswith("length") and large[name].value is not None]
    taken = [name for name in lengths if small[name].value is not None]
    assert len(taken) >= {64: 0, 96: 0, 192: 15}[side]
    for name in taken:
        assert small[name].value == pytest.approx(large[name].value, rel=0.1), name
    if side == 64:
        assert any("the image is too small" in measure.reason for measure in small.values())
    if side == 96:
        assert "the image is too small: the distal end of Radius" in small["radial inclination"].reason


DRAWN_BADLY = {
    "cut": np.array([(12.7, -9.08), (15, -11.5)]),
    "spilt": np.array([(14, -9.6), (14, -7), (15, -7)]),
    "nibbled": np.array([(9, -7.6), (7.5, -9.5), (6, -6.4), (13.5, -9.4), (15, -11.5)]),
}
"""What the corner between the radius' joint surface and its ulnar border becomes."""


@pytest.mark.parametrize("how", DRAWN_BADLY)
def test_a_mask_that_cuts_or_spills_the_ulnar_corner_of_the_radius_hardly_changes_the_variance(how: str) -> None:
    corners = HAND["Radius"]
    badly = np.concatenate([corners[:4], DRAWN_BADLY[how], corners[5:]])
    found = measured(drawn(turned=20, hand=HAND | {"Radius": badly})[0])
    assert found["ulnar variance"].value == pytest.approx(-2.0, abs=0.35)
    assert found["radial height"].value == pytest.approx(12.0, abs=0.35)


def scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def test_without_millimetres_lengths_are_in_pixels_and_ratios_the_same() -> None:
    planes, image = drawn()
    in_mm, in_px = measured(planes, image), measured(planes, image, None)
    for name, measure in in_px.items():
        factor = 10 if measure.unit == "px" else 1
        assert measure.unit == ("px" if in_mm[name].unit == "mm" else in_mm[name].unit)
        assert measure.value == pytest.approx(scaled(in_mm[name].value, factor))
        assert measure.unit != "px" or measure.reference is None, "published values are in millimetres"


def test_all_measures_are_there_in_order_and_have_a_value_or_a_reason() -> None:
    found = measure_hand(*drawn(), MM, PLAUSIBLE)
    assert [measure.name for measure in found] == NAMES_OF_MEASURES
    assert all((measure.value is None) == bool(measure.reason) for measure in found)
    nothing = measure_hand(np.zeros((40, 30), np.int32))
    assert [measure.name for measure in nothing] == NAMES_OF_MEASURES
    assert all(measure.value is None and "implausible" in measure.reason for measure in nothing)


def test_lines_lie_where_the_measure_was_taken() -> None:
    found = measured(*drawn())
    ((x0, y0), (x1, y1)) = found["length finger-11"].lines[0]
    # The middle of the image is 45 mm above the origin; y runs down.
    assert (x0, y0, x1, y1) == pytest.approx((1300, 1350, 1300, 750), abs=1.5)
    (gap,) = found["joint space MCP-3"].lines
    assert abs(gap[0][1] - gap[1][1]) == pytest.approx(20, abs=1.5)


def test_sesamoid_bones_in_the_label_of_the_first_metacarpal_count_neither_for_its_length_nor_its_joint() -> None:
    metacarpal = np.concatenate([bar(-40, 20, 24, 14)[:2], bar(-40, 30, 56, 8)[:2], bar(-40, 58, 64, 16)])
    metacarpal = np.concatenate([metacarpal, bar(-40, 30, 56, 8)[2:], bar(-40, 20, 24, 14)[2:]])
    thumb = {"finger-3": metacarpal, "finger-2": bar(-40, 66, 96, 26)}
    planes, _ = drawn(hand=HAND | thumb)
    bare = measured(planes)
    assert bare["length finger-3"].value == pytest.approx(44, abs=0.1)
    assert bare["joint space MCP-1"].value == pytest.approx(2, abs=0.1)
    with_sesamoid, _ = drawn(hand={"finger-3": disc(-49, 62, 3.4)})
    found = measured(planes | with_sesamoid)
    for name in ("length finger-3", "width finger-3", "joint space MCP-1"):
        assert found[name].value == pytest.approx(bare[name].value, abs=0.05), name


def _without(bone: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda planes: planes & ~np.int32(1 << INDEX[bone])


def _cut_below(row: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda planes: planes[:row]


def _beheaded(bone: str, row: int) -> Callable[[np.ndarray], np.ndarray]:
    """Cut what lies distal to a row off a bone."""

    def cut(planes: np.ndarray) -> np.ndarray:
        planes[:row] &= ~np.int32(1 << INDEX[bone])
        return planes

    return cut


def _merged(planes: np.ndarray) -> np.ndarray:
    """Draw the ulna as part of the radius, and what lies between them."""
    planes[1880:2000, 1400:1500] |= 1 << INDEX["Radius"]
    planes[planes >> INDEX["Ulna"] & 1 == 1] |= 1 << INDEX["Radius"]
    return planes


def _spilt(planes: np.ndarray) -> np.ndarray:
    """Spill the radius by 10 mm beside the lower half of what is seen of its shaft."""
    planes[2090:2450, 1120:1220] |= 1 << INDEX["Radius"]
    return planes


REASONS = {
    "missing": (_without("finger-11"), "length finger-11", "finger-11 is missing"),
    "missing of a pair": (_without("Lunate"), "scapholunate gap", "Lunate is missing"),
    "no radius": (_without("Radius"), "wrist deviation", "Radius is missing"),
    "cut": (lambda planes: planes[250:], "length finger-9", "finger-9 is cut by the image's border"),
    "short radius": (_cut_below(1950), "radial inclination", "too little of the radius is seen"),
    "crooked radius": (_spilt, "wrist deviation", "the mask of the radius' shaft is not straight"),
    "no styloid": (_beheaded("Radius", 1870), "radial inclination", "the mask of Radius is probably cut"),
    "nor height": (_beheaded("Radius", 1870), "radial height", "lies beyond what is known of any wrist"),
    "nor heights": (_beheaded("Radius", 1870), "carpal height ratio", "the mask of Radius is probably cut"),
    "no head": (_beheaded("Ulna", 1970), "ulnar variance", "the mask of Ulna or Radius is probably cut"),
    "one forearm": (_merged, "radial height", "its mask probably holds the ulna too"),
    "cut ulna": (lambda planes: planes[:, : 1300 + 250], "ulnar variance", "the head of the ulna is cut"),
    "touching": (lambda planes: planes, "joint space PIP-3", "touch or overlap in this view"),
    "no image": (lambda planes: planes, "cortical index 2", "which was not given"),
}


@pytest.mark.parametrize("case", REASONS)
def test_a_measure_that_cannot_be_taken_says_why(case: str) -> None:
    change, name, text = REASONS[case]
    measure = measured(np.ascontiguousarray(change(drawn()[0])))[name]
    assert measure.value is None
    assert text in measure.reason
    assert measure.lines == ()


@pytest.mark.parametrize(("length", "taken"), [(13, True), (7, False)])
def test_a_fingertip_that_is_half_cut_has_no_length(length: int, taken: bool) -> None:
    third = [NAMES[bone] for bone in RAYS[2][1:]]
    assert third[:3] == ["finger-11", "finger-10", "finger-9"]
    planes, _ = drawn(hand=HAND | {third[3]: bar(0, 160, 160 + length, 7)})
    tip = measured(planes)[f"length {third[3]}"]
    assert (tip.value is not None) == taken
    assert taken or "too short for its ray: its mask is probably cut" in tip.reason


def test_a_bent_wrist_has_no_carpal_heights_but_all_else() -> None:
    angle = math.radians(20)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    moved = ("finger-7", "finger-9", "finger-10", "finger-11", "finger-15", "finger-19", "Capitate")
    bent = HAND | {name: HAND[name] @ turn.T for name in moved}
    found = measured(*drawn(hand=bent))
    assert found["wrist deviation"].value == pytest.approx(-20, abs=0.3)
    for name in ("carpal height ratio", "carpal height to capitate", "carpal angle"):
        assert "bent by 20 degrees towards the ulna" in found[name].reason, name
    for name in ("ulnar variance", "radial inclination", "length finger-11", "scapholunate gap"):
        assert found[name].value == pytest.approx(WHAT_IT_MEASURES[name], abs=0.5), name


def test_what_is_implausible_or_in_pieces_is_not_measured() -> None:
    planes, image = drawn()
    findings = (
        Finding("areas", ("finger-11",), Severity.WRONG, "finger-11 is too small for this hand"),
        Finding("places", ("finger-15",), Severity.DOUBTFUL, "finger-15 lies 8 mm from its place", 0.5),
        Finding("areas", ("finger-10",), Severity.DOUBTFUL, "finger-10 is too large for this hand", 0.5),
        Finding("components", ("finger-19",), Severity.DOUBTFUL, "finger-19 is in pieces", 0.5),
    )
    found = measured(planes, image, judgement=replace(PLAUSIBLE, findings=findings))
    assert found["length finger-11"].reason == "implausible masks: finger-11 is too small for this hand"
    assert "too small" in found["carpal height ratio"].reason
    assert found["length finger-15"].value == pytest.approx(57, abs=0.15)
    assert found["length finger-10"].reason == "implausible masks: finger-10 is too large for this hand"
    assert "in pieces" in found["length finger-19"].reason
    assert found["radial height"].value is not None


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (lambda image: np.full_like(image, 90), "as bright as what lies beside it"),
        (lambda image: np.minimum(image, 85), "clips the shaft"),
        (lambda image: np.where(image > 61, 60 + (image > 61) * 40, image).astype(np.uint8), "clips the shaft"),
    ],
)
def test_a_shaft_without_two_cortices_has_no_cortical_index(
    image: Callable[[np.ndarray], np.ndarray], text: str
) -> None:
    planes, radiograph = drawn()
    measure = measured(planes, image(radiograph))["cortical index 2"]
    assert measure.value is None
    assert text in measure.reason


def test_a_solid_shaft_shows_no_marrow() -> None:
    planes, _ = drawn()
    solid = np.zeros(planes.shape, np.float32)
    x = (np.arange(planes.shape[1]) + 0.5) / 10 - 110
    solid[:] = np.sqrt(np.maximum(25 - x**2, 0))
    measure = measured(planes, solid)["cortical index 2"]
    assert measure.value is None
    assert "no two cortices" in measure.reason


def test_the_cortical_index_of_a_negative_and_of_16_bits_is_the_same() -> None:
    planes, image = drawn(turned=12)
    for other in (255 - image, image.astype(np.uint16) * 256, image.astype(np.float32) / 255):
        assert measured(planes, other)["cortical index 2"].value == pytest.approx(0.4, abs=0.015)


@pytest.mark.parametrize("number", [0, 3])
def test_a_phantom_turned_mirrored_and_enlarged_measures_the_same(number: int) -> None:
    hand = phantom(number)
    spacing = Spacing(hand.spacing, hand.spacing, "")
    first = measured(hand.planes, None, spacing)
    assert sum(measure.value is not None for measure in first.values()) > 40
    large = cv2.resize(hand.planes.astype(np.float64), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    others = {
        "turned": (np.rot90(hand.planes), spacing),
        "mirrored": (hand.planes[:, ::-1], spacing),
        "enlarged": (large.astype(np.int32), replace(spacing, row=spacing.row / 2, column=spacing.column / 2)),
    }
    for how, (planes, pixel) in others.items():
        for name, measure in measured(np.ascontiguousarray(planes), None, pixel).items():
            slack = (0.002 if how != "enlarged" else 0.3) * (1 if measure.unit else 0.1)
            value, other = measure.value, first[name].value
            if value is None or other is None:  # bones that touch at one size may lie a pixel apart at another
                assert value is other or max(value or 0, other or 0) < spacing.row, (how, measure)
            else:
                assert value == pytest.approx(other, abs=slack), (how, measure)


def test_references_are_for_adults_and_z_counts_standard_deviations() -> None:
    planes, image = drawn()
    found = measured(planes, image)
    length = found["length finger-11"]
    assert length.reference is not None
    assert length.reference.mean == 64.6
    assert length.reference.sd == 5.38
    assert length.value is not None
    assert length.z == pytest.approx((length.value - 64.6) / 5.38)
    assert found["ulnar variance"].z is None
    assert found["ulnar variance"].reference is not None
    profile = pattern_profile(found.values())
    assert list(profile) == [1, 2, 3, 4, 5]
    assert profile[1] == {}
    assert list(profile[3]) == ["finger-11", "finger-10", "finger-9"]
    assert profile[3]["finger-11"] == length.z
    child = measured(planes, image, judgement=replace(PLAUSIBLE, age="4 to 6 years"))
    assert all(measure.reference is None for measure in child.values())
    small = measured(planes, image, replace(MM, row=0.08, column=0.08))
    assert small["length finger-11"].value == pytest.approx(48, abs=0.2)
    assert all(measure.reference is None for measure in small.values()), "no adult's metacarpal is as short"


def test_an_image_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected an image of the planes' shape \(4, 5\), got \(5, 4\)"):
        measure_hand(np.zeros((4, 5), np.int32), np.zeros((5, 4), np.uint8))
