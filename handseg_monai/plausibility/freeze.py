"""Measures ranges of hands: those of phantoms, frozen into a file, and those of a dataset.

``python -m handseg_monai.plausibility.freeze`` renders phantoms, measures their label masks and writes
``ranges.json`` beside this file. Run it again when the phantom changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from handseg_monai.bones import INDEX, NAMES, NEIGHBOURS, NUM_BONES, OVERLAPS
from handseg_monai.files import atomic_open
from handseg_monai.plausibility.hand_measures import FOREARM, HandMeasures, measure_hand
from handseg_monai.plausibility.hand_proportions import Proportions, proportions, view_of
from handseg_monai.plausibility.ranges import (
    ADULT,
    AGES,
    AROUND,
    PATH,
    Pair,
    Placement,
    PlausibleRanges,
    turn_onto,
)

SUBJECTS, CHILDREN, SEED, SIZE = 150, 60, 2718, 1024
"""Adults, children of each age (two hands each), seed and size in pixels of the phantoms that the ranges come from."""
USUAL = 99.5
"""Percentile of the distances that counts as the range: the most curled finger of all is no measure."""
POPULATION = 100
"""Whole hands from which a dataset's own ranges are better than the frozen ones."""
SPREADS = 3.5
"""Robust standard deviations off the median at which a dataset's own ranges end."""


def freeze_ranges(
    masks: Sequence[np.ndarray],
    spacing: Sequence[float],
    left: Sequence[bool],
    age: str = ADULT,
    older: PlausibleRanges | None = None,
) -> PlausibleRanges:
    """Measure label masks of whole hands.

    Parameters
    ----------
    masks
        Bit planes, int32 (H, W) each, that show all bones of hand and wrist whole; a child's those that have ossified.
    spacing
        Millimetres per pixel of each.
    left
        Whether each is a left hand.
    age
        Whose hands they are, one of :data:`AGES`.
    older
        Ranges to take for bones that no mask has.

    Raises
    ------
    ValueError
        A bone is missing or cut, or in all masks and there are no older hands.
    """
    counts = np.array([[np.count_nonzero(planes & (1 << k)) for k in range(NUM_BONES)] for planes in masks])
    there = counts > 0
    late = frozenset[int](np.flatnonzero(~there.all(axis=0)).tolist() if age != ADULT else ())
    never = np.flatnonzero(~there.any(axis=0)).tolist()
    if never and older is None and age != ADULT:
        raise ValueError(f"no mask has {', '.join(NAMES[k] for k in never)}")
    areas = counts * np.square(spacing)[:, None]
    area = np.array([np.median(areas[there[:, k], k]) if k not in never else np.nan for k in range(NUM_BONES)])
    if older is not None:
        area[never] = older.area[never]
    hands = []
    for number, planes in enumerate(masks):
        hand = measure_hand(planes, area)
        if hand is None or not all(hand.placed[k] or (k in late and not there[number, k]) for k in range(NUM_BONES)):
            raise ValueError(f"mask {number}: a bone is missing or cut by the image's border")
        hands.append(hand)
    ratios = np.array([np.where(hand.found, hand.area / area, np.nan) for hand in hands])
    ratios[:, FOREARM] = 1.0
    ratios[:, never] = 1.0
    atlas = _atlas(_right_hands(hands, left), never)
    if older is not None:
        for k in never:
            around = [other for other in AROUND[k] if other not in never]
            atlas[k] = older.atlas[k] + np.mean(atlas[around] - older.atlas[around])
    displacement = _displacements(hands, atlas)
    if older is not None:
        displacement[:, never] = older.displacement[never]
    gaps = {
        (a, b): [hand.gap(a, b) for hand in hands if hand.found[a] and hand.found[b]] for a, b in sorted(NEIGHBOURS)
    }
    return PlausibleRanges(
        age,
        late,
        area,
        np.stack([np.nanmin(ratios, axis=0), np.nanmax(ratios, axis=0)], axis=1),
        atlas,
        np.nanpercentile(displacement, USUAL, axis=0),
        {
            pair: float(np.percentile(values, USUAL)) if values or older is None else older.gap[pair]
            for pair, values in gaps.items()
        },
        {pair: max(float(hand.overlap[pair]) for hand in hands) for pair in sorted(OVERLAPS)},
        _usual_proportions([proportions(planes) for planes in masks]),
    )


def _usual_proportions(hands: Sequence[Proportions]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return percentiles 1 and 99 of each figure that most hands of a view have, by view."""
    usual: dict[str, dict[str, tuple[float, float]]] = {}
    for view in ("straight", "bent", "any"):
        rows = [hand.of for hand in hands if view in ("any", view_of(hand.deviation))]
        values = {name: [row[name] for row in rows if name in row] for row in rows for name in row}
        usual[view] = {
            name: (float(np.percentile(seen, 1)), float(np.percentile(seen, 99)))
            for name, seen in sorted(values.items())
            if len(seen) >= 0.5 * len(rows)
        }
    return usual


def population_ranges(hands: Sequence[HandMeasures], frozen: PlausibleRanges) -> PlausibleRanges | None:
    """Ranges of a dataset's own hands, of which some may be mislabelled: medians, and spreads about them.

    Each limit lies :data:`SPREADS` robust standard deviations (1.4826 times the median absolute deviation, taken on
    its side of the median) off the median, where a clean sample of a few hundred hands would have its extremes. No
    range is narrower than the frozen one, which knows rarer poses than a spread tells of.

    Parameters
    ----------
    hands
        Measures by the areas of ``frozen``.
    frozen
        The ranges that the package brings; they say which side a hand is of, and how far overlaps and tips may go.

    Returns
    -------
    ranges
        None where fewer than :data:`POPULATION` hands show all bones in place.
    """
    full = [hand for hand in hands if hand.placed.all()]
    if len(full) < POPULATION:
        return None
    area = np.median([hand.area for hand in full], axis=0)
    ratios = np.log([hand.area / area for hand in full])
    ratios[:, FOREARM] = 0.0
    low, high = np.exp(_limits(ratios))
    frozen_low, frozen_high = frozen.area_ratio.T
    left = [Placement(hand, frozen.atlas).side == "left" for hand in full]
    atlas = _atlas(_right_hands(full, left))
    gaps = {pair: np.array([hand.gap(*pair) for hand in full]) for pair in sorted(NEIGHBOURS)}
    return PlausibleRanges(
        frozen.age,
        frozen.late,
        area,
        np.stack([np.minimum(low, frozen_low), np.maximum(high, frozen_high)], axis=1),
        atlas,
        np.maximum(_limits(_displacements(full, atlas))[1], frozen.displacement),
        {pair: max(float(_limits(values[:, None])[1][0]), frozen.gap[pair]) for pair, values in gaps.items()},
        frozen.overlap,
        frozen.proportions,
    )


def _right_hands(hands: Sequence[HandMeasures], left: Sequence[bool]) -> np.ndarray:
    """Centres of the bones, complex128 (N, 29), those of left hands mirrored."""
    return np.array([-h.centre.conj() if is_left else h.centre for h, is_left in zip(hands, left, strict=True)])


def _displacements(hands: Sequence[HandMeasures], atlas: np.ndarray) -> np.ndarray:
    """Distance of each bone from where the bones around it put it, float64 (N, 29), millimetres."""
    placements = [Placement(hand, atlas) for hand in hands]
    return np.array(
        [
            [abs(placement.expected(k) - hand.centre[k]) for k in range(NUM_BONES)]
            for hand, placement in zip(hands, placements, strict=True)
        ]
    )


def _limits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Robust extremes of each column of (N, M): by the spread about the median."""
    middle = np.median(values, axis=0)
    off = values - middle
    below, above = (np.nanmedian(np.where(side * off >= 0, np.abs(off), np.nan), axis=0) for side in (-1, 1))
    return middle - SPREADS * 1.4826 * below, middle + SPREADS * 1.4826 * above


def _atlas(upright: np.ndarray, never: Sequence[int] = ()) -> np.ndarray:
    """Median centres of right hands, complex128 (N, 29), laid over one another; fingers up.

    Centres may be NaN; those of bones that are so in all hands stay so.
    """
    seen = np.delete(np.arange(NUM_BONES), never)
    upright = upright[:, seen]
    # Begin with the hand that shows most bones.
    first = upright[np.argmin(np.isnan(upright).sum(axis=1))]
    mean = np.where(np.isnan(first), np.nanmean(first), first)
    for _ in range(3):
        turned = []
        for centres in upright:
            both = ~np.isnan(centres)
            turned.append((centres - centres[both].mean()) * turn_onto(centres, mean) + mean[both].mean())
        mean = np.nanmedian(np.real(turned), axis=0) + 1j * np.nanmedian(np.imag(turned), axis=0)
        mean -= mean.mean()
    atlas = np.full(NUM_BONES, complex(np.nan, np.nan))
    atlas[seen] = mean
    return np.asarray(atlas * _upright(atlas))


def _upright(atlas: np.ndarray) -> complex:
    """Rotation that brings the line from capitate to third metacarpal upwards."""
    along = complex(atlas[INDEX["finger-11"]] - atlas[INDEX["Capitate"]])
    return -1j * abs(along) / along


def write_ranges(ranges: Sequence[PlausibleRanges], path: str | Path = PATH) -> None:
    """Write ranges as JSON by age, atomically."""
    ages = []
    for one in ranges:
        bones = {
            name: {
                "area": round(float(one.area[k]), 1),
                "area_ratio": [round(float(v), 3) for v in one.area_ratio[k]],
                "centre": [round(float(one.atlas[k].real), 2), round(float(one.atlas[k].imag), 2)],
                "displacement": round(float(one.displacement[k]), 2),
            }
            for k, name in enumerate(NAMES)
        }
        tables: dict[str, Mapping[str, object]] = {
            "bones": bones,
            "gap": _pair_names(one.gap),
            "overlap": _pair_names(one.overlap),
            "proportions": {
                view: {figure: [round(v, 4) for v in usual] for figure, usual in figures.items()}
                for view, figures in one.proportions.items()
            },
        }
        parts = [f'  "late": {json.dumps([NAMES[k] for k in sorted(one.late)])}']
        for part, values in tables.items():
            rows = [f"   {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items()]
            parts.append(f'  "{part}": {{\n' + ",\n".join(rows) + "\n  }")
        ages.append(f' "{one.age}": {{\n' + ",\n".join(parts) + "\n }")
    with atomic_open(path) as file:
        file.write("{\n" + ",\n".join(ages) + "\n}\n")


def _pair_names(values: dict[Pair, float]) -> dict[str, float]:
    return {f"{NAMES[a]} {NAMES[b]}": round(value, 3) for (a, b), value in values.items()}


def main() -> None:
    """Render phantoms, freeze their ranges and write them."""
    from handseg_monai.bones import SIDES
    from handseg_monai.phantom import PRESETS, render_planes

    frozen: list[PlausibleRanges] = []
    for age, years in AGES.items():
        ranges, subjects = PRESETS["standard"], SUBJECTS
        if years is not None:
            ranges, subjects = replace(ranges, child_share=1.0, child_age=years), CHILDREN
        hands = [
            (*render_planes(SEED, number, side, ranges, SIZE), side == "left")
            for number in tqdm(range(subjects), desc=age, disable=None)
            for side in SIDES
        ]
        masks, spacing, left = zip(*hands, strict=True)
        frozen.append(freeze_ranges(masks, spacing, left, age, *frozen[-1:]))
        print(f"{age}: {len(hands)} phantoms")
    write_ranges(frozen)
    print(PATH)


if __name__ == "__main__":
    main()
