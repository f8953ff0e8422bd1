"""A process of its own for what may be slow, large or hostile, and the messages to it: JSON and arrays, no pickles."""

from __future__ import annotations

import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

_HEAD = struct.Struct(">II")
"""Bytes of the JSON of a message, and count of its arrays."""
_MOST_JSON = 1 << 24
_KINDS = ("uint8", "uint16", "int32", "float32")
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Environment of processes that import nothing from the current directory, and so nothing that a user keeps there."""
Arrays = dict[str, np.ndarray]
Answer = tuple[dict[str, Any], Arrays]


class ChildError(ChildProcessError):
    """A child that has ended, or did not answer in time."""


class FaultError(ValueError):
    """What a child can't do, and why, in its words."""


class Child:
    """A Python module that runs as a child and answers one request after another.

    The child ends when this process does, however that ends. It is started again by the next request after it died.

    Parameters
    ----------
    module
        Its name; it calls :func:`answer`.
    arguments
        Of its command line.
    environment
        Variables of it beside those of this process.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = dict(os.environ) | SAFE_PATH | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the process, None where none runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def ask(
        self,
        request: Mapping[str, object],
        arrays: Mapping[str, np.ndarray] | None = None,
        seconds: float | None = None,
    ) -> Answer:
        """Send a request and wait for its answer; one at a time, others wait.

        Raises
        ------
        FaultError
            The child says in words why it can't answer.
        ChildError
            The child ended, or was ended because ``seconds`` were over.
        """
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            late = threading.Event()

            def end() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(seconds, end) if seconds is not None else None
            if timer is not None:
                timer.daemon = True
                timer.start()
            try:
                write_message(process.stdin, request, arrays or {})
                said, found = read_message(process.stdout)
            except BaseException as error:  # whatever it is, the next answer would be that to this request
                process.kill()
                code = process.wait()
                self._process = None
                if late.is_set():
                    raise ChildError(f"no answer within {seconds:g} seconds") from error
                if not isinstance(error, (OSError, EOFError, ValueError)):
                    raise
                raise ChildError(f"its process ended (code {code})") from error
            finally:
                if timer is not None:
                    timer.cancel()
        if "fault" in said:
            raise FaultError(said["fault"])
        return said, found

    def close(self) -> None:
        """End the process, also one that is at work."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise ChildError("the server is ending")
        if self._process is None or self._process.poll() is not None:
            # Its own session: Ctrl-C on the terminal is for the server, which then ends its children.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                start_new_session=True,
            )
        return self._process


def answer(handle: Callable[[dict[str, Any], Arrays], Answer]) -> None:
    """Answer the requests of the parent until it ends, in a child of :class:`Child`.

    A ``ValueError``, ``OSError`` or ``MemoryError`` of ``handle`` is the answer in words. What libraries print goes to
    standard error.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests: queue.SimpleQueue[Answer] = queue.SimpleQueue()

    def read() -> None:
        try:
            while True:
                requests.put(read_message(source))
        except (OSError, EOFError, ValueError):
            os._exit(0)  # in the middle of the work too: nobody waits for it
        except BaseException:  # the memory does not suffice for what was sent
            os._exit(1)  # else the parent would wait for ever

    threading.Thread(target=read, daemon=True).start()
    while True:
        request, arrays = requests.get()
        try:
            said, found = handle(request, arrays)
        except (ValueError, MemoryError, OSError, RuntimeError) as error:
            words = str(error.strerror or "") if isinstance(error, OSError) else str(error)  # without paths
            said, found = {"fault": " ".join(words.split()) or type(error).__name__}, {}
        write_message(target, said, found)


def write_message(file: IO[bytes], said: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> None:
    """Write JSON and arrays by name."""
    listed = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    text = json.dumps({"said": dict(said), "arrays": listed}).encode()
    file.write(_HEAD.pack(len(text), len(listed)) + text)
    for array in arrays.values():
        file.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    file.flush()


def read_message(file: IO[bytes]) -> Answer:
    """Read what :func:`write_message` wrote; ``EOFError`` at the end, ``ValueError`` for anything else."""
    length, count = _HEAD.unpack(_exactly(file, _HEAD.size))
    if length > _MOST_JSON:
        raise ValueError("not a message")
    content = json.loads(_exactly(file, length))
    if len(content["arrays"]) != count:
        raise ValueError("not a message")
    arrays = {}
    for name, kind, shape in content["arrays"]:
        if kind not in _KINDS or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise ValueError("not a message")
        array: np.ndarray = np.empty(shape, kind)
        view = memoryview(array.data).cast("B") if array.size else memoryview(b"")
        done = 0
        while done < len(view):
            if not (more := file.readinto(view[done:])):  # type: ignore[attr-defined]
                raise EOFError
            done += more
        arrays[name] = array
    return content["said"], arrays


def _exactly(file: IO[bytes], count: int) -> bytes:
    content = file.read(count)
    if len(content) != count:
        raise EOFError
    return content
