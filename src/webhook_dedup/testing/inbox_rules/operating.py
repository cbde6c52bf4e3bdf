"""What a person may do with the items of an inbox."""

# ruff: noqa: S101, PLR2004 - a test suite asserts, and counts what it has just made
from __future__ import annotations

from ...contracts import OperableInbox, Sought
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
    refuses,
    take_one,
)
from .deliveries import HOSTILE_TEXTS

__all__ = ["OperatingRules"]


class OperatingRules(InboxCase):
    """Get, requeue, shelve and purge act on items by their ids, whoever holds them."""

    async def test_unknown_item_is_none(self, inbox: OperableInbox) -> None:
        """An id that is not there is no error."""
        item = await put(inbox, an_item(), LONG_LEASE)
        assert await inbox.get(an_item().id) is None
        assert await inbox.get("") is None
        assert (await known(inbox, item)).id == item.id

    async def test_looking_changes_nothing(self, inbox: OperableInbox) -> None:
        """What is looked at is neither held nor moved by it."""
        item = await a_taken(inbox, LONG_LEASE)
        await inbox.get(item.id)
        await inbox.find(Sought())
        await inbox.count(Sought())
        assert await nothing_is_due(inbox)
        assert await begin(inbox, item)
        assert await inbox.defer(item, 0.0)
        await inbox.find(Sought())
        assert (await take_one(inbox, LONG_LEASE)).id == item.id

    async def test_requeued_dead_letter_is_due(self, inbox: OperableInbox) -> None:
        """A dead letter is run again at once, with all its attempts before it."""
        item = await a_taken(inbox, LONG_LEASE, key="key", body=b"\0\xff")
        assert await begin(inbox, item)
        assert await inbox.bury(item, an_attempt("the end"))
        assert await inbox.requeue([item.id]) == 1
        taken = await take_one(inbox, LONG_LEASE)
        assert (taken.attempts, taken.history) == (0, (an_attempt("the end"),))
        assert not taken.dead
        assert (taken.key, taken.delivery) == ("key", item.delivery)
        assert await begin(inbox, taken)
        assert await inbox.bury(taken, an_attempt("again"))
        kept = await known(inbox, item)
        assert kept.dead
        assert (kept.attempts, len(kept.history)) == (1, 2)

    async def test_requeued_item_is_no_dead_letter(self, inbox: OperableInbox) -> None:
        """It is neither found nor counted among the dead, nor closed with those of its key."""
        grave = await a_grave(inbox, key="key")
        assert await inbox.requeue([grave.id]) == 1
        assert list(await inbox.find(Sought(state="dead"))) == []
        assert await inbox.count(Sought(state="dead")) == 0
        await inbox.done([await put(inbox, an_item(key="key"), LONG_LEASE)])
        assert not (await known(inbox, grave)).dead

    async def test_requeued_item_does_not_wait(self, inbox: OperableInbox) -> None:
        """What waits for its retry is due at once, and its attempts are counted anew."""
        item = await a_taken(inbox, LONG_LEASE)
        assert await begin(inbox, item)
        assert await inbox.retry(item, LONG_LEASE, an_attempt())
        assert await inbox.requeue([item.id]) == 1
        taken = await take_one(inbox, LONG_LEASE)
        assert (taken.attempts, taken.history) == (0, (an_attempt(),))

    async def test_requeued_item_is_not_deferred(self, inbox: OperableInbox) -> None:
        """Its next deferral is news again."""
        item = await a_taken(inbox, LONG_LEASE)
        assert await inbox.defer(item, LONG_LEASE)
        assert await inbox.requeue([item.id]) == 1
        assert not (await take_one(inbox, LONG_LEASE)).deferred

    async def test_cut_off_runs_are_counted_anew(self, inbox: OperableInbox) -> None:
        """Of a requeued item the runs count that are cut off from then on, whatever its history."""
        item = await a_taken(inbox, 0.0)
        assert await begin(inbox, item)
        buried = await take_one(inbox, LONG_LEASE)
        assert await begin(inbox, buried)
        assert await inbox.bury(buried, an_attempt())
        assert await inbox.requeue([item.id]) == 1
        for number in (0, 1):
            taken = await take_one(inbox, 0.0)
            assert (taken.attempts, taken.cut_off) == (number, number)
            assert await begin(inbox, taken)
        assert await inbox.shelve([item.id], "it kills its process") == 1
        assert await inbox.requeue([item.id]) == 1
        assert (await take_one(inbox, LONG_LEASE)).cut_off == 0

    async def test_requeue_refuses_former_holders(self, inbox: OperableInbox) -> None:
        """Who held or buried an item before a person stepped in has no power over it."""
        held = await a_taken(inbox, LONG_LEASE)
        assert await begin(inbox, held)
        dead = await a_grave(inbox)
        assert await inbox.requeue([held.id, dead.id]) == 2
        for former in (held, dead):
            await refuses(inbox, former)
        assert {each.id for each in await inbox.take(10, LONG_LEASE)} == {held.id, dead.id}
        assert (await known(inbox, dead)).history == (an_attempt("ValueError: dead"),)

    async def test_requeue_counts_what_was_there(self, inbox: OperableInbox) -> None:
        """Unknown ids are neither counted nor made."""
        dead = [await a_grave(inbox) for _ in range(2)]
        left = await a_grave(inbox)
        asked = [an_item().id, dead[1].id, an_item().id, dead[0].id]
        assert await inbox.requeue(asked) == 2
        assert len(await inbox.take(10, LONG_LEASE)) == 2
        assert (await known(inbox, left)).dead

    async def test_shelved_item_is_dead(self, inbox: OperableInbox) -> None:
        """What a person sets aside is not run, and the reason stands behind its attempts."""
        item = await a_taken(inbox, LONG_LEASE)
        assert await begin(inbox, item)
        assert await inbox.retry(item, 0.0, an_attempt())
        left = await put(inbox, an_item(), LONG_LEASE)
        assert await inbox.shelve([item.id], "wrong tenant") == 1
        assert await nothing_is_due(inbox)
        kept = await known(inbox, item)
        assert kept.dead
        assert (kept.attempts, kept.cut_off) == (1, 0)
        assert [each.error for each in kept.history] == [an_attempt().error, "wrong tenant"]
        assert not (await known(inbox, left)).dead

    async def test_shelving_refuses_former_holders(self, inbox: OperableInbox) -> None:
        """Who runs an item that a person sets aside cannot bring it back, but can end it."""
        item = await a_taken(inbox, LONG_LEASE)
        assert await inbox.shelve([item.id], "stop") == 1
        await refuses(inbox, item)
        await refuses(inbox, await known(inbox, item), "begin", "renew", "retry", "defer")
        assert await nothing_is_due(inbox)
        await inbox.done([item])
        assert await inbox.get(item.id) is None

    async def test_shelving_counts_what_waited(self, inbox: OperableInbox) -> None:
        """Dead letters and unknown ids are left as they are and not counted."""
        grave = await a_grave(inbox)
        items = [await put(inbox, an_item(), LONG_LEASE) for _ in range(2)]
        asked = [items[1].id, an_item().id, grave.id, items[0].id]
        assert await inbox.shelve(asked, "no longer needed") == 2
        assert len((await known(inbox, grave)).history) == 1
        assert await inbox.count(Sought(state="dead")) == 3

    async def test_shelved_item_can_be_requeued(self, inbox: OperableInbox) -> None:
        """A person can change his mind, whatever the reason said."""
        for what, reason in HOSTILE_TEXTS.items():
            item = await put(inbox, an_item(), LONG_LEASE)
            assert await inbox.shelve([item.id], reason) == 1, what
            assert await inbox.requeue([item.id]) == 1, what
            taken = await take_one(inbox, LONG_LEASE)
            assert taken.id == item.id, what
            assert taken.history[-1].error == reason, what

    async def test_purged_items_are_gone(self, inbox: OperableInbox) -> None:
        """Waiting, held and dead items are deleted for good, and only these."""
        waiting = await put(inbox, an_item(), 0.0)
        left = await put(inbox, an_item(), LONG_LEASE)
        held, grave = await put(inbox, an_item(), LONG_LEASE), await a_grave(inbox)
        doomed = [waiting, held, grave]
        assert await inbox.purge([an_item().id, *(each.id for each in doomed)]) == 3
        assert await inbox.purge([each.id for each in doomed]) == 0
        for each in doomed:
            assert await inbox.get(each.id) is None
            await refuses(inbox, each)
        assert await nothing_is_due(inbox)
        assert [each.id for each in await inbox.find(Sought())] == [left.id]
        assert await inbox.count(Sought(state="dead")) == 0
