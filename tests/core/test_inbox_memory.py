"""The inbox contract on the inbox in memory, with a clock that only tests move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from webhook_dedup import StoreUnavailable
from webhook_dedup.inbox import MemoryInbox
from webhook_dedup.model import Delivery, Item
from webhook_dedup.testing import FakeClock

LEASE = 30.0


def an_item(name: str = "a", body: bytes = b"\x00exact\xff") -> Item:
    delivery = Delivery(name, "shop", "POST", "/", ((b"X-A", b"\xe9"),), body, 1.0)
    return Item(name, f"{name}.0", delivery)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def inbox(clock: FakeClock) -> MemoryInbox:
    return MemoryInbox(clock=clock)


async def taken(inbox: MemoryInbox) -> list[str]:
    return [item.id for item in await inbox.take(100, LEASE)]


async def test_item_comes_due_one_lease_after_it_was_put(inbox, clock):
    """The process that accepted an item has a lease's time before anybody takes it."""
    await inbox.put(an_item(), LEASE)
    assert await taken(inbox) == []
    assert await inbox.next_due() == pytest.approx(LEASE)
    clock.advance(LEASE)

    assert await inbox.next_due() == 0
    assert await taken(inbox) == ["a"]


async def test_put_is_idempotent(inbox, clock):
    """Recording an item again changes neither its content nor its due time."""
    await inbox.put(an_item(), LEASE)
    clock.advance(20)
    await inbox.put(an_item(body=b"other"), LEASE)
    clock.advance(10)

    [item] = await inbox.take(100, LEASE)
    assert item.delivery == an_item().delivery
    assert await taken(inbox) == []


async def test_taken_item_has_a_new_token_and_the_old_one_is_fenced_out(inbox, clock):
    """Who held an item before it was taken again can change nothing about it."""
    old = an_item()
    await inbox.put(old, LEASE)
    clock.advance(LEASE)
    [new] = await inbox.take(1, LEASE)

    assert new.token != old.token
    assert await inbox.begin(old) is False
    assert await inbox.renew([old], LEASE) == [False]
    assert await inbox.retry(old, 0.0, "late") is False
    assert await inbox.defer(old, 0.0) is False
    assert await inbox.bury(old, "late") is False
    assert await taken(inbox) == []
    assert await inbox.begin(new) is True


async def test_take_is_bounded_and_gives_the_longest_due_first(inbox, clock):
    """No more than asked for, in the order in which they came due."""
    for name, lease in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        await inbox.put(an_item(name), lease)
    clock.advance(5)

    assert [item.id for item in await inbox.take(2, LEASE)] == ["a", "b"]
    assert await taken(inbox) == ["c"]
    assert await inbox.take(0, LEASE) == []


async def test_renewed_item_does_not_come_due(inbox, clock):
    """Renewal moves the due time on from now; the answers are in the order asked."""
    await inbox.put(an_item(), LEASE)
    clock.advance(20)
    assert await inbox.renew([an_item("unknown"), an_item()], LEASE) == [False, True]
    clock.advance(20)
    assert await taken(inbox) == []
    clock.advance(10)

    assert await taken(inbox) == ["a"]


async def test_begun_attempts_are_counted_and_kept(inbox, clock):
    """An attempt that ended with its process is counted when the item is taken again."""
    await inbox.put(an_item(), LEASE)
    assert await inbox.begin(an_item()) is True
    clock.advance(LEASE)

    [item] = await inbox.take(1, LEASE)
    assert item.attempts == 1


async def test_retry_notes_the_error_and_comes_due_when_told(inbox, clock):
    """Every failed attempt is kept with its error."""
    await inbox.put(an_item(), LEASE)
    item = an_item()
    for number in (1, 2):
        await inbox.begin(item)
        assert await inbox.retry(item, 5.0, f"no {number}") is True
        clock.advance(5)
        [item] = await inbox.take(1, LEASE)

    assert (item.attempts, item.errors) == (2, ("no 1", "no 2"))


async def test_deferral_uncounts_the_attempt_begun_in_the_same_hold_only(inbox, clock):
    """A deferred item has used no attempt this time, and keeps those of before."""
    await inbox.put(an_item(), LEASE)
    await inbox.begin(an_item())
    await inbox.retry(an_item(), 0.0, "no")
    [item] = await inbox.take(1, LEASE)
    assert await inbox.defer(item, 0.0) is True
    [item] = await inbox.take(1, LEASE)
    assert (item.attempts, item.deferred) == (1, True)
    await inbox.begin(item)
    assert await inbox.defer(item, 10.0) is True
    assert await inbox.defer(item, 0.0) is True, "a deferral may be changed"

    [item] = await inbox.take(1, LEASE)
    assert item.attempts == 1


async def test_done_item_is_gone_whoever_says_so(inbox, clock):
    """An event that is done must not run again, whatever token its item has."""
    await inbox.put(an_item(), LEASE)
    clock.advance(LEASE)
    await inbox.take(1, LEASE)
    await inbox.done(an_item())
    await inbox.done(an_item())

    assert len(inbox) == 0
    assert await inbox.next_due() is None


async def test_buried_item_is_kept_and_never_due(inbox, clock):
    """A dead letter keeps its bytes and errors and is not taken."""
    await inbox.put(an_item(), LEASE)
    assert await inbox.bury(an_item(), "for good") is True
    clock.advance(1000)

    assert await taken(inbox) == []
    assert inbox.dead == (replace(an_item(), errors=("for good",)),)


async def test_full_inbox_refuses_and_takes_again_when_there_is_room(clock):
    """What cannot be kept is not accepted; nothing is dropped to make room."""
    inbox = MemoryInbox(capacity=2, clock=clock)
    await inbox.put(an_item("a"), LEASE)
    await inbox.put(an_item("b"), LEASE)
    with pytest.raises(StoreUnavailable, match="full"):
        await inbox.put(an_item("c"), LEASE)
    await inbox.put(an_item("a"), LEASE)
    await inbox.done(an_item("a"))
    await inbox.put(an_item("c"), LEASE)

    assert len(inbox) == 2


async def test_graves_are_bounded_and_the_oldest_go_first(clock):
    """Dead letters in memory cannot fill it."""
    inbox = MemoryInbox(graves=2, clock=clock)
    for name in "abc":
        await inbox.put(an_item(name), LEASE)
        await inbox.bury(an_item(name), "no")

    assert [item.id for item in inbox.dead] == ["b", "c"]


@pytest.mark.parametrize("move", ["renew", "defer", "put"])
async def test_agenda_does_not_grow_with_moves(inbox, clock, move):
    """Long handlers, woken deferrals and a stream of short events leave no trail in memory."""
    await inbox.put(an_item("soon"), 0.5)  # a live head, behind which stale entries hide
    await inbox.put(an_item(), 1e6)
    for number in range(5_000):
        if move == "renew":
            await inbox.renew([an_item()], 1e6)
        elif move == "defer":
            await inbox.defer(an_item(), 1e6 + number)
        else:
            await inbox.put(an_item(f"n{number}"), LEASE)
            await inbox.done(an_item(f"n{number}"))

    assert len(inbox._agenda) < 1_000
    assert await inbox.next_due() == pytest.approx(0.5)
    clock.advance(2e6)
    assert await taken(inbox) == ["soon", "a"]
