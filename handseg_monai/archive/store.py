"""The folder of an archive: what it is of, the list of its images, the rows, and which images are done."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileSystem, FileType

from handseg_monai.archive.places import is_local, place_of
from handseg_monai.archive.rows import SCHEMA
from handseg_monai.files import hold, require_out
from handseg_monai.words import counted

_JOB, _IMAGES, _ROWS, _DONE, _LOCK = "job.json", "images.parquet", "rows", "done", "lock"
_PENDING = ".pending.parquet"
_THREADS = 32
"""Of a store that answers late: files of rows are many, and little is read of each."""


class StoreError(ValueError):
    """A folder that is not that of an archive, or of another one. The message says what is there."""


class Store:
    """The folder that an archive is written to.

    ``job.json`` says what rows depend on, ``images.parquet`` lists the images in the order of a submission, ``rows``
    holds the rows, and ``done`` Ray's checkpoints, a file for each file of rows.

    Parameters
    ----------
    place
        A path, or a URI.
    filesystem
        Where the path lies; None: see :func:`~handseg_monai.archive.places.place_of`.
    """

    def __init__(self, place: str | Path, filesystem: FileSystem | None = None) -> None:
        self.place = place
        self.filesystem, self.path = place_of(place, filesystem)
        self.rows, self.done = self._inner(_ROWS), self._inner(_DONE)

    def require(self, source: str | Path, filesystem: FileSystem | None = None) -> None:
        """Refuse, before the work, a folder that can't be written to, as far as can be told, or is among the images.

        Raises
        ------
        StoreError, OSError
            It is a file, can't be made or written to, or lies in ``source``, a folder of the same disk; or its store
            does not answer.
        """
        place, images = place_of(source, filesystem)
        inside = StoreError(f"--out {self.place} lies in {source}, where archive reads; choose another folder")
        if not is_local(self.filesystem):
            if place.equals(self.filesystem) and f"{self.path}/".startswith(f"{images}/"):
                raise inside
            with _in_words(self.place):
                self.filesystem.get_file_info(self.path)
            return
        among = is_local(place) and Path(images).is_dir()
        if among and Path(self.path).resolve().is_relative_to(Path(images).resolve()):
            raise inside
        require_out(self.path, folder=True)

    def begin(self, job: Mapping[str, object], images: pa.Table) -> list[str]:
        """Make the folder, or go on with it: the list of images is the one given.

        Returns
        -------
        names
            Images that have a row, and that are listed no longer.

        Raises
        ------
        StoreError
            It holds something else, or the archive of another job or of other images.
        """
        there = self.job()
        if there is None:
            there_are = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True))
            others = sorted(info.base_name for info in there_are if info.base_name not in (_LOCK, _part(_JOB)))
            if others:
                named = ", ".join(others[:3])
                raise StoreError(f"{self.place} holds other files ({named}); expected an empty or a new folder (--out)")
        elif there != dict(job):
            differing = [key for key in job if job[key] != there.get(key)]
            said = "; ".join(f"{key} {there.get(key)!r} instead of {job[key]!r}" for key in differing)
            raise StoreError(f"{self.place} holds an archive that was made with {said}; choose another folder (--out)")
        with _in_words(self.place):
            self.filesystem.create_dir(self.path, recursive=True)
        if is_local(self.filesystem):
            hold(self._inner(_LOCK), f"--out {self.place}")
        part = self._inner(_part(_JOB))
        with self.filesystem.open_output_stream(part) as file:
            file.write(json.dumps(dict(job), indent=1, ensure_ascii=False).encode())
        self.filesystem.move(part, self._inner(_JOB))
        for folder in (self.rows, self.done):
            self.filesystem.create_dir(folder, recursive=True)
        self._drop_damaged()
        unlisted = self._unlisted(images)
        self._write_table(self._inner(_IMAGES), images)
        return unlisted

    def _unlisted(self, images: pa.Table) -> list[str]:
        """Names of rows whose images are not listed; an image that is, under its name, must lie where it did."""
        listed, names = np.asarray(images["id"]), []
        # Texts of more than 2 GiB lie in pieces, of which none can be taken as of one.
        lie = images["path"].cast(pa.large_string()).combine_chunks()
        order = np.argsort(listed, kind="stable")
        for rows in self.table().to_batches(columns=["id", "name", "path"]):
            at = np.searchsorted(listed, np.asarray(rows["id"]), sorter=order).clip(max=max(len(listed) - 1, 0))
            here = listed[order[at]] == np.asarray(rows["id"]) if len(listed) else np.zeros(len(rows), bool)
            names += rows.filter(pa.array(~here))["name"].to_pylist()
            paths = lie.take(pa.array(order[at[here]]))
            before = rows.filter(pa.array(here))
            other = pc.not_equal(before["path"].cast(pa.large_string()), paths)
            if pc.any(other).as_py():
                row = pc.index(other, True).as_py()
                raise StoreError(
                    f"{self.place} holds the row of another {before['name'][row]}: it lay at {before['path'][row]}, "
                    f"now at {paths[row]}; choose another folder for another SOURCE (--out)"
                )
        return names

    def job(self) -> dict[str, object] | None:
        """What the rows depend on; None where there is no archive yet."""
        if self.filesystem.get_file_info(self._inner(_JOB)).type == FileType.NotFound:
            return None
        with self.filesystem.open_input_stream(self._inner(_JOB)) as file:
            return dict(json.loads(file.read()))

    def images(self) -> pa.Table:
        """The list of images: ``id``, ``name`` and ``path``."""
        return pq.read_table(self._inner(_IMAGES), filesystem=self.filesystem)

    def table(self) -> ds.Dataset:
        """All rows."""
        return ds.dataset(self.rows, schema=SCHEMA, filesystem=self.filesystem, format="parquet")

    def ids(self) -> np.ndarray:
        """Ids of the rows, int64 (N,)."""
        return np.asarray(self.table().to_table(columns=["id"])["id"])

    def done_files(self) -> list[str]:
        """Paths of Ray's checkpoints, one for each file of rows that is whole."""
        marks = self.filesystem.get_file_info(FileSelector(self.done, allow_not_found=True))
        return [m.path for m in marks if m.base_name.endswith(".parquet") and not m.base_name.endswith(_PENDING)]

    def count(self, files: Sequence[str]) -> int:
        """How many images are in some of Ray's checkpoints."""
        if not files:
            return 0
        return int(ds.dataset(list(files), filesystem=self.filesystem, format="parquet").count_rows())

    def index(self) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
        """Files of rows; and of each row its id, the number of its file, and its place there, each int64 (N,).

        Raises
        ------
        StoreError
            A file is damaged.
        """
        files = self.table().files
        try:
            with ThreadPoolExecutor(_THREADS) as threads:
                ids = list(threads.map(self._ids_in, files))
        except pa.ArrowInvalid as error:
            raise StoreError(
                f"{self.place}: a file of rows is damaged ({error}); the same handseg archive command does its images "
                "again"
            ) from error
        number = np.repeat(np.arange(len(files)), [len(of_file) for of_file in ids])
        place = [np.arange(len(of_file)) for of_file in ids]
        return files, *(np.concatenate([np.empty(0, np.int64), *parts]) for parts in (ids, [number], place))

    def _ids_in(self, file: str) -> np.ndarray:
        return np.asarray(pq.read_table(file, filesystem=self.filesystem, columns=["id"])["id"], np.int64)

    def _is_whole(self, file: str) -> bool:
        try:
            pq.read_metadata(file, filesystem=self.filesystem)
        except pa.ArrowInvalid:
            return False
        return True

    def _drop_damaged(self) -> None:
        """Take away files of rows that are not whole, as a machine that loses its power may leave them."""
        files = self.table().files
        with ThreadPoolExecutor(_THREADS) as threads:
            damaged = [path for path, whole in zip(files, threads.map(self._is_whole, files), strict=True) if not whole]
        for path in damaged:
            self.filesystem.delete_file(path)
            mark = f"{self.done}/{_mark_of(path)}"
            if self.filesystem.get_file_info(mark).type != FileType.NotFound:
                self.filesystem.delete_file(mark)

    def settle(self, failed: bool = False) -> None:
        """Take away rows that count for nothing or twice, and with ``failed`` those of images without masks.

        Ray writes the ids of a file's images beforehand, as ``NAME.pending.parquet``, and renames that to
        ``NAME.parquet`` once the file is whole. A kill in between leaves rows that are not known to be whole; a process
        that outlives its killed job may write some that the next job has written too.

        Raises
        ------
        StoreError
            There are rows and no marks at all: no kill leaves that.
        """
        files = self.table().files
        marks = self.filesystem.get_file_info(FileSelector(self.done, allow_not_found=True))
        if files and not any(mark.base_name.endswith(".parquet") for mark in marks):
            raise StoreError(
                f"{self.place} holds {counted(len(files), 'file')} of rows, and in {_DONE} nothing says that they are "
                f"whole; restore {_DONE} from where the folder was copied, or empty {_ROWS} to do all images again"
            )
        whole = {mark.base_name for mark in marks}
        for path in files:
            if _mark_of(path) not in whole:
                self.filesystem.delete_file(path)
        for mark in marks:  # after their rows: what is killed here leaves no rows without any mark
            if mark.base_name.endswith(_PENDING):
                self.filesystem.delete_file(mark.path)
        gone = self._failed_ids() if failed else np.empty(0, np.int64)
        ids = self.ids()
        if len(np.unique(ids)) == len(ids) and not len(gone):
            return
        files, ids, number, _ = self.index()
        stays = np.zeros(len(ids), bool)
        stays[np.unique(ids, return_index=True)[1]] = True
        stays &= ~np.isin(ids, gone)
        bounds = np.searchsorted(number, np.arange(len(files) + 1))
        for file in np.unique(number[~stays]).tolist():
            of_file = pa.array(stays[bounds[file] : bounds[file + 1]])
            self._write_table(files[file], pq.read_table(files[file], filesystem=self.filesystem).filter(of_file))

    def _failed_ids(self) -> np.ndarray:
        return np.asarray(self.table().to_table(columns=["id"], filter=pc.field("failure").is_valid())["id"])

    def add(self, rows: pa.Table, name: str) -> None:
        """Write rows beside those of Ray, as a file of this name, and that they are done."""
        pending = f"{self.done}/{name}{_PENDING}"
        self._write_table(pending, rows.select(["id"]))
        self._write_table(f"{self.rows}/{name}-0.parquet", rows)
        self.filesystem.move(pending, f"{self.done}/{name}.parquet")

    def failures(self) -> dict[str, str]:
        """Why images of the list have no masks, by their names."""
        table = self.table().to_table(columns=["id", "name", "failure"], filter=pc.field("failure").is_valid())
        table = table.filter(pc.is_in(table["id"], self.images()["id"]))
        return dict(zip(table["name"].to_pylist(), table["failure"].to_pylist(), strict=True))

    def _inner(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _write_table(self, path: str, table: pa.Table) -> None:
        """Write a file beside, then rename it."""
        part = f"{posixpath.dirname(path)}/{_part(posixpath.basename(path))}"
        pq.write_table(table, part, filesystem=self.filesystem, compression="zstd")
        self.filesystem.move(part, path)


@contextmanager
def _in_words(place: str | Path) -> Iterator[None]:
    """Turn an error of a store, which names neither place nor advice, into one that does."""
    try:
        yield
    except OSError as error:
        reason = str(error).splitlines()[0].removesuffix(".")
        raise StoreError(
            f"{place} can't be written to ({reason}); expected a folder on a store that answers, and the right to "
            "write there (--out)"
        ) from error


def _mark_of(rows: str) -> str:
    """Name of the mark that says that a file of rows is whole."""
    return f"{posixpath.basename(rows).removesuffix('-0.parquet')}.parquet"


def _part(name: str) -> str:
    return f".{name}.part"
