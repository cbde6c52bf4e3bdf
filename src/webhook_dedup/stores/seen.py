"""A cache of keys known done, in front of any store."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct

from ..clock import SystemClock
from ..contracts import Clock, Forgetful, Startable, Store, clock_of, never_waits
from ..errors import ConfigError, MissingPower
from ..keys import check_keys
from ..model import Bid, Claim, Outcome, Remembers, Settlement

__all__ = ["SeenCache"]

_LONGEST = 60.0
_LONGEST_KEY = 1024  # so that hostile ids cannot fill the memory; longer ones are not kept


class _Seen(Struct, frozen=True, gc=False):
    """What is known of a key. Thousands are kept for a minute, unseen by the garbage collector.

    Attributes:
        holder: Who completed it.
        first_seen: When it was first seen, if the store tells.
        fingerprint: That of its body.
        gone_at: When it is gone from the store.
        stale_at: When it is stale here.
        settled_here: The fingerprint is the stored one, not only one that agreed.
        replayed: It has a result, so the store must be asked.
    """

    holder: str | None
    first_seen: float | None
    fingerprint: bytes | None
    gone_at: float
    stale_at: float
    settled_here: bool
    replayed: bool


class SeenCache:
    """Answers for keys known done without asking the store behind it.

    Known are the keys completed through this cache, and those the store called done and told how
    long they will stay so, except those with a result, which only the store replays. What the cache
    says is what the store would have said. A key that a person has another process forget is still
    called done here, for at most ``seconds``.

    Args:
        store: The store behind it. It is started and closed with the cache.
        size: Keys kept at most; the eldest goes first and is asked of the store again.
        seconds: How long a key is kept, at most 60.
        clock: Time source; that of the store unless given, or of this machine if it has none.

    Raises:
        ConfigError: ``size`` or ``seconds`` is out of range.
    """

    def __init__(
        self,
        store: Store,
        *,
        size: int = 10_000,
        seconds: float = _LONGEST,
        clock: Clock | None = None,
    ) -> None:
        if size < 1:
            raise ConfigError(f"size={size!r}: give a seen-cache room for at least 1 key")
        if not 0 < seconds <= _LONGEST:
            raise ConfigError(f"seconds={seconds!r}: give more than 0 and at most {_LONGEST:g}")
        self.store = store
        self.name = store.name
        self.remembers = store.remembers
        self.never_waits = never_waits(store)
        self._size = size
        self._seconds = seconds
        self._clock = clock or clock_of(store) or SystemClock()
        # The eldest first. In a plain dict it gets slow to find where many before it were removed.
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._compares = Remembers.FINGERPRINT in store.remembers
        self._forgotten = 0

    def __len__(self) -> int:
        """Return how many keys are kept, stale ones included."""
        return len(self._seen)

    async def start(self) -> None:
        """Start the store behind it."""
        if isinstance(self.store, Startable):
            await self.store.start()

    def peek(self, key: str, fingerprint: bytes | None = None, token: str = "") -> Claim | None:
        """Answer a bid without I/O if the key is known done; ``None`` means the store must say.

        Args:
            key: The key as text.
            fingerprint: As in :class:`~webhook_dedup.model.Bid`.
            token: Goes into the answer. Nothing is ever claimed here.
        """
        seen = self._seen.get(key)
        if seen is None:
            return None
        now = self._clock.monotonic()
        if seen.stale_at <= now:
            del self._seen[key]
            return None
        outcome = self._outcome(seen, fingerprint)
        if outcome is None or seen.replayed:
            return None
        return Claim(
            key=key,
            token=token,
            outcome=outcome,
            fingerprint=fingerprint,
            first_seen=seen.first_seen,
            remaining=seen.gone_at - now,
            done=True,
            holder=seen.holder,
        )

    def _outcome(self, seen: _Seen, fingerprint: bytes | None) -> Outcome | None:
        known = seen.fingerprint
        if not self._compares or fingerprint is None or fingerprint == known:
            return Outcome.DUPLICATE
        if not seen.settled_here:
            return None
        return Outcome.DUPLICATE if known is None else Outcome.MISMATCH

    async def claim(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        keys = [bid.key for bid in bids]
        check_keys(keys)
        if self._seen.keys().isdisjoint(keys):
            return await self._ask(bids)
        answers = [self.peek(bid.key, bid.fingerprint, bid.token) for bid in bids]
        unknown = [bid for bid, given in zip(bids, answers, strict=True) if given is None]
        told = iter(await self._ask(unknown) if unknown else ())
        return [next(told) if given is None else given for given in answers]

    async def _ask(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        now, forgotten = self._clock.monotonic(), self._forgotten
        claims = await self.store.claim(bids)
        if forgotten == self._forgotten:
            for claim in claims:
                # A mismatch is not kept, as it does not tell the stored fingerprint.
                if claim.outcome is Outcome.DUPLICATE:
                    self._learn(claim, now)
        return claims

    def _learn(self, claim: Claim, now: float) -> None:
        """Keep a key the store calls done, if it told how long it will stay so."""
        if claim.remaining > 0 and claim.result is None:
            gone_at, stale_at = now + claim.remaining, now + min(claim.remaining, self._seconds)
            first_seen, fingerprint = claim.first_seen, claim.fingerprint
            seen = _Seen(claim.holder, first_seen, fingerprint, gone_at, stale_at, False, False)
            self._keep(claim.key, seen)

    async def complete(self, done: Sequence[Settlement]) -> Sequence[bool]:
        now, forgotten = self._clock.monotonic(), self._forgotten
        answers = await self.store.complete(done)
        for settlement, completed in zip(done, answers, strict=True):
            if not completed:
                self._seen.pop(settlement.claim.key, None)
            elif forgotten == self._forgotten:
                self._settle(settlement, now)
        return answers

    def _settle(self, settlement: Settlement, now: float) -> None:
        claim, ttl = settlement.claim, settlement.ttl
        known = self._seen.get(claim.key)
        # A repeated completion neither begins the TTL anew nor changes the result.
        if known is None or known.holder != claim.token:
            gone_at, stale_at = now + ttl, now + min(ttl, self._seconds)
            first_seen, fingerprint = claim.first_seen, claim.fingerprint
            replayed = settlement.result is not None
            seen = _Seen(claim.token, first_seen, fingerprint, gone_at, stale_at, True, replayed)
            self._keep(claim.key, seen)

    def _keep(self, key: str, seen: _Seen) -> None:
        if len(key) > _LONGEST_KEY:
            return
        self._seen[key] = seen
        self._seen.move_to_end(key)
        if len(self._seen) > self._size:
            self._seen.popitem(last=False)

    async def release(self, claims: Sequence[Claim]) -> Sequence[bool]:
        return await self.store.release(claims)

    async def renew(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        return await self.store.renew(claims, lease)

    async def forget(self, key: str) -> bool:
        """Make a key absent here and in the store behind.

        Raises:
            MissingPower: The store behind cannot forget a single key.
        """
        if not isinstance(self.store, Forgetful):
            raise MissingPower(f"the {self.name} store cannot forget a single key")
        try:
            return await self.store.forget(key)
        finally:
            # Last, and answers under way are not kept, as they may be from before.
            self._seen.pop(key, None)
            self._forgotten += 1

    def doubt(self, key: str) -> None:
        """Leave the next bid for a key to the store."""
        self._seen.pop(key, None)

    async def aclose(self) -> None:
        """Forget everything and close the store behind it."""
        self._seen.clear()
        await self.store.aclose()
