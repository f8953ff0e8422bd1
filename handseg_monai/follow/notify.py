"""Messages to Slack, KakaoTalk and a hundred other services when a run starts, improves, ends or fails."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from handseg_monai.follow.follow import Follower, Run, machine
from handseg_monai.follow.mailbox import Mailbox, one_line

if TYPE_CHECKING:
    from apprise.plugins import NotifyBase

logger = logging.getLogger(__name__)

URLS = "HANDSEG_NOTIFY_URLS"
STORE = "HANDSEG_NOTIFY_STORE"
_LONGEST = 3000
"""Characters of a message, where the service would take more."""


class Notifications(Follower):
    """Send messages by `apprise <https://appriseit.com/services/>`_, each service from a thread of its own.

    The services are the URLs in the environment variable ``HANDSEG_NOTIFY_URLS``, separated by spaces or commas.
    Without it nothing is done. ``HANDSEG_NOTIFY_STORE`` may name a folder where services keep tokens that they renew.

    Parameters
    ----------
    minutes
        Least time between two messages of new best scores.
    patience
        Seconds to wait at the end of the run for messages that are under way.
    """

    def __init__(self, minutes: float = 30.0, patience: float = 10.0) -> None:
        self.minutes = minutes
        self.patience = patience
        self._last_best = -float("inf")
        self._services = [(service, Mailbox(f"notification by {service.service_name}")) for service in _services()]

    def started(self, run: Run) -> None:
        """Say what runs, and where."""
        known = {name: run.parameters.get(name) for name in ("network_name", "loss", "size", "fold", "epochs")}
        name, gpu, memory = machine()
        lines = [
            ", ".join(f"{key} {value}" for key, value in known.items() if value is not None),
            f"{name}, GPU {gpu}, memory {memory}",
            f"in {run.folder}",
        ]
        self._send(f"{run.name} started on {run.host}", "\n".join(filter(None, lines)))

    def best(self, run: Run) -> None:
        """Say the new best score, if the last one is long enough ago; that of the whole run comes at its end."""
        if time.monotonic() - self._last_best >= 60 * self.minutes:
            self._last_best = time.monotonic()
            self._send(f"{run.name}: new best Dice {run.best:.4f}", f"{_progress(run)} on {run.host}")

    def ended(self, run: Run) -> None:
        """Say the best score and the time that it took."""
        best = (
            "" if run.best is None else f"best Dice {run.best:.4f}{f' (epoch {run.best_epoch})' * bool(run.best_epoch)}"
        )
        self._send(
            f"{run.name} ended on {run.host}",
            "\n".join(filter(None, [best, _progress(run), f"in {run.folder}"])),
            "success",
        )

    def failed(self, run: Run, reason: str) -> None:
        """Say where it broke, with the end of the traceback."""
        rank = f", rank {run.rank}" if run.rank else ""
        self._send(f"{run.name} failed on {run.host}{rank}", f"{_progress(run)}\n{reason}", "failure")

    def close(self) -> None:
        """Wait for the last messages, some seconds at most."""
        until = time.monotonic() + self.patience
        for _, mailbox in self._services:
            mailbox.wait(until)

    def _send(self, title: str, body: str, kind: str = "info") -> None:
        for service, mailbox in self._services:
            mailbox.put(_message(service, title, body, kind))


def _progress(run: Run) -> str:
    epoch = "" if run.epochs is None else f"epoch {run.epoch} of {run.epochs}, "
    return f"{epoch}{run.took}"


def _services() -> list[NotifyBase]:
    urls = [url for url in re.split(r"[\s,]+", os.environ.get(URLS, "")) if url]
    if not urls:
        return []
    try:
        import apprise
    except ImportError:
        logger.warning(f"{URLS} is set, but apprise is missing: pip install 'handseg-monai[notify]'")
        return []
    logging.getLogger("apprise").addFilter(_WARNINGS)
    asset = apprise.AppriseAsset(app_id="handseg", app_desc="handseg", storage_path=os.environ.get(STORE))
    services = []
    for number, url in enumerate(urls, 1):
        service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if service is None:
            logger.warning(f"{URLS}: URL {number} of {len(urls)} is incomplete, or apprise does not know its service")
        else:
            services.append(service)
    _WARNINGS.take()
    return services


class _Warnings(logging.Filter):
    """Keep apprise's warnings for the thread that gets them, and nothing else of its log, which may hold URLs."""

    def __init__(self) -> None:
        super().__init__()
        self._of_thread: dict[int, list[str]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            self._of_thread.setdefault(threading.get_ident(), []).append(record.getMessage())
        return False

    def take(self) -> list[str]:
        """Return this thread's warnings, and forget them."""
        return self._of_thread.pop(threading.get_ident(), [])


_WARNINGS = _Warnings()


def _message(service: NotifyBase, title: str, body: str, kind: str) -> Callable[[], None]:
    def send() -> None:
        with_title = service.title_maxlen > 0
        text = fit(service, body if with_title else f"{title}\n{body}", 1 if with_title else 2)
        sent = service.notify(title=title if with_title else "", body=text, notify_type=kind, body_format="text")
        warnings = _WARNINGS.take()
        if not sent:
            logger.warning(
                one_line(f"notification by {service.service_name} failed", (warnings or ["no reason given"])[0])
            )

    return send


def fit(service: NotifyBase, text: str, head: int = 1) -> str:
    """Cut a text to what a service holds: its first ``head`` lines and its end stay, with ``…`` between."""
    first, rest = text.split("\n")[:head], text.split("\n")[head:]
    if service.body_max_line_count > 0:
        most = max(0, service.body_max_line_count - len(first))
        rest = rest[len(rest) - most :] if len(rest) > most else rest
    whole, room = "\n".join([*first, *rest]), min(service.body_maxlen, _LONGEST)
    if len(whole) <= room:
        return whole
    start = "\n".join(first)[: room // 2] + "\n…"
    return start + whole[len(whole) - (room - len(start)) :]
