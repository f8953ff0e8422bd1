"""Prepared items on disk: what a run has read and reduced once, no later run need read again.

An item's file is named after everything that it depends on: the item itself, time and size of each file that it names,
the transforms with their settings, and the versions of this package and MONAI. So a changed file or configuration finds
no old entry, several processes may share a folder (whole files appear under their names, and equal names hold equal
data), and a folder can be deleted at any time. A file begins with the checksum of the rest: a disk may hold other bytes
than were written, and pixels that are wrong are not seen.
"""

from __future__ import annotations

import hashlib
import io
import json
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
    """Keep items of tensors and plain values in a folder.

    Parameters
    ----------
    folder
        Where to keep them; made when the first one is written.
    transforms
        What prepares an item, without random ones.
    """

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
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        if len(content) > _CHECKSUM and content[:_CHECKSUM] == _checksum(memoryview(content)[_CHECKSUM:]):
            return torch.load(io.BytesIO(memoryview(content)[_CHECKSUM:]), weights_only=True)
        prepared = prepare()
        buffer = io.BytesIO()
        torch.save(prepared, buffer)
        with atomic_path(path) as part, part.open("wb") as file:
            file.write(_checksum(buffer.getbuffer()))
            file.write(buffer.getbuffer())
        return prepared


def _checksum(content: memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM, "big")
