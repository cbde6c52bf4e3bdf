"""Many tasks of one process at once."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from ...contracts import Store
from ...model import Bid, Claim, Outcome, Settlement, new_token
from .case import LONG_LEASE, LONG_TTL, StoreCase, a_key, claim, complete

__all__ = ["ConcurrencyRules"]

_T = TypeVar("_T")

_TASKS = 50
_CANCELLATIONS = 25


class ConcurrencyRules(StoreCase):
    """The check and the set are one step, whoever comes at the same time."""

    async def test_one_of_many_claims_is_fresh(self, store: Store) -> None:
        """Of fifty bids at once exactly one is fresh and the others are in flight."""
        for _ in range(3):
            answers = await self.at_once(_claims(store, a_key()))
            _one_is_fresh(answers)

    async def test_one_of_many_takes_over_an_expired_claim(self, store: Store) -> None:
        """Of fifty bids for a key whose holder died exactly one is fresh."""
        key = a_key()
        await claim(store, key, lease=self.lease)
        await self.outlive_lease()
        _one_is_fresh(await self.at_once(_claims(store, key)))

    async def test_one_of_many_takes_over_an_expired_done_key(self, store: Store) -> None:
        """Of fifty bids for a key past its TTL exactly one is fresh."""
        key = a_key()
        assert await complete(store, await claim(store, key), ttl=self.ttl)
        await self.outlive_ttl()
        _one_is_fresh(await self.at_once(_claims(store, key)))

    async def test_repeated_claims_at_once_are_all_fresh(self, store: Store) -> None:
        """A bid that is retried while its first copy is still under way recognises itself."""
        key, token = a_key(), new_token()
        answers = await self.at_once(claim(store, key, token=token) for _ in range(10))
        assert all(each.fresh for each in answers)
        assert (await claim(store, key)).outcome is Outcome.IN_FLIGHT

    async def test_one_of_many_late_workers_completes(self, store: Store) -> None:
        """When several stale holders finish at once exactly one is the one that finished."""
        key = a_key()
        stale = []
        for _ in range(4):
            stale.append(await claim(store, key, lease=self.lease))
            await self.outlive_lease()
        assert all(each.fresh for each in stale)
        finish = (complete(store, each, result=each.token.encode()) for each in stale)
        answers = await self.at_once(finish)
        assert Counter(answers) == {True: 1, False: 3}
        winner = stale[answers.index(True)]
        later = await claim(store, key)
        assert later.holder in {None, winner.token}
        assert later.result in {None, winner.token.encode()}

    async def test_overlapping_batches_do_not_deadlock(self, store: Store) -> None:
        """Batches over the same keys in opposite orders all end, and each key has one holder."""
        keys = [a_key() for _ in range(40)]
        bids = [[Bid(key, new_token(), LONG_LEASE) for key in order] for order in _orders(keys)]
        batches = await self.at_once(store.claim(batch) for batch in bids)
        held = [each for batch in batches for each in batch if each.fresh]
        assert sorted(each.key for each in held) == sorted(keys)
        orders = _orders(held)
        for renewed in await self.at_once(store.renew(order, LONG_LEASE) for order in orders):
            assert all(renewed)
        settlements = [[Settlement(each, LONG_TTL) for each in order] for order in orders]
        for completed in await self.at_once(store.complete(order) for order in settlements):
            assert all(completed)

    async def test_overlapping_releases_do_not_deadlock(self, store: Store) -> None:
        """Repeated releases of the same claims in opposite orders all end."""
        held = await store.claim([Bid(a_key(), new_token(), LONG_LEASE) for _ in range(40)])
        for released in await self.at_once(store.release(order) for order in _orders(held)):
            assert all(released)
        again = await store.claim([Bid(each.key, new_token(), LONG_LEASE) for each in held])
        assert all(each.fresh for each in again)

    async def test_cancelled_caller_leaves_the_store_usable(self, store: Store) -> None:
        """A caller cancelled at any point leaves no claim stuck and mixes up no answers."""
        for turn in range(_CANCELLATIONS):
            await self.at_once([_cancelled_and_repeated(store, turn)])


def _claims(store: Store, key: str) -> list[Awaitable[Claim]]:
    """Make bids of many tasks for one key."""
    return [claim(store, key) for _ in range(_TASKS)]


def _one_is_fresh(answers: Sequence[Claim]) -> None:
    outcomes = Counter(each.outcome for each in answers)
    assert outcomes == {Outcome.FRESH: 1, Outcome.IN_FLIGHT: _TASKS - 1}


async def _cancelled_and_repeated(store: Store, turns: int) -> None:
    key, token = a_key(), new_token()
    neighbour = asyncio.ensure_future(claim(store, a_key()))
    await _cancel_after(turns, asyncio.ensure_future(claim(store, key, token=token)))
    assert (await neighbour).fresh
    held = await claim(store, key, token=token)
    assert held.key == key
    assert held.fresh
    assert (await claim(store, key)).outcome is Outcome.IN_FLIGHT
    await _cancel_after(turns, asyncio.ensure_future(complete(store, held)))
    assert await complete(store, held)
    assert (await claim(store, key)).outcome is Outcome.DUPLICATE


async def _cancel_after(turns: int, task: asyncio.Future[object]) -> None:
    """Cancel a task some turns of the event loop after its start."""
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


def _orders(items: Sequence[_T]) -> list[list[_T]]:
    """Put the same items in orders that would deadlock row locks taken one by one."""
    turns = range(0, len(items), 10)
    turned = [[*items[turn:], *items[:turn]] for turn in turns]
    return [*turned, *(order[::-1] for order in turned)]
