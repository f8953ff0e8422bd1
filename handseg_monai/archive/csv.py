"""A submission of the rows of an archive."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from handseg_monai.archive.store import Store, StoreError
from handseg_monai.rle import row_name, write_csv
from handseg_monai.words import counted

_FILES = 16
"""Of rows, in memory; images that follow each other in the list lie in few."""


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

    @lru_cache(_FILES)
    def rows_of(file: int) -> pa.Table:
        return pq.read_table(files[file], filesystem=store.filesystem, columns=["name", "hands"])

    def texts() -> Iterator[tuple[str, list[str]]]:
        nonlocal written
        for row in order[at]:
            of_file = rows_of(int(number[row])).slice(int(place[row]), 1)
            (content,) = of_file.to_pylist()
            written += bool(content["hands"])
            for hand in content["hands"]:
                yield row_name(content["name"], hand["side"]), hand["rle"]

    write_csv(out, texts())
    return Written(written, len(listed) - written)
