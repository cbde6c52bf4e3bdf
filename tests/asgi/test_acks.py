"""When a sender gets its 200, and what it is told, under each ack."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import anyio
import pytest

from webhook_dedup import Discard, InProgress, Retry, Source, StoreUnavailable
from webhook_dedup.contracts import Sought
from webhook_dedup.inbox import MemoryInbox
from webhook_dedup.observe.record import Kind
from webhook_dedup.providers import find_preset

from .kit import BODY, PATH, Handler, TracedStore, deliver, mounted, policy, settled


class TracedInbox(MemoryInbox):
    """Notes what is put in the same trace as the store."""

    def __init__(self, trace: list[str], **options) -> None:
        super().__init__(**options)
        self.trace = trace
        self.away = False

    async def put(self, item, lease):
        if self.away:
            raise StoreUnavailable("told to fail")
        self.trace.append("put")
        await super().put(item, lease)


ORDER = {
    "first": ["put", "sent", "claim", "handler", "complete"],
    "claimed": ["put", "claim", "sent", "handler", "complete"],
    "handled": ["claim", "handler", "complete", "sent"],
}


@pytest.mark.parametrize("ack", ORDER)
async def test_order(ack):
    """Each ack keeps its order of recording, claiming, answering, handling and completing."""
    trace: list[str] = []

    def note(message):
        if message["type"] == "http.response.body":
            trace.append("sent")

    handler = Handler(trace=trace)
    store, inbox = TracedStore(trace), TracedInbox(trace)
    async with mounted(handler, ack, store=store, inbox=inbox) as (app, _):
        await deliver(app, on_send=note)
    assert [step for step in trace if step != "start"] == ORDER[ack]


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_answered_while_the_handler_runs(ack):
    """The sender has its whole answer while the handler still runs; the call ends after it."""
    handler = Handler()
    handler.gate.clear()
    sent = []
    async with mounted(handler, ack) as (app, _):
        call = asyncio.ensure_future(deliver(app, on_send=sent.append))
        await handler.inside.wait()
        assert [message["type"] for message in sent] == [
            "http.response.start",
            "http.response.body",
        ]
        assert not call.done()
        handler.gate.set()
        await call


@pytest.mark.parametrize(
    ("ack", "first", "copy"),
    [
        ("first", b'{"received": true}', b'{"received": true}'),
        (
            "claimed",
            b'{"received": true, "duplicate": false}',
            b'{"received": true, "duplicate": true}',
        ),
        ("handled", b"handled", b"handled"),
    ],
)
async def test_what_a_duplicate_is_told(ack, first, copy):
    """A copy of a done event gets a 200 in the words of the ack, and nothing runs."""
    handler = Handler()
    async with mounted(handler, ack) as (app, records):
        replies = [await deliver(app) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert [reply.body for reply in replies] == [first, copy, copy]
    assert handler.runs == [BODY]
    assert [record.reason for record in records.of(Kind.SKIPPED)] == ["duplicate", "duplicate"]


@pytest.mark.parametrize(
    ("ack", "copy"),
    [
        ("first", b'{"received": true}'),
        ("claimed", b'{"received": true, "duplicate": true}'),
    ],
)
async def test_what_a_copy_in_flight_is_told(ack, copy):
    """A copy of an event being handled gets its 200, waits for the holder and is then skipped."""
    handler = Handler()
    handler.gate.clear()
    async with mounted(handler, ack) as (app, records):
        original = asyncio.ensure_future(deliver(app))
        await handler.inside.wait()
        reply = await deliver(app)
        assert (reply.status, reply.body) == (200, copy)
        assert [record.reason for record in records.of(Kind.DEFERRED)] == ["in_flight"]
        handler.gate.set()
        await original
        await settled(app)
    assert handler.runs == [BODY]
    assert [record.reason for record in records.of(Kind.SKIPPED)] == ["duplicate"]


async def test_copy_that_comes_while_the_acknowledgement_is_on_its_way():
    """Claimed for a slow client, an event has its copies wait for its run, not for its lease."""
    handler, slow, taken = Handler(), asyncio.Event(), asyncio.Event()
    async with mounted(handler, "claimed", policy=policy(lease=600)) as (app, _):

        async def to_slow_client(scope, receive, send):
            async def send_slowly(message):
                taken.set()
                await slow.wait()
                await send(message)

            await app(scope, receive, send_slowly)

        original = asyncio.ensure_future(deliver(to_slow_client))
        await taken.wait()
        reply = await deliver(app)
        assert reply.body == b'{"received": true, "duplicate": true}'
        slow.set()
        await original
        await settled(app)
    assert handler.runs == [BODY]


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_five_at_once(ack):
    """Of five copies at once one runs and four are skipped, each with its own record."""
    handler = Handler()
    async with mounted(handler, ack) as (app, records):
        replies = await asyncio.gather(*(deliver(app) for _ in range(5)))
        await settled(app)
    assert [reply.status for reply in replies] == [200] * 5
    assert handler.runs == [BODY]
    assert len(records.of(Kind.SKIPPED)) == 4
    assert len(records.of(Kind.SUCCEEDED)) == 1


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_copy_takes_over_after_failure(ack):
    """When the first run of an event fails, a waiting copy of it is not lost: the event is done."""
    handler = Handler(ValueError("the first run fails"))
    handler.gate.clear()
    async with mounted(handler, ack) as (app, records):
        original = asyncio.ensure_future(deliver(app))
        await handler.inside.wait()
        await deliver(app)
        handler.gate.set()
        await original
        await settled(app)
    assert len(handler.runs) == 2
    assert len(records.of(Kind.SUCCEEDED)) == 1


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_acknowledged_by_204(ack):
    """A sender who counts 204 as success gets no body with it, which servers would refuse."""
    preset = replace(find_preset("generic"), ack_status=204)
    sources = [Source(preset, path=PATH, event_id="id", verify=False, ack=ack)]
    async with mounted(Handler(), sources=sources) as (app, _):
        for reply in (await deliver(app), await deliver(app)):
            assert (reply.status, reply.headers, reply.body) == (204, {}, b"")


@pytest.mark.parametrize("ack", ["first", "claimed"])
@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_success_statuses(ack, status):
    """Any 2xx of the handler ends the event."""
    handler = Handler(status)
    async with mounted(handler, ack) as (app, records):
        await deliver(app)
    assert len(handler.runs) == 1
    assert [record.status for record in records.of(Kind.SUCCEEDED)] == [status]


@pytest.mark.parametrize("ack", ["first", "claimed"])
@pytest.mark.parametrize("status", [301, 307, 404, 405, 408, 409, 425, 429, 500, 503])
async def test_retried_statuses(ack, status):
    """Statuses after which the same request may succeed are tried again until it does."""
    handler = Handler(status, status)
    async with mounted(handler, ack) as (app, records):
        reply = await deliver(app)
        await settled(app)
    assert reply.status == 200
    assert len(handler.runs) == 3
    assert [record.status for record in records.of(Kind.FAILED)] == [status, status]
    assert [record.attempt for record in records.of(Kind.STARTED)] == [1, 2, 3]


@pytest.mark.parametrize("ack", ["first", "claimed"])
@pytest.mark.parametrize("status", [400, 401, 403, 410, 413, 422])
async def test_buried_statuses(ack, status):
    """A status that will not change is kept for a person at once, and a redelivery runs again."""
    handler = Handler(status)
    async with mounted(handler, ack) as (app, records):
        await deliver(app)
        dead = await app.dedup.inbox.find(Sought(state="dead"))
        assert [item.delivery.body for item in dead] == [BODY]
        assert len(records.of(Kind.BURIED)) == 1
        assert (await deliver(app)).status == 200
    assert len(handler.runs) == 2
    assert len(records.of(Kind.SUCCEEDED)) == 1


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_exceptions_retried(ack):
    """An exception of the handler is a failure that is tried again; the sender has its 200."""
    handler = Handler(ValueError("no"), RuntimeError("no"))
    async with mounted(handler, ack) as (app, records):
        assert (await deliver(app)).status == 200
        await settled(app)
    assert len(handler.runs) == 3
    errors = [type(record.error) for record in records.of(Kind.FAILED)]
    assert errors == [ValueError, RuntimeError]


def in_a_group(handler):
    """Call a handler in a task group, which wraps what it raises."""

    async def app(*call):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handler, *call)

    return app


@pytest.mark.parametrize("within", [lambda app: app, in_a_group], ids=["plain", "group"])
async def test_orders_of_the_handler(within):
    """Retry runs it again, InProgress too without counting, Discard ends it."""
    handler = Handler(Retry("not yet", after=0), InProgress("key", 0), Discard("not ours"))
    async with mounted(within(handler)) as (app, records):
        await deliver(app)
        await settled(app)
        await deliver(app)
    assert len(handler.runs) == 3
    assert [record.attempt for record in records.of(Kind.STARTED)] == [1, 2, 2]
    skips = [(record.reason, record.detail) for record in records.of(Kind.SKIPPED)]
    assert skips[0] == ("discarded", "not ours")
    assert skips[1][0] == "duplicate"


@pytest.mark.parametrize("ack", ["first", "claimed", "handled"])
async def test_bad_signature_leaves_nothing(ack):
    """A wrongly signed delivery claims nothing, stores nothing, runs nothing; the true one runs."""
    handler, store = Handler(), TracedStore()
    async with mounted(handler, ack, store=store) as (app, records):
        for headers in ({}, {"x-signature": "sha256=" + "0" * 64}, {"x-signature": "junk"}):
            reply = await deliver(app, headers=headers)
            assert reply.status == 401
            assert set(reply.json()) == {"error", "detail"}
        assert (len(store), len(app.dedup.inbox)) == (0, 0)
        assert store.trace == ["start"]
        assert records.kinds == ["rejected"] * 3
        assert (await deliver(app)).status == 200
    assert handler.runs == [BODY]


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_copy_that_is_known_done_costs_no_io(ack):
    """What this process has finished is acknowledged, and neither recorded nor claimed again."""
    handler, trace = Handler(), []
    inbox = TracedInbox(trace)
    async with mounted(handler, ack, store=TracedStore(trace), inbox=inbox) as (app, records):
        await deliver(app)
        await settled(app)
        trace.clear()
        copy = await deliver(app)
        told = {"duplicate": True} if ack == "claimed" else {}
        assert (copy.status, copy.json()) == (200, {"received": True, **told})
        assert trace == []
    assert [record.reason for record in records.of(Kind.SKIPPED)] == ["duplicate"]
    assert handler.runs == [BODY]


async def test_inbox_away():
    """A delivery that cannot be recorded is not acknowledged: 503 with Retry-After."""
    handler, trace = Handler(), []
    inbox = TracedInbox(trace)
    inbox.away = True
    async with mounted(handler, inbox=inbox) as (app, records):
        reply = await deliver(app)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert reply.json()["error"] == "inbox_unavailable"
        inbox.away = False
        assert (await deliver(app)).status == 200
    assert handler.runs == [BODY]
    [rejected] = records.of(Kind.REJECTED)
    assert (rejected.reason, rejected.event_id) == ("inbox_unavailable", "evt_1")
    [error] = records.of(Kind.STORE_ERROR)  # the sender is not told why, the operator is
    assert error.detail == "told to fail"


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_overload(ack):
    """Above max_in_flight an inbox in memory takes no more: 503 with Retry-After, nothing kept."""
    handler = Handler()
    handler.gate.clear()
    async with mounted(handler, ack, policy=policy(max_in_flight=1)) as (app, _):
        running = asyncio.ensure_future(deliver(app))
        await handler.inside.wait()
        reply = await deliver(app, b'{"id": "evt_2"}')
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.json()["error"] == "overloaded"
        assert len(app.dedup.inbox) == 1
        handler.gate.set()
        await running
        assert (await deliver(app, b'{"id": "evt_2"}')).status == 200
    assert len(handler.runs) == 2


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_overload_in_one_burst(ack):
    """A burst is held to max_in_flight too; each of its deliveries is refused or run once."""
    handler, bodies = Handler(), [b'{"id": %d}' % number for number in range(10)]
    handler.gate.clear()
    limit = policy(max_in_flight=3)
    async with mounted(handler, ack, store=SlowStore(), policy=limit) as (app, _):
        calls = [asyncio.ensure_future(deliver(app, body)) for body in bodies]
        await handler.inside.wait()
        await asyncio.wait(calls, timeout=0.05)
        assert len(handler.runs) <= 3
        handler.gate.set()
        replies = await asyncio.gather(*calls)
        await settled(app)
    accepted = [body for body, reply in zip(bodies, replies, strict=True) if reply.status == 200]
    assert sorted(handler.runs) == sorted(accepted)
    assert {reply.status for reply in replies} <= {200, 503}
    assert len(accepted) >= 3


class SlowStore(TracedStore):
    """Lets the loop turn before it answers, as a network does."""

    async def claim(self, bids):
        await asyncio.sleep(0)
        return await super().claim(bids)


@pytest.mark.parametrize("ack", ["first", "claimed", "handled"])
async def test_observe_only(ack):
    """With observe_only duplicates are recorded and run all the same."""
    handler = Handler()
    async with mounted(handler, ack, policy=policy(observe_only=True)) as (app, records):
        for _ in range(3):
            assert (await deliver(app)).status == 200
    assert len(handler.runs) == 3
    assert len(records.of(Kind.SKIPPED)) == 2
