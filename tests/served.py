"""``handseg serve`` as a process of its own, and what a browser, or somebody worse, sends to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from handseg_monai import bundle_root

CHANGING = {"X-Handseg": "1"}
PATIENCE = 300.0
"""Seconds that a busy machine may take for anything."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def words(self) -> str:
        """The error, which has to be there in words."""
        said = self.json()["error"]
        assert isinstance(said, str)
        assert said
        return said


class Served:
    """A server, and requests to it from this machine."""

    def __init__(self, process: subprocess.Popen[str], port: int, line: str) -> None:
        self.process, self.port, self.line = process, port, line

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.body[:500]
        return answer.json()

    def post(self, path: str, content: object) -> Answer:
        headers = {**CHANGING, "Content-Type": "application/json"}
        return self.ask("POST", path, json.dumps(content).encode(), headers)

    def do(self, path: str, **content: object) -> Any:
        """Change something that has to work."""
        answer = self.post(path, content)
        assert answer.status == 200, answer.body[:500]
        return answer.json()

    def upload(self, content: bytes, name: str = "hand.png") -> Answer:
        return self.ask("POST", "/api/images", content, {**CHANGING, "X-Name": quote(name)})

    def images(self) -> list[dict[str, Any]]:
        found = self.get("/api/state")["images"]
        assert isinstance(found, list)
        return found

    def until(self, is_so: Callable[[], object], seconds: float = PATIENCE) -> None:
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, "waited in vain"
            assert self.process.poll() is None, "the server has ended"
            time.sleep(0.1)

    def until_ready(self, id: str) -> dict[str, Any]:
        """Wait until an image is segmented, and return all that is shown of it."""
        self.until(lambda: self.ask("GET", f"/api/images/{id}").status == 200)
        shown = self.get(f"/api/images/{id}")
        assert isinstance(shown, dict)
        return shown

    def send(self, content: bytes, seconds: float = 30.0) -> bytes:
        """Send bytes as they are, and return all that comes back until the server closes.

        Raises
        ------
        TimeoutError
            It does not, for so long.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(content)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(1 << 16):
                    received += part
            return received

    def children(self) -> list[int]:
        """Ids of its child processes."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]


@contextmanager
def served(work: Path, *arguments: object, browser: bool = False, **environment: str) -> Iterator[Served]:
    """Start a server on a free port; it is ended by Ctrl-C if it still runs."""
    command = [sys.executable, "-m", "handseg_monai", "serve", *map(str, arguments), "--work", str(work)]
    command += ["--port", "0", "--browser" if browser else "--no-browser"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"http://[\w.\[\]:]+:(\d+)/", line)
        assert match, line + (process.stdout.read() if process.poll() is not None else "")
        yield Served(process, int(match[1]), line)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        assert process.stdout is not None
        process.stdout.close()


def save_quick(path: Path) -> Path:
    """Write the shipped weights as those of a network that looks at few pixels, and so is quick."""
    content = torch.load(bundle_root() / "models" / "model.pt", map_location="cpu", weights_only=True)
    torch.save(content | {"window": 256}, path)
    return path
