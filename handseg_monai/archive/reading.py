"""The first step of an archive: images read and decoded, by tasks of Ray."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from handseg_monai.archive.places import is_local, place_of_image
from handseg_monai.archive.rows import Radiograph
from handseg_monai.archive.sources import Source
from handseg_monai.data.reading import MAX_PIXELS
from handseg_monai.data.reading.images import read_radiograph
from handseg_monai.measure import Spacing, spacing_of
from handseg_monai.measure.spacing import NO_SPACING

_SPACING = pa.struct([("row", pa.float64()), ("column", pa.float64()), ("says", pa.string()), ("unit", pa.string())])
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("path", pa.string()),
        ("pixels", pa.large_binary()),
        ("dtype", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("spacing", _SPACING),
        ("failure", pa.string()),
    ]
)
"""Of an image that was read; ``failure`` says why it was not."""


def radiograph_of(batch: pa.Table) -> Radiograph:
    """Take the only row of a batch of :data:`SCHEMA`, without copying its pixels."""
    row = {name: batch[name][0].as_py() for name in ("id", "name", "path", "dtype", "height", "width", "spacing")}
    pixels = np.frombuffer(batch["pixels"][0].as_buffer(), row["dtype"]).reshape(row["height"], row["width"])
    spacing = None if row["spacing"] is None else Spacing(**row["spacing"])
    return Radiograph(row["id"], row["name"], row["path"], pixels, spacing)


class Radiographs(Datasource):
    """Images of an archive, for Ray Data to read.

    Parameters
    ----------
    source
        The images.
    block
        How many of them a task reads, at most.
    any_body_part, max_pixels
        See :func:`~handseg_monai.data.reading.images.read_radiograph`.
    """

    def __init__(self, source: Source, block: int, any_body_part: bool = False, max_pixels: int = MAX_PIXELS) -> None:
        super().__init__()
        self._source, self._block = source, block
        self._read = partial(
            read_images, filesystem=source.filesystem, any_body_part=any_body_part, max_pixels=max_pixels
        )

    def get_name(self) -> str:
        """Word for the step in the progress bar."""
        return "Radiographs"

    def estimate_inmemory_data_size(self) -> int | None:
        """Nobody knows before it is read."""
        return None

    def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[ReadTask]:
        """One task for each block of images, however many are to run at a time."""
        images = self._source.images
        blocks = (images.slice(at, self._block) for at in range(0, len(images), self._block))
        return [
            ReadTask(
                partial(self._read, *(block[name].to_pylist() for name in ("id", "name", "path"))),
                BlockMetadata(num_rows=len(block), size_bytes=None, exec_stats=None, input_files=None),
            )
            for block in blocks
        ]


def read_images(
    ids: list[int], names: list[str], paths: list[str], *, filesystem: FileSystem, any_body_part: bool, max_pixels: int
) -> Iterator[pa.Table]:
    """Read images, and yield a table of one row for each, as :data:`SCHEMA` has it."""
    cv2.setNumThreads(1)
    for id, name, path in zip(ids, names, paths, strict=True):
        row: dict[str, object] = {"id": id, "name": name, "path": path}
        try:
            with _on_disk(path, filesystem) as place:
                try:
                    image = read_radiograph(place, any_body_part, max_pixels)
                except ValueError as error:
                    raise ValueError(str(error).replace(str(place), path)) from error
                try:
                    spacing = spacing_of(place)
                except ValueError as error:  # the masks count all the same
                    reason = str(error).replace(f"{place}: ", "")
                    spacing = replace(NO_SPACING, says=f"{NO_SPACING.says}: {reason}")
            row |= {"pixels": image.tobytes(), "dtype": image.dtype.str, "spacing": spacing and asdict(spacing)}
            row |= {"height": image.shape[0], "width": image.shape[1]}
        except Exception as error:  # whatever it is, it is of this image alone
            said = str(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
            row["failure"] = said if path in said else f"{path}: {said}"
        yield pa.Table.from_pylist([row], schema=SCHEMA)


@contextmanager
def _on_disk(path: str, filesystem: FileSystem) -> Iterator[Path]:
    """Give the file of an image as one of this machine: itself, or a copy for as long as it is read."""
    place, inner = place_of_image(path, filesystem)
    if is_local(place):
        yield Path(inner)
        return
    with tempfile.TemporaryDirectory(prefix="handseg-") as folder:
        copy = Path(folder) / f"image{posixpath.splitext(inner)[1]}"
        with place.open_input_stream(inner) as stream, copy.open("wb") as file:
            while part := stream.read(1 << 20):
                file.write(part)
        yield copy
