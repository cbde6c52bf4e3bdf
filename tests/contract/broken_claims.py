"""Stores with one fault each in what they answer to a bid."""

import time
from math import inf

from msgspec.structs import replace

from webhook_dedup.model import Claim, Outcome, Remembers
from webhook_dedup.stores.memory import MemoryStore

from .faults import caught_by


@caught_by("test_repeated_claim_is_fresh", "test_repeated_claims_at_once_are_all_fresh")
class TakesALostReplyForACopy(MemoryStore):
    """Answers a bare "exists" to the repetition of its own claim."""

    def _claim(self, bid, now):
        held = self._live(bid.key, now) is not None
        answer = super()._claim(bid, now)
        return replace(answer, outcome=Outcome.IN_FLIGHT) if held and answer.fresh else answer


@caught_by("test_own_done_key_is_a_duplicate")
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


@caught_by("test_fresh_claim_has_life_left", "test_held_key_is_in_flight_for_others")
class GrantsExpiredLeases(MemoryStore):
    """Reckons the lease from before a wait that was longer than the lease."""

    def _claim(self, bid, now):
        if self._live(bid.key, now) is None:
            bid = replace(bid, lease=0)
        return super()._claim(bid, now)


@caught_by("test_repeated_claim_of_a_run_out_lease_is_a_new_claim")
class RecognisesRunOutClaims(MemoryStore):
    """Calls a claim fresh by its token alone, whatever became of the lease."""

    def _claim(self, bid, now):
        entry = self._entries.get(bid.key)
        if entry and entry.token == bid.token and not entry.done:
            left = max(entry.expires_at - now, 0)
            return Claim(
                bid.key, bid.token, Outcome.FRESH, first_seen=entry.first_seen, remaining=left
            )
        return super()._claim(bid, now)

    def _sweep(self, now, arriving):
        pass


@caught_by("test_lease_of_less_than_a_second")
class CountsWholeSeconds(MemoryStore):
    """Keeps leases as integers."""

    def _claim(self, bid, now):
        return super()._claim(replace(bid, lease=int(bid.lease)), now)


@caught_by("test_remaining_lease_is_the_holders")
class TellsTheBiddersLease(MemoryStore):
    """Answers with the lease asked for instead of the holder's."""

    def _claim(self, bid, now):
        return replace(super()._claim(bid, now), remaining=bid.lease)


@caught_by("test_refused_claim_takes_nothing")
class LetsTheLastBidderWin(MemoryStore):
    """Refuses a bid but writes its token."""

    def _claim(self, bid, now):
        answer = super()._claim(bid, now)
        if not answer.done:
            self._entries[bid.key].token = bid.token
        return answer


@caught_by(
    "test_expired_claim_is_readmitted",
    "test_expired_done_key_is_readmitted",
    "test_readmitted_claim_is_held",
)
class NeverReadmits(MemoryStore):
    """Inserts or does nothing: an expired row stays in the way."""

    def _live(self, key, now):
        return self._entries.get(key)

    def _sweep(self, now, arriving):
        pass


@caught_by("test_expired_claim_is_readmitted", "test_repeated_claim_yields_to_a_later_holder")
class OneClock(MemoryStore):
    """Lets a held key live as long as a done one."""

    def _claim(self, bid, now):
        return super()._claim(replace(bid, lease=max(bid.lease, 86_400)), now)


@caught_by("test_nothing_of_an_expired_claim_leaks", "test_nothing_of_an_expired_done_key_leaks")
class ReusesTheOldEntry(MemoryStore):
    """Takes an expired key over by changing its token and expiry only."""

    def _claim(self, bid, now):
        entry = self._entries.get(bid.key)
        if entry and entry.expires_at <= now:
            entry.token, entry.expires_at, entry.done = bid.token, now + bid.lease, False
        return super()._claim(bid, now)

    def _sweep(self, now, arriving):
        pass


@caught_by("test_first_seen_is_about_now")
class TellsMilliseconds(MemoryStore):
    """Tells first-seen times in another unit."""

    def _claim(self, bid, now):
        answer = super()._claim(bid, now)
        return replace(answer, first_seen=answer.first_seen * 1000)


@caught_by("test_first_seen_never_moves")
class SeesEveryBidFirst(MemoryStore):
    """Takes the time of the present bid for the first."""

    def _claim(self, bid, now):
        return replace(super()._claim(bid, now), first_seen=self.clock.time())


@caught_by("test_done_key_names_who_completed_it")
class NamesTheBidder(MemoryStore):
    """Tells every bidder that it is the holder."""

    def _claim(self, bid, now):
        return replace(super()._claim(bid, now), holder=bid.token)


@caught_by("test_fingerprint_of_a_held_key", "test_results_replay_as_they_were")
class RemembersTooMuch(MemoryStore):
    """Declares nothing and tells everything."""

    remembers = Remembers.NOTHING


@caught_by("test_store_says_what_it_is")
class IsNameless(MemoryStore):
    """Has no name for logs."""

    name = ""


@caught_by("test_clock_of_the_caller_does_not_count")
class AsksTheCallersClock(MemoryStore):
    """Reckons expiry by the wall clock of the process that asks."""

    def __init__(self, **options):
        super().__init__(**options)
        self._started = time.time()

    def _live(self, key, now):
        return super()._live(key, now + time.time() - self._started)


@caught_by("test_nothing_is_kept_without_an_expiry")
class KeepsClaimsForEver(MemoryStore):
    """Holds without an expiry until completion."""

    def _claim(self, bid, now):
        return super()._claim(replace(bid, lease=inf), now)


@caught_by("test_absent_key_is_fresh")
class ForgetsTheBid(MemoryStore):
    """Answers without the fingerprint of the bid, so that nothing can be completed with it."""

    def _claim(self, bid, now):
        return replace(super()._claim(bid, now), fingerprint=None)
