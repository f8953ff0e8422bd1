"""The cluster: what of it the work takes, and what is done when a node has ended."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from handseg_monai.signals import stopped_by_sigterm
from handseg_monai.words import counted

_ACTOR_CORES, _TASK_CORES = 0.75, 0.125
"""Of a core, by Ray's count, where cores draw: as many actors as cores, and on each core room for two tasks beside, for
reading is a small share of the work."""
_GPU_ACTOR_CORES, _GPU_TASK_CORES = 1.0, 1.0
"""Where GPUs draw, the tasks that feed them have work for whole cores."""
_READERS = 0.5
"""Share of that room for reading, at most. A task that reads waits, and keeps its place, where the network is behind;
one that judges must find a place then, or nothing moves."""
_LEAST_WRITERS = 2
"""Tasks that write files of rows at a time. Each does so once for hundreds of images that were judged."""
_PATIENCE = 20.0
"""Seconds in which a node that has ended may come back, before the work is laid out anew on what is left."""

_ANSWER = 5.0
"""Seconds in which a cluster takes a connection."""
_NO_CLUSTER = "--address {}: no cluster answers there ({}); start one with: ray start --head"

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    "RAY_worker_niceness": "0",
}
"""Of a Ray that is started here. It would end a process that is idle for a second, as those that judge are between two
images, and the next one would load its libraries anew; and its processes would give way to all others of the machine,
so that on a busy one they take minutes to start."""


class DoesNotFitError(ValueError):
    """A cluster that can't do the work. The message says what it has and what is missing."""


class NodeLostError(Exception):
    """A node has ended, and what is left can't hold all actors: they would be waited for in vain."""


@dataclass(frozen=True)
class Layout:
    """How the work is laid out on a cluster.

    Attributes
    ----------
    actors
        Processes that hold the weights.
    gpus, actor_cores
        What each of them takes.
    task_cores
        What a task that reads or judges takes; one that writes takes nothing.
    readers, judges, writers
        Tasks that read, that judge, and that write, at a time, at most.
    cores
        Of the whole cluster.
    """

    actors: int
    gpus: int
    actor_cores: float
    task_cores: float
    readers: int
    judges: int
    writers: int
    cores: int

    def __str__(self) -> str:
        what = "GPU" if self.gpus else "core"
        return f"{counted(self.actors, 'network')}, each with a {what}, on {counted(self.cores, 'core')}"


def layout(nodes: Sequence[Mapping[str, float]]) -> Layout:
    """Lay out the work on nodes, given by what Ray says of each: ``{"CPU": 8, "GPU": 1}``.

    Actors and the tasks beside them always fit: Ray would wait for ever for what does not.

    Raises
    ------
    DoesNotFitError
        There is no room for one actor and one task.
    """
    gpus = any(node.get("GPU", 0) >= 1 for node in nodes)
    actor, task = (_GPU_ACTOR_CORES, _GPU_TASK_CORES) if gpus else (_ACTOR_CORES, _TASK_CORES)
    whole = [int(node.get("CPU", 0)) for node in nodes]
    cores = sum(whole)
    places = sum(min(n, int(node.get("GPU", 0))) if gpus else n for n, node in zip(whole, nodes, strict=True))
    actors = min(places, int((cores - 2 * task) / actor))
    if actors < 1:
        needed = f"a GPU on a node with a core, and {actor + 2 * task:g} cores in all" if gpus else "a core"
        raise DoesNotFitError(
            f"the cluster has {counted(len(nodes), 'node')} with {counted(cores, 'core')} in all; the network and the "
            f"tasks that feed it need {needed}: add a node, or start Ray with more (--num-cpus)"
        )
    room = int((cores - actors * actor) / task)
    readers = max(1, int(room * _READERS))
    judges = max(1, room - readers)
    return Layout(actors, int(gpus), actor, task, readers, judges, max(_LEAST_WRITERS, judges // 8), cores)


def alive() -> list[Mapping[str, float]]:
    """Resources of the nodes that are alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def connected(address: str | None, **options: Any) -> Iterator[None]:
    """Start Ray on this machine, or connect to the cluster at an address; without telemetry and dashboard.

    Raises
    ------
    DoesNotFitError
        There is no such cluster, or Ray does not start here.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        yield
        return
    with stopped_by_sigterm():  # which puts back in the end what was there before Ray
        _start(address, options)
        with stopped_by_sigterm():  # Ray has set an end of its own, without a word
            try:
                yield
            finally:
                ray.shutdown()


def _start(address: str | None, options: Mapping[str, Any]) -> None:
    if address is not None:
        _require_answer(address)
    own: dict[str, Any] = {} if address else {"include_dashboard": False, **options}
    try:
        with _ctrl_c_kept_back():
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        reason = str(error).splitlines()[0]
        if address is None:
            raise DoesNotFitError(f"Ray does not start on this machine ({reason}); does its memory suffice?") from error
        raise DoesNotFitError(_NO_CLUSTER.format(address, reason)) from error
    except (KeyboardInterrupt, SystemExit):  # by SIGTERM Ray exits
        ray.shutdown()
        raise KeyboardInterrupt from None


@contextmanager
def _ctrl_c_kept_back() -> Iterator[None]:
    """Interrupt after the block, not within: Ray crashes where its start is interrupted. A second Ctrl-C does so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def keep(*_: object) -> None:
        came.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came.is_set():
        raise KeyboardInterrupt


def _require_answer(address: str) -> None:
    """Refuse an address at which nothing answers: Ray would try it for ever."""
    if address in ("auto", "local") or "://" in address:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise DoesNotFitError(
            f"--address {address}: expected auto, HOST:PORT such as 10.0.0.1:6379, or ray://HOST:PORT"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER).close()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DoesNotFitError(_NO_CLUSTER.format(address, reason)) from error


@contextmanager
def watching(planned: Layout) -> Iterator[None]:
    """Interrupt the block where the cluster has become too small for what was planned, and stays so.

    Raises
    ------
    NodeLostError
        It did.
    """
    if threading.current_thread() is not threading.main_thread():  # nobody else can be interrupted
        yield
        return
    ended, lost, ending = threading.Event(), threading.Event(), threading.Lock()

    def watch() -> None:
        since = None
        while not ended.wait(1.0):
            since = None if _fits(planned) else since or time.monotonic()
            if since is not None and time.monotonic() - since > _PATIENCE:
                with ending:
                    if not ended.is_set():
                        lost.set()
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        try:
            yield
        finally:
            with ending:  # no interrupt comes after it
                ended.set()
    except KeyboardInterrupt as error:
        if lost.is_set():
            raise NodeLostError from error
        raise
    finally:
        ended.set()
        thread.join()


def _fits(planned: Layout) -> bool:
    try:
        now = layout(alive())
    except DoesNotFitError:
        return False
    return now.actors >= planned.actors and now.gpus == planned.gpus
