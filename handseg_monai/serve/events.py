"""What happens on the server, told to every page that listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

MOST_LISTENERS = 64
_BEAT = 15.0
"""Seconds after which a page without news hears that the server is there."""
_MOST_WAITING = 1000
"""Events that may wait for a page; one that takes no more is let go, and asks anew."""


class Events:
    """Sends what any thread tells to all that listen, in its order; nothing is kept for those that come later."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[asyncio.Queue[str | None]] = set()

    @property
    def full(self) -> bool:
        """Whether as many listen as may."""
        return len(self._listeners) >= MOST_LISTENERS

    def start(self) -> None:
        """Send in the event loop that runs now."""
        self._loop = asyncio.get_running_loop()

    def tell(self, kind: str, content: Mapping[str, object] | None) -> None:
        """Tell all of an event, from any thread; without a loop nobody hears of it."""
        text = f"event: {kind}\ndata: {json.dumps(content)}\n\n"
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, text)

    def end(self) -> None:
        """Let all go that listen."""
        self._put(None)

    def _put(self, text: str | None) -> None:
        for listener in list(self._listeners):
            if listener.qsize() >= _MOST_WAITING:
                self._listeners.discard(listener)
                listener.put_nowait(None)
            else:
                listener.put_nowait(text)

    async def listen(self) -> AsyncIterator[str]:
        """Events as they come, in the form of ``text/event-stream``."""
        own: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.add(own)
        try:
            yield ": welcome\n\n"
            while True:
                try:
                    text = await asyncio.wait_for(own.get(), _BEAT)
                except TimeoutError:
                    text = ": still here\n\n"
                if text is None:
                    return
                yield text
        finally:
            self._listeners.discard(own)
