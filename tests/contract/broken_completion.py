"""Stores with one fault each in how claims are completed."""

from msgspec.structs import replace

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
            bare = replace(settlement.claim, fingerprint=None, first_seen=self.clock.time())
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
