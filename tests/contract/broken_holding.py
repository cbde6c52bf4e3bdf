"""Stores with one fault each in how claims are released, renewed or forgotten."""

from msgspec.structs import replace

from webhook_dedup.model import Bid
from webhook_dedup.stores.entry import sight
from webhook_dedup.stores.memory import MemoryStore

from .faults import caught_by


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
        answer = super()._claim(bid, now)
        if answer.fresh:
            kept = self._fingerprints.get(bid.key, bid.fingerprint)
            self._entries[bid.key].fingerprint = kept
        return answer

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
            self._entries[claim.key].first_seen = self.clock.time()
        return answer


@caught_by("test_forgotten_claim_is_absent", "test_forgotten_done_key_is_absent")
class ForgetsNothing(MemoryStore):
    """Confirms without forgetting."""

    async def forget(self, key):
        return self._live(key, self.clock.monotonic()) is not None


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


@caught_by("test_look_tells_who_holds", "test_look_takes_any_text")
class LooksAtDoneOnly(MemoryStore):
    """Sees no key that is held."""

    async def look(self, keys):
        return [each and (each if each.done else None) for each in await super().look(keys)]


@caught_by("test_look_tells_what_is_done")
class LooksAtNoResult(MemoryStore):
    """Leaves out what duplicates are answered with."""

    async def look(self, keys):
        return [each and replace(each, result=None) for each in await super().look(keys)]


@caught_by("test_look_sees_nothing_where_nothing_lives")
class LooksAtTheDead(MemoryStore):
    """Tells of keys whose lease has run out."""

    async def look(self, keys):
        return [
            sight(key, self._entries[key], 0.0) if key in self._entries else None for key in keys
        ]


@caught_by("test_look_claims_nothing")
class LooksByClaiming(MemoryStore):
    """Looks with a bid of its own."""

    async def look(self, keys):
        claims = await self.claim([Bid(key, "looker", 60.0) for key in keys])
        return [None if claim.fresh else replace(claim, token="") for claim in claims]
