"""What an app finds, and may do, when it runs after the acknowledgement."""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import pickle
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from webhook_dedup import Dedup, WebhookDedup, event_of
from webhook_dedup.observe.record import Kind
from webhook_dedup.stores import MemoryStore

from .kit import (
    BODY,
    SECRET,
    Handler,
    Records,
    TestClient,
    deliver,
    http_scope,
    living,
    mounted,
    policy,
    settled,
    signed,
    source,
)

pytestmark = pytest.mark.parametrize("ack", ["first", "claimed"])


@asynccontextmanager
async def starlette(endpoint, ack: str, *, outermost=None, **options):
    """``(app, records)`` of a Starlette app with one endpoint under the middleware, living."""
    app = Starlette(routes=[Route("/hooks", endpoint, methods=["POST"], name="hook")], **options)
    records = Records()
    app.dedup = Dedup(
        MemoryStore(), sources=[source(ack=ack)], observers=[records], policy=policy()
    )
    app.add_middleware(WebhookDedup, dedup=app.dedup)
    if outermost is not None:
        app.add_middleware(outermost)
    async with living(app):
        yield app, records


async def test_app_and_lifespan_state(ack):
    """The handler finds its app, what the lifespan yielded, its event, and can make URLs."""
    found = {}

    @asynccontextmanager
    async def lifespan(app):
        yield {"pool": "a pool"}

    async def hook(request: Request):
        found.update(
            app=request.app,
            pool=request.state.pool,
            id=event_of(request).id,
            url=str(request.url_for("hook")),
            client=request.client.host,
        )
        return Response()

    async with starlette(hook, ack, lifespan=lifespan) as (app, _):
        await deliver(app)
    assert found == {
        "app": app,
        "pool": "a pool",
        "id": "evt_1",
        "url": "http://127.0.0.1/hooks",
        "client": "127.0.0.1",
    }


async def test_state_is_not_shared(ack):
    """What one run puts into request.state does not show in the next."""
    seen = []

    async def hook(request: Request):
        seen.append(getattr(request.state, "mark", None))
        request.state.mark = "left by an earlier run"
        return Response()

    async with starlette(hook, ack) as (app, _):
        await deliver(app)
        await deliver(app, b'{"id": 2}')
    assert seen == [None, None]


async def test_nothing_of_outer_middlewares(ack):
    """What an outer middleware put into the scope is gone: it has been closed by then."""
    keys = {}

    class Outer:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] == "http":
                scope["outer.session"] = object()
                scope.setdefault("state", {})["session"] = object()
            await self.app(scope, receive, send)

    async def hook(request: Request):
        keys.update(scope=set(request.scope), state=set(request.state._state))
        return Response()

    async with starlette(hook, ack, outermost=Outer) as (app, _):
        await deliver(app)
    assert "outer.session" not in keys["scope"]
    assert keys["state"] == set()


BODIES = {
    "odd spacing": b' {\n\t"id" :  "evt_1" ,"z":1.0 ,"a": 1e3}\r\n',
    "unicode escapes": b'{"id": "evt_1", "name": "\\u00e9\\ud83d\\ude00 \xc3\xa9"}',
    "repeated keys": b'{"id": "evt_0", "id": "evt_1"}',
    "gzip bytes": gzip.compress(b'{"id": "evt_1"}' * 50),
    "no UTF-8": b"\xff\xfe\x00" + bytes(range(256)),
    "empty": b"",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
async def test_exact_bytes_and_headers(ack, body):
    """Body and headers reach the handler byte for byte, repeated headers in their order."""
    pairs = [
        (b"x-event-id", b"evt_1"),
        (b"accept", b"a"),
        (b"x-odd", b" \xe9 spaced  "),
        (b"accept", b"b"),
        *((name.lower().encode(), value.encode()) for name, value in signed(body).items()),
        (b"content-length", str(len(body)).encode()),
    ]
    handler = Handler()
    chosen = [source(ack=ack, event_id="header:X-Event-Id")]
    async with mounted(handler, sources=chosen) as (app, _):
        await deliver(app, body, headers=pairs, query_string=b"a=1&a=%20", http_version="2")
    assert handler.runs == [body]
    [scope] = handler.scopes
    assert scope["headers"] == pairs
    assert scope["query_string"] == b"a=1&a=%20"
    assert scope["http_version"] == "2"
    assert scope["raw_path"] == b"/hooks"


@pytest.mark.parametrize("kind", [bytearray, memoryview, type("Bytes", (bytes,), {})])
async def test_buffer_of_a_server_is_kept_as_bytes(ack, kind):
    """What a server reads into is not what is kept: it may be used again, or have no text."""
    handler = Handler()
    async with mounted(handler, ack) as (app, _):
        await deliver(app, kind(BODY), headers=signed(BODY))
        await settled(app)
    [scope] = handler.scopes
    kept = event_of(Request(scope)).delivery.body
    assert type(kept) is bytes
    assert kept == BODY


async def test_same_scope_for_a_rerun(ack):
    """The first run and a rerun find the same request."""
    handler = Handler(503)
    async with mounted(handler, ack) as (app, _):
        await deliver(app, root_path="/api", path="/api/hooks", path_params={"a": "b"})
        await settled(app)
    first, second = (
        {k: v for k, v in scope.items() if "event" not in k} for scope in handler.scopes
    )
    assert first == second
    assert first["root_path"] == "/api"
    assert first["path_params"] == {"a": "b"}


async def test_receive_blocks_after_the_body(ack):
    """A handler that goes on receiving hears nothing of a client that has left."""
    heard = []

    async def app(scope, receive, send):
        await receive()
        listening = asyncio.ensure_future(receive())
        await asyncio.wait([listening], timeout=0.05)
        heard.append(listening.done())
        listening.cancel()
        await Handler()(scope, _body_again, send)

    async def _body_again():
        return {"type": "http.request", "body": b""}

    left = asyncio.Event()
    left.set()
    async with mounted(_with_lifespan(app), ack) as (middleware, records):
        await deliver(middleware, leaves=left)
    assert heard == [False]
    assert len(records.of(Kind.SUCCEEDED)) == 1


def _with_lifespan(app):
    async def both(scope, receive, send):
        if scope["type"] == "lifespan":
            await Handler._live(receive, send)
        else:
            await app(scope, receive, send)

    return both


async def test_streamed_response_consumed(ack):
    """A streamed response is consumed to its end, though nobody reads it."""
    chunks = []

    async def hook(request: Request):
        async def stream():
            for number in range(5):
                await asyncio.sleep(0)
                chunks.append(number)
                yield b"chunk"

        return StreamingResponse(stream())

    async with starlette(hook, ack) as (app, records):
        await deliver(app)
    assert chunks == [0, 1, 2, 3, 4]
    assert len(records.of(Kind.SUCCEEDED)) == 1


async def test_stream_that_breaks(ack):
    """A stream that fails half way fails the run, though its status was 200."""
    runs = []

    async def hook(request: Request):
        async def stream():
            runs.append(1)
            yield b"chunk"
            if len(runs) == 1:
                raise RuntimeError("broken")

        return StreamingResponse(stream())

    async with starlette(hook, ack) as (app, records):
        await deliver(app)
        await settled(app)
    assert len(runs) == 2
    assert records.kinds.count("failed") == 1


async def test_background_tasks_run(ack):
    """Background tasks run before the call ends, and one that fails fails the run."""
    runs = []

    async def task():
        runs.append("task")
        if len(runs) == 1:
            raise RuntimeError("the task fails once")

    async def hook(request: Request):
        return JSONResponse({}, background=BackgroundTask(task))

    async with starlette(hook, ack) as (app, records):
        await deliver(app)
        await settled(app)
    assert runs == ["task", "task"]
    assert records.kinds.count("failed") == 1
    assert records.kinds.count("succeeded") == 1


@pytest.mark.parametrize(
    ("mapped", "kinds"),
    [
        (200, {"succeeded"}),
        (400, {"failed", "buried"}),
        (503, {"failed", "retried"}),
    ],
)
async def test_user_exception_handlers(ack, mapped, kinds):
    """What a user's exception handler answers decides, as any other response does."""

    class Domain(Exception):
        pass

    async def hook(request: Request):
        if request.app.state.runs == 0:
            request.app.state.runs = 1
            raise Domain
        return Response()

    async def on_domain(request, exc):
        return PlainTextResponse("mapped", mapped)

    async with starlette(hook, ack, exception_handlers={Domain: on_domain}) as (app, records):
        app.state.runs = 0
        await deliver(app)
        first = [kind for kind in records.kinds if kind not in {"received", "started"}]
        await settled(app)
    assert set(first) == kinds


@pytest.mark.parametrize(("status", "kind"), [(422, "buried"), (404, "retried"), (302, "retried")])
async def test_http_exceptions(ack, status, kind):
    """An HTTPException counts by its status."""
    raised = []

    async def hook(request: Request):
        if not raised:
            raised.append(1)
            raise HTTPException(status)
        return Response()

    async with starlette(hook, ack) as (app, records):
        await deliver(app)
        await settled(app)
    assert kind in records.kinds


async def test_exception_after_success(ack):
    """An exception fails the run even after a complete 200."""
    runs = []

    async def app(scope, receive, send):
        runs.append(1)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b""})
        if len(runs) == 1:
            raise RuntimeError("late")

    async with mounted(_with_lifespan(app), ack) as (middleware, records):
        await deliver(middleware)
        await settled(middleware)
    assert len(runs) == 2
    assert [type(record.error) for record in records.of(Kind.FAILED)] == [RuntimeError]


async def test_no_response(ack):
    """An app that returns without a response has not handled the event."""
    runs = []

    async def app(scope, receive, send):
        runs.append(1)
        if len(runs) > 1:
            await Handler()(scope, receive, send)

    async with mounted(_with_lifespan(app), ack) as (middleware, records):
        await deliver(middleware)
        await settled(middleware)
    assert len(runs) == 2
    assert "without a response" in records.of(Kind.FAILED)[0].detail


async def test_half_a_response(ack):
    """An app that returns in the middle of its response has not handled the event."""
    runs = []

    async def app(scope, receive, send):
        runs.append(1)
        if len(runs) > 1:
            return await Handler()(scope, receive, send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        return None

    async with mounted(_with_lifespan(app), ack) as (middleware, records):
        await deliver(middleware)
        await settled(middleware)
    assert len(runs) == 2
    assert "without a complete response" in records.of(Kind.FAILED)[0].detail


async def test_base_http_middleware_inside(ack):
    """A BaseHTTPMiddleware below sees request and response as usual."""
    seen = []

    async def dispatch(request, call_next):
        body = await request.body()
        response = await call_next(request)
        seen.append((body, response.status_code))
        return response

    async def hook(request: Request):
        return JSONResponse(await request.json())

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    records = Records()
    app.add_middleware(
        WebhookDedup, store=MemoryStore(), sources=[source(ack=ack)], observers=[records]
    )
    async with living(app):
        await deliver(app)
    assert seen == [(BODY, 200)]
    assert len(records.of(Kind.SUCCEEDED)) == 1


async def test_stream_through_base_http_middleware(ack):
    """A streamed response with a background task passes a BaseHTTPMiddleware to its end."""
    ended = []

    async def dispatch(request, call_next):
        return await call_next(request)

    async def hook(request: Request):
        async def stream():
            yield b"a"
            await asyncio.sleep(0)
            yield b"b"
            ended.append("stream")

        async def task():
            ended.append("task")

        return StreamingResponse(stream(), background=BackgroundTask(task))

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    app.add_middleware(WebhookDedup, store=MemoryStore(), sources=[source(ack=ack)])
    async with living(app):
        await deliver(app)
    assert ended == ["stream", "task"]


async def test_wrapped_from_outside(ack):
    """Around a whole app instead of added to it, the middleware works the same."""
    found = []

    async def hook(request: Request):
        found.append((request.app, event_of(request).id))
        if len(found) == 1:
            raise RuntimeError("no")
        return Response()

    inner = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    async with mounted(inner, ack) as (app, records):
        await deliver(app)
        await settled(app)
    assert found == [(inner, "evt_1")] * 2
    assert records.kinds.count("failed") == 1


def test_test_client(ack):
    """When post() of a test client returns, the run has ended; the client may be used again."""
    done = []

    async def hook(request: Request):
        await asyncio.sleep(0.02)
        done.append(await request.json())
        return Response()

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    app.add_middleware(WebhookDedup, store="memory://", sources=[source(ack=ack)])
    for number in (1, 2):
        with TestClient(app) as client:
            body = b'{"id": %d}' % number
            assert client.post("/hooks", content=body, headers=signed(body)).status_code == 200
            assert len(done) == number


def test_test_client_without_lifespan(ack):
    """A test client that runs no lifespan sees the run ended as well."""
    done = []

    async def hook(request: Request):
        done.append(1)
        return Response()

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    app.add_middleware(WebhookDedup, store="memory://", sources=[source(ack=ack)])
    client = TestClient(app)
    for _ in range(2):
        assert client.post("/hooks", content=BODY, headers=signed()).status_code == 200
    assert done


async def test_cancelled_call(ack):
    """A server that cancels the accepting call does not stop the run."""
    handler = Handler()
    handler.gate.clear()
    async with mounted(handler, ack) as (app, records):
        call = asyncio.ensure_future(deliver(app))
        await handler.inside.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        handler.gate.set()
        await settled(app)
    assert handler.runs == [BODY]
    assert len(records.of(Kind.SUCCEEDED)) == 1


async def test_cancelled_while_acknowledging(ack):
    """A delivery that was recorded runs, even if its call is cancelled before the 200 is out."""
    handler, sending = Handler(), asyncio.Event()

    async def receive():
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def stuck(message):
        sending.set()
        await asyncio.Event().wait()

    headers = [(name.lower().encode(), value.encode()) for name, value in signed().items()]
    async with mounted(handler, ack) as (app, _):
        call = asyncio.ensure_future(app(http_scope(headers=headers), receive, stuck))
        await sending.wait()
        call.cancel()
        await asyncio.wait([call])
        await settled(app)
    assert handler.runs == [BODY]


async def test_client_gone_before_the_ack(ack):
    """A send that raises, because the client has left, does not keep the event from running."""
    handler = Handler()

    def gone(message):
        raise OSError("the client has left")

    async with mounted(handler, ack) as (app, records):
        with pytest.raises(OSError, match="left"):
            await deliver(app, on_send=gone)
        await settled(app)
    assert handler.runs == [BODY]
    assert len(records.of(Kind.SUCCEEDED)) == 1


async def test_disconnect_during_the_run(ack):
    """A client that leaves after its 200 does not disturb a handler that watches for that."""
    outcome = []

    async def hook(request: Request):
        await request.body()
        try:
            async for _ in request.stream():
                pass
            outcome.append(await request.is_disconnected())
        except ClientDisconnect:
            outcome.append("disconnect")
        return Response()

    left = asyncio.Event()
    left.set()
    async with starlette(hook, ack) as (app, _):
        await deliver(app, leaves=left)
    assert outcome == [False]


async def test_url_for_below_another_app(ack):
    """Mounted below another app, the handler's URLs and paths are those of the live request."""
    urls = []

    async def hook(request: Request):
        urls.append((str(request.url), request.scope["root_path"], request.path_params))
        return JSONResponse({"url": str(request.url_for("hook", shop="a"))})

    async def outside(request: Request):
        return Response()

    inner = Starlette(routes=[Route("/hooks/{shop}", hook, methods=["POST"], name="hook")])
    records = Records()
    app = WebhookDedup(
        inner,
        store=MemoryStore(),
        sources=[source(ack=ack, path="/hooks/{tenant}")],
        observers=[records],
    )

    @asynccontextmanager
    async def lifespan(_):
        async with app.dedup:
            yield

    outer = Starlette(routes=[Mount("/{region}/sub", app)], lifespan=lifespan)
    async with living(outer):
        reply = await deliver(outer, path="/eu/sub/hooks/acme")
    assert reply.status == 200
    assert urls == [
        ("http://127.0.0.1/eu/sub/hooks/acme", "/eu/sub", {"region": "eu", "shop": "acme"})
    ]
    assert records.of(Kind.SUCCEEDED)[0].tenant == "acme"


async def test_json_of_any_shape(ack):
    """The handler parses the same JSON that the id was read from."""
    parsed = []

    async def hook(request: Request):
        parsed.append(await request.json())
        return Response()

    document = {"id": "ünï", "nested": [{"a": None}], "number": 1e100, "text": "\u2028\x00"}
    async with starlette(hook, ack) as (app, _):
        await deliver(app, json.dumps(document).encode())
    assert parsed == [document]
    assert SECRET not in str(parsed)


async def test_delivery_can_be_handed_on(ack):
    """What a handler finds of its delivery can be pickled, copied, told as JSON, and is its own."""
    handler = Handler()
    async with mounted(handler, ack) as (app, _):
        await deliver(app)
        await deliver(app, b'{"id": "evt_2"}')
    one, other = (scope["webhook_dedup.event"].delivery for scope in handler.scopes)
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert json.dumps(one.path_params) == "{}"
    assert one.path_params == {}
    one.path_params.update(a=1)
    assert other.path_params == {}


async def test_addresses_are_pairs(ack):
    """A server that names addresses as sockets do, four values for IPv6, is understood."""
    handler = Handler()
    async with mounted(handler, ack) as (app, _):
        await deliver(app, client=("::1", 50_000, 0, 0), server=["::1", 80])
    [scope] = handler.scopes
    assert (scope["client"], scope["server"]) == (("::1", 50_000), ("::1", 80))
