"""How fast a process works off what a dead one left, and whether it still acknowledges meanwhile.

Puts ``--items`` deliveries into the inbox beside ``--store``, due at once, starts an app over it,
and sends it new deliveries while it recovers. Prints the rate, the growth of its memory and the
time to acknowledge.

    python -m benchmarks.recovery --store sqlite:////tmp/recovery.db --items 100000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import time
import uuid

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from webhook_dedup import Dedup, Delivery, Policy, Source, WebhookDedup
from webhook_dedup.contracts import Inbox
from webhook_dedup.inbox import inbox_beside
from webhook_dedup.model import Item, Key, new_token
from webhook_dedup.observe.record import Kind, Record
from webhook_dedup.providers import sign
from webhook_dedup.stores import open_store

SECRET = "a benchmark's secret"
PATH = "/hook"
AT_ONCE = 1_000
NEW_EVERY = 0.1


class Count:
    """Counts successes."""

    def __init__(self) -> None:
        self.succeeded = 0

    def record(self, record: Record) -> None:
        self.succeeded += record.kind is Kind.SUCCEEDED


def request_of(event: str) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    body = json.dumps({"id": event, "padding": "x" * 900}).encode()
    signed = sign("generic", secret=SECRET, body=body)
    return body, tuple((name.lower().encode(), value.encode()) for name, value in signed.items())


def waiting_item(event: str) -> Item:
    body, headers = request_of(event)
    delivery = Delivery(uuid.uuid4().hex, "hook", "POST", PATH, headers, body, time.time())
    key = str(Key("webhook:hook", event))
    return Item(delivery.id, new_token(delivery.id), delivery, key=key, event_id=event)


async def fill(url: str, items: int) -> None:
    store = open_store(url)
    inbox: Inbox = inbox_beside(store)
    try:
        for start in range(0, items, AT_ONCE):
            batch = [waiting_item(f"old-{start + n}-{uuid.uuid4()}") for n in range(AT_ONCE)]
            await inbox.put(batch, 0.0)
    finally:
        await inbox.aclose()
        await store.aclose()


async def handle(_: Request) -> Response:
    return Response("handled")


async def acknowledged(app: Starlette) -> float:
    """Send one new delivery; return the seconds until its 200."""
    body, headers = request_of(f"new-{uuid.uuid4()}")
    scope = {"type": "http", "method": "POST", "path": PATH, "headers": list(headers)}
    answered = asyncio.get_running_loop().create_future()
    began = time.perf_counter()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start" and not answered.done():
            if message["status"] == 200:
                answered.set_result(time.perf_counter() - began)
            else:
                answered.set_exception(RuntimeError(f"a new delivery was answered {message}"))

    running = asyncio.ensure_future(app(scope, receive, send))
    background.add(running)
    running.add_done_callback(background.discard)
    return await answered


background: set[asyncio.Future[None]] = set()


async def recover(url: str, items: int) -> dict[str, float]:
    count = Count()
    sources = [Source("generic", name="hook", path=PATH, event_id="id", secret=SECRET)]
    dedup = Dedup(url, sources=sources, observers=[count], policy=Policy())
    app = WebhookDedup(Starlette(routes=[Route(PATH, handle, methods=["POST"])]), dedup=dedup)
    before = resource.getrusage(resource.RUSAGE_SELF)
    waits = []
    began = time.perf_counter()
    async with dedup:
        while count.succeeded < items + len(waits):
            if len(waits) * NEW_EVERY < time.perf_counter() - began and count.succeeded < items:
                waits.append(await acknowledged(app))
            else:
                await asyncio.sleep(0.01)
        took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "items": items,
        "seconds": took,
        "items per second": items / took,
        "CPU us per item": 1e6 * (after.ru_utime - before.ru_utime) / items,
        "growth of memory, MB": (after.ru_maxrss - before.ru_maxrss) / 1024,
        "new deliveries acknowledged": len(waits),
        "p50 to acknowledge, ms": 1e3 * statistics.median(waits),
        "worst to acknowledge, ms": 1e3 * max(waits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--store", required=True, help="URL of a store nobody else uses")
    parser.add_argument("--items", type=int, default=100_000)
    arguments = parser.parse_args()
    asyncio.run(fill(arguments.store, arguments.items))
    for name, value in asyncio.run(recover(arguments.store, arguments.items)).items():
        print(f"{name:>30}: {value:,.1f}")


if __name__ == "__main__":
    main()
