"""The history: an observer that keeps what was recorded, and answers questions about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from ...errors import ConfigError
from ...policy import Duration, seconds
from ..record import Record
from .entry import Entries, Entry
from .ledger import EntryFilter, Ledger, open_ledger
from .page import Kept, Page, Pen, page_of, read_page
from .writer import Writer

if TYPE_CHECKING:
    from ...contracts import Store

__all__ = ["History"]

_TRIMMED_AT_ONCE = 200
_PAUSE_BETWEEN_TRIMS = 0.05
_LAST_WRITE = 5.0
_AT_ONCE = 25  # pages
_FOLLOWED_AT_ONCE = 100  # more than are ever written in the same instant
_STORY_BEGINS, _STORY_ENDS = 25, 100  # pages
_OVERLAP = 1.0


class History:
    """Keeps recent deliveries and decisions, for people who ask what happened.

    Pass it as an observer; other processes read it with another ``History`` of the same store::

        history = History("sqlite:///webhooks.db")
        app.add_middleware(WebhookDedup, store=…, sources=[…], observers=[history])

    Records are written in batches behind the events. They are dropped, counted in :attr:`dropped`
    and logged when the store is away for long; no event ever waits for the history.

    Args:
        store: A SQL or Redis store, whose connection is shared, or a URL.
        keep: How long entries are kept.
        most: How many are kept, give or take what comes between two trims and what was written
            together.
        mask_headers: Names of headers whose values are not kept, beside those that look secret.
        bodies: Keep the bodies of deliveries.
        create: Make the table if it is absent. A reader passes ``False``.
        trims: Delete what is too old or too much. A reader passes ``False``, as does a writer where
            another process decides what is kept: ``keep`` and ``most`` mean nothing then.
        room: How many records wait to be written at most.
        every: Seconds for which records are collected into a batch.
        trim_every: Seconds between deletions of what is too old or too much.

    Raises:
        ConfigError: Nothing can be kept there, or a number is out of range.
    """

    def __init__(
        self,
        store: Store | str,
        *,
        keep: Duration = timedelta(days=7),
        most: int = 250_000,
        mask_headers: Iterable[str] = (),
        bodies: bool = False,
        create: bool = True,
        trims: bool = True,
        room: int = 10_000,
        every: Duration = 0.5,
        trim_every: Duration = 30.0,
    ) -> None:
        if most < 1 or room < 1:
            raise ConfigError("a history needs room: most and room must be 1 or more")
        self._store = store
        self._create = create
        self._trims = trims
        self._keep = seconds(keep, "keep")
        self._most = most
        self._ledger: Ledger = open_ledger(store, create=create)
        self._closed = False
        masked = frozenset(name.lower() for name in mask_headers)
        self._writer = Writer(
            Pen(masked, bodies=bodies).pages,
            self._write,
            self._trim,
            room=room,
            every=seconds(every, "every"),
            tidy_every=seconds(trim_every, "trim_every"),
        )

    @property
    def dropped(self) -> int:
        """How many records were dropped since the start of this process."""
        return self._writer.dropped

    def record(self, record: Record) -> None:
        self._writer.take(record)

    async def start(self) -> None:
        """Connect and prepare the table; may be called again, also after :meth:`aclose`.

        Raises:
            ConfigError: It cannot work as configured.
            SchemaError: The table is absent and may not be made, or is of another version.
            StoreUnavailable: The store cannot be reached now; records wait meanwhile.
        """
        self._reopen()
        await self._ledger.start()

    async def flush(self) -> bool:
        """Write what was recorded so far; ``False`` if the store did not take it."""
        return await self._writer.flush()

    async def aclose(self) -> None:
        """Write what is left, and free what was opened here."""
        await self._writer.aclose(_LAST_WRITE)
        self._closed = True
        await self._ledger.aclose()

    async def find(
        self,
        *,
        source: str | None = None,
        reason: str | None = None,
        kind: str | None = None,
        event_id: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
        after: str = "",
        most_pages: int | None = None,
    ) -> Entries:
        """List entries, the latest first, and those of one delivery together.

        Args:
            source: Exactly this one.
            reason: Exactly this one.
            kind: Exactly this one.
            event_id: Text that the event id contains, ASCII letters of either case.
            since: Unix time, included.
            until: Unix time, not included.
            limit: How many at most.
            after: The last id of the page before, or where it stopped.
            most_pages: How many written pages, of up to 200 entries, are looked at at most. When
                there are more, :attr:`Entries.stopped_at` says where to go on.
        """
        wanted = EntryFilter(source, kind, reason, event_id, since, until)
        found = Entries()
        looked_at, last = 0, ""
        async for page in self._below(after, wanted, min(limit + 1, _AT_ONCE)):
            if looked_at == most_pages:
                found.stopped_at = last
                break
            found += [
                entry
                for entry in reversed(read_page(page))
                if wanted.admits(entry) and not entry.id >= after > ""
            ]
            if len(found) >= limit:  # to read a page costs more than to fetch it
                break
            looked_at, last = looked_at + 1, page.id
            await asyncio.sleep(0)  # events come first
        del found[limit:]
        return found

    async def _below(self, after: str, wanted: EntryFilter, at_once: int) -> AsyncIterator[Kept]:
        """Yield pages that may hold what is wanted, the latest first, from an id downwards."""
        below = page_of(after)
        if below != after:  # an entry's: there may be more on its page
            below += "~"
        while pages := await self._ledger.find(wanted, at_once, below):
            for page in pages:
                yield page
            below = pages[-1].id

    async def story(self, event_id: str, source: str | None = None) -> Entries:
        """Tell what is kept about one event id, in the order it happened.

        Of an event with thousands of copies the beginning and the end are told;
        :attr:`Entries.stopped_at` is where the beginning ends.
        """
        pages = await self._ledger.of_event(event_id, _STORY_ENDS)
        begins: Sequence[Kept] = ()
        if len(pages) == _STORY_ENDS:
            asked = await self._ledger.of_event(event_id, _STORY_BEGINS, first=True)
            begins = [page for page in asked if page.id < pages[0].id]
        entries: list[Entry] = []
        for page in (*begins, *pages):
            entries += [
                entry
                for entry in read_page(page)
                if entry.record.event_id == event_id and source in {None, entry.record.source}
            ]
            await asyncio.sleep(0)  # events come first
        entries.sort(key=lambda entry: entry.record.at)
        return Entries(entries, begins[-1].id if len(begins) == _STORY_BEGINS else "")

    async def tail(self, after: str = "", *, every: float = 0.5) -> AsyncIterator[Entry]:
        """Yield entries as they are written, by whatever process, without end.

        Args:
            after: Begin behind this id; without it with what is written from now on.
            every: Seconds between looks.
        """
        async for entry in await self.follow(after, every=every):
            yield entry

    async def follow(self, after: str = "", *, every: float = 0.5) -> AsyncIterator[Entry]:
        """Look up where a :meth:`tail` begins, and return it; it misses nothing written then."""
        last = page_of(after)
        mark = await self._ledger.written(last)
        # Statements that began before others may end behind them, so each look goes back a bit.
        behind = (mark, last or "~")
        seen = {
            page.id: page.written
            async for page in self._written_since(mark - _OVERLAP)
            if (page.written, page.id) <= behind and page.id != last
        }
        return self._told_from(mark, seen, after, every)

    async def _told_from(
        self, mark: float, seen: dict[str, float], after: str, every: float
    ) -> AsyncIterator[Entry]:
        """Yield what is written from a moment on, but for the pages that were seen before it."""
        last = page_of(after)
        while True:
            async for page in self._written_since(mark - _OVERLAP):
                if page.id in seen:
                    continue
                seen[page.id] = page.written
                mark = max(mark, page.written)
                for entry in read_page(page):
                    if page.id != last or entry.id > after:
                        yield entry
            seen = {page_id: at for page_id, at in seen.items() if at >= mark - 2 * _OVERLAP}
            await asyncio.sleep(every)

    async def _written_since(self, begin: float) -> AsyncIterator[Kept]:
        """Yield pages written then or later; some at a border come twice."""
        while True:
            pages = await self._ledger.since(begin, _FOLLOWED_AT_ONCE)
            for page in pages:
                yield page
            if len(pages) < _FOLLOWED_AT_ONCE:
                return
            begin = pages[-1].written

    async def _write(self, pages: Sequence[Page]) -> None:
        self._reopen()
        await self._ledger.write(pages, self._keep if self._trims else None)

    async def _trim(self) -> None:
        """Delete a bit at a time, so that nobody waits long for the ledger."""
        while self._trims:
            trimmed = await self._ledger.trim(self._keep, self._most, _TRIMMED_AT_ONCE)
            if trimmed < _TRIMMED_AT_ONCE:
                return
            await asyncio.sleep(_PAUSE_BETWEEN_TRIMS)

    def _reopen(self) -> None:
        if self._closed:
            self._ledger = open_ledger(self._store, create=self._create)
            self._closed = False
