"""One app to be put under load: ``python -m benchmarks.bench.http_app VARIANT STORE-URL PORT``."""

# ruff: noqa: PLC0415 - a peer is imported by its own variant only

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import time

import redis.asyncio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from webhook_dedup import Dedup, Source, WebhookDedup
from webhook_dedup.inbox.memory import MemoryInbox

from . import http_by_hand

HOOK = "/hook"
LAG = "/lag"
EVERY = 0.005
FROZEN = ", gc.freeze()"
"""Behind a variant: what the app has imported is spared the garbage collector."""


async def handle(request: Request) -> Response:
    """Read the event and answer, as the least of handlers does."""
    event = await request.json()
    return JSONResponse({"handled": len(event)})


async def bare_asgi(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"7")]}
    )
    await send({"type": "http.response.body", "body": b"handled"})


async def _lifespan(receive, send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def starlette(endpoint=handle) -> Starlette:
    return Starlette(routes=[Route(HOOK, endpoint, methods=["POST"])])


def deduplicated(ack: str, inbox: str, store: str):
    source = Source(
        "generic", name="bench", path=HOOK, event_id="header:X-Event-Id", verify=False, ack=ack
    )
    kept = {"inbox": MemoryInbox()} if inbox == "volatile" else {}
    return WebhookDedup(starlette(), dedup=Dedup(store, sources=[source], **kept))


def idempotency_header(store: str):
    from idempotency_header_middleware import IdempotencyHeaderMiddleware
    from idempotency_header_middleware.backends.redis import RedisBackend

    client = redis.asyncio.Redis.from_url(store, decode_responses=True, max_connections=1024)
    return IdempotencyHeaderMiddleware(starlette(), backend=RedisBackend(redis=client))


def built(variant: str, store: str):
    variant = variant.removesuffix(FROZEN)
    if variant == "bare ASGI":
        return bare_asgi
    if variant == "bare Starlette":
        return starlette()
    if variant == "asgi-idempotency-header":
        return idempotency_header(store)
    if variant == "by hand, redis-py":
        return starlette(http_by_hand.route(store))
    if variant == "by hand, the least":
        return http_by_hand.Least(starlette(), store)
    ack, inbox = variant.split(", ")
    return deduplicated(ack, inbox, store)


class Watched:
    """An app whose event loop tells how late it wakes: ``GET /lag`` answers and begins anew."""

    def __init__(self, app, *, freezes: bool) -> None:
        self.app = app
        self.freezes = freezes
        self.late: list[float] = []
        self.watch: asyncio.Task[None] | None = None

    async def __call__(self, scope, receive, send) -> None:
        if self.watch is None:
            self.watch = asyncio.ensure_future(self._watch())
            if self.freezes:
                gc.collect()
                gc.freeze()
        if scope.get("path") != LAG:
            await self.app(scope, receive, send)
            return
        late, self.late = self.late, []
        body = json.dumps(late).encode()
        await Response(body)(scope, receive, send)

    async def _watch(self) -> None:
        while True:
            due = time.perf_counter() + EVERY
            await asyncio.sleep(EVERY)
            self.late.append(time.perf_counter() - due)


def main() -> None:
    variant, store, port = sys.argv[1:]
    logging.getLogger("webhook_dedup").setLevel(logging.ERROR)
    app = Watched(built(variant, store), freezes=variant.endswith(FROZEN))
    uvicorn.run(app, port=int(port), log_level="critical", access_log=False, lifespan="on")


if __name__ == "__main__":
    main()
