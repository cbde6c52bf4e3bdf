"""Inboxes with one fault each that only shows when calls meet."""

import asyncio

from webhook_dedup.inbox.memory import MemoryInbox, _Row

from .faults import caught_by


@caught_by("test_every_item_is_taken_once")
class GetThenTake(MemoryInbox):
    """Looks what is due first and holds it later."""

    async def take(self, limit, lease):
        now = self._clock.monotonic()
        due = self._schedule.pop_due(now, limit, bool)
        for each in due:
            self._schedule.move(each, now)
        await asyncio.sleep(0)
        return [self._hand_over(each, lease) for each in due]


@caught_by("test_one_of_many_puts_is_recorded")
class GetThenPut(MemoryInbox):
    """Looks whether an item is known first and writes it later, each copy beside the others."""

    def __init__(self, **options):
        super().__init__(**options)
        self._tokens = {}

    async def put(self, items, lease):
        for item in items:
            if self._row(item.id) is None:
                await asyncio.sleep(0)
                self._tokens.setdefault(item.id, set()).add(item.token)
        await super().put(items, lease)

    def _held(self, item):
        known = item.token in self._tokens.get(item.id, ())
        return self._rows.get(item.id) if known else super()._held(item)


@caught_by("test_repetitions_at_once_count_once")
class GetThenBegin(MemoryInbox):
    """Looks whether an attempt was counted first and counts it later."""

    async def begin(self, items):
        begun = [row is not None and row.begun for row in map(self._held, items)]
        await asyncio.sleep(0)
        for item, was_begun in zip(items, begun, strict=True):
            row = self._held(item)
            if row is not None:
                row.begun = was_begun
        return await super().begin(items)


@caught_by("test_overlapping_batches_do_not_deadlock")
class LocksInTheOrderAsked(MemoryInbox):
    """Locks row after row, so that batches in opposite orders wait for each other."""

    def __init__(self, **options):
        super().__init__(**options)
        self._locks = {}

    async def renew(self, items, lease):
        locks = [self._locks.setdefault(item.id, asyncio.Lock()) for item in items]
        for lock in locks:
            await lock.acquire()
            await asyncio.sleep(0)
        for lock in locks:
            lock.release()
        return await super().renew(items, lease)


@caught_by("test_cancelled_caller_leaves_the_inbox_usable")
class HoldsUntilReleased(MemoryInbox):
    """Keeps a lock over an await and loses it to a cancellation."""

    _lock = None

    async def put(self, items, lease):
        self._lock = self._lock or asyncio.Lock()
        await self._lock.acquire()
        await asyncio.sleep(0)
        self._lock.release()
        await super().put(items, lease)


@caught_by("test_cancelled_caller_leaves_the_inbox_usable")
class NotesThenMoves(MemoryInbox):
    """Adds an attempt in one step and ends the hold in another."""

    async def retry(self, item, after, attempt):
        row = self._rows.get(item.id)
        if row is not None and row.held and row.item.token == item.token:
            row.fail(attempt)
            row.held = True
            await asyncio.sleep(0)
            row.held = False
            self._move(item.id, after)
            return True
        return await super().retry(item, after, attempt)


@caught_by("test_cancelled_taker_loses_nothing")
class RemovesThenHandsOver(MemoryInbox):
    """Takes items off the schedule before it is sure of whom they go to."""

    async def take(self, limit, lease):
        due = self._schedule.pop_due(self._clock.monotonic(), limit, bool)
        rows = {each: self._rows.pop(each) for each in due}
        await asyncio.sleep(0)
        self._rows.update({each: _Row(row.item) for each, row in rows.items()})
        return [self._hand_over(each, lease) for each in due]
