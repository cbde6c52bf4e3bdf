"""An app takes what came from its own sources."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

from collections.abc import Sequence
from inspect import signature

import pytest

from ...contracts import OperableInbox
from ...model import Item
from ..timed import LONG_LEASE
from .case import InboxCase, an_item, nothing_is_due, put, renew, take_one

__all__ = ["SourceRules"]

MANY = 1_200


class SourceRules(InboxCase):
    """Apps that share an inbox leave each other's items alone."""

    async def test_take_of_a_source_leaves_the_others(self, inbox: OperableInbox) -> None:
        """What came from another source is not touched: it stays due, and its holder's."""
        other = await put(inbox, an_item(source="other"), 0.0)
        items = [await put(inbox, an_item(source=name), 0.0) for name in ("one", "two")]
        taken = await _taken(inbox, "two", "one", "none of which there is anything")
        assert {each.id for each in taken} == {each.id for each in items}
        assert await renew(inbox, other, 0.0)
        assert (await take_one(inbox, LONG_LEASE)).id == other.id

    async def test_take_of_a_source_finds_it_behind_others(self, inbox: OperableInbox) -> None:
        """However much another app has left there, what is wanted comes, the longest due first."""
        await inbox.put([an_item(source="other") for _ in range(MANY)], 0.0)
        items = []
        for _ in range(3):
            await self.elapse(self.margin)
            items.append(await put(inbox, an_item(source="own"), 0.0))
        taken = [*await _taken(inbox, "own", limit=2), *await _taken(inbox, "own", limit=2)]
        assert [each.id for each in taken] == [each.id for each in items]
        assert not await _taken(inbox, "own")

    async def test_take_of_a_source_respects_its_limit(self, inbox: OperableInbox) -> None:
        """Behind much of another app, too, no more are taken than there is room for."""
        await inbox.put([an_item(source="other") for _ in range(MANY)], 0.0)
        await self.elapse(self.margin)
        await inbox.put([an_item(source="own") for _ in range(3)], 0.0)
        taken = [await _taken(inbox, "own", limit=limit) for limit in (0, 2, 2)]
        assert [len(each) for each in taken] == [0, 2, 1]

    async def test_take_of_no_source_takes_nothing(self, inbox: OperableInbox) -> None:
        """An app without sources has nothing to run."""
        item = await put(inbox, an_item(), 0.0)
        assert not await _taken(inbox)
        assert (await take_one(inbox, LONG_LEASE)).id == item.id

    async def test_take_of_a_source_of_any_name(self, inbox: OperableInbox) -> None:
        """A source is known by its very name, whatever it is made of."""
        names = ["shop", "Shop", "shop ", "", "%", "'\"\\", "{shop}", "nul \0", "lone \ud800", "é"]
        for name in names:
            await put(inbox, an_item(source=name), 0.0)
        for name in names:
            assert [each.delivery.source for each in await _taken(inbox, name)] == [name]
        assert await nothing_is_due(inbox)


async def _taken(inbox: OperableInbox, *sources: str, limit: int = 10) -> Sequence[Item]:
    if "sources" not in signature(inbox.take).parameters:
        pytest.skip("this inbox hands over what came from any source (see Inbox.take)")
    return await inbox.take(limit, LONG_LEASE, sources=sources)
