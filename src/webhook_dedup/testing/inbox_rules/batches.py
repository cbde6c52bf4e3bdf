"""The frequent verbs take a batch."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ...contracts import OperableInbox, Sought
from ...model import Item
from ..timed import LONG_LEASE
from .case import InboxCase, a_grave, an_item, known, nothing_is_due, put

__all__ = ["BatchRules"]

_MANY = 300


class BatchRules(InboxCase):
    """Each item of a batch is served for itself, and answers come in the order asked."""

    async def test_empty_batches_answer_nothing(self, inbox: OperableInbox) -> None:
        """No items, no answers, no error."""
        await inbox.put([], LONG_LEASE)
        await inbox.done([])
        assert not await inbox.begin([])
        assert not await inbox.renew([], LONG_LEASE)
        assert [await inbox.requeue([]), await inbox.shelve([], ""), await inbox.purge([])] == [
            0
        ] * 3

    async def test_verbs_answer_each_item_for_itself(self, inbox: OperableInbox) -> None:
        """Begin and renew refuse the strangers of a batch and serve the others."""
        items = await self._items_in_no_order(inbox, 4)
        mixed = [items[0], _stranger(items[1]), items[2], _stranger(items[3])]
        assert list(await inbox.begin(mixed)) == [True, False, True, False]
        assert [(await known(inbox, each)).attempts for each in items] == [1, 0, 1, 0]
        assert list(await inbox.renew(mixed, 0.0)) == [True, False, True, False]
        taken = await inbox.take(10, LONG_LEASE)
        assert {each.id for each in taken} == {items[0].id, items[2].id}

    async def test_unknown_items_of_a_batch(self, inbox: OperableInbox) -> None:
        """Items that were never put are refused in their places, and dead ones too."""
        items = await self._items_in_no_order(inbox, 3)
        grave = await a_grave(inbox)
        asked = [an_item(), items[2], grave, items[0], an_item(), items[1]]
        expected = [False, True, False, True, False, True]
        assert list(await inbox.renew(asked, LONG_LEASE)) == expected
        assert list(await inbox.begin(asked)) == expected

    async def test_known_items_of_a_batch_stay(self, inbox: OperableInbox) -> None:
        """A put records what is new beside what is known, and leaves the latter as it was."""
        kept = await put(inbox, an_item(), LONG_LEASE)
        grave = await a_grave(inbox)
        new = [an_item(), an_item()]
        await inbox.put([new[0], kept, grave, new[1]], 0.0)
        taken = await inbox.take(10, LONG_LEASE)
        assert {each.id for each in taken} == {each.id for each in new}
        assert (await known(inbox, grave)).dead

    async def test_large_batch(self, inbox: OperableInbox) -> None:
        """Hundreds of items are put, taken, begun, renewed and done at once."""
        items = [an_item(key=str(number)) for number in range(_MANY)]
        await inbox.put(items, 0.0)
        taken = await inbox.take(_MANY, LONG_LEASE)
        assert sorted(each.id for each in taken) == sorted(each.id for each in items)
        assert list(await inbox.begin(taken)) == [True] * _MANY
        assert list(await inbox.renew(taken, LONG_LEASE)) == [True] * _MANY
        await inbox.done(taken[::2])
        left = await inbox.find(Sought(), limit=_MANY)
        assert sorted(each.id for each in left) == sorted(each.id for each in taken[1::2])
        assert {each.attempts for each in left} == {1}
        await inbox.done(taken)
        assert await inbox.count(Sought()) == 0

    async def test_done_of_a_batch_is_of_its_keys(self, inbox: OperableInbox) -> None:
        """Each item of a batch closes the dead letters of its own key."""
        graves = [await a_grave(inbox, key=key) for key in ("one", "two", "three", "")]
        done = [await put(inbox, an_item(key=key), LONG_LEASE) for key in ("one", "", "three")]
        await inbox.done(done)
        left = [await inbox.get(each.id) is not None for each in graves]
        assert left == [False, True, False, True]

    async def _items_in_no_order(self, inbox: OperableInbox, count: int) -> Sequence[Item]:
        """Put items whose ids stand against the order they are asked in."""
        items = sorted((an_item() for _ in range(count)), key=lambda item: item.id, reverse=True)
        await inbox.put(items[::-1], LONG_LEASE)
        assert await nothing_is_due(inbox)
        return items


def _stranger(item: Item) -> Item:
    return replace(item, token=f"{item.token}x")
