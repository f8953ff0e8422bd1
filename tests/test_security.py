"""Who may talk to ``handseg serve``: names and ports of its own, a proxy in front, and a token that no list shows."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from handseg_monai.serve.security import Guard, choose_token, require_origin
from tests.served import served

TOKEN = "abcdefghijklmnopqrstuvwxyz"
ORIGIN = "https://hands.example"


def asked(guard: Guard, path: str = "/api/state", method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer to a request."""
    path, _, query = path.partition("?")
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": named}
    sent: list[Any] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def guard(host: str, token: str | None = None, origin: str | None = None, port: int = 8029) -> Guard:
    return Guard(PlainTextResponse("seen"), host, port, token, origin)


@pytest.mark.parametrize(
    ("host", "name"),
    [("127.0.0.2", "127.0.0.2"), ("127.0.0.1", "localhost"), ("::1", "[::1]"), ("localhost", "127.0.0.1")],
)
def test_each_loopback_address_is_a_name_of_the_server(host: str, name: str) -> None:
    assert asked(guard(host), host=f"{name}:8029")[0] == 200
    assert asked(guard(host), host="127.0.0.3:8029")[0] == 421
    assert asked(guard(host), host="hands.example")[0] == 421


def test_a_proxy_in_front_is_let_in_with_its_origin_alone() -> None:
    behind = guard("127.0.0.1", TOKEN, ORIGIN)
    status, headers = asked(behind, f"/?token={TOKEN}", host="hands.example")
    assert status == 200
    cookie = headers["set-cookie"]
    assert "Secure" in cookie
    own = {"cookie": cookie.partition(";")[0], "x_handseg": "1"}
    for host in ("hands.example", "127.0.0.1:8029"):  # as the proxy hands it on, or its own
        assert asked(behind, method="POST", host=host, origin=ORIGIN, **own)[0] == 200
        assert asked(behind, method="POST", host=host, origin="https://evil.example", **own)[0] == 403
    assert asked(behind, host="evil.example", **own)[0] == 421
    assert asked(behind, host="hands.example")[0] == 401, "without the token"
    assert "Secure" not in asked(guard("0.0.0.0", TOKEN), f"/?token={TOKEN}", host="x:8029")[1]["set-cookie"]


def test_a_proxy_in_front_needs_a_token() -> None:
    assert choose_token("127.0.0.1") is None
    assert choose_token("127.0.0.1", is_public=True)
    assert require_origin("HTTPS://Hands.Example:443/") == ORIGIN
    assert require_origin("http://hands.example:8080") == "http://hands.example:8080"
    for wrong in (
        "hands.example",
        "https://",
        "ftp://x",
        "https://x/page",
        "https://a@x",
        "https://x?y",
        "https://x:y",
    ):
        with pytest.raises(ValueError, match="--public-origin"):
            require_origin(wrong)


def test_servers_on_two_ports_keep_their_cookies_apart() -> None:
    one, other = guard("0.0.0.0", TOKEN), guard("0.0.0.0", TOKEN[::-1], port=8030)
    cookies = [
        asked(of, f"/?token={token}", host="x")[1]["set-cookie"].partition(";")[0]
        for of, token in ((one, TOKEN), (other, TOKEN[::-1]))
    ]
    for of in (one, other):
        assert asked(of, host="x", cookie="; ".join(cookies))[0] == 200


def test_cookies_of_other_programs_and_odd_addresses_hide_no_token() -> None:
    ours = guard("127.0.0.1", TOKEN)
    cookie = asked(ours, f"/?token={TOKEN}", host="127.0.0.1:8029")[1]["set-cookie"].partition(";")[0]
    for other in ('prefs={"a":1}', "plain", "a b=c d", 'name="open', "user=me@there"):
        assert asked(ours, host="127.0.0.1:8029", cookie=f"{other}; {cookie}")[0] == 200
        assert asked(ours, host="127.0.0.1:8029", cookie=other)[0] == 401
    many = "&".join(f"a{n}=1" for n in range(20))
    status, headers = asked(ours, f"/?{many}", host="127.0.0.1:8029")
    assert status == 401
    assert "content-security-policy" in headers


def test_the_browser_s_command_line_holds_no_token(tmp_path: Path) -> None:
    opened, script = tmp_path / "opened", tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {opened}.part\nmv {opened}.part {opened}\n')
    script.chmod(0o755)
    arguments = ("--public-origin", ORIGIN)
    environment = {"HANDSEG_SERVE_TOKEN": TOKEN, "BROWSER": f"{script} %s"}
    with served(tmp_path / "work", *arguments, browser=True, **environment) as server:
        assert f"{ORIGIN}/?token={TOKEN}" in server.line
        server.until(opened.exists)
        address = opened.read_text().strip()
        assert TOKEN not in address
        path = Path(address.removeprefix("file://"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert f"url={ORIGIN}/?token={TOKEN}" in path.read_text()
    assert not path.parent.exists()
