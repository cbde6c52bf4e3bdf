"""How complete, release and renew answer to the token that holds the key."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

from ...contracts import Store
from ...model import Outcome, Remembers
from .case import (
    LONG_LEASE,
    LONG_TTL,
    ROUNDING,
    StoreCase,
    a_key,
    claim,
    complete,
    release,
    renew,
    same_time,
)

__all__ = ["CompletionRules"]


class CompletionRules(StoreCase):
    """Every verb repeats to the same answer, and mere expiry never undoes finished work."""

    async def test_repeated_complete_is_true(self, store: Store) -> None:
        """A completion whose answer was lost is told again that the key is done by it."""
        held = await claim(store, a_key())
        for _ in range(3):
            assert await complete(store, held)

    async def test_repeated_complete_keeps_the_first_result(self, store: Store) -> None:
        """A repeated completion does not replace what was stored."""
        held = await claim(store, a_key())
        assert await complete(store, held, result=b"first")
        assert await complete(store, held, result=b"second")
        assert await complete(store, held)
        expected = b"first" if Remembers.RESULT in store.remembers else None
        assert (await claim(store, held.key)).result == expected

    async def test_repeated_complete_does_not_shorten_the_ttl(self, store: Store) -> None:
        """A repeated completion does not change how long the key is remembered."""
        held = await claim(store, a_key())
        assert await complete(store, held, ttl=LONG_TTL)
        assert await complete(store, held, ttl=self.ttl)
        await self.outlive_ttl()
        assert (await claim(store, held.key)).outcome is Outcome.DUPLICATE

    async def test_complete_after_expiry_succeeds(self, store: Store) -> None:
        """The work is done although its lease ran out; nobody else took the key."""
        held = await claim(store, a_key(), lease=self.lease, fingerprint=b"body")
        await self.outlive_lease()
        assert await complete(store, held, result=b"late")
        assert await complete(store, held, result=b"later")
        other = await claim(store, held.key, fingerprint=b"body")
        assert other.outcome is Outcome.DUPLICATE
        assert same_time(other.first_seen, held.first_seen)
        assert other.result == (b"late" if Remembers.RESULT in store.remembers else None)

    async def test_complete_after_expiry_keeps_the_fingerprint(self, store: Store) -> None:
        """The claim brings its fingerprint along when its record is gone."""
        held = await claim(store, a_key(), lease=self.lease, fingerprint=b"body")
        await self.outlive_lease()
        assert await complete(store, held)
        other = await claim(store, held.key, fingerprint=b"other body")
        known = Remembers.FINGERPRINT in store.remembers
        assert other.outcome is (Outcome.MISMATCH if known else Outcome.DUPLICATE)
        assert other.done

    async def test_complete_of_an_absent_key_succeeds(self, store: Store) -> None:
        """Work finished after its key was released is remembered all the same."""
        held = await claim(store, a_key())
        assert await release(store, held)
        assert await complete(store, held)
        assert (await claim(store, held.key)).outcome is Outcome.DUPLICATE

    async def test_late_complete_succeeds_when_the_next_lease_ran_out_too(
        self, store: Store
    ) -> None:
        """Two workers froze in turn; the first to finish is the one that finished."""
        key = a_key()
        first = await claim(store, key, lease=self.lease)
        await self.outlive_lease()
        second = await claim(store, key, lease=self.lease)
        assert second.fresh
        await self.outlive_lease()
        assert await complete(store, first, result=b"first")
        assert not await complete(store, second, result=b"second")
        later = await claim(store, key)
        assert later.outcome is Outcome.DUPLICATE
        assert later.holder in {None, first.token}
        assert later.result in {None, b"first"}

    async def test_repeated_release_is_true(self, store: Store) -> None:
        """A release whose answer was lost is told again that the key is free."""
        held = await claim(store, a_key())
        for _ in range(3):
            assert await release(store, held)
        assert (await claim(store, held.key)).fresh

    async def test_release_after_expiry_is_true(self, store: Store) -> None:
        """Nobody holds a key whose lease ran out."""
        held = await claim(store, a_key(), lease=self.lease)
        await self.outlive_lease()
        assert await release(store, held)
        assert (await claim(store, held.key)).fresh

    async def test_release_after_own_completion_changes_nothing(self, store: Store) -> None:
        """A done key stays done even when its own token releases it."""
        held = await claim(store, a_key())
        assert await complete(store, held)
        for _ in range(2):
            assert not await release(store, held)
        assert (await claim(store, held.key)).outcome is Outcome.DUPLICATE

    async def test_renewal_sets_the_lease_from_now(self, store: Store) -> None:
        """A renewed claim lives for the new lease, and a repeated renewal too."""
        held = await claim(store, a_key())
        for _ in range(2):
            assert await renew(store, held, 3 * LONG_LEASE)
            remaining = (await claim(store, held.key)).remaining
            assert 2 * LONG_LEASE < remaining <= 3 * LONG_LEASE + ROUNDING

    async def test_renewed_lease_runs_out(self, store: Store) -> None:
        """The last renewal counts, also when it is for less than was left."""
        held = await claim(store, a_key())
        assert await renew(store, held, self.lease)
        await self.outlive_lease()
        assert (await claim(store, held.key)).fresh

    async def test_renewal_of_an_expired_claim_is_refused(self, store: Store) -> None:
        """A lease that ran out is lost, and renewing it does not bring it back."""
        held = await claim(store, a_key(), lease=self.lease)
        await self.outlive_lease()
        for _ in range(2):
            assert not await renew(store, held)
        assert (await claim(store, held.key)).fresh

    async def test_renewal_of_a_released_claim_is_refused(self, store: Store) -> None:
        """A claim given back is not held, and renewing it does not take it again."""
        held = await claim(store, a_key())
        assert await release(store, held)
        assert not await renew(store, held)
        assert (await claim(store, held.key)).fresh

    async def test_renewal_of_a_done_claim_is_refused(self, store: Store) -> None:
        """A done key has no lease, and a late renewal does not shorten its TTL."""
        held = await claim(store, a_key())
        assert await complete(store, held)
        assert not await renew(store, held, self.lease)
        await self.outlive_lease()
        assert (await claim(store, held.key)).outcome is Outcome.DUPLICATE
