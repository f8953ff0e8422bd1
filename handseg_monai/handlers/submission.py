"""The handler that writes a submission CSV, on one rank or several."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.engines import Workflow

from handseg_monai.bones import NAMES
from handseg_monai.data.confidence import HEADER as CONFIDENCE_HEADER
from handseg_monai.data.confidence import confidence_rows
from handseg_monai.data.items import Item
from handseg_monai.files import atomic_open
from handseg_monai.inferers.coarse import confidences
from handseg_monai.inferers.planes import PlanesInferer
from handseg_monai.rle import HEADER, encode_planes, rows

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_ALONE = "another rank has ended before its work was done, or has not come within the time of the process group"
_MOST_WAITING = 2
"""Images whose masks wait for being encoded, so that memory does not grow where that is slower than the network."""

_NUMBER = re.compile(r"[01]\.\d{4}")
_BONES = [[name] for name in NAMES]
_LAST_ROW = re.compile(rb",%b,[0-9 ]*\n$" % NAMES[-1].encode())


class SubmissionWriter:
    """Write the bit planes of each image as 29 rows of a submission CSV.

    Each rank appends to a part file of its own. When all are done, rank 0 merges the parts in the order of the
    datalist, makes sure that each image came exactly once, and writes ``submission.csv`` beside and renames it: a
    kill leaves the old file or the new one. Images that failed get no rows; they are listed in ``failures.csv`` and
    by :meth:`finish`.

    A run that was killed leaves its parts, and the next one of the same job goes on from there, on any number of ranks:
    :meth:`remaining` are the images that it still has to do, those whose file has changed since among them.

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
    confident
        The evaluator's inferer: ``confidence.csv`` is written too, see
        :func:`~handseg_monai.inferers.coarse.confidences`. None: it is not.
    confidence_side
        Long side of the grid that confidences are computed on, in pixels.
    """

    def __init__(
        self,
        output_dir: str | Path,
        data: Sequence[Item],
        key: str = "pred",
        job: Mapping[str, object] | None = None,
        confident: PlanesInferer | None = None,
        confidence_side: int = 512,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.data = data
        self.key = key
        self.job = None if job is None else json.dumps(dict(job), sort_keys=True)
        self.confident = confident
        if confident is not None:
            confident.coarse_side = confidence_side
        self.failures: dict[str, str] = {}
        self._done: frozenset[str] | None = None
        self._run = 0
        self._paths = {item["name"]: item["image"] for item in data}
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
            Another run still writes there, or ranks have other images than this one.
        """
        self._require_same_images()
        if idist.get_rank() == 0:
            for path in self._parts.glob("masks.*"):
                with path.open("rb") as file:
                    self._lock(file)
            note = self._parts / "job.json"
            if self.job is None or not note.exists() or note.read_text(encoding="utf-8") != self.job:
                if count := len({name for path in self._of_kind("masks") for name, *_ in _images(path)}):
                    print(f"{self._parts}: {count} finished images of another job (options, weights) are thrown away")
                shutil.rmtree(self._parts, ignore_errors=True)
                self._parts.mkdir(parents=True)
                if self.job is not None:
                    with atomic_open(note) as file:
                        file.write(self.job)
            for path in self._parts.glob("failures.*"):
                path.unlink()
        self._together()
        parts = self._of_kind("masks")
        source = dict(row for path in self._of_kind("sources") for row in _read(path, 2))
        done = {name for path in parts for name, *_ in _images(path)}
        if self.confident is not None:
            sure = {(name, bone) for part in self._of_kind("confidence") for name, bone, _ in _confidences(part)}
            done = {name for name in done if all((name, bone) in sure for bone in NAMES)}
        now = {item["name"]: _identity(item["image"]) for item in self.data if item["name"] in done}
        self._done = frozenset(name for name, identity in now.items() if identity and source.get(name) == identity)
        self._run = 1 + max(map(_run_of, parts), default=0)
        # No rank may write before all of them have read.
        self._together()
        self._masks = self._part("masks").open("a", newline="", encoding="utf-8")
        self._lock(self._masks)
        self._part("failures").touch()
        if (count := len(self._done)) and idist.get_rank() == 0:
            print(f"{count} of {len(self.data)} images are done already: {self._parts}")

    def _require_same_images(self) -> None:
        """Compare the datalists of the ranks, each of which has listed the folder by itself."""
        names = hashlib.sha256("\n".join(item["name"] for item in self.data).encode()).hexdigest()
        try:
            seen = idist.all_gather(f"{names} {len(self.data)}")
        except RuntimeError as error:
            raise ConnectionError(_ALONE) from error
        texts = [str(one) for one in seen] if isinstance(seen, list) else []
        if len(set(texts)) > 1:
            counts = ", ".join(text.split()[1] for text in texts)
            raise ValueError(f"ranks see different images ({counts} of them): is the folder still being filled?")

    def _together(self) -> None:
        """Wait for the other ranks.

        Raises
        ------
        ConnectionError
            One of them has ended, or is later than the process group waits.
        """
        try:
            idist.barrier()
        except RuntimeError as error:
            raise ConnectionError(_ALONE) from error

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
                sure = None
                if self.confident is not None and self.confident.coarse is not None:
                    sure = confidences(self.confident.coarse, output[self.key][0]).tolist()
                while len(self._waiting) >= _MOST_WAITING:
                    self._waiting.popleft().result()
                self._waiting.append(self._encoder.submit(self._append, batch["name"], output[self.key], sure))

    def flush(self) -> None:
        """Wait until all images that were given are in this rank's part."""
        while self._waiting:
            self._waiting.popleft().result()

    def kept(self) -> str:
        """Give this rank's part up, and say how many images are done and how to go on."""
        while self._waiting:
            with suppress(Exception):
                self._waiting.popleft().result()
        if self._masks is not None:
            with suppress(OSError):
                self._masks.close()
        if not self._parts.exists():
            return f"{self.path} is whole"
        done = {name for path in self._of_kind("masks") for name, *_ in _images(path)}
        count = len(done.intersection(self._paths))
        return f"{count} of {len(self.data)} images are done and kept in {self._parts}; the same command goes on there"

    def earlier(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the images that an earlier run of the same job has done, each with its 29 texts."""
        for path in self._of_kind("masks"):
            for name, start, end in _images(path):
                if _run_of(path) != self._run and name in (self._done or ()):
                    with path.open("rb") as file:
                        file.seek(start)
                        block = file.read(end - start).decode("utf-8")
                    yield name, [row[2] for row in csv.reader(io.StringIO(block, newline=""))]

    def finish(self) -> None:
        """Merge the parts of all ranks, on rank 0, and print where the result is; every rank calls it after the run.

        Exits with code 1 where images failed, once all else is done; they are printed with their reasons.

        Raises
        ------
        RuntimeError
            An image of the datalist is missing from the parts, or comes twice.
        """
        self.flush()
        self._together()
        self.failures = dict(row for path in self._parts.glob("failures.*") for row in _read(path, 2))
        self._together()
        if idist.get_rank() == 0:
            self._write_failures()
            self._write_confidence()
            self._write_submission()
            shutil.rmtree(self._parts)
            self._report()
        # Until here the parts are this run's alone.
        if self._masks is not None:
            self._masks.close()
        self._together()
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

    def _of_kind(self, kind: str) -> list[Path]:
        """Parts of all runs, the oldest first."""
        return sorted(self._parts.glob(f"{kind}.*"), key=_run_of)

    def _append(self, name: str, planes: torch.Tensor, sure: Sequence[float] | None) -> None:
        if self._masks is None:
            raise RuntimeError("SubmissionWriter.start() comes before the run")
        texts = encode_planes(planes[0].cpu().numpy().astype(np.int32, copy=False))
        with self._part("sources").open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow((name, _identity(self._paths[name])))
        if sure is not None:
            with self._part("confidence").open("a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(confidence_rows(name, sure))
        csv.writer(self._masks, lineterminator="\n").writerows(rows(name, texts))
        self._masks.flush()

    def _write_submission(self) -> None:
        place: dict[str, tuple[Path, int, int]] = {}
        for path in self._of_kind("masks"):
            new = _run_of(path) == self._run
            for name, start, end in _images(path):
                if new and name in place:
                    raise RuntimeError(f"{self._parts}: image {name} comes twice")
                if new or name in (self._done or ()):
                    place[name] = path, start, end
        expected = [item["name"] for item in self.data if item["name"] not in self.failures]
        if (missing := next((name for name in expected if name not in place), None)) is not None:
            raise RuntimeError(f"{self._parts}: image {missing} is missing")
        with ExitStack() as stack:
            files = {path: stack.enter_context(path.open("rb")) for path in {path for path, *_ in place.values()}}
            out = stack.enter_context(atomic_open(self.path))
            csv.writer(out, lineterminator="\n").writerow(HEADER)
            for name in expected:
                path, start, end = place[name]
                files[path].seek(start)
                out.write(files[path].read(end - start).decode("utf-8"))

    def _write_confidence(self) -> None:
        path = self.output_dir / "confidence.csv"
        path.unlink(missing_ok=True)
        if self.confident is None:
            return
        # Of an image that was done again, or was cut off and is whole in a later part, the last rows count.
        found = {tuple(row[:2]): row for part in self._of_kind("confidence") for row in _confidences(part)}
        with atomic_open(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(CONFIDENCE_HEADER)
            for item in self.data:
                if item["name"] not in self.failures:
                    writer.writerows(found[item["name"], bone] for (bone,) in _BONES)

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


def _read(path: Path, columns: int) -> Iterator[list[str]]:
    """Yield the rows of a part; one that a kill or a full disk has torn is passed over."""
    csv.field_size_limit(1 << 30)
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        yield from (row for row in csv.reader(file) if len(row) == columns)


def _confidences(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a part whose numbers are whole."""
    yield from (row for row in _read(path, 3) if _NUMBER.fullmatch(row[2]))


def _images(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield each whole image of a part: its name, and the bytes where its rows begin and end.

    One that a kill has left unfinished at the end is passed over.
    """
    start, block = 0, b""
    with path.open("rb") as file:
        for line in iter(file.readline, b""):
            block += line
            # A name may hold a line that looks like the last row: then the rows are not 29 of one name.
            if _LAST_ROW.search(line) and (name := _name_of(block)) is not None:
                end = file.tell()
                yield name, start, end
                start, block = end, b""


def _name_of(block: bytes) -> str | None:
    image_rows = list(csv.reader(io.StringIO(block.decode("utf-8", errors="replace"), newline="")))
    names = {row[0] for row in image_rows}
    return names.pop() if len(names) == 1 and [row[1:2] for row in image_rows] == _BONES else None


def _run_of(path: Path) -> int:
    return int(path.name.split(".")[1])


def _identity(path: str | Path) -> str:
    """Text that differs once a file is another one or has changed; empty where there is none."""
    try:
        stat = Path(path).stat()
    except OSError:
        return ""
    return f"{Path(path).resolve()} {stat.st_size} {stat.st_mtime_ns}"
