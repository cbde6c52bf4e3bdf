"""Stores with one fault each in how claims are completed, released, renewed or forgotten."""

import asyncio
from dataclasses import replace

from webhook_dedup.model import Bid
from webhook_dedup.stores.memory import MemoryStore

from .faults import caught_by


@caught_by(
    "test_refused_callers_cannot_complete",
    "test_stale_holder_cannot_complete",
    "test_released_holder_is_a_stranger",
)
class UnfencedComplete(MemoryStore):
    """Lets anybody complete."""

    def _complete(self, settlement, now):
        self._entries.pop(settlement.key, None)
        return super()._complete(settlement, now)


@caught_by("test_refused_callers_cannot_release", "test_stale_holder_cannot_release")
class UnfencedRelease(MemoryStore):
    """Lets anybody release: a refused caller frees the winner's key."""

    def _release(self, claim, now):
        self._entries.pop(claim.key, None)
        return True


@caught_by("test_refused_callers_cannot_renew", "test_stale_holder_cannot_renew")
class UnfencedRenew(MemoryStore):
    """Lets anybody renew."""

    def _renew(self, claim, lease, now):
        entry = self._live(claim.key, now)
        return super()._renew(replace(claim, token=entry.token if entry else ""), lease, now)


@caught_by(
    "test_refused_callers_cannot_touch_a_done_key",
    "test_stale_holder_cannot_touch_a_done_key",
    "test_verbs_answer_each_claim_for_itself",
    "test_mismatched_bid_is_fenced",
)
class RefusesQuietly(MemoryStore):
    """Changes nothing for a stranger but tells it that it did."""

    def _complete(self, settlement, now):
        super()._complete(settlement, now)
        return True

    def _release(self, claim, now):
        super()._release(claim, now)
        return True


@caught_by("test_complete_after_expiry_succeeds", "test_complete_of_an_absent_key_succeeds")
class RefusesLateCompletions(MemoryStore):
    """Fails a completion for mere expiry."""

    def _complete(self, settlement, now):
        return self._live(settlement.key, now) is not None and super()._complete(settlement, now)


@caught_by("test_late_complete_succeeds_when_the_next_lease_ran_out_too")
class CompletesOnlyItsLastHolder(MemoryStore):
    """Fails a late completion when another token held the key since, though it died too."""

    def _complete(self, settlement, now):
        entry = self._entries.get(settlement.key)
        stranger = entry is not None and entry.token != settlement.claim.token
        return not stranger and super()._complete(settlement, now)


@caught_by("test_repeated_complete_is_true")
class CompletesOnce(MemoryStore):
    """Refuses the repetition of a completion."""

    def _complete(self, settlement, now):
        entry = self._live(settlement.key, now)
        return not (entry and entry.done) and super()._complete(settlement, now)


@caught_by(
    "test_repeated_complete_keeps_the_first_result",
    "test_repeated_complete_does_not_shorten_the_ttl",
)
class OverwritesOnRepetition(MemoryStore):
    """Lets a repeated completion replace result and TTL."""

    def _complete(self, settlement, now):
        entry = self._live(settlement.key, now)
        if entry and entry.token == settlement.claim.token:
            entry.done = False
        return super()._complete(settlement, now)


@caught_by(
    "test_complete_after_expiry_keeps_the_fingerprint", "test_complete_after_expiry_succeeds"
)
class LosesTheClaimsData(MemoryStore):
    """Remembers a late completion without what its claim brought along."""

    def _complete(self, settlement, now):
        if self._live(settlement.key, now) is None:
            bare = replace(settlement.claim, fingerprint=None, first_seen=self._clock.time())
            settlement = replace(settlement, claim=bare)
        return super()._complete(settlement, now)


@caught_by("test_fingerprint_survives_completion")
class DropsTheFingerprint(MemoryStore):
    """Replaces the fingerprint at completion: an identical retry is called a mismatch."""

    def _complete(self, settlement, now):
        answer = super()._complete(settlement, now)
        self._entries[settlement.key].fingerprint = b""
        return answer


@caught_by("test_fingerprint_survives_completion")
class ForgetsTheFingerprint(MemoryStore):
    """Keeps a done key without its fingerprint: another body passes for a copy."""

    def _complete(self, settlement, now):
        answer = super()._complete(settlement, now)
        self._entries[settlement.key].fingerprint = None
        return answer


@caught_by("test_done_key_is_a_duplicate")
class ForgetsDoneKeys(MemoryStore):
    """Frees a key when its work is done."""

    def _complete(self, settlement, now):
        answer = super()._complete(settlement, now)
        if answer:
            del self._entries[settlement.key]
        return answer


@caught_by("test_done_key_outlives_its_lease", "test_done_key_does_not_keep_a_long_lease")
class KeepsTheLease(MemoryStore):
    """Lets a done key live as long as its claim would have."""

    def _complete(self, settlement, now):
        entry = self._live(settlement.key, now)
        expires_at = entry.expires_at if entry else now
        answer = super()._complete(settlement, now)
        self._entries[settlement.key].expires_at = expires_at
        return answer


@caught_by("test_done_key_does_not_keep_a_long_lease", "test_renewed_lease_runs_out")
class NeverShortens(MemoryStore):
    """Lets the later of two expiries win."""

    def _complete(self, settlement, now):
        entry = self._live(settlement.key, now)
        expires_at = entry.expires_at if entry else now
        answer = super()._complete(settlement, now)
        entry = self._entries[settlement.key]
        entry.expires_at = max(entry.expires_at, expires_at)
        return answer

    def _renew(self, claim, lease, now):
        entry = self._live(claim.key, now)
        return super()._renew(claim, max(lease, entry.expires_at - now if entry else 0), now)


@caught_by("test_results_replay_as_they_were")
class LosesFalsyResults(MemoryStore):
    """Stores a result only if it is true."""

    def _complete(self, settlement, now):
        return super()._complete(replace(settlement, result=settlement.result or None), now)


@caught_by("test_no_result_stays_none")
class StoresEmptyForNone(MemoryStore):
    """Does not tell "nothing stored" from an empty result."""

    def _complete(self, settlement, now):
        return super()._complete(replace(settlement, result=settlement.result or b""), now)


@caught_by("test_results_replay_as_they_were")
class StoresText(MemoryStore):
    """Stores results as text."""

    def _complete(self, settlement, now):
        text = (settlement.result or b"").decode(errors="replace").encode()
        return super()._complete(replace(settlement, result=settlement.result and text), now)


@caught_by("test_a_day_is_not_nothing")
class TruncatesDays(MemoryStore):
    """Takes ``timedelta.seconds`` for ``total_seconds()``: one day becomes nothing."""

    def _complete(self, settlement, now):
        return super()._complete(replace(settlement, ttl=settlement.ttl % 86_400), now)


@caught_by("test_release_after_own_completion_changes_nothing")
class FreesDoneKeys(MemoryStore):
    """Lets a release undo its own completion."""

    def _release(self, claim, now):
        entry = self._live(claim.key, now)
        if entry and entry.token == claim.token:
            entry.done = False
        return super()._release(claim, now)


@caught_by("test_released_key_is_fresh_at_once")
class ReleasesByWaiting(MemoryStore):
    """Lets the lease of a released claim run out instead of ending it."""

    def _release(self, claim, now):
        entry = self._live(claim.key, now)
        return entry is None or (entry.token == claim.token and not entry.done)


@caught_by("test_nothing_of_a_released_claim_leaks")
class KeepsReleasedFingerprints(MemoryStore):
    """Holds a released key's fingerprint against its next bid."""

    def __init__(self, **options):
        super().__init__(**options)
        self._fingerprints = {}

    def _claim(self, bid, now):
        kept = self._fingerprints.get(bid.key, bid.fingerprint)
        return super()._claim(replace(bid, fingerprint=kept), now)

    def _release(self, claim, now):
        self._fingerprints[claim.key] = claim.fingerprint
        return super()._release(claim, now)


@caught_by("test_repeated_release_is_true", "test_release_after_expiry_is_true")
class ReleasesOnce(MemoryStore):
    """Refuses to release what is absent."""

    def _release(self, claim, now):
        return self._live(claim.key, now) is not None and super()._release(claim, now)


@caught_by("test_renewal_of_an_expired_claim_is_refused")
class RevivesExpiredClaims(MemoryStore):
    """Renews by the token alone, whatever became of the lease."""

    def _renew(self, claim, lease, now):
        entry = self._entries.get(claim.key)
        if entry and entry.token == claim.token and not entry.done:
            entry.expires_at = now + lease
            return True
        return False


@caught_by(
    "test_renewal_of_a_released_claim_is_refused", "test_renewal_of_an_expired_claim_is_refused"
)
class ClaimsByRenewal(MemoryStore):
    """Takes an absent key when it is asked to renew."""

    def _renew(self, claim, lease, now):
        if self._live(claim.key, now) is None:
            self._claim(Bid(claim.key, claim.token, lease), now)
        return super()._renew(claim, lease, now)


@caught_by("test_renewal_of_a_done_claim_is_refused")
class RenewsDoneKeys(MemoryStore):
    """Gives a done key the lease of a late renewal."""

    def _renew(self, claim, lease, now):
        entry = self._live(claim.key, now)
        if entry and entry.token == claim.token:
            entry.expires_at = now + lease
            return True
        return False


@caught_by("test_renewal_sets_the_lease_from_now")
class AddsUpLeases(MemoryStore):
    """Adds a renewal to the lease that was left."""

    def _renew(self, claim, lease, now):
        entry = self._live(claim.key, now)
        return super()._renew(claim, lease + (entry.expires_at - now if entry else 0), now)


@caught_by("test_renewal_sets_the_lease_from_now")
class RenewsNothing(MemoryStore):
    """Confirms renewals without making them."""

    def _renew(self, claim, lease, now):
        entry = self._live(claim.key, now)
        return entry is not None and not entry.done and entry.token == claim.token


@caught_by("test_first_seen_never_moves")
class RestartsHistory(MemoryStore):
    """Moves the first-seen time with every renewal."""

    def _renew(self, claim, lease, now):
        answer = super()._renew(claim, lease, now)
        if answer:
            self._entries[claim.key].first_seen = self._clock.time()
        return answer


@caught_by("test_one_of_many_late_workers_completes")
class GetThenComplete(MemoryStore):
    """Looks who holds the key first and marks it done later."""

    async def complete(self, done):
        now = self._clock.monotonic()
        free = [each.key for each in done if self._live(each.key, now) is None]
        await asyncio.sleep(0)
        for key in free:
            self._entries.pop(key, None)
        return await super().complete(done)


@caught_by("test_forgotten_claim_is_absent", "test_forgotten_done_key_is_absent")
class ForgetsNothing(MemoryStore):
    """Confirms without forgetting."""

    async def forget(self, key):
        return self._live(key, self._clock.monotonic()) is not None


@caught_by("test_forgetting_is_of_one_key")
class ForgetsAll(MemoryStore):
    """Forgets more than it was asked to."""

    async def forget(self, key):
        answer = await super().forget(key)
        self._entries.clear()
        return answer


@caught_by("test_forgetting_what_is_absent_is_false")
class ForgetsAnything(MemoryStore):
    """Confirms to have forgotten what it never knew."""

    async def forget(self, key):
        await super().forget(key)
        return True
