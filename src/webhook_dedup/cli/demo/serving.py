"""The app of the demo, and the real server and connections it is shown with."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ...asgi import WebhookDedup, event_of
from ...contracts import Observer
from ...dedup import Dedup
from ...observe.record import Kind, Record
from ...policy import Policy, Retries
from ...source import Source
from .steps import GITHUB_SECRET, STRIPE_SECRET, Step

__all__ = ["run"]

_SETTLED_WITHIN = 10.0


async def run(url: str, steps: Sequence[Step], observers: Sequence[Observer]) -> None:
    """Serve an app with a store, take the steps, and note in each what came of it."""
    tally = _Tally()
    dedup = _dedup(url, [tally, *observers])
    app = _app(dedup)
    async with (
        dedup,
        _serve(app) as base_url,
        _connections(base_url, max(step.copies for step in steps)) as clients,
    ):
        for step in steps:
            before = tally.counts.copy()
            await _send(clients, step)
            await _until_settled(tally)
            step.told = tally.counts - before


class _Tally:
    """Counts records by kind; skips also by reason."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def record(self, record: Record) -> None:
        self.counts[record.kind.value] += 1
        if record.kind is Kind.SKIPPED:
            self.counts[f"skipped {record.reason}"] += 1

    @property
    def settled(self) -> bool:
        """Whether every accepted copy has run to success or was skipped."""
        return self.counts["succeeded"] + self.counts["skipped"] >= self.counts["received"]


def _dedup(url: str, observers: Sequence[Observer]) -> Dedup:
    return Dedup(
        url,
        sources=[
            Source("github", path="/webhooks/github", secret=GITHUB_SECRET),
            Source("stripe", path="/webhooks/stripe", secret=STRIPE_SECRET),
        ],
        observers=observers,
        policy=Policy(lease=5, retries=Retries(initial=0.2)),
    )


def _app(dedup: Dedup) -> WebhookDedup:
    failed: set[str] = set()

    async def handle(request: Request) -> JSONResponse:
        event = event_of(request)
        await asyncio.sleep(0.05)  # long enough for all five copies to meet
        if (await request.json()).get("fail_first") and event.id not in failed:
            failed.add(event.id)
            return JSONResponse({"error": "not yet"}, 500)
        return JSONResponse({"handled": event.id})

    routes = [Route(f"/webhooks/{name}", handle, methods=["POST"]) for name in ("github", "stripe")]
    return WebhookDedup(Starlette(routes=routes), dedup=dedup)


async def _until_settled(tally: _Tally) -> None:
    deadline = time.monotonic() + _SETTLED_WITHIN
    while not tally.settled and time.monotonic() < deadline:  # noqa: ASYNC110 - records set no event
        await asyncio.sleep(0.02)


@asynccontextmanager
async def _serve(app: WebhookDedup) -> AsyncIterator[str]:
    """Serve an app on a free loopback port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="on"))
    serving = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def _connections(base_url: str, number: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Open connections, each used once so that no hand-shake is measured."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=base_url, timeout=10))
            for _ in range(number)
        ]
        await asyncio.gather(*(client.get("/") for client in clients))
        yield clients


async def _send(clients: Sequence[httpx.AsyncClient], step: Step) -> None:
    """Send all copies of a step at once, each over a connection of its own."""
    delivery = step.delivery

    async def post(client: httpx.AsyncClient) -> tuple[int, float]:
        began = time.perf_counter()
        response = await client.post(delivery.path, content=delivery.body, headers=delivery.headers)
        return response.status_code, time.perf_counter() - began

    step.answers.extend(await asyncio.gather(*(post(client) for client in clients[: step.copies])))
