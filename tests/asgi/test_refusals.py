"""What a handler answers when it refuses an event, kept with the attempt for a person to read."""

from __future__ import annotations

import gzip
import json

import pytest
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from webhook_dedup import Policy, Retries, WebhookDedup
from webhook_dedup.contracts import Sought
from webhook_dedup.guards import OneAtATime
from webhook_dedup.observe.log import fields
from webhook_dedup.observe.record import Kind
from webhook_dedup.stores import MemoryStore

from .kit import BODY, Handler, Records, deliver, living, mounted, signed, source

ONCE = Policy(retries=Retries(attempts=1))
JSON = (b"content-type", b"application/json")

pytestmark = pytest.mark.parametrize("ack", ["first", "claimed"])


def answering(status, *chunks, headers=()):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return await Handler._live(receive, send)
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return None

    return app


async def kept(app, ack, **options):
    """Deliver once; return the error in the inbox, and the records."""
    options = {"sources": [source(ack=ack, **options)], "policy": ONCE}
    async with mounted(app, **options) as (middleware, records):
        await deliver(middleware)
        [item] = await middleware.dedup.inbox.find(Sought())
    [attempt] = item.history
    return attempt.error, records


@pytest.mark.parametrize("status", [302, 404, 422, 503])
async def test_beginning_of_the_answer(ack, status):
    """Whatever is no success keeps what it says, beside its status, and only in the inbox."""
    error, records = await kept(answering(status, b'{"why": ', b'"secret"}', headers=[JSON]), ack)
    assert error == f'the handler answered {status}: {{"why": "secret"}}'
    [failed] = records.of(Kind.FAILED)
    assert failed.detail == f"the handler answered {status}"
    assert not any("secret" in json.dumps(fields(r), default=repr) for r in records.all)
    assert {type(record.status) for record in records.all} <= {int, type(None)}


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"", [], ""),
        (b" \r\n", [], ""),
        (b"x" * 501, [], ": " + "x" * 500),
        ("€".encode() * 700, [], ": " + "€" * 500),
        (b"a\r\n\tb\x1b[31m\x00c\xff", [], r": a b\x1b[31m\x00c" + "\ufffd"),
        ("\u202edoc".encode(), [(b"Content-Type", b"TEXT/plain; charset=utf-8")], r": \u202edoc"),
        (b"<why/>", [(b"content-type", b"application/problem+xml")], ": <why/>"),
        (b"\x89PNG", [(b"content-type", b"image/png")], ""),
        (gzip.compress(b"why", mtime=0), [JSON, (b"content-encoding", b"gzip")], ""),
    ],
)
async def test_only_harmless_text(ack, body, headers, said):
    """Text of one line is kept, of bounded length and without what could steer a terminal."""
    error, _ = await kept(answering(422, body, headers=headers), ack)
    assert error == f"the handler answered 422{said}"


async def test_through_guards(ack):
    """Guards between handler and inbox pass it on."""
    app = answering(409, b"locked", headers=[JSON])
    error, _ = await kept(app, ack, guards=[OneAtATime(lambda event, data: "all")])
    assert error == "the handler answered 409: locked"


async def test_fastapi(ack):
    """Pydantic's complaints and the details of HTTPException are there to read."""

    class Order(BaseModel):
        amount: int

    async def refused(order: Order):
        raise AssertionError("not reached")

    refused.__annotations__["order"] = Order

    async def later():
        raise HTTPException(503, "the bank is closed")

    for endpoint, why in ((refused, '"loc":["body","amount"]'), (later, "the bank is closed")):
        app = FastAPI()
        app.post("/hooks")(endpoint)
        records = Records()
        middleware = WebhookDedup(
            app, store=MemoryStore(), sources=[source(ack=ack)], observers=[records], policy=ONCE
        )
        async with living(middleware):
            headers = {**signed(), "content-type": "application/json"}
            await deliver(middleware, BODY, headers=headers)
            [item] = await middleware.dedup.inbox.find(Sought())
        assert why in item.history[-1].error
