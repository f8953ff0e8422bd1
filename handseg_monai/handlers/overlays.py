"""Handlers that show what the network did: overlay pictures in TensorBoard or in files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Events
from monai.engines import Workflow

from handseg_monai import drawing
from handseg_monai.bitplanes import reduce
from handseg_monai.bones import SIDES
from handseg_monai.data.items import Item
from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.images import read_radiograph
from handseg_monai.files import with_ending
from handseg_monai.rle import decode_planes

logger = logging.getLogger(__name__)

_NOTE = b"overlay by handseg-monai"
"""Comment in the pictures, by which those that may be removed are known."""


def _planes(value: Any) -> np.ndarray:
    return value[0].cpu().numpy().astype(np.int32, copy=False)


class TensorBoardOverlays:
    """Write overlays of the first validation images to TensorBoard, prediction beside truth.

    Parameters
    ----------
    summary_writer
        A ``SummaryWriter``.
    data
        Datalist, for the paths of the radiographs; None to draw on the network's input.
    count
        Number of images.
    long_side
        Of the pictures, in pixels.
    max_pixels
        Of a radiograph, at most.
    """

    def __init__(
        self,
        summary_writer: Any,
        data: Sequence[Item] | None,
        count: int = 4,
        long_side: int = 512,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.summary_writer = summary_writer
        self.paths = None if data is None else {item["name"]: item["image"] for item in data}
        self.count = count
        self.long_side = long_side
        self.max_pixels = max_pixels
        self.shown = 0

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator whose output holds ``pred`` and ``label``, bit planes int32 (1, H, W)."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.show)

    def begin(self, engine: Workflow) -> None:
        """Count anew."""
        self.shown = 0

    def show(self, engine: Workflow) -> None:
        """Write the pictures of one iteration, until ``count`` are written."""
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            if self.shown >= self.count:
                return
            if self.paths is None:
                radiograph = 255 * batch["image"][0].cpu().numpy()
            else:
                radiograph = read_radiograph(self.paths[batch["name"]], max_pixels=self.max_pixels)
            pictures = []
            for key in ("pred", "label"):
                small, planes = drawing.fit(radiograph, _planes(output[key]), self.long_side)
                pictures.append(drawing.overlay(drawing.grey8(small), planes))
            picture = drawing.sheet(pictures, columns=2)
            tag = f"prediction and truth/{self.shown}"
            self.summary_writer.add_image(tag, picture, engine.state.epoch, dataformats="HWC")
            self.shown += 1


class OverlayWriter:
    """Write an overlay picture of each image as ``<output_dir>/<name>.jpg``, at most ``long_side`` pixels long.

    The datalist gives the paths of radiographs that an earlier run has segmented, of at most ``max_pixels`` pixels.
    Configurations have one list of handlers, with pictures or without: ``enabled`` says which.
    """

    def __init__(
        self,
        output_dir: str | Path,
        data: Sequence[Item],
        long_side: int = 1024,
        enabled: bool = True,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.enabled = enabled
        self.output_dir = Path(output_dir)
        self.paths = {item["name"]: item["image"] for item in data}
        self.long_side = long_side
        self.max_pixels = max_pixels

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator whose batches hold ``picture``, uint8 (h, w), and whose output ``pred``, bit planes
        int32 (1, H, W), or (2, H, W) of the left hand and the right one."""
        if self.enabled:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)

    def begin(self, earlier: Iterable[tuple[str, Sequence[Sequence[str]]]]) -> None:
        """Remove pictures that an earlier run has left of other images, and draw those that its images lack.

        ``earlier`` gives the images that are done already, and the texts of the 29 masks of their hand or hands. Every
        rank may call it; the first one works.
        """
        if idist.get_rank() > 0 or not self.enabled:
            return
        wanted = {self._path(name) for name in self.paths}
        for path in self.output_dir.rglob("*.jpg"):
            if path not in wanted and _is_ours(path):
                path.unlink()
        for name, hands in earlier:
            if not self._path(name).exists():
                self._draw(name, hands)

    def write(self, engine: Workflow) -> None:
        """Write the pictures of one iteration; images that failed have none."""
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            if "failure" not in batch:
                planes = output["pred"].cpu().numpy().astype(np.int32, copy=False)
                self._save(batch["name"], batch["picture"].numpy(), planes)

    def _path(self, name: str) -> Path:
        return with_ending(self.output_dir / name, ".jpg")

    def _draw(self, name: str, hands: Sequence[Sequence[str]]) -> None:
        """Draw an image that an earlier run has done."""
        try:
            radiograph = read_radiograph(self.paths[name], max_pixels=self.max_pixels)
            shape = radiograph.shape[0], radiograph.shape[1]
            planes = [decode_planes(texts, shape) for texts in hands]
        except (OSError, ValueError) as error:
            logger.warning("no overlay: %s has changed since it was segmented (%s)", name, error)
            return
        self._save(name, drawing.grey8(drawing.shrink(radiograph, self.long_side)), planes)

    def _save(self, name: str, picture: np.ndarray, hands: Sequence[np.ndarray]) -> None:
        """Draw bit planes of one hand, or of the left and the right one, over a picture, uint8 (h, w)."""
        small = drawing.shrink(picture, self.long_side)
        size = small.shape[0], small.shape[1]
        planes = [hand if hand.shape == size else reduce(hand, size) for hand in hands]
        drawn = drawing.overlay(small, np.bitwise_or.reduce(planes))
        if len(planes) == 2:
            for side, hand in zip(SIDES, planes, strict=True):
                drawing.write_above(drawn, side, hand)
        drawing.save(self._path(name), drawn, _NOTE)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return _NOTE in file.read(64)
