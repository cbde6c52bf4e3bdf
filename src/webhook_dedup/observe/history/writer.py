"""Takes records on the way of events, and writes them behind it, in batches."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from time import monotonic

from ...errors import WebhookDedupError
from ..record import Record
from .page import Page

__all__ = ["Writer"]

logger = logging.getLogger("webhook_dedup")

_AT_ONCE = 4  # pages in one call of the ledger
_ROOM_BYTES = 32 * 1024 * 1024
_LONGEST_PAUSE = 5.0  # until then what was taken holds on to its deliveries


class Writer:
    """A bounded buffer and the task that empties it. It never makes anybody wait.

    What finds no room, because the ledger is away or slow, is dropped and counted.

    Args:
        pages: Makes pages of records.
        write: Keeps pages; may be repeated.
        tidy: Called now and then, when something was written.
        room: How many records wait at most.
        every: Seconds for which records are collected.
        tidy_every: Seconds between calls of ``tidy``.
    """

    def __init__(
        self,
        pages: Callable[[Iterable[Record]], Iterator[Page]],
        write: Callable[[Sequence[Page]], Awaitable[None]],
        tidy: Callable[[], Awaitable[None]],
        *,
        room: int,
        every: float,
        tidy_every: float,
    ) -> None:
        self.dropped = 0
        self._pages_of = pages
        self._write = write
        self._tidy = tidy
        self._room = room
        self._every = every
        self._tidy_every = tidy_every
        self._tidy_at = 0.0
        self._untidy = False
        self._taken: deque[Record] = deque()
        self._making: Iterator[Page] = iter(())
        self._pages: deque[Page] = deque()
        self._paged = 0  # records that stand on pages
        self._bytes = 0
        self._told_dropped = 0
        self._away = False
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing = asyncio.Lock()

    def take(self, record: Record) -> None:
        """Take a record, or drop it. Called for every record: does no more than it must."""
        if len(self._taken) + self._paged >= self._room:
            self._drop(1)
            return
        self._taken.append(record)
        if self._task is None or self._task.done():
            self._begin()

    def _begin(self) -> None:
        with suppress(RuntimeError):  # outside an event loop: the next record inside one begins
            loop = asyncio.get_running_loop()
            if loop is not self._loop:  # the one before has ended, and with it who held the lock
                self._loop, self._writing = loop, asyncio.Lock()
            self._task = loop.create_task(self._run(), name="webhook_dedup history")

    async def _run(self) -> None:
        """Write until nothing is left; while the ledger is away, try again and again."""
        pause = self._every
        while self._taken or self._pages:
            await asyncio.sleep(pause)  # others come meanwhile
            written = await self.flush()
            pause = self._every if written else min(pause * 2, _LONGEST_PAUSE)

    async def flush(self) -> bool:
        """Write what is there now. False if the ledger did not take it; it is kept then."""
        async with self._writing:
            try:
                await self._write_all()
            except Exception as exc:  # noqa: BLE001 - whatever fails, it is told and tried again
                self._tell_away(exc)
                return False
            self._tell_back()
        return True

    async def aclose(self, timeout: float) -> None:
        """Write what is left within ``timeout`` seconds, and stop."""
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.flush(), timeout)
        left = len(self._taken) + self._paged + sum(page.size for page in self._making)
        if left:
            self._taken.clear()
            self._pages.clear()
            self._paged = self._bytes = 0
            self.dropped += left
            self._told_dropped = self.dropped
            logger.warning("the history ends without %d records: its store is away", left)

    async def _write_all(self) -> None:
        # Only what is there now: what comes meanwhile is collected into the next batch.
        await self._make_pages()
        left = len(self._pages)
        while left > 0:
            part = list(islice(self._pages, min(_AT_ONCE, left)))
            await self._write(part)
            self._untidy = True
            left -= len(part)
            for page in part:
                self._pages.popleft()
                self._paged -= page.size
                self._bytes -= len(page.data)
        if self._untidy and monotonic() >= self._tidy_at:
            self._tidy_at = monotonic() + self._tidy_every
            await self._tidy()
            self._untidy = False

    async def _make_pages(self) -> None:
        """Make pages of what was taken, so that nothing holds on to deliveries and exceptions."""
        taken, self._taken = self._taken, deque()
        # Kept, so that a cancellation in between loses nothing.
        self._making = chain(self._making, self._pages_of(taken))
        for page in self._making:
            if self._bytes + len(page.data) > _ROOM_BYTES:
                self._drop(page.size)
            else:
                self._pages.append(page)
                self._paged += page.size
                self._bytes += len(page.data)
            await asyncio.sleep(0)  # events come first

    def _drop(self, number: int) -> None:
        if self.dropped == self._told_dropped:
            logger.warning("the history is full and drops records until its store keeps up")
        self.dropped += number

    def _tell_away(self, exc: Exception) -> None:
        if not self._away:
            self._away = True
            unforeseen = None if isinstance(exc, WebhookDedupError) else exc
            logger.warning(
                "the history cannot be written; events go on without it: %s",
                exc,
                exc_info=unforeseen,
            )

    def _tell_back(self) -> None:
        lost = self.dropped - self._told_dropped
        if self._away or lost:
            logger.warning("the history is written again; %d records were dropped", lost)
        self._away = False
        self._told_dropped = self.dropped
