"""Stores with one fault each in what they answer to a bid."""

import asyncio
from dataclasses import replace
from math import inf

from webhook_dedup.model import Claim, Outcome, Remembers
from webhook_dedup.stores.memory import MemoryStore

from .faults import caught_by


@caught_by("test_one_of_many_claims_is_fresh")
class GetThenSet(MemoryStore):
    """Looks first and writes later."""

    async def claim(self, bids):
        now = self._clock.monotonic()
        absent = [bid for bid in bids if self._live(bid.key, now) is None]
        await asyncio.sleep(0)
        for bid in absent:
            self._entries.pop(bid.key, None)
        return await super().claim(bids)


@caught_by("test_one_of_many_takes_over_an_expired_claim")
class GetThenTakeOver(MemoryStore):
    """Is atomic for new keys only; an expired one is looked at first and deleted later."""

    async def claim(self, bids):
        now = self._clock.monotonic()
        expired = [
            bid.key for bid in bids if bid.key in self._entries and not self._live(bid.key, now)
        ]
        if expired:
            await asyncio.sleep(0)
        for key in expired:
            self._entries.pop(key, None)
        return await super().claim(bids)


@caught_by("test_repeated_claim_is_fresh")
class TakesALostReplyForACopy(MemoryStore):
    """Answers a bare "exists" to the repetition of its own claim."""

    def _claim(self, bid, now):
        held = self._live(bid.key, now) is not None
        answer = super()._claim(bid, now)
        return replace(answer, outcome=Outcome.IN_FLIGHT) if held and answer.fresh else answer


@caught_by("x")
class RunsOwnDoneKeysAgain(MemoryStore):
    """Recognises its own token without asking whether the key is done."""

    def _claim(self, bid, now):
        answer = super()._claim(bid, now)
        return replace(answer, outcome=Outcome.FRESH) if answer.holder == bid.token else answer


@caught_by("test_repeated_claim_tells_the_lease_left")
class ExtendsRepeatedClaims(MemoryStore):
    """Grants a new lease to every repetition of a claim."""

    def _claim(self, bid, now):
        entry = self._live(bid.key, now)
        if entry and entry.token == bid.token and not entry.done:
            entry.expires_at = now + bid.lease
        return super()._claim(bid, now)


@caught_by("x")
class GrantsExpiredLeases(MemoryStore):
    """Reckons the lease from before a wait that was longer than the lease."""

    def _claim(self, bid, now):
        if self._live(bid.key, now) is None:
            bid = replace(bid, lease=0)
        return super()._claim(bid, now)


@caught_by("x")
class RecognisesRunOutClaims(MemoryStore):
    """Calls a claim fresh by its token alone, whatever became of the lease."""

    def _claim(self, bid, now):
        entry = self._entries.get(bid.key)
        if entry and entry.token == bid.token and not entry.done:
            left = max(entry.expires_at - now, 0)
            return Claim(bid.key, bid.token, Outcome.FRESH, remaining=left)
        return super()._claim(bid, now)


@caught_by("x")
class CountsWholeSeconds(MemoryStore):
    """Keeps leases as integers."""

    def _claim(self, bid, now):
        return super()._claim(replace(bid, lease=int(bid.lease)), now)


@caught_by("x")
class TellsTheBiddersLease(MemoryStore):
    """Answers with the lease asked for instead of the holder's."""

    def _claim(self, bid, now):
        return replace(super()._claim(bid, now), remaining=bid.lease)


@caught_by("x")
class LetsTheLastBidderWin(MemoryStore):
    """Refuses a bid but writes its token."""

    def _claim(self, bid, now):
        answer = super()._claim(bid, now)
        if not answer.done:
            self._entries[bid.key].token = bid.token
        return answer


@caught_by("x")
class NeverReadmits(MemoryStore):
    """Inserts or does nothing: an expired row stays in the way."""

    def _live(self, key, now):
        return self._entries.get(key)

    def _sweep(self, now, arriving):
        pass


@caught_by("x")
class OneClock(MemoryStore):
    """Lets a held key live as long as a done one."""

    def _claim(self, bid, now):
        return super()._claim(replace(bid, lease=max(bid.lease, 86_400)), now)


@caught_by("x")
class ReusesTheOldEntry(MemoryStore):
    """Takes an expired key over by changing its token and expiry only."""

    def _claim(self, bid, now):
        entry = self._entries.get(bid.key)
        if entry and entry.expires_at <= now:
            entry.token, entry.expires_at, entry.done = bid.token, now + bid.lease, False
        return super()._claim(bid, now)

    def _sweep(self, now, arriving):
        pass


@caught_by("x")
class TellsMilliseconds(MemoryStore):
    """Tells first-seen times in another unit."""

    def _claim(self, bid, now):
        answer = super()._claim(bid, now)
        return replace(answer, first_seen=answer.first_seen * 1000)


@caught_by("x")
class SeesEveryBidFirst(MemoryStore):
    """Takes the time of the present bid for the first."""

    def _claim(self, bid, now):
        return replace(super()._claim(bid, now), first_seen=self._clock.time())


@caught_by("x")
class NamesTheBidder(MemoryStore):
    """Tells every bidder that it is the holder."""

    def _claim(self, bid, now):
        return replace(super()._claim(bid, now), holder=bid.token)


@caught_by("x")
class RemembersTooMuch(MemoryStore):
    """Declares nothing and tells everything."""

    remembers = Remembers.NOTHING


@caught_by("x")
class IsNameless(MemoryStore):
    """Has no name for logs."""

    name = ""


@caught_by("x")
class KeepsClaimsForEver(MemoryStore):
    """Holds without an expiry until completion."""

    def _claim(self, bid, now):
        return super()._claim(replace(bid, lease=inf), now)


@caught_by("x")
class HoldsUntilReleased(MemoryStore):
    """Keeps a lock over an await and loses it to a cancellation."""

    _lock = None

    async def claim(self, bids):
        self._lock = self._lock or asyncio.Lock()
        await self._lock.acquire()
        await asyncio.sleep(0)
        answers = await super().claim(bids)
        self._lock.release()
        return answers


@caught_by("x")
class LocksInTheOrderAsked(MemoryStore):
    """Locks row after row, so that batches in opposite orders wait for each other."""

    def __init__(self, **options):
        super().__init__(**options)
        self._locks = {}

    async def claim(self, bids):
        locks = [self._locks.setdefault(bid.key, asyncio.Lock()) for bid in bids]
        for lock in locks:
            await lock.acquire()
            await asyncio.sleep(0)
        answers = await super().claim(bids)
        for lock in locks:
            lock.release()
        return answers
