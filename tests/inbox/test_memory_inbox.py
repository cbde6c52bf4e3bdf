"""The memory inbox: the contract, and what only it promises."""

import pytest

from tests.clocked import Clocked
from webhook_dedup.contracts import Sought
from webhook_dedup.errors import StoreUnavailable
from webhook_dedup.inbox.memory import MemoryInbox
from webhook_dedup.model import Attempt
from webhook_dedup.testing import FakeClock, InboxContract
from webhook_dedup.testing.inbox_rules.case import an_attempt, an_item

LEASE = 30.0


class TestMemoryInbox(Clocked, InboxContract):
    @pytest.fixture
    async def inbox(self):
        self.clock = FakeClock()
        inbox = MemoryInbox(clock=self.clock)
        yield inbox
        await inbox.aclose()


class TestMemoryInboxOnTheSystemClock(InboxContract):
    @pytest.fixture
    async def inbox(self):
        inbox = MemoryInbox()
        yield inbox
        await inbox.aclose()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def inbox(clock):
    return MemoryInbox(capacity=3, graves=2, clock=clock)


async def _bury(inbox, *, key=""):
    item = an_item(key=key)
    await inbox.put([item], LEASE)
    assert await inbox.bury(item, an_attempt())
    return item


async def _ids(inbox, **sought):
    return [item.id for item in await inbox.find(Sought(**sought))]


def test_it_says_what_it_is(inbox):
    """Everything in it is gone with the process, and logs can name it."""
    assert (inbox.name, inbox.durable) == ("memory", False)


async def test_a_full_inbox_refuses(inbox):
    """A stuck handler cannot fill the memory: the sender is asked to come again."""
    items = [an_item() for _ in range(3)]
    await inbox.put(items, LEASE)
    with pytest.raises(StoreUnavailable, match=r"full \(3 deliveries\)"):
        await inbox.put([an_item()], LEASE)
    await inbox.done(items[:1])
    await inbox.put([an_item()], LEASE)
    assert len(inbox) == 3


async def test_a_batch_that_does_not_fit_is_refused_as_a_whole(inbox):
    """Of a refused batch nothing is recorded that its sender would send again."""
    with pytest.raises(StoreUnavailable):
        await inbox.put([an_item() for _ in range(4)], LEASE)
    assert len(inbox) == 0
    assert await inbox.next_due() is None


async def test_a_full_inbox_confirms_what_it_has(inbox):
    """A put that is repeated takes no room."""
    items = [an_item() for _ in range(3)]
    await inbox.put(items, LEASE)
    await inbox.put(items, LEASE)
    assert len(inbox) == 3


async def test_dead_letters_take_no_room_of_the_waiting(inbox):
    """What is buried does not keep new deliveries out."""
    for _ in range(2):
        await _bury(inbox)
    await inbox.put([an_item() for _ in range(3)], LEASE)
    assert len(inbox) == 3


async def test_a_person_may_requeue_into_a_full_inbox(inbox):
    """A dead letter that is brought back is not lost for want of room."""
    grave = await _bury(inbox)
    await inbox.put([an_item() for _ in range(3)], LEASE)
    assert await inbox.requeue([grave.id]) == 1
    assert [item.id for item in await inbox.take(5, LEASE)] == [grave.id]


async def test_the_first_buried_go_first(inbox):
    """Only so many dead letters are kept, the latest ones."""
    graves = [await _bury(inbox, key="key") for _ in range(4)]
    assert sorted(await _ids(inbox, state="dead")) == sorted(grave.id for grave in graves[2:])
    await inbox.done([an_item(key="key")])
    assert await inbox.count(Sought()) == 0


async def test_no_graves_at_all(clock):
    """Where no dead letters are wanted, burying is deleting."""
    inbox = MemoryInbox(graves=0, clock=clock)
    await _bury(inbox, key="key")
    assert await inbox.count(Sought()) == 0


async def test_memory_is_bounded_under_renewals(inbox, clock):
    """A handler that runs for weeks leaves no trail of its renewals, though nobody takes."""
    item = an_item()
    await inbox.put([an_item()], 0.0)
    await inbox.put([item], LEASE)
    for _ in range(5_000):
        clock.advance(LEASE / 3)
        assert list(await inbox.renew([item], LEASE)) == [True]
    assert len(inbox._schedule) < 500
    assert item.id not in [each.id for each in await inbox.take(5, LEASE)]
    clock.advance(LEASE)
    assert item.id in [each.id for each in await inbox.take(5, LEASE)]


async def test_memory_is_bounded_under_traffic(inbox):
    """What is done long before it would come due leaves nothing behind."""
    for _ in range(5_000):
        item = an_item(key="key")
        await inbox.put([item], LEASE)
        await inbox.done([item])
    assert len(inbox._schedule) < 500
    assert len(inbox) == 0


async def test_memory_is_bounded_under_deferrals(inbox):
    """An item deferred to and fro is one entry in the end."""
    item = an_item()
    await inbox.put([item], LEASE)
    for number in range(5_000):
        assert await inbox.defer(item, 10 * LEASE if number % 2 else LEASE)
    assert len(inbox._schedule) < 500
    assert await inbox.next_due() == 10 * LEASE


async def test_keys_of_dead_letters_are_forgotten_with_them(inbox):
    """However many keys had dead letters, only those of the present ones are kept."""
    for number in range(100):
        grave = await _bury(inbox, key=f"key {number}")
    assert len(inbox._graves._by_key) == 2
    await inbox.purge([grave.id])
    assert len(inbox._graves._by_key) == 1


async def test_due_times_are_exact_on_its_clock(inbox, clock):
    """An item is due at its due time, not a moment before."""
    await inbox.put([an_item()], LEASE)
    clock.advance(LEASE - 1)
    assert await inbox.next_due() == 1
    assert not await inbox.take(1, LEASE)
    clock.advance(1)
    assert await inbox.next_due() == 0
    assert len(await inbox.take(1, LEASE)) == 1


async def test_wall_clock_jumps_move_no_due_time():
    """Due times are kept in monotonic time, ages in that of the wall clock."""

    class JumpingClock(FakeClock):
        def time(self):
            return super().time() + jump

    jump, inbox = 0.0, MemoryInbox(clock=JumpingClock())
    item = an_item(received_at=inbox._clock.time())
    await inbox.put([item], LEASE)
    for jump in (-1e6, 1e6):  # noqa: B007 - read by the clock
        assert await inbox.next_due() == LEASE
    assert await _ids(inbox, older_than=jump) == [item.id]


async def test_shelved_at_the_clocks_time(inbox, clock):
    """The reason of a person stands in the history with its time."""
    item = an_item()
    await inbox.put([item], LEASE)
    clock.advance(5)
    await inbox.shelve([item.id], "stop")
    kept = await inbox.get(item.id)
    assert kept.history == (Attempt(at=clock.time(), where="", duration=0.0, error="stop"),)


async def test_a_closed_inbox_is_empty(inbox):
    """Closing frees everything."""
    await _bury(inbox, key="key")
    await inbox.put([an_item()], LEASE)
    await inbox.aclose()
    assert await inbox.count(Sought()) == 0
    assert await inbox.next_due() is None
