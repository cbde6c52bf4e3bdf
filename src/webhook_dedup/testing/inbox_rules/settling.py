"""Attempts are counted and kept, and every end of a hold is told apart."""

# ruff: noqa: S101, PLR2004 - a test suite asserts, and counts what it has just made
from __future__ import annotations

from ...contracts import OperableInbox
from ...model import Attempt
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

__all__ = ["SettlingRules"]

_ATTEMPTS = (
    Attempt(at=1_700_000_000.123456, where="host-1:17", duration=0.0, error="TimeoutError: "),
    Attempt(at=0.1, where="", duration=1e-6, error=""),
    Attempt(at=1_700_000_360.0, where="hôst-ß:1", duration=3600.5, error="Error: '\"`; -- %s {}"),
)


class SettlingRules(InboxCase):
    """Begin, defer, retry and bury do each one thing, once."""

    async def test_begin_counts_once_a_hold(self, inbox: OperableInbox) -> None:
        """A repeated begin counts nothing; the next holder's does."""
        await put(inbox, an_item(), 0.0)
        for number in (1, 2, 3):
            item = await take_one(inbox, 0.0)
            assert item.attempts == number - 1
            assert [await begin(inbox, item) for _ in range(3)] == [True] * 3
            assert (await known(inbox, item)).attempts == number

    async def test_runs_that_never_ended_are_counted(self, inbox: OperableInbox) -> None:
        """What began and was never told the end of is cut off, whatever else ended well or not."""
        await put(inbox, an_item(), 0.0)
        for number in (1, 2):
            item = await take_one(inbox, 0.0)
            assert item.cut_off == number - 1
            assert [await begin(inbox, item) for _ in range(2)] == [True] * 2
            assert (await known(inbox, item)).cut_off == number
        item = await take_one(inbox, LONG_LEASE)
        assert await inbox.retry(item, 0.0, an_attempt("not begun"))
        assert (await take_one(inbox, LONG_LEASE)).cut_off == 2

    async def test_run_whose_end_is_told_is_not_cut_off(self, inbox: OperableInbox) -> None:
        """A retry, a deferral and a burial each take off what their own hold began, once."""
        await put(inbox, an_item(), 0.0)
        assert await begin(inbox, await take_one(inbox, 0.0))
        retried = await take_one(inbox, LONG_LEASE)
        assert await begin(inbox, retried)
        assert [await inbox.retry(retried, 0.0, an_attempt()) for _ in range(2)] == [True] * 2
        deferred = await take_one(inbox, LONG_LEASE)
        assert (deferred.attempts, deferred.cut_off) == (2, 1)
        assert await begin(inbox, deferred)
        assert [await inbox.defer(deferred, 0.0) for _ in range(2)] == [True] * 2
        buried = await take_one(inbox, LONG_LEASE)
        assert (buried.attempts, buried.cut_off) == (2, 1)
        assert await begin(inbox, buried)
        assert [await inbox.bury(buried, an_attempt()) for _ in range(2)] == [True] * 2
        kept = await known(inbox, buried)
        assert (kept.attempts, kept.cut_off) == (3, 1)

    async def test_who_puts_an_item_begins_it(self, inbox: OperableInbox) -> None:
        """The token an item was put with counts, renews and settles like any other."""
        item = await put(inbox, an_item(), LONG_LEASE)
        assert await begin(inbox, item)
        assert await inbox.retry(item, 0.0, an_attempt())
        assert (await take_one(inbox, LONG_LEASE)).attempts == 1

    async def test_begin_does_not_move_the_due_time(self, inbox: OperableInbox) -> None:
        """A delivery whose handler kills its process comes due again, counted."""
        item = await a_taken(inbox, self.lease)
        assert await begin(inbox, item)
        await self.outlive_lease()
        assert (await take_one(inbox, LONG_LEASE)).attempts == 1

    async def test_deferred_item_waits(self, inbox: OperableInbox) -> None:
        """A deferred item comes due when it was told to and not before."""
        item = await a_taken(inbox, 0.0)
        assert not item.deferred
        assert await inbox.defer(item, LONG_LEASE)
        assert await nothing_is_due(inbox)
        assert await inbox.defer(item, self.lease)
        await self.outlive_lease()
        taken = await take_one(inbox, LONG_LEASE)
        assert taken.deferred
        assert taken.history == ()

    async def test_deferral_may_be_changed(self, inbox: OperableInbox) -> None:
        """The token of a deferred item can defer it again, to sooner or later."""
        item = await a_taken(inbox, LONG_LEASE)
        for after in (LONG_LEASE, 0.0, LONG_LEASE):
            assert await inbox.defer(item, after)
        assert await nothing_is_due(inbox)
        assert await inbox.defer(item, 0.0)
        assert (await take_one(inbox, LONG_LEASE)).id == item.id

    async def test_deferral_takes_the_attempt_back(self, inbox: OperableInbox) -> None:
        """An attempt that was begun and put off does not count, however often it is deferred."""
        first = await a_taken(inbox, LONG_LEASE)
        assert await begin(inbox, first)
        assert await inbox.retry(first, 0.0, an_attempt())
        second = await take_one(inbox, LONG_LEASE)
        assert await begin(inbox, second)
        for _ in range(2):
            assert await inbox.defer(second, 0.0)
        third = await take_one(inbox, LONG_LEASE)
        assert third.attempts == 1
        assert await begin(inbox, third)
        assert (await known(inbox, third)).attempts == 2

    async def test_deferral_of_what_was_not_begun_counts_nothing(
        self, inbox: OperableInbox
    ) -> None:
        """Attempts of former holders stay counted."""
        first = await a_taken(inbox, 0.0)
        assert await begin(inbox, first)
        second = await take_one(inbox, LONG_LEASE)
        assert await inbox.defer(second, 0.0)
        assert (await take_one(inbox, LONG_LEASE)).attempts == 1

    async def test_retried_item_waits(self, inbox: OperableInbox) -> None:
        """A failed item comes due when it was told to and not before."""
        item = await a_taken(inbox, 0.0)
        assert await inbox.retry(item, LONG_LEASE, an_attempt())
        assert await nothing_is_due(inbox)
        item = await a_taken(inbox, LONG_LEASE)
        assert await inbox.retry(item, self.lease, an_attempt())
        await self.outlive_lease()
        taken = await take_one(inbox, LONG_LEASE)
        assert taken.id == item.id
        assert not taken.deferred

    async def test_history_is_kept_as_it_was(self, inbox: OperableInbox) -> None:
        """Every failed attempt is kept exactly, oldest first, to the dead letter."""
        await put(inbox, an_item(), 0.0)
        for attempt in _ATTEMPTS:
            item = await take_one(inbox, LONG_LEASE)
            assert await begin(inbox, item)
            assert await inbox.retry(item, 0.0, attempt)
        item = await take_one(inbox, LONG_LEASE)
        assert item.history == _ATTEMPTS
        assert item.attempts == len(_ATTEMPTS)
        last = an_attempt("the last")
        assert await inbox.bury(item, last)
        assert (await known(inbox, item)).history == (*_ATTEMPTS, last)

    async def test_repeated_retry_adds_nothing(self, inbox: OperableInbox) -> None:
        """A retry that is repeated after a lost reply is confirmed and noted once."""
        item = await a_taken(inbox, LONG_LEASE)
        assert await begin(inbox, item)
        attempt = an_attempt()
        assert [await inbox.retry(item, 0.0, attempt) for _ in range(3)] == [True] * 3
        taken = await take_one(inbox, LONG_LEASE)
        assert taken.history == (attempt,)
        assert taken.attempts == 1

    async def test_equal_attempts_of_two_holds_are_two(self, inbox: OperableInbox) -> None:
        """What repeats is told by the token, not by what the attempt says."""
        attempt = an_attempt()
        await put(inbox, an_item(), 0.0)
        for _ in range(2):
            assert await inbox.retry(await take_one(inbox, LONG_LEASE), 0.0, attempt)
        assert (await take_one(inbox, LONG_LEASE)).history == (attempt, attempt)

    async def test_retry_ends_the_hold(self, inbox: OperableInbox) -> None:
        """A late renewal, begin, deferral or burial does not touch what waits for its retry."""
        item = await a_taken(inbox, LONG_LEASE)
        assert await begin(inbox, item)
        assert await inbox.retry(item, LONG_LEASE, an_attempt())
        await refuses(inbox, item, "begin", "renew", "defer", "bury")
        assert await nothing_is_due(inbox)

    async def test_buried_item_is_dead(self, inbox: OperableInbox) -> None:
        """A dead letter is kept with its history and handed to nobody."""
        item = await a_taken(inbox, self.lease, key="key", event_id="evt_1")
        assert not item.dead
        assert await begin(inbox, item)
        assert await inbox.bury(item, an_attempt("the end"))
        await self.outlive_lease()
        assert await nothing_is_due(inbox)
        kept = await known(inbox, item)
        assert kept.dead
        assert (kept.attempts, kept.history) == (1, (an_attempt("the end"),))
        assert (kept.key, kept.event_id, kept.delivery) == ("key", "evt_1", item.delivery)

    async def test_repeated_burial_adds_nothing(self, inbox: OperableInbox) -> None:
        """A burial that is repeated after a lost reply is confirmed and noted once."""
        item = await a_taken(inbox, LONG_LEASE)
        attempt = an_attempt()
        assert [await inbox.bury(item, attempt) for _ in range(3)] == [True] * 3
        assert (await known(inbox, item)).history == (attempt,)

    async def test_burial_ends_the_hold(self, inbox: OperableInbox) -> None:
        """Nothing but a person brings a dead letter back."""
        item = await a_grave(inbox)
        await refuses(inbox, item, "begin", "renew", "retry", "defer")
        assert await nothing_is_due(inbox)
