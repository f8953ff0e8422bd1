"""Memory that is kept against the C library's own way: ``python -m tests.benchmarks.memory [--rounds 3]``.

A step of training (batches of 2, bfloat16, the views of ``pretrain.json``) and the masks of a radiograph by the shipped
weights, in one thread, in processes that keep freed memory and processes that don't, by turns. What counts are ratios
of processor seconds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from collections.abc import Callable
from contextlib import nullcontext
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table

from handseg_monai.run.machine import processor

SIDE, SIZE, STEPS = 384, 2048, 6


def training() -> Callable[[], object]:
    """Return a step of training of the default network."""
    from monai.bundle import ConfigParser

    from handseg_monai import bundle_root
    from handseg_monai.run import keep_memory

    keep_memory()
    parser = ConfigParser()
    parser.read_config(str(bundle_root() / "configs" / "train.json"))
    network, loss = parser.get_parsed_content("network_def"), parser.get_parsed_content("loss")
    optimiser = torch.optim.AdamW(network.parameters())
    image = torch.rand(2, 1, SIDE, SIDE)
    planes = torch.randint(0, 1 << 29, (2, 1, SIDE, SIDE), dtype=torch.int32)
    known = torch.full((2,), (1 << 29) - 1, dtype=torch.int32)

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            seen = network(image)
        loss(seen, (planes, known)).backward()
        optimiser.step()

    return step


def inference() -> Callable[[], object]:
    """Return the inference of a radiograph."""
    from handseg_monai.phantom import PRESETS, render_phantom
    from handseg_monai.run.inference import Inference

    image = render_phantom(77, 0, "right", PRESETS["standard"], SIZE).image
    network = Inference(None)
    network.load()
    return lambda: network.infer(image)


def measured(work: str, keep: bool) -> tuple[float, float]:
    """Least processor seconds of a call, and the pages that the system cleared for it; in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with nullcontext() if keep else mock.patch("handseg_monai.run.memory.ctypes"):
        call = {"training": training, "inference": inference}[work]()
    taken = []
    for _ in range(STEPS):
        before = resource.getrusage(resource.RUSAGE_SELF)
        call()
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        taken.append((seconds, float(after.ru_minflt - before.ru_minflt)))
    return min(taken[1:])


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    rounds = options.parse_args().rounds
    table = Table(title=f"{processor()}, one thread, torch {torch.__version__}")
    for column in ("", "freed memory", "processor seconds", "ratio", "pages cleared"):
        table.add_column(column, justify="left" if not column else "right")
    for work in ("training", "inference"):
        best: dict[bool, tuple[float, float]] = {}
        for _ in range(rounds):
            for keep in (False, True):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    best[keep] = min(best.get(keep, (float("inf"), 0.0)), pool.apply(measured, (work, keep)))
        for keep, (seconds, pages) in best.items():
            ratio = f"{best[False][0] / seconds:.2f}"
            table.add_row(work, "kept" if keep else "given back", f"{seconds:.3f}", ratio, f"{pages:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
