"""Speed of ``handseg archive``: ``python -m tests.benchmarks.archive [--images 10000] [--size 512] [--folder DIR]``.

The machine has to be idle. A process for each core reads phantoms, draws their masks, judges and measures them, and
says how long each step takes; the network alone is the least that an archive can take. Then the archive does the same
images on all cores, with the start of Ray and without.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from pyarrow.fs import LocalFileSystem
from rich.console import Console
from rich.table import Table

from handseg_monai.archive.network import Network, judge
from handseg_monai.archive.reading import read_images
from handseg_monai.archive.run import archive
from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.run.inference import Inference
from handseg_monai.run.machine import processor

_DIFFERENT = 24
"""Phantoms that are drawn; all images are one of them."""
STEPS = ("reading", "network", "judging and measuring")


def write_images(folder: Path, count: int, size: int) -> list[Path]:
    """Write phantoms as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = []
    for number in range(min(count, _DIFFERENT)):
        hand = render_phantom(31, number, "right", PRESETS["standard"], size)
        contents.append(cv2.imencode(".png", hand.image)[1].tobytes())
    paths = [folder / f"{number:06d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(contents[number % len(contents)])
    return paths


def steps_alone(paths: list[Path], queue: multiprocessing.Queue[list[float]]) -> None:
    """Do the steps of an archive in this process, on one core, and put the seconds of each."""
    network = Network.__new__(Network)
    network._inference = Inference(None)
    network._inference.load()
    spent = np.zeros(len(STEPS))
    for number, path in enumerate([paths[0], *paths]):
        times = [time.perf_counter()]
        (table,) = read_images(
            [number], [path.name], [str(path)], filesystem=LocalFileSystem(), any_body_part=False, max_pixels=MAX_PIXELS
        )
        times.append(time.perf_counter())
        table = network(table)
        times.append(time.perf_counter())
        judge(table, "")
        times.append(time.perf_counter())
        spent += np.diff(times) if number else 0  # the first warms up
    queue.put(spent.tolist())


def alone(paths: list[Path], cores: int) -> np.ndarray:
    """Seconds an image of each step, on one of so many cores that all do the same."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=steps_alone, args=(paths, queue)) for _ in range(cores)]
    for process in processes:
        process.start()
    spent = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    return np.mean(spent, axis=0) / len(paths)


def timed(folder: Path, out: Path) -> float:
    """Seconds that an archive of a folder takes, start and all."""
    began = time.perf_counter()
    archive(folder, out, progress=False)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=int, default=10_000)
    options.add_argument("--size", type=int, default=512, help="pixels of the long side")
    options.add_argument("--sample", type=int, default=50, help="images that each step is timed by")
    options.add_argument("--folder", type=Path, default=None, help="where images and rows are written")
    given = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        paths = write_images(Path(place) / "images", given.images, given.size)
        seconds = alone(paths[: given.sample], cores)
        start = timed(write_images(Path(place) / "few", cores, given.size)[0].parent, Path(place) / "none")
        whole = timed(paths[0].parent, Path(place) / "out")
        rows = sum(path.stat().st_size for path in (Path(place) / "out" / "rows").iterdir())
    images = given.images
    table = Table(title=f"{images} images of {given.size} pixels, {cores} cores, {processor()}")
    table.add_column("what")
    table.add_column("figure", justify="right")
    network = images * seconds[1] / cores
    for what, figure in (
        *((f"{step}, s an image on one core", f"{second:.3f}") for step, second in zip(STEPS, seconds, strict=True)),
        ("network alone on all cores, s", f"{network:.0f}"),
        ("all steps alone on all cores, s", f"{images * seconds.sum() / cores:.0f}"),
        (f"archive of {cores} images: start and end, s", f"{start:.0f}"),
        ("archive, s", f"{whole:.0f}"),
        ("images a second", f"{images / whole:.2f}"),
        ("beyond the network alone, %", f"{100 * (whole / network - 1):.0f}"),
        ("beyond the network alone, start left out, %", f"{100 * ((whole - start) / network - 1):.0f}"),
        (
            "beyond all steps, start left out, %",
            f"{100 * ((whole - start) / (images * seconds.sum() / cores) - 1):.0f}",
        ),
        ("rows, kB an image", f"{rows / images / 1e3:.1f}"),
    ):
        table.add_row(what, figure)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
