"""Only the token that holds a key may end its claim."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

from ...contracts import Store
from ...model import Claim, Outcome
from .case import LONG_LEASE, ROUNDING, StoreCase, a_key, claim, complete, release, renew

__all__ = ["FencingRules"]


class FencingRules(StoreCase):
    """Refused callers and stale holders never touch the winner's key."""

    async def test_refused_callers_cannot_complete(self, store: Store) -> None:
        """B, C and D were told in flight; completing anyway does not make the key done."""
        key, winner, refused = await _a_race(store)
        for loser in refused:
            assert not await complete(store, loser, result=b"loser")
        assert (await claim(store, key)).outcome is Outcome.IN_FLIGHT
        await _wins(store, winner)

    async def test_refused_callers_cannot_release(self, store: Store) -> None:
        """B, C and D were told in flight; releasing anyway does not free the winner's key."""
        key, winner, refused = await _a_race(store)
        for loser in refused:
            assert not await release(store, loser)
        assert (await claim(store, key)).outcome is Outcome.IN_FLIGHT
        await _wins(store, winner)

    async def test_refused_callers_cannot_renew(self, store: Store) -> None:
        """B, C and D were told in flight; renewing anyway does not change the winner's lease."""
        key, winner, refused = await _a_race(store)
        for loser in refused:
            assert not await renew(store, loser, 10 * LONG_LEASE)
        assert (await claim(store, key)).remaining <= LONG_LEASE + ROUNDING
        for loser in refused:
            assert not await renew(store, loser, self.lease)
        await self.outlive_lease()
        assert (await claim(store, key)).outcome is Outcome.IN_FLIGHT
        await _wins(store, winner)

    async def test_refused_callers_cannot_touch_a_done_key(self, store: Store) -> None:
        """After the winner completed, its losers change nothing either."""
        key, winner, refused = await _a_race(store)
        await _wins(store, winner)
        for loser in (*refused, await claim(store, key)):
            assert not await complete(store, loser, ttl=self.ttl, result=b"loser")
            assert not await release(store, loser)
            assert not await renew(store, loser, self.lease)
        await self.outlive_ttl()
        await _is_done_by(store, winner)

    async def test_stale_holder_cannot_complete(self, store: Store) -> None:
        """A worker that froze past its lease does not finish the key of the next holder."""
        stale, winner = await self._taken_over(store)
        assert not await complete(store, stale, result=b"stale")
        assert (await claim(store, stale.key)).outcome is Outcome.IN_FLIGHT
        await _wins(store, winner)

    async def test_stale_holder_cannot_release(self, store: Store) -> None:
        """A worker that froze past its lease does not free the key of the next holder."""
        stale, winner = await self._taken_over(store)
        assert not await release(store, stale)
        assert (await claim(store, stale.key)).outcome is Outcome.IN_FLIGHT
        await _wins(store, winner)

    async def test_stale_holder_cannot_renew(self, store: Store) -> None:
        """A worker that froze past its lease does not change the lease of the next holder."""
        stale, winner = await self._taken_over(store)
        assert not await renew(store, stale, 10 * LONG_LEASE)
        assert (await claim(store, stale.key)).remaining <= LONG_LEASE + ROUNDING
        assert not await renew(store, stale, self.lease)
        await self.outlive_lease()
        assert (await claim(store, stale.key)).outcome is Outcome.IN_FLIGHT
        await _wins(store, winner)

    async def test_stale_holder_cannot_touch_a_done_key(self, store: Store) -> None:
        """A worker that froze past its lease learns that the next holder has finished."""
        stale, winner = await self._taken_over(store)
        await _wins(store, winner)
        assert not await complete(store, stale, result=b"stale")
        assert not await release(store, stale)
        assert not await renew(store, stale)
        await _is_done_by(store, winner)

    async def test_released_holder_is_a_stranger(self, store: Store) -> None:
        """A token that released its claim has no power over the next holder."""
        key = a_key()
        former = await claim(store, key)
        assert await release(store, former)
        winner = await claim(store, key)
        assert winner.fresh
        assert not await release(store, former)
        assert not await renew(store, former)
        assert not await complete(store, former, result=b"former")
        assert (await claim(store, key)).outcome is Outcome.IN_FLIGHT
        await _wins(store, winner)

    async def _taken_over(self, store: Store) -> tuple[Claim, Claim]:
        key = a_key()
        stale = await claim(store, key, lease=self.lease)
        await self.outlive_lease()
        winner = await claim(store, key)
        assert winner.fresh
        return stale, winner


async def _a_race(store: Store) -> tuple[str, Claim, list[Claim]]:
    key = a_key()
    winner = await claim(store, key)
    refused = [await claim(store, key) for _ in range(3)]
    assert [loser.outcome for loser in refused] == [Outcome.IN_FLIGHT] * 3
    return key, winner, refused


async def _wins(store: Store, winner: Claim) -> None:
    """Complete as the winner and see that nobody else's result is kept."""
    assert await renew(store, winner)
    assert await complete(store, winner, result=b"winner")
    await _is_done_by(store, winner)


async def _is_done_by(store: Store, winner: Claim) -> None:
    later = await claim(store, winner.key)
    assert later.outcome is Outcome.DUPLICATE
    assert later.holder in {None, winner.token}
    assert later.result in {None, b"winner"}
