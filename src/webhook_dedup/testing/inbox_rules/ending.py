"""What is done never runs again."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

from ...contracts import OperableInbox, Sought
from ..timed import LONG_LEASE
from .case import (
    InboxCase,
    a_grave,
    a_taken,
    an_item,
    begin,
    known,
    nothing_is_due,
    put,
    refuses,
    renew,
    take_one,
)

__all__ = ["EndingRules"]

_LOOKALIKES = (
    "event",
    "Event",
    "event ",
    "event\0",
    "caf\u00e9",
    "cafe\u0301",
    "\ud800",
    "\\ud800",
    "\ufffd",
    "p" * 2_000,
    "p" * 2_000 + "a",
    "p" * 10_000,
)


class EndingRules(InboxCase):
    """Done removes the item and the dead letters of its key, and nothing else."""

    async def test_done_item_is_gone(self, inbox: OperableInbox) -> None:
        """A done item is neither handed over nor kept, and its token has no power."""
        item = await a_taken(inbox, self.lease)
        assert await begin(inbox, item)
        await inbox.done([item])
        await self.outlive_lease()
        assert await nothing_is_due(inbox)
        assert await inbox.get(item.id) is None
        await refuses(inbox, item)

    async def test_done_may_be_repeated(self, inbox: OperableInbox) -> None:
        """Removing what is not there is no error."""
        item = await put(inbox, an_item(), LONG_LEASE)
        for _ in range(2):
            await inbox.done([item])
        await inbox.done([an_item(key="key")])
        assert await inbox.get(item.id) is None

    async def test_done_needs_no_token(self, inbox: OperableInbox) -> None:
        """A delivery whose event is done never runs again, whoever holds it by now."""
        item = await put(inbox, an_item(), 0.0)
        taken = await take_one(inbox, LONG_LEASE)
        await inbox.done([item])
        assert await inbox.get(item.id) is None
        assert not await renew(inbox, taken, LONG_LEASE)

    async def test_done_leaves_its_neighbours(self, inbox: OperableInbox) -> None:
        """Items that wait for the same key end by their own claim, not by this."""
        item, sibling, other = [
            await put(inbox, an_item(key=key), LONG_LEASE) for key in ("key", "key", "other")
        ]
        await inbox.done([item])
        for each in (sibling, other):
            assert not (await known(inbox, each)).dead
            assert await renew(inbox, each, LONG_LEASE)

    async def test_done_closes_the_dead_letters_of_its_key(self, inbox: OperableInbox) -> None:
        """The success of a redelivery closes every grave of its event, and no other."""
        graves = [await a_grave(inbox, key="key") for _ in range(3)]
        other = await a_grave(inbox, key="other")
        await inbox.done([await put(inbox, an_item(key="key"), LONG_LEASE)])
        assert [await inbox.get(each.id) for each in graves] == [None] * 3
        assert (await known(inbox, other)).dead
        assert await inbox.count(Sought(state="dead")) == 1

    async def test_repeated_done_closes_dead_letters(self, inbox: OperableInbox) -> None:
        """The graves of a key are closed also when the item itself is gone already."""
        grave = await a_grave(inbox, key="key")
        await inbox.done([an_item(key="key")])
        assert await inbox.get(grave.id) is None

    async def test_done_dead_letter_is_gone(self, inbox: OperableInbox) -> None:
        """An item that was buried while its handler went on to succeed is done all the same."""
        keyed, keyless = await a_grave(inbox, key="key"), await a_grave(inbox)
        await inbox.done([keyed, keyless])
        assert [await inbox.get(each.id) for each in (keyed, keyless)] == [None] * 2

    async def test_items_without_a_key_are_no_siblings(self, inbox: OperableInbox) -> None:
        """Events without an id have nothing to do with each other."""
        grave = await a_grave(inbox)
        await inbox.done([await put(inbox, an_item(), LONG_LEASE)])
        assert (await known(inbox, grave)).dead

    async def test_lookalike_keys_are_no_siblings(self, inbox: OperableInbox) -> None:
        """Keys that are equal but for case, form, spaces or their end close only their own."""
        graves = [await a_grave(inbox, key=key) for key in _LOOKALIKES]
        for done, key in enumerate(_LOOKALIKES):
            await inbox.done([an_item(key=key)])
            left = [await inbox.get(grave.id) for grave in graves]
            assert [each is None for each in left] == [at <= done for at in range(len(graves))]
