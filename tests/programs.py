"""Programs as a user types them, ``handseg`` and ``python -m monai.bundle``: in this process, a fork or a new one."""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

FORKS = multiprocessing.get_context("forkserver")
"""Processes of their own that have torch and MONAI loaded already: forks of a server that only imports."""
FORKS.set_forkserver_preload(["monai.bundle", "handseg_monai.run", "handseg_monai.data", "handseg_monai.handlers"])


class Done(NamedTuple):
    """What a program did, with the names of ``subprocess.CompletedProcess``."""

    returncode: int
    stdout: str
    stderr: str


def handseg(*arguments: object, cwd: Path | None = None) -> Done:
    """Run the command line ``handseg`` in this process, which has torch and MONAI loaded already."""
    return run_module("handseg_monai", *arguments, cwd=cwd)


def run_module(module: str, *arguments: object, cwd: Path | None = None) -> Done:
    """Run ``python -m module`` in this process, and put back what it sets for all of it.

    Arguments are parsed, lines printed and errors ended as in a process of its own.
    """
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with kept_globals(), chdir(cwd or Path.cwd()), redirect_stdout(out), redirect_stderr(err):
        sys.argv = [module, *map(str, arguments)]
        for _, handler in _monai_handlers():
            handler.stream = _StandardOutput()
        if "absl.logging" in sys.modules:  # it closes what it prints to, once that is not the standard error any more
            sys.modules["absl.logging"].get_absl_handler().python_handler.setStream(io.StringIO())
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as exit_:
            code = exit_.code or 0
        except Exception:
            traceback.print_exc()
            code = 1
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    return Done(code, out.getvalue(), err.getvalue())


@contextmanager
def kept_globals() -> Iterator[None]:
    """Put back at its end what a run sets for all of a process.

    MONAI's metadata tracking, loggers, warnings, the arguments, and what SIGTERM does.
    """
    import monai.bundle  # its loggers are there as soon as it is imported
    import monai.data

    loggers = {logging.root, *(logger for logger, _ in _monai_handlers())}
    levels = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    streams = [(handler, handler.stream) for _, handler in _monai_handlers()]
    tracked, argv, terminated = monai.data.get_track_meta(), sys.argv, signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        monai.data.set_track_meta(tracked)
        sys.argv = argv
        signal.signal(signal.SIGTERM, terminated)
        for logger, level, handlers in levels:
            logger.setLevel(level)
            logger.handlers[:] = handlers
        for handler, stream in streams:
            handler.stream = stream


def _monai_handlers() -> list[tuple[logging.Logger, logging.StreamHandler]]:
    """MONAI's loggers that print for themselves: to the standard output that there was when each was made."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("monai.")]
    pairs = [(logger, handler) for logger in map(logging.getLogger, names) for handler in logger.handlers]
    return [(logger, handler) for logger, handler in pairs if type(handler) is logging.StreamHandler]


class _StandardOutput(io.TextIOBase):
    """What is the standard output when a line is written."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


def in_fork(module: str, *arguments: object, cwd: Path | None = None) -> Done:
    """Run ``python -m module`` in a fork: a process of its own, without a GPU, that has torch and MONAI loaded."""
    with tempfile.TemporaryDirectory() as folder:
        process = start_module(Path(folder), module, *arguments, cwd=cwd)
        process.join(timeout=300)
        process.kill()
        process.join()
        return said_by(process, Path(folder))


def start_module(folder: Path, module: str, *arguments: object, cwd: Path | None = None, **environment: str) -> Any:
    """Start ``python -m module`` in a fork; its output goes to files in ``folder``."""
    return start_fork(folder, _run_module, module, [str(text) for text in arguments], cwd, **environment)


def start_fork(folder: Path, function: Callable[..., None], *arguments: Any, **environment: str) -> Any:
    """Start a function of a module in a fork, without a GPU; its output goes to files in ``folder``."""
    variables = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment}
    process = FORKS.Process(target=_in_fork, args=(folder, variables, function, *arguments))
    process.start()
    return process


def said_by(process: Any, folder: Path) -> Done:
    """Exit code of a fork that has ended, and its output."""
    return Done(process.exitcode, (folder / "out").read_text(), (folder / "err").read_text())


def _in_fork(folder: Path, environment: dict[str, str], function: Callable[..., None], *arguments: Any) -> None:
    for number, name in ((1, "out"), (2, "err")):
        with (folder / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    os.environ.update(environment)
    function(*arguments)


def _run_module(module: str, arguments: list[str], cwd: Path | None) -> None:
    os.chdir(cwd or Path.cwd())
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def in_own_process(
    module: str, *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module`` in a process of its own, without a GPU."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""} | environment,
    )
