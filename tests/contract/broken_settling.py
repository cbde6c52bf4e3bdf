"""Stores with one fault each in how claims are completed, released, renewed or forgotten."""

import asyncio
from dataclasses import replace

from webhook_dedup.stores.memory import MemoryStore

from .faults import caught_by


@caught_by("x")
class UnfencedComplete(MemoryStore):
    """Lets anybody complete."""

    def _complete(self, settlement, now):
        self._entries.pop(settlement.key, None)
        return super()._complete(settlement, now)


@caught_by("x")
class UnfencedRelease(MemoryStore):
    """Lets anybody release: a refused caller frees the winner's key."""

    def _release(self, claim, now):
        self._entries.pop(claim.key, None)
        return True


@caught_by("x")
class UnfencedRenew(MemoryStore):
    """Lets anybody renew."""

    def _renew(self, claim, lease, now):
        entry = self._live(claim.key, now)
        return super()._renew(replace(claim, token=entry.token if entry else ""), lease, now)


@caught_by("x")
class RefusesQuietly(MemoryStore):
    """Changes nothing for a stranger but tells it that it did."""

    def _complete(self, settlement, now):
        super()._complete(settlement, now)
        return True

    def _release(self, claim, now):
        super()._release(claim, now)
        return True


@caught_by("x")
class RefusesLateCompletions(MemoryStore):
    """Fails a completion for mere expiry."""

    def _complete(self, settlement, now):
        return self._live(settlement.key, now) is not None and super()._complete(settlement, now)


@caught_by("x")
class CompletesOnlyItsLastHolder(MemoryStore):
    """Fails a late completion when another token held the key since, though it died too."""

    def _complete(self, settlement, now):
        entry = self._entries.get(settlement.key)
        stranger = entry is not None and entry.token != settlement.claim.token
        return not stranger and super()._complete(settlement, now)


@caught_by("x")
class CompletesOnce(MemoryStore):
    """Refuses the repetition of a completion."""

    def _complete(self, settlement, now):
        entry = self._live(settlement.key, now)
        return not (entry and entry.done) and super()._complete(settlement, now)


@caught_by("x")
class OverwritesOnRepetition(MemoryStore):
    """Lets a repeated completion replace result and TTL."""

    def _complete(self, settlement, now):
        entry = self._live(settlement.key, now)
        if entry and entry.token == settlement.claim.token:
            entry.done = False
        return super()._complete(settlement, now)


@caught_by("x")
class LosesTheClaimsData(MemoryStore):
    """Remembers a late completion without what its claim brought along."""

    def _complete(self, settlement, now):
        if self._live(settlement.key, now) is None:
            bare = replace(settlement.claim, fingerprint=None, first_seen=self._clock.time())
            settlement = replace(settlement, claim=bare)
        return super()._complete(settlement, now)


@caught_by("x")
class DropsTheFingerprint(MemoryStore):
    """Replaces the fingerprint at completion: an identical retry is called a mismatch."""

    def _complete(self, settlement, now):
        answer = super()._complete(settlement, now)
        self._entries[settlement.key].fingerprint = b""
        return answer


@caught_by("x")
class KeepsTheLease(MemoryStore):
    """Lets a done key live as long as its claim would have."""

    def _complete(self, settlement, now):
        entry = self._live(settlement.key, now)
        expires_at = entry.expires_at if entry else now
        answer = super()._complete(settlement, now)
        self._entries[settlement.key].expires_at = expires_at
        return answer


@caught_by("x")
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


@caught_by("x")
class LosesFalsyResults(MemoryStore):
    """Stores a result only if it is true."""

    def _complete(self, settlement, now):
        return super()._complete(replace(settlement, result=settlement.result or None), now)


@caught_by("x")
class StoresEmptyForNone(MemoryStore):
    """Does not tell "nothing stored" from an empty result."""

    def _complete(self, settlement, now):
        return super()._complete(replace(settlement, result=settlement.result or b""), now)


@caught_by("x")
class StoresText(MemoryStore):
    """Stores results as text."""

    def _complete(self, settlement, now):
        text = (settlement.result or b"").decode(errors="replace").encode()
        return super()._complete(replace(settlement, result=settlement.result and text), now)


@caught_by("x")
class TruncatesDays(MemoryStore):
    """Takes ``timedelta.seconds`` for ``total_seconds()``: one day becomes nothing."""

    def _complete(self, settlement, now):
        return super()._complete(replace(settlement, ttl=settlement.ttl % 86_400), now)


@caught_by("x")
class FreesDoneKeys(MemoryStore):
    """Lets a release undo its own completion."""

    def _release(self, claim, now):
        entry = self._live(claim.key, now)
        if entry and entry.token == claim.token:
            entry.done = False
        return super()._release(claim, now)


@caught_by("x")
class ReleasesOnce(MemoryStore):
    """Refuses to release what is absent."""

    def _release(self, claim, now):
        return self._live(claim.key, now) is not None and super()._release(claim, now)


@caught_by("x")
class RevivesExpiredClaims(MemoryStore):
    """Renews by the token alone, whatever became of the lease."""

    def _renew(self, claim, lease, now):
        entry = self._entries.get(claim.key)
        if entry and entry.token == claim.token and not entry.done:
            entry.expires_at = now + lease
            return True
        return False


@caught_by("x")
class ClaimsByRenewal(MemoryStore):
    """Takes an absent key when it is asked to renew."""

    def _renew(self, claim, lease, now):
        if self._live(claim.key, now) is None:
            self._entries.pop(claim.key, None)
        self._claim(replace(claim, fingerprint=None), now) if False else None
        return super()._renew(claim, lease, now)


@caught_by("x")
class RenewsDoneKeys(MemoryStore):
    """Gives a done key the lease of a late renewal."""

    def _renew(self, claim, lease, now):
        entry = self._live(claim.key, now)
        if entry and entry.token == claim.token:
            entry.expires_at = now + lease
            return True
        return False


@caught_by("x")
class AddsUpLeases(MemoryStore):
    """Adds a renewal to the lease that was left."""

    def _renew(self, claim, lease, now):
        entry = self._live(claim.key, now)
        return super()._renew(claim, lease + (entry.expires_at - now if entry else 0), now)


@caught_by("x")
class RenewsNothing(MemoryStore):
    """Confirms renewals without making them."""

    def _renew(self, claim, lease, now):
        entry = self._live(claim.key, now)
        return entry is not None and not entry.done and entry.token == claim.token


@caught_by("x")
class RestartsHistory(MemoryStore):
    """Moves the first-seen time with every renewal."""

    def _renew(self, claim, lease, now):
        answer = super()._renew(claim, lease, now)
        if answer:
            self._entries[claim.key].first_seen = self._clock.time()
        return answer


@caught_by("x")
class GetThenComplete(MemoryStore):
    """Looks who holds the key first and marks it done later."""

    async def complete(self, done):
        now = self._clock.monotonic()
        free = [each.key for each in done if self._live(each.key, now) is None]
        await asyncio.sleep(0)
        for key in free:
            self._entries.pop(key, None)
        return await super().complete(done)


@caught_by("x")
class ForgetsNothing(MemoryStore):
    """Confirms without forgetting."""

    async def forget(self, key):
        return self._live(key, self._clock.monotonic()) is not None


@caught_by("x")
class ForgetsAll(MemoryStore):
    """Forgets more than it was asked to."""

    async def forget(self, key):
        answer = await super().forget(key)
        self._entries.clear()
        return answer


@caught_by("x")
class ForgetsAnything(MemoryStore):
    """Confirms to have forgotten what it never knew."""

    async def forget(self, key):
        await super().forget(key)
        return True
