"""The server, from its start to Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from handseg_monai.serve.decode import Decoder
from handseg_monai.serve.routes import Routes
from handseg_monai.serve.security import Guard, choose_token, is_loopback
from handseg_monai.serve.segmenter import Segmenter
from handseg_monai.serve.service import Limits, Service
from handseg_monai.serve.store import Store

_MOST_CONNECTIONS = 512
_HEADER_SECONDS = 20.0
"""For which a connection may be open without a whole head of a request."""
_GRACE = 3
"""Seconds for answers under way once the server is to end."""


def serve(
    work: str | Path,
    folder: str | Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8029,
    checkpoint: str | Path | None = None,
    limits: Limits,
    browser: bool = True,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Parameters
    ----------
    work
        Folder that keeps images, masks and corrections.
    folder
        Radiographs to take at the start, if any.
    host, port
        Address to listen on; port 0 takes a free one. Other machines than this one need a token.
    checkpoint
        Weights; None: those that ``handseg infer`` would take.
    limits
        Of what is taken.
    browser
        Whether to open the page.

    Raises
    ------
    ValueError
        The folders, the address or the token can't be right.
    """
    token = choose_token(host)
    if folder is not None and not Path(folder).exists():
        raise ValueError(f"{folder}: no such folder; expected radiographs")
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise ValueError(f"--checkpoint {checkpoint}: no such file")
    with _listening(host, port) as listening, _stopped_by_sigterm():
        decoder = Decoder()
        store = Store(work, decoder.patients)
        segmenter = Segmenter(None if checkpoint is None else str(checkpoint))
        service = Service(store, decoder, segmenter, limits)
        try:
            with suppress(KeyboardInterrupt):
                _run(service, listening, host, token, Path(folder) if folder is not None else None, browser)
        finally:
            service.end()
        print(f"ended; images and corrections are in {work}", flush=True)


def _run(
    service: Service, listening: socket.socket, host: str, token: str | None, folder: Path | None, browser: bool
) -> None:
    port = listening.getsockname()[1]
    loopback = is_loopback(host)
    app = Guard(Routes(service, token is not None).app, port, token, loopback)
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_level=logging.ERROR,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE,
        h11_max_incomplete_event_size=32 << 10,
    )
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "localhost") else f"[{host}]" if ":" in host else host
    address = f"http://{name}:{port}/" + (f"?token={quote(token)}" if token is not None else "")
    _Server(config, service, folder, address, browser).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says where it listens once it does, and lets the pages go that listen to it when it ends."""

    def __init__(
        self, config: uvicorn.Config, service: Service, folder: Path | None, address: str, browser: bool
    ) -> None:
        super().__init__(config)
        self._service, self._folder, self._address, self._browser = service, folder, address, browser

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._service.events.start()
        self._service.start(self._folder)
        print(f"handseg serve: {self._address} (Ctrl-C ends it)", flush=True)
        if self._browser:
            threading.Thread(target=webbrowser.open, args=(self._address,), daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.events.end()
        await super().shutdown(sockets)


class _Protocol(H11Protocol):
    """HTTP/1.1 whose connections don't stay open for a head of a request that doesn't come whole."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head is not None:
            self._head.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        waits = self.cycle is None or self.cycle.response_complete
        if self._head is not None and not waits:
            self._head.cancel()
            self._head = None
        elif self._head is None and waits:
            self._head = self.loop.call_later(_HEADER_SECONDS, self._close_without_head)

    def _close_without_head(self) -> None:
        self._head = None
        if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self.transport.close()


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"--host {host} --port {port}: {reason}; choose another port, or 0 for a free one") from error
    with listening:
        yield listening


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """End as after Ctrl-C when the process receives SIGTERM, so that nothing keeps running."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: Any = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, before)
