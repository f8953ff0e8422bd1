"""Work on numbered subjects in several processes, which Ctrl-C and a kill end cleanly; and the numbers checked."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

import cv2

T = TypeVar("T")


def check_numbers(**numbers: tuple[int, int]) -> None:
    """Raise a ValueError that names the first (number, lowest) whose number is below its lowest value."""
    for name, (number, lowest) in numbers.items():
        if number < lowest:
            raise ValueError(f"{name}: expected at least {lowest}, got {number}")


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
    workers = min(workers, count, 2 * (os.cpu_count() or 1))  # more would stop the machine, and gain nothing
    with _one_thread():
        if workers == 1:
            for number in range(count):
                yield number, work(number)
            return
        method = "fork" if sys.platform == "linux" else "spawn"
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(workers, context, _start_worker, (os.getpid(),)) as pool:
            # Not `concurrent.futures.wait`: it holds a lock of each future, and keeps those where Ctrl-C comes between.
            done: SimpleQueue[tuple[int, Future[T]]] = SimpleQueue()
            try:
                for number in range(count):
                    future = pool.submit(work, number)
                    future.add_done_callback(partial(_put, done, number))
                for _ in range(count):
                    number, future = done.get()
                    yield number, future.result()
            except BrokenProcessPool as error:
                raise ChildProcessError(
                    "a worker was killed, perhaps because memory ran out; try fewer workers"
                ) from error
            except BaseException:
                # What is under way is finished, what waits in the queue is dropped; then the workers end.
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _put(done: SimpleQueue[tuple[int, Future[T]]], number: int, future: Future[T]) -> None:
    done.put((number, future))


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
