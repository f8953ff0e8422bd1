"""The network in a process of its own: the bundle's own inference, on arrays that another process has read."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from handseg_monai.serve.child import Answer, Arrays, Child, answer
from handseg_monai.serve.state import Inferred

CONFIDENCE_SIDE = 512
"""Long side of the grid on which confidences are computed, as inference has it."""


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
        self._child = Child(__name__, environment=waiting)

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
        before = self._checkpoint
        self._checkpoint = before if checkpoint is None else str(checkpoint)
        try:
            said, _ = self._ask("load")
        except BaseException:
            self._checkpoint = before
            raise
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


class Inference:
    """``inference.json`` of the bundle in this process, without its loader of files and its writers.

    Parameters
    ----------
    checkpoint
        See :class:`Segmenter`.
    """

    def __init__(self, checkpoint: str | None) -> None:
        import monai
        from monai.bundle import ConfigParser

        from handseg_monai import bundle_root

        monai.data.set_track_meta(False)
        self.parser = ConfigParser()
        self.parser.read_config(str(bundle_root() / "configs" / "inference.json"))
        self.parser["bundle_root"] = str(bundle_root())
        self.parser["overlays"] = False
        if checkpoint is not None:
            self.parser["checkpoint"] = checkpoint
        (self.checkpoint,) = self._made("checkpoint")

    def load(self) -> None:
        """Load the network; see :meth:`Segmenter.load`."""
        parts = self._made("trained", "device", "network", "loaded", "preprocessing", "inferer", "postprocessing")
        self.trained, self.device, self.network, _, self.preprocessing, self.inferer, self.postprocessing = parts
        self.network.eval()

    def _made(self, *names: str) -> list[Any]:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                return [self.parser.get_parsed_content(name) for name in names]
        except SystemExit as error:  # how the bundle ends a run that can't be right
            raise ValueError(said.getvalue().strip()) from error

    def infer(self, image: np.ndarray) -> Answer:
        """Planes, int32 (H, W), and what is said of them, of a radiograph."""
        import torch

        from handseg_monai.inferers.coarse import confidences

        with torch.inference_mode():
            item = self.preprocessing({"image": image})
            found = self.inferer(
                item["image"][None].to(self.device),
                self.network,
                image_size=item["image_size"][None],
                coarse_side=CONFIDENCE_SIDE,
                notes=True,
            )
            planes = self.postprocessing({"pred": found["planes"][0]})["pred"][0]
            sure = confidences(found["probabilities"][0], planes.to(self.device))
        said = {"confidence": sure.tolist(), "note": found["notes"][0], "weights": self.trained.digest}
        return said, {"planes": planes.cpu().numpy().astype(np.int32, copy=False)}

    def ask(self, image: np.ndarray, planes: np.ndarray, bone: int, note: str) -> Answer:
        """Mask of a bone, uint8 (H, W), from a closer look at the region around it."""
        import torch

        from handseg_monai.inferers.around import looks_around
        from handseg_monai.inferers.looks import planes_of_looks
        from handseg_monai.inferers.planes import IN_THE_NEGATIVE
        from handseg_monai.transforms.drop_pieces import drop_pieces
        from handseg_monai.transforms.fill_holes import fill_holes

        with torch.inference_mode():
            scaled = self.preprocessing({"image": image})["image"].to(self.device)
            if IN_THE_NEGATIVE in note:
                scaled = 1 - scaled
            inferer = self.inferer
            with torch.autocast(self.device.type, dtype=inferer.dtype, enabled=inferer.enabled):
                seen = looks_around(inferer.inferer, scaled, planes, bone, self.network)
            shape, size = (scaled.shape[-2], scaled.shape[-1]), (image.shape[0], image.shape[1])
            drawn = planes_of_looks([[look] for look in seen], shape, size, inferer.thresholds).cpu().numpy()
        least_piece, least_carpal, most_hole = (
            self.parser.get_parsed_content(name) for name in ("least_piece", "least_carpal_piece", "most_hole")
        )
        drawn = fill_holes(drop_pieces(drawn, least_piece, least_carpal), most_hole)
        mask = (drawn >> np.int32(bone) & np.int32(1)).astype(np.uint8)
        if not mask.any():
            raise ValueError("the network sees no such bone there; draw it with the brush")
        return {}, {"mask": mask}


def main() -> None:
    """Answer the requests of :class:`Segmenter`; the network is loaded by the first that needs it."""
    loaded: dict[str | None, Inference] = {}

    def handle(request: dict[str, Any], arrays: Arrays) -> Answer:
        checkpoint = request["checkpoint"]
        if request["do"] == "checkpoint":
            return {"checkpoint": Inference(checkpoint).checkpoint}, {}
        if checkpoint not in loaded:
            inference = Inference(checkpoint)
            inference.load()
            loaded.clear()
            loaded[checkpoint] = inference
        inference = loaded[checkpoint]
        if request["do"] == "infer":
            return inference.infer(arrays["image"])
        if request["do"] == "ask":
            return inference.ask(arrays["image"], arrays["planes"], request["bone"], request["note"])
        return {"weights": inference.trained.digest}, {}

    answer(handle)


if __name__ == "__main__":
    main()
