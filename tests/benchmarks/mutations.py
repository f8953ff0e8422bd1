"""Damaged files of every kind, read as the commands read them: ``python -m tests.benchmarks.mutations``.

Each input is a whole file that was damaged: bytes changed, cut, repeated; values of JSON, cells of CSV, attributes of
DICOM replaced. The commands may read it, or refuse it in words: ``ValueError`` or ``OSError``, which become one line
and exit code 2. Anything else would reach the user as a traceback, and is counted and shown, as are processes that end
or hang, and messages in the words of the libraries beneath. Files are read in processes of their own, so that a crash
costs one input.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import re
import resource
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from handseg_monai.run.machine import processor
from tests.mutants import damaged, make_kinds

_LONGEST = 60.0
"""Seconds after which a process counts as hung."""
_ADDRESSES = 12 << 30
"""Bytes of addresses that a process may use, so that a bomb ends the process and not the machine."""
_FOREIGN = re.compile(
    r"operands|broadcast|has no attribute|unsupported operand|cannot reshape|out of range|out of bounds"
    r"|not subscriptable|not iterable|unhashable|NoneType|can't convert|could not convert|object is not|dtype"
    r"|invalid literal for|at 0x|not supported between|must be str|must be real|expected str"
    r"|codec can't|buffer is|size of array"
)
"""How libraries speak of what they were given."""


@dataclass
class Outcome:
    """What became of the inputs of one kind."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    """Of the slowest."""
    memory: int = 0
    """Bytes that reading one took beyond what its process held before, at most."""
    shown: list[str] = field(default_factory=list)


def peak_memory(reset: bool = False) -> int:
    """Return the most bytes that this process has held, since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


def read_all(inputs: list[tuple[str, int]], seed: int, results: Connection) -> None:
    """Read inputs one by one, and send what became of each; what a process works at it sends first."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libpng and libtiff complain there themselves
    with tempfile.TemporaryDirectory() as place:
        kinds = make_kinds(Path(place))
        for name, number in inputs:
            results.send((name, number))
            kind = kinds[name]
            with damaged(kind, [seed, list(kinds).index(name), number]) as path:
                before, began, said = peak_memory(reset=True), time.perf_counter(), ""
                try:
                    kind.read(path)
                    what = "read"
                except (ValueError, OSError, ImportError) as error:
                    what = "refused"
                    if match := _FOREIGN.search(str(error).replace(place, "")):
                        what, said = "foreign", f"{match[0]!r} in {str(error)[-300:]}"
                except BaseException:
                    what, said = "tracebacks", traceback.format_exc(limit=-3)
                results.send((what, time.perf_counter() - began, peak_memory() - before, said.replace(place, "")))
    results.close()


class Reader:
    """A process that reads its share of the inputs, and the next one where an input ends it."""

    def __init__(self, inputs: list[tuple[str, int]], seed: int) -> None:
        self.inputs, self.seed = inputs, seed
        self.start()

    def start(self) -> None:
        """Begin a process for the inputs that are left."""
        context = multiprocessing.get_context("spawn")
        self.results, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=read_all, args=(self.inputs, self.seed, sender))
        self.process.start()
        sender.close()
        self.at: tuple[str, int] | None = None
        self.since = time.monotonic()

    def next(self, outcomes: dict[str, Outcome]) -> int:
        """Take down what the process has sent, or that it has ended or hangs; how many inputs are done by that."""
        hangs = time.monotonic() - self.since > _LONGEST
        try:
            said = self.results.recv() if self.results.poll() else None
        except EOFError:
            hangs, said = True, None
        if said is None and not hangs:
            return 0
        if said is None:
            assert self.at is not None, "a process ended before its first input"
            self.stop()
            outcomes[self.at[0]].counts["tracebacks"] += 1
            outcomes[self.at[0]].shown.append(f"input {self.at[1]}: its process ended, or hung for {_LONGEST:.0f} s")
            self.inputs = self.inputs[1:]
            if self.inputs:
                self.start()
            return 1
        self.since = time.monotonic()
        if len(said) == 2:
            self.at = said
            return 0
        assert self.at is not None
        what, seconds, memory, text = said
        outcome = outcomes[self.at[0]]
        outcome.counts[what] += 1
        outcome.seconds, outcome.memory = max(outcome.seconds, seconds), max(outcome.memory, memory)
        if text:
            outcome.shown.append(f"input {self.at[1]}: {text}")
        self.inputs = self.inputs[1:]
        return 1

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.results.close()


def run(count: int, seed: int, jobs: int) -> dict[str, Outcome]:
    """Read ``count`` damaged files in ``jobs`` processes."""
    with tempfile.TemporaryDirectory() as place:
        names = list(make_kinds(Path(place)))
    outcomes = {name: Outcome() for name in names}
    inputs = [(names[number % len(names)], number) for number in range(count)]
    readers = [Reader(inputs[job::jobs], seed) for job in range(min(jobs, count))]
    try:
        with tqdm(total=count, desc="mutations", disable=None) as bar:
            while left := [reader for reader in readers if reader.inputs]:
                wait([reader.results for reader in left], timeout=1)
                bar.update(sum(reader.next(outcomes) for reader in left))
    finally:
        for reader in readers:
            reader.stop()
    return outcomes


def print_outcomes(outcomes: dict[str, Outcome], shown: int) -> None:
    """Print a table, and some of what should not have been."""
    table = Table(title=f"damaged files; {processor()}, {os.cpu_count()} cores")
    columns = ("read", "refused", "foreign", "tracebacks")
    for heading in ("kind", *columns, "slowest, ms", "memory, MiB"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for name, outcome in outcomes.items():
        counts = [str(outcome.counts[column]) for column in columns]
        table.add_row(name, *counts, f"{1000 * outcome.seconds:.0f}", f"{outcome.memory / 2**20:.0f}")
    total = sum((outcome.counts for outcome in outcomes.values()), Counter())
    slowest, most = max(o.seconds for o in outcomes.values()), max(o.memory for o in outcomes.values())
    counts = [str(total[column]) for column in columns]
    table.add_row("all", *counts, f"{1000 * slowest:.0f}", f"{most / 2**20:.0f}", style="bold")
    console = Console(width=110)
    for name, outcome in outcomes.items():
        for text in outcome.shown[:shown]:
            console.print(f"{name}: {text}", markup=False, highlight=False)
    console.print(table)


def main() -> None:
    """Damage, read and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--shown", type=int, default=3, help="of each kind, inputs that are neither read nor refused")
    arguments = parser.parse_args()
    print_outcomes(run(arguments.count, arguments.seed, arguments.jobs), arguments.shown)


if __name__ == "__main__":
    main()
