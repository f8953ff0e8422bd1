"""The process group of a run on several ranks."""

from __future__ import annotations

import atexit
import os

import torch
import torch.distributed as dist


def join_ranks(device: torch.device | None = None) -> None:
    """Join the process group that ``torchrun`` describes, and leave it when the interpreter ends.

    ``nccl`` joins GPUs, ``gloo`` everything else.

    A rank that ends with an exception and leaves the group open aborts now and then (SIGABRT), because threads of
    gloo still run: its exit status would not be that of the exception.
    """
    cuda = device is not None and device.type == "cuda"
    if cuda:  # before the group, which would take the first GPU for that of every rank
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    if "SLURM_JOB_ID" in os.environ and "LOCAL_RANK" in os.environ:  # ignite takes the rank from Slurm there
        os.environ["SLURM_LOCALID"] = os.environ["LOCAL_RANK"]
    atexit.register(_leave)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
