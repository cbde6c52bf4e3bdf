"""How a store answers those who only look."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

import pytest

from ...contracts import Inspector, Store
from ...model import Outcome, Remembers
from .case import LONG_LEASE, LONG_TTL, ROUNDING, StoreCase, a_key, claim, complete, release
from .keys import HOSTILE

__all__ = ["LookingRules"]


class LookingRules(StoreCase):
    """Looking tells the truth and changes nothing; asked only of stores that can be looked into."""

    async def test_look_tells_who_holds(self, store: Store) -> None:
        """A held key is in flight: its holder, its age and the lease left are told."""
        held = await claim(store, a_key())
        (seen,) = await _inspector(store).look([held.key])
        assert seen is not None
        assert (seen.key, seen.holder, seen.done) == (held.key, held.token, False)
        assert seen.outcome is Outcome.IN_FLIGHT
        assert 0 < seen.remaining <= LONG_LEASE + ROUNDING
        if Remembers.FIRST_SEEN in store.remembers:
            assert seen.first_seen is not None
            assert abs(seen.first_seen - self.now()) < LONG_LEASE

    async def test_look_tells_what_is_done(self, store: Store) -> None:
        """A done key is a duplicate, with its result where the store keeps results."""
        held = await claim(store, a_key())
        assert await complete(store, held, result=b"first")
        (seen,) = await _inspector(store).look([held.key])
        assert seen is not None
        assert (seen.outcome, seen.holder, seen.done) == (Outcome.DUPLICATE, held.token, True)
        assert seen.result == (b"first" if Remembers.RESULT in store.remembers else None)
        assert LONG_LEASE < seen.remaining <= LONG_TTL + ROUNDING

    async def test_look_sees_nothing_where_nothing_lives(self, store: Store) -> None:
        """Unknown, released and expired keys are absent, in the order asked."""
        released, expired = await claim(store, a_key()), await claim(store, a_key(), lease=0.1)
        assert await release(store, released)
        held = await claim(store, a_key())
        await self.elapse(0.1 + self.margin)
        keys = [a_key(), released.key, held.key, expired.key]
        seen = await _inspector(store).look(keys)
        assert [each and each.key for each in seen] == [None, None, held.key, None]

    async def test_look_claims_nothing(self, store: Store) -> None:
        """A key that was looked for is still free, and one that is held stays its holder's."""
        key, held = a_key(), await claim(store, a_key())
        await _inspector(store).look([key, held.key])
        assert (await claim(store, key)).fresh
        assert await complete(store, held)

    async def test_look_takes_any_text(self, store: Store) -> None:
        """Looking knows hostile keys under the names that claiming gave them."""
        held = [await claim(store, a_key(text)) for text in HOSTILE.values()]
        seen = await _inspector(store).look([each.key for each in held])
        assert [each and each.holder for each in seen] == [each.token for each in held]


def _inspector(store: Store) -> Inspector:
    if not isinstance(store, Inspector):
        pytest.skip(f"the store {store.name!r} cannot be looked into")
    return store
