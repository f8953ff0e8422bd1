"""Where a PACS is, and what opens it: the URL of its DICOMweb, and credentials from the environment."""

from __future__ import annotations

import base64
import ipaddress
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_USER, _PASSWORD, _TOKEN = "HANDSEG_PACS_USER", "HANDSEG_PACS_PASSWORD", "HANDSEG_PACS_TOKEN"
_EXPECTED = "expected the root of a DICOMweb service, such as https://HOST/dicom-web"


@dataclass(frozen=True)
class Address:
    """A server, and what opens it."""

    url: str
    """Root of its DICOMweb, without a slash at the end."""
    authorization: str | None = field(default=None, repr=False)
    """Value of the header *Authorization*."""

    @property
    def is_here(self) -> bool:
        """Whether the server is on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @classmethod
    def of(cls, url: str, allow_http: bool = False) -> Address:
        """Check a URL, and take the credentials out of the environment.

        Parameters
        ----------
        url
            Root of the DICOMweb service.
        allow_http
            Send credentials unencrypted to another machine too.

        Raises
        ------
        ValueError
            Not such a URL, or it holds credentials; credentials that are incomplete, twofold or can't be sent; or
            they would go unencrypted over a network.
        """
        address = cls(_checked(url), _authorization())
        encrypted = address.url.lower().startswith("https:") or address.is_here
        if address.authorization and not encrypted and not allow_http:
            raise ValueError(
                f"{address.url}: http sends the credentials unencrypted, for anybody on the way to read; give an https "
                "URL, or --allow-http if the network between is your own"
            )
        return address


def _checked(url: str) -> str:
    """Return a URL without a slash at its end."""
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"the URL can't be read; {_EXPECTED}") from None
    # Without // after it, without a scheme, or with a slash in it, a password is in what passes for the path.
    if "@" in url:
        raise ValueError(
            "the URL holds a user or a password, which logs and lists of processes would show; take them out, and set "
            f"{_USER} and {_PASSWORD} in the environment; write %40 for an @ of the path"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"the URL has a part after ? or #, which may be a secret; {_EXPECTED}")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{url}: not an address of the web; {_EXPECTED}")
    return url.strip().rstrip("/")


def _authorization() -> str | None:
    user, password, token = (os.environ.get(name) or None for name in (_USER, _PASSWORD, _TOKEN))
    if token and (user or password):
        raise ValueError(f"{_TOKEN} and {_USER} or {_PASSWORD} are set; expected one kind of credentials")
    if (user is None) != (password is None):
        there, lacks = (_USER, _PASSWORD) if user else (_PASSWORD, _USER)
        raise ValueError(f"{there} is set and {lacks} is not; set both, or neither")
    if token:
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ValueError(f"{_TOKEN} holds a character that no token has, such as a space or a line break")
        return f"Bearer {token}"
    if user is None or password is None:
        return None
    if ":" in user:
        raise ValueError(f"{_USER} holds a colon, which basic authentication can't send")
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode('ascii')}"
