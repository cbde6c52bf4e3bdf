"""What completes a response waits until the app has returned; all else is forwarded as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import anyio
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from webhook_dedup import Discard, Retry, WebhookDedup
from webhook_dedup.asgi import held_response
from webhook_dedup.asgi.responses import LARGEST_RESULT
from webhook_dedup.observe.record import Kind
from webhook_dedup.stores import MemoryStore

from .kit import BODY, Handler, TestClient, TracedStore, deliver, mounted, policy, signed, source

LENGTH_2 = (b"content-length", b"2")


def start(status=200, *headers, **more):
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def chunk(body, *, more=False):
    return {"type": "http.response.body", "body": body, "more_body": more}


def bare(run):
    """A bare app around ``run(receive, send)``, which counts its runs."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return await Handler._live(receive, send)
        app.runs += 1
        await receive()
        return await run(receive, send)

    app.runs = 0
    return app


async def passing(request, call_next):
    return await call_next(request)


class Late:
    """An app that goes on after its last message: it waits, then fails or does not."""

    def __init__(self, *messages, error=None):
        self.messages = messages or (start(), chunk(b"done"))
        self.error = error
        self.inside, self.gate = asyncio.Event(), asyncio.Event()
        self.app = bare(self._run)

    async def _run(self, receive, send):
        for message in self.messages:
            await send(message)
        self.inside.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error


class Slow(TracedStore):
    """A store that is asked to complete something and answers when it is told to."""

    def __init__(self):
        super().__init__()
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def complete(self, done):
        self.asked.set()
        await self.answer.wait()
        return await super().complete(done)


async def left_before_the_end(*messages, **scope):
    """Return what had left of a response while its app was still at work, and what left then."""
    late, sent = Late(*messages), []
    async with mounted(late.app, "handled") as (app, _):
        call = asyncio.ensure_future(deliver(app, on_send=sent.append, **scope))
        await late.inside.wait()
        before = list(sent)
        late.gate.set()
        await call
    return before, sent[len(before) :]


@pytest.mark.parametrize(
    ("messages", "early"),
    [
        ([start(), chunk(b"ab")], 0),
        ([start(), chunk(b"a", more=True), chunk(b"b", more=True), chunk(b"")], 3),
        ([start(200, LENGTH_2), chunk(b"ab", more=True), chunk(b"")], 0),
        ([start(200, LENGTH_2), chunk(b"a", more=True), chunk(b"b", more=True), chunk(b"")], 2),
        (
            [
                start(200, (b"x-total", b"0"), (b"content-length", b"two")),
                chunk(b"a", more=True),
                chunk(b"b"),
            ],
            2,
        ),
        ([start(204), chunk(b"", more=True), chunk(b"")], 0),
        ([start(304, LENGTH_2), chunk(b"", more=True), chunk(b"")], 0),
        ([start(200, (b"Content-Length", b"0")), chunk(b"", more=True), chunk(b"")], 0),
        ([start(), {"type": "http.response.pathsend", "path": "/file"}], 0),
        ([{"type": "http.response.early_hint", "links": []}, start(), chunk(b"ab")], 1),
        ([start(), {"type": "http.response.push", "path": "/a", "headers": []}, chunk(b"")], 0),
    ],
)
async def test_what_completes_a_response_is_held(messages, early):
    """Before its run has ended the client has not all of a response, and all that it may have."""
    before, after = await left_before_the_end(*messages)
    assert before == messages[:early]
    assert after == messages[early:]


async def test_a_head_is_complete_without_its_body():
    """An answer to HEAD is complete with its start, whatever length it names."""
    messages = [start(200, LENGTH_2), chunk(b"a", more=True), chunk(b"b")]
    late, sent = Late(*messages), []
    sources = [source(ack="handled", methods=["HEAD"])]
    async with mounted(late.app, sources=sources) as (app, _):
        call = asyncio.ensure_future(deliver(app, on_send=sent.append, method="HEAD"))
        await late.inside.wait()
        assert sent == []
        late.gate.set()
        await call
    assert sent == messages


TRAILERS = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}


@pytest.mark.parametrize("last", [TRAILERS, {**TRAILERS, "more_trailers": True}])
async def test_trailers_are_the_end(last):
    """A response that announces trailers is complete when they are there, and not before."""
    late = Late(start(trailers=True), chunk(b"a", more=True), chunk(b"b"), last)
    late.gate.set()
    sent = []
    async with mounted(late.app, "handled") as (app, records):
        await deliver(app, on_send=sent.append)
    complete = last is TRAILERS
    assert sent == list(late.messages[: 4 if complete else 2])
    assert records.kinds[-1] == ("succeeded" if complete else "failed")


async def test_a_body_without_a_start_is_no_response():
    """An app that forgets the start of its response has answered nothing."""
    late = Late(chunk(b"done"))
    late.gate.set()
    async with mounted(late.app, "handled") as (app, _):
        assert (await deliver(app)).status == 503


async def test_a_stream_that_fails_late_stays_without_its_end():
    """When a stream has begun to leave, its last message does not: the client is to notice."""
    late = Late(start(), chunk(b"a", more=True), chunk(b"b"), error=ZeroDivisionError("boom"))
    late.gate.set()
    sent = []
    async with mounted(late.app, "handled") as (app, records):
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await deliver(app, on_send=sent.append)
    assert sent == list(late.messages[:2]) * 2
    assert records.of(Kind.SUCCEEDED) == []


async def test_orders_after_the_last_message():
    """Retry and Discard mean after the last message what they mean before it."""
    late = Late(error=Retry("the commit failed", after=7))
    late.gate.set()
    async with mounted(late.app, "handled") as (app, _):
        reply = await deliver(app)
        assert (reply.status, reply.headers["retry-after"]) == (503, "7")
        late.error = Discard("not ours")
        for _ in range(2):
            assert (await deliver(app)).body == b'{"received": true}'
    assert late.app.runs == 2


@pytest.mark.parametrize("error", [None, RuntimeError("too late")])
async def test_answered_before_long_work_ends(monkeypatch, error):
    """Work put behind the response so that the sender need not wait for it does not delay it."""
    monkeypatch.setattr(held_response, "PATIENCE", 0.05)
    late = Late(error=error)
    async with mounted(late.app, "handled") as (app, records):
        first, left = [], asyncio.Event()

        def on_send(message):
            first.append(message)
            if message["type"] == "http.response.body":
                left.set()

        call = asyncio.ensure_future(deliver(app, on_send=on_send))
        await asyncio.wait_for(left.wait(), 10)
        assert not late.gate.is_set()
        assert first == list(late.messages)
        assert len(records.of(Kind.SUCCEEDED)) == 1
        copy = await deliver(app)
        assert (copy.status, copy.body) == (200, b"done")
        late.gate.set()
        with contextlib.nullcontext() if error is None else pytest.raises(RuntimeError):
            await call
        assert first == list(late.messages)
        told = [record.detail for record in records.of(Kind.FAILED)]
        assert told == ([] if error is None else ["failed after its response"])
    assert late.app.runs == 1


async def test_a_failure_answered_early_stays_claimed(monkeypatch):
    """The copy that a failing answer asks for does not run beside the app that goes on."""
    monkeypatch.setattr(held_response, "PATIENCE", 0.05)
    late = Late(start(503), chunk(b"later"))
    async with mounted(late.app, "handled") as (app, records):
        left = asyncio.Event()
        call = asyncio.ensure_future(deliver(app, on_send=lambda _: left.set()))
        await asyncio.wait_for(left.wait(), 10)
        copy = await deliver(app)
        assert (copy.status, copy.json()["error"]) == (503, "in_flight")
        assert records.of(Kind.FAILED) == []
        late.gate.set()
        assert (await call).body == b"later"
        assert [record.detail for record in records.of(Kind.FAILED)] == ["the handler answered 503"]
        await deliver(app)
    assert late.app.runs == 2


async def test_an_early_answer_that_does_not_get_through(monkeypatch):
    """What the app fails with later is recorded, though its client left before."""
    monkeypatch.setattr(held_response, "PATIENCE", 0.05)
    late, leaving = Late(error=ZeroDivisionError("too late")), asyncio.Event()

    def gone(_):
        leaving.set()
        raise OSError("the client has left")

    async with mounted(late.app, "handled") as (app, records):
        call = asyncio.ensure_future(deliver(app, on_send=gone))
        await asyncio.wait_for(leaving.wait(), 10)
        late.gate.set()
        with pytest.raises(ZeroDivisionError):
            await call
        late.error = None
        assert (await deliver(app)).body == b"done"
    assert [type(record.error) for record in records.of(Kind.FAILED)] == [ZeroDivisionError]


@pytest.mark.parametrize("answers", ["before it is cut off", "while it is undone"])
@pytest.mark.parametrize("cut", ["timed out", "cancelled", "lost"])
async def test_undoing_what_was_answered(monkeypatch, cut, answers):
    """An app that is cut off and takes long to undo its work is not answered as one that works."""
    monkeypatch.setattr(held_response, "PATIENCE", 0.3)
    store, inside, undoing, undone = TracedStore(), *(asyncio.Event() for _ in range(3))

    async def answer(send):
        await send(start())
        await send(chunk(b"done"))

    async def run(receive, send):
        if answers == "before it is cut off":
            await answer(send)
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            if answers == "while it is undone":
                await answer(send)
            undoing.set()
            await undone.wait()

    treated = policy(handler_timeout=0.1) if cut == "timed out" else policy(lease=0.3)
    sent = []
    async with mounted(bare(run), "handled", store=store, policy=treated) as (app, records):
        call = asyncio.ensure_future(deliver(app, on_send=sent.append))
        await inside.wait()
        if cut == "cancelled":
            call.cancel()
        elif cut == "lost":
            store.away.add("renew")
        await undoing.wait()
        await asyncio.sleep(2 * held_response.PATIENCE)
        assert sent == []
        undone.set()
        await asyncio.wait([call])
    assert [message.get("status") for message in sent[:1]] == ([503] if cut != "cancelled" else [])
    assert records.kinds[-1] == ("lease_lost" if cut == "lost" else "failed")


@pytest.mark.parametrize("message", [start(500), chunk(b"sorry")])
async def test_more_after_the_end(monkeypatch, message):
    """A response that goes on after its end fails, as servers have it, and is not answered."""
    monkeypatch.setattr(held_response, "PATIENCE", 0.05)
    sent = []

    async def run(receive, send):
        await send(start())
        await send(chunk(b"done"))
        await send(message)

    app = bare(run)
    async with mounted(app, "handled") as (middleware, records):
        for _ in range(2):
            with pytest.raises(RuntimeError, match="after its response was complete"):
                await deliver(middleware, on_send=sent.append)
        await asyncio.sleep(3 * held_response.PATIENCE)
    assert sent == []
    assert records.kinds[2:] == ["failed", "received", "started", "failed"]


async def test_an_end_that_is_said_twice_and_fails(monkeypatch):
    """A second end is ignored, and does not have a run that fails answered later."""
    monkeypatch.setattr(held_response, "PATIENCE", 0.2)
    late = Late(start(), chunk(b"done"), chunk(b""), error=ZeroDivisionError("boom"))
    late.gate.set()
    async with mounted(late.app, "handled") as (app, records):
        with pytest.raises(ZeroDivisionError):
            await deliver(app)
        await asyncio.sleep(2 * held_response.PATIENCE)
        assert records.kinds[-1] == "failed"
        late.error = None
        assert (await deliver(app)).body == b"done"
    assert late.app.runs == 2


async def test_cancelled_while_it_is_settled():
    """A call that is cancelled when its handler has returned is settled, and recorded."""
    late, store = Late(), Slow()
    late.gate.set()
    async with mounted(late.app, "handled", store=store) as (app, records):
        call = asyncio.ensure_future(deliver(app))
        await store.asked.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        store.answer.set()
        assert (await deliver(app)).body == b"done"
    assert len(records.of(Kind.SUCCEEDED)) == 1
    assert late.app.runs == 1


async def test_an_app_that_returns_while_it_is_answered_early(monkeypatch):
    """The answer that is under way then is the only one, and the call waits for it."""
    monkeypatch.setattr(held_response, "PATIENCE", 0.05)
    late, store, returned = Late(), Slow(), asyncio.Event()

    async def app(scope, receive, send):
        await late.app(scope, receive, send)
        returned.set()

    async with mounted(app, "handled", store=store) as (middleware, records):
        returned.clear()
        call = asyncio.ensure_future(deliver(middleware))
        await store.asked.wait()
        late.gate.set()
        await returned.wait()
        await asyncio.sleep(0)
        store.answer.set()
        assert (await call).body == b"done"
    assert len(records.of(Kind.SUCCEEDED)) == 1
    assert records.of(Kind.FAILED) == []


async def test_handler_timeout_after_the_last_message():
    """Background work counts towards ``handler_timeout``; cut off, the event is not done."""
    late = Late()
    async with mounted(late.app, "handled", policy=policy(handler_timeout=0.05)) as (app, records):
        assert (await deliver(app)).status == 503
        late.gate.set()
        assert (await deliver(app)).body == b"done"
    assert "handler_timeout" in records.of(Kind.FAILED)[0].detail


async def test_cancelled_after_the_last_message():
    """A call that its server cancels during the background work has not handled its event."""
    late, sent = Late(), []
    async with mounted(late.app, "handled") as (app, _):
        call = asyncio.ensure_future(deliver(app, on_send=sent.append))
        await late.inside.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        assert sent == []
        late.gate.set()
        assert (await deliver(app)).body == b"done"
    assert late.app.runs == 2


async def test_lease_lost_after_the_last_message():
    """An event whose lease ends during the background work is not answered as done."""
    store, late = TracedStore(), Late()
    async with mounted(late.app, "handled", store=store, policy=policy(lease=0.4)) as (
        app,
        records,
    ):
        call = asyncio.ensure_future(deliver(app))
        await late.inside.wait()
        store.away.add("renew")
        assert (await call).status == 503
    assert records.kinds[-1] == "lease_lost"


async def test_a_stream_whose_lease_is_lost_stays_without_its_end():
    """A stream whose claim another holder has taken over is not completed."""
    store = MemoryStore()
    late = Late(start(), chunk(b"a", more=True), chunk(b"b"))
    sent = []
    async with mounted(late.app, "handled", store=store) as (app, records):
        call = asyncio.ensure_future(deliver(app, on_send=sent.append))
        await late.inside.wait()
        [entry] = store._entries.values()
        entry.token = "of another holder"
        late.gate.set()
        await call
    assert sent == list(late.messages[:2])
    assert records.kinds[-1] == "lease_lost"


async def test_a_failure_page_of_the_app():
    """An app that answers its own exception with a page and raises it on is forwarded."""

    async def hook(request: Request):
        raise ZeroDivisionError("boom")

    async def page(request: Request, exc: Exception):
        return JSONResponse({"sorry": True}, 500)

    app = Starlette(
        routes=[Route("/hooks", hook, methods=["POST"])], exception_handlers={Exception: page}
    )
    sent = []
    async with mounted(app, "handled") as (middleware, records):
        with pytest.raises(ZeroDivisionError):
            await deliver(middleware, on_send=sent.append)
    assert sent[1]["body"] == b'{"sorry":true}'
    assert [type(record.error) for record in records.of(Kind.FAILED)] == [ZeroDivisionError]


async def wait_for_departure(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_departure_after_the_last_message():
    """To an app that has sent all, its client has left: it may wait for that and then return."""

    async def run(receive, send):
        await send(start())
        await send(chunk(b"done"))
        await wait_for_departure(receive)

    async with mounted(bare(run), "handled") as (app, _):
        assert (await asyncio.wait_for(deliver(app), 5)).body == b"done"


async def test_departure_for_a_task_that_listens():
    """A task of the app's that listens while the last message is sent is woken by it."""

    async def run(receive, send):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_departure, receive)
            await asyncio.sleep(0)
            await send(start())
            await send(chunk(b"done"))
        await asyncio.sleep(0)  # a cancellation that is left over would come here

    async with mounted(bare(run), "handled") as (app, records):
        assert (await asyncio.wait_for(deliver(app), 5)).body == b"done"
    assert records.kinds[-1] == "succeeded"


async def test_departure_is_heard_by_who_listens():
    """What wakes a listening task is the news that its client has left, not a cancellation."""

    async def run(receive, send):
        listening = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await send(start())
        await send(chunk(b"done"))
        assert await listening == {"type": "http.disconnect"}

    async with mounted(bare(run), "handled") as (app, records):
        assert (await asyncio.wait_for(deliver(app), 5)).body == b"done"
    assert records.kinds[-1] == "succeeded"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="before, the two cannot be told apart")
async def test_a_listener_that_is_cancelled_as_it_is_woken(monkeypatch):
    """A task that is cancelled at the very moment at which it is woken is cancelled."""
    monkeypatch.setattr("webhook_dedup.asgi.held_response.WAKE_AFTER", 0)

    async def run(receive, send):
        listening = asyncio.ensure_future(wait_for_departure(receive))
        await asyncio.sleep(0)
        await send(start())
        await send(chunk(b"done"))
        while not listening.cancelling():  # noqa: ASYNC110 - the very moment counts
            await asyncio.sleep(0)
        listening.cancel()
        await asyncio.wait([listening])
        assert listening.cancelled()

    async with mounted(bare(run), "handled") as (app, records):
        await asyncio.wait_for(deliver(app), 5)
    assert records.kinds[-1] == "succeeded"


@pytest.mark.parametrize("spec_version", ["2.0", "2.4"])
async def test_starlette_streams(spec_version):
    """Starlette's streams, which listen under older servers and end that themselves, succeed."""

    async def hook(request: Request):
        async def stream():
            yield b"a"
            await asyncio.sleep(0)
            yield b"b"

        return StreamingResponse(stream(), background=BackgroundTask(asyncio.sleep, 0.2))

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    async with mounted(app, "handled") as (middleware, records):
        reply = await deliver(middleware, asgi={"version": "3.0", "spec_version": spec_version})
    assert reply.body == b"ab"
    assert records.kinds[-1] == "succeeded"


LEFT = asyncio.Event()
LEFT.set()


async def test_a_client_that_leaves_before_the_response():
    """A handler that asks whether its client has left goes on, since a copy will come."""
    seen = []

    async def hook(request: Request):
        await request.body()
        seen.append(await request.is_disconnected())
        return PlainTextResponse("done")

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    async with mounted(app, "handled") as (middleware, _):
        await deliver(middleware, leaves=LEFT)
        assert (await deliver(middleware)).body == b"done"
    assert seen == [False]


@pytest.mark.parametrize("spec_version", ["2.0", "2.4"])
@pytest.mark.parametrize("between", [[], [Middleware(BaseHTTPMiddleware, dispatch=passing)]])
async def test_a_client_that_leaves_a_stream(between, spec_version):
    """A stream whose client leaves is made to its end, and a copy gets all of it."""
    left, made, lost = asyncio.Event(), [], []

    async def hook(request: Request):
        async def stream():
            for number in range(5):
                made.append(number)
                yield b"%d" % number
                await asyncio.sleep(0.01)

        return StreamingResponse(stream())

    def leave(message):
        if message.get("body") == b"1":
            left.set()
        elif left.is_set():
            lost.append(message)
            raise OSError("the client has left")

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])], middleware=between)
    asgi = {"version": "3.0", "spec_version": spec_version}
    async with mounted(app, "handled") as (middleware, _):
        await deliver(middleware, leaves=left, on_send=leave, asgi=asgi)
        assert (await deliver(middleware)).body == b"01234"
    assert made == [0, 1, 2, 3, 4]
    assert len(lost) == 1


async def test_a_client_that_leaves_a_large_stream():
    """An app may know of its client's leaving when nothing can be kept, and has not handled it."""
    large, heard = chunk(b"x" * (LARGEST_RESULT + 1), more=True), []

    async def run(receive, send):
        await send(start())
        listening = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        assert not listening.done()
        await send(large)
        heard.append((await listening)["type"])
        await send(chunk(b""))

    app = bare(run)
    async with mounted(app, "handled") as (middleware, records):
        for _ in range(2):
            await asyncio.wait_for(deliver(middleware, leaves=LEFT), 10)
    assert heard == ["http.disconnect"] * 2
    assert len(records.of(Kind.FAILED)) == 2


async def test_a_large_stream_that_does_not_get_through():
    """An app whose response can neither leave nor be kept is told so, and has not handled it."""
    large = chunk(b"x" * (LARGEST_RESULT + 1), more=True)
    late = Late(start(), large, chunk(b""))
    late.gate.set()

    def gone(_):
        raise OSError("the client has left")

    async with mounted(late.app, "handled") as (app, records):
        for _ in range(2):
            with pytest.raises(OSError, match="the client has left"):
                await deliver(app, on_send=gone)
    assert late.app.runs == 2
    assert records.of(Kind.SUCCEEDED) == []


def failing_once(errors):
    async def task():
        if errors:
            raise errors.pop()

    return task


async def hook_with_a_task(request: Request):
    return PlainTextResponse("handled", background=BackgroundTask(request.app.state.task))


def with_a_task(*middlewares):
    app = Starlette(routes=[Route("/hooks", hook_with_a_task, methods=["POST"])])
    app.state.task = failing_once([ZeroDivisionError("boom")])
    for middleware, options in middlewares:
        app.add_middleware(middleware, **options)
    app.add_middleware(WebhookDedup, store=MemoryStore(), sources=[source(ack="handled")])
    return app


@pytest.mark.parametrize(
    "middlewares",
    [
        [],
        [(BaseHTTPMiddleware, {"dispatch": passing})],
        [(GZipMiddleware, {"minimum_size": 1})],
        [(BaseHTTPMiddleware, {"dispatch": passing}), (GZipMiddleware, {"minimum_size": 1})],
    ],
)
def test_middlewares_between(middlewares):
    """Whatever middlewares make of a response, its client gets nothing of one that fails late."""
    app = with_a_task(*middlewares)
    with TestClient(app, raise_server_exceptions=False) as client:
        headers = {**signed(), "accept-encoding": "identity"}
        replies = [client.post("/hooks", content=BODY, headers=headers) for _ in range(3)]
    assert [(reply.status_code, reply.text) for reply in replies] == [
        (500, "Internal Server Error"),
        (200, "handled"),
        (200, "handled"),
    ]


def test_exit_code_of_a_dependency():
    """A commit after FastAPI's response that fails leaves its event to the next delivery."""
    app, commits = FastAPI(), []
    errors = [ZeroDivisionError("deadlock")]

    async def session():
        yield
        if errors:
            raise errors.pop()
        commits.append(1)

    @app.post("/hooks", dependencies=[Depends(session)])
    async def hook():
        return {"ok": True}

    app.add_middleware(WebhookDedup, store=MemoryStore(), sources=[source(ack="handled")])
    with TestClient(app, raise_server_exceptions=False) as client:
        replies = [client.post("/hooks", content=BODY, headers=signed()) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [500, 200, 200]
    assert commits == [1]


def test_fastapi_background_tasks():
    """A plain function among FastAPI's background tasks that fails fails the run."""
    app, mails, errors = FastAPI(), [], [OSError("smtp")]

    def mail():
        if errors:
            raise errors.pop()
        mails.append(1)

    @app.post("/hooks")
    async def hook(tasks: BackgroundTasks):
        tasks.add_task(mail)
        return {"ok": True}

    app.add_middleware(WebhookDedup, store=MemoryStore(), sources=[source(ack="handled")])
    with TestClient(app, raise_server_exceptions=False) as client:
        replies = [client.post("/hooks", content=BODY, headers=signed()) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [500, 200, 200]
    assert mails == [1]


async def test_a_file_that_is_deleted_after_the_response(tmp_path):
    """A file is sent by the app, whatever the server offers, as it may be gone by then."""
    path = tmp_path / "file"
    path.write_bytes(b"contents")

    async def hook(request: Request):
        assert "http.response.push" in request.scope["extensions"]
        return FileResponse(path, background=BackgroundTask(path.unlink))

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    extensions = {"http.response.pathsend": {}, "http.response.push": {}}
    async with mounted(app, "handled") as (middleware, _):
        reply = await deliver(middleware, extensions=extensions)
    assert reply.body == b"contents"
    assert not path.exists()


async def test_streams_leave_piece_by_piece():
    """A piece of a stream is with the client before the next one is made."""
    sent, seen = [], []

    async def hook(request: Request):
        async def stream():
            for number in range(3):
                seen.append(len(sent))
                yield b"%d" % number

        return StreamingResponse(stream())

    app = Starlette(routes=[Route("/hooks", hook, methods=["POST"])])
    async with mounted(app, "handled") as (middleware, _):
        await deliver(middleware, on_send=sent.append)
    assert seen == [0, 2, 3]


async def test_a_client_that_leaves_during_background_work():
    """The event of a client that has left is done when the run is, and answered to its copy."""
    late = Late()

    def gone(message):
        raise OSError("the client has left")

    async with mounted(late.app, "handled") as (app, _):
        call = asyncio.ensure_future(deliver(app, on_send=gone))
        await late.inside.wait()
        late.gate.set()
        with contextlib.suppress(OSError):
            await call
        assert (await deliver(app)).body == b"done"
    assert late.app.runs == 1
