"""An item is due when its due time is past."""

# ruff: noqa: S101, PLR2004 - a test suite asserts, and counts what it has just made
from __future__ import annotations

from msgspec.structs import replace

from ...contracts import OperableInbox
from ..timed import LONG_LEASE
from .case import (
    InboxCase,
    a_grave,
    a_taken,
    an_attempt,
    an_item,
    begin,
    known,
    nothing_is_due,
    put,
    renew,
    take_one,
)

__all__ = ["LeaseRules"]


class LeaseRules(InboxCase):
    """Items are handed over when they come due, and held under leases in between."""

    async def test_held_item_is_not_due(self, inbox: OperableInbox) -> None:
        """Who puts an item runs it; nobody else is given it meanwhile."""
        await put(inbox, an_item(), LONG_LEASE)
        assert await nothing_is_due(inbox)

    async def test_item_comes_due_after_its_lease(self, inbox: OperableInbox) -> None:
        """What a process put before it died is run by others one lease later."""
        item = await put(inbox, an_item(key="key", event_id="evt_1"), self.lease)
        await self.outlive_lease()
        taken = await take_one(inbox, LONG_LEASE)
        assert replace(taken, token=item.token) == item

    async def test_item_without_lease_is_due_at_once(self, inbox: OperableInbox) -> None:
        """A lease of zero leaves an item to whoever comes."""
        item = await put(inbox, an_item(), 0.0)
        assert (await take_one(inbox, LONG_LEASE)).id == item.id

    async def test_taken_item_is_held(self, inbox: OperableInbox) -> None:
        """What one process has taken no other is given."""
        await a_taken(inbox, LONG_LEASE)
        assert await nothing_is_due(inbox)

    async def test_taken_item_comes_due_after_its_lease(self, inbox: OperableInbox) -> None:
        """What a process took before it died is taken by others one lease later."""
        item = await a_taken(inbox, self.lease)
        await self.outlive_lease()
        assert (await take_one(inbox, LONG_LEASE)).id == item.id
        assert await nothing_is_due(inbox)

    async def test_every_hold_has_a_token_of_its_own(self, inbox: OperableInbox) -> None:
        """No two holders of an item share a token."""
        item = await put(inbox, an_item(), 0.0)
        taken = [await take_one(inbox, 0.0) for _ in range(3)]
        tokens = {item.token, *(each.token for each in taken)}
        assert len(tokens) == 4
        assert all(tokens)

    async def test_one_take_hands_an_item_over_once(self, inbox: OperableInbox) -> None:
        """Even without a lease an item stands once in what is taken."""
        item = await put(inbox, an_item(), 0.0)
        assert [each.id for each in await inbox.take(5, 0.0)] == [item.id]

    async def test_take_respects_its_limit(self, inbox: OperableInbox) -> None:
        """No more are taken than there is room for; the rest stay due."""
        items = [await put(inbox, an_item(), 0.0) for _ in range(5)]
        assert not await inbox.take(0, LONG_LEASE)
        taken = [await inbox.take(limit, LONG_LEASE) for limit in (2, 10)]
        assert [len(each) for each in taken] == [2, 3]
        assert {each.id for some in taken for each in some} == {item.id for item in items}

    async def test_longest_due_come_first(self, inbox: OperableInbox) -> None:
        """Items are taken in the order of their due times, whenever they were put."""
        items = []
        for _ in range(5):
            items.append(await put(inbox, an_item(), 0.0))
            await self.elapse(self.margin)
        assert await inbox.defer(items[0], 0.0)
        await self.elapse(self.margin)
        taken = [*await inbox.take(3, LONG_LEASE), *await inbox.take(3, LONG_LEASE)]
        assert [each.id for each in taken] == [each.id for each in (*items[1:], items[0])]

    async def test_repeated_put_keeps_the_due_time(self, inbox: OperableInbox) -> None:
        """A put that is repeated after a lost reply moves nothing."""
        held = await put(inbox, an_item(), LONG_LEASE)
        await put(inbox, held, 0.0)
        assert await nothing_is_due(inbox)
        due = await put(inbox, an_item(), 0.0)
        await put(inbox, due, LONG_LEASE)
        assert (await take_one(inbox, LONG_LEASE)).id == due.id

    async def test_repeated_put_keeps_the_first_item(self, inbox: OperableInbox) -> None:
        """Whatever comes under a known id, what was recorded first stays."""
        item = await put(inbox, an_item(key="key", event_id="evt_1"), LONG_LEASE)
        other = replace(item.delivery, body=b"other", source="other")
        await put(inbox, replace(item, token="other", delivery=other, key="other"), LONG_LEASE)  # noqa: S106 - no secret
        kept = await known(inbox, item)
        assert replace(kept, token=item.token) == item
        assert not await renew(inbox, replace(item, token="other"), LONG_LEASE)  # noqa: S106 - no secret
        assert await renew(inbox, item, LONG_LEASE)

    async def test_put_again_leaves_the_next_holder(self, inbox: OperableInbox) -> None:
        """A put that is repeated late does not take the item from who holds it by now."""
        item = await put(inbox, an_item(), 0.0)
        taken = await take_one(inbox, LONG_LEASE)
        assert await begin(inbox, taken)
        await put(inbox, item, 0.0)
        assert await nothing_is_due(inbox)
        assert (await known(inbox, item)).attempts == 1
        assert await renew(inbox, taken, LONG_LEASE)

    async def test_put_again_leaves_a_dead_letter(self, inbox: OperableInbox) -> None:
        """A put that is repeated late does not bring back what is buried."""
        item = await a_grave(inbox)
        await put(inbox, item, 0.0)
        assert await nothing_is_due(inbox)
        kept = await known(inbox, item)
        assert kept.dead
        assert len(kept.history) == 1

    async def test_renewed_item_is_not_due(self, inbox: OperableInbox) -> None:
        """While a handler runs its item does not come due."""
        item = await put(inbox, an_item(), self.lease)
        assert await renew(inbox, item, LONG_LEASE)
        taken = await a_taken(inbox, self.lease)
        assert await renew(inbox, taken, LONG_LEASE)
        await self.outlive_lease()
        assert await nothing_is_due(inbox)

    async def test_renewal_sets_the_lease_from_now(self, inbox: OperableInbox) -> None:
        """A renewal replaces the lease that was left, it is not added to it."""
        item = await a_taken(inbox, LONG_LEASE)
        assert await renew(inbox, item, self.lease)
        await self.outlive_lease()
        assert (await take_one(inbox, LONG_LEASE)).id == item.id

    async def test_due_item_is_its_holders_until_it_is_taken(self, inbox: OperableInbox) -> None:
        """A late holder whose item nobody took yet can keep it."""
        item = await a_taken(inbox, self.lease)
        await self.outlive_lease()
        assert await renew(inbox, item, LONG_LEASE)
        assert await begin(inbox, item)
        assert await nothing_is_due(inbox)

    async def test_nothing_is_next_in_an_empty_inbox(self, inbox: OperableInbox) -> None:
        """An empty inbox and one of dead letters have nothing to wait for."""
        assert await inbox.next_due() is None
        await a_grave(inbox)
        assert await inbox.next_due() is None
        await inbox.done([await put(inbox, an_item(), LONG_LEASE)])
        assert await inbox.next_due() is None

    async def test_next_due_is_the_first_of_all(self, inbox: OperableInbox) -> None:
        """The wait is for the earliest item, held or not, and never negative."""
        await put(inbox, an_item(), 3 * LONG_LEASE)
        _is_about(await inbox.next_due(), 3 * LONG_LEASE)
        item = await put(inbox, an_item(), LONG_LEASE)
        _is_about(await inbox.next_due(), LONG_LEASE)
        assert await renew(inbox, item, 2 * LONG_LEASE)
        _is_about(await inbox.next_due(), 2 * LONG_LEASE)
        await put(inbox, an_item(), 0.0)
        await self.elapse(self.margin)
        assert await inbox.next_due() == 0

    async def test_next_due_follows_retries_and_deferrals(self, inbox: OperableInbox) -> None:
        """What is put off is waited for as long as it was put off."""
        item = await a_taken(inbox, LONG_LEASE)
        assert await inbox.defer(item, 3 * LONG_LEASE)
        _is_about(await inbox.next_due(), 3 * LONG_LEASE)
        assert await inbox.retry(item, 2 * LONG_LEASE, an_attempt())
        _is_about(await inbox.next_due(), 2 * LONG_LEASE)


def _is_about(wait: float | None, seconds: float) -> None:
    """See that a wait that began just now, by a machine however slow, is not yet over."""
    assert wait is not None
    assert seconds - LONG_LEASE / 2 < wait <= seconds + 1
