"""A web server on loopback that answers as a test says, byte by byte: what no DICOMweb server should."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.services import Request

Piece = bytes | Callable[[], None]
"""Bytes to send, or something to do between them."""


class Nonsense:
    """A server that keeps what it is asked, and sends what a function returns for it; with a certificate, by TLS."""

    def __init__(self, answer: Callable[[Request], Iterable[Piece]], certificate: Path | None = None) -> None:
        self.requests: list[Request] = []
        nonsense = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_here(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, url.path, parse_qs(url.query), headers, body)
                nonsense.requests.append(request)
                with suppress(OSError):  # the client has gone
                    for piece in answer(request):
                        if isinstance(piece, bytes):
                            self.wfile.write(piece)
                        else:
                            piece()
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

            do_GET = do_POST = handle_one_here  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self._server.server_port}/dicom-web"

    def __enter__(self) -> Nonsense:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def answer(
    content: object = "", status: str = "200 OK", kind: str | None = "application/dicom+json", **headers: str
) -> bytes:
    """Bytes of an answer: bytes or a text as they are, anything else as JSON; ``_`` of a header becomes ``-``."""
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    body = text.encode() if isinstance(text, str) else text
    lines = [f"HTTP/1.1 {status}"] + ([f"Content-Type: {kind}"] if kind else [])
    headers = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines += [f"{name}: {value}" for name, value in headers.items() if value]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def write_certificate(path: Path) -> Path:
    """Write a certificate of 127.0.0.1 that nobody trusts, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(here, critical=False)
        .sign(key, hashes.SHA256())
    )
    kept = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + kept)
    return path
