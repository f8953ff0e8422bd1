"""Radiographs read in a process of its own, with limits of time and memory: a hostile file ends that process alone."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.images import UnreadableImageError, read_radiograph
from handseg_monai.data.reading.patients import Stated, stated_patients
from handseg_monai.measure import spacing_of
from handseg_monai.serve.child import Answer, Arrays, Child, ChildError, answer
from handseg_monai.serve.state import StoreError

_START_SECONDS = 120.0
"""Time for the process to start: its libraries come from a disk that may be busy."""

_LATE = ("llvmlite.binding", "imagecodecs", "pydicom.pixels", "gdcm", "pylibjpeg", "openjpeg")


@dataclass(frozen=True, eq=False)
class Radiograph:
    """A radiograph as it was read.

    Attributes
    ----------
    image
        uint8, uint16 or float32 (H, W), see :func:`~handseg_monai.data.reading.images.read_radiograph`.
    facts
        What its header says beside the pixels, plain values by name.
    """

    image: np.ndarray
    facts: dict[str, Any]


class Decoder:
    """A process that reads one radiograph after another; where a file ends it, the next file finds a new one.

    Parameters
    ----------
    seconds
        Time that a file may take.
    memory
        Bytes that the process may take beside those of its libraries.
    """

    def __init__(self, seconds: float = 20.0, memory: int = 2 << 30) -> None:
        self.seconds, self.memory = seconds, memory
        limits = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._child, self._headers = (
            Child("handseg_monai.serve.decode", str(memory), environment=limits) for _ in ("pixels", "headers")
        )

    @property
    def pid(self) -> int | None:
        """Of the process, None where none runs."""
        return self._child.pid

    def read(self, path: str | Path, max_pixels: int = MAX_PIXELS) -> Radiograph:
        """Read a radiograph; one at a time, other threads wait.

        Raises
        ------
        UnreadableImageError
            It can't be read, takes too long or too much memory, or ends the process. The message says which, and does
            not name the path.
        """
        request = {"path": str(path), "max_pixels": max_pixels, "seconds": self.seconds}
        try:
            if self._child.pid is None:
                self._child.ask({}, seconds=_START_SECONDS)
            facts, arrays = self._child.ask(request, seconds=self.seconds)
        except ChildError as error:
            raise UnreadableImageError(f"reading it failed: {error}; it is damaged, or asks for too much") from error
        except ValueError as error:
            raise UnreadableImageError(str(error).removeprefix(f"{path}: ")) from error
        return Radiograph(arrays["image"], facts)

    def patients(self, paths: Iterable[Path]) -> dict[Path, Stated | None]:
        """Read the patients of DICOM images, as :func:`~handseg_monai.data.reading.patients.stated_patients` does.

        That is done in a process beside the one that reads images, whose turn may be long in coming.

        Raises
        ------
        StoreError
            The process failed. So patients are not known, which is another thing than images that state none.
        """
        try:
            said, _ = self._headers.ask({"patients": list(map(str, paths))}, seconds=_START_SECONDS)
        except (ChildError, ValueError) as error:
            raise StoreError(f"reading which patients the images are of failed: {error}; try again") from error
        return {Path(path): None if stated is None else (stated[0], stated[1]) for path, stated in said["patients"]}

    def close(self) -> None:
        """End the processes."""
        self._child.close()
        self._headers.close()


def _load() -> None:
    """Load libraries that readers load late, so that the limit of memory does not count them."""
    for name in _LATE:
        with suppress(ImportError):
            import_module(name)


def _limit(memory: int) -> None:
    """Limit the memory that this process may take from now on; and it leaves no core behind."""
    with suppress(ImportError, OSError, ValueError):  # Windows and macOS have no such limits
        import resource

        pages = Path("/proc/self/statm").read_text().split()
        taken = int(pages[0]) * resource.getpagesize()
        for what in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            resource.setrlimit(what, (taken + memory, taken + memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_after(seconds: float) -> None:
    """Let the system end this process after some seconds, whatever it does then, and whether its parent lives; 0: not.

    The parent ends it earlier, if it can.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _facts_of(path: str) -> dict[str, Any]:
    """What measures need to know from a header: the spacing, where it says so."""
    spacing = spacing_of(path)
    return {} if spacing is None else {"spacing": asdict(spacing)}


def _read(request: dict[str, Any], _: Arrays) -> Answer:
    if "patients" in request:
        stated = stated_patients(map(Path, request["patients"]))
        return {"patients": [(str(path), patient) for path, patient in stated.items()]}, {}
    if "path" not in request:
        return {}, {}
    end_after(request["seconds"] + 1)
    try:
        image = read_radiograph(request["path"], any_body_part=False, max_pixels=request["max_pixels"])
        return _facts_of(request["path"]), {"image": image}
    except UnreadableImageError as error:
        if any(isinstance(e, MemoryError) or getattr(e, "code", 0) == cv2.Error.StsNoMem for e in _chain(error)):
            raise ValueError(f"it takes more than {int(sys.argv[1]) >> 20} MiB of memory to read") from error
        raise
    finally:
        end_after(0)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    _load()
    _limit(int(sys.argv[1]))
    answer(_read)
