"""Lists deliveries, a page at a time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

from ..admin.lookup import Storage
from ..contracts import Sought
from ..errors import SchemaError
from ..observe.history import Entries, Entry, History
from ..observe.record import Kind
from .arrival import Arrival, State, arrival_of_item, kinds_of
from .entries import AROUND, EntriesByDelivery

__all__ = ["DeliveryFilter", "Listing", "entry_id", "found_in_inbox", "listed"]

PER_PAGE = 50
_AT_ONCE = 250
_MOST_LOOKED_AT = 5_000
_MOST_PAGES = 200
_TIME = 16  # digits of an id that tell when
_IN_INBOX: dict[State | None, Literal["waiting", "dead"]] = {
    State.WAITING: "waiting",
    State.DEAD: "dead",
}
# By which of its entries a delivery in this state is found.
_MARKS: dict[State | None, Sequence[Kind]] = {
    state: kinds_of(state) for state in (State.HANDLED, State.SKIPPED, State.FAILED, State.REJECTED)
}
_ENTRY_ID = re.compile(r"[0-9a-f]{16,64}")
_CALLS = {Kind.REJECTED, Kind.STARTED, Kind.SKIPPED}


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries are meant. What is ``None`` admits everything.

    Attributes:
        source: Name of the source.
        state: How it stands.
        reason: Why it was skipped, put off or rejected.
        age: Not older than this many seconds.
        text: What the event id contains.
        error: What the last error contains; of what waits or is dead.
    """

    source: str | None = None
    state: State | None = None
    reason: str | None = None
    age: float | None = None
    text: str | None = None
    error: str | None = None

    @property
    def marked(self) -> bool:
        """Whether deliveries are found by entries other than their first."""
        return self.reason is not None or self.state in _MARKS

    def marks(self, entry: Entry) -> bool:
        """Whether a delivery is listed by this entry."""
        record = entry.record
        if self.marked:
            return True
        calls = record.delivery_id is None
        return record.kind in _CALLS if calls else record.kind is Kind.RECEIVED

    @property
    def sought(self) -> Sought:
        """What of it an inbox can be asked for."""
        return Sought(
            source=self.source,
            state=_IN_INBOX.get(self.state),
            younger_than=self.age,
            error=self.error,
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """Some of the deliveries.

    Attributes:
        arrivals: In their order.
        after: Where the next page begins, or where to look on; empty if there is nothing more.
        newest_first: Whether the order is that.
        no_inbox: Why there is no inbox to list from; empty if there is one, or none is asked.
    """

    arrivals: Sequence[Arrival]
    after: str = ""
    newest_first: bool = True
    no_inbox: str = ""


async def listed(storage: Storage, wanted: DeliveryFilter, after: str = "") -> Listing:
    """List a page of deliveries.

    What waits and what is dead is read from the inbox, which alone knows for certain; the rest
    from the history. Without a history the inbox is all there is.
    """
    if wanted.state in _IN_INBOX or storage.history is None:
        return await _from_inbox(storage, wanted, after)
    return await _from_history(storage.history, wanted, entry_id(after))


def entry_id(text: str) -> str:
    """Return text that may be the id of an entry, else nothing: addresses can be edited."""
    return text if _ENTRY_ID.fullmatch(text) else ""


async def _from_inbox(storage: Storage, wanted: DeliveryFilter, after: str) -> Listing:
    if wanted.state not in {None, *_IN_INBOX} or wanted.reason is not None:
        return Listing(())  # only a history knows
    return await found_in_inbox(storage, wanted, after, most=PER_PAGE)


async def found_in_inbox(
    storage: Storage, wanted: DeliveryFilter, after: str, *, most: int
) -> Listing:
    """Find what waits or is dead as wanted, the first received first; look at some thousands."""
    text = (wanted.text or "").casefold()
    found: list[Arrival] = []
    for _ in range(_MOST_LOOKED_AT // PER_PAGE):
        try:
            page = await storage.inbox.find(wanted.sought, limit=PER_PAGE, after=after)
        except SchemaError as exc:  # the rest of its message is for those who write the app
            why = str(exc).partition(";")[0]
            return Listing(found, newest_first=False, no_inbox=why)
        for item in page:
            if text in item.event_id.casefold():
                if len(found) == most:
                    return Listing(found, found[-1].mark, newest_first=False)
                found.append(arrival_of_item(item))
        if len(page) < PER_PAGE:
            return Listing(found, newest_first=False)
        after = page[-1].id
    return Listing(found, after, newest_first=False)


async def _from_history(history: History, wanted: DeliveryFilter, after: str) -> Listing:
    found: list[Arrival] = []
    gathered = EntriesByDelivery(history, whole=not (after or wanted.marked or wanted.text))
    if after:
        gathered.add(await _just_above(history, wanted, after))
    for _ in range(_MOST_LOOKED_AT // _AT_ONCE):
        entries = await _entries(history, wanted, after)
        gathered.add(entries)
        marks = [entry for entry in entries if wanted.marks(entry) and gathered.first(entry)]
        for some in _chunks(marks, PER_PAGE):
            told = await gathered.told(some)
            found += [each for each in told if wanted.state in {None, each.state}]
            if len(found) > PER_PAGE:
                return Listing(found[:PER_PAGE], found[PER_PAGE - 1].mark)
        if len(entries) < _AT_ONCE:
            return Listing(found, entries.stopped_at)
        after = entries[-1].id
    return Listing(found, after)


async def _entries(history: History, wanted: DeliveryFilter, after: str) -> Entries:
    kinds: list[str | None] = [kind.value for kind in _MARKS.get(wanted.state, ())]
    since = None if wanted.age is None else time.time() - wanted.age
    found = [
        await history.find(
            source=wanted.source,
            reason=wanted.reason,
            kind=kind,
            event_id=wanted.text,
            since=since,
            limit=_AT_ONCE,
            after=after,
            most_pages=_MOST_PAGES,
        )
        for kind in kinds or [None]
    ]
    end = max(each.stopped_at for each in found)
    together = sorted(chain(*found), key=lambda entry: entry.id, reverse=True)
    # Below the highest end some kinds were not looked for.
    return Entries([entry for entry in together if entry.id >= end][:_AT_ONCE], end)


async def _just_above(history: History, wanted: DeliveryFilter, after: str) -> Sequence[Entry]:
    """Return what was recorded soon after the place where a page begins."""
    if wanted.marked:
        return ()
    begin = int(after[:_TIME], 16) / 1_000_000
    return await history.find(
        source=wanted.source,
        event_id=wanted.text,
        since=begin,
        until=begin + AROUND,
        limit=_AT_ONCE,
    )


def _chunks(entries: Iterable[Entry], length: int) -> Iterator[list[Entry]]:
    rest = iter(entries)
    while some := list(islice(rest, length)):
        yield some
