"""Faults in an archive's processes: one that has a certain image is killed, as by its memory; a disk that is full.

And a network that takes its time and draws nothing.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from handseg_monai.archive.network import DRAWN, Network
from handseg_monai.archive.reading import SCHEMA, radiograph_of
from handseg_monai.run.inference import Drawn, Inference

DEADLY = (96, 72)
"""Size of the image."""


def plant() -> str:
    """Plant it where a configuration asks what to invert, and answer that."""
    infer = Inference.infer

    def deadly(self: Inference, image: np.ndarray) -> Drawn:
        if image.shape == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return infer(self, image)

    Inference.infer = deadly  # type: ignore[method-assign]
    return "auto"


class Full(LocalFileSystem):
    """The disk of a node on which no rows can be written."""

    def _open(self, path: str, mode: str = "rb", **options: object) -> object:
        if "w" in mode and "/rows/" in path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super()._open(path, mode, **options)


class Slow(Network):
    """A network that draws nothing, counts images in the file that ``SEEN`` names, and waits for rows after 160.

    ``DONE`` names the folder that holds a file for each file of rows.
    """

    def __init__(self, weights: object, options: Mapping[str, object]) -> None:
        pass

    def __call__(self, batch: pa.Table) -> pa.Table:
        seen, done = Path(os.environ["SEEN"]), Path(os.environ["DONE"])
        with seen.open("a") as file:
            file.write(".")
        while seen.stat().st_size > 160 and not any(done.iterdir()):
            time.sleep(0.05)
        planes = np.zeros((1, *radiograph_of(batch).image.shape), np.int32)
        for value, field in zip((planes.tobytes(), [[1.0] * 29], ""), list(DRAWN)[len(SCHEMA) :], strict=True):
            batch = batch.append_column(field, pa.array([value], field.type))
        return batch
