"""What a history costs: CPU of the server for each delivery, with it and without.

Run it as ``python -m benchmarks.history [sqlite] [redis] [postgres]``. One server process has the
same app twice, one keeping a history. Both get signed deliveries, each of a new event, over
connections that stay open. They take turns in short blocks, the process's CPU time is read around
each block, what it does in the background included, and each block is compared with its neighbour,
so that what else the machine does falls on both. Beside it, what the history's own code and driver
use for the records of such a delivery, measured alone: what its share of a busy server's caches
costs is not in this figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.binaries import redis_binaries
from tests.servers import PostgresServer, RedisServer
from webhook_dedup import Policy, Source, WebhookDedup
from webhook_dedup.contracts import Observer
from webhook_dedup.model import Delivery
from webhook_dedup.observe.history import History
from webhook_dedup.observe.record import Kind, Record
from webhook_dedup.providers import sign

SECRET = "a benchmark's secret"
PATH = "/hooks"
CONNECTIONS = 32
SETTLE = 0.8
ANSWER = b"HTTP/1.1 200"


def app(store: str, observers: list[Observer]) -> WebhookDedup:
    async def handle(_):
        return JSONResponse({"handled": True})

    inner = Starlette(routes=[Route(PATH, handle, methods=["POST"])])
    source = Source("generic", path=PATH, event_id="id", secret=SECRET)
    policy = Policy(max_in_flight=10_000)
    return WebhookDedup(inner, store=store, sources=[source], observers=observers, policy=policy)


async def serve(without: str, with_history: str) -> None:
    """Be the server: print the port of either app, then serve until killed."""
    apps = [app(without, []), app(with_history, [History(with_history)])]
    configs = [uvicorn.Config(each, port=0, log_level="critical", lifespan="on") for each in apps]
    servers = [uvicorn.Server(config) for config in configs]
    serving = [asyncio.ensure_future(server.serve()) for server in servers]
    while not all(server.started for server in servers):  # noqa: ASYNC110 - no event offered
        await asyncio.sleep(0.01)
    print(*(server.servers[0].sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.gather(*serving)


@contextmanager
def served(*stores: str):
    """A server process and the ports it listens to."""
    command = [sys.executable, "-m", "benchmarks.history", "--serve", *stores]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process.pid, [int(port) for port in process.stdout.readline().split()]
    finally:
        process.kill()
        process.wait()


def request() -> bytes:
    body = json.dumps({"id": uuid.uuid4().hex, "filler": "x" * 900}).encode()
    headers = {"content-length": len(body), **sign("generic", secret=SECRET, body=body)}
    lines = [f"POST {PATH} HTTP/1.1", "host: test", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def deliver(port: int, number: int) -> None:
    """Send deliveries over one connection, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(number):
        writer.write(request())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(ANSWER), head
        length = next(line for line in head.lower().split(b"\r\n") if b"content-length" in line)
        await reader.readexactly(int(length.split(b":")[1]))
    writer.close()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used so far, to the nanosecond."""
    # As clock_getcpuclockid(3) makes it; the figures in /proc are in hundredths of a second.
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


async def block(pid: int, port: int, requests: int) -> float:
    """CPU microseconds of the server for each delivery."""
    share = requests // CONNECTIONS
    before = cpu(pid)
    await asyncio.gather(*(deliver(port, share) for _ in range(CONNECTIONS)))
    await asyncio.sleep(SETTLE)  # what is written behind the events counts
    return (cpu(pid) - before) / (share * CONNECTIONS) * 1e6


async def measure(stores: list[str], requests: int, blocks: int) -> list[tuple[float, float]]:
    """CPU microseconds without and with a history, in pairs of neighbours."""
    with served(*stores) as (pid, (off, on)):
        for port in (off, on):  # warm up
            await block(pid, port, requests)
        pairs = []
        for number in range(blocks):
            # Which is first takes turns, too.
            costs = dict.fromkeys((off, on) if number % 2 else (on, off), 0.0)
            for port in costs:
                costs[port] = await block(pid, port, requests)
            pairs.append((costs[off], costs[on]))
    return pairs


def recorded() -> list[Record]:
    """What one delivery makes the library record."""
    raw, now = request(), time.time()
    head, _, body = raw.partition(b"\r\n\r\n")
    headers = tuple(tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")[1:])
    delivery = Delivery(uuid.uuid4().hex, "generic", "POST", PATH, headers, body, now)
    event = {"event_id": uuid.uuid4().hex, "delivery_id": delivery.id, "at": now}
    return [
        Record(Kind.RECEIVED, "generic", delivery=delivery, **event),
        Record(Kind.STARTED, "generic", delivery=delivery, attempt=1, **event),
        Record(Kind.SUCCEEDED, "generic", attempt=1, duration=0.001, **event),
    ]


async def alone(place: str, deliveries: int = 500, times: int = 20) -> float:
    """CPU microseconds of taking and writing the records of a delivery."""
    history, costs = History(place), []
    for _ in range(times):
        records = [record for _ in range(deliveries) for record in recorded()]
        before = time.process_time()
        for record in records:
            history.record(record)
        assert await history.flush()
        costs.append((time.process_time() - before) / deliveries * 1e6)
    await history.aclose()
    return statistics.median(costs)


@contextmanager
def places(kind: str) -> Iterator[list[str]]:
    """URLs of two stores of a kind."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield [f"sqlite:///{Path(folder, name)}.db" for name in ("without", "with")]
    elif kind == "redis":
        with RedisServer(redis_binaries()[-1]) as server:
            yield [f"{server.url}?prefix={name}:" for name in ("without", "with")]
    else:
        with PostgresServer() as server:
            yield [server.url] * 2


def report(kind: str, pairs: list[tuple[float, float]], own: float) -> None:
    off, on = (statistics.median(costs) for costs in zip(*pairs, strict=True))
    lower, middle, upper = statistics.quantiles([with_it - without for without, with_it in pairs])
    print(
        f"{kind:<9} without {off:.0f} µs, with {on:.0f} µs CPU a delivery (medians of {len(pairs)} "
        f"blocks each); neighbours differ by {middle:+.0f} µs (half of them by {lower:+.0f} to "
        f"{upper:+.0f}), {100 * middle / off:+.1f} %; alone {own:.0f} µs",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=["sqlite", "redis", "postgres"])
    parser.add_argument("--requests", type=int, default=960, help="in a block")
    parser.add_argument("--blocks", type=int, default=25)
    parser.add_argument("--serve", nargs=2, metavar=("WITHOUT", "WITH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(*options.serve))
        return
    for kind in options.kinds:
        with places(kind) as stores:
            own = asyncio.run(alone(stores[1]))
            pairs = asyncio.run(measure(stores, options.requests, options.blocks))
            report(kind, pairs, own)
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
