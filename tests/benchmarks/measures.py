"""How well measures are taken, on phantoms that know their own: ``python -m tests.benchmarks.measures --out DIR``.

Phantoms of ``standard`` from a seed that no training uses are measured on their true masks and on masks that the
shipped weights draw through the bundle, against what their meshes say
(:func:`handseg_monai.phantom.geometry.true_measures`). Other hands are exposed and laid into the image ten times anew:
how much a measure varies is its repeatability. Radiographs, masks and submission stay in the folder.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from handseg_monai import bundle_root
from handseg_monai.bones import SIDES
from handseg_monai.measure import Spacing, measure_hand
from handseg_monai.phantom import PRESETS
from handseg_monai.phantom.acquisition.exposure import expose
from handseg_monai.phantom.components import components_of, posed_hand
from handseg_monai.phantom.geometry import true_measures
from handseg_monai.phantom.placement import place
from handseg_monai.phantom.processes import in_processes
from handseg_monai.phantom.radiograph import bone_polygons
from handseg_monai.rle import decode_planes, read_csv
from handseg_monai.run.machine import processor

SEED = 900005
RANGES = replace(PRESETS["standard"], inversion_share=0.0)
MASKS = ("truth", "network")
_HANDS_START = 5000
"""Number of the first hand that is exposed many times."""


@dataclass(frozen=True)
class Shot:
    """One radiograph: of which hand, and the how-manieth of that hand."""

    hand: int
    again: int

    @property
    def name(self) -> str:
        return f"hand{self.hand}-{self.again}.png"


@dataclass(frozen=True)
class Taken:
    """Measures of one radiograph by masks: values and reasons by name, and what is true."""

    shot: Shot
    true: dict[str, float]
    values: dict[str, dict[str, float]]
    reasons: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Kind:
    """Measures that share a row, or none: how their error is expressed, and what is wanted of true masks."""

    unit: str
    wanted: float | None


def kind_of(name: str) -> Kind:
    """Return how a measure's error is expressed."""
    if name.startswith("length"):
        return Kind("%", 1.0)
    if name.startswith("width"):
        return Kind("%", None)
    if name.startswith("cortical"):
        return Kind("", None)
    if name.startswith("carpal height"):
        return Kind("", 0.01)
    if name == "radial inclination":
        return Kind("degrees", 1.5)
    if name in ("carpal angle", "wrist deviation"):
        return Kind("degrees", None)
    return Kind("mm", 0.4 if name == "ulnar variance" else None)


def row_of(name: str) -> str:
    """Return the row of the short table that a measure belongs to."""
    for start, row in (("length", "length, 19 bones"), ("width", "width, 19 bones"), ("joint", "joint spaces")):
        if name.startswith(start):
            return row
    return name


def main() -> None:
    """Make what is missing, measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/measures"))
    parser.add_argument("--phantoms", type=int, default=100)
    parser.add_argument("--hands", type=int, default=5, help="hands that are exposed ten times")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--checkpoint", type=Path, default=bundle_root() / "models" / "model.pt")
    parser.add_argument("--masks", choices=MASKS, nargs="+", default=list(MASKS))
    parser.add_argument("--each", action="store_true", help="print a row for each bone and joint")
    options = parser.parse_args()
    shots = [Shot(number, 0) for number in range(options.phantoms)]
    shots += [Shot(_HANDS_START + hand, again) for hand in range(options.hands) for again in range(10)]
    images = options.out / "images"
    images.mkdir(parents=True, exist_ok=True)
    missing = [shot for shot in shots if not (images / shot.name).exists()]
    if missing:
        work = partial(_write, images, options.size, missing)
        for _ in tqdm(in_processes(work, len(missing), 2), total=len(missing), unit="radiograph"):
            pass
    rows = {}
    if "network" in options.masks:
        if missing or not (options.out / "submission.csv").exists():
            infer(images, options.out, options.checkpoint)
        rows = read_csv(options.out / "submission.csv")
    measuring = in_processes(partial(_measure, images, rows, options.masks, shots), len(shots), 2)
    taken = [found for _, found in tqdm(measuring, total=len(shots), unit="radiograph")]
    console = Console(width=140)
    console.print(f"{processor()}, {os.cpu_count()} cores; {options.size} px")
    console.print(errors(taken, options.masks, each=options.each))
    for masks in options.masks:
        console.print(reasons(taken, masks))


def infer(images: Path, out: Path, checkpoint: Path) -> None:
    """Draw the masks of a folder of radiographs."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(bundle_root())]
    command += ["--config_file", str(bundle_root() / "configs" / "inference.json"), "--overlays", "false"]
    command += ["--dataset_dir", str(images), "--output_dir", str(out), "--checkpoint", str(checkpoint)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _write(images: Path, size: int, shots: list[Shot], number: int) -> None:
    """Write a radiograph, and beside it its planes and its spacing."""
    shot = shots[number]
    side = SIDES[shot.hand % 2]
    source, subject, _, hand = posed_hand(SEED, shot.hand // 2, side, RANGES)
    laying, fleshing, texturing, exposing = (
        np.random.default_rng(key) for key in np.random.SeedSequence([SEED, shot.hand, shot.again]).spawn(4)
    )
    source = replace(source, placing=laying, fleshing=fleshing, texturing=texturing, exposing=exposing)
    view = place(source.placing, RANGES, hand, side, size)
    parts = components_of(source, subject, hand, view, bone_polygons(subject, hand, view))
    np.savez_compressed(images.parent / f"{shot.name}.npz", planes=parts.planes, spacing=view.spacing)
    cv2.imwrite(str(images / shot.name), expose(source.exposing, RANGES, parts))


def _measure(
    images: Path, rows: dict[str, list[str | None]], masks: list[str], shots: list[Shot], number: int
) -> Taken:
    """Measure one radiograph by its true masks and by those of the network."""
    shot = shots[number]
    image = cv2.imread(str(images / shot.name), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    stored = np.load(images.parent / f"{shot.name}.npz")
    spacing = Spacing(float(stored["spacing"]), float(stored["spacing"]), "of the phantom")
    values, why = {}, {}
    for drawn in masks:
        planes = stored["planes"] if drawn == "truth" else decode_planes(rows[shot.name], image.shape[:2])
        found = measure_hand(planes, image, spacing)
        values[drawn] = {measure.name: measure.value for measure in found if measure.value is not None}
        why[drawn] = {measure.name: measure.reason for measure in found if measure.value is None}
    _, _, _, hand = posed_hand(SEED, shot.hand // 2, SIDES[shot.hand % 2], RANGES)
    return Taken(shot, true_measures(hand), values, why)


def differences(taken: list[Taken], masks: str, name: str) -> Iterator[tuple[int, float]]:
    """Yield hand and error of a measure, per cent of the truth where its kind says so."""
    relative = kind_of(name).unit == "%"
    for one in taken:
        if name in one.values[masks] and name in one.true:
            error = one.values[masks][name] - one.true[name]
            yield one.shot.hand, 100 * error / one.true[name] if relative else error


def errors(taken: list[Taken], masks: list[str], *, each: bool) -> Table:
    """Return the table of errors and of repeatability."""
    single = [one for one in taken if one.shot.hand < _HANDS_START]
    again = [one for one in taken if one.shot.hand >= _HANDS_START]
    table = Table(title="error, mean ± SD; SD of a hand exposed and laid ten times anew; root mean square wanted")
    table.add_column("measure")
    table.add_column("unit")
    for drawn in masks:
        for heading in (f"{drawn} masks", "n", "RMS", "wanted", "again"):
            table.add_column(heading, justify="right")
    names: dict[str, list[str]] = {}
    for name in single[0].true:
        names.setdefault(name if each else row_of(name), []).append(name)
    for row, members in names.items():
        kind = kind_of(members[0])
        cells = []
        for drawn in masks:
            found = np.array([error for name in members for _, error in differences(single, drawn, name)])
            spread = [
                float(np.std(values, ddof=1))
                for name in members
                for values in _by_hand(differences(again, drawn, name))
                if len(values) > 2
            ]
            digits = 3 if kind.unit == "" else 2
            wanted = kind.wanted and kind.wanted * (1 if drawn == "truth" else 2)
            square = float(np.sqrt(np.mean(found**2))) if len(found) else np.nan
            met = "" if wanted is None else "[green]" if square <= wanted else "[red]"
            cells += [
                f"{found.mean():+.{digits}f} ± {found.std():.{digits}f}" if len(found) else "-",
                f"{len(found)}",
                f"{met}{square:.{digits}f}",
                "" if wanted is None else f"{wanted:g}",
                f"{np.sqrt(np.mean(np.square(spread))):.{digits}f}" if spread else "-",
            ]
        table.add_row(row, kind.unit, *cells)
    return table


def _by_hand(found: Iterator[tuple[int, float]]) -> Iterator[list[float]]:
    hands: dict[int, list[float]] = {}
    for hand, error in found:
        hands.setdefault(hand, []).append(error)
    yield from hands.values()


def alike(reason: str) -> str:
    """Return a reason without the bones and the numbers in it, and without what is wrong with masks in detail."""
    reason = re.sub(r"finger-\d+", "a bone", reason.partition(": ")[0])
    return re.sub(r" by \d+ degrees towards the \w+", "", reason)


def reasons(taken: list[Taken], masks: str) -> Table:
    """Return the table of measures that could not be taken, and why."""
    single = [one for one in taken if one.shot.hand < _HANDS_START]
    table = Table(title=f"not taken on {masks} masks, of {len(single)} radiographs")
    table.add_column("measure")
    table.add_column("not taken", justify="right")
    table.add_column("why")
    counts: dict[str, Counter[str]] = {}
    for one in single:
        for name, reason in one.reasons[masks].items():
            counts.setdefault(row_of(name), Counter())[alike(reason)] += 1
    for row, why in counts.items():
        said = "; ".join(f"{count} x {reason}" for reason, count in why.most_common(4))
        table.add_row(row, str(why.total()), said)
    return table


if __name__ == "__main__":
    main()
