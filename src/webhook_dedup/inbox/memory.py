"""Accepted deliveries in this process's memory: gone when the process ends."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..clock import SystemClock
from ..contracts import Clock, Sought
from ..errors import StoreUnavailable
from ..model import Attempt, Item, new_token
from .schedule import Schedule

__all__ = ["MemoryInbox"]


class _Row(Struct, gc=False):
    item: Item
    held: bool = True  # until a retry or a burial; from then on the token can only repeat it
    begun: bool = False  # an attempt was counted during this hold

    def fail(self, attempt: Attempt) -> None:
        """End the hold with a failed attempt."""
        history, cut_off = (*self.item.history, attempt), self.item.cut_off - self.begun
        self.item = replace(self.item, history=history, cut_off=cut_off)
        self.held = self.begun = False


class MemoryInbox:
    """Keeps items in a dictionary.

    Args:
        capacity: Waiting items it takes before it refuses more, so that a stuck handler cannot
            fill the memory. A batch that does not fit is refused as a whole.
        graves: Dead letters it keeps; the first buried go first.
        clock: Time source; tests pass :class:`webhook_dedup.testing.FakeClock`.
    """

    name = "memory"
    durable = False
    never_waits = True

    def __init__(
        self, *, capacity: int = 10_000, graves: int = 1_000, clock: Clock | None = None
    ) -> None:
        self._capacity = capacity
        self._clock = clock or SystemClock()
        self._rows: dict[str, _Row] = {}
        self._graves = _Graves(graves)
        self._schedule = Schedule()

    def __len__(self) -> int:
        """Return how many items are waiting or running."""
        return len(self._rows)

    async def put(self, items: Sequence[Item], lease: float) -> None:
        new = [item for item in items if self._row(item.id) is None]
        if len(self._rows) + len(new) > self._capacity:
            raise StoreUnavailable(f"the inbox in memory is full ({self._capacity} deliveries)")
        for item in new:
            self._rows[item.id] = _Row(item)
            self._move(item.id, lease)

    async def take(
        self, limit: int, lease: float, *, sources: Collection[str] | None = None
    ) -> Sequence[Item]:
        def is_wanted(item_id: str) -> bool:
            return sources is None or self._rows[item_id].item.delivery.source in sources

        due = self._schedule.pop_due(self._clock.monotonic(), limit, is_wanted)
        return [self._hand_over(item_id, lease) for item_id in due]

    def _hand_over(self, item_id: str, lease: float) -> Item:
        item = replace(self._rows[item_id].item, token=new_token(item_id))
        self._rows[item_id] = _Row(item)
        self._move(item_id, lease)
        return item

    async def renew(self, items: Sequence[Item], lease: float) -> Sequence[bool]:
        return [self._renew(item, lease) for item in items]

    def _renew(self, item: Item, lease: float) -> bool:
        row = self._held(item)
        if row is not None:
            self._move(item.id, lease)
        return row is not None

    async def begin(self, items: Sequence[Item]) -> Sequence[bool]:
        return [self._begin(item) for item in items]

    def _begin(self, item: Item) -> bool:
        row = self._held(item)
        if row is not None and not row.begun:
            attempts, cut_off = row.item.attempts + 1, row.item.cut_off + 1
            row.item = replace(row.item, attempts=attempts, cut_off=cut_off)
            row.begun = True
        return row is not None

    async def done(self, items: Sequence[Item]) -> None:
        for item in items:
            self._remove(item.id)
            for sibling in self._graves.of_key(item.key):
                self._graves.pop(sibling)

    async def retry(self, item: Item, after: float, attempt: Attempt) -> bool:
        row = self._rows.get(item.id)
        if row is None or row.item.token != item.token:
            return False
        if row.held:
            row.fail(attempt)
            self._move(item.id, after)
        return True

    async def defer(self, item: Item, after: float) -> bool:
        row = self._held(item)
        if row is not None:
            attempts, cut_off = row.item.attempts - row.begun, row.item.cut_off - row.begun
            row.item = replace(row.item, deferred=True, attempts=attempts, cut_off=cut_off)
            row.begun = False
            self._move(item.id, after)
        return row is not None

    async def bury(self, item: Item, attempt: Attempt) -> bool:
        row = self._held(item)
        if row is not None:
            self._bury(row, attempt)
            return True
        grave = self._graves.get(item.id)
        return grave is not None and grave.item.token == item.token

    async def next_due(self) -> float | None:
        first = self._schedule.first()
        return None if first is None else max(0.0, first - self._clock.monotonic())

    async def find(self, sought: Sought, *, limit: int = 100, after: str = "") -> Sequence[Item]:
        last = self._row(after)
        begin = _place(last.item) if last is not None else None
        found = sorted(self._admitted(sought), key=_place)
        return [item for item in found if begin is None or _place(item) > begin][:limit]

    async def get(self, item_id: str) -> Item | None:
        row = self._row(item_id)
        return None if row is None else row.item

    async def requeue(self, item_ids: Sequence[str]) -> int:
        rows = list(filter(None, map(self._row, item_ids)))
        for row in rows:
            item = row.item
            self._graves.pop(item.id)
            self._rows[item.id] = _Row(
                replace(
                    item,
                    token=new_token(item.id),
                    attempts=0,
                    cut_off=0,
                    deferred=False,
                    dead=False,
                )
            )
            self._move(item.id, 0.0)
        return len(rows)

    async def shelve(self, item_ids: Sequence[str], reason: str) -> int:
        rows = list(filter(None, map(self._rows.get, item_ids)))
        for row in rows:
            row.item = replace(row.item, token=new_token(row.item.id))
            self._bury(row, Attempt(self._clock.time(), "", 0.0, reason))
        return len(rows)

    async def purge(self, item_ids: Sequence[str]) -> int:
        return sum(self._remove(item_id) for item_id in item_ids)

    async def count(self, sought: Sought) -> int:
        return sum(1 for _ in self._admitted(sought))

    async def aclose(self) -> None:
        self._rows.clear()
        self._graves.clear()
        self._schedule.clear()

    def _row(self, item_id: str) -> _Row | None:
        return self._rows.get(item_id) or self._graves.get(item_id)

    def _held(self, item: Item) -> _Row | None:
        row = self._rows.get(item.id)
        return row if row is not None and row.held and row.item.token == item.token else None

    def _move(self, item_id: str, after: float) -> None:
        self._schedule.move(item_id, self._clock.monotonic() + after)

    def _bury(self, row: _Row, attempt: Attempt) -> None:
        row.fail(attempt)
        row.item = replace(row.item, dead=True)
        self._remove(row.item.id)
        self._graves.add(row)

    def _remove(self, item_id: str) -> bool:
        self._schedule.drop(item_id)
        waiting, dead = self._rows.pop(item_id, None), self._graves.pop(item_id)
        return (waiting or dead) is not None

    def _admitted(self, sought: Sought) -> Iterable[Item]:
        now = self._clock.time()
        rows = (*self._rows.values(), *self._graves.rows())
        return (row.item for row in rows if _admits(sought, row.item, now))


class _Graves:
    """Dead rows, the first buried first, and which of them share a key."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: dict[str, _Row] = {}
        self._by_key: dict[str, set[str]] = {}

    def add(self, row: _Row) -> None:
        self._rows[row.item.id] = row
        if row.item.key:
            self._by_key.setdefault(row.item.key, set()).add(row.item.id)
        while len(self._rows) > self._limit:
            self.pop(next(iter(self._rows)))

    def get(self, item_id: str) -> _Row | None:
        return self._rows.get(item_id)

    def of_key(self, key: str) -> Sequence[str]:
        return tuple(self._by_key.get(key, ()))

    def pop(self, item_id: str) -> _Row | None:
        row = self._rows.pop(item_id, None)
        if row is not None and row.item.key:
            siblings = self._by_key[row.item.key]
            siblings.discard(item_id)
            if not siblings:
                del self._by_key[row.item.key]
        return row

    def rows(self) -> Iterable[_Row]:
        return self._rows.values()

    def clear(self) -> None:
        self._rows.clear()
        self._by_key.clear()


def _place(item: Item) -> tuple[float, str]:
    return item.delivery.received_at, item.id


def _admits(sought: Sought, item: Item, now: float) -> bool:
    age = now - item.delivery.received_at
    return (
        sought.source in {None, item.delivery.source}
        and sought.event_id in {None, item.event_id}
        and sought.state in {None, "dead" if item.dead else "waiting"}
        and (sought.older_than is None or age >= sought.older_than)
        and (sought.younger_than is None or age <= sought.younger_than)
        and (sought.error is None or _failed_with(item, sought.error))
    )


def _failed_with(item: Item, text: str) -> bool:
    return bool(item.history) and text.casefold() in item.history[-1].error.casefold()
