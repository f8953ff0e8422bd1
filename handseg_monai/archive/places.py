"""Places of files: paths of this machine, and of what pyarrow reaches by a URI."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from pyarrow.fs import FileSystem, LocalFileSystem

_SECRET = re.compile(r"[?&](?:sig|[^=&]*(?:secret|password|token|key)[^=&]*)=", re.IGNORECASE)
"""A parameter of a URI that holds a credential."""


def place_of(text: str | Path, filesystem: FileSystem | None = None) -> tuple[FileSystem, str]:
    """File system and path of a place.

    Parameters
    ----------
    text
        A path, or a URI such as ``s3://bucket/folder?region=eu-central-1`` or ``file:///folder``.
    filesystem
        Where the path lies; None: on this machine, or where the URI says.

    Raises
    ------
    ValueError
        No file system is known by such a URI, or it holds credentials.
    """
    text = without_credentials(os.fspath(text))
    if filesystem is not None:
        return filesystem, text.rstrip("/")
    if "://" not in text:
        return LocalFileSystem(), os.path.normpath(Path(text).absolute())  # one folder, one path
    try:
        found, path = FileSystem.from_uri(text)
    except (ValueError, OSError) as error:
        raise ValueError(f"{text}: {error}; expected a path, or a URI such as s3://BUCKET/FOLDER") from error
    return found, path.rstrip("/")


def without_credentials(text: str) -> str:
    """Return a path or a URI as it is; one with a password is refused, for rows, lists and errors repeat it."""
    scheme, separator, rest = text.partition("://")
    login, at, _ = rest.partition("/")[0].rpartition("@")
    if separator and ((at and ":" in login) or _SECRET.search(rest)):
        raise ValueError(
            f"an address {scheme}://… holds a key and a secret; leave them out and give them in the environment, "
            "say AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return text


def place_of_image(path: str, filesystem: FileSystem) -> tuple[FileSystem, str]:
    """File system and path of an image of a list: where the list lies, unless the path names a scheme.

    What follows the scheme and the bucket is the key as it is, spaces and ``#`` among it.
    """
    scheme, separator, rest = path.partition("://")
    if not separator:
        return filesystem, path
    root, _, key = rest.partition("/")
    found, base = _root(f"{scheme}://{root}/")
    return found, f"{base}/{key}"


@lru_cache
def _root(uri: str) -> tuple[FileSystem, str]:
    """A connection for all images of a bucket: each new one costs a handshake."""
    found, base = FileSystem.from_uri(uri)
    return found, base.rstrip("/")


def is_local(filesystem: FileSystem) -> bool:
    """Whether paths of a file system are those of this machine."""
    return isinstance(filesystem, LocalFileSystem)
