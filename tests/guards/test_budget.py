"""At most so many sends per subject in a window, over all processes."""

import asyncio
from dataclasses import replace

import pytest

from webhook_dedup import ConfigError, Dedup, Discard
from webhook_dedup.errors import Locked, MissingPower, OverBudget
from webhook_dedup.guards import Budget
from webhook_dedup.observe.record import Kind
from webhook_dedup.stores import MemoryStore
from webhook_dedup.testing import FakeClock

from .conftest import of_tenant


async def send():
    return "sent"


async def spend(guard, passage, work=send):
    """Return how an event ended."""
    try:
        return await guard.run(passage, work)
    except (OverBudget, Locked) as refusal:
        return type(refusal).__name__


async def test_three_of_ten(dedup, other, passage, records):
    """Of ten events in the window three are sent, by whichever process; one is escalated."""
    called = []
    guard = Budget(3, 300, escalate=lambda event, data: called.append((event.id, data)))
    ends = []
    for number in range(10):
        process = (dedup, other)[number % 2]
        event = passage(process, event_id=str(number), data={"number": number})
        ends.append(await spend(guard, event))
    assert ends == ["sent"] * 3 + ["OverBudget"] * 7
    assert called == [("3", {"number": 3})]
    assert len(records.of(Kind.ESCALATED)) == 1


def test_escalate_must_be_a_function():
    with pytest.raises(ConfigError, match="escalate takes a function of event and data, got 'ops'"):
        Budget(3, 300, escalate="ops")


async def test_all_at_once(dedup, other, passage):
    """Events that come together spend no more than there is; the rest are not lost meanwhile."""
    guard, sent = Budget(3, 300), 0

    async def slowly():
        nonlocal sent
        await asyncio.sleep(0.05)
        sent += 1

    events = [passage(each, event_id=str(n)) for n in range(5) for each in (dedup, other)]
    ends = await asyncio.gather(*(spend(guard, each, slowly) for each in events))
    assert sent == 3
    assert ends.count("Locked") + ends.count("OverBudget") == 7


async def test_send_in_spite_of_a_cancellation_counts(passage):
    """A handler that ends well after it was cancelled has sent, and the budget knows it."""
    began = asyncio.Event()

    async def stubborn():
        try:
            began.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "sent"

    async with Dedup(MemoryStore()) as dedup:
        guard = Budget(1, 300)
        task = asyncio.ensure_future(spend(guard, passage(dedup), stubborn))
        await began.wait()
        task.cancel()
        assert await task == "sent"
        assert await spend(guard, passage(dedup, event_id="2")) == "OverBudget"


async def test_window_slides(dedup, passage):
    """A send counts for its window from its own time on, and no longer."""
    guard = Budget(1, 2)
    assert await spend(guard, passage(dedup)) == "sent"
    assert await spend(guard, passage(dedup)) == "OverBudget"
    await asyncio.sleep(2.1)
    assert await spend(guard, passage(dedup)) == "sent"


@pytest.mark.parametrize("error", [ValueError("broken"), Discard("nothing to say")], ids=repr)
async def test_only_sends_count(dedup, passage, error):
    """What failed or was discarded leaves the budget as it was."""
    guard = Budget(1, 300)

    async def fail():
        raise error

    for _ in range(2):
        with pytest.raises(type(error)):
            await guard.run(passage(dedup), fail)
    assert await spend(guard, passage(dedup)) == "sent"


async def test_failed_answers_do_not_count(passage):
    """A handler that answered 500 has sent nothing."""

    async def answer():
        return 500

    async with Dedup("memory://") as dedup:
        guard = Budget(1, 300)
        answered = replace(passage(dedup), status_of=lambda value: value)
        assert await guard.run(answered, answer) == 500
        assert await spend(guard, passage(dedup)) == "sent"


async def test_send_under_way_defers(dedup, other, passage):
    """While the last send of the budget is under way the next event waits: it may yet fail."""
    guard, began, end = Budget(1, 300), asyncio.Event(), asyncio.Event()

    async def slowly():
        began.set()
        await end.wait()

    task = asyncio.ensure_future(guard.run(passage(dedup), slowly))
    await began.wait()
    assert await spend(guard, passage(other, event_id="2")) == "Locked"
    end.set()
    await task
    assert await spend(guard, passage(other, event_id="2")) == "OverBudget"


async def test_reset(dedup, passage):
    """A person gives a subject its budget back, and only that one."""
    guard = Budget(1, 300)
    mine, theirs = passage(dedup, "mine"), passage(dedup, "theirs")
    for each in (mine, theirs):
        assert await spend(guard, each) == "sent"
    assert await guard.reset(dedup.seen, mine.event.subject, source="agent")
    assert await spend(guard, mine) == "sent"
    assert await spend(guard, theirs) == "OverBudget"
    assert await guard.reset(dedup.seen, mine.event.subject, source="agent")
    assert not await guard.reset(dedup.seen, mine.event.subject, source="agent")


async def test_reset_elsewhere(dedup, other, passage, records):
    """A process that saw a budget spent hears at once that another one gave it back."""
    guard, mine = Budget(2, 300), passage(dedup)
    assert [await spend(guard, mine) for _ in range(3)] == ["sent", "sent", "OverBudget"]
    assert await guard.reset(other.seen, mine.event.subject, source="agent")
    assert [await spend(guard, mine) for _ in range(3)] == ["sent", "sent", "OverBudget"]
    assert len(records.of(Kind.ESCALATED)) == 2


async def test_tenants_have_budgets_of_their_own(dedup, passage):
    """What one tenant's events spend, and a person gives back, is no other tenant's."""
    guard = Budget(1, 300)
    passages = [of_tenant(passage(dedup), tenant) for tenant in ("acme", "bob")]
    for each in passages:
        assert await spend(guard, each) == "sent"
    subject = passages[0].event.subject
    assert await guard.reset(dedup.seen, subject, source="agent", tenant="acme")
    assert not await guard.reset(dedup.seen, subject, source="agent")
    assert [await spend(guard, each) for each in passages] == ["sent", "OverBudget"]


async def test_escalation_that_fails_is_tried_again(passage, records):
    """A hook that raises neither loses the event nor the escalation."""
    called = []

    async def escalate(event, _):
        called.append(event.id)
        if len(called) == 1:
            raise ValueError("no connection")

    async with Dedup("memory://", observers=[records]) as dedup:
        guard = Budget(1, 300, escalate=escalate)
        for number in range(4):
            await spend(guard, passage(dedup, event_id=str(number)))
        assert called == ["1", "2"]
        assert len(records.of(Kind.ESCALATED)) == 1
        told = [(type(record.error), record.detail) for record in records.of(Kind.FAILED)]
        assert told == [(ValueError, "the escalation failed; the next event tries again")]


async def test_escalated_once_a_window(passage):
    """However many events find the budget spent, the hook is called once until sends are free."""
    clock, called = FakeClock(), []
    async with Dedup(MemoryStore(clock=clock)) as dedup:
        guard = Budget(1, 300, escalate=lambda event, _: called.append(event.id), lease=30)
        for number in range(2):
            await spend(guard, passage(dedup, event_id=f"{number}"))
        clock.advance(299)
        assert await spend(guard, passage(dedup, event_id="2")) == "OverBudget"
        assert called == ["1"]
        clock.advance(1)
        for number in range(3, 5):
            await spend(guard, passage(dedup, event_id=f"{number}"))
        assert called == ["1", "4"]


async def test_store_that_cannot_forget():
    """A budget that cannot be reset says so."""

    class Bare:
        name = "bare"

    with pytest.raises(MissingPower, match="no budget can be reset"):
        await Budget(1, 300).reset(Bare(), "thread")


@pytest.mark.parametrize("sends", [1, 100])
def test_limits_of_a_budget(sends):
    """The least and the most that errors tell of are themselves taken."""
    assert Budget(sends, 60)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((0, 60), "1 to 100 sends"),
        ((-1, 60), "got -1"),
        ((True, 60), "got True"),
        ((1.5, 60), "got 1.5"),
        ((101, 60), "got 101"),
        ((3, 0), "window must be greater than 0"),
    ],
)
def test_bad_budget(arguments, hint):
    """What cannot work is refused with what to write instead."""
    with pytest.raises(ConfigError, match=hint):
        Budget(*arguments)
