"""Stores with one fault each in keys, fingerprints and batches."""

import unicodedata

from msgspec.structs import replace

from webhook_dedup.keys import check_keys, digest
from webhook_dedup.model import Outcome
from webhook_dedup.stores.memory import MemoryStore

from .faults import caught_by


class RewritesKeys(MemoryStore):
    """Keeps keys under another name."""

    def rewrite(self, key):
        raise NotImplementedError

    def _claim(self, bid, now):
        answer = super()._claim(replace(bid, key=self.rewrite(bid.key)), now)
        return replace(answer, key=bid.key)

    def _complete(self, settlement, now):
        claim = replace(settlement.claim, key=self.rewrite(settlement.key))
        return super()._complete(replace(settlement, claim=claim), now)

    def _release(self, claim, now):
        return super()._release(replace(claim, key=self.rewrite(claim.key)), now)

    def _renew(self, claim, lease, now):
        return super()._renew(replace(claim, key=self.rewrite(claim.key)), lease, now)


@caught_by("test_any_text_can_be_forgotten")
class DigestsLongKeys(RewritesKeys):
    """Keeps long keys under a digest, but forgets only what is kept under its own name."""

    def rewrite(self, key):
        return key if len(key) < 1_000 else digest(key).hex()


@caught_by("test_lookalike_keys_are_distinct", "test_lookalike_keys_share_a_batch")
class CutsKeys(RewritesKeys):
    """Keeps 255 characters of a key."""

    def rewrite(self, key):
        return key[:255]


@caught_by("test_lookalike_keys_are_distinct", "test_lookalike_keys_share_a_batch")
class FoldsCase(RewritesKeys):
    """Compares keys without regard to case."""

    def rewrite(self, key):
        return key.casefold()


@caught_by("test_lookalike_keys_are_distinct", "test_lookalike_keys_share_a_batch")
class StripsKeys(RewritesKeys):
    """Compares keys without the spaces at their ends."""

    def rewrite(self, key):
        return key.strip()


@caught_by("test_lookalike_keys_are_distinct", "test_lookalike_keys_share_a_batch")
class Normalises(RewritesKeys):
    """Compares keys in their normal form."""

    def rewrite(self, key):
        return unicodedata.normalize("NFC", key)


@caught_by("test_lookalike_keys_are_distinct", "test_lookalike_keys_share_a_batch")
class ReplacesSurrogates(RewritesKeys):
    """Encodes keys with replacements."""

    def rewrite(self, key):
        return key.encode("utf-8", "replace").decode()


@caught_by("test_lookalike_keys_are_distinct", "test_lookalike_keys_share_a_batch")
class EscapesSurrogates(RewritesKeys):
    """Encodes keys with escapes that other keys may contain."""

    def rewrite(self, key):
        return key.encode("utf-8", "backslashreplace").decode()


@caught_by("test_lookalike_keys_are_distinct", "test_lookalike_keys_share_a_batch")
class EndsAtNUL(RewritesKeys):
    """Ends keys at a NUL."""

    def rewrite(self, key):
        return key.partition("\0")[0]


@caught_by("test_any_text_is_a_key", "test_any_text_is_a_key_of_a_batch")
class EncodesStrictly(RewritesKeys):
    """Fails on text that is not valid UTF-8."""

    def rewrite(self, key):
        return key.encode().decode()


@caught_by("test_any_text_is_a_key", "test_any_text_can_be_released")
class RefusesLongKeys(RewritesKeys):
    """Fails on keys beyond the limit of an index."""

    def rewrite(self, key):
        if len(key) > 2_000:
            raise OverflowError
        return key


@caught_by("test_answers_come_in_the_order_asked", "test_order_does_not_depend_on_the_keys")
class AnswersFreshKeysFirst(MemoryStore):
    """Answers with the rows it wrote and then with those it read."""

    async def claim(self, bids):
        return sorted(await super().claim(bids), key=lambda answer: not answer.fresh)


@caught_by("test_order_does_not_depend_on_the_keys")
class AnswersInKeyOrder(MemoryStore):
    """Sorts a batch and answers in that order."""

    async def claim(self, bids):
        return await super().claim(sorted(bids, key=lambda bid: bid.key))


@caught_by("test_verbs_answer_each_claim_for_itself")
class SettlesInKeyOrder(MemoryStore):
    """Sorts the batches of the other verbs and answers in that order."""

    async def complete(self, done):
        return await super().complete(sorted(done, key=lambda each: each.key))

    async def release(self, claims):
        return await super().release(sorted(claims, key=lambda each: each.key))

    async def renew(self, claims, lease):
        return await super().renew(sorted(claims, key=lambda each: each.key), lease)


@caught_by("test_empty_batches_answer_nothing")
class FailsOnEmptyBatches(MemoryStore):
    """Builds a statement without rows."""

    async def claim(self, bids):
        _ = bids[0]
        return await super().claim(bids)


@caught_by("test_leases_of_a_batch_are_its_items")
class SharesTheFirstLease(MemoryStore):
    """Takes the lease of the first bid for all."""

    async def claim(self, bids):
        return await super().claim([replace(bid, lease=bids[0].lease) for bid in bids])


@caught_by("test_fingerprints_of_a_batch_are_its_items")
class SharesTheFirstFingerprint(MemoryStore):
    """Takes the fingerprint of the first bid for all."""

    async def claim(self, bids):
        first = bids[0].fingerprint if bids else None
        return await super().claim([replace(bid, fingerprint=first) for bid in bids])


@caught_by("test_results_and_ttls_of_a_batch_are_its_items")
class SharesTheFirstSettlement(MemoryStore):
    """Takes the TTL of the first settlement for all."""

    async def complete(self, done):
        return await super().complete([replace(each, ttl=done[0].ttl) for each in done])


@caught_by("test_large_batch")
class CutsBatches(MemoryStore):
    """Serves the first 100 keys of a batch."""

    async def claim(self, bids):
        return await super().claim(bids[:100])


@caught_by("test_repeated_key_is_refused", "test_blank_key_is_refused")
class ClaimsWhileChecking(MemoryStore):
    """Finds a faulty key after it has claimed those before it."""

    async def claim(self, bids):
        answers = []
        for at, bid in enumerate(bids):
            check_keys(each.key for each in bids[: at + 1])
            answers.extend(await super().claim([bid]))
        return answers


@caught_by("test_repeated_key_is_refused", "test_blank_key_is_refused")
class ReleasesWhileChecking(MemoryStore):
    """Finds a faulty key after it has released those before it."""

    async def release(self, claims):
        answers = []
        for at, claim in enumerate(claims):
            check_keys(each.key for each in claims[: at + 1])
            answers.extend(await super().release([claim]))
        return answers


@caught_by("test_repeated_done_key_is_refused")
class ChecksWhatItClaims(MemoryStore):
    """Answers for done keys before it looks at the others."""

    async def claim(self, bids):
        now = self.clock.monotonic()
        done = {bid.key for bid in bids if (entry := self._live(bid.key, now)) and entry.done}
        check_keys(bid.key for bid in bids if bid.key not in done)
        return [self._claim(bid, now) for bid in bids]


@caught_by("test_blank_key_is_refused", "test_repeated_key_is_refused")
class TakesBlankKeys(MemoryStore):
    """Takes a key without text for a key."""

    async def claim(self, bids):
        return [self._claim(bid, self.clock.monotonic()) for bid in bids]


@caught_by("test_unknown_fingerprint_never_mismatches")
class ComparesUnknownFingerprints(MemoryStore):
    """Takes a missing fingerprint for one that differs."""

    def _claim(self, bid, now):
        answer = super()._claim(bid, now)
        differs = self._entries[bid.key].fingerprint != bid.fingerprint
        return replace(answer, outcome=Outcome.MISMATCH) if differs else answer


@caught_by("test_fingerprint_of_a_held_key")
class ComparesHalfAFingerprint(MemoryStore):
    """Compares the first bytes only."""

    def _claim(self, bid, now):
        return super()._claim(
            replace(bid, fingerprint=bid.fingerprint and bid.fingerprint[:8]), now
        )


@caught_by("test_mismatched_bid_changes_no_fingerprint")
class KeepsTheLastFingerprint(MemoryStore):
    """Writes the fingerprint of a refused bid."""

    def _claim(self, bid, now):
        answer = super()._claim(bid, now)
        self._entries[bid.key].fingerprint = bid.fingerprint
        return answer


@caught_by("test_fingerprint_of_a_held_key")
class CallsEveryMismatchDone(MemoryStore):
    """Does not tell a held key from a done one when the body differs."""

    def _claim(self, bid, now):
        answer = super()._claim(bid, now)
        return replace(answer, done=answer.done or answer.outcome is Outcome.MISMATCH)
