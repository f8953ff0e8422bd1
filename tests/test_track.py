"""``handseg track`` serves what runs have logged, and nothing is left running when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
from torch.utils.tensorboard import SummaryWriter

from tests.programs import handseg
from tests.services import free_port

PUBLIC = "https://four-random-words-here.trycloudflare.com"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one run, with an MLflow store that holds a run ``night``."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "train").mkdir()
    client = mlflow.MlflowClient(f"sqlite:///{folder}/train/mlruns.db")
    client.create_run(client.create_experiment("handseg"), run_name="night")
    return folder


@contextmanager
def tracking(*arguments: str, path: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run ``handseg track`` in a process group of its own; ``path`` comes first on its PATH, or is all of it."""
    environment = os.environ | ({"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"} if path else {})
    command = [sys.executable, "-m", "handseg_monai", "track", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return line


def ended(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def search(port: int, **headers: str) -> list[str]:
    """Names of the runs that the page of the first experiment asks for."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/runs/search",
        json.dumps({"experiment_ids": ["1"]}).encode(),
        {"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [run["info"]["run_name"] for run in json.load(answer)["runs"]]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


FAKE = f"""#!{sys.executable}
import os, pathlib, sys, time
pathlib.Path(__file__).with_name("asked").write_text(" ".join(sys.argv[1:]))
pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
print("INF Requesting new quick Tunnel on trycloudflare.com...", file=sys.stderr, flush=True)
print("INF |  {PUBLIC}  |", file=sys.stderr, flush=True)
time.sleep(600)
"""


def program(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "cloudflared").write_text(text)
    (folder / "cloudflared").chmod(0o755)
    return folder


def test_mlflow_is_served_here_and_at_the_public_address_until_ctrl_c(runs: Path, tmp_path: Path) -> None:
    port, path = free_port(), program(tmp_path / "bin", FAKE)
    with tracking(str(runs), "--port", str(port), "--share", path=path) as process:
        assert f"{runs}/train/mlruns.db: http://127.0.0.1:{port} " in first_line(process)
        assert first_line(process) == f"{PUBLIC}: anyone who has this address can see and change everything\n"
        assert (path / "asked").read_text() == f"tunnel --no-autoupdate --url http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            assert b"MLflow" in page.read()
        assert search(port) == ["night"]
        # As the page asks that a browser has got through the tunnel.
        assert search(port, Host=PUBLIC.removeprefix("https://"), Origin=PUBLIC) == ["night"]
        with pytest.raises(urllib.error.HTTPError, match="403"):
            search(port, Host="elsewhere.example", Origin="https://elsewhere.example")
        assert ended(process, signal.SIGINT)[0] == 130
    assert not is_open(port)
    assert not Path(f"/proc/{(path / 'pid').read_text()}").exists()


def test_a_tunnel_that_fails_is_told_by_its_last_words(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path / "bin", "#!/bin/sh\necho INF Thank you >&2\necho ERR no network >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
    done = handseg("track", runs, "--port", free_port(), "--share")
    assert done == (1, "", "handseg: cloudflared gave no address: ERR no network\n")


def test_without_cloudflared_it_says_how_to_get_it(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(runs))
    done = handseg("track", runs, "--share")
    assert done.returncode == 2
    assert done.stderr.startswith("handseg: --share needs cloudflared, which is not on the PATH")
    assert "https://developers.cloudflare.com/" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_tensorboards_log_is_served_where_there_is_no_store(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "train" / "tensorboard")) as writer:
        writer.add_scalar("val_mean_dice", 0.5, 1)
    port = free_port()
    with tracking(str(tmp_path), "--port", str(port)) as process:
        assert f"{tmp_path}: http://127.0.0.1:{port} " in first_line(process)
        until, tags = time.monotonic() + 60, {}
        while not tags and time.monotonic() < until:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/plugin/scalars/tags", timeout=60) as answer:
                tags = json.load(answer)
        assert list(tags["train/tensorboard"]) == ["val_mean_dice"]
        assert ended(process, signal.SIGTERM)[0] == 130
    assert not is_open(port)


def _nothing(folder: Path) -> list[str]:
    return [str(folder)]


def _two_stores(folder: Path) -> list[str]:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "mlruns.db").touch()
    return [str(folder)]


@pytest.mark.parametrize(
    ("prepare", "said"),
    [(_nothing, "no MLflow store (mlruns.db) and no TensorBoard log"), (_two_stores, "several stores")],
)
def test_what_can_not_be_served_is_told_in_one_line(tmp_path: Path, prepare: object, said: str) -> None:
    assert callable(prepare)
    done = handseg("track", *prepare(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_told(runs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = handseg("track", runs, "--port", port)
    assert done.returncode == 2
    assert done.stderr == f"handseg: port {port} is in use; choose another one with --port\n"
