"""``ack="handled"``: the handler's response is the answer, and copies get the first one."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from webhook_dedup import Discard, InProgress, Retry, WebhookDedup
from webhook_dedup.asgi import held_response, run_then_ack
from webhook_dedup.model import Key, Remembers
from webhook_dedup.observe.record import Kind
from webhook_dedup.providers.catalog import find_preset
from webhook_dedup.stores import MemoryStore, open_store

from ..core.kit import eventually
from .kit import BODY, Handler, Records, TracedStore, deliver, living, mounted, policy, source


class Script:
    """A bare app that sends the messages it was given."""

    def __init__(self, *messages) -> None:
        self.messages = messages
        self.runs = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await Handler._live(receive, send)
        self.runs += 1
        for message in self.messages:
            if isinstance(message, BaseException):
                raise message
            await send(message)
        return None


def start(status=200, *headers):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def chunk(body, *, more=False):
    return {"type": "http.response.body", "body": body, "more_body": more}


async def test_completed_before_the_last_message():
    """The event is done before the last body message leaves, and not before the others leave."""
    trace = []

    def note(message):
        trace.append(message.get("body", "start"))

    app = Script(start(), chunk(b"a", more=True), chunk(b"b", more=True), chunk(b"c"))
    async with mounted(app, "handled", store=TracedStore(trace)) as (middleware, _):
        await deliver(middleware, on_send=note)
    assert trace == ["start", "claim", "start", b"a", b"b", "complete", b"c"]


async def test_lost_response_is_answered_again():
    """When the last message does not get through, the next copy is answered and not run."""
    handler = Handler()

    def lose(message):
        if message["type"] == "http.response.body":
            raise OSError("the client has left")

    async with mounted(handler, "handled") as (app, _):
        await deliver(app, on_send=lose)
        reply = await deliver(app)
    assert (reply.status, reply.body) == (200, b"handled")
    assert handler.runs == [BODY]


async def test_first_response_replayed():
    """Copies get the first response: status, headers but cookies, body; and a mark."""
    app = Script(
        start(
            201,
            (b"Content-Type", b"text/xml"),
            (b"Set-Cookie", b"session=1"),
            (b"set-cookie", b"other=2"),
            (b"X-Twice", b"\xe9"),
            (b"X-Twice", b"b"),
            (b"Content-Length", b"4"),
        ),
        chunk(b"\x00\n", more=True),
        chunk(b"\xff\n"),
    )
    async with mounted(app, "handled") as (middleware, records):
        first, copy = await deliver(middleware), await deliver(middleware)
    assert first.messages[0]["headers"] == app.messages[0]["headers"]
    assert (copy.status, copy.body) == (201, first.body)
    assert copy.messages[0]["headers"] == [
        (b"Content-Type", b"text/xml"),
        (b"X-Twice", b"\xe9"),
        (b"X-Twice", b"b"),
        (b"idempotent-replayed", b"true"),
        (b"content-length", b"4"),
    ]
    assert app.runs == 1
    assert [record.reason for record in records.of(Kind.SKIPPED)] == ["duplicate"]


@pytest.mark.parametrize("body", [b"", b"0", b"null", b"{}"])
async def test_falsy_responses_replayed(body):
    """A response that looks like nothing is replayed as it was."""
    app = Script(start(200, (b"x-kind", b"first")), chunk(body))
    async with mounted(app, "handled") as (middleware, _):
        await deliver(middleware)
        copy = await deliver(middleware)
    assert copy.body == body
    assert copy.headers["x-kind"] == "first"


async def test_no_content_replayed():
    """A replayed 204 has no content-length, which HTTP forbids there."""
    async with mounted(Script(start(204), chunk(b"")), "handled") as (middleware, _):
        await deliver(middleware)
        copy = await deliver(middleware)
    assert copy.status == 204
    assert "content-length" not in copy.headers


async def test_streamed_response_replayed():
    """A streamed response reaches its first client in pieces and a copy as one."""

    async def hook(request: Request):
        async def stream():
            for number in range(3):
                await asyncio.sleep(0)
                yield b"%d" % number

        return StreamingResponse(stream(), media_type="text/plain")

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    app.add_middleware(WebhookDedup, store=MemoryStore(), sources=[source(ack="handled")])
    async with living(app):
        first, copy = await deliver(app), await deliver(app)
    assert len(first.messages) > 3
    assert (copy.body, copy.headers["content-length"]) == (b"012", "3")


@pytest.mark.parametrize(("size", "replayed"), [(64 * 1024, True), (64 * 1024 + 1, False)])
async def test_size_of_replays(size, replayed):
    """Up to 64 KiB is replayed; after a larger response copies get the acknowledgement."""
    app = Script(start(), chunk(b"x" * (size - 1), more=True), chunk(b"x"))
    async with mounted(app, "handled") as (middleware, _):
        first, copy = await deliver(middleware), await deliver(middleware)
    assert first.body == b"x" * size
    assert copy.body == (first.body if replayed else b'{"received": true}')
    assert app.runs == 1


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
async def test_files_sent_by_the_server(kind):
    """A file that the server sends by itself ends the response; copies get the acknowledgement."""
    app = Script(start(), {"type": kind, "path": "/file"})
    async with mounted(app, "handled") as (middleware, records):
        await deliver(middleware)
        copy = await deliver(middleware)
    assert copy.body == b'{"received": true}'
    assert app.runs == 1
    assert len(records.of(Kind.SUCCEEDED)) == 1


async def test_store_without_results():
    """Where the store keeps no results, copies get the preset's acknowledgement."""

    class Forgetful(MemoryStore):
        remembers = Remembers.ALL & ~Remembers.RESULT

        async def complete(self, done):
            assert all(settlement.result is None for settlement in done)
            return await super().complete(done)

    handler = Handler()
    async with mounted(handler, "handled", store=Forgetful()) as (app, _):
        replies = [await deliver(app) for _ in range(2)]
    assert [reply.body for reply in replies] == [b"handled", b'{"received": true}']
    assert len(handler.runs) == 1


async def test_bloom_store():
    """On a Bloom filter copies are not run and get the acknowledgement."""
    handler = Handler()
    async with mounted(handler, "handled", store=open_store("bloom://")) as (app, _):
        replies = [await deliver(app) for _ in range(2)]
    assert [reply.body for reply in replies] == [b"handled", b'{"received": true}']
    assert len(handler.runs) == 1


async def test_replayed_after_a_restart(tmp_path):
    """On SQLite the first response outlives the process that gave it."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    handler = Handler()
    for _ in range(2):
        async with mounted(handler, "handled", store=url) as (app, _):
            reply = await deliver(app)
            assert (reply.status, reply.body, reply.headers["x-run"]) == (200, b"handled", "1")
    assert len(handler.runs) == 1


@pytest.mark.parametrize("status", [302, 400, 404, 422, 429, 500, 503])
async def test_failures_forwarded_and_released(status):
    """Whatever is not 2xx is forwarded as it is, and the next copy runs."""
    handler = Handler(status)
    async with mounted(handler, "handled") as (app, records):
        first, second = await deliver(app), await deliver(app)
    assert (first.status, first.body) == (status, b"handled")
    assert second.status == 200
    assert [record.status for record in records.of(Kind.FAILED)] == [status]
    assert len(handler.runs) == 2


async def test_released_before_the_answer():
    """A failure is released before the sender knows of it, so its retry finds the way free."""
    trace = []

    def note(message):
        trace.append(message["type"])

    async with mounted(Handler(503), "handled", store=TracedStore(trace)) as (app, _):
        await deliver(app, on_send=note)
    assert trace.index("release") < trace.index("http.response.body")


async def test_exception_goes_out_and_releases():
    """The handler's own exception goes on to the server, and the next copy runs."""
    handler = Handler(ZeroDivisionError("boom"))
    async with mounted(handler, "handled") as (app, records):
        with pytest.raises(ZeroDivisionError):
            await deliver(app)
        assert (await deliver(app)).status == 200
    assert [type(record.error) for record in records.of(Kind.FAILED)] == [ZeroDivisionError]


async def test_exception_in_mid_stream():
    """A response that breaks off is not done: the next copy runs."""
    app = Script(start(), chunk(b"a", more=True), ZeroDivisionError("boom"))
    async with mounted(app, "handled") as (middleware, records):
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await deliver(middleware)
    assert app.runs == 2
    assert records.of(Kind.SUCCEEDED) == []


async def test_exception_after_the_response():
    """A run that fails after its last message has failed: nothing leaves, the next copy runs."""
    sent = []
    app = Script(start(), chunk(b"a"), ZeroDivisionError("boom"))
    async with mounted(app, "handled") as (middleware, records):
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await deliver(middleware, on_send=sent.append)
    assert app.runs == 2
    assert sent == []
    assert records.kinds == ["received", "started", "failed"] * 2


async def test_a_failure_without_the_end_of_its_response():
    """What an app began to say of its failure does not leave: the server says it as a whole."""
    sent = []
    async with mounted(Script(start(500), ZeroDivisionError("boom")), "handled") as (app, _):
        with pytest.raises(ZeroDivisionError):
            await deliver(app, on_send=sent.append)
    assert sent == []


async def test_app_without_a_response():
    """An app that returns without a response has not handled the event: the sender comes again."""
    app = Script()
    async with mounted(app, "handled") as (middleware, records):
        replies = [await deliver(middleware) for _ in range(2)]
    assert [(reply.status, reply.headers["retry-after"]) for reply in replies] == [(503, "5")] * 2
    assert app.runs == 2
    told = {record.detail for record in records.of(Kind.FAILED)}
    assert told == {"the app returned without a complete response"}


async def test_several_last_messages():
    """An app that ends its response twice settles its event once."""
    trace = []
    app = Script(start(), chunk(b"a"), chunk(b""))
    async with mounted(app, "handled", store=TracedStore(trace)) as (middleware, records):
        await deliver(middleware)
    assert trace.count("complete") == 1
    assert len(records.of(Kind.SUCCEEDED)) == 1


async def test_copy_in_flight():
    """While the first is handled, a copy is told to come again when its lease may have ended."""
    handler = Handler()
    handler.gate.clear()
    async with mounted(handler, "handled", policy=policy(lease=7)) as (app, records):
        first = asyncio.ensure_future(deliver(app))
        await handler.inside.wait()
        copy = await deliver(app)
        handler.gate.set()
        await first
    assert copy.status == 503
    assert copy.json()["error"] == "in_flight"
    assert 1 <= int(copy.headers["retry-after"]) <= 7
    assert handler.runs == [BODY]
    assert [record.reason for record in records.of(Kind.SKIPPED)] == ["in_flight"]


async def test_five_at_once():
    """Of five copies at once one is answered by the handler and four are told to come again."""
    handler = Handler()
    handler.gate.clear()
    async with mounted(handler, "handled") as (app, _):
        calls = [asyncio.ensure_future(deliver(app)) for _ in range(5)]
        await handler.inside.wait()
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        handler.gate.set()
        statuses = sorted([reply.status for reply in await asyncio.gather(*calls)])
    assert statuses == [200, 503, 503, 503, 503]
    assert len(handler.runs) == 1


@pytest.mark.parametrize(
    ("order", "status", "after"),
    [
        (Retry("later", after=7), 503, "7"),
        (Retry("later"), 503, "5"),
        (InProgress("key", 2.5), 503, "3"),
        (TimeoutError("took too long"), 503, "5"),
    ],
)
async def test_orders_of_the_handler(order, status, after):
    """Retry and InProgress make the sender come again, and its next delivery runs."""
    handler = Handler(order)
    async with mounted(handler, "handled") as (app, _):
        reply = await deliver(app)
        assert (reply.status, reply.headers["retry-after"]) == (status, after)
        assert (await deliver(app)).status == 200
    assert len(handler.runs) == 2


async def test_discarded():
    """Discard ends the event: the sender gets the acknowledgement, now and for every copy."""
    handler = Handler(Discard("not ours"))
    async with mounted(handler, "handled") as (app, records):
        replies = [await deliver(app) for _ in range(2)]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b'{"received": true}')] * 2
    assert [record.reason for record in records.of(Kind.SKIPPED)] == ["discarded", "duplicate"]
    assert len(handler.runs) == 1


async def test_discarded_in_the_middle_of_its_response():
    """What has begun is not begun again; copies are acknowledged."""
    app = Script(start(), chunk(b"half", more=True), Discard("not ours"))
    async with mounted(app, "handled") as (middleware, records):
        assert (await deliver(middleware)).messages == [start(), chunk(b"half", more=True)]
        assert (await deliver(middleware)).body == b'{"received": true}'
    assert records.kinds == ["received", "started", "skipped", "received", "skipped"]


async def test_handler_timeout():
    """A handler that takes too long is cancelled, and the sender told to come again."""
    handler = Handler()
    handler.gate.clear()
    async with mounted(handler, "handled", policy=policy(handler_timeout=0.05)) as (app, records):
        reply = await deliver(app)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        handler.gate.set()
        assert (await deliver(app)).status == 200
    assert "handler_timeout" in records.of(Kind.FAILED)[0].detail


async def test_retry_status_of_the_preset():
    """Where a provider retries after another status, that one is used."""
    row = find_preset("generic")
    names = {name: getattr(row, name) for name in type(row).__dataclass_fields__}
    picky = type(row)(**{**names, "retry_status": 500, "event_id": "id"})
    handler = Handler(Retry("later"))
    sources = [source(ack="handled")]
    sources[0].preset = picky
    async with mounted(handler, sources=sources) as (app, _):
        assert (await deliver(app)).status == 500


async def test_success_is_recorded_when_the_store_has_it(monkeypatch):
    """While the store is away a handled event is answered, and not yet told of as done."""
    monkeypatch.setattr(run_then_ack, "SETTLE_PATIENCE", 0.05)
    store = TracedStore()
    async with mounted(Handler(), "handled", store=store) as (app, records):
        store.away.add("complete")
        assert (await deliver(app)).body == b"handled"
        assert records.of(Kind.SUCCEEDED) == []
        assert any(record.warning for record in records.of(Kind.STORE_ERROR))
        store.away.clear()
        await eventually(lambda: records.of(Kind.SUCCEEDED))
        assert (await deliver(app)).body == b"handled"


async def test_success_that_the_store_never_hears_of_is_no_lost_lease(monkeypatch):
    """Nobody else had the event: what is recorded is that the store was away to the end."""
    monkeypatch.setattr(run_then_ack, "SETTLE_PATIENCE", 0.05)
    store = TracedStore()
    brief = policy(lease=0.5)
    async with mounted(Handler(), "handled", store=store, policy=brief) as (app, records):
        store.away.add("complete")
        await deliver(app)
    assert set(records.kinds) == {"received", "started", "store_error"}


async def test_cancelled_call_releases():
    """A server that cancels the call ends the handler, and the next copy runs."""
    handler = Handler()
    handler.gate.clear()
    async with mounted(handler, "handled") as (app, _):
        call = asyncio.ensure_future(deliver(app))
        await handler.inside.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        handler.gate.set()
        assert (await deliver(app)).status == 200
    assert len(handler.runs) == 2


@pytest.mark.parametrize("order", [Retry("later"), Discard("not ours")], ids=repr)
async def test_cancelled_call_that_ends_with_an_order(order):
    """Whatever a cancelled handler says at last, its call has nobody to answer any more."""
    inside, sent = asyncio.Event(), []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return await Handler._live(receive, send)
        inside.set()
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise order from None

    async with mounted(app, "handled") as (middleware, _):
        call = asyncio.ensure_future(deliver(middleware, on_send=sent.append))
        await inside.wait()
        call.cancel()
        await asyncio.wait([call])
    assert call.cancelled()
    assert sent == []


async def test_cancelled_call_that_finishes():
    """A handler that finishes in spite of its cancellation is done; the call still ends."""
    inside, runs = asyncio.Event(), []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return await Handler._live(receive, send)
        runs.append(1)
        inside.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await send(start())
        return await send(chunk(b"done"))

    async with mounted(app, "handled") as (middleware, records):
        call = asyncio.ensure_future(deliver(middleware))
        await inside.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        assert (await deliver(middleware)).body == b"done"
    assert len(runs) == 1
    assert records.kinds.count("succeeded") == 1


ANSWER = ("complete", "http.response.start", "http.response.body")


@pytest.mark.parametrize(("seconds", "order"), [(0.6, ("task", *ANSWER)), (1.5, (*ANSWER, "task"))])
async def test_work_after_the_response(seconds, order):
    """A background task is part of the run, under its lease; the answer waits a second for it."""
    trace = []

    async def task():
        await asyncio.sleep(seconds)
        trace.append("task")

    async def hook(request: Request):
        return JSONResponse({}, background=BackgroundTask(task))

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    records = Records()
    app.add_middleware(
        WebhookDedup,
        store=TracedStore(trace),
        sources=[source(ack="handled")],
        observers=[records],
        policy=policy(lease=0.5),
    )
    async with living(app):
        await deliver(app, on_send=lambda message: trace.append(message["type"]))
    assert [step for step in trace if step != "renew"] == ["start", "claim", *order]
    assert "renew" in trace
    assert records.kinds == ["received", "started", "succeeded"]


async def test_answer_before_the_end_of_the_app_that_fails_on_its_way(monkeypatch):
    """What a server says of it gets out when the app has returned."""
    monkeypatch.setattr(held_response, "PATIENCE", 0.0)
    refused = asyncio.Event()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return await Handler._live(receive, send)
        await send(start())
        await send(chunk(b"done"))
        return await refused.wait()

    def refuse(message):
        refused.set()
        raise RuntimeError("told to refuse it")

    async with mounted(app, "handled") as (middleware, records):
        with pytest.raises(RuntimeError, match="told to refuse"):
            await deliver(middleware, on_send=refuse)
        assert (await deliver(middleware)).body == b"done"
    assert records.kinds == ["received", "started", "succeeded", "received", "skipped"]


async def test_longer_than_the_lease():
    """A handler three times as long as its lease is not run by a copy."""
    handler = Handler()
    handler.gate.clear()
    async with mounted(handler, "handled", policy=policy(lease=1)) as (app, _):
        first = asyncio.ensure_future(deliver(app))
        await handler.inside.wait()
        await asyncio.sleep(3)
        assert (await deliver(app)).status == 503
        handler.gate.set()
        assert (await first).status == 200
    assert len(handler.runs) == 1


async def test_lost_to_another_holder():
    """A claim that another holder has taken over is lost: no success for records or sender."""
    store, handler = MemoryStore(), Handler()
    handler.gate.clear()
    async with mounted(handler, "handled", store=store) as (app, records):
        call = asyncio.ensure_future(deliver(app))
        await handler.inside.wait()
        key = str(Key("webhook:shop", "evt_1"))
        store._entries[key].token = "of another holder"
        handler.gate.set()
        assert (await call).status == 503
    assert records.kinds == ["received", "started", "lease_lost"]


async def test_live_scope():
    """The handler gets the live request: what outer middlewares put there, and its body again."""
    found = []

    async def hook(request: Request):
        found.append((request.scope["outer"], await request.body()))
        return Response()

    async def outer(scope, receive, send):
        await app({**scope, "outer": "open"}, receive, send)

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    app.add_middleware(WebhookDedup, store=MemoryStore(), sources=[source(ack="handled")])
    async with living(app):
        assert (await deliver(outer)).status == 200
    assert found == [("open", BODY)]
