"""While the store is away nothing that was acknowledged is lost, and the rest is refused."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from tests.servers import PostgresServer, RedisServer
from webhook_dedup import open_store, runner
from webhook_dedup.contracts import Sought
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.observe.record import Kind
from webhook_dedup.testing import FakeClock

from .kit import BODY, Handler, TracedStore, deliver, mounted, policy, settled, source, until


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
    clock = FakeClock()
    store, handler = TracedStore(clock=clock), Handler(503)
    async with mounted(handler, "handled", store=store, policy=policy(lease=30)) as (app, _):
        store.away.add("release")
        assert (await deliver(app)).status == 503
        store.away.clear()
        assert (await deliver(app)).status == 503
        clock.advance(30)
        assert (await deliver(app)).status == 200
    assert len(handler.runs) == 2


@pytest.fixture(params=[RedisServer, PostgresServer], ids=["redis", "postgres"])
def remote(request):
    """A store's server of the test's own, which is stopped and started."""
    with request.param() as server:
        yield server


@asynccontextmanager
async def apart(server, directory, handler, **options):
    """A middleware with its store on a server and its inbox in a local file."""
    store = open_store(server.url, timeout=3.0)
    inbox = SqlInbox.from_url(f"sqlite:///{directory}/inbox.db")
    try:
        async with mounted(handler, store=store, inbox=inbox, **options) as (app, records):
            yield app, records
    finally:
        await inbox.aclose()
        await store.aclose()


def numbered(count, path="/hooks"):
    return [(json.dumps({"id": f"{path} {number}"}).encode(), path) for number in range(count)]


async def emptied(app):
    """Wait until the durable inbox of an app is empty."""
    for _ in range(600):
        if not await app.dedup.inbox.count(Sought()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the inbox was not emptied")


@pytest.mark.parametrize("ack", ["first", "claimed"])
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_remote_store_away(remote, ack, end, tmp_path):
    """With a local inbox all is acknowledged while the server is away, and run when it is back."""
    handler = Handler()
    async with apart(remote, tmp_path, handler, ack=ack) as (app, records):
        assert (await deliver(app)).status == 200
        await until(lambda: records.of(Kind.SUCCEEDED))
        await asyncio.to_thread(getattr(remote, end))
        away = numbered(20)
        replies = await asyncio.gather(*(deliver(app, body) for body, _ in away))
        assert {reply.status for reply in replies} == {200}
        assert len(handler.runs) == 1
        assert await app.dedup.inbox.count(Sought(state="waiting")) == len(away)
        await asyncio.to_thread(remote.start)
        await emptied(app)
    assert sorted(handler.runs) == sorted([BODY, *(body for body, _ in away)])
    assert {record.reason for record in records.of(Kind.DEFERRED)} == {"store_away"}
    assert not records.of(Kind.RETRIED)


async def test_choice_of_each_source(remote, tmp_path):
    """While the server is away each source goes by its own on_store_error."""
    choices = ("defer", "reject", "process")
    sources = [
        source(name=name, path=f"/{name}", ack="claimed", policy=policy(on_store_error=name))
        for name in choices
    ]
    handler = Handler()
    async with apart(remote, tmp_path, handler, sources=sources) as (app, _):
        await asyncio.to_thread(remote.stop)
        statuses = {}
        for name in choices:
            [(body, path)] = numbered(1, f"/{name}")
            reply = await deliver(app, body, path=path)
            statuses[name] = (reply.status, reply.headers.get("retry-after"))
        await until(lambda: handler.runs)
        assert statuses == {"defer": (200, None), "reject": (503, "5"), "process": (200, None)}
        assert [json.loads(body)["id"] for body in handler.runs] == ["/process 0"]
        await asyncio.to_thread(remote.start)
        await emptied(app)
    ran = [json.loads(body)["id"] for body in handler.runs]
    assert ran == ["/process 0", "/defer 0"]


async def test_inbox_away_too(remote):
    """With store and inbox away the sender is told to come again; nothing needs a restart."""
    store = open_store(remote.url)
    handler = Handler()
    try:
        async with mounted(handler, store=store) as (app, records):
            await asyncio.to_thread(remote.kill)
            for _ in range(3):
                reply = await deliver(app)
                assert (reply.status, reply.headers["retry-after"]) == (503, "5")
                assert reply.json()["error"] == "inbox_unavailable"
            await asyncio.to_thread(remote.start)
            assert (await deliver(app)).status == 200
            await emptied(app)
    finally:
        await store.aclose()
    assert handler.runs == [BODY]
    assert [record.status for record in records.of(Kind.REJECTED)] == [503] * 3
