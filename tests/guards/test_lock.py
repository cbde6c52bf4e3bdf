"""One event of a subject at a time, over all processes."""

import asyncio
import threading
from dataclasses import replace

import pytest
from msgspec import structs

from webhook_dedup import ConfigError, Dedup
from webhook_dedup.errors import LeaseLost, Locked, Skipped
from webhook_dedup.guards import OneAtATime
from webhook_dedup.stores import MemoryStore
from webhook_dedup.threads import call

from .conftest import of_tenant


class Inside:
    """A handler that tells how many are in it at once."""

    def __init__(self, seconds=0.02):
        self.most = self.now = self.runs = 0
        self._seconds = seconds

    async def __call__(self):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self._seconds)
        self.now -= 1
        self.runs += 1
        return "handled"


async def test_never_two_of_a_subject(dedup, other, passage):
    """Events of one thread from two processes, all waiting, run one after the other."""
    guard, inside = OneAtATime(wait=60), Inside()
    events = [passage(each, event_id=str(n)) for n in range(5) for each in (dedup, other)]
    assert set(await asyncio.gather(*(guard.run(each, inside) for each in events))) == {"handled"}
    assert (inside.most, inside.runs) == (1, 10)


async def test_subjects_do_not_wait_for_each_other(dedup, passage):
    """Two threads are handled together, and events without a subject with anything."""
    guard, inside = OneAtATime(), Inside(seconds=0.5)
    subjects = ("one", "two", None, None)
    await asyncio.gather(*(guard.run(passage(dedup, each), inside) for each in subjects))
    assert inside.most == 4


def together(number):
    """A handler that ends when so many are in it."""
    inside, complete = [], asyncio.Event()

    async def work():
        inside.append(1)
        if len(inside) == number:
            complete.set()
        await complete.wait()
        return "handled"

    return work


async def test_events_without_a_subject_pass(dedup, passage):
    """An empty subject is none, and an event needs no id to have one."""
    guard, work = OneAtATime("thread"), together(3)
    events = [passage(dedup, data={"thread": ""}) for _ in range(2)]
    nameless = passage(dedup, data={"thread": "one"})
    nameless = replace(nameless, event=structs.replace(nameless.event, key=None))
    ends = await asyncio.gather(*(guard.run(each, work) for each in (*events, nameless)))
    assert ends == ["handled"] * 3


async def test_tenants_do_not_wait_for_each_other(dedup, passage):
    """Threads of one name are two where two tenants have them."""
    guard, work = OneAtATime(), together(3)
    events = [of_tenant(passage(dedup), tenant) for tenant in ("", "acme", "bob")]
    ends = await asyncio.gather(*(guard.run(each, work) for each in events))
    assert ends == ["handled"] * 3


async def test_an_object_that_has_a_text_is_a_subject(dedup, passage, fresh_key):
    """What a function finds need not be text itself."""

    class Thread:
        def __str__(self):
            return fresh_key

    guard = OneAtATime(lambda event, data: Thread())
    assert await guard.run(passage(dedup), Inside()) == "handled"
    task, end = await held(guard, passage(dedup))
    with pytest.raises(Locked):
        await guard.run(passage(dedup, event_id="2"), Inside())
    end.set()
    await task


async def held(guard, passage):
    """Hold a lock until the returned event is set."""
    began, end = asyncio.Event(), asyncio.Event()

    async def work():
        began.set()
        await end.wait()

    task = asyncio.ensure_future(guard.run(passage, work))
    await began.wait()
    return task, end


@pytest.mark.parametrize(
    ("busy", "refusal"), [("retry", Locked), ("skip", Skipped)], ids=["retry", "skip"]
)
async def test_busy_subject(dedup, other, passage, busy, refusal):
    """A second event is run later or skipped, as chosen; afterwards the subject is free."""
    guard = OneAtATime(busy=busy, retry_after=7)
    task, end = await held(guard, passage(dedup))
    with pytest.raises(refusal) as refused:
        await guard.run(passage(other, event_id="2"), Inside())
    if busy == "retry":
        assert refused.value.retry_after == 7
    else:
        assert refused.value.code == "locked"
    end.set()
    await task
    assert await guard.run(passage(other, event_id="2"), Inside()) == "handled"


async def test_failure_frees_the_subject(dedup, passage):
    """What a handler raises goes on, and the lock is free."""
    guard = OneAtATime()

    async def fail():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await guard.run(passage(dedup), fail)
    assert await guard.run(passage(dedup), Inside()) == "handled"


async def test_cancellation_frees_the_subject(dedup, passage):
    """A handler cut off at shutdown leaves no lock behind."""
    guard = OneAtATime()
    task, _ = await held(guard, passage(dedup))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await guard.run(passage(dedup), Inside()) == "handled"


async def test_success_survives_a_late_cancellation(passage):
    """A handler that ends well in spite of its cancellation has ended well, around the lock too."""
    async with Dedup(MemoryStore()) as dedup:
        mine = passage(dedup)

        def work():
            began.set()
            assert end.wait(30)
            return "handled"

        began, end = threading.Event(), threading.Event()
        task = asyncio.ensure_future(OneAtATime().run(mine, lambda: call(work)))
        await asyncio.to_thread(began.wait)
        task.cancel()
        await asyncio.sleep(0)
        end.set()
        assert await task == "handled"


async def test_cancellation_while_the_lock_is_released(passage):
    """A cancellation after the handler's success hides nothing, and the lock is free."""
    store = Slow()
    async with Dedup(store) as dedup:
        guard, mine = OneAtATime(), passage(dedup)
        task = asyncio.ensure_future(guard.run(mine, Inside()))
        await store.asked.wait()
        task.cancel()
        await asyncio.sleep(0)
        store.goes_on.set()
        assert await task == "handled"
        assert await guard.run(mine, Inside()) == "handled"


class Slow(MemoryStore):
    """Releases when it is told to."""

    def __init__(self):
        super().__init__()
        self.asked, self.goes_on = asyncio.Event(), asyncio.Event()

    async def release(self, claims):
        self.asked.set()
        await self.goes_on.wait()
        return await super().release(claims)


async def test_long_handler_keeps_the_lock(dedup, other, passage):
    """The lock outlives its lease while the handler runs."""
    guard = OneAtATime(lease=3.0)
    task, end = await held(guard, passage(dedup))
    await asyncio.sleep(7.5)
    with pytest.raises(Locked):
        await guard.run(passage(other), Inside())
    end.set()
    await task


async def test_dead_holder_frees_the_subject(dedup, other, passage):
    """A lock whose holder went silent can be taken when its lease has ended."""
    guard = OneAtATime(lease=0.3, wait=30)
    first = passage(dedup)
    claim, _ = await first.bid(guard._subjects.key(first), 0.3)
    assert claim.fresh
    assert await guard.run(passage(other), Inside()) == "handled"


async def test_lost_lock_cancels_the_handler(dedup, passage):
    """A handler whose lock was taken away is stopped, since another may be inside."""
    guard = OneAtATime(lease=0.3)
    mine = passage(dedup)
    task, _ = await held(guard, mine)
    assert await dedup.store.forget(str(guard._subjects.key(mine)))
    with pytest.raises(LeaseLost):
        await task


async def test_sources_may_share_a_lock(dedup, passage):
    """Sources that speak of the same threads share a lock by its name, and by nothing else."""
    mail = passage(dedup)
    chat = replace(mail, event=structs.replace(mail.event, source="chat"))
    for name, shared in (("threads", True), (None, False)):
        task, end = await held(OneAtATime(name=name), mail)
        if shared:
            with pytest.raises(Locked):
                await OneAtATime(name=name).run(chat, Inside())
        else:
            assert await OneAtATime(name=name).run(chat, Inside()) == "handled"
        end.set()
        await task


async def test_subject_from_a_form(passage):
    """A field of a form is a list, and its only value the subject a person knows and resets."""
    async with Dedup("memory://") as dedup:
        mail = passage(dedup, None, data={"sender": ["bob@example.com"]})
        for guard in (OneAtATime("sender"), OneAtATime(lambda _, data: data["sender"])):
            task, end = await held(guard, mail)
            with pytest.raises(Locked) as locked:
                await guard.run(mail, Inside())
            assert locked.value.key.endswith("::bob@example.com")
            end.set()
            await task


async def test_subject_from_the_event(fresh_key, passage):
    """A subject is found by a JMESPath or a function where the preset knows none."""
    async with Dedup("memory://") as dedup:
        one = passage(dedup, None, data={"thread": {"id": f"{fresh_key}-1"}})
        two = passage(dedup, None, data={"thread": {"id": f"{fresh_key}-2"}})
        for subject in ("thread.id", lambda _, data: data["thread"]["id"]):
            guard = OneAtATime(subject)
            task, end = await held(guard, one)
            assert await guard.run(two, Inside()) == "handled"
            with pytest.raises(Locked):
                await guard.run(one, Inside())
            end.set()
            await task


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"lease": 0}, "greater than 0"),
        ({"lease": 0.001}, "write lease=30"),
        ({"busy": "wait"}, "'retry', 'skip'"),
        ({"wait": -1}, "at least 0"),
        ({"subject": "a..b"}, "not a valid JMESPath"),
        ({"name": " "}, "must not be blank"),
    ],
)
def test_bad_options(options, hint):
    """What cannot work is refused with what to write instead."""
    with pytest.raises(ConfigError, match=hint):
        OneAtATime(**options)


class Message:
    """No JSON, and equal to no other."""

    def __init__(self):
        self.thread = "t"


@pytest.mark.parametrize(
    ("subject", "data", "why"),
    [
        ("thread", Message(), "finds nothing in a Message"),
        ("thread", {"thread": Message()}, "must be text or an integer"),
        (lambda event, data: data, Message(), "must be text or an integer"),
    ],
)
async def test_subject_that_no_two_events_share_is_refused(dedup, passage, subject, data, why):
    """What could never hold up another event is no lock, and says so."""
    with pytest.raises(ConfigError, match=why):
        await OneAtATime(subject).run(passage(dedup, data=data), Inside())


async def test_subject_of_an_object(dedup, passage):
    """A function finds the subject of an event that is no JSON."""
    guard = OneAtATime(lambda event, message: message.thread)
    _, end = await held(guard, passage(dedup, data=Message()))
    with pytest.raises(Locked):
        await guard.run(passage(dedup, data=Message()), Inside())
    end.set()


def test_subject_that_is_to_be_awaited_is_refused():
    """Each call of it would be another object."""

    async def subject(event, data):
        return "thread"

    with pytest.raises(ConfigError, match="plain def"):
        OneAtATime(subject)
