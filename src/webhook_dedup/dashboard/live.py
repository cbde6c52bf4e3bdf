"""What happens, as it happens: the last entries of the history, and a stream of those to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import Any

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from ..errors import StoreError
from ..observe.history import Entry, History
from ..observe.history.ledger import EntryFilter
from .gate import Refused
from .links import asked_of
from .listing import DeliveryFilter, entry_id
from .show import Show

__all__ = ["Recent", "Stream", "recent"]

_SHOWN = 50
_MOST_STREAMS = 32
_LOOK_EVERY = 0.4
_RETRY_AFTER_MS = 500
_PING_EVERY = 15
_GRACE = 2.0
_SLOWEST_SEND = 10.0  # a browser that takes nothing for so long makes room for another one
# Then the browser comes again, and is let in again or not. It bounds how long a server drains that
# tells nobody of it.
_LONGEST = 120.0
_NOT_FOUND, _BUSY = 404, 503


@dataclass(frozen=True, slots=True)
class Recent:
    """What happened last.

    Attributes:
        entries: Those that are meant, the latest first.
        mark: Of the last one, meant or not: behind it the stream begins.
    """

    entries: Sequence[Entry] = ()
    mark: str = ""


async def recent(history: History, wanted: DeliveryFilter, kind: str | None) -> Recent:
    """Look up what happened last."""
    # The mark first: what comes between is told twice, and shown once.
    last = await history.find(limit=1)
    entries = await history.find(
        source=wanted.source, kind=kind, reason=wanted.reason, event_id=wanted.text, limit=_SHOWN
    )
    # What was written together lies together; people read by time.
    by_time = sorted(entries, key=lambda entry: entry.record.at, reverse=True)
    return Recent(by_time, last[0].id if last else "")


class Stream:
    """Sends entries as they are written, to so many browsers at once.

    What a browser does not take is not read from the history, so a slow one costs no memory.

    Args:
        show: Makes the rows.
        most: How many browsers at once.
        longest: Seconds after which each must come again.
    """

    def __init__(self, show: Show, *, most: int = _MOST_STREAMS, longest: float = _LONGEST) -> None:
        self._show = show
        self._most = most
        self._longest = longest
        self._open = 0

    async def answer(self, request: Request) -> Response:
        """Answer with the stream."""
        storage = await self._show.deployment.storage()
        if storage.history is None:
            raise Refused(_NOT_FOUND, "no history is kept, so nothing can be told live")
        if self._open >= self._most:
            busy = f"{self._most} live views are open, which is as many as may be"
            return PlainTextResponse(busy, _BUSY, headers={"Retry-After": "30"})
        # Its end is the stream's own, so that the server can close the connection in good order.
        closing = anyio.Event()
        self._open += 1
        return _Seated(
            self._leave,
            self._events(request, storage.history, closing),
            ping=_PING_EVERY,
            send_timeout=_SLOWEST_SEND,
            shutdown_event=closing,
            shutdown_grace_period=_GRACE,
        )

    async def _events(
        self, request: Request, history: History, closing: anyio.Event
    ) -> AsyncIterator[ServerSentEvent]:
        wanted, after = _asked(request)
        try:
            # Whoever hears that it is live may rely on it: what happens from then on is told.
            begun = await history.follow(after, every=_LOOK_EVERY)
            yield ServerSentEvent(comment="live", retry=_RETRY_AFTER_MS)
            async with aclosing(_until(closing, self._longest, begun)) as tail:
                async for entry in tail:
                    if wanted.admits(entry):
                        row = self._show.part(request, "_entry.html", entry=entry, fresh=True)
                        yield ServerSentEvent(event="entry", id=entry.id, data=row)
        except StoreError:  # the browser comes again, and goes on behind what it has
            away = "the history does not answer"
            yield ServerSentEvent(event="away", data=away, retry=_RETRY_AFTER_MS)

    def _leave(self) -> None:
        self._open -= 1


class _Seated(EventSourceResponse):
    """A stream whose seat is free again however it ends, also before its first word."""

    def __init__(
        self, leave: Callable[[], None], events: AsyncIterator[ServerSentEvent], **options: Any
    ) -> None:
        super().__init__(events, **options)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


def _asked(request: Request) -> tuple[EntryFilter, str]:
    """Return which entries are meant, and behind which of them to begin."""
    asked = asked_of(request)
    after = request.headers.get("last-event-id") or asked["after"]
    wanted = EntryFilter(
        source=asked.get("source"),
        kind=asked.get("kind"),
        reason=asked.get("reason"),
        event_id=asked.get("text"),
    )
    return wanted, entry_id(after)


async def _until(
    closing: anyio.Event, seconds: float, entries: AsyncIterator[Entry]
) -> AsyncGenerator[Entry, None]:
    """Yield entries until the server closes, or for so long."""
    ends_at = monotonic() + seconds
    closed = asyncio.ensure_future(closing.wait())
    coming = asyncio.ensure_future(_next(entries))
    try:
        while True:
            left = max(0.0, ends_at - monotonic())
            await asyncio.wait({coming, closed}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if closed.done() or not coming.done():
                return
            yield coming.result()
            coming = asyncio.ensure_future(_next(entries))
    finally:
        for task in (coming, closed):
            task.cancel()
        await asyncio.wait({coming, closed})


async def _next(entries: AsyncIterator[Entry]) -> Entry:
    return await anext(entries)
