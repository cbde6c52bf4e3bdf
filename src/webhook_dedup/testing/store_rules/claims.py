"""What a claim answers."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

from ...contracts import Store
from ...model import Outcome, Remembers, new_token
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

__all__ = ["ClaimRules"]

_A_MINUTE = 60.0


class ClaimRules(StoreCase):
    """Fresh, in flight, duplicate; and a claim whose answer was lost."""

    async def test_store_says_what_it_is(self, store: Store) -> None:
        """A store has a name for logs and declares what it remembers."""
        assert store.name
        assert isinstance(store.remembers, Remembers)

    async def test_absent_key_is_fresh(self, store: Store) -> None:
        """The first bid for a key holds it and is told so with its own data."""
        key = a_key()
        token = new_token()
        held = await claim(store, key, token=token, fingerprint=b"body")
        assert (held.key, held.token, held.fingerprint) == (key, token, b"body")
        assert held.fresh
        assert not held.done
        assert held.result is None
        assert held.holder in {None, token}

    async def test_fresh_claim_has_life_left(self, store: Store) -> None:
        """A claim is granted with its lease ahead of it, never one that has run out."""
        held = await claim(store, a_key())
        assert 0 < held.remaining <= LONG_LEASE + ROUNDING
        assert await renew(store, held)

    async def test_lease_of_less_than_a_second(self, store: Store) -> None:
        """A lease is not rounded to whole seconds."""
        held = await claim(store, a_key(), lease=0.5)
        assert 0 < held.remaining <= 0.5 + ROUNDING

    async def test_held_key_is_in_flight_for_others(self, store: Store) -> None:
        """Another bid is told that the key is held, and for how long."""
        key = a_key()
        await claim(store, key)
        other = await claim(store, key)
        assert other.outcome is Outcome.IN_FLIGHT
        assert not other.done
        assert other.result is None
        assert 0 < other.remaining <= LONG_LEASE + ROUNDING

    async def test_remaining_lease_is_the_holders(self, store: Store) -> None:
        """The lease left is what the holder asked for, whatever the other bid asks for."""
        key = a_key()
        await claim(store, key, lease=LONG_LEASE)
        other = await claim(store, key, lease=self.lease)
        assert self.lease < other.remaining <= LONG_LEASE + ROUNDING

    async def test_refused_claim_takes_nothing(self, store: Store) -> None:
        """However often others bid, the key stays with its first holder."""
        key = a_key()
        held = await claim(store, key)
        for _ in range(3):
            assert (await claim(store, key)).outcome is Outcome.IN_FLIGHT
        assert await renew(store, held)

    async def test_done_key_is_a_duplicate(self, store: Store) -> None:
        """A done key is a duplicate for every later bid."""
        key = a_key()
        assert await complete(store, await claim(store, key))
        for _ in range(3):
            other = await claim(store, key)
            assert other.outcome is Outcome.DUPLICATE
            assert other.done
            assert 0 <= other.remaining <= LONG_TTL + self.ttl_slack + ROUNDING

    async def test_released_key_is_fresh_at_once(self, store: Store) -> None:
        """A redelivery after a failure runs without waiting for a lease."""
        key = a_key()
        assert await release(store, await claim(store, key))
        assert (await claim(store, key)).fresh

    async def test_repeated_claim_is_fresh(self, store: Store) -> None:
        """A bid whose answer was lost recognises its own claim: nothing is taken for a copy."""
        key = a_key()
        held = await claim(store, key)
        for _ in range(3):
            again = await claim(store, key, token=held.token)
            assert again.outcome is Outcome.FRESH
            assert 0 < again.remaining <= LONG_LEASE + ROUNDING
        assert (await claim(store, key)).outcome is Outcome.IN_FLIGHT
        assert await complete(store, held)

    async def test_repeated_claim_tells_the_lease_left(self, store: Store) -> None:
        """A repeated claim neither extends the lease nor tells more of it than is left."""
        key = a_key()
        held = await claim(store, key)
        await self.outlive_lease()
        again = await claim(store, key, token=held.token, lease=2 * LONG_LEASE)
        assert again.fresh
        assert 0 < again.remaining <= LONG_LEASE - self.lease + ROUNDING
        assert (await claim(store, key)).remaining <= LONG_LEASE - self.lease + ROUNDING

    async def test_repeated_claim_of_a_run_out_lease_is_a_new_claim(self, store: Store) -> None:
        """A claim repeated after its lease ran out holds the key anew, with a whole lease."""
        key = a_key()
        held = await claim(store, key, lease=self.lease)
        await self.outlive_lease()
        again = await claim(store, key, token=held.token)
        assert again.fresh
        assert again.remaining > 0
        assert (await claim(store, key)).outcome is Outcome.IN_FLIGHT

    async def test_repeated_claim_yields_to_a_later_holder(self, store: Store) -> None:
        """A claim repeated after another took the key over is in flight."""
        key = a_key()
        held = await claim(store, key, lease=self.lease)
        await self.outlive_lease()
        assert (await claim(store, key)).fresh
        again = await claim(store, key, token=held.token)
        assert again.outcome is Outcome.IN_FLIGHT

    async def test_own_done_key_is_a_duplicate(self, store: Store) -> None:
        """A token that completed its key is told so, and never runs again."""
        key = a_key()
        held = await claim(store, key)
        assert await complete(store, held)
        again = await claim(store, key, token=held.token)
        assert again.outcome is Outcome.DUPLICATE
        assert again.done

    async def test_done_key_names_who_completed_it(self, store: Store) -> None:
        """A row can recognise its own completion; a store without single keys may not know."""
        key = a_key()
        held = await claim(store, key, token=new_token("row-7.part-2"))
        assert await complete(store, held)
        known = {held.token} if Remembers.FORGET in store.remembers else {held.token, None}
        assert (await claim(store, key)).holder in known
        assert (await claim(store, key, token=held.token)).holder in known

    async def test_first_seen_is_about_now(self, store: Store) -> None:
        """The first-seen time is Unix time in seconds by the store's clock."""
        seen = (await claim(store, a_key())).first_seen
        if Remembers.FIRST_SEEN in store.remembers:
            assert seen is not None, "remembers says FIRST_SEEN, and the claim has no first_seen"
            assert abs(seen - self.now()) < _A_MINUTE, "first_seen is Unix time, in seconds"
        else:
            assert seen is None, (
                "the claim has a first_seen, and remembers does not say so: add "
                "Remembers.FIRST_SEEN to it, or leave first_seen None"
            )

    async def test_first_seen_never_moves(self, store: Store) -> None:
        """Bids, renewals and the completion leave the first-seen time alone."""
        key = a_key()
        held = await claim(store, key)
        await self.outlive_lease()
        seen = [(await claim(store, key, token=held.token)).first_seen]
        seen.append((await claim(store, key)).first_seen)
        assert await renew(store, held)
        seen.append((await claim(store, key)).first_seen)
        assert await complete(store, held)
        seen.append((await claim(store, key)).first_seen)
        for each in seen:
            assert same_time(each, held.first_seen)
