"""The handler that writes a submission CSV, on one rank or several."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.engines import Workflow

from handseg_monai.data.confidence import HEADER as CONFIDENCE_HEADER
from handseg_monai.data.confidence import confidence_rows
from handseg_monai.data.items import Item
from handseg_monai.files import atomic_open, hold
from handseg_monai.handlers.probabilities import Probabilities
from handseg_monai.inferers.coarse import confidences
from handseg_monai.rle import encode_planes, write_csv

_MOST_WAITING = 2
"""Images whose masks wait for being encoded, so that memory does not grow where that is slower than the network."""


class SubmissionWriter:
    """Write the bit planes of each image as 29 rows of a submission CSV.

    Each image that is done has a record, a JSON file of its own, whichever rank it was done on. When all are done, rank
    0 writes ``submission.csv`` from the records in the order of the datalist, beside and renames it: a kill leaves the
    old file or the new one. Images that failed get no rows; they are listed in ``failures.csv`` and by :meth:`finish`.

    A run that was killed leaves its records, and the next one of the same job goes on from there, on any number of
    ranks: :meth:`remaining` are the images that it still has to do, those whose file has changed since among them.

    Parameters
    ----------
    output_dir
        Where to write. One run at a time.
    data
        The whole datalist, of all ranks; names are unique in it.
    key
        Key of the bit planes in the engine's output, int32 (1, H, W).
    job
        What the masks depend on beside the images, plain values: records of another job are thrown away. None: all are.
    confidence
        Write ``confidence.csv`` too, see :func:`~handseg_monai.inferers.coarse.confidences`.
    confidence_side
        Long side of the grid that confidences are computed on, in pixels.
    """

    def __init__(
        self,
        output_dir: str | Path,
        data: Sequence[Item],
        key: str = "pred",
        job: Mapping[str, object] | None = None,
        confidence: bool = False,
        confidence_side: int = 512,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.data = data
        self.key = key
        self.job = None if job is None else json.dumps(dict(job), sort_keys=True)
        self.confidence = confidence
        self.confidence_side = confidence_side
        self.failures: dict[str, str] = {}
        self._remaining: list[Item] | None = None
        self._sources: dict[str, str] = {}
        self._locks: list[IO[str]] = []
        self._encoder = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[Future[None]] = deque()

    @property
    def path(self) -> Path:
        """The finished file."""
        return self.output_dir / "submission.csv"

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator whose batches hold ``name`` and, for an image that failed, ``failure``."""
        if self.confidence:
            Probabilities(self.confidence_side).attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.append)

    def start(self) -> None:
        """Look what an earlier run of the same job left; every rank calls it before the run.

        Not an event handler, because an engine without images fires no events and other ranks would wait for it.

        Raises
        ------
        ValueError
            Another run still writes there, or ranks have other images than this one.
        ConnectionError
            Another rank has ended.
        """
        names = hashlib.sha256("\n".join(item["name"] for item in self.data).encode()).hexdigest()
        seen = _gather(f"{names} {len(self.data)}")
        if len(set(seen)) > 1:
            counts = ", ".join(text.split()[1] for text in seen)
            raise ValueError(f"ranks see different images ({counts} of them): is the folder still being filled?")
        self._sources = {item["name"]: _identity(item["image"]) for item in self.data}
        # The first rank decides for all of them: what others see of a network's disk may be older.
        is_first = idist.get_rank() == 0
        done = _gather(self._begin() if is_first else "")[0]
        if not is_first:
            self._hold(shared=True)
        self._remaining = [item for item, is_done in zip(self.data, done, strict=True) if is_done == "0"]
        if (count := done.count("1")) and is_first:
            print(f"{count} of {len(self.data)} images are done already: {self._parts}")

    def _begin(self) -> str:
        """Leave the records that count, and return a character for each image: 1 where it is done."""
        self._parts.mkdir(parents=True, exist_ok=True)
        self._hold()
        others = [path for path in self._parts.iterdir() if path.is_dir() and path != self._records]
        if self.job is None:
            others.append(self._records)
        if count := sum(1 for folder in others for _ in folder.glob("*.json")):
            print(f"{self._parts}: {count} finished images of another job (options, weights) are thrown away")
        for folder in others:
            shutil.rmtree(folder, ignore_errors=True)
        self._records.mkdir(exist_ok=True)
        there = {path.name for path in self._records.iterdir()}
        self._hold(shared=True)
        return "".join(str(int(self._is_done(item["name"], there))) for item in self.data)

    def _is_done(self, name: str, there: Collection[str]) -> bool:
        """Whether an image has a record that counts; one that doesn't is removed."""
        path = self._record(name)
        if path.name not in there:
            return False
        with suppress(ValueError, TypeError, KeyError):  # where a disk has lost what was written
            record = self._read(name)
            same = self._sources[name] and record["source"] == self._sources[name]
            if same and (record["confidence"] or not self.confidence):
                return True
        path.unlink()
        return False

    def _hold(self, shared: bool = False) -> None:
        """Hold the folder: a killed run's ranks may live on without their launcher."""
        self._locks.append(hold(self._parts / "lock", f"--output_dir {self.output_dir}", shared))

    def _let_go(self) -> None:
        for lock in self._locks:
            lock.close()

    def remaining(self) -> list[Item]:
        """Images of the datalist that no earlier run has done.

        Raises
        ------
        RuntimeError
            Before :meth:`start`.
        """
        if self._remaining is None:
            raise RuntimeError("SubmissionWriter.start() comes before remaining()")
        return self._remaining

    def append(self, engine: Workflow) -> None:
        """Have the images of one iteration encoded and recorded, while the network goes on.

        What goes wrong there is raised by a later call, or by :meth:`finish`.
        """
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            if "failure" in batch:
                self.failures[batch["name"]] = batch["failure"]
                continue
            planes, sure = output[self.key], None
            if self.confidence:
                sure = confidences(output["probabilities"], planes[0]).tolist()
            while len(self._waiting) >= _MOST_WAITING:
                self._waiting.popleft().result()
            self._waiting.append(self._encoder.submit(self._write_record, batch["name"], planes, sure))

    def flush(self) -> None:
        """Wait until all images that were given have their records."""
        while self._waiting:
            self._waiting.popleft().result()

    def kept(self) -> str:
        """Give this run up, and say how many images are done and how to go on."""
        while self._waiting:
            with suppress(Exception):
                self._waiting.popleft().result()
        self._let_go()
        if not self._parts.exists():
            return f"{self.path} is whole"
        count = sum(self._record(item["name"]).exists() for item in self.data)
        return f"{count} of {len(self.data)} images are done and kept in {self._parts}; the same command goes on there"

    def earlier(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the images that an earlier run of the same job has done, each with its 29 texts."""
        left = {item["name"] for item in self.remaining()}
        for item in self.data:
            if item["name"] not in left:
                yield item["name"], self._read(item["name"])["rle"]

    def finish(self) -> None:
        """Write what all ranks have done, on rank 0, and print where it is; every rank calls it after the run.

        Exits with code 1 where images failed, once all else is done; they are printed with their reasons.

        Raises
        ------
        RuntimeError
            An image of the datalist was not done, or was done twice.
        ConnectionError
            Another rank has ended.
        """
        self.flush()
        failed = [pair for text in _gather(json.dumps(self.failures)) for pair in json.loads(text).items()]
        self.failures = dict(failed)
        if idist.get_rank() == 0:
            self._write_failures()
            self._write_confidence()
            write_csv(self.path, ((name, self._read(name)["rle"]) for name in self._segmented()))
            shutil.rmtree(self._records)
            self._report()
            (self._parts / "lock").unlink()
        self._let_go()
        if idist.get_rank() == 0:
            with suppress(OSError):  # another run has begun there since
                self._parts.rmdir()
        # A launcher ends all ranks once one of them has exited with an error.
        _gather("")
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

    @property
    def _records(self) -> Path:
        return self._parts / _digest(self.job or "")

    def _record(self, name: str) -> Path:
        return self._records / f"{_digest(name)}.json"

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads(self._record(name).read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise RuntimeError(f"{self._parts}: image {name} is missing") from error

    def _write_record(self, name: str, planes: torch.Tensor, confidence: list[float] | None) -> None:
        if self._remaining is None:
            raise RuntimeError("SubmissionWriter.start() comes before the run")
        path = self._record(name)
        if path.exists():
            raise RuntimeError(f"{self._parts}: image {name} comes twice")
        texts = encode_planes(planes[0].cpu().numpy().astype(np.int32, copy=False))
        record = {"name": name, "source": self._sources[name], "confidence": confidence, "rle": texts}
        with atomic_open(path) as file:
            file.write(json.dumps(record))

    def _segmented(self) -> list[str]:
        return [item["name"] for item in self.data if item["name"] not in self.failures]

    def _write_confidence(self) -> None:
        path = self.output_dir / "confidence.csv"
        path.unlink(missing_ok=True)
        if self.confidence:
            with atomic_open(path) as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(CONFIDENCE_HEADER)
                for name in self._segmented():
                    writer.writerows(confidence_rows(name, self._read(name)["confidence"]))

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


def _gather(text: str) -> list[str]:
    """Give a text to all ranks and return those of all, in the order of the ranks; each has to call it.

    Raises
    ------
    ConnectionError
        One of them has ended, or is later than the process group waits.
    """
    try:
        texts = idist.all_gather(text)
    except RuntimeError as error:
        raise ConnectionError(
            "another rank has ended before its work was done, or has not come within the time of the process group"
        ) from error
    return [str(one) for one in texts] if isinstance(texts, list) else []


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _identity(path: str | Path) -> str:
    """Text that differs once a file is another one or has changed; empty where there is none."""
    try:
        stat = Path(path).stat()
    except OSError:
        return ""
    return f"{Path(path).resolve()} {stat.st_size} {stat.st_mtime_ns}"
