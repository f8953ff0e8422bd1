"""The network in a process of its own, :mod:`handseg_monai.serve.network`, seen from that of the web."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from handseg_monai.serve.child import Answer, Arrays, Child
from handseg_monai.serve.state import Inferred


class Segmenter:
    """The network, seen from the process of the web: what it is asked, it answers one after another.

    Parameters
    ----------
    checkpoint
        File of weights; None: those that ``handseg infer`` would take.
    """

    def __init__(self, checkpoint: str | None = None) -> None:
        self._checkpoint = checkpoint
        # Threads that wait by spinning make inference ten times slower beside another busy program.
        waiting = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        self._child = Child("handseg_monai.serve.network", environment=waiting)

    def checkpoint(self) -> Path:
        """File of the weights.

        Raises
        ------
        ValueError
            There is none.
        """
        said, _ = self._ask("checkpoint")
        return Path(said["checkpoint"])

    def load(self, checkpoint: Path | None = None) -> str:
        """Load the network, and return the digest of its weights; with a checkpoint, use that one from now on.

        Raises
        ------
        ValueError
            There are no such weights, or they are of another network; those from before stay.
        """
        wanted = self._checkpoint if checkpoint is None else str(checkpoint)
        said, _ = self._ask("load", checkpoint=wanted)
        self._checkpoint = wanted  # not before: what is inferred meanwhile is by weights that are known to load
        return str(said["weights"])

    def infer(self, image: np.ndarray) -> Inferred:
        """Draw the masks of a radiograph, (H, W) as read, as ``handseg infer`` does.

        Raises
        ------
        ValueError
            The network can't be loaded, or the memory does not suffice.
        ChildError
            The process has ended.
        """
        said, arrays = self._ask("infer", {"image": image})
        return Inferred(arrays["planes"], tuple(said["confidence"]), said["note"], said["weights"])

    def ask(self, image: np.ndarray, planes: np.ndarray, bone: int, note: str) -> np.ndarray:
        """Look anew at the region around a bone: its mask, bool (H, W).

        Parameters
        ----------
        image
            As for :meth:`infer`.
        planes
            Bit planes of now, int32 (H, W), which say where the bone is, or its neighbours are, and which way the
            fingers point.
        bone
            Its index.
        note
            What :meth:`infer` said of the image.

        Raises
        ------
        ValueError
            As :meth:`infer`; or nothing says where the bone is, or the network sees none there.
        ChildError
            The process has ended.
        """
        arrays = {"image": image, "planes": planes}
        _, arrays = self._ask("ask", arrays, bone=bone, note=note)
        return arrays["mask"] > 0

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def _ask(self, what: str, arrays: Arrays | None = None, **more: object) -> Answer:
        return self._child.ask({"do": what, "checkpoint": self._checkpoint, **more}, arrays)
