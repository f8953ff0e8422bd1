"""Requests to a PACS whose answers are checked: status, size, speed, content type, and that they are whole."""

from __future__ import annotations

import http.client
import io
import json
import ssl
import time
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

import handseg_monai
from handseg_monai.pacs.address import Address

JSON = ("application/dicom+json", "application/json")
_PASSING = (429, 502, 503, 504)
"""Statuses of a server that is there again a little later, or is asked too often."""
_CONFLICT = 409
"""Of a server that stored nothing, and whose answer says why."""
_ROOT = "is the URL the root of its DICOMweb, such as https://HOST/dicom-web?"
_ADVICE = {
    400: f"it does not understand the request; {_ROOT} If it is, look into the server's log",
    403: "these credentials may not do this; ask who runs it for the right",
    404: f"there is no such thing; {_ROOT}",
    500: "it has failed; look into its log",
}
_NAMED = ("text/html", "text/plain", "text/xml", "application/xml", "application/dicom+xml", *JSON)
"""Content types that an error names; any other one might be whatever a server wants a log to say."""
_LONGEST_WAIT = 8.0


class PacsError(ValueError):
    """A request that failed, in words: what came, and what to do. It quotes neither credentials nor a patient."""


class PacsGoneError(PacsError):
    """No other request would succeed either: the server is gone, or the credentials don't open it."""


class _PassingError(Exception):
    """What may be over a little later."""


@dataclass(frozen=True)
class Limits:
    """How much and how long an answer may be."""

    connect: float = 10.0
    """Seconds until a connection stands."""
    silence: float = 60.0
    """Seconds without a byte."""
    whole: float = 600.0
    """Seconds for a body."""
    patience: float = 60.0
    """Seconds to try again, where a server that has answered before is gone."""
    listing: int = 1 << 26
    """Bytes of an answer in JSON."""
    instance: int = 1 << 29
    """Bytes of an instance."""


class Session(requests.Session):
    """A session whose answers are whole and of a status that tells of success, or 409.

    It follows no redirect, so that credentials never leave for another place, and takes nothing compressed.

    Parameters
    ----------
    address
        The server.
    limits
        What to put up with.
    """

    def __init__(self, address: Address, limits: Limits) -> None:
        super().__init__()
        self._authorization, self._limits = address.authorization, limits
        self._host = urlsplit(address.url).hostname or ""
        # A proxy in between would be another machine, which http shows the credentials.
        self._proxies = dict.fromkeys(("http", "https", "all")) if address.is_here else None
        self._answered = False
        self._listed: tuple[str, dict[str, Any]] | None = None
        # With a function here requests never looks for other credentials, in ~/.netrc.
        self.auth = self._sign
        self.headers.update(
            {
                "Accept": JSON[0],
                "Accept-Encoding": "identity",
                "User-Agent": f"handseg-monai/{handseg_monai.__version__}",
            }
        )

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._authorization:
            request.headers["Authorization"] = self._authorization
        return request

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        """Send a request, and read the whole answer; again where that may help.

        Raises
        ------
        PacsError
            The answer is not one of success, too large, too slow, encoded, or of another type than was asked for; or
            none comes to this request, though the server answers a search.
        PacsGoneError
            The server is gone, or asks for other credentials.
        """
        # A query may hold wildcards as they are, and Debian's Orthanc takes %2A for text.
        url = str(url).replace("%2A", "*").replace("%3F", "?")
        # dicomweb-client states the host without its port.
        headers = {name: value for name, value in (options.pop("headers", None) or {}).items() if name != "Host"}
        options |= {
            "headers": headers,
            "allow_redirects": False,
            "stream": True,
            "proxies": self._proxies,
            "timeout": (self._limits.connect, self._limits.silence),
        }
        wait, end = 0.25, None
        while True:
            try:
                response = self._send(method, url, *args, **options)
                with response:
                    self._answered = True
                    self._check_status(response)
                    multipart = headers.get("Accept", "").startswith("multipart")
                    body = self._body(response, self._limits.instance if multipart else self._limits.listing)
                break
            except _PassingError as error:
                if not self._answered:
                    raise PacsGoneError(f"{self._host}: {error}; is the URL right, and does the server run?") from None
                now = time.monotonic()
                end = end or now + self._limits.patience
                if now + wait > end:
                    problem = f"{error}, for {self._limits.patience:.0f} seconds"
                    if self._is_there():
                        raise PacsError(f"{problem}, though it answers a search; look into its log") from None
                    raise PacsGoneError(f"{problem}; run the same command again once it answers") from None
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        response.raw = io.BytesIO(body if multipart else _json_of(response, body))
        if not multipart and response.ok and response.request.method == "GET":
            self._listed = url, options
        return response

    def _is_there(self) -> bool:
        """Whether the server answers the last search again that it has answered before."""
        if self._listed is None:
            return False
        url, options = self._listed
        try:
            with self._send("GET", url, **options) as response:
                self._check_status(response)
                self._body(response, self._limits.listing)
        except (_PassingError, PacsError):
            return False
        return True

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return that there is none: requests would read the whole body of such an answer to prepare for the next."""
        return

    def _send(self, *args: Any, **options: Any) -> requests.Response:
        try:
            return super().request(*args, **options)
        except requests.exceptions.SSLError as error:
            raise PacsGoneError(
                f"the connection can't be encrypted ({_why(error)}); REQUESTS_CA_BUNDLE names a file of certificates "
                "to trust"
            ) from None
        except requests.exceptions.ConnectTimeout:
            raise _PassingError(f"no connection to the server within {self._limits.connect:g} seconds") from None
        except requests.exceptions.Timeout:
            raise PacsError(self._silent()) from None
        except requests.exceptions.ProxyError:
            raise _PassingError("the proxy that the environment names gives no connection") from None
        except requests.exceptions.ConnectionError as error:
            causes = _causes(error)
            if any(isinstance(cause, urllib3.exceptions.ReadTimeoutError) for cause in causes):
                raise PacsError(self._silent()) from None
            if any(type(cause) is http.client.BadStatusLine for cause in causes):
                raise PacsError(_NO_HTTP) from None
            raise _PassingError("no connection to the server, or it was lost") from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException):
            raise PacsError(_NO_HTTP) from None
        except OSError as error:
            raise PacsError(f"the request can't be sent ({error.strerror or 'no such file of certificates'})") from None

    def _silent(self) -> str:
        return f"the server sent nothing for {self._limits.silence:g} seconds; is it overloaded? Try again later"

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if 200 <= status < 300 or status == _CONFLICT:
            return
        answers = f"the server answers {status} ({http.client.responses.get(status, 'no status of HTTP')})"
        if status in _PASSING:
            raise _PassingError(answers)
        if status == 401:
            with_ = "these credentials" if self._authorization else "a request without credentials"
            raise PacsGoneError(
                f"{answers} to {with_}; set HANDSEG_PACS_USER and HANDSEG_PACS_PASSWORD, or HANDSEG_PACS_TOKEN, in the "
                "environment"
            )
        if 300 <= status < 400:
            raise PacsError(f"{answers} and sends on to {self._target(response)}, which is not followed; {_REDIRECTED}")
        raise PacsError(f"{answers}; {_ADVICE.get(status, 'look into its log')}")

    def _target(self, response: requests.Response) -> str:
        try:
            parts = urlsplit(urljoin(response.url, response.headers.get("Location", "")))
            shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        except ValueError:
            return "no address"
        if len(shown) > 100 or not (shown.isascii() and shown.isprintable()):
            return "no address"
        if self._authorization is None:
            return shown
        from handseg_monai.follow.redact import hide

        return hide(shown, self._authorization.partition(" ")[2])

    def _body(self, response: requests.Response, most: int) -> bytes:
        stated = response.headers.get("Content-Length", "")
        too_large = PacsError(f"the answer has more than {most >> 20 or 1} MiB; no radiograph, or list of a page, has")
        if stated.isdecimal() and int(stated[:20]) > most:
            raise too_large
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise PacsError("the answer is compressed, which was not asked for; switch this off in the server or proxy")
        body, end = bytearray(), time.monotonic() + self._limits.whole
        try:
            # read1 returns what has come, so that one byte a second does not pass for an answer; it raises where less
            # comes than was stated.
            while part := response.raw.read1(1 << 16, decode_content=False):
                body += part
                if len(body) > most:
                    raise too_large
                if time.monotonic() > end:
                    raise PacsError(
                        f"the answer took more than {self._limits.whole:g} seconds; is the server overloaded? Try "
                        "again later"
                    )
        except urllib3.exceptions.ReadTimeoutError:
            raise PacsError(self._silent()) from None
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError):
            raise _PassingError("the connection was lost in the middle of an answer") from None
        return bytes(body)


_NO_HTTP = "the server's answer is not HTTP; is there a web server at this URL?"
_REDIRECTED = "if that is the server, give its URL; if it is a page to log in, set the credentials that it takes"


def content_type(response: requests.Response) -> tuple[str, str]:
    """Return an answer's content type in lower case, and its boundary; text/plain where it states none."""
    message = Message()
    message["Content-Type"] = response.headers.get("Content-Type", "")
    return message.get_content_type(), str(message.get_param("boundary", ""))


def shown_type(kind: str) -> str:
    """Return a content type for an error to name."""
    return kind if kind in _NAMED else "a content type that was not asked for"


def _json_of(response: requests.Response, body: bytes) -> bytes:
    kind, _ = content_type(response)
    if not body or (kind not in JSON and response.request.method == "POST"):
        return b""  # of storing; what it has done is asked for
    if kind not in JSON:
        page = "a page to log in, or " if kind == "text/html" else ""
        raise PacsError(
            f"the server sent {shown_type(kind)} instead of DICOM JSON: {page}not the root of its DICOMweb; look at "
            "the URL in a browser"
        )
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        raise PacsError("the server's answer is not JSON, though it says so; is this URL that of a DICOMweb?") from None
    # dicomweb-client knows the bare type alone.
    response.headers["Content-Type"] = kind
    return body


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and those that it wraps."""
    found = [error]
    for cause in found:
        inner = (*cause.args, getattr(cause, "reason", None))
        found += [value for value in inner if isinstance(value, BaseException) and value not in found]
    return found


def _why(error: BaseException) -> str:
    """Reason that the system's library for encryption gives."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return str(getattr(cause, "verify_message", None) or cause.reason or "no reason is known")[:100]
    return "no reason is known"
