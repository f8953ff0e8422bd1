"""Running the bundle as a user does, in a process of its own, from commands that take several runs."""

from __future__ import annotations

import difflib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from handseg_monai import bundle_root
from handseg_monai.options import Options

_OVERLAYS = {
    "train": ("demo", "finetune", "loss_*", "network_*", "pretrain", "schedule_*"),
    "inference": ("ensemble", "network_*"),
}
"""Configurations of the bundle that lie over one of these two alone, and begin what these begin."""


def bundle_command(run_id: str, files: Sequence[Path], arguments: Sequence[str], processes: int = 1) -> list[str]:
    """Return the command ``python -m monai.bundle run``, or that of ``torchrun`` with several processes.

    Of ``files`` each is laid over those before it; ``arguments`` are ``--name`` and value by turns.
    """
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    config = f"[{','.join(repr(str(path)) for path in files)}]"
    command = [*start, "monai.bundle", "run", run_id, "--config_file", config, "--bundle_root", str(bundle_root())]
    return [*command, *arguments]


def plain_path(path: str | Path) -> str:
    """Return a path as the bundle takes it: ``-x`` alone would be an option, ``$x`` an expression."""
    return str(path) if Path(path).is_absolute() else f"./{path}"


def named_options(options: Sequence[str]) -> dict[str, str]:
    """Read the bundle's options, pairs ``--name value``, else ``ValueError``; parts of a name are parted by ``#``."""
    named = {}
    for name, value in zip(options[::2], [*options[1::2], None], strict=False):
        if not name.startswith("--") or "=" in name or value is None:
            raise ValueError(f"options of the bundle: expected pairs --name value, got {' '.join(options)}")
        named[name.removeprefix("--").replace("::", "#")] = value
    return named


def require_not_misspelt(names: Iterable[str], own: Sequence[str]) -> None:
    """Refuse a name that the bundle does not know, and that one of a command's own options is close to."""
    for name in names:
        close = difflib.get_close_matches(name.replace("_", "-"), own, n=1, cutoff=0.75)
        if close and name.partition("#")[0] not in Options.model_fields:
            raise ValueError(f"--{name}: did you mean --{close[0]}?")


def overlay_file(name: str | Path, base: str = "train") -> Path:
    """Return a configuration to lay over ``base``: a file, or one of the bundle by its name, with ``.json`` or without.

    Where there is none, or it is one of the bundle that does not fit there, ``ValueError`` names the closest one.
    """
    configs = bundle_root() / "configs"
    stem = str(name).removesuffix(".json")
    names = sorted(path.stem for pattern in _OVERLAYS[base] for path in configs.glob(f"{pattern}.json"))
    for path in (Path(name), configs / f"{stem}.json"):
        if path.is_file() and (path.absolute().parent != configs or path.stem in names):
            return path.absolute()
    if (configs / f"{stem}.json").is_file():
        raise ValueError(f"--overlay {name}: it does not lie over {base}.json; those that do are {', '.join(names)}")
    close = difflib.get_close_matches(stem, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the bundle has {', '.join(names)}"
    raise ValueError(f"--overlay {name}: no such file, and no configuration of the bundle; {hint}")


def shown(command: Sequence[str]) -> str:
    """Return a command as one would type it."""
    return " ".join(["python", *(f'"{text}"' if text.startswith("[") else shlex.quote(text) for text in command[1:])])


def run_bundle(
    command: Sequence[str],
    log: Path,
    echo: tuple[str, ...] = (),
    indent: str = "",
    folder: Path | None = None,
    keep_open: Sequence[int] = (),
) -> float:
    """Run a command of :func:`bundle_command`, its output in a log; show progress bars and lines that hold an ``echo``.

    When this process is interrupted or terminated, the run is too. It keeps the
    descriptors ``keep_open``, of locks, open. Returns the seconds that it took.

    Raises
    ------
    ValueError
        It ended with code 2: what it was given can't be right, and it has said what.
    ChildProcessError
        It ended with another code than 0.
    """
    print(f"{indent}$ {shown(command)}", flush=True)
    start = time.perf_counter()
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    # Threads that wait by spinning make training ten times slower beside another busy program.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder, pass_fds=keep_open
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                if any(part in line for part in echo):
                    print(f"{indent}{line.split(' - ')[-1].strip()}", flush=True)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        message = f"the command above ended with code {process.returncode}; its log is {log}"
        raise ValueError(message) if process.returncode == 2 else ChildProcessError(message)
    return time.perf_counter() - start
