"""The handler that writes a submission CSV, on one rank or several."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.engines import Workflow

from handseg_monai.bones import SIDES
from handseg_monai.data.confidence import HEADER as CONFIDENCE_HEADER
from handseg_monai.data.confidence import confidence_rows
from handseg_monai.data.records import Hand, Records, gather
from handseg_monai.files import atomic_open, nfc
from handseg_monai.handlers.probabilities import Asking, Probabilities
from handseg_monai.inferers.coarse import confidences
from handseg_monai.rle import encode_planes, hand_of, read_csv, row_name, write_csv
from handseg_monai.words import counted

logger = logging.getLogger(__name__)
_NAMED = 10
"""Images that a summary names at most; the log names all."""
_MOST_WAITING = 2
"""Images whose masks wait for being encoded, so that memory does not grow where that is slower than the network."""


class SubmissionWriter:
    """Write the bit planes of each image as 29 rows of a submission CSV.

    Each image that is done has a record (:class:`~handseg_monai.data.records.Records`). When all are done, rank 0
    writes ``submission.csv`` from the records in the order of the datalist, beside and renames it: a kill leaves the
    old file or the new one. Of two hands the rows are named ``NAME#left`` and ``NAME#right``. Images that failed get no
    rows, those in which no bone was found 29 empty ones; ``failures.csv`` and :meth:`finish` list both. Where the
    records count only with confidences, ``confidence.csv`` is written too, see
    :func:`~handseg_monai.inferers.coarse.confidences`.

    Parameters
    ----------
    output_dir
        Where to write.
    records
        Of the images that are done; its ``start()`` comes first.
    key
        Key of the bit planes in the engine's output, int32 (1, H, W), or (2, H, W) of the left hand and the right one.
    confidence_side
        Long side of the grid that confidences are computed on, in pixels.
    """

    def __init__(self, output_dir: str | Path, records: Records, key: str = "pred", confidence_side: int = 512) -> None:
        self.output_dir = Path(output_dir)
        self.records = records
        self.key = key
        self.confidence_side = confidence_side
        self.failures: dict[str, str] = {}
        self.empty: dict[str, str] = {}
        self.notes: dict[str, list[str]] = {}
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
        Asking(notes=True).attach(engine)
        engine.add_event_handler(Events.STARTED, self.say_replaced)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.append)

    def say_replaced(self) -> None:
        """Say, on rank 0, which images of an earlier file will have no masks any more."""
        if idist.get_rank() != 0 or not self.path.is_file():
            return
        with suppress(ValueError, OSError):  # what is no submission, or can't be read
            ours = {nfc(item["name"]) for item in self.records.data}
            others = sorted({hand_of(row, ours).image for row in read_csv(self.path)} - ours)
            if others:
                logger.warning(
                    "%s holds %s that this run has not (%s%s), and is replaced at its end; to keep it, press Ctrl-C "
                    "and choose another folder",
                    self.path,
                    counted(len(others), "image"),
                    ", ".join(others[:3]),
                    ", …" if len(others) > 3 else "",
                )

    def append(self, engine: Workflow) -> None:
        """Have the images of one iteration encoded and recorded, while the network goes on.

        What goes wrong there is raised by a later call, or by :meth:`finish`.
        """
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            if "failure" in batch:
                self.failures[batch["name"]] = batch["failure"]
                continue
            planes = output[self.key]
            sure: list[list[float]] = []
            if self.records.confidence:
                seen = output["probabilities"].unflatten(0, (len(planes), -1))
                sure = [confidences(*hand).tolist() for hand in zip(seen, planes, strict=True)]
            if note := output.get("notes", ""):
                logger.info("%s: %s", batch["name"], note)
            while len(self._waiting) >= _MOST_WAITING:
                self._waiting.popleft().result()
            is_even = "image" in batch and bool(batch["image"].amin() == batch["image"].amax())
            self._waiting.append(self._encoder.submit(self._record, batch["name"], planes, sure, note, is_even))

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

        Exits with code 1 where images failed or show no bone, once all else is done; they are printed with their
        reasons.

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
            write_csv(self.path, self._rows())
            self._write_failures()
            self._write_confidence()
            self._report()
        self.records.remove()
        # A launcher ends all ranks once one of them has exited with an error.
        if gather(json.dumps(bool(self.failures or self.empty)))[0] == "true":
            sys.exit(1)

    def _report(self) -> None:
        count = len(self.records.data)
        print(f"{self.path}: {count - len(self.failures) - len(self.empty)} of {counted(count, 'image')}")
        for note, names in self.notes.items():
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            print(f"{len(names)} of {counted(count, 'image')}: {note}: {', '.join(names[:_NAMED])}{more}")
        paths = {item["name"]: item["image"] for item in self.records.data}
        for what, listed in (("failed", self.failures), ("without a bone, their rows are empty", self.empty)):
            if listed:
                print(f"{len(listed)} of {counted(count, 'image')} {what}:", file=sys.stderr)
            for name, reason in listed.items():
                print(f"  {reason if paths[name] in reason else f'{paths[name]}: {reason}'}", file=sys.stderr)

    def _record(self, name: str, planes: torch.Tensor, sure: Sequence[list[float]], note: str, is_even: bool) -> None:
        texts = [encode_planes(hand.cpu().numpy().astype(np.int32, copy=False)) for hand in planes]
        fault = ""
        if not any(any(hand) for hand in texts):
            fault = "all of its pixels have the same grey value, " * is_even + "no bone was found in it"
        hands = [Hand(rle=text, confidence=sure[k] if sure else None) for k, text in enumerate(texts)]
        self.records.write(name, hands, note, fault)

    def _rows(self) -> Iterator[tuple[str, list[str]]]:
        """Names and texts of the rows to write; also collects what is to be said of the images."""
        self.empty.clear()
        self.notes.clear()
        for name in self._segmented():
            record = self.records.read(name)
            if record["fault"]:
                self.empty[name] = record["fault"]
            if record["note"]:
                self.notes.setdefault(record["note"], []).append(name)
            for row, hand in zip(_row_names(name, record["hands"]), record["hands"], strict=True):
                yield row, hand["rle"]

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
                    hands = self.records.read(name)["hands"]
                    for row, hand in zip(_row_names(name, hands), hands, strict=True):
                        writer.writerows(confidence_rows(row, hand["confidence"]))

    def _write_failures(self) -> None:
        path = self.output_dir / "failures.csv"
        path.unlink(missing_ok=True)
        reasons = self.failures | self.empty
        if reasons:
            with atomic_open(path) as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(("image", "reason"))
                writer.writerows(
                    (item["image"], reasons[item["name"]]) for item in self.records.data if item["name"] in reasons
                )


def _row_names(image: str, hands: Sequence[Hand]) -> list[str]:
    """Names of the rows of an image's hand, or of the left and the right one."""
    return [row_name(image, side) for side in ((None,) if len(hands) == 1 else SIDES)]
