"""Three states, two clocks."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

import time
from contextlib import AbstractContextManager
from datetime import timedelta
from unittest import mock

import pytest

from ...contracts import Store
from ...model import Outcome
from .case import LONG_LEASE, LONG_TTL, ROUNDING, StoreCase, a_key, claim, complete, release, renew

__all__ = ["ExpiryRules"]

_LONG_SPANS = tuple(timedelta(days=days).total_seconds() for days in (1, 2, 400))


class ExpiryRules(StoreCase):
    """A held key lives for its lease, a done one for its TTL, and what ran out is absent."""

    async def test_expired_claim_is_readmitted(self, store: Store) -> None:
        """A crash blocks redeliveries for one lease and not longer."""
        key = a_key()
        for _ in range(2):
            assert (await claim(store, key, lease=self.lease)).fresh
            await self.outlive_lease()
        assert (await claim(store, key)).fresh

    async def test_readmitted_claim_is_held(self, store: Store) -> None:
        """A key taken over after a crash is held and completed like a new one."""
        key = a_key()
        await claim(store, key, lease=self.lease)
        await self.outlive_lease()
        held = await claim(store, key)
        assert 0 < held.remaining <= LONG_LEASE + ROUNDING
        assert (await claim(store, key)).outcome is Outcome.IN_FLIGHT
        assert await renew(store, held)
        assert await complete(store, held)
        assert (await claim(store, key)).outcome is Outcome.DUPLICATE

    async def test_expired_done_key_is_readmitted(self, store: Store) -> None:
        """A done key is absent after its TTL, and can be claimed and completed again."""
        key = a_key()
        for _ in range(2):
            held = await claim(store, key)
            assert held.fresh
            assert await complete(store, held, ttl=self.ttl)
            await self.outlive_ttl()
        assert (await claim(store, key)).fresh

    async def test_done_key_outlives_its_lease(self, store: Store) -> None:
        """Completion changes the clock: the short lease no longer counts."""
        held = await claim(store, a_key(), lease=self.lease)
        assert await complete(store, held, ttl=LONG_TTL)
        await self.outlive_lease()
        assert (await claim(store, held.key)).outcome is Outcome.DUPLICATE

    async def test_done_key_does_not_keep_a_long_lease(self, store: Store) -> None:
        """Completion changes the clock: a TTL shorter than the lease ends the key."""
        held = await claim(store, a_key(), lease=LONG_LEASE)
        assert await complete(store, held, ttl=self.ttl)
        await self.outlive_ttl()
        assert (await claim(store, held.key)).fresh

    async def test_clock_of_the_caller_does_not_count(self, store: Store) -> None:
        """A process whose wall clock is an hour off neither frees keys nor holds them longer."""
        if not self.own_clock:
            pytest.skip(f"the store {store.name!r} has no clock but this process's")
        held, done = await claim(store, a_key()), await claim(store, a_key())
        dead, old = await claim(store, a_key(), lease=self.lease), await claim(store, a_key())
        assert await complete(store, done)
        assert await complete(store, old, ttl=self.ttl)
        await self.outlive_lease()
        await self.outlive_ttl()
        for error in (timedelta(hours=2), timedelta(hours=-2)):
            with _wall_clock_off_by(error):
                assert (await claim(store, held.key)).outcome is Outcome.IN_FLIGHT
                assert (await claim(store, done.key)).outcome is Outcome.DUPLICATE
                for key in (dead.key, old.key):
                    again = await claim(store, key)
                    assert again.fresh
                    assert await renew(store, again)
                    assert await release(store, again)

    async def test_a_day_is_not_nothing(self, store: Store) -> None:
        """TTLs and leases of whole days are kept as given."""
        for span in _LONG_SPANS:
            done = await claim(store, a_key())
            assert await complete(store, done, ttl=span)
            held = await claim(store, a_key(), lease=span)
            assert span - LONG_LEASE < held.remaining <= span + ROUNDING
            await self.outlive_lease()
            assert (await claim(store, done.key)).outcome is Outcome.DUPLICATE
            assert (await claim(store, held.key)).outcome is Outcome.IN_FLIGHT

    async def test_nothing_of_an_expired_claim_leaks(self, store: Store) -> None:
        """A key taken over after a crash has a new first-seen time and fingerprint."""
        key = a_key()
        old = await claim(store, key, lease=self.lease, fingerprint=b"old")
        await self.outlive_lease()
        new = await claim(store, key, fingerprint=b"new")
        assert new.fresh
        self._is_later(new.first_seen, old.first_seen)
        other = await claim(store, key, fingerprint=b"new")
        assert other.outcome is Outcome.IN_FLIGHT
        self._is_later(other.first_seen, old.first_seen)
        assert await complete(store, new)
        self._is_later((await claim(store, key)).first_seen, old.first_seen)

    async def test_nothing_of_an_expired_done_key_leaks(self, store: Store) -> None:
        """A key claimed again after its TTL has a new first-seen time, fingerprint and result."""
        key = a_key()
        old = await claim(store, key, fingerprint=b"old")
        assert await complete(store, old, ttl=self.ttl, result=b"old")
        await self.outlive_ttl()
        new = await claim(store, key, fingerprint=b"new")
        assert new.fresh
        assert not new.done
        assert new.result is None
        assert new.holder in {None, new.token}
        self._is_later(new.first_seen, old.first_seen)
        other = await claim(store, key, fingerprint=b"new")
        assert other.outcome is Outcome.IN_FLIGHT
        assert other.result is None
        assert await complete(store, new)
        again = await claim(store, key, fingerprint=b"new")
        assert again.outcome is Outcome.DUPLICATE
        assert again.result is None

    async def test_nothing_of_a_released_claim_leaks(self, store: Store) -> None:
        """A key claimed again after a release has a new fingerprint."""
        key = a_key()
        assert await release(store, await claim(store, key, fingerprint=b"old"))
        assert (await claim(store, key, fingerprint=b"new")).fresh
        other = await claim(store, key, fingerprint=b"new")
        assert other.outcome is Outcome.IN_FLIGHT

    async def test_nothing_is_kept_without_an_expiry(self, store: Store) -> None:
        """After every path a key can take, all that is stored will go by itself."""
        held = await claim(store, a_key(), fingerprint=b"body")
        await claim(store, held.key, fingerprint=b"other body")
        renewed = await claim(store, a_key(), lease=self.lease)
        await renew(store, renewed)
        done = await claim(store, a_key())
        await complete(store, done, result=b"result")
        await complete(store, done, result=b"result")
        await claim(store, done.key)
        await release(store, done)
        await renew(store, done)
        await release(store, await claim(store, a_key()))
        late = await claim(store, a_key(), lease=self.lease)
        taken_over = await claim(store, a_key(), lease=self.lease)
        await self.outlive_lease()
        await renew(store, late)
        await complete(store, late)
        await claim(store, taken_over.key)
        for verb in (complete, release, renew):
            await verb(store, taken_over)
        assert not await self.unexpiring(store)

    def _is_later(self, new: float | None, old: float | None) -> None:
        """Compare first-seen times of two lives of a key, where they are known."""
        if old is not None:
            assert new is not None
            assert new >= old + self.lease - ROUNDING


def _wall_clock_off_by(error: timedelta) -> AbstractContextManager[object]:
    """Let this process believe that it is another time."""
    right = time.time

    def wrong() -> float:
        return right() + error.total_seconds()

    return mock.patch("time.time", wrong)
