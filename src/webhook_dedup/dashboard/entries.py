"""Tells what has become of deliveries, from entries that were read in passing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

from ..observe.history import Entry, History
from .arrival import Arrival, State, arrival_of, entries_of

__all__ = ["AROUND", "EntriesByDelivery", "around"]

AROUND = 120.0
"""Seconds after its arrival in which most of what is recorded of a delivery is recorded."""

_MOST_AROUND = 500
_STORIES_AT_ONCE = 4
_BATCH = "batch:"
_FINAL = {State.HANDLED, State.SKIPPED, State.REJECTED}


class EntriesByDelivery:
    """Entries of a history, read from the latest on, by delivery.

    To ask for the story of one event is to search the whole history, so it is asked only where
    something may have happened later than what was read.

    Args:
        history: Whose entries they are.
        whole: Whether it is read from its latest entry on and nothing is left out.
    """

    def __init__(self, history: History, *, whole: bool) -> None:
        self._history = history
        self._whole = whole
        self._entries: defaultdict[object, dict[str, Entry]] = defaultdict(dict)
        self._listed: set[object] = set()

    def add(self, entries: Iterable[Entry]) -> None:
        """Take entries, in any order; some may come twice."""
        for entry in entries:
            self._entries[_whose(entry)][entry.id] = entry

    def first(self, mark: Entry) -> bool:
        """Whether its delivery was not asked about before; each call of a function is new."""
        which = mark.record.delivery_id or mark.id
        new = which not in self._listed
        self._listed.add(which)
        return new

    async def told(self, marks: Sequence[Entry]) -> list[Arrival]:
        """Tell of the deliveries and calls that these entries mark."""
        room = asyncio.Semaphore(_STORIES_AT_ONCE)

        async def tell(mark: Entry) -> Arrival:
            arrival = arrival_of(mark, entries_of(mark, self._read(mark)))
            if self._whole or arrival.state in _FINAL:
                return arrival
            async with room:
                return arrival_of(mark, entries_of(mark, await self._asked(mark)))

        return list(await asyncio.gather(*map(tell, marks)))

    def _read(self, mark: Entry) -> list[Entry]:
        entries = self._entries[_whose(mark)].values()
        return sorted(entries, key=lambda entry: (entry.record.at, entry.id))

    async def _asked(self, mark: Entry) -> Sequence[Entry]:
        record = mark.record
        if record.event_id is None:
            return [mark]
        if record.event_id.startswith(_BATCH):
            return await around(self._history, mark)
        story = await self._history.story(record.event_id, record.source)
        return [entry for entry in story if entry.record.tenant == record.tenant]


def _whose(entry: Entry) -> object:
    record = entry.record
    return record.delivery_id or (record.source, record.tenant, record.event_id)


async def around(history: History, mark: Entry) -> list[Entry]:
    """Return what was recorded of a delivery soon after it came, under whatever event id.

    Runs and skips of a batch are recorded under the ids of its items.
    """
    record = mark.record
    found = await history.find(
        source=record.source, since=record.at, until=record.at + AROUND, limit=_MOST_AROUND
    )
    return [entry for entry in reversed(found) if entry.record.delivery_id == record.delivery_id]
