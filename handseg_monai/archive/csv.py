"""A submission of the rows of an archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from handseg_monai.archive.store import Store, StoreError
from handseg_monai.rle import row_name, write_csv
from handseg_monai.words import counted

_AT_ONCE = 4000
"""Rows in memory, 70 kB each: of as many neighbours in the list, which lie in many files, each file is read once."""


class Written(NamedTuple):
    """How many images of an archive a submission holds, and how many failed and have no rows in it."""

    images: int
    failed: int


def archive_csv(archive: str | Path, out: str | Path, filesystem: FileSystem | None = None) -> Written:
    """Write the masks of an archive as ``submission.csv``, byte for byte as inference writes it of the same images.

    Parameters
    ----------
    archive
        What :func:`~handseg_monai.archive.run.archive` has written: a path or a URI.
    out
        CSV file to write.
    filesystem
        Where the archive lies; None: on this machine, or where the URI says.

    Returns
    -------
    written
        How many images it holds, and how many have no rows in it, because they failed.

    Raises
    ------
    StoreError
        There is no archive, or images of its list have no row yet.
    """
    store = Store(archive, filesystem)
    if store.job() is None:
        raise StoreError(f"{archive} is no archive; expected a folder that handseg archive has written")
    listed = np.asarray(store.images()["id"])
    files, ids, number, place = store.index()
    order = np.argsort(ids, kind="stable")
    at = np.searchsorted(ids, listed, sorter=order)
    found = at < len(ids)
    found[found] = ids[order[at[found]]] == listed[found]
    if not found.all():
        missing = counted(int((~found).sum()), "image")
        raise StoreError(f"{archive}: {missing} of {len(listed)} not done; the same handseg archive command goes on")
    written = 0

    def rows_in(numbers: np.ndarray) -> Iterator[dict[str, Any]]:
        """Rows by their numbers, in that order; each file is read once."""
        by_file = np.argsort(number[numbers], kind="stable")
        several, starts = np.unique(number[numbers[by_file]], return_index=True)
        parts: list[tuple[pa.Table, int]] = [None] * len(numbers)  # type: ignore[list-item]
        for file, here in zip(several.tolist(), np.split(by_file, starts[1:]), strict=True):
            of_file = pq.read_table(files[file], filesystem=store.filesystem, columns=["name", "hands"])
            part = of_file.take(pa.array(place[numbers[here]]))
            for row, at in enumerate(here.tolist()):
                parts[at] = part, row
        for part, row in parts:
            yield from part.slice(row, 1).to_pylist()

    def texts() -> Iterator[tuple[str, list[str]]]:
        nonlocal written
        rows = order[at]
        for start in range(0, len(rows), _AT_ONCE):
            for content in rows_in(rows[start : start + _AT_ONCE]):
                written += bool(content["hands"])
                for hand in content["hands"]:
                    yield row_name(content["name"], hand["side"]), hand["rle"]

    write_csv(out, texts())
    return Written(written, len(listed) - written)
