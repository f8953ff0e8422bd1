"""Prepared items on disk: what a run has read and reduced once, no later run need read again.

An item's file is named after everything that it depends on: the item itself, time and size of each file that it names,
the transforms with their settings, and the versions of this package and MONAI. So a changed file or configuration finds
no old entry, several processes may share a folder (whole files appear under their names, and equal names hold equal
data), and a folder can be deleted at any time. A file ends with the checksum of what is before it: a disk may hold
other bytes than were written, and pixels that are wrong are not seen.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from monai.data.utils import pickle_hashing

import handseg_monai
from handseg_monai.files import atomic_path

_CHECKSUM = 4
"""Bytes."""


class DiskCache:
    """Keep items of tensors and plain values, as ``transforms`` without random ones prepare them, in a folder."""

    def __init__(self, folder: str | Path, transforms: Sequence[Callable[..., Any]]) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"{self.folder}: expected a folder for prepared images, got a file")
        versions = handseg_monai.__version__, monai.__version__, np.__version__
        self._setting = pickle_hashing([versions, [(type(t).__qualname__, vars(t)) for t in transforms]]).decode()

    def path(self, item: Mapping[Any, Any]) -> Path:
        """Return where an item lies, or would lie."""
        files = {}
        for key, value in item.items():
            if isinstance(value, str | Path) and Path(value).is_file():
                stat = Path(value).stat()
                files[str(key)] = [str(Path(value).resolve()), stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size]
        named = json.dumps([self._setting, files, {str(k): str(v) for k, v in item.items()}], sort_keys=True)
        return self.folder / f"{hashlib.sha256(named.encode()).hexdigest()[:32]}.pt"

    def get(self, item: Mapping[Any, Any], prepare: Callable[[], Any]) -> Any:
        """Return an item prepared: from its file, or by `prepare`, whose result is then kept.

        A file that can't be read, after a crash of the machine for example, is written again.
        """
        path = self.path(item)
        if _is_whole(path):
            return torch.load(path, weights_only=True)
        prepared = prepare()
        with atomic_path(path) as part:
            torch.save(prepared, part)
            with part.open("rb+") as file:
                file.write(_checksum(file.read()))
        return prepared


def _is_whole(path: Path) -> bool:
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            memoryview(content) as view,
        ):
            return len(view) > _CHECKSUM and view[-_CHECKSUM:] == _checksum(view[:-_CHECKSUM])
    except (OSError, ValueError):  # ValueError: nothing to map in an empty file
        return False


def _checksum(content: bytes | memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM, "big")
