"""The handler that writes a submission CSV, on one rank or several."""

from __future__ import annotations

import csv
import json
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.engines import Workflow

from handseg_monai.data.confidence import HEADER as CONFIDENCE_HEADER
from handseg_monai.data.confidence import confidence_rows
from handseg_monai.data.records import Records, gather
from handseg_monai.files import atomic_open
from handseg_monai.handlers.probabilities import Probabilities
from handseg_monai.inferers.coarse import confidences
from handseg_monai.rle import encode_planes, write_csv

_MOST_WAITING = 2
"""Images whose masks wait for being encoded, so that memory does not grow where that is slower than the network."""


class SubmissionWriter:
    """Write the bit planes of each image as 29 rows of a submission CSV.

    Each image that is done has a record (:class:`~handseg_monai.data.records.Records`). When all are done, rank 0
    writes ``submission.csv`` from the records in the order of the datalist, beside and renames it: a kill leaves the
    old file or the new one. Images that failed get no rows; they are listed in ``failures.csv`` and by :meth:`finish`.
    Where the records count only with confidences, ``confidence.csv`` is written too, see
    :func:`~handseg_monai.inferers.coarse.confidences`.

    Parameters
    ----------
    output_dir
        Where to write.
    records
        Of the images that are done; its ``start()`` comes first.
    key
        Key of the bit planes in the engine's output, int32 (1, H, W).
    confidence_side
        Long side of the grid that confidences are computed on, in pixels.
    """

    def __init__(self, output_dir: str | Path, records: Records, key: str = "pred", confidence_side: int = 512) -> None:
        self.output_dir = Path(output_dir)
        self.records = records
        self.key = key
        self.confidence_side = confidence_side
        self.failures: dict[str, str] = {}
        self._encoder = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[Future[None]] = deque()

    @property
    def path(self) -> Path:
        """The finished file."""
        return self.output_dir / "submission.csv"

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator whose batches hold ``name`` and, for an image that failed, ``failure``."""
        if self.records.confidence:
            Probabilities(self.confidence_side).attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.append)

    def append(self, engine: Workflow) -> None:
        """Have the images of one iteration encoded and recorded, while the network goes on.

        What goes wrong there is raised by a later call, or by :meth:`finish`.
        """
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            if "failure" in batch:
                self.failures[batch["name"]] = batch["failure"]
                continue
            planes, sure = output[self.key], None
            if self.records.confidence:
                sure = confidences(output["probabilities"], planes[0]).tolist()
            while len(self._waiting) >= _MOST_WAITING:
                self._waiting.popleft().result()
            self._waiting.append(self._encoder.submit(self._record, batch["name"], planes, sure))

    def flush(self) -> None:
        """Wait until all images that were given have their records."""
        while self._waiting:
            self._waiting.popleft().result()

    def kept(self) -> str:
        """Give this run up, and say how many images are done and how to go on."""
        while self._waiting:
            with suppress(Exception):
                self._waiting.popleft().result()
        self.records.let_go()
        folder, done = self.records.folder, self.records.count()
        if not folder.exists():
            return f"{self.path} is whole"
        count = len(self.records.data)
        return f"{done} of {count} images are done and kept in {folder}; the same command continues"

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
        failed = [pair for text in gather(json.dumps(self.failures)) for pair in json.loads(text).items()]
        self.failures = dict(failed)
        if idist.get_rank() == 0:
            self._write_failures()
            self._write_confidence()
            write_csv(self.path, ((name, self.records.read(name)["rle"]) for name in self._segmented()))
            self._report()
        self.records.remove()
        # A launcher ends all ranks once one of them has exited with an error.
        gather("")
        if self.failures:
            sys.exit(1)

    def _report(self) -> None:
        count = len(self.records.data)
        print(f"{self.path}: {count - len(self.failures)} of {count} images")
        if self.failures:
            print(f"{len(self.failures)} of {count} images failed:", file=sys.stderr)
            paths = {item["name"]: item["image"] for item in self.records.data}
            for name, reason in self.failures.items():
                print(f"  {reason if paths[name] in reason else f'{paths[name]}: {reason}'}", file=sys.stderr)

    def _record(self, name: str, planes: torch.Tensor, confidence: list[float] | None) -> None:
        texts = encode_planes(planes[0].cpu().numpy().astype(np.int32, copy=False))
        self.records.write(name, texts, confidence)

    def _segmented(self) -> list[str]:
        return [item["name"] for item in self.records.data if item["name"] not in self.failures]

    def _write_confidence(self) -> None:
        path = self.output_dir / "confidence.csv"
        path.unlink(missing_ok=True)
        if self.records.confidence:
            with atomic_open(path) as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(CONFIDENCE_HEADER)
                for name in self._segmented():
                    writer.writerows(confidence_rows(name, self.records.read(name)["confidence"]))

    def _write_failures(self) -> None:
        path = self.output_dir / "failures.csv"
        path.unlink(missing_ok=True)
        if self.failures:
            with atomic_open(path) as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(("image", "reason"))
                writer.writerows(
                    (item["image"], self.failures[item["name"]])
                    for item in self.records.data
                    if item["name"] in self.failures
                )
