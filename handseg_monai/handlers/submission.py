"""The handler that writes a submission CSV, on one rank or several."""

from __future__ import annotations

import csv
import heapq
import logging
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import ignite.distributed as idist
import numpy as np
from ignite.engine import Events
from monai.engines import Workflow

from handseg_monai.bones import NUM_BONES
from handseg_monai.data.items import Item
from handseg_monai.files import atomic_open
from handseg_monai.rle import HEADER, encode_planes, rows

logger = logging.getLogger(__name__)


class SubmissionWriter:
    """Write the bit planes of each image as 29 rows of a submission CSV.

    Each rank appends to a part file of its own. When all are done, rank 0 merges the parts in the order of the
    datalist, makes sure that each image came exactly once, and writes ``submission.csv`` beside and renames it: a
    kill leaves the old file or the new one. Images that failed get no rows; they are listed in ``failures.csv`` and
    by :meth:`finish`.

    Parameters
    ----------
    output_dir
        Where to write.
    data
        The whole datalist, of all ranks; names are unique in it.
    key
        Key of the bit planes in the engine's output, int32 (1, H, W).
    """

    def __init__(self, output_dir: str | Path, data: Sequence[Item], key: str = "pred") -> None:
        self.output_dir = Path(output_dir)
        self.data = data
        self.key = key
        self.failures: dict[str, str] = {}

    @property
    def path(self) -> Path:
        """The finished file."""
        return self.output_dir / "submission.csv"

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator whose batches hold ``name`` and, for an image that failed, ``failure``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.append)

    def start(self) -> None:
        """Remove what an earlier run left and open this rank's parts; every rank calls it before the run.

        Not an event handler, because an engine without images fires no events and other ranks would wait for it.
        """
        if idist.get_rank() == 0:
            shutil.rmtree(self._parts, ignore_errors=True)
            self._parts.mkdir(parents=True)
        idist.barrier()
        for kind in ("masks", "failures"):
            self._part(kind).touch()

    def append(self, engine: Workflow) -> None:
        """Encode the images of one iteration and append them to this rank's part."""
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            if "failure" in batch:
                self._append("failures", [(batch["name"], batch["failure"])])
            else:
                planes = output[self.key][0].cpu().numpy().astype(np.int32, copy=False)
                self._append("masks", rows(batch["name"], encode_planes(planes)))

    def finish(self) -> None:
        """Merge the parts of all ranks, on rank 0, and print where the result is; every rank calls it after the run.

        Exits with code 1 where images failed, once all else is done; they are printed with their reasons.

        Raises
        ------
        RuntimeError
            An image of the datalist is missing from the parts, or comes twice.
        """
        idist.barrier()
        self.failures = {name: reason for path in self._parts.glob("failures.*") for name, reason in _read(path)}
        idist.barrier()
        if idist.get_rank() == 0:
            self._write_failures()
            self._write_submission()
            shutil.rmtree(self._parts)
            self._report()
        idist.barrier()
        if self.failures:
            sys.exit(1)

    def _report(self) -> None:
        count = len(self.data)
        print(f"{self.path}: {count - len(self.failures)} of {count} images")
        if self.failures:
            print(f"{len(self.failures)} of {count} images failed:", file=sys.stderr)
            paths = {item["name"]: item["image"] for item in self.data}
            for name, reason in self.failures.items():
                print(f"  {reason if paths[name] in reason else f'{paths[name]}: {reason}'}", file=sys.stderr)

    @property
    def _parts(self) -> Path:
        return self.output_dir / ".submission.parts"

    def _part(self, kind: str) -> Path:
        return self._parts / f"{kind}.{idist.get_rank()}.csv"

    def _append(self, kind: str, lines: Iterable[Sequence[str]]) -> None:
        with self._part(kind).open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)

    def _write_submission(self) -> None:
        order = {item["name"]: i for i, item in enumerate(self.data)}
        expected = iter([name for name in order if name not in self.failures])
        parts = [_images(path) for path in self._parts.glob("masks.*")]
        with atomic_open(self.path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            for image_rows in heapq.merge(*parts, key=lambda image_rows: order[image_rows[0][0]]):
                name, awaited = image_rows[0][0], next(expected, None)
                if name != awaited:
                    raise RuntimeError(f"{self._parts}: image {name} comes where {awaited} was expected")
                writer.writerows(image_rows)
            if (missing := next(expected, None)) is not None:
                raise RuntimeError(f"{self._parts}: image {missing} is missing")

    def _write_failures(self) -> None:
        path = self.output_dir / "failures.csv"
        path.unlink(missing_ok=True)
        if self.failures:
            with atomic_open(path) as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(("image", "reason"))
                writer.writerows(
                    (item["image"], self.failures[item["name"]]) for item in self.data if item["name"] in self.failures
                )


def _read(path: Path) -> Iterator[list[str]]:
    csv.field_size_limit(1 << 30)
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.reader(file)


def _images(path: Path) -> Iterator[list[list[str]]]:
    """Yield the rows of a part, 29 at a time."""
    lines = _read(path)
    while image_rows := list(islice(lines, NUM_BONES)):
        yield image_rows
