"""Taking secrets out of a text before anybody else sees it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

HIDDEN = "***"
_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|AUTH|WEBHOOK|URL|URI|DSN", re.IGNORECASE)
"""Names of environment variables whose values count as secrets."""
_SHORTEST = 6
"""Shorter values do not count as secrets: else ``1`` or ``true`` would vanish from every line."""
_SHAPES = [
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"(?<=://)[^/\s@'\"]+(?=@)"), HIDDEN),
    (re.compile(r"(?<=hooks\.slack\.com/)[\w/-]+"), HIDDEN),
    (re.compile(r"\bxox[a-z]-[\w-]+|\bxapp-[\w-]+"), HIDDEN),
    (re.compile(r"\bgh[a-z]_\w{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}|\bhf_\w{16,}|\bsk-[\w-]{16,}"), HIDDEN),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bya29\.[\w.-]+|\beyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?"), HIDDEN),
    (re.compile(r"(?i)\b(Bearer|Basic)\s+[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"(?i)((?:password|passwd|passphrase|secret|token|api_?key|access_?key|private_?key)\w*"
            r"['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&)}\]]+"
        ),
        rf"\1{HIDDEN}",
    ),
]
"""What secrets look like wherever they come from, and what stands in their place."""


def hide(text: str, *secrets: str) -> str:
    """Put ``***`` in the place of all secrets in a text.

    These are ``secrets``; values of environment variables whose names say so (``…KEY``, ``…TOKEN``, ``…SECRET``,
    ``…PASSWORD``, ``…URL`` and the like), but for paths that exist; user and password in a URL; and what looks like a
    private key, a token of a well-known service or ``password=…``. Of ``HANDSEG_NOTIFY_URLS`` each part is secret.
    """
    for secret in sorted({*secrets, *_in_environment()}, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, HIDDEN)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def _in_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if name == "HANDSEG_NOTIFY_URLS":
            yield from parts_of(value)
        elif _NAMES.search(name) and len(value) >= _SHORTEST and not _is_path(value):
            yield from (value, quote(value, safe=""), unquote(value))


def parts_of(urls: str) -> set[str]:
    """Split URLs into what may be secret in them: each as a whole, user, password, host, path and values."""
    found = set()
    for url in filter(None, re.split(r"[\s,]+", urls)):
        pieces = [url, *re.split(r"[:/@?&=#]+", url.partition("://")[2])]
        found |= {form for piece in pieces for form in (piece, unquote(piece))}
    return found


def _is_path(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):
        return False


class _Hide(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = hide(record.getMessage()), None
        return True


_HIDE = _Hide()


def hide_in_log_of(name: str) -> None:
    """Remove secrets from the messages of a logger of this name."""
    logging.getLogger(name).addFilter(_HIDE)
