"""The handler that writes a submission CSV, on one rank or several."""

from __future__ import annotations

import csv
import heapq
import json
import os
import re
import shutil
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import IO, Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.engines import Workflow

from handseg_monai.bones import NAMES, NUM_BONES
from handseg_monai.data.items import Item
from handseg_monai.files import atomic_open
from handseg_monai.rle import HEADER, encode_planes, rows

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_MOST_WAITING = 2
"""Images whose masks wait for being encoded, so that memory does not grow where that is slower than the network."""

_BONES = [[name] for name in NAMES]
_LAST_ROW = re.compile(rb",%b,[0-9 ]*\n$" % NAMES[-1].encode())


class SubmissionWriter:
    """Write the bit planes of each image as 29 rows of a submission CSV.

    Each rank appends to a part file of its own. When all are done, rank 0 merges the parts in the order of the
    datalist, makes sure that each image came exactly once, and writes ``submission.csv`` beside and renames it: a
    kill leaves the old file or the new one. Images that failed get no rows; they are listed in ``failures.csv`` and
    by :meth:`finish`.

    A run that was killed leaves its parts, and the next one of the same job goes on from there, on any number of ranks:
    :meth:`remaining` are the images that it still has to do.

    Parameters
    ----------
    output_dir
        Where to write. One run at a time.
    data
        The whole datalist, of all ranks; names are unique in it.
    key
        Key of the bit planes in the engine's output, int32 (1, H, W).
    job
        What the masks depend on beside the images, plain values: parts of another job are thrown away. None: all are.
    """

    def __init__(
        self,
        output_dir: str | Path,
        data: Sequence[Item],
        key: str = "pred",
        job: Mapping[str, object] | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.data = data
        self.key = key
        self.job = None if job is None else json.dumps(dict(job), sort_keys=True)
        self.failures: dict[str, str] = {}
        self._done: frozenset[str] | None = None
        self._run = 0
        self._masks: IO[str] | None = None
        self._encoder = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[Future[None]] = deque()

    @property
    def path(self) -> Path:
        """The finished file."""
        return self.output_dir / "submission.csv"

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator whose batches hold ``name`` and, for an image that failed, ``failure``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.append)

    def start(self) -> None:
        """Look what an earlier run of the same job left and open this rank's parts; every rank calls it before the run.

        Not an event handler, because an engine without images fires no events and other ranks would wait for it.

        Raises
        ------
        ValueError
            Another run still writes there.
        """
        if idist.get_rank() == 0:
            for path in self._parts.glob("masks.*"):
                with path.open("rb") as file:
                    self._lock(file)
            note = self._parts / "job.json"
            if self.job is None or not note.exists() or note.read_text(encoding="utf-8") != self.job:
                shutil.rmtree(self._parts, ignore_errors=True)
                self._parts.mkdir(parents=True)
                if self.job is not None:
                    with atomic_open(note) as file:
                        file.write(self.job)
            for path in self._parts.glob("failures.*"):
                path.unlink()
            for path in self._parts.glob("masks.*"):
                _cut_torn(path)
        idist.barrier()
        parts = list(self._parts.glob("masks.*"))
        self._done = frozenset(image[0][0] for path in parts for image in _images(path))
        self._run = 1 + max((int(path.name.split(".")[1]) for path in parts), default=0)
        # No rank may write before all of them have read.
        idist.barrier()
        self._masks = self._part("masks").open("a", newline="", encoding="utf-8")
        self._lock(self._masks)
        self._part("failures").touch()
        done = len(self.data) - len(self.remaining())
        if done and idist.get_rank() == 0:
            print(f"{done} of {len(self.data)} images are done already: {self._parts}")

    def _lock(self, file: IO[Any]) -> None:
        """Hold a part for as long as its file is open: a killed run's ranks may live on without their launcher."""
        if fcntl is None:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"--output_dir {self.output_dir}: another run still writes to it; end all of its processes first"
            ) from error

    def remaining(self) -> list[Item]:
        """Images of the datalist that no earlier run has done.

        Raises
        ------
        RuntimeError
            Before :meth:`start`.
        """
        if self._done is None:
            raise RuntimeError("SubmissionWriter.start() comes before remaining()")
        return [item for item in self.data if item["name"] not in self._done]

    def append(self, engine: Workflow) -> None:
        """Have the images of one iteration encoded and appended to this rank's part, while the network goes on.

        What goes wrong there is raised by a later call, or by :meth:`finish`.
        """
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            if "failure" in batch:
                with self._part("failures").open("a", newline="", encoding="utf-8") as file:
                    csv.writer(file, lineterminator="\n").writerow((batch["name"], batch["failure"]))
            else:
                while len(self._waiting) >= _MOST_WAITING:
                    self._waiting.popleft().result()
                self._waiting.append(self._encoder.submit(self._append, batch["name"], output[self.key]))

    def flush(self) -> None:
        """Wait until all images that were given are in this rank's part."""
        while self._waiting:
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Merge the parts of all ranks, on rank 0, and print where the result is; every rank calls it after the run.

        Exits with code 1 where images failed, once all else is done; they are printed with their reasons.

        Raises
        ------
        RuntimeError
            An image of the datalist is missing from the parts, or comes twice.
        """
        self.flush()
        if self._masks is not None:
            self._masks.close()
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
        return self._parts / f"{kind}.{self._run}.{idist.get_rank()}.csv"

    def _append(self, name: str, planes: torch.Tensor) -> None:
        if self._masks is None:
            raise RuntimeError("SubmissionWriter.start() comes before the run")
        texts = encode_planes(planes[0].cpu().numpy().astype(np.int32, copy=False))
        csv.writer(self._masks, lineterminator="\n").writerows(rows(name, texts))
        self._masks.flush()

    def _write_submission(self) -> None:
        order = {item["name"]: i for i, item in enumerate(self.data)}
        expected = iter([name for name in order if name not in self.failures])
        parts = [
            filter(lambda image_rows: image_rows[0][0] in order, _images(path)) for path in self._parts.glob("masks.*")
        ]
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


def _cut_torn(path: Path) -> None:
    """Cut off the image at the end of a part that a kill has left unfinished."""
    whole = 0
    with path.open("rb") as file:
        for line in iter(file.readline, b""):
            if _LAST_ROW.search(line):
                whole = file.tell()
    os.truncate(path, whole)
    if any([row[1:2] for row in image] != _BONES or len({row[0] for row in image}) > 1 for image in _images(path)):
        os.truncate(path, 0)
