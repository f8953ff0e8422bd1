"""Records of the images that inference has finished; a killed run continues from them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypedDict

import ignite.distributed as idist

from handseg_monai.data.items import Item
from handseg_monai.files import atomic_open, hold
from handseg_monai.words import counted


class Hand(TypedDict):
    """What inference found of one hand."""

    rle: list[str]
    """29 run-length texts."""
    confidence: list[float] | None
    """29 numbers, where they were asked for."""


class Records:
    """One JSON file for each image that is done, whichever rank it was done on.

    A killed run leaves its records, and the next run of the same job continues from them, on any number of
    ranks: :meth:`remaining` are the images that it still has to do, those whose file has changed since among them.

    Parameters
    ----------
    output_dir
        The folder of results; records lie in a hidden one within. One run at a time.
    data
        The whole datalist, of all ranks; names are unique in it.
    job
        What results depend on beside the images, plain values: records of another job are thrown away. None: all are.
    confidence
        Whether a record counts only with confidences.

    Attributes
    ----------
    folder
        Where the records of all jobs lie.
    """

    def __init__(
        self,
        output_dir: str | Path,
        data: Sequence[Item],
        job: Mapping[str, object] | None = None,
        confidence: bool = False,
    ) -> None:
        self.folder = Path(output_dir) / ".submission.parts"
        self.data = data
        self.job = None if job is None else json.dumps(dict(job), sort_keys=True)
        self.confidence = confidence
        self._own = self.folder / _digest(self.job or "")
        self._remaining: list[Item] | None = None
        self._sources: dict[str, str] = {}
        self._locks: list[IO[str]] = []

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
        seen = gather(f"{names} {len(self.data)}")
        if len(set(seen)) > 1:
            counts = ", ".join(text.split()[1] for text in seen)
            raise ValueError(f"ranks see different images ({counts} of them): is the folder still being filled?")
        self._sources = {item["name"]: _identity(item["image"]) for item in self.data}
        # The first rank decides for all of them: what others see of a network's disk may be older.
        is_first = idist.get_rank() == 0
        done = gather(self._begin() if is_first else "")[0]
        if not is_first:
            self._hold(shared=True)
        self._remaining = [item for item, is_done in zip(self.data, done, strict=True) if is_done == "0"]
        if (count := done.count("1")) and is_first:
            print(f"{count} of {len(self.data)} images are done already: {self.folder}")

    def _begin(self) -> str:
        """Leave the records that count, and return a character for each image: 1 where it is done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._hold()
        others = [path for path in self.folder.iterdir() if path.is_dir() and path != self._own]
        if self.job is None:
            others.append(self._own)
        if count := sum(1 for folder in others for _ in folder.glob("*.json")):
            print(f"{self.folder}: discards {counted(count, 'finished image')} of a run with other options or weights")
        for folder in others:
            shutil.rmtree(folder, ignore_errors=True)
        self._own.mkdir(exist_ok=True)
        there = {path.name for path in self._own.iterdir()}
        self._hold(shared=True)
        return "".join(str(int(self._is_done(item["name"], there))) for item in self.data)

    def _is_done(self, name: str, there: Collection[str]) -> bool:
        """Whether an image has a record that counts; one that doesn't is removed."""
        path = self._path(name)
        if path.name not in there:
            return False
        with suppress(ValueError, TypeError, KeyError):  # where a disk has lost what was written
            record = self.read(name)
            same = self._sources[name] and record["source"] == self._sources[name]
            complete = [bool(hand["rle"] and (hand["confidence"] or not self.confidence)) for hand in record["hands"]]
            if same and complete and all(complete) and record["whole"] is True:
                return True
        path.unlink()
        return False

    def _hold(self, shared: bool = False) -> None:
        """Hold the folder: a killed run's ranks may live on without their launcher."""
        self._locks.append(hold(self.folder / "lock", f"--output_dir {self.folder.parent}", shared))

    def let_go(self) -> None:
        """Let go of the folder."""
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
            raise RuntimeError("Records.start() comes before remaining()")
        return self._remaining

    def earlier(self) -> Iterator[tuple[str, list[list[str]]]]:
        """Yield the images that an earlier run of the same job has done, with the 29 texts of each of their hands."""
        left = {item["name"] for item in self.remaining()}
        for item in self.data:
            if item["name"] not in left:
                yield item["name"], [hand["rle"] for hand in self.read(item["name"])["hands"]]

    def read(self, name: str) -> dict[str, Any]:
        """Return the record of an image, as :meth:`write` was given it: ``hands``, ``note`` and ``fault``.

        Raises
        ------
        RuntimeError
            There is none.
        """
        try:
            return dict(json.loads(self._path(name).read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise RuntimeError(f"{self.folder}: image {name} is missing") from error

    def write(self, name: str, hands: Sequence[Hand], note: str = "", fault: str = "") -> None:
        """Write the record of an image.

        Parameters
        ----------
        name
            Of the image.
        hands
            The only hand, or the left and the right one.
        note, fault
            What to say of the image, and why it does not count as segmented; empty where nothing is.

        Raises
        ------
        RuntimeError
            Before :meth:`start`, or the image has one.
        """
        if self._remaining is None:
            raise RuntimeError("Records.start() comes before the run")
        path = self._path(name)
        if path.exists():
            raise RuntimeError(f"{self.folder}: image {name} comes twice")
        record = {
            **{"name": name, "source": self._sources[name], "hands": hands, "note": note, "fault": fault},
            "whole": True,  # comes last: no torn record has it
        }
        with atomic_open(path) as file:
            file.write(json.dumps(record))

    def count(self) -> int:
        """Number of images that are done."""
        return sum(self._path(item["name"]).exists() for item in self.data)

    def remove(self) -> None:
        """Remove the records on the first rank, once results are written, and release the folder."""
        is_first = idist.get_rank() == 0
        if is_first:
            shutil.rmtree(self._own)
            (self.folder / "lock").unlink()
        self.let_go()
        if is_first:
            with suppress(OSError):  # another run has begun there since
                self.folder.rmdir()

    def _path(self, name: str) -> Path:
        return self._own / f"{_digest(name)}.json"


def gather(text: str) -> list[str]:
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
            "another rank ended early, or did not answer within the time limit of the process group"
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
