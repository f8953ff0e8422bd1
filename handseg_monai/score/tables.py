"""An evaluation as tables, printed and written, and the comparison of two."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from handseg_monai.bones import BONES, NAMES
from handseg_monai.data.wrist import BENT
from handseg_monai.files import atomic_open
from handseg_monai.rle import count_images
from handseg_monai.score.bootstrap import Difference, difference, interval
from handseg_monai.score.evaluation import Evaluation
from handseg_monai.words import counted

_WIDTH = 120
"""Characters of a line where the output is no terminal."""
_OF_NAMES = ("bone", "name", "overlap", "images of", "bones")


def groups(result: Evaluation) -> dict[str, np.ndarray]:
    """Images, boolean (N,), by hand and by wrist deviation; groups without an image are left out."""
    sides, deviation = np.array(result.sides), result.deviations
    found = {
        "left hands": sides == "left",
        "right hands": sides == "right",
        "hand not known": sides == "",
        f"wrist bent {BENT:g}° and more towards the little finger": deviation <= -BENT,
        "wrist straight": np.abs(deviation) < BENT,
        f"wrist bent {BENT:g}° and more towards the thumb": deviation >= BENT,
        "wrist not measurable": np.isnan(deviation),
    }
    return {name: images for name, images in found.items() if images.any()}


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _summary(result: Evaluation) -> dict[str, object]:
    """Return what ``evaluation.json`` holds."""
    low, high = interval(result.dice, result.subjects)
    summary: dict[str, object] = {
        "mean_dice": result.mean_dice,
        "interval_95": [low, high],
        "mean_dice_of_bones_present": result.mean_dice_present,
        "images": len(result.names),
        "subjects": len(set(result.subjects)),
        "missing": result.missing,
        "missing_images": result.missing_images,
        "missing_rows": result.missing_rows,
        "images_without_truth": result.without_truth,
        "hands_compared": result.chosen,
        "unknown": int((~result.known).sum()),
        "images_without_overlaps": result.flat,
        "groups": {
            name: {"images": int(images.sum()), "dice": _mean(result.dice[images])}
            for name, images in groups(result).items()
        },
        "bones": result.of_bones(),
    }
    if result.detail is not None:
        detail = result.detail
        summary |= {
            "nsd_2px": _mean(detail.nsd_pixels),
            "nsd_1mm": _mean(detail.nsd_mm),
            "hd95_pixels": _mean(detail.hd95),
            "overlaps": [
                {"bones": [NAMES[a], NAMES[b]], "dice": _mean(detail.pair_dice[:, n])}
                for n, (a, b) in enumerate(detail.pairs)
            ],
        }
    return summary


def write_evaluation(result: Evaluation, folder: str | Path) -> None:
    """Write ``evaluation.json``, the summary, and ``evaluation.csv``, a row for each image and bone."""
    folder = Path(folder)
    with atomic_open(folder / "evaluation.json") as file:
        # JSON has no NaN; a bone that was skipped in every image has no Dice.
        json.dump(_without_nan(_summary(result)), file, indent=1, allow_nan=False)
        file.write("\n")
    header = ["image_name", "class", "dice", "predicted_pixels", "truth_pixels"]
    columns: list[tuple[str, np.ndarray]] = []
    if result.detail is not None:
        detail = result.detail
        columns = [("nsd_2px", detail.nsd_pixels), ("nsd_1mm", detail.nsd_mm), ("hd95_pixels", detail.hd95)]
    with atomic_open(folder / "evaluation.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, *(name for name, _ in columns)])
        for i, name in enumerate(result.names):
            for k, bone in enumerate(NAMES):
                truth = result.truth[i, k] if result.known[i, k] else ""
                more = [_text(values[i, k]) for _, values in columns]
                writer.writerow((name, bone, _text(result.dice[i, k]), result.predicted[i, k], truth, *more))


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _table(*headings: str) -> Table:
    """Return a table whose columns are numbers but for those of names."""
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="left" if heading in _OF_NAMES else "right")
    return table


def print_evaluation(result: Evaluation) -> None:
    """Print a table of the bones, one of hands and wrists, one of overlaps, and what was missing."""
    detail = result.detail
    columns: list[tuple[str, np.ndarray, str]] = []
    if detail is not None:
        columns = [("NSD 2 px", detail.nsd_pixels, ".3f"), ("HD95, px", detail.hd95, ".1f")]
        if np.isfinite(detail.nsd_mm).any():
            columns.insert(1, ("NSD 1 mm", detail.nsd_mm, ".3f"))
    table = _table("bone", "name", "Dice", "95 %", "lowest", "images", "false positives", *(n for n, _, _ in columns))
    for bone, row in zip(BONES, result.of_bones(), strict=True):
        low, high = interval(result.dice[:, [bone.index]], result.subjects)
        table.add_row(
            str(row["bone"]),
            str(row["name"]),
            _number(float(row["dice"]), ".4f"),
            f"{_number(low)} to {_number(high)}",
            _number(float(row["lowest"]), ".4f"),
            str(row["images"]),
            str(row["false_positives"]),
            *(_number(_mean(values[:, bone.index]), digits) for _, values, digits in columns),
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(table)
    console.print(_group_table(result))
    if detail is not None and detail.pairs:
        overlaps = _table("overlap", "images", "Dice of the shared area")
        for n, (a, b) in enumerate(detail.pairs):
            dice = detail.pair_dice[:, n]
            overlaps.add_row(f"{NAMES[a]}, {NAMES[b]}", str(int(np.isfinite(dice).sum())), _number(_mean(dice), ".4f"))
        console.print(overlaps)
    _print_missing(result)
    low, high = interval(result.dice, result.subjects)
    images = count_images(result.names)
    print(
        f"mean Dice {result.mean_dice:.6f} of {images} and 29 bones, thresholded, at their own size; "
        f"95 % interval over {len(set(result.subjects))} people {low:.4f} to {high:.4f}"
    )
    print(f"mean Dice {result.mean_dice_present:.6f} of the bones present")
    if detail is not None:
        mm = _in_millimetres(result.names, detail.nsd_mm)
        print(f"NSD at 2 px {_mean(detail.nsd_pixels):.4f}, at 1 mm {mm}; HD95 {_mean(detail.hd95):.2f} px")


def _in_millimetres(names: Sequence[str], nsd: np.ndarray) -> str:
    known = [name for name, is_known in zip(names, np.isfinite(nsd).any(axis=1), strict=True) if is_known]
    if not known:
        return "not known without --spacing"
    some = f" (of {count_images(known)}; the spacing of the others is not known)" if len(known) < len(names) else ""
    return f"{_mean(nsd):.4f}{some}"


def _group_table(result: Evaluation) -> Table:
    table = _table("images of", "images", "Dice", "95 %")
    for name, images in groups(result).items():
        own = [subject for subject, one in zip(result.subjects, images, strict=True) if one]
        low, high = interval(result.dice[images], own)
        dice = _number(_mean(result.dice[images]), ".4f")
        table.add_row(name, str(int(images.sum())), dice, f"{_number(low)} to {_number(high)}")
    return table


def _number(value: float, digits: str = ".3f") -> str:
    return "-" if np.isnan(value) else format(value, digits)


def _print_missing(result: Evaluation) -> None:
    if result.chosen:
        rows = sorted(result.chosen.values())
        shown = ", ".join(rows[:3]) + (", …" if len(rows) > 3 else "")
        print(
            f"{count_images(rows)} with rows of both hands, a label of one: only the hand at the label counts ({shown})"
        )
    what_was_done = {"zero": "counted as empty", "skip": "left out"}.get(result.missing, "")
    for number, noun, what in (
        (len(result.missing_images), "image", "that the CSV lacks"),
        (len(result.missing_rows), "row", "that the CSV lacks"),
        (len(result.without_truth), "image", "of the CSV without a label"),
    ):
        if number:
            print(f"{counted(number, noun)} {what}: {what_was_done}")
    if not result.known.all():
        print(f"{(~result.known).sum()} of {result.known.size} pairs of image and bone are not labelled: left out")
    if result.flat:
        print(f"{counted(result.flat, 'image')} with labels without overlaps: left out where one bone may hide another")


def compare(first: Evaluation, second: Evaluation) -> dict[str, Difference]:
    """Return how much better the second of two evaluations is: of ``all``, and of each bone.

    Raises
    ------
    ValueError
        They are of different images.
    """
    if first.names != second.names:
        apart = sorted(set(first.names) ^ set(second.names))
        raise ValueError(
            f"the evaluations cover different images: {len(apart)} are only in one of them ({', '.join(apart[:3])})"
        )
    of = {"all": difference(first.dice, second.dice, first.subjects)}
    return of | {
        bone.name: difference(first.dice[:, [bone.index]], second.dice[:, [bone.index]], first.subjects)
        for bone in BONES
    }


def print_comparison(first: str, second: str, differences: dict[str, Difference]) -> None:
    """Print how much better the second submission is than the first."""
    table = _table("bones", "difference", "95 %", "p")
    table.title = f"Dice of {second} less that of {first}"
    for name, of in differences.items():
        table.add_row(
            name,
            _number(of.mean, "+.4f"),
            f"{_number(of.low, '+.4f')} to {_number(of.high, '+.4f')}",
            _number(of.p, ".2g"),
        )
    Console().print(table)
    subjects = differences["all"].subjects
    print(f"p: Wilcoxon's signed-rank test over {subjects} subjects, two-sided, not corrected for 29 bones")
