"""The bundle's inference in this process, on arrays that something else has read: for pages, archives and a PACS."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from handseg_monai.run.memory import keep_memory

CONFIDENCE_SIDE = 512
"""Long side of the grid on which confidences are computed, as inference has it."""


@dataclass(frozen=True)
class Drawn:
    """What the network drew of one radiograph.

    Attributes
    ----------
    planes
        Bit planes at the radiograph's own size, int32 (1, H, W); of both hands (2, H, W), left and right.
    confidence
        Confidence of each bone, float32 (1, 29) or (2, 29), see :func:`~handseg_monai.inferers.coarse.confidences`.
    note
        What is unusual about the image, in words, or "".
    """

    planes: np.ndarray
    confidence: np.ndarray
    note: str


class Inference:
    """``inference.json`` of the bundle without its loader of files and its writers.

    Parameters
    ----------
    checkpoint
        File of weights; None: those that ``handseg infer`` would take.
    options
        Other options of ``inference.json``, by name, say ``invert="no"``.

    Attributes
    ----------
    checkpoint
        File of the weights.

    Raises
    ------
    ValueError
        There are no such weights.
    """

    def __init__(self, checkpoint: str | None = None, **options: object) -> None:
        import monai
        from monai.bundle import ConfigParser

        from handseg_monai import bundle_root

        keep_memory()
        monai.data.set_track_meta(False)
        self.parser = ConfigParser()
        self.parser.read_config(str(bundle_root() / "configs" / "inference.json"))
        given = {} if checkpoint is None else {"checkpoint": checkpoint}
        for name, value in {"bundle_root": str(bundle_root()), "overlays": False, **given, **options}.items():
            self.parser[name] = value
        (self.checkpoint,) = self._made("checkpoint")

    def load(self) -> None:
        """Load the network.

        Raises
        ------
        ValueError
            The weights are of another network, or damaged.
        """
        parts = self._made("trained", "device", "network", "loaded", "preprocessing", "inferer", "postprocessing")
        self.trained, self.device, self.network, _, self.preprocessing, self.inferer, self.postprocessing = parts
        self.network.eval()

    @property
    def weights(self) -> str:
        """Digest of the weights."""
        return str(self.trained.digest)

    def infer(self, image: np.ndarray) -> Drawn:
        """Draw the masks of a radiograph, grey (H, W) as read, as ``handseg infer`` does."""
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
            planes = self.postprocessing({"pred": found["planes"][0]})["pred"]
            seen = found["probabilities"][0].unflatten(0, (len(planes), -1))
            sure = torch.stack([confidences(*hand) for hand in zip(seen, planes.to(self.device), strict=True)])
        drawn = planes.cpu().numpy().astype(np.int32, copy=False)
        return Drawn(drawn, sure.cpu().numpy(), found["notes"][0])

    def _made(self, *names: str) -> list[Any]:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                return [self.parser.get_parsed_content(name) for name in names]
        except SystemExit as error:  # how the bundle ends a run that can't be right
            raise ValueError(said.getvalue().strip()) from error
