"""A fault planted into processes of an archive: the system kills the one that has a certain image, as by its memory."""

from __future__ import annotations

import os
import signal

import numpy as np

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
