"""The images of an archive: those of a folder, of a list, or of a Parquet file."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileSystem, FileType

from handseg_monai.archive.places import is_local, place_of, without_credentials
from handseg_monai.data.datalists import DatasetError, inference_datalist, require_name
from handseg_monai.data.reading.dicom import DICOM_SUFFIXES, require_dicom
from handseg_monai.data.reading.images import IMAGE_SUFFIXES, START, by_name, by_start, say_left_out
from handseg_monai.files import is_of_system, nfc
from handseg_monai.words import counted

LISTS = (".txt", ".lst")
"""Suffixes of a file with a path a line."""
PARQUET = (".parquet", ".pq")
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("path", pa.string())])
_BUCKETS = "s3", "gs"
"""Schemes whose paths begin with the bucket."""
_THREADS = 32
"""Of a store that answers late: files without a telling suffix are opened, each to look at its first bytes."""


@dataclass(frozen=True)
class Source:
    """Images of an archive.

    Attributes
    ----------
    images
        Table of ``id``, ``name`` and ``path``, in the order of a submission.
    filesystem
        Where paths without a scheme lie.
    """

    images: pa.Table
    filesystem: FileSystem


def list_images(source: str | Path, relative_names: bool = False, filesystem: FileSystem | None = None) -> Source:
    """List the images of an archive.

    Parameters
    ----------
    source
        A folder or an image, as :func:`~handseg_monai.data.datalists.inference_datalist` takes them; a text file
        (:data:`LISTS`) with a path a line; or Parquet with a column ``path`` and, if names are to be others than those
        of the files, ``name``. A path or a URI; so are the paths of a list, which count from the working folder.
    relative_names
        Name the images of a folder by their path from there rather than by the file's own name.
    filesystem
        Where all of this lies; None: on this machine, or where a URI says.

    Raises
    ------
    DatasetError
        There is no such place, there are no images, two have one name, a name that a CSV can't hold, or a list with
        ``relative_names``.
    """
    place, path = place_of(source, filesystem)
    info = place.get_file_info(path)
    if info.type == FileType.NotFound:
        raise DatasetError(f"no such file or folder: {source}; expected radiographs, or a list of them")
    suffix = posixpath.splitext(path)[1].lower()
    is_list = (info.is_file and suffix in LISTS) or suffix in PARQUET
    if relative_names and is_list:
        raise DatasetError(
            f"--relative_names is for folders, and {source} is a list; give Parquet with a column name to name images"
        )
    if info.is_file and suffix in LISTS:
        lines = _lines(place.open_input_file(path).read(), source)
        paths = [line.strip() for line in lines if line.strip()]
        names = [posixpath.basename(path) for path in paths]
    elif suffix in PARQUET:
        names, paths = _of_parquet(place, path, source)
    elif is_local(place):
        items = inference_datalist(path, relative_names)
        return Source(_table([item["name"] for item in items], [item["image"] for item in items]), place)
    else:
        paths = [path] if info.is_file else _find(place, path)
        names = [posixpath.relpath(p, path) if relative_names and p != path else posixpath.basename(p) for p in paths]
    if not paths:
        raise DatasetError(f"no images in {source}; looked for {', '.join(IMAGE_SUFFIXES)}")
    paths = [listed_path(source, path) for path in paths]
    if is_local(place):
        paths = [path if "://" in path else str(Path(path).absolute()) for path in paths]
    if any(not name for name in names):
        raise DatasetError(f"{source}: {paths[names.index('')]!r} is a folder; expected the path of an image")
    for name, one in zip(names, paths, strict=True):
        require_name(name, one)
    if any(posixpath.splitext(path)[1].lower() in DICOM_SUFFIXES or by_name(path) is None for path in paths):
        try:
            require_dicom()
        except ValueError as error:
            raise DatasetError(f"{source}: {error}") from error
    return Source(_table(names, paths), place)


def _lines(content: bytes, source: str | Path) -> list[str]:
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{source}: not a text in UTF-8 (byte {error.start + 1}); expected a path a line; save the list as UTF-8"
        ) from error


def listed_path(source: str | Path, path: str) -> str:
    """A listed path; of the bucket of its list as a path there, by the endpoint and credentials of the list."""
    scheme, _, rest = str(source).partition("://")
    own = f"{scheme}://{rest.partition('/')[0]}/"
    if scheme in _BUCKETS and path.startswith(own):
        return path.partition("://")[2]
    try:
        return without_credentials(path)
    except ValueError as error:
        raise DatasetError(f"{source}: {error}") from error


def _of_parquet(place: FileSystem, path: str, source: str | Path) -> tuple[list[str], list[str]]:
    try:
        table = pq.read_table(path, filesystem=place)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DatasetError(f"{source}: {str(error).splitlines()[0]}; expected a Parquet file") from error
    if "path" not in table.column_names:
        raise DatasetError(f"{source} has the columns {', '.join(table.column_names)}; expected path, and perhaps name")
    for name in {"path", "name"} & set(table.column_names):
        column = table[name]
        if column.null_count or not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise DatasetError(f"{source}: column {name} is {column.type}, {column.null_count} empty; expected texts")
    paths = table["path"].to_pylist()
    names = table["name"].to_pylist() if "name" in table.column_names else [posixpath.basename(p) for p in paths]
    return names, paths


def _find(place: FileSystem, folder: str) -> list[str]:
    """Images below a folder of a store, sorted, by the rules of :func:`~handseg_monai.data.reading.images.find_images`.

    Hidden files are passed over, and those that systems lay there.
    """
    below = [info.path for info in place.get_file_info(FileSelector(folder, recursive=True)) if info.is_file]
    below.sort(key=lambda path: path.split("/"))
    below = [p for p in below if not any(map(is_of_system, posixpath.relpath(p, folder).split("/")))]

    def kind_of(path: str) -> str | None:
        try:
            with place.open_input_file(path) as file:
                return by_start(file.read(START))
        except OSError:  # the store may be busy: whoever reads it tries again, or says why it can't be read
            return ""

    told = {path: by_name(posixpath.basename(path)) for path in below}
    with ThreadPoolExecutor(_THREADS) as threads:
        open_ = [path for path in below if told[path] is None]
        kinds = dict(zip(open_, threads.map(kind_of, open_), strict=True))
    say_left_out(folder, [(posixpath.relpath(path, folder), kind) for path, kind in kinds.items() if kind])
    return [path for path in below if told[path] or kinds.get(path) == ""]


def id_of(name: str) -> int:
    """Number of an image: 64 bits of a digest of its name, so that a hundred million of them take little memory."""
    return int.from_bytes(hashlib.blake2b(nfc(name).encode(), digest_size=8).digest(), "little", signed=True)


def _table(names: list[str], paths: list[str]) -> pa.Table:
    ids = np.fromiter(map(id_of, names), np.int64, len(names))
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        first, second = np.flatnonzero(ids == unique[counts.argmax()])[:2]
        if nfc(names[first]) == nfc(names[second]):
            what, advice = (
                f"two images of the name {names[first]}",
                "give a folder with --relative_names, or Parquet with a column name",
            )
        else:
            what, advice = f"{names[first]} and {names[second]} have one number", "rename one of the two"
        raise DatasetError(f"{what}: {paths[first]} and {paths[second]}; {advice}")
    return pa.table([ids, names, paths], schema=SCHEMA)


def say(images: Iterable[str], most: int = 5) -> str:
    """Name some images: ``3 images: a.png, b.png, c.png``."""
    names = list(images)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{counted(len(names), 'image')}: {', '.join(names[:most])}{more}"
