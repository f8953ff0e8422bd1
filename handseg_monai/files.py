"""Writing a file, or a folder of them, so that it is whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_UNLISTABLE = re.compile("[\n\r\ud800-\udfff]")
_OF_SYSTEMS = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    *("__macosx", "icon\r", "@eadir", "#recycle", "lost+found"),
}
"""Files and folders, in lower case, that Windows, archives of macOS and network disks lay among others unasked."""
_LONGEST = 255
"""Bytes of a name that nearly every file system takes."""
_WRITTEN = (".csv", ".html", ".json")
"""Suffixes of the single files that commands write, other than weights."""


def nfc(name: str) -> str:
    """Return a name in Unicode's composed form, by which names are compared: macOS writes ``é`` as two characters."""
    return unicodedata.normalize("NFC", name)


def plain_name(name: str) -> str:
    """Return a name as people read it: composed, without invisible signs, any spaces as one, none at the ends."""
    seen = "".join(c for c in nfc(name) if unicodedata.category(c) not in ("Cf", "Cc") or c.isspace())
    return " ".join(seen.split())


def with_ending(path: Path, ending: str) -> Path:
    """Add an ending to a path; of a name that becomes too long for a file a digest takes the place of its end."""
    if len(os.fsencode(path.name + ending)) <= _LONGEST:
        return path.with_name(path.name + ending)
    mark = f"~{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}{ending}"
    return path.with_name(_cut(path.name, _LONGEST - len(mark)) + mark)


def _cut(name: str, most: int) -> str:
    return name.encode(errors="ignore")[:most].decode(errors="ignore")


def require_out(path: str | Path, folder: bool = False) -> None:
    """Refuse, before the work, a path that the file, or the folder, of its result can't have.

    Raises
    ------
    OSError
        It is a folder where a file is wanted, or the other way round, or lies in a file, or where nothing can be
        written.
    """
    path = Path(path)
    if path.is_dir() and not folder:
        raise IsADirectoryError(f"{path} is a folder; expected a file to write (--out)")
    for there in (path, *path.parents) if folder else path.parents:
        if there.exists() and not there.is_dir():
            raise NotADirectoryError(f"{there} is a file; expected a folder to write to (--out {path})")
    place = next(there for there in (path, *path.absolute().parents) if there.is_dir())
    if reason := why_not_writable(place):
        raise OSError(f"{place} can't be written to ({reason}); expected a place to write to (--out {path})")


def require_other(outs: Iterable[str | Path], inputs: Iterable[str | Path | None]) -> None:
    """Refuse, before the work, to write over what a command reads.

    Parameters
    ----------
    outs
        Files that the command writes.
    inputs
        Files and folders that it reads; None where it reads nothing.

    Raises
    ------
    ValueError
        A file to write is one of the files to read, by whatever path; or it lies in a folder to read, is there, and is
        not of a kind that commands write.
    """
    read = [Path(path).resolve() for path in inputs if path is not None]
    for out in map(Path, outs):
        place = out.resolve()
        among = place.is_file() and place.suffix.lower() not in _WRITTEN and any(map(place.is_relative_to, read))
        if among or any(place == path or _are_one(place, path) for path in read):
            raise ValueError(f"{out}: the command reads this file and would replace it; choose another one (--out)")


def _are_one(first: Path, second: Path) -> bool:
    return first.exists() and second.exists() and first.samefile(second)


def require_file(path: str | Path, what: str) -> None:
    """Raise ``OSError`` where a path to read is not there, or is a folder; ``what`` says what is expected."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected {what}")
    if not Path(path).exists():
        raise FileNotFoundError(f"no such file: {path}; expected {what}")


def why_not_writable(folder: Path) -> str | None:
    """Return the system's reason why no file can be written in a folder that is there; None where one can."""
    try:
        with tempfile.TemporaryFile(dir=folder):  # on a read-only disk and in /proc os.access promises root too much
            return None
    except OSError as error:
        return error.strerror or str(error)


def find_files(folder: str | Path, wanted: str | tuple[str, ...] | Callable[[Path], bool] = "") -> list[Path]:
    """List the files below a folder whose names end in one of some suffixes (lower case), sorted by path.

    Links are followed once all folders that are none have been read; each folder is read once. Hidden files and folders
    are passed over, and those that systems lay there, such as ``Thumbs.db``.

    Parameters
    ----------
    folder
        Where to search; it may be hidden itself.
    wanted
        The suffix, several, or a function that tells whether a path is wanted.

    Raises
    ------
    OSError
        A folder can't be read.
    ValueError
        A name that no list of files can hold, with a line break or not in UTF-8; or two names that differ in their
        Unicode form alone.
    """
    found: list[Path] = []
    seen: set[str] = set()

    def fail(error: OSError) -> None:
        raise error

    def is_wanted(path: Path) -> bool:
        return wanted(path) if callable(wanted) else path.name.lower().endswith(wanted)

    waiting = [Path(folder)]
    while waiting:
        links: list[Path] = []
        for top in waiting:
            for place, folders, files in os.walk(top, onerror=fail):
                real = os.path.realpath(place)
                folders[:] = sorted(name for name in folders if not is_of_system(name) and real not in seen)
                if real in seen:
                    continue
                seen.add(real)
                links += [Path(place, name) for name in folders if Path(place, name).is_symlink()]
                found += filter(is_wanted, (Path(place, name) for name in files if not is_of_system(name)))
        waiting = links
    found.sort()
    _check_names(found, Path(folder))
    return found


def is_of_system(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or lies there as systems lay it."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def _check_names(paths: list[Path], folder: Path) -> None:
    same: dict[str, Path] = {}
    for path in paths:
        name = str(path.relative_to(folder))
        if _UNLISTABLE.search(name):
            reason = "a CSV can't hold this name; expected UTF-8 without line breaks"
            raise ValueError(f"{str(path)!a}: {reason}: rename it")
        if (other := same.setdefault(nfc(name), path)) is not path:
            both = f"{str(other)!a} and {str(path)!a}"
            raise ValueError(f"{both}: two names that differ in their Unicode form alone; rename one of them")


def _part_of(path: Path) -> Path:
    ending = f".{secrets.token_hex(4)}.part"
    return path.with_name(f".{_cut(path.name, _LONGEST - len(ending) - len('.older.'))}{ending}")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and rename it to ``path`` once it is complete and on disk.

    Folders that are missing are made. On an error or a kill an older file stays as it was; a kill may leave the
    part file, whose name begins with a dot and ends in ``.part``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
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

    Raises
    ------
    ValueError
        The process works in the folder, which would be deleted under it and the shell that it was called from.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and Path.cwd().is_relative_to(path):
        raise ValueError(
            f"{path}: the command replaces this folder, and you are working in it; choose another one (--out)"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
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


def write_json(path: str | Path, content: object) -> None:
    """Write a JSON file that appears when it is complete, indented, for people to read too."""
    with atomic_open(path) as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")


_HELD: list[IO[str]] = []


def hold(path: str | Path, what: str, shared: bool = False) -> IO[str]:
    """Hold a lock file until it is closed, or this process ends.

    A child doesn't hold it on, and this process may hold it again.

    Parameters
    ----------
    path
        The file, which is made and stays.
    what
        Words for what it guards.
    shared
        Hold it together with other processes that share it; one that this process held alone becomes shared.

    Raises
    ------
    ValueError
        Another process holds it.
    """
    file = _locked(path, what, "lockf", shared)
    # The system lets go of such a lock where any of the process's files is closed, as the garbage collector may do.
    _HELD.append(file)
    return file


@contextmanager
def exclusive(path: str | Path, what: str) -> Iterator[int]:
    """Hold a lock file and give its descriptor; a child that keeps it open holds the lock too, beyond our own end.

    Parameters
    ----------
    path, what
        See :func:`hold`.

    Raises
    ------
    ValueError
        Another process holds it.
    """
    with _locked(path, what, "flock") as file:
        yield file.fileno()


def _locked(path: str | Path, what: str, kind: Literal["lockf", "flock"], shared: bool = False) -> IO[str]:
    """Open a lock file and lock it for this process (``lockf``) or for the open file (``flock``)."""
    file = Path(path).open("a+")  # noqa: SIM115
    if fcntl is None:
        return file
    try:
        getattr(fcntl, kind)(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        raise ValueError(f"{what}: another run still writes to it; end all of its processes first") from error
    return file
