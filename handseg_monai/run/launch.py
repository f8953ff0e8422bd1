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


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run ``handseg`` with some arguments in ``processes`` processes at once, and return the exit code.

    Each has its ``RANK`` in the environment, a GPU of its own where there are some, and else its share of the cores.
    Ctrl-C and SIGTERM reach all of them; where one fails the others end too.

    Raises
    ------
    ValueError
        There are GPUs, and fewer than processes.
    ChildProcessError
        A signal ended one of them.
    """
    gpus = torch.cuda.device_count()
    if 0 < gpus < processes:
        raise ValueError(f"--processes {processes}: expected at most {gpus}, one for each GPU of this machine")
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
