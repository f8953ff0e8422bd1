"""Runs of the bundle on two real gloo ranks: by ``torchrun``, or by processes that have torch and MONAI loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from handseg_monai.run.process import shown
from tests.bundle_runs import CONFIGS
from tests.programs import FORKS, Done, in_fork
from tests.services import free_port

RANKS = 2


def config_files(*names: str) -> str:
    """Configurations of the bundle as a command line takes them."""
    return str([str(CONFIGS / name) for name in names])


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``monai.bundle run`` on two ranks, as a user does."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(RANKS)]
    command += ["-m", "monai.bundle", "run", *map(str, arguments)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def run_ranks(*arguments: object) -> Done:
    """Do what :func:`torchrun` does, without its start: the ranks are forks of a process that has all modules.

    Returns the highest exit code, and what both ranks printed, rank 0 first.
    """
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(rank) for rank in range(RANKS)]
        processes = [
            FORKS.Process(target=_run_rank, args=(rank, file, environment, [str(text) for text in arguments]))
            for rank, file in enumerate(files)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=300)
            process.kill()
        codes, out, err = zip(*(json.loads(file.read_text()) for file in files), strict=True)
    return Done(max(codes), "".join(out), "".join(err))


def bundle_in_forks(command: list[str], log: Path, **_: object) -> float:
    """Do what ``handseg_monai.run.process.run_bundle`` does, in forks of a process that has all modules."""
    print(f"$ {shown(command)}")
    arguments = command[command.index("run") :]
    several = "torch.distributed.run" in command
    done = run_ranks(*arguments[1:]) if several else in_fork("monai.bundle", *arguments, cwd=Path.cwd())
    log.write_text(done.stdout)
    assert done.returncode == 0, done.stderr[-2000:]
    return 0.0


def _run_rank(rank: int, file: Path, environment: dict[str, str], arguments: list[str]) -> None:
    import torch.distributed as dist

    from tests.bundle_runs import run_bundle

    os.environ.update(environment | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS)})
    done = run_bundle(*arguments)
    if dist.is_initialized():
        dist.destroy_process_group()
    file.write_text(json.dumps(done))
