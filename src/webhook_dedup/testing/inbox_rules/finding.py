"""How a person finds what he means."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from ...contracts import OperableInbox, Sought
from ...model import Item
from ..timed import LONG_LEASE
from .case import (
    InboxCase,
    a_grave,
    a_taken,
    an_attempt,
    an_item,
    begin,
    put,
    take_one,
)
from .deliveries import HOSTILE_TEXTS

__all__ = ["FindingRules"]

_HOUR = 3600.0
_LITERALS = (
    "100% of a_b",
    "100 of a_b",
    "100% of aXb",
    "100%% of a\\_b",
    "[100%] of *",
    "x.y",
    "xZy",
)


class FindingRules(InboxCase):
    """Find and count admit what matches every field that is given."""

    async def test_everything_is_found(self, inbox: OperableInbox) -> None:
        """Held, waiting, deferred, retried and dead items are all there."""
        held = await put(inbox, an_item(), LONG_LEASE)
        deferred, retried = await a_taken(inbox, LONG_LEASE), await a_taken(inbox, LONG_LEASE)
        assert await inbox.defer(deferred, LONG_LEASE)
        assert await begin(inbox, retried)
        assert await inbox.retry(retried, LONG_LEASE, an_attempt())
        dead, due = await a_grave(inbox), await put(inbox, an_item(), 0.0)
        waiting = (held, deferred, retried, due)
        await self._finds(inbox, Sought(), (*waiting, dead))
        await self._finds(inbox, Sought(state="waiting"), waiting)
        await self._finds(inbox, Sought(state="dead"), [dead])
        found = {each.id: each for each in await inbox.find(Sought())}
        assert found[deferred.id].deferred
        assert (found[retried.id].attempts, found[retried.id].history) == (1, (an_attempt(),))
        assert [each.id for each in found.values() if each.dead] == [dead.id]

    async def test_nothing_is_found_in_an_empty_inbox(self, inbox: OperableInbox) -> None:
        """Nothing there, nothing found."""
        await self._finds(inbox, Sought(), [])
        await inbox.done([await put(inbox, an_item(event_id="evt_1"), LONG_LEASE)])
        await self._finds(inbox, Sought(event_id="evt_1"), [])

    async def test_items_of_a_source(self, inbox: OperableInbox) -> None:
        """Items are found by the name of their source, exactly."""
        sources = ("stripe", "Stripe", "stripe ", "stripe-test", "s%", "s_ripe", "")
        items = {name: await put(inbox, an_item(source=name), LONG_LEASE) for name in sources}
        for name, item in items.items():
            await self._finds(inbox, Sought(source=name), [item])
        await self._finds(inbox, Sought(source="github"), [])

    async def test_items_of_an_event(self, inbox: OperableInbox) -> None:
        """Items are found by the id of their event, exactly."""
        ids = ("evt_1", "evt_10", "EVT_1", "evt%1", "evtX1", " evt_1")
        items = {each: await put(inbox, an_item(event_id=each), LONG_LEASE) for each in ids}
        twin = await put(inbox, an_item(event_id="evt_1"), LONG_LEASE)
        await self._finds(inbox, Sought(event_id="evt_1"), [items["evt_1"], twin])
        for event_id in ids[1:]:
            await self._finds(inbox, Sought(event_id=event_id), [items[event_id]])

    async def test_items_of_an_age(self, inbox: OperableInbox) -> None:
        """Items are found by the time since they were received."""
        now = self.now()
        old, middle, new = [
            await put(inbox, an_item(received_at=now - hours * _HOUR), LONG_LEASE)
            for hours in (72, 24, 1)
        ]
        await self._finds(inbox, Sought(older_than=48 * _HOUR), [old])
        await self._finds(inbox, Sought(older_than=12 * _HOUR), [old, middle])
        await self._finds(inbox, Sought(younger_than=12 * _HOUR), [new])
        await self._finds(inbox, Sought(younger_than=48 * _HOUR), [middle, new])
        middling = Sought(older_than=12 * _HOUR, younger_than=48 * _HOUR)
        await self._finds(inbox, middling, [middle])
        await self._finds(inbox, Sought(older_than=0.0), [old, middle, new])
        await self._finds(inbox, Sought(younger_than=0.0), [])

    async def test_items_with_an_error(self, inbox: OperableInbox) -> None:
        """Items are found by any part of their last error, in upper or lower case."""
        dead = await a_grave(inbox, "ConnectionError: Database is away")
        failed = await a_taken(inbox, LONG_LEASE)
        assert await inbox.retry(failed, LONG_LEASE, an_attempt("TimeoutError: database"))
        await put(inbox, an_item(), LONG_LEASE)
        await self._finds(inbox, Sought(error="DATABASE"), [dead, failed])
        await self._finds(inbox, Sought(error="connectionerror: d"), [dead])
        await self._finds(inbox, Sought(error="TimeoutError: database"), [failed])
        await self._finds(inbox, Sought(error="databases"), [])
        await self._finds(inbox, Sought(error=""), [dead, failed])

    async def test_only_the_last_error_counts(self, inbox: OperableInbox) -> None:
        """An error that a later one followed is history."""
        item = await a_taken(inbox, LONG_LEASE)
        assert await inbox.retry(item, 0.0, an_attempt("first"))
        again = await take_one(inbox, LONG_LEASE)
        await self._finds(inbox, Sought(error="first"), [item])
        assert await inbox.retry(again, LONG_LEASE, an_attempt("second"))
        await self._finds(inbox, Sought(error="first"), [])
        await self._finds(inbox, Sought(error="second"), [item])
        assert await inbox.shelve([item.id], "third") == 1
        await self._finds(inbox, Sought(error="second"), [])
        await self._finds(inbox, Sought(error="third"), [item])

    async def test_error_text_is_no_pattern(self, inbox: OperableInbox) -> None:
        """Percent signs, underscores, backslashes, stars and dots mean themselves."""
        graves = {text: await a_grave(inbox, f"Error: {text}!") for text in _LITERALS}
        for text, grave in graves.items():
            await self._finds(inbox, Sought(error=text), [grave])

    async def test_any_text_is_found(self, inbox: OperableInbox) -> None:
        """Hostile sources, event ids and errors are found by themselves."""
        graves = {
            text: await a_grave(inbox, text, source=text, event_id=text)
            for text in HOSTILE_TEXTS.values()
        }
        for what, text in HOSTILE_TEXTS.items():
            by = (Sought(source=text), Sought(event_id=text), Sought(source=text, error=text))
            for sought in by:
                found = [each.id for each in await inbox.find(sought)]
                assert found == [graves[text].id], what

    async def test_filters_are_combined(self, inbox: OperableInbox) -> None:
        """Only what matches all that is given is found."""
        now, day = self.now(), 24 * _HOUR
        wanted: dict[str, Any] = {
            "source": "stripe",
            "event_id": "evt_1",
            "received_at": now - 3 * day,
        }
        differences: Sequence[dict[str, Any]] = (
            {"source": "github"},
            {"event_id": "evt_2"},
            {"received_at": now - 5 * day},
            {"received_at": now},
        )
        item = await a_grave(inbox, "boom", **wanted)
        await a_grave(inbox, "bang", **wanted)
        for difference in differences:
            await a_grave(inbox, "boom", **{**wanted, **difference})
        waiting = await put(inbox, an_item(**wanted), LONG_LEASE)
        assert await inbox.retry(waiting, LONG_LEASE, an_attempt("boom"))
        sought = Sought(
            source="stripe",
            state="dead",
            older_than=2 * day,
            younger_than=4 * day,
            error="boom",
            event_id="evt_1",
        )
        await self._finds(inbox, sought, [item])

    async def test_oldest_are_found_first(self, inbox: OperableInbox) -> None:
        """Items are listed in the order they were received, dead or waiting."""
        times = (5.0, 1.0, 4.25, 2.0, 4.5, 3.0)
        items = {}
        for at in times:
            make = a_grave(inbox, received_at=at) if at in {1.0, 4.25} else None
            items[at] = (
                await make if make else await put(inbox, an_item(received_at=at), LONG_LEASE)
            )
        found = [each.id for each in await inbox.find(Sought())]
        assert found == [items[at].id for at in sorted(times)]
        assert [each.id for each in await inbox.find(Sought(), limit=2)] == found[:2]

    async def test_pages_are_without_loss_or_repetition(self, inbox: OperableInbox) -> None:
        """Pages in a row show every item once, also those received at the same time."""
        items = [an_item(received_at=float(number // 5)) for number in range(23)]
        await inbox.put(items, LONG_LEASE)
        whole = [each.id for each in await inbox.find(Sought())]
        assert sorted(whole) == sorted(item.id for item in items)
        for limit in (1, 4, 22, 23, 50):
            assert await _by_pages(inbox, Sought(), limit) == whole

    async def test_pages_of_a_filter(self, inbox: OperableInbox) -> None:
        """Pages admit what the filter admits, and are full although others stand in between."""
        times = [float(at) for at in range(7)]
        waiting = [an_item(received_at=at - 4.5, source="stripe") for at in times]
        await inbox.put(waiting, LONG_LEASE)
        graves = [await a_grave(inbox, received_at=at, source="stripe") for at in times]
        sought = Sought(state="dead", source="stripe")
        assert await _by_pages(inbox, sought, 3) == [each.id for each in graves]
        assert await inbox.count(sought) == len(graves)

    async def test_pages_go_on_while_items_change(self, inbox: OperableInbox) -> None:
        """A page begins where the last one ended, also when its last item changed its state."""
        graves = [await a_grave(inbox, received_at=float(at)) for at in range(6)]
        shown = await _by_pages(inbox, Sought(state="dead"), 2, inbox.requeue)
        assert shown == [each.id for each in graves]

    async def test_pages_go_on_though_their_last_item_leaves(self, inbox: OperableInbox) -> None:
        """What was shown is not shown again where somebody brought back what was shown last."""
        graves = [await a_grave(inbox, received_at=float(at)) for at in range(6)]
        sought = Sought(state="dead")
        shown = await _by_pages(inbox, sought, 2, lambda page: inbox.requeue(page[-1:]))
        assert shown == [each.id for each in graves]

    async def test_pages_lose_nothing_when_items_go(self, inbox: OperableInbox) -> None:
        """Where the last item of a page is gone, the next page loses none that is left."""
        graves = [await a_grave(inbox, received_at=float(at)) for at in range(6)]
        shown = await _by_pages(inbox, Sought(), 2, inbox.purge)
        assert shown == [each.id for each in graves]

    async def _finds(self, inbox: OperableInbox, sought: Sought, items: Iterable[Item]) -> None:
        """See that exactly these items are found and counted."""
        expected = sorted(each.id for each in items)
        assert sorted(each.id for each in await inbox.find(sought)) == expected, sought
        assert await inbox.count(sought) == len(expected), sought


async def _by_pages(
    inbox: OperableInbox,
    sought: Sought,
    limit: int,
    between: Callable[[Sequence[str]], Awaitable[Any]] | None = None,
) -> list[str]:
    """Walk through all pages, to the first empty one; ``between`` is called with each one's ids."""
    seen: list[str] = []
    after = ""
    while page := [each.id for each in await inbox.find(sought, limit=limit, after=after)]:
        assert len(page) <= limit
        seen.extend(page)
        assert len(seen) == len(set(seen)), "an item stands on two pages"
        after = page[-1]
        if between is not None:
            await between(page)
    return seen
