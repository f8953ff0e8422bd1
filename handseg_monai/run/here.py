"""Running the bundle in this process, as ``python -m monai.bundle run`` does, with a terminal that stays readable."""

from __future__ import annotations

import difflib
import logging
import runpy
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from handseg_monai import bundle_root
from handseg_monai.files import require_out
from handseg_monai.run.process import bundle_command, shown

LOG = "run.log"


def overlay_files(base: str, overlays: Sequence[str]) -> list[Path]:
    """Return the configuration files of a run: the base, and what lies over it.

    Parameters
    ----------
    base
        Name of a configuration of the bundle, such as ``train``.
    overlays
        Names of further ones, with or without ``.json``, or files of one's own.

    Raises
    ------
    ValueError
        No such configuration; the message names the closest one.
    """
    configs = bundle_root() / "configs"
    found = [configs / f"{base}.json"]
    for name in overlays:
        own, of_bundle = Path(name), configs / f"{name.removesuffix('.json')}.json"
        if not own.is_file() and not of_bundle.is_file():
            names = sorted(path.stem for path in configs.glob("*.json"))
            close = difflib.get_close_matches(name.removesuffix(".json"), names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the bundle has {', '.join(names)}"
            raise ValueError(f"--overlay {name}: no such file, and no configuration of the bundle; {hint}")
        found.append(own if own.is_file() else of_bundle)
    return found


def run_here(run_id: str, base: str, overlays: Sequence[str], data: Path, out: Path, options: Sequence[str]) -> None:
    """Print a command of ``monai.bundle`` and run it in this process, with its exit code.

    What MONAI says of configurations and options goes to ``run.log`` in the folder of the run; warnings, progress and
    results stay on the terminal.

    Parameters
    ----------
    run_id, base, overlays
        What to run of which configuration, see :func:`overlay_files`.
    data, out
        ``--dataset_dir`` and ``--output_dir``.
    options
        Further options of the bundle, ``--name`` and value by turns.

    Raises
    ------
    ValueError
        No such overlay, or an option that does not begin with ``--``.
    OSError
        ``out`` can't be a folder.
    """
    for option in options[::2]:
        if not option.startswith("--"):
            raise ValueError(f"{option!r}: expected options of the bundle as --NAME VALUE, after a lone --")
    files = overlay_files(base, overlays)
    require_out(out, folder=True)
    given = ["--dataset_dir", str(data), "--output_dir", str(out), *options]
    command = bundle_command(run_id, files, given)
    print(f"$ {shown(command)}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    _log_to(out / LOG, command)
    sys.argv = ["monai.bundle", *command[command.index("monai.bundle") + 1 :]]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


class _Tee:
    """Standard output that a file keeps too; everything but writing is that of the terminal."""

    def __init__(self, terminal: TextIO, file: TextIO) -> None:
        self._terminal, self._file = terminal, file

    def write(self, text: str) -> int:
        self._file.write(text)
        return self._terminal.write(text)

    def flush(self) -> None:
        self._file.flush()
        self._terminal.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal, name)


def _log_to(path: Path, command: Sequence[str]) -> None:
    """Keep standard output in a file, and what MONAI says of the configuration there alone."""
    file = path.open("a", encoding="utf-8", buffering=1)
    file.write(f"{shlex.join(command)}\n")
    sys.stdout = _Tee(sys.stdout, file)
    # The import makes the logger, with the terminal as its handler.
    from monai.bundle import scripts

    scripts.logger.handlers = [logging.StreamHandler(file)]
    warnings.filterwarnings("ignore", message="parsing config_file", category=UserWarning)
