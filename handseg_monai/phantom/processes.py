"""Work on numbered subjects in several processes, which Ctrl-C and a kill end cleanly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import cv2

T = TypeVar("T")


def in_processes(work: Callable[[int], T], count: int, workers: int) -> Iterator[tuple[int, T]]:
    """Yield number and result of ``work(number)`` for 0 to ``count`` - 1, each as it is done.

    Parameters
    ----------
    work
        A function that can be sent to another process; OpenCV has one thread there.
    count
        How often it is called.
    workers
        Processes; with 1 everything happens in this one.

    Raises
    ------
    ChildProcessError
        A worker was killed.
    """
    workers = min(workers, count)
    with _one_thread():
        if workers == 1:
            for number in range(count):
                yield number, work(number)
            return
        method = "fork" if sys.platform == "linux" else "spawn"
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(workers, context, _start_worker, (os.getpid(),)) as pool:
            numbers: dict[Future[T], int] = {}
            try:
                for number in range(count):
                    numbers[pool.submit(work, number)] = number
                pending = set(numbers)
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in sorted(done, key=numbers.__getitem__):
                        yield numbers[future], future.result()
            except BrokenProcessPool as error:
                raise ChildProcessError("a worker was killed, for want of memory perhaps; try fewer workers") from error
            except BaseException:
                # What is under way is finished, what waits in the queue is dropped; then the workers end.
                pool.shutdown(wait=True, cancel_futures=True)
                raise


@contextmanager
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _start_worker(parent: int) -> None:
    cv2.setNumThreads(1)
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(os.getppid, parent), daemon=True).start()


def _follow(parent_now: Callable[[], int], parent: int) -> None:
    """End this process soon after its parent was killed."""
    while parent_now() == parent:
        time.sleep(0.5)
    os._exit(1)
