"""Web services on loopback for tests: one that notes what it is asked, and one that speaks Google Sheets."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa


@dataclass
class Request:
    """What a client has sent."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


Answer = tuple[int, Any]
"""Status, and what becomes JSON, or a text as it is."""


class Service:
    """A server that keeps all requests and answers each by a function."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(
                    self.command,
                    unquote(url.path),
                    parse_qs(url.query),
                    {k.lower(): v for k, v in self.headers.items()},
                    body,
                )
                service.requests.append(request)
                status, content = answer(request)
                data = (content if isinstance(content, str) else json.dumps(content)).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # the client has gone

            do_GET = do_POST = do_PUT = handle_one  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}"


@contextmanager
def serve(answer: Callable[[Request], Answer]) -> Iterator[Service]:
    """Run a service while the block lasts."""
    service = Service(answer)
    service.server.daemon_threads = True
    threading.Thread(target=service.server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield service
    finally:
        service.server.shutdown()
        service.server.server_close()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class GoogleSheet:
    """One spreadsheet behind Google's token endpoint and version 4 of the Sheets API; its cells as Google keeps them.

    ``trouble`` holds statuses that the next calls of the API get instead of an answer.
    """

    ID = "1sheetsheetsheetsheetsheetsheetsheetsheetsh"
    EMAIL = "robot@project.iam.gserviceaccount.com"

    def __init__(self, worksheets: dict[str, list[list[str]]] | None = None) -> None:
        self.worksheets = worksheets if worksheets is not None else {"Sheet1": []}
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.trouble: list[int] = []
        self.after: list[int] = []
        self.claims: list[dict[str, Any]] = []

    def write_account(self, path: Path, token_url: str, key: rsa.RSAPrivateKey | None = None) -> str:
        """Write the service account's file; its private key."""
        pem = (key or self.key).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        content = {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "0123456789abcdef",
            "private_key": pem.decode(),
            "client_email": self.EMAIL,
            "client_id": "100",
            "token_uri": token_url,
        }
        path.write_text(json.dumps(content))
        return pem.decode()

    def __call__(self, request: Request) -> Answer:
        if request.path == "/token":
            return self._token(request)
        if request.headers.get("authorization") != "Bearer ya29.granted-token":
            return _error(401, "UNAUTHENTICATED")
        if self.trouble:
            return _error(self.trouble.pop(0), "RESOURCE_EXHAUSTED")
        if (rest := request.path.removeprefix(f"/v4/spreadsheets/{self.ID}")) == request.path:
            return _error(404, "NOT_FOUND")
        answer = self._api(request, rest)
        return _error(self.after.pop(0), "INTERNAL") if self.after and request.method != "GET" else answer

    def _token(self, request: Request) -> Answer:
        form = request.form()
        head, claims, signature = form["assertion"].split(".")
        try:
            self.key.public_key().verify(
                _decode(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except Exception:
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        self.claims.append(json.loads(_decode(claims)) | {"grant_type": form["grant_type"]})
        return 200, {"access_token": "ya29.granted-token", "expires_in": 3600, "token_type": "Bearer"}

    def _api(self, request: Request, rest: str) -> Answer:
        if request.method == "GET" and rest == "":
            sheets = [self._properties(title) for title in self.worksheets]
            return 200, {"spreadsheetId": self.ID, "properties": {"title": "Hands"}, "sheets": sheets}
        if rest == ":batchUpdate":
            (change,) = request.json()["requests"]
            if "addSheet" in change:
                title = change["addSheet"]["properties"]["title"]
                self.worksheets[title] = []
                return 200, {"replies": [{"addSheet": self._properties(title)}]}
            return 200, {"replies": [{}]}
        if rest == "/values:batchUpdate":
            assert request.json()["valueInputOption"] == "RAW"
            for data in request.json()["data"]:
                self._write(data["range"], data["values"])
            return 200, {}
        place = rest.removeprefix("/values/")
        if request.method == "GET":
            rows = self.worksheets[_title(place)]
            return 200, {"range": place, "majorDimension": "ROWS", "values": rows}
        assert request.query["valueInputOption"] == ["RAW"]
        if place.endswith(":append"):
            self.worksheets[_title(place)].append([_shown(value) for value in request.json()["values"][0]])
        else:
            self._write(place, request.json()["values"])
        return 200, {}

    def _properties(self, title: str) -> dict[str, Any]:
        number = list(self.worksheets).index(title)
        grid = {"rowCount": 100, "columnCount": 26}
        return {"properties": {"sheetId": number, "title": title, "index": number, "gridProperties": grid}}

    def _write(self, place: str, values: list[list[Any]]) -> None:
        rows = self.worksheets[_title(place)]
        letters, number = re.fullmatch(r".*!([A-Z]+)(\d+)(?::.*)?", place).groups()  # type: ignore[union-attr]
        column = sum((ord(letter) - 64) * 26**i for i, letter in enumerate(reversed(letters))) - 1
        for row_number, row in enumerate(values, int(number) - 1):
            rows.extend([] for _ in range(row_number + 1 - len(rows)))
            rows[row_number].extend("" for _ in range(column + len(row) - len(rows[row_number])))
            rows[row_number][column : column + len(row)] = [_shown(value) for value in row]

    def table(self, title: str) -> list[dict[str, str]]:
        """Rows of a worksheet by the names of its columns."""
        header, *rows = self.worksheets[title]
        return [dict(zip(header, row, strict=False)) for row in rows]


def _title(place: str) -> str:
    return place.partition(":append")[0].partition("!")[0].strip("'")


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _error(code: int, status: str) -> Answer:
    return code, {"error": {"code": code, "message": f"told to say {code}", "status": status}}
