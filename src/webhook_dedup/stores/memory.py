"""Claims in this process's memory: exact, fast, gone when the process ends."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import inf
from threading import Lock

from ..clock import SystemClock
from ..contracts import Clock
from ..keys import check_keys
from ..model import Bid, Claim, Remembers, Settlement
from .entry import Entry, answer, sight

__all__ = ["MemoryStore"]

_SWEEP_PER_CALL = 64


class _Entry(Entry, gc=False):
    queued_at: float = inf  # when the sweep looks at it; never later than it expires


class MemoryStore:
    """Keeps claims in a dictionary. For one process: tests, demos, single-worker apps.

    Args:
        clock: Time source; tests pass :class:`webhook_dedup.testing.FakeClock`.
    """

    name = "memory"
    remembers = Remembers.ALL
    never_waits = True

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self._entries: dict[str, _Entry] = {}
        # (queued_at, key). An entry has one pair; a pair that its entry does not know is stale.
        self._queue: list[tuple[float, str]] = []
        # It serves any event loop, and so those of several threads at a time.
        self._lock = Lock()

    def __len__(self) -> int:
        """Return how many keys are kept, expired ones not yet swept included."""
        return len(self._entries)

    async def claim(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        check_keys(bid.key for bid in bids)
        with self._lock:
            now = self.clock.monotonic()
            self._sweep(now, len(bids))
            return [self._claim(bid, now) for bid in bids]

    def _claim(self, bid: Bid, now: float) -> Claim:
        entry = self._live(bid.key, now)
        if entry is None:
            entry = _Entry(bid.token, now + bid.lease, self.clock.time(), bid.fingerprint)
            self._entries[bid.key] = entry
            self._enqueue(bid.key, entry)
        return answer(entry, bid, now)

    async def complete(self, done: Sequence[Settlement]) -> Sequence[bool]:
        check_keys(settlement.key for settlement in done)
        with self._lock:
            now = self.clock.monotonic()
            return [self._complete(settlement, now) for settlement in done]

    def _complete(self, settlement: Settlement, now: float) -> bool:
        claim = settlement.claim
        entry = self._live(claim.key, now)
        if entry is None:
            first_seen = claim.first_seen if claim.first_seen is not None else self.clock.time()
            entry = _Entry(claim.token, now, first_seen, claim.fingerprint)
            self._entries[claim.key] = entry
        elif entry.token != claim.token:
            return False
        if not entry.done:
            entry.done, entry.result = True, settlement.result
            entry.expires_at = now + settlement.ttl
            self._enqueue(claim.key, entry)
        return True

    async def release(self, claims: Sequence[Claim]) -> Sequence[bool]:
        check_keys(claim.key for claim in claims)
        with self._lock:
            now = self.clock.monotonic()
            return [self._release(claim, now) for claim in claims]

    def _release(self, claim: Claim, now: float) -> bool:
        entry = self._live(claim.key, now)
        if entry is None:
            return True
        if entry.token != claim.token or entry.done:
            return False
        del self._entries[claim.key]
        return True

    async def renew(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        check_keys(claim.key for claim in claims)
        with self._lock:
            now = self.clock.monotonic()
            return [self._renew(claim, lease, now) for claim in claims]

    def _renew(self, claim: Claim, lease: float, now: float) -> bool:
        entry = self._live(claim.key, now)
        if entry is None or entry.done or entry.token != claim.token:
            return False
        entry.expires_at = now + lease
        self._enqueue(claim.key, entry)
        return True

    async def look(self, keys: Sequence[str]) -> Sequence[Claim | None]:
        check_keys(keys)
        with self._lock:
            now = self.clock.monotonic()
            live = ((key, self._live(key, now)) for key in keys)
            return [None if entry is None else sight(key, entry, now) for key, entry in live]

    async def forget(self, key: str) -> bool:
        with self._lock:
            live = self._live(key, self.clock.monotonic())
            self._entries.pop(key, None)
            return live is not None

    async def aclose(self) -> None:
        with self._lock:
            self._entries.clear()
            self._queue.clear()

    def _live(self, key: str, now: float) -> _Entry | None:
        entry = self._entries.get(key)
        return entry if entry is not None and entry.expires_at > now else None

    def _enqueue(self, key: str, entry: _Entry) -> None:
        """Have the sweep look at an entry when it expires, or earlier if it already will."""
        if entry.expires_at < entry.queued_at:
            entry.queued_at = entry.expires_at
            heapq.heappush(self._queue, (entry.queued_at, key))

    def _sweep(self, now: float, arriving: int) -> None:
        """Drop what has expired, a bounded share a call but more than arrives."""
        for _ in range(max(_SWEEP_PER_CALL, 3 * arriving)):
            if not self._queue or self._queue[0][0] > now:
                return
            queued_at, key = heapq.heappop(self._queue)
            entry = self._entries.get(key)
            if entry is None or entry.queued_at != queued_at:
                continue
            if entry.expires_at <= now:
                del self._entries[key]
            else:
                entry.queued_at = inf
                self._enqueue(key, entry)
