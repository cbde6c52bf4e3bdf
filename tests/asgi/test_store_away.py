"""While the store is away nothing that was acknowledged is lost, and the rest is refused."""

from __future__ import annotations

import asyncio

import pytest

from webhook_dedup import runner
from webhook_dedup.observe.record import Kind

from .kit import BODY, Handler, TracedStore, deliver, mounted, policy, settled, until


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Ask a store that is away again after a moment, not after seconds."""
    for module in (runner, *_turns()):
        if hasattr(module, "STORE_AWAY_WAIT"):
            monkeypatch.setattr(module, "STORE_AWAY_WAIT", 0.02)


def _turns():
    from webhook_dedup import turn

    return (turn,)


async def away(verb="claim"):
    store = TracedStore()
    store.away.add(verb)
    return store


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_deferred(ack):
    """An acknowledged delivery waits for the store and runs when it is back, uncounted."""
    store, handler = await away(), Handler()
    async with mounted(handler, ack, store=store) as (app, records):
        assert (await deliver(app)).status == 200
        await until(lambda: records.of(Kind.DEFERRED))
        assert handler.runs == []
        store.away.clear()
        await settled(app)
    assert handler.runs == [BODY]
    assert [record.attempt for record in records.of(Kind.STARTED)] == [1]
    assert [record.reason for record in records.of(Kind.DEFERRED)] == ["store_away"]


async def test_handled_refuses():
    """With ack='handled' nothing keeps the delivery: 503 with Retry-After, and nothing runs."""
    store, handler = await away(), Handler()
    async with mounted(handler, "handled", store=store) as (app, records):
        reply = await deliver(app)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert reply.json()["error"] == "store_unavailable"
        store.away.clear()
        assert (await deliver(app)).status == 200
    assert handler.runs == [BODY]
    assert records.kinds[:3] == ["received", "store_error", "rejected"]


@pytest.mark.parametrize("ack", ["claimed", "handled"])
async def test_reject(ack):
    """With on_store_error='reject' the sender is asked to come again and nothing is kept."""
    store, handler = await away(), Handler()
    chosen = policy(on_store_error="reject")
    async with mounted(handler, ack, store=store, policy=chosen) as (app, _):
        reply = await deliver(app)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert len(app.dedup.inbox) == 0
        store.away.clear()
        assert (await deliver(app)).status == 200
        await settled(app)
    assert handler.runs == [BODY]


@pytest.mark.parametrize("ack", ["first", "claimed", "handled"])
async def test_process(ack):
    """With on_store_error='process' it is run without a claim, and that is recorded."""
    store, handler = await away(), Handler()
    chosen = policy(on_store_error="process")
    async with mounted(handler, ack, store=store, policy=chosen) as (app, records):
        assert (await deliver(app)).status == 200
        await settled(app)
    assert handler.runs == [BODY]
    assert records.of(Kind.STORE_ERROR)
    assert len(records.of(Kind.SUCCEEDED)) == 1


@pytest.mark.parametrize("ack", ["first", "claimed", "handled"])
async def test_away_at_completion(ack):
    """A store that goes away during the run is asked again until the event is done."""
    store, handler = TracedStore(), Handler()
    handler.gate.clear()
    async with mounted(handler, ack, store=store) as (app, records):
        call = asyncio.ensure_future(deliver(app))
        await handler.inside.wait()
        store.away.add("complete")
        handler.gate.set()
        await until(lambda: records.of(Kind.STORE_ERROR))
        store.away.clear()
        assert (await call).status == 200
        assert (await deliver(app)).status == 200
        await settled(app)
    assert handler.runs == [BODY]
    assert len(records.of(Kind.SUCCEEDED)) == 1


async def test_away_at_release():
    """A failed event whose claim could not be released is free again after its lease."""
    store, handler = TracedStore(), Handler(503)
    async with mounted(handler, "handled", store=store, policy=policy(lease=0.2)) as (app, _):
        store.away.add("release")
        assert (await deliver(app)).status == 503
        store.away.clear()
        assert (await deliver(app)).status == 503
        await asyncio.sleep(0.2)
        assert (await deliver(app)).status == 200
    assert len(handler.runs) == 2
