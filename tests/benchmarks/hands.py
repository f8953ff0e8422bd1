"""Dark bones and two hands in inference: ``python -m tests.benchmarks.hands [--images 200] [--pairs 50]``.

Half of the images are phantoms of ``hard``, in which pieces of another hand reach, half of ``standard``; none has been
used to choose a threshold. Each is inferred upright and inverted. Pairs are both hands of a person in one picture,
compared with either hand alone in that picture.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.run.machine import processor
from tests.hands import pair
from tests.test_scene import DARK, infer, mean_dice

SEEDS = {"hard": 77_001, "standard": 77_002}
SIDE = 1024
_APART = 0.01
"""Of the width, between the bones of two hands that lie clear of each other: soft tissues may touch."""


def upright(count: int, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Radiographs of one hand with bright bones, and their truth."""
    ranges = replace(PRESETS[name], inversion_share=0.0)
    for number in range(count):
        found = render_phantom(SEEDS[name], number // 2, "right" if number % 2 else "left", ranges, SIDE)
        yield found.image, found.planes


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=int, default=200)
    options.add_argument("--pairs", type=int, default=50)
    given = options.parse_args()
    torch.set_num_threads(1)
    machine = f"{processor()}, {os.cpu_count()} cores, one thread"
    table = Table(title=f"{machine}, images of {SIDE}")
    table.add_column("what")
    for name in SEEDS:
        table.add_column(name, justify="right")
    columns = [[*single(given.images // 2, name), *double(given.pairs // 2, name)] for name in SEEDS]
    for row in zip(*columns, strict=True):
        table.add_row(row[0][0], *(cell for _, cell in row))
    Console(width=110).print(table)


def single(count: int, name: str) -> list[tuple[str, str]]:
    """Return the rows of images of one hand."""
    dice, seconds = [], [0.0, 0.0]
    wrong, missed, second = 0, 0, 0
    for image, truth in upright(count, name):
        scores = []
        for dark in (False, True):
            began = time.perf_counter()
            found, said = infer(255 - image if dark else image, hands="both")
            seconds[dark] += time.perf_counter() - began
            scores.append(max(mean_dice(planes, truth) for planes in found) if truth.any() else 1.0)
            wrong += not dark and DARK in said
            missed += dark and DARK not in said
            second += not dark and len(found) > 1
        dice.append(scores)
    bright, inverted = np.mean(dice, axis=0)
    return [
        ("Dice upright", f"{bright:.4f}"),
        ("Dice inverted", f"{inverted:.4f}"),
        ("upright, wrongly inverted", f"{wrong} of {count}"),
        ("inverted, not recognised", f"{missed} of {count}"),
        ("second hands made up", f"{second} of {count}"),
        ("s an upright image", f"{seconds[0] / count:.2f}"),
        ("s an inverted image", f"{seconds[1] / count:.2f}"),
    ]


def double(count: int, name: str) -> list[tuple[str, str]]:
    """Return the rows of images of two hands."""
    alone, together, apart, lost = [], [], [], 0
    for number in range(count):
        both = pair(SEEDS[name] + 2, number, name, SIDE, inwards=number % 4 > 0)
        found, _ = infer(both.image, hands="both")
        lost += len(found) < 2
        if len(found) == 2:
            alone += [mean_dice(infer(image)[0][0], t) for image, t in zip(both.alone, both.planes, strict=True)]
            together += [mean_dice(planes, t) for planes, t in zip(found, both.planes, strict=True)]
            apart += [_between(both.planes) >= _APART * SIDE] * 2
    loss = np.subtract(alone, together)
    clear = loss[np.array(apart)]
    return [
        ("pairs of which one hand is found", f"{lost} of {count}"),
        ("Dice of a hand alone", f"{np.mean(alone):.4f}"),
        ("Dice of a hand beside the other", f"{np.mean(together):.4f}"),
        ("hands that lose more than .02", f"{(loss > 0.02).sum()} of {len(loss)}"),
        ("largest loss", f"{loss.max():.4f}"),
        (f"where bones lie {_APART:.0%} of the width apart", f"{(clear > 0.02).sum()} of {len(clear)}"),
        ("largest loss there", f"{clear.max(initial=0):.4f}"),
    ]


def _between(hands: tuple[np.ndarray, np.ndarray]) -> int:
    """Columns between the bones of two hands side by side; negative where fingers reach past one another."""
    (_, end), (start, _) = sorted(
        (int(columns[0]), int(columns[-1])) for columns in (np.flatnonzero(planes.any(axis=0)) for planes in hands)
    )
    return start - end


if __name__ == "__main__":
    main()
