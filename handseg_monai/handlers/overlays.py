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
from handseg_monai.data.items import Item
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
    """

    def __init__(self, summary_writer: Any, data: Sequence[Item] | None, count: int = 4, long_side: int = 512) -> None:
        self.summary_writer = summary_writer
        self.paths = None if data is None else {item["name"]: item["image"] for item in data}
        self.count = count
        self.long_side = long_side
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
                radiograph = read_radiograph(self.paths[batch["name"]])
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

    The datalist gives the paths of radiographs that an earlier run has segmented. Configurations have one list of
    handlers, with pictures or without: ``enabled`` says which.
    """

    def __init__(
        self, output_dir: str | Path, data: Sequence[Item], long_side: int = 1024, enabled: bool = True
    ) -> None:
        self.enabled = enabled
        self.output_dir = Path(output_dir)
        self.paths = {item["name"]: item["image"] for item in data}
        self.long_side = long_side

    def attach(self, engine: Workflow) -> None:
        """Attach to an evaluator whose batches hold ``picture``, uint8 (h, w), and whose output ``pred``, (1, H, W)."""
        if self.enabled:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)

    def begin(self, earlier: Iterable[tuple[str, Sequence[str]]]) -> None:
        """Remove pictures that an earlier run has left of other images, and draw those that its images lack.

        ``earlier`` gives the images that are done already, and the texts of their 29 masks. Every rank may call it; the
        first one works.
        """
        if idist.get_rank() > 0 or not self.enabled:
            return
        wanted = {self._path(name) for name in self.paths}
        for path in self.output_dir.rglob("*.jpg"):
            if path not in wanted and _is_ours(path):
                path.unlink()
        for name, texts in earlier:
            if not self._path(name).exists():
                self._draw(name, texts)

    def write(self, engine: Workflow) -> None:
        """Write the pictures of one iteration; images that failed have none."""
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            if "failure" not in batch:
                small, planes = drawing.fit(batch["picture"].numpy(), _planes(output["pred"]), self.long_side)
                self._save(batch["name"], small, planes)

    def _path(self, name: str) -> Path:
        return with_ending(self.output_dir / name, ".jpg")

    def _draw(self, name: str, texts: Sequence[str]) -> None:
        """Draw an image that an earlier run has done."""
        try:
            radiograph = read_radiograph(self.paths[name])
            planes = decode_planes(texts, (radiograph.shape[0], radiograph.shape[1]))
        except (OSError, ValueError) as error:
            logger.warning("no overlay: %s has changed since it was segmented (%s)", name, error)
            return
        small, planes = drawing.fit(radiograph, planes, self.long_side)
        self._save(name, drawing.grey8(small), planes)

    def _save(self, name: str, picture: np.ndarray, planes: np.ndarray) -> None:
        drawing.save(self._path(name), drawing.overlay(picture, planes), _NOTE)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return _NOTE in file.read(64)
