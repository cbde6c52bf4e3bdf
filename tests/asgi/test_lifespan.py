"""The middleware starts and drains with the app, wherever it is mounted."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount, Route

from webhook_dedup import Dedup, Policy, Source, WebhookDedup
from webhook_dedup.observe.record import Kind
from webhook_dedup.policy import Retries
from webhook_dedup.stores import MemoryStore

from .kit import (
    BODY,
    LIMIT,
    Handler,
    Records,
    TestClient,
    TracedStore,
    deliver,
    living,
    policy,
    source,
)


@pytest.fixture
def warnings(caplog):
    """The texts of the library's warnings so far."""
    caplog.set_level(logging.WARNING, "webhook_dedup")
    return lambda: [record.getMessage() for record in caplog.records]


async def test_order_of_start_and_stop():
    """The store is checked before the app starts; the drain ends before the app stops."""
    trace, handler = [], Handler()
    handler.gate.clear()

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await handler(scope, receive, send)
            trace.append("handled")
            return
        await receive()
        trace.append("app starts")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        trace.append("app stops")
        await send({"type": "lifespan.shutdown.complete"})

    middleware = WebhookDedup(app, store=TracedStore(trace), sources=[source()])
    async with living(middleware):
        call = asyncio.ensure_future(deliver(middleware))
        await handler.inside.wait()
        call.cancel()  # as a server does that has waited long enough
        asyncio.get_running_loop().call_later(0.05, handler.gate.set)
    assert trace == ["start", "app starts", "claim", "handled", "complete", "app stops"]


async def test_start_failure():
    """When the store cannot be reached, start-up fails with its message and the app never runs."""
    store, handler = TracedStore(), Handler()
    store.away.add("start")
    with pytest.raises(RuntimeError, match="told to fail start"):
        async with living(WebhookDedup(handler, store=store, sources=[source()])):
            pass
    assert handler.scopes == []


def test_start_failure_in_a_test_client():
    """A test client raises what the start raised."""
    store = TracedStore()
    store.away.add("start")
    app = Starlette()
    app.add_middleware(WebhookDedup, store=store, sources=[source()])
    with pytest.raises(Exception, match="told to fail start"), TestClient(app):
        pass


async def test_failing_app_start():
    """When the app's own start fails, the server hears of it, and nothing stays running."""

    @asynccontextmanager
    async def lifespan(_):
        raise ZeroDivisionError("the app cannot start")
        yield

    app = Starlette(lifespan=lifespan)
    dedup = Dedup(MemoryStore(), sources=[source()])
    app.add_middleware(WebhookDedup, dedup=dedup)
    with pytest.raises(RuntimeError, match="the app cannot start"):
        async with living(app):
            pass
    assert not dedup.running


async def test_error_after_the_start_goes_out():
    """What an app raises once it has answered start-up is the server's to see."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise ZeroDivisionError("while it lived")

    middleware = WebhookDedup(app, store=MemoryStore(), sources=[source()])
    with pytest.raises(ZeroDivisionError, match="while it lived"):
        async with living(middleware):
            pass
    assert not middleware.dedup.running


@pytest.mark.parametrize("refusal", ["raises", "returns"])
async def test_app_without_lifespan(refusal):
    """An app that knows no lifespan does not keep the middleware from having one."""
    handler = Handler()

    async def app(scope, receive, send):
        if scope["type"] == "http":
            return await handler(scope, receive, send)
        if refusal == "raises":
            raise ValueError("only HTTP here")
        return None

    store = TracedStore()
    middleware = WebhookDedup(app, store=store, sources=[source()])
    async with living(middleware):
        assert store.trace == ["start"]
        assert middleware.dedup.running
        await deliver(middleware)
    assert not middleware.dedup.running
    assert handler.runs == [BODY]


def below(**options):
    """``(outer app, records, handler)``: the middleware mounted below another app."""
    records, handler = Records(), Handler()
    middleware = WebhookDedup(
        handler, store=MemoryStore(), sources=[source()], observers=[records], policy=policy()
    )

    @asynccontextmanager
    async def lifespan(_):
        async with middleware.dedup:
            yield

    chosen = {"lifespan": lifespan} if options.get("entered") else {}
    outer = Starlette(routes=[Mount("/sub", middleware)], **chosen)
    return outer, middleware, records, handler


async def test_entered_by_an_outer_lifespan(warnings):
    """Below another app, 'async with dedup' in the outer lifespan starts and drains it."""
    outer, middleware, records, handler = below(entered=True)
    async with living(outer):
        assert middleware.dedup.running
        handler.gate.clear()
        call = asyncio.ensure_future(deliver(outer, path="/sub/hooks"))
        await handler.inside.wait()
        call.cancel()
        asyncio.get_running_loop().call_later(0.05, handler.gate.set)
    assert not middleware.dedup.running
    assert len(records.of(Kind.SUCCEEDED)) == 1
    assert not any("sees no lifespan" in text for text in warnings())


async def test_nothing_is_taken_before_the_middleware_is_built(tmp_path, warnings):
    """A mounted app builds its middleware with its first request; no attempt is used up by then."""
    url, rules = f"sqlite:///{tmp_path}/webhooks.db", policy(retries=Retries(attempts=1))
    front = WebhookDedup(Handler(), store=url, sources=[source()], policy=rules, work=False)
    async with living(front):
        await deliver(front)
    records, ran = Records(), asyncio.Event()

    async def run(_: Request) -> Response:
        ran.set()
        return Response()

    dedup = Dedup(url, sources=[source()], policy=rules, observers=[records])
    mounted = Starlette(routes=[Route("/hooks", run, methods=["POST"])])
    mounted.add_middleware(WebhookDedup, dedup=dedup)
    async with dedup:
        await asyncio.sleep(0.3)  # it would be taken at once
        assert not records.all
        assert any("WebhookDedup is not built" in text for text in warnings())
        await deliver(mounted, b'{"id": "evt_2"}')
        await asyncio.wait_for(ran.wait(), LIMIT)
        while len(records.of(Kind.SUCCEEDED)) < 2:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
    assert not records.of(Kind.FAILED)


async def test_mounted_and_built_at_once(tmp_path, warnings):
    """Wrapped by hand where it is mounted, it runs what waits without a request."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    front = WebhookDedup(Handler(), store=url, sources=[source()], work=False)
    async with living(front):
        await deliver(front)
    records, handler = Records(), Handler()
    dedup = Dedup(url, sources=[source()], observers=[records])
    outer = Starlette(routes=[Mount("/sub", WebhookDedup(handler, dedup=dedup))])
    async with living(outer), dedup:
        await asyncio.wait_for(handler.inside.wait(), LIMIT)
        assert (await deliver(outer, b'{"id": "evt_2"}', path="/sub/hooks")).status == 200
    assert len(records.of(Kind.SUCCEEDED)) == 2
    assert not any("not built" in text for text in warnings())


def test_one_dedup_for_two_apps(warnings):
    """A Dedup runs its deliveries in one app; who gives it to two is told which."""
    dedup = Dedup(MemoryStore(), sources=[source(), source(name="other", path="/other")])
    WebhookDedup(Handler(), dedup=dedup)
    assert warnings() == []
    WebhookDedup(Handler(), dedup=dedup)
    [told] = warnings()
    assert "give each app a Dedup of its own" in told


async def test_started_late(warnings):
    """Below another app and not entered, it starts with the first requests and warns once."""
    outer, middleware, _, handler = below()
    async with living(outer):
        assert not middleware.dedup.running
        bodies = [b'{"id": %d}' % number for number in range(5)]
        calls = [deliver(outer, body, path="/sub/hooks") for body in bodies]
        replies = await asyncio.gather(*calls)
    assert [reply.status for reply in replies] == [200] * 5
    assert sorted(handler.runs) == bodies
    late = [text for text in warnings() if "sees no lifespan" in text]
    assert len(late) == 1
    assert "async with dedup:" in late[0]
    await middleware.dedup.stop()


@pytest.mark.parametrize("entered", [True, False])
async def test_context_of_the_first_request_ends_with_it(entered):
    """Who is logged in for the request that builds or starts it is not so for later runs."""
    user = contextvars.ContextVar("user", default="nobody")
    users, statuses, again = [], [500, 200], asyncio.Event()

    async def run(_: Request) -> Response:
        users.append(user.get())
        if len(users) == len(statuses):
            again.set()
        return Response(status_code=statuses[len(users) - 1])

    dedup = Dedup("memory://", sources=[source()], policy=policy())
    mounted = Starlette(routes=[Route("/hooks", run, methods=["POST"])])
    mounted.add_middleware(WebhookDedup, dedup=dedup)

    async def authenticated(scope, receive, send):
        user.set("the first one")
        await mounted(scope, receive, send)

    if entered:
        await dedup.start()
    await asyncio.create_task(deliver(authenticated))
    await asyncio.wait_for(again.wait(), LIMIT)
    await dedup.stop()
    assert users == ["the first one", "nobody"]


async def test_late_start_fails(warnings):
    """A late start that finds the store away refuses with 503, and the next request tries again."""
    store, handler = TracedStore(), Handler()
    store.away.add("start")
    middleware = WebhookDedup(handler, store=store, sources=[source()])
    for _ in range(2):
        reply = await deliver(middleware)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert reply.json()["error"] == "store_unavailable"
    assert any("told to fail start" in text for text in warnings())
    assert len([text for text in warnings() if "sees no lifespan" in text]) == 1
    store.away.clear()
    assert (await deliver(middleware)).status == 200
    assert handler.runs == [BODY]
    await middleware.dedup.stop()


async def test_state_of_the_lifespan():
    """What the app's lifespan yields, and what outer ones put beside it, reach the handler."""
    found = []

    @asynccontextmanager
    async def lifespan(_):
        yield {"pool": "a pool"}

    async def hook(request: Request):
        found.append((request.state.pool, request.state.outer))
        return Response()

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])], lifespan=lifespan)
    app.add_middleware(WebhookDedup, store=MemoryStore(), sources=[source()])
    async with living(app, {"outer": "of the server"}):
        await deliver(app)
    assert found == [("a pool", "of the server")]


async def test_state_of_an_outer_lifespan():
    """Below another app handlers find the state that was given to the Dedup."""
    found = []
    dedup = Dedup(MemoryStore(), sources=[source()])

    @asynccontextmanager
    async def lifespan(_):
        dedup.state = {"pool": "a pool"}
        async with dedup:
            yield dedup.state

    async def hook(request: Request):
        found.append(request.state.pool)
        return Response()

    sub = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    outer = Starlette(routes=[Mount("/sub", WebhookDedup(sub, dedup=dedup))], lifespan=lifespan)
    async with living(outer) as state:
        await deliver(outer, path="/sub/hooks", state=dict(state))
    assert found == ["a pool"]


@pytest.mark.parametrize("url", ["memory://", "bloom://", "sqlite"])
def test_started_again(url, tmp_path):
    """One app may live several times, each in an event loop of its own."""
    store = f"sqlite:///{tmp_path}/webhooks.db" if url == "sqlite" else url
    handler = Handler()
    handler.gate = handler.inside = _Open()
    app = WebhookDedup(handler, store=store, sources=[source()])

    async def live(number):
        async with living(app):
            return await deliver(app, b'{"id": %d}' % number)

    for number in range(3):
        assert asyncio.run(live(number)).status == 200
    assert len(handler.runs) == 3


def test_loop_that_ends_as_an_event_is_put_off():
    """Where no lifespan is sent, an event loop may end with the request that begins a retry."""
    handler = Handler(503)
    handler.gate = handler.inside = _Open()
    app = WebhookDedup(handler, store="memory://", sources=[source()], policy=Policy())
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(deliver(app)).status == 200
    left = asyncio.all_tasks(loop)
    for task in left:  # once, as asyncio.run does
        task.cancel()
    _, deaf = loop.run_until_complete(asyncio.wait(left, timeout=LIMIT))
    loop.close()
    assert not deaf


class _Open:
    """Stands in for an event, without belonging to a loop."""

    def set(self):
        pass

    async def wait(self):
        pass


async def test_unfinished_at_shutdown(warnings):
    """A handler that outlasts the drain is cancelled, its event given back, and that is told."""
    handler, store = Handler(), TracedStore()
    handler.gate.clear()
    middleware = WebhookDedup(
        handler, store=store, sources=[source()], policy=policy(drain_timeout=0.05)
    )
    async with living(middleware):
        call = asyncio.ensure_future(deliver(middleware))
        await handler.inside.wait()
    await call
    assert store.trace[-1] == "release"
    assert any("handlers were cancelled at shutdown" in text for text in warnings())


@pytest.mark.parametrize(
    ("path", "near"),
    [("/hook", "/hooks"), ("/hooks/", "/hooks"), ("/looked_at", None), ("/elsewhere", None)],
)
async def test_path_that_no_route_serves(warnings, path, near):
    """A slip of the pen in a source's path leaves the route open to everybody, so it is told."""
    async with living(routed(path)):
        told = [text for text in warnings() if "listens at" in text]
    assert len(told) == 1
    assert f"source 'shop' listens at {path}, but the app has no POST route there" in told[0]
    assert ("is /hooks meant?" in told[0]) == (near is not None)


@pytest.mark.parametrize("path", ["/hooks", "/below/any", "/late", "/{tenant}/x"])
async def test_path_that_a_route_serves(warnings, path):
    """Mounted apps and routes that the start-up of the app adds are found too."""
    async with living(routed(path)):
        assert not any("listens at" in text for text in warnings())


class Picky(Route):
    """A route that looks at what a request has beside its path."""

    def matches(self, scope):
        if scope["query_string"] or scope["server"][0] == "internal" or "client" not in scope:
            return Match.NONE, {}
        return super().matches(scope)


class Unlike(Route):
    """A route that cannot answer for a request which was never sent."""

    answers = ("raises", None, (None, {}), ())

    def matches(self, scope):
        answer = self.answers[0]
        if answer == "raises":
            raise KeyError("tenant")
        return answer


@pytest.mark.parametrize("path", ["/hooks", "/elsewhere"])
async def test_route_that_looks_at_all_of_a_request(warnings, path):
    """It is asked about one that has it all."""
    async with living(behind(Picky("/hooks", picked, methods=["POST"]), path)):
        told = [text for text in warnings() if "listens at" in text]
    assert len(told) == (path == "/elsewhere")


@pytest.mark.parametrize("answer", Unlike.answers)
async def test_route_that_cannot_be_asked(warnings, monkeypatch, answer):
    """The app starts, and nothing is told of what is not known."""
    monkeypatch.setattr(Unlike, "answers", (answer,))
    async with living(behind(Unlike("/hooks", picked, methods=["POST"]), "/elsewhere")):
        assert not any("listens at" in text for text in warnings())


async def picked(_: Request):
    return Response()


def behind(route, path):
    return WebhookDedup(Starlette(routes=[route]), store="memory://", sources=[source(path=path)])


def routed(path):
    """Return an app with some routes behind a source at a path."""

    async def hook(_: Request):
        return Response()

    @asynccontextmanager
    async def lifespan(app):
        app.router.add_route("/late", hook, methods=["POST"])
        yield

    app = Starlette(
        routes=[
            Route("/hooks", hook, methods=["POST"]),
            Route("/looked_at", hook),
            Mount("/below", Starlette()),
        ],
        lifespan=lifespan,
    )
    app.add_middleware(WebhookDedup, store=MemoryStore(), sources=[source(path=path)])
    return app


async def test_path_twice_in_a_url(warnings):
    """``public_url`` is what stands before the path."""
    twice = Source(
        "twilio", path="/sms", secret="a token", public_url="https://example.com/sms", name="sms"
    )
    async with living(WebhookDedup(Handler(), store=MemoryStore(), sources=[twice])):
        pass
    assert any("public_url of sms ends with the source's path" in text for text in warnings())


async def test_start_up_warnings(warnings):
    """Start-up tells of unsigned sources and of events that live in memory."""
    sources = [source(secret=None, name="open"), source(path="/b", name="b", ack="handled")]
    async with living(WebhookDedup(Handler(), store=MemoryStore(), sources=sources)):
        pass
    unsigned, memory = warnings()
    assert unsigned.startswith("unsigned sources")
    assert "open" in unsigned
    assert "accepted events of open are kept in memory" in memory
