"""The second and third step of an archive: actors that hold the weights, and tasks that judge and measure."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from handseg_monai.archive.reading import SCHEMA, radiograph_of
from handseg_monai.archive.rows import SCHEMA as ROWS
from handseg_monai.archive.rows import failed, row_of

_OF_THE_IMAGE = ValueError, ArithmeticError, LookupError, cv2.error
"""What a step fails by where the image is at fault."""
DRAWN = SCHEMA
for _field in (
    pa.field("planes", pa.large_binary()),
    pa.field("confidence", pa.list_(pa.list_(pa.float32()))),
    pa.field("note", pa.string()),
):
    DRAWN = DRAWN.append(_field)


class Network:
    """An actor: the network, and the masks that it draws.

    Parameters
    ----------
    weights
        Reference to the content of the file of weights, which other machines of a cluster need not have.
    options
        Other options of :class:`~handseg_monai.run.inference.Inference`.
    """

    def __init__(self, weights: Any, options: Mapping[str, object]) -> None:
        import ray
        import torch

        from handseg_monai.run.inference import Inference

        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        with tempfile.TemporaryDirectory(prefix="handseg-") as folder:
            path = Path(folder) / "model.pt"
            path.write_bytes(ray.get(weights))
            self._inference = Inference(str(path), **options)
            self._inference.load()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Draw the masks of the only row."""
        planes, confidence, note, failure = None, None, "", batch["failure"][0].as_py()
        if failure is None:
            try:
                drawn = self._inference.infer(radiograph_of(batch).image)
                planes, confidence, note = drawn.planes.tobytes(), drawn.confidence.tolist(), drawn.note
            except _OF_THE_IMAGE as error:
                failure = f"{batch['path'][0].as_py()}: {error or type(error).__name__}"
            except Exception:
                # A device that has failed once fails for every image after. Ray starts the actor anew.
                traceback.print_exc()
                os._exit(1)
        batch = batch.set_column(SCHEMA.get_field_index("failure"), "failure", pa.array([failure], pa.string()))
        for value, field in zip(([planes], [confidence], [note]), list(DRAWN)[len(SCHEMA) :], strict=True):
            batch = batch.append_column(field, pa.array(value, field.type))
        return batch


def judge(batch: pa.Table, weights: str) -> pa.Table:
    """Encode, judge and measure the masks of the only row: a row of the result."""
    cv2.setNumThreads(1)
    id, name, path, failure = (batch[key][0].as_py() for key in ("id", "name", "path", "failure"))
    if failure is None:
        radiograph = radiograph_of(batch)
        planes = np.frombuffer(batch["planes"][0].as_buffer(), np.int32).reshape(-1, *radiograph.image.shape)
        try:
            row = row_of(radiograph, planes, batch["confidence"][0].as_py(), batch["note"][0].as_py(), weights)
        except Exception as error:  # whatever it is, it is of this image alone
            failure = f"{path}: its masks can't be encoded: {type(error).__name__}: {error}"
    if failure is not None:
        row = failed(id, name, path, weights, failure)
    return pa.Table.from_pylist([row], schema=ROWS)
