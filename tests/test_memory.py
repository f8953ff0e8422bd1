"""Memory that is freed stays with the process, where the GNU C library rules."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from tests.programs import FORKS


def _faults(keep: bool, queue: object) -> None:
    from handseg_monai.run import keep_memory

    if keep:
        keep_memory()
    before = 0
    for turn in range(12):
        torch.ones(10 << 20)  # 40 MiB
        if turn == 3:  # it has found its place
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_what_is_freed_is_kept() -> None:
    """A block of 40 MiB has 10,240 pages, each of which the system would clear anew."""
    faults = []
    for keep in (False, True):
        queue = FORKS.Queue()
        process = FORKS.Process(target=_faults, args=(keep, queue))
        process.start()
        faults.append(queue.get(timeout=60))
        process.join(timeout=60)
    assert faults[1] < 1000
    assert faults[1] < 0.1 * faults[0], faults
