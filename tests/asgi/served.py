"""An app for real servers. It is configured by its environment and tells what it did.

``GET /state`` answers with the runs, the records and the claims of its process; the ledger, a file
that all processes append to, has a line for each run that began or ended and each record.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from webhook_dedup import Dedup, Policy, WebhookDedup, event_of
from webhook_dedup.observe.log import fields
from webhook_dedup.stores import open_store

from .kit import source

LEDGER = os.environ.get("SERVED_LEDGER", os.devnull)
STORE = os.environ.get("SERVED_STORE", "memory://")
ACK = os.environ.get("SERVED_ACK", "first")
LEASE = float(os.environ.get("SERVED_LEASE", "30"))
HANDLER_SECONDS = float(os.environ.get("SERVED_HANDLER_SECONDS", "0"))
LATE_SECONDS = float(os.environ.get("SERVED_LATE_SECONDS", "0"))
LATE_FAILURES = int(os.environ.get("SERVED_LATE_FAILURES", "0"))
LARGEST = 64 * 1024


class Ledger:
    """Appends lines whole, whoever else appends."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, **line) -> None:
        os.write(self._file, json.dumps({"pid": os.getpid(), **line}).encode() + b"\n")

    def record(self, record) -> None:
        self.write(**fields(record))


def build() -> Starlette:
    ledger, store = Ledger(LEDGER), open_store(STORE)
    failures: list[int] = []
    sources = [
        source(name="json", path="/json", ack=ACK),
        source(name="header", path="/header", ack=ACK, event_id="header:X-Event-Id"),
        source(name="form", path="/form", ack=ACK, event_id="form:event"),
    ]
    policy = Policy(lease=LEASE, max_body=LARGEST)
    dedup = Dedup(store, sources=sources, observers=[ledger], policy=policy, seen_cache=0)

    async def hook(request: Request) -> Response:
        ledger.write(run="began", id=event_of(request).id)
        await asyncio.sleep(HANDLER_SECONDS)
        ledger.write(run="ended", id=event_of(request).id)
        if request.query_params.get("streams"):
            return StreamingResponse(pieces(), background=BackgroundTask(late))
        return Response("handled", background=BackgroundTask(late))

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"hand", b"led"):
            yield piece

    async def late() -> None:
        ledger.write(late="began")
        await asyncio.sleep(LATE_SECONDS)
        if len(failures) < LATE_FAILURES:
            failures.append(1)
            raise RuntimeError("told to fail after the response")
        ledger.write(late="ended")

    async def state(request: Request) -> Response:
        # Only a store in memory can tell how many keys it holds.
        return JSONResponse({"claims": len(store), "inbox": len(dedup.inbox)})

    @asynccontextmanager
    async def lifespan(_):
        yield
        ledger.write(app="stopped")
        await store.aclose()

    routes = [Route(f"/{name}", hook, methods=["POST"]) for name in ("json", "header", "form")]
    app = Starlette(routes=[*routes, Route("/state", state)], lifespan=lifespan)
    app.add_middleware(WebhookDedup, dedup=dedup)
    return app


if "SERVED_LEDGER" in os.environ:
    logging.basicConfig(format="%(name)s %(message)s")
    app = build()
