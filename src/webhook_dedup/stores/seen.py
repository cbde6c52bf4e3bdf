"""A cache of keys known done, in front of any store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..clock import SystemClock
from ..contracts import Clock, Forgetful, Startable, Store, never_waits
from ..errors import ConfigError, MissingPower
from ..keys import check_keys
from ..model import Bid, Claim, Outcome, Remembers, Settlement

__all__ = ["SeenCache"]

_LONGEST = 60.0
_LONGEST_KEY = 1024  # so that hostile ids cannot fill the memory; longer ones are not kept


@dataclass(slots=True)
class _Seen:
    holder: str | None
    first_seen: float | None
    fingerprint: bytes | None
    gone_at: float
    stale_at: float
    settled_here: bool  # the fingerprint is the stored one, not only one it agreed with
    replayed: bool  # it has a result, so the store must be asked


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
        clock: Time source; tests pass :class:`webhook_dedup.testing.FakeClock`.

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
        self._clock = clock or SystemClock()
        self._seen: dict[str, _Seen] = {}
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
        now = self._clock.monotonic()
        seen = self._seen.get(key)
        if seen is None:
            return None
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
        compared = Remembers.FINGERPRINT in self.remembers
        if not compared or fingerprint is None or fingerprint == seen.fingerprint:
            return Outcome.DUPLICATE
        if not seen.settled_here:
            return None
        return Outcome.DUPLICATE if seen.fingerprint is None else Outcome.MISMATCH

    async def claim(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        check_keys(bid.key for bid in bids)
        answers = [self.peek(bid.key, bid.fingerprint, bid.token) for bid in bids]
        unknown = [bid for bid, given in zip(bids, answers, strict=True) if given is None]
        if not unknown:
            return [given for given in answers if given is not None]
        told = iter(await self._ask(unknown))
        return [next(told) if given is None else given for given in answers]

    async def _ask(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        now, forgotten = self._clock.monotonic(), self._forgotten
        claims = await self.store.claim(bids)
        if forgotten == self._forgotten:
            for claim in claims:
                self._learn(claim, now)
        return claims

    def _learn(self, claim: Claim, now: float) -> None:
        """Keep a key the store calls done and told how long it will stay so.

        A mismatch is not kept, as it does not tell the stored fingerprint.
        """
        if claim.outcome is Outcome.DUPLICATE and claim.remaining > 0 and claim.result is None:
            self._keep(
                claim, claim.holder, claim.remaining, now, settled_here=False, replayed=False
            )

    async def complete(self, done: Sequence[Settlement]) -> Sequence[bool]:
        now, forgotten = self._clock.monotonic(), self._forgotten
        answers = await self.store.complete(done)
        for settlement, completed in zip(done, answers, strict=True):
            if not completed:
                self._seen.pop(settlement.key, None)
            elif forgotten == self._forgotten:
                self._settle(settlement, now)
        return answers

    def _settle(self, settlement: Settlement, now: float) -> None:
        claim = settlement.claim
        known = self._seen.get(claim.key)
        # A repeated completion neither begins the TTL anew nor changes the result.
        if known is None or known.holder != claim.token:
            self._keep(
                claim,
                claim.token,
                settlement.ttl,
                now,
                settled_here=True,
                replayed=settlement.result is not None,
            )

    def _keep(
        self,
        claim: Claim,
        holder: str | None,
        left: float,
        now: float,
        *,
        settled_here: bool,
        replayed: bool,
    ) -> None:
        if len(claim.key) > _LONGEST_KEY:
            return
        self._seen.pop(claim.key, None)
        self._seen[claim.key] = _Seen(
            holder=holder,
            first_seen=claim.first_seen,
            fingerprint=claim.fingerprint,
            gone_at=now + left,
            stale_at=now + min(left, self._seconds),
            settled_here=settled_here,
            replayed=replayed,
        )
        if len(self._seen) > self._size:
            del self._seen[next(iter(self._seen))]

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

    async def aclose(self) -> None:
        """Forget everything and close the store behind it."""
        self._seen.clear()
        await self.store.aclose()
