"""Writing a file, or a folder of them, so that it is whole or not there."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def find_files(folder: str | Path, suffixes: str | tuple[str, ...] = "") -> list[Path]:
    """List the files below a folder whose names end in one of the suffixes (lower case), sorted by path.

    Links are followed, each folder once. Hidden files and folders are passed over.

    Raises
    ------
    OSError
        A folder can't be read.
    """
    found = []
    seen = {os.path.realpath(folder)}

    def fail(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real = {name: os.path.realpath(Path(place, name)) for name in folders if not name.startswith(".")}
        folders[:] = [name for name, path in real.items() if path not in seen]
        seen.update(real.values())
        found += [Path(place, name) for name in files if not name.startswith(".") and name.lower().endswith(suffixes)]
    return sorted(found)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and rename it to ``path`` once it is complete and on disk.

    Folders that are missing are made. On an error or a kill an older file stays as it was; a kill may leave the
    part file, whose name begins with a dot and ends in ``.part``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a new folder beside ``path`` to fill, which takes its place, an older folder's too, once it is complete.

    A link to a folder stays one. On an error the older folder stays as it was; a kill may leave the part, whose name
    begins with a dot and ends in ``.part``.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        yield part
        if path.exists():
            older = part.with_suffix(".older.part")
            path.rename(older)
            part.rename(path)
            shutil.rmtree(older)
        else:
            part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def atomic_open(path: str | Path) -> Iterator[IO[str]]:
    """Open a UTF-8 text file for writing that appears under ``path`` when it is complete; see :func:`atomic_path`."""
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        yield file
        file.flush()
