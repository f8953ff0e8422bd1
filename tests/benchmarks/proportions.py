"""How far the proportions of phantoms lie from adults' hands: ``python -m tests.benchmarks.proportions``.

``tests/real_proportions.json`` holds mean, standard deviation and percentiles 1 and 99 of each figure over 284 hands of
142 adults (Korea, 2022), of straight wrists and of those bent towards the ulna; masks are those of a network that was
trained on such hands.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from handseg_monai.bones import Side
from handseg_monai.phantom import render_planes
from handseg_monai.phantom.presets import preset
from handseg_monai.phantom.processes import in_processes
from handseg_monai.plausibility.hand_proportions import Proportions, proportions, view_of

REAL = Path(__file__).resolve().parent.parent / "real_proportions.json"
_LEAST_DEVIATION = 0.004
"""Least standard deviation to count in: some figures hardly vary in real hands."""


@dataclass(frozen=True)
class Row:
    """One figure: mean and deviation of phantoms and of real hands; shift and spread in deviations of real hands."""

    figure: str
    mean: float
    real: float
    shift: float
    spread: float


def measured(seed: int, size: int, name: str, number: int) -> list[Proportions]:
    """Measure both hands of a subject."""
    return [proportions(render_planes(seed, number, side, preset(name), size)[0]) for side in get_args(Side)]


def compared(hands: list[Proportions], view: str) -> list[Row]:
    """Compare the hands of a view with real ones, the furthest figure first."""
    of_view = [hand.of for hand in hands if view_of(hand.deviation) == view]
    rows = []
    for figure, (mean, deviation, _, _) in json.loads(REAL.read_text())[view].items():
        values = [of[figure] for of in of_view if figure in of]
        if not values:
            continue
        unit = max(deviation, _LEAST_DEVIATION)
        rows.append(
            Row(
                figure,
                float(np.mean(values)),
                mean,
                (float(np.mean(values)) - mean) / unit,
                float(np.std(values)) / unit,
            )
        )
    return sorted(rows, key=lambda row: -abs(row.shift))


def main() -> None:
    """Draw phantoms and print how far they lie from real hands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--subjects", type=int, default=100)
    parser.add_argument("--seed", type=int, default=900003)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=20, help="figures to print")
    options = parser.parse_args()
    work = partial(measured, options.seed, options.size, options.preset)
    hands = [
        hand
        for _, pair in tqdm(in_processes(work, options.subjects, 2), total=options.subjects, unit="subject")
        for hand in pair
    ]
    for view in ("straight", "bent"):
        rows = compared(hands, view)
        count = sum(view_of(hand.deviation) == view for hand in hands)
        close, far = sum(abs(row.shift) <= 0.5 for row in rows), sum(abs(row.shift) > 2 for row in rows)
        title = (
            f"{view}: {count} of {len(hands)} hands; {close} of {len(rows)} figures within half a standard deviation"
        )
        table = Table(title=f"{title}, {far} beyond two")
        for heading in ("figure", "phantoms", "real hands", "shift", "spread"):
            table.add_column(heading, justify="left" if heading == "figure" else "right")
        for row in rows[: options.rows]:
            table.add_row(row.figure, f"{row.mean:.3f}", f"{row.real:.3f}", f"{row.shift:+.1f}", f"x {row.spread:.1f}")
        Console(width=110).print(table)


if __name__ == "__main__":
    main()
