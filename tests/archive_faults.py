"""Faults in an archive's processes: one that has a certain image is killed, as by its memory; a disk that is full."""

from __future__ import annotations

import errno
import os
import signal

import numpy as np
from fsspec.implementations.local import LocalFileSystem

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
