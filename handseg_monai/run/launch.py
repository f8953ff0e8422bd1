"""Starting a command anew in several processes of this machine, ranks of one run, by what ``torchrun`` is made of."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Sequence

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def require_processes(processes: int) -> None:
    """Refuse more processes than this machine has GPUs, or where it has none, cores: they would only wait."""
    gpus = torch.cuda.device_count()
    most, of = (gpus, "GPU") if gpus else (max(2, os.cpu_count() or 1), "core")
    if not 1 <= processes <= most:
        raise ValueError(f"--processes {processes}: expected 1 to {most}, one for each {of} of this machine")


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run ``handseg`` with some arguments in ``processes`` processes at once, and return the exit code.

    Each has its ``RANK`` in the environment, a GPU of its own where there are some, and else its share of the cores.
    Ctrl-C and SIGTERM reach all of them; where one fails the others end too.

    Raises
    ------
    ValueError
        As :func:`require_processes`.
    ChildProcessError
        A signal ended one of them.
    """
    require_processes(processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    logging.disable(logging.ERROR)  # what fails has said so itself
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "handseg_monai", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            memory = "; did memory run out?" if failure.exitcode == -9 else ""
            raise ChildProcessError(f"signal {-failure.exitcode} ended process {rank}{memory}") from error
        return int(failure.exitcode)
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0
