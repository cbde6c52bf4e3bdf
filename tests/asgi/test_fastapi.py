"""The middleware in a FastAPI app."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from pydantic import BaseModel
from starlette.middleware.gzip import GZipMiddleware

from webhook_dedup import Dedup, WebhookDedup
from webhook_dedup.fastapi import EventDep
from webhook_dedup.observe.record import Kind
from webhook_dedup.stores import MemoryStore

from .kit import Records, TestClient, deliver, living, policy, settled, signed, source

ACKS = ("first", "claimed", "handled")


class Payload(BaseModel):
    id: str
    amount: int = 0


def fastapi(ack: str) -> tuple[FastAPI, Records]:
    app, records = FastAPI(), Records()
    app.dedup = Dedup(
        MemoryStore(), sources=[source(ack=ack)], observers=[records], policy=policy()
    )
    app.add_middleware(WebhookDedup, dedup=app.dedup)
    return app, records


def as_json(body: bytes) -> dict[str, str]:
    return {"content-type": "application/json", **signed(body)}


@pytest.mark.parametrize("ack", ACKS)
async def test_event_as_a_dependency(ack):
    """A handler gets its event and its parsed body as arguments, and runs once."""
    app, _ = fastapi(ack)
    calls, body = [], b'{"id": "evt_1", "amount": 5}'

    @app.post("/hooks")
    async def hook(event: EventDep, payload: Payload):
        calls.append((event.id, event.source, payload.amount))
        return {"ok": True}

    async with living(app):
        for _ in range(2):
            assert (await deliver(app, body, headers=as_json(body))).status == 200
    assert calls == [("evt_1", "shop", 5)]


@pytest.mark.parametrize("ack", ACKS)
async def test_plain_def_endpoint(ack):
    """An endpoint that is a plain def runs in its thread, once."""
    app, records = fastapi(ack)
    calls = []

    @app.post("/hooks")
    def hook(event: EventDep):
        calls.append(event.id)

    async with living(app):
        for _ in range(2):
            await deliver(app)
    assert calls == ["evt_1"]
    assert len(records.of(Kind.SUCCEEDED)) == 1


@pytest.mark.parametrize("ack", ACKS)
async def test_dependencies_with_yield(ack):
    """A dependency with yield is open while the handler runs and is torn down after it."""
    app, _ = fastapi(ack)
    trace = []

    async def session():
        trace.append("open")
        yield "session"
        trace.append("close")

    @app.post("/hooks")
    async def hook(tasks: BackgroundTasks, db: str = Depends(session)):
        trace.append(db)
        tasks.add_task(trace.append, "task")

    async with living(app):
        await deliver(app)
    assert sorted(trace) == sorted(["open", "session", "close", "task"])
    assert trace[:2] == ["open", "session"]


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_teardown_that_fails(ack):
    """A teardown that fails, such as a commit, fails the run, and it is tried again."""
    app, records = fastapi(ack)
    commits = []

    async def session():
        yield
        commits.append(1)
        if len(commits) == 1:
            raise RuntimeError("the commit fails")

    @app.post("/hooks", dependencies=[Depends(session)])
    async def hook():
        return {}

    async with living(app):
        await deliver(app)
        await settled(app)
    assert len(commits) == 2
    assert records.kinds.count("failed") == 1
    assert records.kinds.count("succeeded") == 1


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_teardown_sees_the_failure(ack):
    """A dependency with yield sees the handler's exception and may roll back."""
    app, records = fastapi(ack)
    trace = []

    async def session():
        try:
            yield
        except ValueError:
            trace.append("rollback")
            raise
        trace.append("commit")

    @app.post("/hooks", dependencies=[Depends(session)])
    async def hook():
        if not trace:
            raise ValueError("the first run fails")

    async with living(app):
        await deliver(app)
        await settled(app)
    assert trace == ["rollback", "commit"]
    assert records.kinds.count("succeeded") == 1


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_validation_errors_are_buried(ack):
    """A body that the handler's model refuses (422) is kept for a person and not tried again."""
    app, records = fastapi(ack)
    body = b'{"id": "evt_1", "amount": "many"}'

    @app.post("/hooks")
    async def hook(payload: Payload):
        raise AssertionError("never called")

    async with living(app):
        reply = await deliver(app, body, headers=as_json(body))
    assert reply.status == 200
    assert [record.status for record in records.of(Kind.FAILED)] == [422]
    assert len(records.of(Kind.BURIED)) == 1


async def test_http_exception_is_the_answer():
    """With ack='handled' an HTTPException is what the sender gets, and the next copy runs."""
    app, _ = fastapi("handled")
    calls = []

    @app.post("/hooks")
    async def hook():
        calls.append(1)
        if len(calls) == 1:
            raise HTTPException(409, "not yet")

    async with living(app):
        assert [(await deliver(app)).status for _ in range(2)] == [409, 200]
    assert len(calls) == 2


@pytest.mark.parametrize("ack", ACKS)
async def test_copies_at_once(ack):
    """Copies at once are run once."""
    app, records = fastapi(ack)
    calls = []

    @app.post("/hooks")
    async def hook():
        calls.append(1)
        await asyncio.sleep(0.02)

    async with living(app):
        await asyncio.gather(*(deliver(app) for _ in range(5)))
        await settled(app)
    assert len(calls) == 1
    assert len(records.of(Kind.SKIPPED)) == 4


def test_below_another_app():
    """A FastAPI app mounted below another is entered by the outer lifespan."""
    inner, records = fastapi("first")

    @inner.post("/hooks")
    async def hook(event: EventDep):
        return {}

    @asynccontextmanager
    async def lifespan(_):
        async with inner.dedup:
            yield

    outer = FastAPI(lifespan=lifespan)
    outer.mount("/api", inner)
    body = b'{"id": 1}'
    with TestClient(outer) as client:
        for _ in range(2):
            assert client.post("/api/hooks", content=body, headers=signed(body)).status_code == 200
    assert [record.kind.value for record in records.all][-3:] == [
        "succeeded",
        "received",
        "skipped",
    ]


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("path", ["/hooks", "/api/hooks"])
async def test_wrapped_app_that_has_a_root_path(path, between):
    """Around a FastAPI app paths are found below its root_path, as its router finds them."""
    app, ran = FastAPI(), []
    app.root_path = "/api"  # the argument for it warns in newer versions

    @app.post("/hooks")
    async def hook(event: EventDep):
        ran.append(event.id)

    inner = GZipMiddleware(app) if between else app
    middleware = WebhookDedup(inner, store=MemoryStore(), sources=[source()])
    assert (await deliver(middleware, headers={}, path=path)).status == 401
    assert (await deliver(middleware, path=path)).status == 200
    assert ran == ["evt_1"]


def test_dependency_without_an_event():
    """A route that no source covers has no event to give."""
    app, _ = fastapi("first")

    @app.post("/elsewhere")
    async def hook(event: EventDep):
        return {}

    with TestClient(app) as client, pytest.raises(LookupError, match="no source matches"):
        client.post("/elsewhere")
