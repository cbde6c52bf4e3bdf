"""Many tasks of one process at once."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from ...contracts import OperableInbox, Sought
from ...model import Item, new_token
from ..timed import LONG_LEASE, cancel_after
from .case import (
    InboxCase,
    a_grave,
    an_attempt,
    an_item,
    begin,
    known,
    nothing_is_due,
    put,
    renew,
    take_one,
)

__all__ = ["ConcurrencyRules"]

_TAKERS = 20
_ITEMS = 200
_AT_ONCE = 7
_TASKS = 10
_CANCELLATIONS = 25


class ConcurrencyRules(InboxCase):
    """Every verb is one step, whoever comes at the same time."""

    async def test_every_item_is_taken_once(self, inbox: OperableInbox) -> None:
        """Twenty takers of two hundred items get each of them exactly once."""
        items = [an_item() for _ in range(_ITEMS)]
        await inbox.put(items, 0.0)
        shares = await self.at_once(_take_all(inbox) for _ in range(_TAKERS))
        taken = [*(each for share in shares for each in share), *await _take_all(inbox)]
        assert sorted(each.id for each in taken) == sorted(item.id for item in items)
        assert all(await inbox.renew(taken, LONG_LEASE))

    async def test_one_of_many_puts_is_recorded(self, inbox: OperableInbox) -> None:
        """Of several puts of one id at once exactly one is kept."""
        item = an_item()
        copies = [replace(item, token=new_token(item.id)) for _ in range(_TASKS)]
        await self.at_once(inbox.put([copy], LONG_LEASE) for copy in copies)
        held = [await renew(inbox, copy, LONG_LEASE) for copy in copies]
        assert held.count(True) == 1
        assert await inbox.count(Sought()) == 1

    async def test_repetitions_at_once_count_once(self, inbox: OperableInbox) -> None:
        """A verb whose copies are under way together does its work once."""
        item = await put(inbox, an_item(), LONG_LEASE)
        assert all(await self.at_once(begin(inbox, item) for _ in range(_TASKS)))
        assert (await known(inbox, item)).attempts == 1
        attempt = an_attempt()
        assert all(await self.at_once(inbox.retry(item, 0.0, attempt) for _ in range(_TASKS)))
        taken = await take_one(inbox, LONG_LEASE)
        assert taken.history == (attempt,)
        assert await begin(inbox, taken)
        assert all(await self.at_once(inbox.defer(taken, LONG_LEASE) for _ in range(_TASKS)))
        assert (await known(inbox, item)).attempts == 1
        assert all(await self.at_once(inbox.bury(taken, attempt) for _ in range(_TASKS)))
        assert (await known(inbox, item)).history == (attempt, attempt)

    async def test_overlapping_batches_do_not_deadlock(self, inbox: OperableInbox) -> None:
        """Batches of the same items in opposite orders all end, and so do takers among them."""
        items = [an_item(key=f"key {number % 4}") for number in range(40)]
        orders = _orders(items)
        await self.at_once(inbox.put(order, LONG_LEASE) for order in orders)
        for renewed in await self.at_once(inbox.renew(order, LONG_LEASE) for order in orders):
            assert all(renewed)
        for begun in await self.at_once(inbox.begin(order) for order in orders):
            assert all(begun)
        graves = [await a_grave(inbox, key=f"key {number}") for number in range(4)]
        calls = (_done_and_take(inbox, order) for order in orders)
        assert not any(await self.at_once(calls))
        assert [await inbox.get(each.id) for each in (*items, *graves)] == [None] * 44

    async def test_cancelled_caller_leaves_the_inbox_usable(self, inbox: OperableInbox) -> None:
        """A caller cancelled at any point loses no item and mixes up no answers."""
        for turns in range(_CANCELLATIONS):
            await self.at_once([_cancelled_and_repeated(inbox, turns)])

    async def test_cancelled_taker_loses_nothing(self, inbox: OperableInbox) -> None:
        """What a taker was about to be given comes due again."""
        items = [an_item() for _ in range(3)]
        await inbox.put(items, 0.0)
        for turns in range(_CANCELLATIONS):
            await cancel_after(turns, asyncio.ensure_future(inbox.take(10, 0.0)))
            taken = (await self.at_once([inbox.take(10, 0.0)]))[0]
            assert {each.id for each in taken} == {item.id for item in items}


async def _take_all(inbox: OperableInbox) -> list[Item]:
    """Take a few items at a time until none is due."""
    taken: list[Item] = []
    while some := await inbox.take(_AT_ONCE, LONG_LEASE):
        assert len(some) <= _AT_ONCE
        taken.extend(some)
    return taken


async def _done_and_take(inbox: OperableInbox, items: Sequence[Item]) -> Sequence[Item]:
    await inbox.done(items)
    return await inbox.take(len(items), LONG_LEASE)


async def _cancelled_and_repeated(inbox: OperableInbox, turns: int) -> None:
    item = an_item()
    neighbour = asyncio.ensure_future(put(inbox, an_item(), LONG_LEASE))
    await cancel_after(turns, asyncio.ensure_future(inbox.put([item], LONG_LEASE)))
    await inbox.put([item], LONG_LEASE)
    assert await renew(inbox, await neighbour, LONG_LEASE)
    await cancel_after(turns, asyncio.ensure_future(inbox.begin([item])))
    assert await begin(inbox, item)
    assert (await known(inbox, item)).attempts == 1
    attempt = an_attempt()
    await cancel_after(turns, asyncio.ensure_future(inbox.retry(item, LONG_LEASE, attempt)))
    assert await inbox.retry(item, LONG_LEASE, attempt)
    assert (await known(inbox, item)).history == (attempt,)
    await cancel_after(turns, asyncio.ensure_future(inbox.done([item])))
    await inbox.done([item])
    assert await inbox.get(item.id) is None
    assert await nothing_is_due(inbox)


def _orders(items: Sequence[Item]) -> list[list[Item]]:
    """Put the same items in orders that would deadlock row locks taken one by one."""
    turned = [[*items[turn:], *items[:turn]] for turn in range(0, len(items), 10)]
    return [*turned, *(order[::-1] for order in turned)]
