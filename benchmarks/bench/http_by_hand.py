"""The same over HTTP, by hand: as people write it, and the least that it can cost.

Neither checks a signature, keeps a delivery, renews a lease or fences a completion. An event whose
handler fails or whose process dies is not run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import redis.asyncio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from webhook_dedup.backends.redis.resp import packed, set_new
from webhook_dedup.backends.redis.sending import Sender

HELD = 30_000
DONE = 172_800_000  # milliseconds; two days
ACKNOWLEDGED = b'{"received":true}'


def route(url: str) -> Callable[[Request], Awaitable[Response]]:
    """Claim with one command of redis-py's, handle, complete with another, answer."""
    client = redis.asyncio.Redis.from_url(url, max_connections=1024)

    async def handle(request: Request) -> Response:
        event = await request.json()
        key = f"byhand:{request.headers['x-event-id']}"
        if await client.set(key, "held", nx=True, px=HELD):
            await client.set(key, "done", px=DONE)
        return JSONResponse({"handled": len(event)})

    return handle


class Least:
    """Claims in batches, answers, runs the app behind the answer, completes in batches."""

    def __init__(self, app, url: str) -> None:
        self.app = app
        self.sender = Sender(redis.asyncio.Redis.from_url(url, protocol=2), connections=8)
        self.claim = Batches(self._claim)
        self.complete = Batches(self._complete)
        self.runs: set[asyncio.Task[None]] = set()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        message = await receive()
        assert not message["more_body"]
        [key] = [value for name, value in scope["headers"] if name == b"x-event-id"]
        fresh = await self.claim(key) is None
        length = (b"content-length", b"%d" % len(ACKNOWLEDGED))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": ACKNOWLEDGED})
        if fresh:
            run = asyncio.ensure_future(self._run(scope, message, key))
            self.runs.add(run)
            run.add_done_callback(self.runs.discard)
        return None

    async def _run(self, scope, message, key: bytes) -> None:
        async def receive():
            return message

        async def send(_) -> None:
            pass

        await self.app({**scope, "state": {}}, receive, send)
        await self.complete(key)

    async def _claim(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        return await self.sender.get_all([set_new(key, b"held", b"%d" % HELD) for key in keys])

    async def _complete(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        commands = [packed([b"SET", key, b"done", b"GET", b"PX", b"%d" % DONE]) for key in keys]
        return await self.sender.get_all(commands)


class Batches:
    """What is asked while a batch is under way goes in the next."""

    def __init__(self, verb: Callable[[Sequence[bytes]], Awaitable[Sequence[bytes | None]]]):
        self.verb = verb
        self.waiting: list[tuple[bytes, asyncio.Future[bytes | None]]] = []
        self.worker: asyncio.Task[None] | None = None

    def __call__(self, key: bytes) -> asyncio.Future[bytes | None]:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((key, future))
        if self.worker is None:
            self.worker = asyncio.ensure_future(self._work())
        return future

    async def _work(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting, []
            answers = await self.verb([key for key, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)
            await asyncio.sleep(0)
        self.worker = None
