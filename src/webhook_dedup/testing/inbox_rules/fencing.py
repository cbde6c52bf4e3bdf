"""Only the token that holds an item may act on it."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

from ...contracts import OperableInbox
from ...model import Item
from ..timed import LONG_LEASE
from .case import (
    InboxCase,
    a_taken,
    an_attempt,
    an_item,
    begin,
    known,
    nothing_is_due,
    put,
    refuses,
    renew,
    take_one,
)

__all__ = ["FencingRules"]


class FencingRules(InboxCase):
    """A holder that comes back after its item was taken changes nothing."""

    async def test_former_holder_is_refused(self, inbox: OperableInbox) -> None:
        """A worker that froze past its lease has no power over the next holder's item."""
        stale, holder = await self._taken_over(inbox)
        assert await begin(inbox, holder)
        await refuses(inbox, stale)
        assert await nothing_is_due(inbox)
        assert await renew(inbox, holder, LONG_LEASE)

    async def test_who_put_is_refused_after_a_take(self, inbox: OperableInbox) -> None:
        """The token an item was put with is worth as little once it was taken."""
        item = await put(inbox, an_item(), 0.0)
        holder = await take_one(inbox, LONG_LEASE)
        await refuses(inbox, item)
        assert await nothing_is_due(inbox)
        assert await begin(inbox, holder)

    async def test_former_holder_cannot_take_an_attempt_back(self, inbox: OperableInbox) -> None:
        """What a former holder began stays counted when it comes back to defer."""
        stale = await a_taken(inbox, 0.0)
        assert await begin(inbox, stale)
        holder = await take_one(inbox, LONG_LEASE)
        assert not await inbox.defer(stale, LONG_LEASE)
        assert (await known(inbox, holder)).attempts == 1

    async def test_former_holder_is_refused_after_a_deferral(self, inbox: OperableInbox) -> None:
        """What the next holder deferred stays deferred."""
        stale, holder = await self._taken_over(inbox)
        assert await inbox.defer(holder, LONG_LEASE)
        await refuses(inbox, stale)
        assert await nothing_is_due(inbox)

    async def test_former_holder_is_refused_after_a_retry(self, inbox: OperableInbox) -> None:
        """What the next holder put off for a retry stays put off, with its one attempt."""
        stale, holder = await self._taken_over(inbox)
        assert await inbox.retry(holder, LONG_LEASE, an_attempt())
        await refuses(inbox, stale)
        assert await nothing_is_due(inbox)

    async def test_former_holder_is_refused_after_a_burial(self, inbox: OperableInbox) -> None:
        """What the next holder buried stays buried, with its one attempt."""
        stale, holder = await self._taken_over(inbox)
        assert await inbox.bury(holder, an_attempt())
        await refuses(inbox, stale)
        assert (await known(inbox, holder)).history == (an_attempt(),)

    async def test_own_retry_is_not_confirmed_after_a_take(self, inbox: OperableInbox) -> None:
        """A retry that is repeated after another took the item is a stranger's."""
        former = await a_taken(inbox, LONG_LEASE)
        assert await inbox.retry(former, 0.0, an_attempt())
        holder = await take_one(inbox, LONG_LEASE)
        await refuses(inbox, former)
        assert (await known(inbox, holder)).history == (an_attempt(),)

    async def test_unknown_items_are_refused(self, inbox: OperableInbox) -> None:
        """A token of an item that was never put holds nothing and makes nothing."""
        item = an_item()
        await refuses(inbox, item)
        assert await inbox.get(item.id) is None
        assert await nothing_is_due(inbox)

    async def _taken_over(self, inbox: OperableInbox) -> tuple[Item, Item]:
        stale = await a_taken(inbox, self.lease)
        await self.outlive_lease()
        return stale, await take_one(inbox, LONG_LEASE)
