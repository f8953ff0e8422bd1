"""Backends of inference against plain PyTorch: ``python -m tests.benchmarks.backends [--images 4] [--compile]``.

Each draws the masks of the same phantoms with the shipped weights, image by image in turn with the others. What counts
are ratios in one run: of seconds by the clock, and, in brackets, of seconds of the processor, which other work on the
machine disturbs less. Dice is that of masks against those of PyTorch in float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.rle import encode_planes
from handseg_monai.run.inference import Inference
from handseg_monai.run.machine import processor
from handseg_monai.score.dice import dice

REFERENCE, EXACT = "torch, bfloat16", "torch, float32"
WAYS = {
    REFERENCE: {"backend": "torch", "amp": True},
    EXACT: {"backend": "torch", "amp": False},
    "openvino, bfloat16": {"backend": "openvino", "amp": True},
    "openvino, float32": {"backend": "openvino", "amp": False},
}
COMPILED = "torch.compile, bfloat16"


def timed(call: Callable[[], object]) -> np.ndarray:
    """Seconds of a call, float (2,): by the clock, and of the processor."""
    before = time.perf_counter(), time.process_time()
    call()
    return np.subtract((time.perf_counter(), time.process_time()), before)


def loaded(way: str) -> Inference:
    """Inference in a way, ready."""
    inference = Inference(None, **WAYS.get(way, WAYS[REFERENCE]))
    inference.load()
    if way == COMPILED:
        inference.network = torch.compile(inference.network)
    return inference


def forward(inference: Inference, view: torch.Tensor) -> None:
    """Show one view to the network alone, in the precision of inference."""
    with torch.inference_mode(), torch.autocast("cpu", inference.inferer.dtype, inference.inferer.enabled):
        inference.network(view)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--images", type=int, default=4)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--size", type=int, default=2048)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    images = [render_phantom(77, n, "right", PRESETS["standard"], given.size).image for n in range(given.images)]
    ways = {way: loaded(way) for way in [*WAYS, *([COMPILED] if given.compile else [])]}
    side = ways[REFERENCE].inferer.inferer.window
    view = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0))
    begun = {way: timed(lambda one=one: one.infer(images[0])) for way, one in ways.items()}  # type: ignore[misc]
    network: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    whole: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    drawn: dict[str, list[np.ndarray]] = {way: [] for way in ways}

    def draw(way: str, image: np.ndarray) -> None:
        drawn[way].append(ways[way].infer(image).planes[0])
        encode_planes(drawn[way][-1])

    for _ in range(given.rounds):
        for image in images:
            for way, inference in ways.items():
                network[way].append(timed(lambda one=inference: forward(one, view)))  # type: ignore[misc]
                whole[way].append(timed(lambda way=way, image=image: draw(way, image)))  # type: ignore[misc]
    shown = f"{given.images} images of {given.size}, windows of {side}, {given.threads} threads"
    table = Table(title=f"{processor()}; {shown}; seconds, median of {given.rounds} rounds")
    for heading in ("", "first image", "forward pass", "ratio", "image", "ratio", "Dice, mean", "least bone"):
        table.add_column(heading, justify="right" if heading else "left")
    middle = {way: (np.median(network[way], axis=0), np.median(whole[way], axis=0)) for way in ways}
    for way in ways:
        cells = [f"{begun[way][0]:.1f} ({begun[way][1]:.1f})"]
        for taken, reference in zip(middle[way], middle[REFERENCE], strict=True):
            by = reference / taken
            cells += [f"{taken[0]:.3f} ({taken[1]:.3f})", f"{by[0]:.2f} ({by[1]:.2f})"]
        same = np.stack(
            [dice(a, b) for a, b in zip(drawn[way][: len(images)], drawn[EXACT][: len(images)], strict=True)]
        )
        table.add_row(way, *cells, f"{same.mean():.5f}", f"{same.min():.4f}")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
