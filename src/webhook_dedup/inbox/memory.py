"""Accepted deliveries in this process's memory: gone when the process ends."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..clock import SystemClock
from ..contracts import Clock
from ..errors import StoreUnavailable
from ..model import Item, new_token

__all__ = ["MemoryInbox"]


_STALE_KEPT = 256


@dataclass(slots=True)
class _Row:
    item: Item
    due: float = 0.0  # on the monotonic clock
    begun: bool = False  # an attempt was counted since it was put or taken


class MemoryInbox:
    """Keeps items in a dictionary.

    Args:
        capacity: Items it takes before it refuses more, so that a stuck handler cannot fill the
            memory.
        graves: Dead letters it keeps; the oldest go first.
        clock: Time source.
    """

    durable = False

    def __init__(
        self, *, capacity: int = 10_000, graves: int = 1_000, clock: Clock | None = None
    ) -> None:
        self._capacity = capacity
        self._graves = graves
        self._clock = clock or SystemClock()
        self._rows: dict[str, _Row] = {}
        self._dead: dict[str, Item] = {}
        # (due, id) of every move. A pair whose row has moved on is stale and skipped.
        self._agenda: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """Return how many items are waiting or running."""
        return len(self._rows)

    @property
    def dead(self) -> Sequence[Item]:
        """The dead letters, oldest first."""
        return tuple(self._dead.values())

    async def put(self, item: Item, lease: float) -> None:
        if item.id in self._rows:
            return
        if len(self._rows) >= self._capacity:
            raise StoreUnavailable(f"the inbox in memory is full ({self._capacity} deliveries)")
        self._rows[item.id] = _Row(item)
        self._move(item.id, lease)

    async def take(self, limit: int, lease: float) -> Sequence[Item]:
        taken: list[Item] = []
        while len(taken) < limit and (row := self._pop_due()) is not None:
            row.item = replace(row.item, token=new_token(row.item.id))
            row.begun = False
            self._move(row.item.id, lease)
            taken.append(row.item)
        return taken

    async def renew(self, items: Sequence[Item], lease: float) -> Sequence[bool]:
        rows = [self._held(item) for item in items]
        for row in filter(None, rows):
            self._move(row.item.id, lease)
        return [row is not None for row in rows]

    async def begin(self, item: Item) -> bool:
        row = self._held(item)
        if row is not None:
            row.item = replace(row.item, attempts=row.item.attempts + 1)
            row.begun = True
        return row is not None

    async def done(self, item: Item) -> None:
        self._rows.pop(item.id, None)

    async def retry(self, item: Item, after: float, error: str) -> bool:
        row = self._held(item)
        if row is not None:
            row.item = replace(row.item, errors=(*row.item.errors, error))
            self._move(item.id, after)
        return row is not None

    async def defer(self, item: Item, after: float) -> bool:
        row = self._held(item)
        if row is not None:
            attempts = row.item.attempts - row.begun
            row.item = replace(row.item, deferred=True, attempts=attempts)
            row.begun = False
            self._move(item.id, after)
        return row is not None

    async def bury(self, item: Item, error: str) -> bool:
        row = self._held(item)
        if row is None:
            return False
        del self._rows[item.id]
        self._dead[item.id] = replace(row.item, errors=(*row.item.errors, error))
        while len(self._dead) > self._graves:
            del self._dead[next(iter(self._dead))]
        return True

    async def next_due(self) -> float | None:
        self._skip_stale()
        return max(0.0, self._agenda[0][0] - self._clock.monotonic()) if self._agenda else None

    async def aclose(self) -> None:
        self._rows.clear()
        self._agenda.clear()

    def _held(self, item: Item) -> _Row | None:
        row = self._rows.get(item.id)
        return row if row is not None and row.item.token == item.token else None

    def _move(self, item_id: str, after: float) -> None:
        due = self._clock.monotonic() + after
        self._rows[item_id].due = due
        heapq.heappush(self._agenda, (due, item_id))
        if len(self._agenda) > 2 * len(self._rows) + _STALE_KEPT:
            self._agenda = [(row.due, row.item.id) for row in self._rows.values()]
            heapq.heapify(self._agenda)

    def _pop_due(self) -> _Row | None:
        self._skip_stale()
        if not self._agenda or self._agenda[0][0] > self._clock.monotonic():
            return None
        return self._rows[heapq.heappop(self._agenda)[1]]

    def _skip_stale(self) -> None:
        while self._agenda:
            due, item_id = self._agenda[0]
            row = self._rows.get(item_id)
            if row is not None and row.due == due:
                return
            heapq.heappop(self._agenda)
