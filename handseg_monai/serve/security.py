"""Who may talk to the server: hosts, origins, the token; and the headers that every answer carries."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_VARIABLE = "HANDSEG_SERVE_TOKEN"
COOKIE = "handseg_token"
_LEAST_TOKEN = 16
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_MOST_HEAD = 32 << 10
"""Bytes of an address and of headers."""
_MOST_FIELDS = 8
"""Of an address with a token."""
_SAFE = ("GET", "HEAD")
_LET_IN = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">
<title>handseg</title><p><a href="/">Continue</a></p></html>"""
_SHUT_OUT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>handseg</title>
<p>This page needs its token. Open the whole address that <code>handseg serve</code> has printed.</p></html>"""


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach an address to listen on."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_origin(origin: str) -> str:
    """Return the origin that a browser names for an address such as ``https://hands.example``.

    Raises
    ------
    ValueError
        It has no scheme or host, or more than these and a port.
    """
    try:
        parts = urlsplit(origin.lower().removesuffix("/"))
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    is_more = "@" in parts.netloc or f"{parts.scheme}://{parts.netloc}" != parts.geturl()
    if parts.scheme not in ("http", "https") or not parts.hostname or is_more:
        raise ValueError(f"--public-origin {origin}: expected a scheme and a host alone, such as https://hands.example")
    usual = port == {"http": 80, "https": 443}[parts.scheme]
    return parts.geturl().removesuffix(f":{port}") if usual else parts.geturl()


def choose_token(host: str, is_public: bool = False) -> str | None:
    """Return the token of :data:`TOKEN_VARIABLE`; without one a new one.

    None where the address is a loopback, and no proxy makes it public.

    The variable is removed, so that no child sees it.

    Raises
    ------
    ValueError
        The variable holds a token that is too short or that no address can carry.
    """
    given = os.environ.pop(TOKEN_VARIABLE, None)
    if given:
        if len(given) < _LEAST_TOKEN or not all(c.isascii() and (c.isalnum() or c in "-_.~") for c in given):
            raise ValueError(
                f"{TOKEN_VARIABLE}: expected at least {_LEAST_TOKEN} letters, digits or -_.~, got {len(given)} "
                "characters; unset it, and the server makes a token"
            )
        return given
    return None if is_loopback(host) and not is_public else secrets.token_urlsafe(24)


class Guard:
    """ASGI middleware that lets no other site's page, and nobody without the token, reach the application.

    A page of another site can make a browser send requests to this machine, even under a name that it has made to
    point here. So ``Host`` must be an address of this server; a request that changes something must carry
    ``X-Handseg``, which a browser sends to other origins only after asking, and an ``Origin``, where there is one,
    that is this server.

    Parameters
    ----------
    app
        The application.
    host, port
        Address that the server listens on. Where it is a loopback, its names alone are allowed as ``Host``.
    token
        What whoever comes must have; None where only programs on this machine reach the server.
    origin
        Of a proxy in front, see :func:`require_origin`; its host is allowed too.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, token: str | None, origin: str | None = None) -> None:
        self.app = app
        self.loopback = is_loopback(host)
        names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
        self.hosts = {f"{name}:{port}" for name in names} | (names if port == 80 else set())
        self.origin = origin
        if origin is not None:
            self.hosts.add(origin.partition("://")[2])
        self.is_secure = origin is not None and origin.startswith("https:")
        self.cookie = f"{COOKIE}_{port}"  # a browser sends cookies to all ports of a host
        self.token = None if token is None else _digest(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        response = self._refusal(scope)
        await (self.app if response is None else response)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if len(scope.get("raw_path") or b"") + sum(len(k) + len(v) for k, v in scope["headers"]) > _MOST_HEAD:
            return _error(431, "the head of the request is too large")
        host = headers.get("host", "").lower()
        if len(headers.getlist("host")) != 1 or (self.loopback and host not in self.hosts):
            return _error(
                421, "this server is not called by that name; open the address that handseg serve has printed"
            )
        is_page = scope["path"] == "/" and scope["method"] in _SAFE
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}", self.origin):
            return _error(403, "a page of another site can't use this server")
        if not is_page and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _error(403, "a page of another site can't use this server")
        given = _token_in(scope["query_string"])
        if self.token is not None and not self._has_token(headers):
            if not is_page or given is None:
                return HTMLResponse(_SHUT_OUT, 401) if is_page else _error(401, "no token, or a wrong one")
            if not hmac.compare_digest(_digest(given), self.token):
                return _error(403, "that is not the token of this server")
        # A page of its own, whose request for / comes from here and so carries the cookie, wherever the link was.
        if self.token is not None and is_page and given is not None:
            response = HTMLResponse(_LET_IN)
            if hmac.compare_digest(_digest(given), self.token):
                response.set_cookie(
                    self.cookie, given, httponly=True, samesite="strict", path="/", secure=self.is_secure
                )
            return response
        if scope["method"] not in _SAFE and headers.get("x-handseg") != "1":
            return _error(403, "a request that changes something needs the header X-Handseg: 1")
        return None

    def _has_token(self, headers: Headers) -> bool:
        # Other programs of the same host send cookies of any form along.
        cookies = cookie_parser(headers.get("cookie", ""))
        assert self.token is not None
        return self.cookie in cookies and hmac.compare_digest(_digest(cookies[self.cookie]), self.token)


def _token_in(query: bytes) -> str | None:
    """Token that an address gives; None where it gives none, or more fields than any page of this server."""
    try:
        return parse_qs(query.decode("latin-1"), max_num_fields=_MOST_FIELDS).get("token", [None])[0]
    except ValueError:
        return None


def _digest(text: str) -> bytes:
    """Of one length for all, so that a comparison takes the same time for all."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status)
