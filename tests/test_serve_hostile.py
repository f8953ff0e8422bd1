"""What somebody hostile sends to ``handseg serve``: an answer in words each, and the server lives on."""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from tests.served import CHANGING, Served, save_quick, served

TOKEN = "abcdefghijklmnopqrstuvwxyz"
JSON = {**CHANGING, "Content-Type": "application/json"}
ID = "0123456789abcdef"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_quick(tmp_path_factory.mktemp("weights") / "quick.pt")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Served]:
    work = tmp_path_factory.mktemp("hostile") / "work"
    with served(work, "--checkpoint", weights, "--max_upload", 0.2, "--max_pixels", 1_000_000) as server:
        yield server


@pytest.fixture(scope="module")
def image(server: Served) -> str:
    """Id of an image that is segmented."""
    content = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (60, 40), np.uint8))[1].tobytes()
    id = server.upload(content).json()["id"]
    server.until_ready(id)
    return str(id)


@dataclass(frozen=True)
class Case:
    """A request that must not do what it is after, and the statuses that are right for it."""

    path: str
    status: tuple[int, ...]
    method: str = "GET"
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path[:60]} {str(self.headers)[:60]} {(self.body or b'')[:40]!r}"


def paths() -> Iterator[Case]:
    for trick in (
        *("/static/../routes.py", "/static/..%2froutes.py", "/static/%2e%2e/%2e%2e/cli.py", "/static/....//cli.py"),
        *(
            "/static//etc/passwd",
            "/static/%00",
            "/static/serve.js%00.png",
            "/static/C:%5cwindows",
            "/static/.",
            "/static/",
        ),
        *(
            "/../../etc/passwd",
            "//etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/api/../../etc/passwd",
            "/static/__init__.py",
        ),
        *("/api/images/../../state", f"/api/images/{ID}/../../..", "/api/images/..%2f..%2flock", "/api/images/lock"),
        *(f"/api/images/{ID}", f"/api/images/{ID}/picture", f"/api/images/{ID.upper()}", f"/api/images/{ID}%00"),
        *("/api/images/" + "a" * 5000, "/api/images/%F0%9F%92%80", "/api/images/'%20OR%201=1", "/api/images/$(id)"),
        *("/api/export/../../lock", "/api/export/csv%2f..", "/api/export/exe", "/api/export/nifti"),
        *("/.git/config", "/wp-login.php", "/api", "/api/", "/favicon.ico%3f", "/api/state/"),
    ):
        yield Case(trick, (404, 307))
    for query in ("ids=..%2f..%2flock", "ids=", "ids=" + ",".join([ID] * 500), "ids=%00", "ids=;ls", "done=1"):
        yield Case(f"/api/export/csv?{query}", (404, 422))
    yield Case("/static/" + "x" * 40_000, (400, 431))


def methods() -> Iterator[Case]:
    for path in ("/", "/api/state", "/api/events", "/static/serve.js", "/api/export/csv"):
        for method in ("POST", "DELETE", "PUT", "PATCH", "TRACE", "OPTIONS", "PROPFIND", "BREW"):
            yield Case(path, (405, 403), method, headers=dict(CHANGING))
    yield Case("/api/images", (405,), "GET")
    yield Case("/api/images", (405,), "DELETE", headers=dict(CHANGING))


def others() -> Iterator[Case]:
    """Pages of other sites, and names that they have made to point here."""
    for origin in (
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "https://localhost.evil.example",
        "file://",
        "x",
    ):
        yield Case("/api/images", (403,), "POST", b"x", {**CHANGING, "Origin": origin})
        yield Case("/api/state", (403,), headers={"Origin": origin})
    for site in ("cross-site", "same-site"):
        yield Case("/api/state", (403,), headers={"Sec-Fetch-Site": site})
        yield Case("/api/images", (403,), "POST", b"x", {**CHANGING, "Sec-Fetch-Site": site})
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        yield Case("/api/images", (403,), "POST", b"x", {"Content-Type": kind})  # what a form of another site can send
    for host in ("evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example:80", "", "[::1", "0.0.0.0"):
        yield Case("/api/state", (421, 400), headers={"Host": host})


def changes(id: str) -> Iterator[Case]:
    def post(act: str, body: bytes, *status: int, **headers: str) -> Case:
        return Case(f"/api/images/{id}/{act}", status, "POST", body, {**JSON, **headers})

    stroke = {"revision": 0, "bone": 3, "tool": "brush", "points": [[1, 1]], "radius": 3}
    for wrong in (
        *({"revision": value} for value in (-1, 2**70, "0", None, 0.5, True, [], {})),
        *({"bone": value} for value in (-1, 29, 1e9, "3", None, True, [3])),
        *({"tool": value} for value in ("", "fill", None, 3, "__class__")),
        *({"points": value} for value in ([], [[1]], [[1, 2, 3]], [["a", 1]], [[None, 1]], [[1e300, 1]], "1,1", None)),
        *({"points": value} for value in ([[1, 1]] * 10_001, {"0": [1, 1]}, [[[1]]], [[True, False]], [[-1e7, 0]])),
        *({"radius": value} for value in (-1, 1e9, "3", None, [])),
        *({"more": 1}, {"__proto__": {}}, {"id": "../x"}),
    ):
        yield post("edits", json.dumps(stroke | wrong).encode(), 400)
    for body in (b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"{'revision': 0}", b"\x00" * 50):
        yield post("edits", body, 400)
        yield post("undo", body, 400)
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999"):
        body = b'{"revision": 0, "bone": 3, "tool": "brush", "points": [[1, ' + number + b']], "radius": 3}'
        yield post("edits", body, 400)
        yield post("edits", body.replace(b'"radius": 3', b'"radius": ' + number), 400)
    for depth in (b"[" * 100_000, b'{"a":' * 50_000, b'{"points":' + b"[" * 90_000 + b"]" * 90_000 + b"}"):
        yield post("edits", depth, 400)
    yield post("edits", b" " * (1 << 20) + b"{}", 413)
    yield post("undo", b'{"revision": 0}', 415, **{"Content-Type": "text/plain"})
    yield post("undo", b'{"revision": 0}', 409)  # nothing to undo
    yield post("ask", b'{"revision": 7, "bone": 1}', 409)
    yield post("delete", b"{}", 404, 405)
    yield Case(f"/api/images/{ID}/undo", (404,), "POST", b'{"revision": 0}', dict(JSON))
    yield Case(f"/api/images/{ID}", (404,), "DELETE", headers=dict(CHANGING))
    yield Case("/api/training", (400,), "POST", b'{"epochs": 1e9}', dict(JSON))
    yield Case("/api/training", (409, 422), "POST", b'{"epochs": 1}', dict(JSON))
    yield Case("/api/training/take", (409,), "POST", b"{}", dict(JSON))
    for low in ("x", "NaN", "1e400", "-1", "2", "0x1", "٣"):
        yield Case(f"/api/images/{id}/picture?low={quote(low)}", (400,))
        yield Case(f"/api/images/{id}/picture?side={quote(low)}", (400,))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bombs() -> Iterator[bytes]:
    """Files that state much and hold little, or are cut, damaged, or no images."""
    for width, height in ((60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1), (100_000, 11), (0, 0)):
        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        data = zlib.compress(b"\0" * 200_000, 9)
        yield b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    whole = cv2.imencode(".png", np.zeros((50, 50), np.uint8))[1].tobytes()
    yield from (whole[:40], whole[:-20], whole.replace(b"IDAT", b"IDAX"))
    jpeg = cv2.imencode(".jpg", np.zeros((50, 50), np.uint8))[1].tobytes()
    size = jpeg.index(b"\xff\xc0") + 5
    yield jpeg[:size] + b"\xff\xff\xff\xff" + jpeg[size + 4 :]
    yield b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0xFFFF) + b"\xff" * 200
    yield b"\0" * 128 + b"DICM" + b"\xff" * 500
    yield from (
        b"GIF89a" + b"\0" * 50,
        b"%PDF-1.7",
        b"PK\x03\x04" + b"\0" * 50,
        b"<svg onload=alert(1)>",
        b"\0",
        b"\x7fELF",
    )


NAMES = (
    *("../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "C:\\x.png", "con.png", ".", "..", "", " ", "\0.png"),
    *("a\nb.png", "<script>alert(1)</script>.png", "x" * 3000 + ".png", "\u202egnp.exe", "%2e%2e%2f.png"),
    *("=cmd|' /C calc'!A0.csv", "\ud800", "a/b/../../../c.png", "~/.ssh/id.png", "-rf.png", "$(id).png"),
)


def answered(server: Served, case: Case, busy: bool = False) -> None:
    answer = server.ask(case.method, quote(case.path, safe="/%?=&,;$()'"), case.body, case.headers)
    assert answer.status in case.status or (busy and answer.status == 429), (
        f"{case}: {answer.status} {answer.body[:200]!r}"
    )
    if case.method not in ("HEAD",) and answer.headers.get("content-type") == "application/json":
        assert answer.words
        assert "Traceback" not in answer.words
        assert "/work" not in answer.words
    assert "default-src 'none'" in answer.headers["content-security-policy"] or answer.status in (400, 431)


def head_of(server: Served, length: int) -> bytes:
    """Return the head of an upload of so many bytes."""
    lines = ["POST /api/images HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "X-Handseg: 1", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def work_of(server: Served) -> Path:
    """Return the folder that a server keeps its images in."""
    command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes().split(b"\0")
    return Path(command[command.index(b"--work") + 1].decode())


def lives(server: Served, image: str) -> None:
    """It still answers, quickly, and its images are as they were."""
    start = time.monotonic()
    assert server.get("/api/state")["model"]["ready"]
    assert time.monotonic() - start < 20
    assert server.get(f"/api/images/{image}?only=outlines")["revision"] == 0


@pytest.mark.parametrize("kind", [paths, methods, others], ids=lambda kind: kind.__name__)
def test_requests_that_are_after_something_else(kind: Callable[[], Iterator[Case]], server: Served, image: str) -> None:
    for case in kind():
        answered(server, case)
    lives(server, image)


def test_changes_that_can_t_be_right(server: Served, image: str) -> None:
    cases = list(changes(image))
    assert len(cases) > 80
    for case in cases:
        answered(server, case)
    lives(server, image)


def test_names_never_become_paths(server: Served, image: str) -> None:
    folder = work_of(server)
    for number, name in enumerate(NAMES):
        content = cv2.imencode(".png", np.full((30, 20 + number), number, np.uint8))[1].tobytes()
        sent = quote(name.encode("utf-8", "surrogatepass"))
        answer = server.ask("POST", "/api/images", content, {**CHANGING, "X-Name": sent})
        assert answer.status == 201, (name, answer.body)
        id = answer.json()["id"]
        assert [path.name[:16] for path in (folder / "images").glob(f"{id}*")] == [id]
        server.until_ready(id)
        answer = server.ask("GET", f"/api/export/png?ids={id}")
        assert answer.status == 200
        assert server.ask("DELETE", f"/api/images/{id}", headers=CHANGING).status == 200
    kept = {path.name[:16] for path in (folder / "images").iterdir()}
    assert kept <= {other["id"] for other in server.images()}
    lives(server, image)


def test_bombs_and_damage_fail_in_words(server: Served, image: str) -> None:
    ids = []
    for content in bombs():
        answer = server.upload(content, "bomb.png")
        assert answer.status in (201, 413, 415), answer.body
        if answer.status == 201:
            ids.append(answer.json()["id"])
    assert ids, "all were refused before any was decoded"
    server.until(lambda: not [i for i in server.images() if i["state"] in ("waiting", "reading", "inferring")])
    for other in server.images():
        if other["id"] in ids:
            assert other["state"] == "failed", other
            assert other["error"]
            server.ask("DELETE", f"/api/images/{other['id']}", headers=CHANGING)
    lives(server, image)


def test_bodies_that_are_too_large(server: Served, image: str) -> None:
    assert server.upload(b"x" * 300_000).status == 413
    said = server.send(head_of(server, 99_999_999_999) + b"x")
    assert b" 413 " in said.split(b"\r\n")[0]
    endless = b"".join(b"%x\r\n%s\r\n" % (60_000, b"x" * 60_000) for _ in range(5))
    head = head_of(server, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    said = server.send(head + endless)
    assert b" 413 " in said.split(b"\r\n")[0]
    assert b"more than 200000 bytes" in said
    lives(server, image)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
        b"POST /api/images HTTP/1.1\r\nHost: {host}\r\nX-Handseg: 1\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/images HTTP/1.1\r\nHost: {host}\r\nX-Handseg: 1\r\nContent-Length: 5\r\n"
        b"Content-Length: 6\r\n\r\nhello",
        b"POST /api/images HTTP/1.1\r\nHost: {host}\r\nX-Handseg: 1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/images HTTP/1.1\r\nHost: {host}\r\nX-Handseg: 1\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://evil.example\r\n\r\n",
        b"GET /\x00\x01 HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"\r\n" * 1000,
        b"A" * 100_000,
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_what_is_no_request(raw: bytes, server: Served, image: str) -> None:
    said = server.send(raw.replace(b"{host}", b"127.0.0.1:%d" % server.port), 40)
    assert said == b"" or said.startswith(b"HTTP/1.1 4"), said[:200]
    lives(server, image)


@pytest.mark.slow
def test_slow_clients_hold_up_nobody(server: Served, image: str) -> None:
    """A hundred connections that send no head, and thirty whose body stalls: others are answered at once."""
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(130)]
    try:
        for connection in connections[:50]:  # the second request of a connection too
            connection.sendall(b"GET /static/icon.svg HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % server.port)
            while b"</svg>" not in connection.recv(1 << 16):
                pass
        for connection in connections[:100]:
            connection.sendall(b"GET /api/state HTTP/1.1\r\nHost: ")
        head = (
            f"POST /api/images HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-Handseg: 1\r\nContent-Length: 9\r\n\r\nx"
        )
        for connection in connections[100:]:
            connection.sendall(head.encode())
        lives(server, image)
        for connection in connections:
            connection.settimeout(90)
        assert {connection.recv(1000)[:12] for connection in connections[100:]} == {b"HTTP/1.1 408"}
        assert {connection.recv(1000) for connection in connections[:100]} == {b""}
    finally:
        for connection in connections:
            connection.close()
    lives(server, image)


def test_uploads_that_break_off_leave_nothing(server: Served, image: str) -> None:
    before = len(server.images())
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head_of(server, 90_000) + b"x" * 5000)
    server.until(lambda: not list((work_of(server) / "incoming").iterdir()))
    assert len(server.images()) == before
    lives(server, image)


def test_no_more_images_than_allowed(tmp_path: Path, weights: Path) -> None:
    with served(tmp_path / "work", "--max_images", 2, "--checkpoint", weights) as server:
        contents = [cv2.imencode(".png", np.full((30, 20), n, np.uint8))[1].tobytes() for n in range(5)]
        answers: dict[bytes, int] = {}
        threads = [
            threading.Thread(target=lambda c=content: answers.update({c: server.upload(c).status}))
            for content in contents
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers.values()) == [201, 201, 429, 429, 429]
        assert {server.upload(content).status for content in contents if answers[content] == 201} == {200}
        assert len(server.images()) == 2


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Served]:
    work = tmp_path_factory.mktemp("guarded") / "work"
    with served(work, "--host", "0.0.0.0", "--checkpoint", weights, HANDSEG_SERVE_TOKEN=TOKEN) as server:
        yield server


class TestToken:
    """A server that other machines reach: nothing without its token."""

    def test_nothing_is_seen_without_it(self, guarded: Served) -> None:
        for path in ("/", "/api/state", "/api/events", "/static/serve.js", f"/api/images/{ID}", "/api/export/csv"):
            answer = guarded.ask("GET", path)
            assert answer.status == 401
            assert TOKEN.encode() not in answer.body
        assert guarded.upload(b"x").status == 401
        assert guarded.ask("GET", f"/api/state?token={TOKEN}").status == 401, "by the page's address alone"

    @pytest.mark.parametrize(
        "cookie",
        [
            *("handseg_token=", "handseg_token=x", f"handseg_token={TOKEN[:-1]}", f"handseg_token={TOKEN}x"),
            *(f"handseg_token={TOKEN.upper()}", f"other={TOKEN}", TOKEN, '"', ";;;=", "handseg_token=\xff"),
        ],
    )
    def test_a_wrong_one_is_none(self, guarded: Served, cookie: str) -> None:
        named = cookie.replace("handseg_token", f"handseg_token_{guarded.port}")
        answer = guarded.ask("GET", "/api/state", headers={"Cookie": named})
        assert answer.status == 401
        assert answer.words
        token = cookie.partition("=")[2].removeprefix(TOKEN) or "x"
        wrong = guarded.ask("GET", f"/?token={quote(token, safe='')}")
        assert wrong.status in (401, 403)
        assert "set-cookie" not in wrong.headers

    def test_the_address_lets_in_by_a_cookie_that_scripts_don_t_see(self, guarded: Served) -> None:
        assert f"?token={TOKEN}" in guarded.line
        answer = guarded.ask("GET", f"/?token={TOKEN}")
        assert answer.status == 200
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN.encode() not in answer.body
        own = {"Cookie": cookie.partition(";")[0]}
        state = guarded.ask("GET", "/api/state", headers=own)
        assert state.status == 200
        assert state.json()["guarded"]
        evil = {**own, **CHANGING, "Origin": "http://evil.example"}
        assert guarded.ask("POST", "/api/images", b"x", evil).status == 403
        without = {**own, "Content-Type": "text/plain"}
        assert guarded.ask("POST", "/api/images", b"x", without).status == 403

    def test_a_token_is_made_where_none_is_given(self, tmp_path: Path, weights: Path) -> None:
        with served(tmp_path / "work", "--host", "0.0.0.0", "--checkpoint", weights) as server:
            token = server.line.partition("?token=")[2].split()[0]
            assert len(token) >= 32
            assert server.ask("GET", "/api/state").status == 401
            assert server.ask("GET", f"/?token={token}").status == 200


@pytest.mark.slow
def test_five_hundred_hostile_requests_from_many_sides(server: Served, image: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    rng = random.Random(0)
    cases = [*paths(), *methods(), *others(), *changes(image)]
    rng.shuffle(cases)
    raws = [rng.randbytes(rng.randint(1, 4000)) for _ in range(300)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda case: answered(server, case, busy=True), cases))
        for said in pool.map(lambda raw: server.send(raw + b"\r\n\r\n", 60), raws):
            assert said == b"" or said.startswith(b"HTTP/1.1 4")
    assert len(cases) + len(raws) >= 500
    lives(server, image)
