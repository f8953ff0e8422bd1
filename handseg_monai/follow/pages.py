"""Opening what a run has logged: MLflow's pages, or TensorBoard's, here or for somebody elsewhere."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from handseg_monai.signals import stopped_by_sigterm

HOST = "127.0.0.1"
STORE = "mlruns.db"
_PUBLIC = re.compile(r"https://[\w-]+\.trycloudflare\.com")
_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""MLflow without the eight processes that judge language models, and without reports to its makers."""
_GET_CLOUDFLARED = (
    "--share needs cloudflared, which is not on the PATH: a package of Cloudflare's, see "
    "https://developers.cloudflare.com/cloudflare-one/networks/connectors/cloudflare-tunnel/downloads/ "
    "(macOS: brew install cloudflared); no account is needed"
)


def track(place: str | Path = "runs", port: int = 5000, share: bool = False) -> None:
    """Serve MLflow's pages of the store below a folder, or TensorBoard's of its logs, until interrupted.

    Parameters
    ----------
    place
        Folder of a run or of several: an MLflow store (``mlruns.db``) is looked for in it and below, and where there
        is none, TensorBoard's logs.
    port
        On 127.0.0.1, where other machines can't reach it.
    share
        Whether ``cloudflared`` makes a public address for it as well.

    Raises
    ------
    ValueError
        There is neither store nor log, there are several stores, the port is in use, or a program is missing.
    ChildProcessError
        A program ended by itself.
    """
    place = Path(place)
    if place.name == STORE and place.is_file():
        place = place.parent
    store = _store(place)
    logs = store is None and any(place.rglob("events.out.tfevents.*"))
    if store is None and not logs:
        raise ValueError(
            f"{place}: no MLflow store ({STORE}) and no TensorBoard log below; "
            "expected the folder of a run, such as runs/train"
        )
    if store is not None and importlib.util.find_spec("mlflow") is None:
        raise ValueError(f"{store}: MLflow is missing: pip install 'handseg-monai[track]'")
    if share and shutil.which("cloudflared") is None:
        raise ValueError(_GET_CLOUDFLARED)
    with contextlib.closing(socket.socket()) as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise ValueError(f"port {port} is in use; choose another one with --port")
    with stopped_by_sigterm(), contextlib.ExitStack() as running:
        # The tunnel first: MLflow has to be told the address that it is called by.
        public = running.enter_context(_tunnel(port)) if share else None
        command = _mlflow(store, port, public) if store is not None else _tensorboard(place, port)
        child = running.enter_context(_child(command))
        _wait_for(child, port)
        print(f"{store or place}: http://{HOST}:{port} (Ctrl-C ends it)", flush=True)
        if public is not None:
            print(f"{public}: anyone who has this address can see and change everything", flush=True)
        code = child.process.wait()
        raise ChildProcessError(f"{command[2]} ended with code {code}: {child.last_words()}")


def _store(place: Path) -> Path | None:
    stores = sorted(place.rglob(STORE))
    if len(stores) > 1:
        raise ValueError(f"{place}: several stores, name the folder of one: {', '.join(map(str, stores))}")
    return stores[0].resolve() if stores else None


def _mlflow(store: Path, port: int, public: str | None) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{store}", "--default-artifact-root", str(store.parent / "mlruns")]
    if public is not None:
        hosts = [public.removeprefix("https://"), f"{HOST}:{port}", f"localhost:{port}"]
        command += ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", public]
    return command


def _tensorboard(place: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "tensorboard.main", "--logdir", str(place), "--host", HOST, "--port", str(port)]


class _Child:
    """A program in a process group of its own, and what it has printed so far."""

    def __init__(self, command: list[str], log: IO[bytes]) -> None:
        self.process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=_ENVIRONMENT | os.environ
        )
        self.log = log

    def said(self) -> str:
        return os.pread(self.log.fileno(), 1 << 20, 0).decode(errors="replace").strip()

    def last_words(self) -> str:
        return (self.said() or "it said nothing").splitlines()[-1]

    def end(self) -> None:
        """End it and all that it has started."""
        for kill in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, kill)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)


@contextlib.contextmanager
def _child(command: list[str]) -> Iterator[_Child]:
    with tempfile.TemporaryFile() as log:
        child = _Child(command, log)
        try:
            yield child
        finally:
            child.end()


@contextlib.contextmanager
def _tunnel(port: int, seconds: float = 60.0) -> Iterator[str]:
    """Start a quick tunnel of Cloudflare's; its public address."""
    with _child(["cloudflared", "tunnel", "--no-autoupdate", "--url", f"http://{HOST}:{port}"]) as child:
        until = time.monotonic() + seconds
        while (found := _PUBLIC.search(child.said())) is None:
            if child.process.poll() is not None or time.monotonic() > until:
                raise ChildProcessError(f"cloudflared gave no address: {child.last_words()}")
            time.sleep(0.1)
        yield found.group()


def _wait_for(child: _Child, port: int, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and child.process.poll() is None:
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise ChildProcessError(f"nothing answers at http://{HOST}:{port}: {child.last_words()}")
