"""The server, from its start to Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from urllib.parse import quote

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from handseg_monai.serve.decode import Decoder
from handseg_monai.serve.routes import Routes, require_picture
from handseg_monai.serve.security import Guard, choose_token, require_origin
from handseg_monai.serve.segmenter import Segmenter
from handseg_monai.serve.service import Limits, Service
from handseg_monai.serve.state import RequestError
from handseg_monai.serve.store import Store
from handseg_monai.signals import stopped_by_sigterm

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
    public_origin: str | None = None,
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
    public_origin
        Scheme and host of a proxy in front, such as ``https://hands.example``; it needs a token too.
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
    origin = None if public_origin is None else require_origin(public_origin)
    token = choose_token(host, origin is not None)
    if folder is not None and not Path(folder).exists():
        raise ValueError(f"{folder}: no such folder; expected radiographs")
    if folder is not None and Path(folder).is_file():
        try:
            require_picture(Path(folder), Path(folder).name)
        except RequestError as error:
            raise ValueError(f"{folder}: {error}, or a folder of such files") from error
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise ValueError(f"--checkpoint {checkpoint}: no such file")
    with _listening(host, port) as listening, stopped_by_sigterm():
        decoder = Decoder()
        store = Store(work, decoder.patients)
        segmenter = Segmenter(None if checkpoint is None else str(checkpoint))
        service = Service(store, decoder, segmenter, limits)
        try:
            with suppress(KeyboardInterrupt):
                port = listening.getsockname()[1]
                app = Guard(Routes(service, token is not None).app, host, port, token, origin)
                radiographs = None if folder is None else Path(folder)
                server = _Server(_config(app), service, radiographs, _address(host, port), origin, token, browser)
                server.run(sockets=[listening])
        finally:
            service.end()
        print(f"ended; images and corrections are in {work}", flush=True)


def _address(host: str, port: int) -> str:
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "localhost") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


def _config(app: Guard) -> uvicorn.Config:
    return uvicorn.Config(
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


class _Server(uvicorn.Server):
    """Says where it listens once it does, and lets the pages go that listen to it when it ends."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        folder: Path | None,
        local: str,
        origin: str | None,
        token: str | None,
        browser: bool,
    ) -> None:
        super().__init__(config)
        self._service, self._folder, self._browser = service, folder, browser
        self._local = local
        self._address = f"{origin or local}/" + ("" if token is None else f"?token={quote(token)}")
        self._has_token = token is not None
        self._private: tempfile.TemporaryDirectory[str] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._service.events.start()
        self._service.start(self._folder)
        at = "" if self._address.startswith(self._local) else f"behind the proxy, {self._local}/; "
        print(f"handseg serve: {self._address} ({at}Ctrl-C ends it)", flush=True)
        if self._browser:
            opened = self._redirect() if self._has_token else self._address
            threading.Thread(target=webbrowser.open, args=(opened,), daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.events.end()
        await super().shutdown(sockets)
        if self._private is not None:
            self._private.cleanup()

    def _redirect(self) -> str:
        """Address of a page that leads to the server: all users see a browser's command line, and so a token there."""
        self._private = tempfile.TemporaryDirectory(prefix="handseg-", ignore_cleanup_errors=True)
        path = Path(self._private.name) / "open.html"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(self._address)}">\n')
        return path.as_uri()


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
