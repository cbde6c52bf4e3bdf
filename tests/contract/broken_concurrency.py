"""Stores with one fault each that only shows when calls meet."""

import asyncio

from webhook_dedup.stores.memory import MemoryStore

from .faults import caught_by


@caught_by("test_one_of_many_claims_is_fresh", "test_overlapping_batches_do_not_deadlock")
class GetThenSet(MemoryStore):
    """Looks first and writes later."""

    async def claim(self, bids):
        now = self.clock.monotonic()
        absent = [bid for bid in bids if self._live(bid.key, now) is None]
        await asyncio.sleep(0)
        for bid in absent:
            self._entries.pop(bid.key, None)
        return await super().claim(bids)


@caught_by(
    "test_one_of_many_takes_over_an_expired_claim",
    "test_one_of_many_takes_over_an_expired_done_key",
)
class GetThenTakeOver(MemoryStore):
    """Is atomic for new keys only; an expired one is looked at first and deleted later."""

    async def claim(self, bids):
        now = self.clock.monotonic()
        expired = [
            bid.key for bid in bids if bid.key in self._entries and not self._live(bid.key, now)
        ]
        if expired:
            await asyncio.sleep(0)
        for key in expired:
            self._entries.pop(key, None)
        return await super().claim(bids)


@caught_by("test_cancelled_caller_leaves_the_store_usable")
class HoldsUntilReleased(MemoryStore):
    """Keeps a lock over an await and loses it to a cancellation."""

    def __init__(self, **options):
        super().__init__(**options)
        self._turn = asyncio.Lock()

    async def claim(self, bids):
        await self._turn.acquire()
        await asyncio.sleep(0)
        self._turn.release()
        return await super().claim(bids)


@caught_by("test_overlapping_batches_do_not_deadlock", "test_overlapping_releases_do_not_deadlock")
class LocksInTheOrderAsked(MemoryStore):
    """Locks row after row, so that batches in opposite orders wait for each other."""

    def __init__(self, **options):
        super().__init__(**options)
        self._locks = {}

    async def claim(self, bids):
        await self._lock_all(bids)
        return await super().claim(bids)

    async def release(self, claims):
        await self._lock_all(claims)
        return await super().release(claims)

    async def _lock_all(self, keyed):
        keys = dict.fromkeys(each.key for each in keyed)
        locks = [self._locks.setdefault(key, asyncio.Lock()) for key in keys]
        for lock in locks:
            await lock.acquire()
            await asyncio.sleep(0)
        for lock in locks:
            lock.release()


@caught_by("test_one_of_many_late_workers_completes")
class GetThenComplete(MemoryStore):
    """Looks who holds the key first and marks it done later."""

    async def complete(self, done):
        now = self.clock.monotonic()
        free = [each.key for each in done if self._live(each.key, now) is None]
        await asyncio.sleep(0)
        for key in free:
            self._entries.pop(key, None)
        return await super().complete(done)
