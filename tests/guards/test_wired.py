"""Guards of sources and decorators, on the way from a request to its handler."""

import asyncio
import json
from dataclasses import dataclass
from functools import partial

import pytest

from tests.asgi.kit import SECRET, Handler, Records, deliver, mounted, settled, until
from webhook_dedup import ConfigError, Dedup, Policy, Source, deduplicate
from webhook_dedup.contracts import Sought
from webhook_dedup.errors import Locked, OverBudget
from webhook_dedup.guards import Budget, Check, OneAtATime, Rules, SelfSent
from webhook_dedup.observe.record import Kind
from webhook_dedup.stores import MemoryStore

PAID = {"field": "type", "is": "equals", "value": "paid"}


def guarded(*guards, ack="first", **options):
    return Source(
        "generic",
        path="/hooks",
        event_id=options.pop("event_id", "id"),
        subject="thread",
        secret=SECRET,
        ack=ack,
        guards=guards,
        **options,
    )


def body(event="1", **more):
    return json.dumps({"id": event, "thread": "t", **more}).encode()


def reasons(records, kind):
    return [record.reason for record in records.of(kind)]


@pytest.mark.parametrize("ack", ["first", "claimed", "handled"])
async def test_pure_skip_leaves_no_trace(ack):
    """What a pure guard skips is acknowledged and recorded, and neither kept nor claimed."""
    handler, store = Handler(), MemoryStore()
    guards = [SelfSent("from", addresses=["me@example.com"]), Rules(keep=PAID)]
    async with mounted(handler, store=store, sources=[guarded(*guards, ack=ack)]) as (app, records):
        for sent in (body(type="open"), body(type="paid", **{"from": "Me <me@example.com>"})):
            assert (await deliver(app, sent)).status == 200
        assert (len(store), handler.runs) == (0, [])
        assert reasons(records, Kind.SKIPPED) == ["filtered", "self_sent"]
        assert (await deliver(app, body(type="paid"))).status == 200
        await settled(app)
        assert len(handler.runs) == 1


async def test_pure_guard_that_raises():
    """What a guard of the user's raises reaches the server, and a record says what became of it."""
    handler = Handler()
    source = guarded(SelfSent("from", is_self=lambda sender: sender.broken))
    async with mounted(handler, sources=[source]) as (app, records):
        with pytest.raises(AttributeError):
            await deliver(app, body(**{"from": "me"}))
    [rejected] = records.of(Kind.REJECTED)
    assert (rejected.reason, rejected.event_id, rejected.status) == ("guard_failed", "1", 500)
    assert "AttributeError" in rejected.detail
    assert handler.runs == []


async def test_pure_guards_sift_a_batch():
    """Of a batch the handler gets those items that no guard skips, each with its own record."""
    handler = Handler()
    source = guarded(Rules(keep=PAID), items="events", batch="items")
    events = [{"id": str(n), "type": "paid" if n % 2 else "open"} for n in range(4)]
    async with mounted(handler, sources=[source]) as (app, records):
        await deliver(app, json.dumps({"events": events}).encode())
        await settled(app)
        await deliver(app, json.dumps({"events": events[:1]}).encode())
    [ran] = handler.runs
    assert [event["id"] for event in json.loads(ran)["events"]] == ["1", "3"]
    assert reasons(records, Kind.SKIPPED) == ["filtered"] * 3


@pytest.mark.parametrize("ack", ["first", "claimed", "handled"])
async def test_work_found_done_completes_the_event(ack):
    """An event whose work is there already is done without a run, and its copy a duplicate."""
    handler = Handler()
    source = guarded(Check(lambda event, data: data["thread"] == "t"), ack=ack)
    async with mounted(handler, sources=[source]) as (app, records):
        for _ in range(2):
            assert (await deliver(app, body())).status == 200
            await settled(app)
    assert handler.runs == []
    assert reasons(records, Kind.SKIPPED) == ["already_done", "duplicate"]


async def test_locked_event_is_run_later():
    """A second event of a thread waits, uncounted, until the first has ended."""
    handler = Handler()
    handler.gate.clear()
    source = guarded(OneAtATime(retry_after=0.1))
    async with mounted(handler, sources=[source]) as (app, records):
        first = asyncio.ensure_future(deliver(app, body("1")))
        await handler.inside.wait()
        await deliver(app, body("2"))
        assert (len(handler.runs), reasons(records, Kind.DEFERRED)[0]) == (1, "locked")
        handler.gate.set()
        await first
        await until(lambda: len(records.of(Kind.SUCCEEDED)) == 2)
    assert [json.loads(run)["id"] for run in handler.runs] == ["1", "2"]
    assert records.of(Kind.SUCCEEDED)[1].attempt == 1
    assert records.of(Kind.FAILED) == []


async def test_spent_budget_sets_the_event_aside():
    """An event over its budget is a dead letter at once, with its reason, and can be replayed."""
    handler = Handler()
    source = guarded(Budget(1, 300))
    async with mounted(handler, sources=[source]) as (app, records):
        for event in "12":
            await deliver(app, body(event))
        assert reasons(records, Kind.BURIED) == ["over_budget"]
        [dead] = await app.dedup.inbox.find(Sought(state="dead"))
        assert "1 sends were made" in dead.history[-1].error
        await Budget(1, 300).reset(app.dedup.seen, "t", source="generic")
        await app.dedup.inbox.requeue([dead.id])
        await until(lambda: len(handler.runs) == 2)
    assert len(handler.runs) == 2


async def test_handled_mode_asks_to_come_again():
    """Where nothing keeps an event, its sender is asked for it later; nothing is lost silently."""
    handler = Handler()
    source = guarded(Budget(1, 300), ack="handled")
    async with mounted(handler, sources=[source]) as (app, records):
        assert (await deliver(app, body("1"))).status == 200
        reply = await deliver(app, body("2"))
    assert (reply.status, "retry-after" in reply.headers) == (503, True)
    assert reasons(records, Kind.FAILED) == ["over_budget"]
    assert len(handler.runs) == 1


async def test_failing_check_is_a_failed_attempt():
    """A check that raises is tried again with the event, and counts."""
    answers = [ConnectionError("no mailbox"), False]

    def check(event, data):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    handler = Handler()
    async with mounted(handler, sources=[guarded(Check(check))]) as (app, records):
        await deliver(app, body())
        await settled(app)
    assert len(records.of(Kind.FAILED)) == 1
    assert records.of(Kind.SUCCEEDED)[0].attempt == 2


def test_batches_take_no_stateful_guard():
    """A lock around several events in one call cannot be kept, and is refused."""
    with pytest.raises(ConfigError, match="bring several events"):
        guarded(OneAtATime(), items="events")


def test_lock_that_waits_for_longer_than_its_event_may_run():
    """Whoever had to wait would fail, again and again, and never reach the handler."""
    locks = [OneAtATime(wait=3), OneAtATime(wait=2, name="all")]
    policy = Policy(handler_timeout=5)
    for given in ({"policy": policy}, {"sources": [guarded(*locks, policy=policy)]}):
        sources = given.pop("sources", [guarded(*locks)])
        with pytest.raises(ConfigError, match="before its handler begins"):
            Dedup(MemoryStore(), sources=sources, **given)
    for store, own in ((MemoryStore(), policy), (Dedup(MemoryStore(), policy=policy), None)):
        with pytest.raises(ConfigError, match="before its handler begins"):
            deduplicate(store, key=str, guards=[OneAtATime("thread", wait=5)], policy=own)
    assert Dedup(MemoryStore(), sources=[guarded(locks[0])], policy=policy).sources


@pytest.mark.parametrize(
    "pair",
    [
        (Budget(3, 300), Budget(20, 86_400)),
        (OneAtATime("thread"), OneAtATime("customer")),
        (Budget(3, 300, name="replies"), Budget(20, 86_400, name="replies")),
    ],
    ids=["budgets", "locks", "named"],
)
def test_two_guards_that_would_meet_in_their_keys(pair):
    """A lock would wait for the other for ever, and of two budgets each would count double."""
    with pytest.raises(ConfigError, match="a name of its own"):
        guarded(pair[0], Check(print), pair[1])


async def test_two_budgets_and_two_locks_of_one_function():
    """With names of their own each counts, and locks, for itself."""
    guards = [
        *(OneAtATime(subject, name=subject) for subject in ("thread", "customer")),
        Budget(3, 300, subject="thread"),
        Budget(4, 86_400, subject="thread", name="daily"),
    ]

    @deduplicate(MemoryStore(), key=lambda event: event["id"], guards=guards)
    async def handle(event):
        return event["id"]

    for event in "123":
        assert await handle({"id": event, "thread": "t", "customer": "t"}) == event
    with pytest.raises(OverBudget, match="3 sends"):
        await handle({"id": "4", "thread": "t", "customer": "t"})


async def test_guards_of_a_function():
    """A decorated function is guarded by its first argument."""
    records, ran = Records(), []
    async with Dedup(MemoryStore(), observers=[records]) as dedup:
        guards = [Rules(keep=PAID), OneAtATime("thread"), Budget(1, 300, subject="thread")]

        @deduplicate(dedup, key=lambda event: event["id"], guards=guards)
        async def handle(event):
            ran.append(event["id"])
            return event["id"]

        assert await handle({"id": "1", "type": "open"}) is None
        assert await handle({"id": "1", "type": "paid", "thread": "t"}) == "1"
        assert await handle({"id": "2", "type": "paid", "thread": "u"}) == "2"
        with pytest.raises(OverBudget):
            await handle({"id": "3", "type": "paid", "thread": "t"})
    assert ran == ["1", "2"]
    assert reasons(records, Kind.SKIPPED) == ["filtered"]


class Agent:
    """Handlers of every shape, which answer with what they were given."""

    async def method(self, event, dry=False):
        return event["id"]

    @classmethod
    async def of_class(cls, event):
        return event["id"]


async def answered(event, dry=False):
    return event["id"]


@pytest.mark.parametrize(
    "call",
    [
        lambda guard, event: guard(answered)(event),
        lambda guard, event: guard(answered)(dry=True, event=event),
        lambda guard, event: guard(Agent.method)(Agent(), event),
        lambda guard, event: guard(Agent.method)(Agent(), dry=True, event=event),
        lambda guard, event: guard(Agent.of_class.__func__)(Agent, event=event),
        lambda guard, event: guard(Agent().method)(event=event),
        lambda guard, event: guard(partial(answered, dry=True))(event=event),
    ],
)
async def test_guards_find_the_first_argument(call):
    """However a call brings the event, it is what guards look at, and no object of a method."""
    guards = [SelfSent("from", addresses=["me"]), Rules(keep=PAID), OneAtATime("thread")]
    guard = deduplicate(MemoryStore(), key=lambda *args, **named: "1", scope="agent", guards=guards)
    assert await call(guard, {"id": "1", "type": "paid", "from": "me"}) is None
    assert await call(guard, {"id": "1", "type": "open", "from": "you"}) is None
    assert await call(guard, {"id": "1", "type": "paid", "from": "you"}) == "1"


@dataclass
class Mail:
    sender: str = "me"


@pytest.mark.parametrize(
    "guard",
    [
        SelfSent("sender", addresses=["me"]),
        Rules(skip={"field": "sender", "is": "equals", "value": "me"}),
        OneAtATime("sender"),
        Budget(1, 300, subject="sender"),
    ],
)
async def test_guards_that_would_find_nothing(guard):
    """An object that is no JSON is refused, or a guard would let everything pass unseen."""

    @deduplicate(MemoryStore(), key=lambda mail: "1", guards=[guard])
    async def handle(mail):
        pytest.fail("it ran")

    with pytest.raises(ConfigError, match="JMESPath, which finds nothing in a Mail"):
        await handle(Mail())


async def test_locked_function_call_raises():
    """A caller who meets another inside the same thread is told when to come again."""
    async with Dedup(MemoryStore()) as dedup:
        guards = [OneAtATime("thread", retry_after=3)]

        @deduplicate(dedup, key=lambda event: event["id"], guards=guards)
        async def handle(event):
            if event["id"] == "1":
                with pytest.raises(Locked) as locked:
                    await handle({**event, "id": "2"})
                assert locked.value.retry_after == 3

        await handle({"id": "1", "thread": "t"})
