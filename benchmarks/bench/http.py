"""What does the middleware cost in front of a route, and how soon is a sender answered?"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from tests.ports import free_port, reserve_port
from tests.servers import wait_until
from webhook_dedup.bench.load import cpu_of, quantile

from .http_app import FROZEN
from .lab import Lab, Row

CONNECTIONS = 64
SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
CURVE = "waits_ms"
SLOW = "asgi-idempotency-header"
SETTLING = 0.2
A_TICK = 0.011  # the watch of the event loop's lag goes on
VARIANTS = (
    "bare ASGI",
    "bare Starlette",
    "by hand, the least",
    "by hand, redis-py",
    "claimed, volatile",
    "claimed, durable",
    "first, durable",
    "handled, durable",
    SLOW,
    f"bare Starlette{FROZEN}",
    f"claimed, durable{FROZEN}",
    f"first, durable{FROZEN}",
)


async def ask(lab: Lab) -> list[Row]:
    return await asyncio.to_thread(_ask, lab)


def _ask(lab: Lab) -> list[Row]:
    found: dict[str, list[Row]] = {variant: [] for variant in VARIANTS}
    for turn in range(lab.scale.http_rounds):
        for variant in VARIANTS:
            lab.tell(f"HTTP: {variant}, round {turn + 1}")
            found[variant].append(_measure(lab, variant))
    return [{"question": "http", "who": who, **_medians(rows)} for who, rows in found.items()]


def _medians(rows: list[Row]) -> Row:
    middle = {name: median(row[name] for row in rows) for name in rows[0] if name != CURVE}
    curve = [median(heights) for heights in zip(*(row[CURVE] for row in rows), strict=True)]
    figures = [row["server_us"] for row in rows]
    return {**middle, CURVE: curve, "lowest_us": min(figures), "highest_us": max(figures)}


def _measure(lab: Lab, variant: str) -> Row:
    redis = lab.durable_redis if "durable" in variant else lab.redis
    requests = lab.scale.requests // (3 if variant == SLOW else 1)
    with _served(variant, redis.url) as (pid, port):
        _load(port, requests // 10)
        _lag(port)
        before = cpu_of(pid)
        waits = sorted(_load(port, requests))
        late = sorted(_lag(port))
        _settle(pid)
        spent = cpu_of(pid) - before
    return {
        "server_us": 1e6 * spent / len(waits),
        "p50_ms": 1e3 * quantile(waits, 0.5),
        "p99_ms": 1e3 * quantile(waits, 0.99),
        "lag_p99_ms": 1e3 * quantile(late, 0.99),
        "rate": CONNECTIONS / (sum(waits) / len(waits)),
        CURVE: [1e3 * quantile(waits, share) for share in SHARES],
    }


def _settle(pid: int) -> None:
    """Wait until what was acknowledged has run: the process is quiet."""
    last, now = -1.0, cpu_of(pid)
    while now - last > A_TICK:
        time.sleep(SETTLING)
        last, now = now, cpu_of(pid)


@contextmanager
def _served(variant: str, store: str) -> Iterator[tuple[int, int]]:
    port = reserve_port()
    command = [sys.executable, "-m", "benchmarks.bench.http_app", variant, store, str(port)]
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: _answers(port), what=variant)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(30)
        free_port(port)


def _answers(port: int) -> bool:
    try:
        _lag(port)
    except OSError:
        return False
    return True


def _lag(port: int) -> list[float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/lag", timeout=10) as answer:
        return json.loads(answer.read()) or [0.0]


def _load(port: int, requests: int) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.bench.http_client"]
    done = subprocess.run(
        [*command, str(port), str(requests), str(CONNECTIONS)], check=True, capture_output=True
    )
    return json.loads(done.stdout)
