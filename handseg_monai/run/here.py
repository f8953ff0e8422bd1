"""Running the bundle in this process, as ``python -m monai.bundle run`` does, with a terminal that stays readable."""

from __future__ import annotations

import io
import logging
import os
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from handseg_monai import bundle_root
from handseg_monai.files import require_out
from handseg_monai.follow.redact import hide
from handseg_monai.run.process import (
    bundle_command,
    named_options,
    overlay_file,
    plain_path,
    require_not_misspelt,
    shown,
)

LOG = "run.log"
_OWN = {
    "dataset_dir": "give the folder without it",
    "output_dir": "use --out",
    "config_file": "use --overlay",
    "bundle_root": "it is the bundle that comes with the package",
}
_OF_THE_COMMAND = ("out", "overlay", "hands", "invert", "processes")
"""Options of ``handseg infer`` and ``train`` themselves."""


def run_here(
    run_id: str,
    base: str,
    overlays: Sequence[str],
    data: Path,
    out: Path,
    options: Sequence[str],
    processes: int = 1,
) -> None:
    """Print a command of ``monai.bundle`` and run it in this process, with its exit code.

    Standard output is kept in ``run.log`` in the folder of the run, to which each run appends; what MONAI says of
    configurations and options goes there alone. Secrets are taken out. A run that makes no folder leaves no log.

    With several ``processes``, and data that are more than one file, it starts this command line in each of them; they
    know from their environment, as ``torchrun`` sets it, that they are ranks of one run. The first alone prints and
    keeps a log.

    ``overlays`` are as :func:`~handseg_monai.run.process.overlay_file` takes them, ``options`` further ones of the
    bundle, ``--name`` and value by turns.

    Raises
    ------
    ValueError
        No such overlay, options that are no pairs, one that the command sets itself, too many processes, or nothing
        to share among them.
    OSError
        ``out`` can't be a folder.
    """
    named = named_options(options)
    for name in named:
        if name in _OWN:
            raise ValueError(f"--{name}: {_OWN[name]}")
    require_not_misspelt(named, _OF_THE_COMMAND)
    configs = bundle_root() / "configs"
    files = [configs / f"{base}.json", *(overlay_file(name, base) for name in overlays)]
    require_out(out, folder=True)
    if processes > 1 and "RANK" not in os.environ and not data.is_file():
        if not data.exists():  # or each of them would say so
            raise ValueError(f"no such folder: {data}")
        from handseg_monai.run.launch import launch

        sys.exit(launch(processes, sys.argv[1:]))
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    files += [configs / f"multi_gpu_{base}.json"] if ranks > 1 else []
    given = ["--dataset_dir", plain_path(data), "--output_dir", plain_path(out), *options]
    command = bundle_command(run_id, files, given, ranks)
    first = os.environ.get("RANK", "0") == "0"
    log = _Log(out if first else None)
    sys.stdout = _Both(sys.stdout, log) if first else log
    print(f"$ {shown(command)}", flush=True)
    # The loggers are there as soon as these are imported, with the terminal as their handler.
    from monai.bundle import scripts, workflows

    for module in (scripts, workflows):
        module.logger.handlers = [logging.StreamHandler(log)]
    log.write(f"{shlex.join(command)}\n")
    for words in ("parsing config_file", "`dataloader` is empty", "`broadcast_buffers` is deprecated"):
        warnings.filterwarnings("ignore", message=words)
    sys.argv = ["monai.bundle", *command[command.index("monai.bundle") + 1 :]]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


class _Log(io.TextIOBase):
    """The log of a run, kept in memory until the run has made its folder; without a folder there is none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._waiting: list[str] = []
        self._file: TextIO | None = None

    def write(self, text: str) -> int:
        if self._folder is None:
            return len(text)
        self._waiting.append(hide(text))
        if self._file is None and self._folder.is_dir():
            self._file = (self._folder / LOG).open("a", encoding="utf-8")
        if self._file is not None:
            self._file.write("".join(self._waiting))
            self._file.flush()
            self._waiting.clear()
        return len(text)


_STAMP = re.compile(r"^[\d-]{10} [\d:,]{12} (\w+) [\w.]+: ", re.MULTILINE)
"""Time, level and logger of a line, as ``logging.conf`` writes them."""


class _Both(io.TextIOBase):
    """Standard output that a log keeps too; people see the messages of loggers alone."""

    def __init__(self, terminal: TextIO, log: _Log) -> None:
        self._terminal, self._log = terminal, log

    def write(self, text: str) -> int:
        self._log.write(text)
        self._terminal.write(_STAMP.sub(lambda line: "" if line[1] == "INFO" else f"{line[1].lower()}: ", text))
        return len(text)

    def flush(self) -> None:
        self._terminal.flush()

    def isatty(self) -> bool:
        return self._terminal.isatty()

    def fileno(self) -> int:
        return self._terminal.fileno()
