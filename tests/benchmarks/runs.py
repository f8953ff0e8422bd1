"""Work on runs against the competition's plain NumPy functions: ``python -m tests.benchmarks.runs [--images 288]``.

Masks are those of phantoms at 2048 x 2048, each voter's shifted by a few pixels. What counts are ratios in one run: of
seconds by the clock, and of seconds of the processor, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from handseg_monai.bitplanes import unpack
from handseg_monai.bones import NAMES
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.rle import HEADER, decode_planes, encode_planes, write_csv
from handseg_monai.run.machine import processor

SIZE, VOTERS, ROUNDS = 2048, 5, 5


def plain_encode(mask: np.ndarray) -> str:
    """The competition's encoder."""
    pixels = np.concatenate([[0], mask.flatten(), [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(x) for x in runs)


def plain_decode(text: str, shape: tuple[int, int]) -> np.ndarray:
    """The competition's decoder."""
    numbers = text.split()
    starts, lengths = (np.asarray(x, dtype=int) for x in (numbers[0:][::2], numbers[1:][::2]))
    starts -= 1
    mask = np.zeros(shape[0] * shape[1], dtype=np.uint8)
    for low, high in zip(starts, starts + lengths, strict=True):
        mask[low:high] = 1
    return mask.reshape(shape)


def plain_vote(paths: list[Path], out: Path, images: int) -> None:
    """Decode all, sum, threshold, encode: of the first images, all rows of which are read."""
    voters = []
    for path in paths:
        with path.open(newline="", encoding="utf-8") as file:
            voters.append({(row["image_name"], row["class"]): row["rle"] for row in csv.DictReader(file)})
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for name, bone in list(voters[0])[: images * len(NAMES)]:
            votes = sum(plain_decode(of_voter[name, bone], (SIZE, SIZE)) for of_voter in voters)
            writer.writerow((name, bone, plain_encode(np.asarray(votes) > VOTERS // 2)))


def seconds(call: Callable[[], object], rounds: int = ROUNDS) -> np.ndarray:
    """Return the least times of some rounds, float (2,): by the clock, and of the processor with child processes."""
    times = []
    for _ in range(rounds):
        before = time.perf_counter(), processor_time()
        call()
        times.append(np.subtract((time.perf_counter(), processor_time()), before))
    return np.min(times, axis=0)


def processor_time() -> float:
    """Seconds of the processor that this process and its ended children have had."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def vote_rows(folder: Path, images: int, plain_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds of the plain vote on all images (estimated from the first ones) and of this project's."""
    rng = np.random.default_rng(0)
    hands = [
        render_phantom(77, n, side, PRESETS["standard"], SIZE).planes for n in range(3) for side in ("left", "right")
    ]
    paths = [folder / f"{voter}.csv" for voter in range(VOTERS)]
    for path in paths:
        shifted = [encode_planes(np.roll(hand, rng.integers(-5, 6, 2), (0, 1))) for hand in hands]
        write_csv(path, ((f"image{n:04d}.png", shifted[n % len(hands)]) for n in range(images)))
    command = [sys.executable, "-m", "handseg_monai", "vote", *map(str, paths)]
    command += ["--out", str(folder / "ours.csv"), "--size", f"{SIZE}x{SIZE}"]
    ours = seconds(lambda: subprocess.run(command, check=True, capture_output=True))
    whole = seconds(lambda: plain_vote(paths, folder / "none.csv", 0), 1)
    some = seconds(lambda: plain_vote(paths, folder / "plain.csv", plain_images), 1)
    plain = whole + (some - whole) * images / plain_images
    with (folder / "ours.csv").open() as a, (folder / "plain.csv").open() as b:
        assert all(x == y for x, y in zip(a, b, strict=False)), "the texts differ"
    return plain, ours


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=int, default=288)
    options.add_argument("--plain-images", type=int, default=12, help="images of which the plain vote is measured")
    given = options.parse_args()
    planes = render_phantom(77, 0, "right", PRESETS["standard"], SIZE).planes
    masks = unpack(planes)
    texts = encode_planes(planes)
    assert [plain_encode(mask) for mask in masks] == texts
    table = Table(title=f"{SIZE} x {SIZE}, {processor()}")
    for heading in ("what", "plain, s", "here, s", "ratio", "of processor time"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    rows = [
        (
            "encode + decode 29 masks",
            seconds(lambda: [plain_decode(plain_encode(mask), (SIZE, SIZE)) for mask in masks]),
            seconds(lambda: decode_planes(encode_planes(planes), (SIZE, SIZE))),
        )
    ]
    with tempfile.TemporaryDirectory() as folder:
        plain, ours = vote_rows(Path(folder), given.images, given.plain_images)
    rows.append((f"handseg vote of {VOTERS} CSVs of {given.images} x 29 rows, start included", plain, ours))
    for what, slow, fast in rows:
        table.add_row(what, f"{slow[0]:.3f}", f"{fast[0]:.3f}", *(f"{ratio:.1f}" for ratio in slow / fast))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
