"""A submission of the rows of an archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem

from handseg_monai.archive.store import Store, StoreError
from handseg_monai.rle import row_name, write_csv
from handseg_monai.words import counted

_AT_ONCE = 1000
"""Rows in memory."""


def archive_csv(archive: str | Path, out: str | Path, filesystem: FileSystem | None = None) -> int:
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
    images
        How many images it holds; those that failed have no rows.

    Raises
    ------
    StoreError
        There is no archive, or images of its list have no row yet.
    """
    store = Store(archive, filesystem)
    if store.job() is None:
        raise StoreError(f"{archive} is no archive; expected a folder that handseg archive has written")
    listed = np.asarray(store.images()["id"])
    ids = store.ids()
    order = np.argsort(ids, kind="stable")
    at = np.searchsorted(ids, listed, sorter=order)
    found = at < len(ids)
    found[found] = ids[order[at[found]]] == listed[found]
    if not found.all():
        missing = counted(int((~found).sum()), "image")
        raise StoreError(f"{archive}: {missing} of {len(listed)} not done; the same handseg archive command goes on")
    table = store.table()
    written = 0

    def texts() -> Iterator[tuple[str, list[str]]]:
        nonlocal written
        for start in range(0, len(listed), _AT_ONCE):
            rows = order[at[start : start + _AT_ONCE]]
            for row in table.take(pa.array(rows), columns=["name", "hands"]).to_pylist():
                written += bool(row["hands"])
                for hand in row["hands"]:
                    yield row_name(row["name"], hand["side"]), hand["rle"]

    write_csv(out, texts())
    return written
