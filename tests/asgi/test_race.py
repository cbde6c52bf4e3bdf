"""Four processes, one store, fifty copies at once of each event: one run each.

``WEBHOOK_DEDUP_RACE_ROUNDS`` sets the number of events.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections import Counter
from contextlib import AsyncExitStack, ExitStack

import pytest

from .kit import signed
from .processes import Served
from .wire import Connection, request

ROUNDS = int(os.environ.get("WEBHOOK_DEDUP_RACE_ROUNDS", "200"))
COPIES = 50
PROCESSES = 4
LEASE = 5.0  # far longer than a busy machine holds a process up


async def _fire(servers: list[Served], events: list[str]) -> Counter[int]:
    """Deliver each event by fifty connections at once, spread over the servers.

    As providers do, a copy that is refused for overload (503) is sent again.
    """
    statuses: Counter[int] = Counter()
    async with AsyncExitStack() as stack:
        ports = [servers[number % PROCESSES].port for number in range(COPIES)]
        connections = [await stack.enter_async_context(Connection(port)) for port in ports]
        for event in events:
            body = json.dumps({"id": event}).encode()
            copy, refused = request("/json", body, signed(body)), connections
            while refused:
                for connection in refused:
                    connection.send(copy)
                answers = await asyncio.gather(*(connection.answer() for connection in refused))
                told = [answer.status for answer in answers]
                statuses.update(told)
                refused = [
                    each for each, status in zip(refused, told, strict=True) if status == 503
                ]
                await asyncio.sleep(0.2 if refused else 0)
    return statuses


def _ended(server: Served) -> set[tuple[str, str]]:
    """Event and delivery of every copy that ended; one that was taken up twice counts once."""
    ends = ("skipped", "succeeded")
    return {
        (line["event_id"], line["delivery_id"])
        for line in server.ledger
        if line.get("kind") in ends
    }


async def _settled(server: Served, copies: int) -> None:
    """Wait until every copy has ended; the last ones wait for the lease of another process."""
    deadline = time.monotonic() + 60
    while len(_ended(server)) < copies:
        assert time.monotonic() < deadline, Counter(line.get("kind") for line in server.ledger)
        await asyncio.sleep(1)


async def _race(store: str, directory, ack: str, rounds: int) -> None:
    events = [f"{uuid.uuid4().hex}-{number}" for number in range(rounds)]
    options = {"store": store, "ack": ack, "lease": LEASE, "handler_seconds": 0.005}
    with ExitStack() as stack:
        served = [Served("uvicorn", directory, **options) for _ in range(PROCESSES)]
        servers = [stack.enter_context(server) for server in served]
        began = time.monotonic()
        statuses = await _fire(servers, events)
        took = time.monotonic() - began
        await _settled(servers[0], rounds * COPIES)
        logs = "".join(server.log for server in servers)
    assert statuses[200] == rounds * COPIES
    assert set(statuses) <= {200, 503}
    assert "Traceback" not in logs
    runs = Counter(line["id"] for line in servers[0].of(run="began"))
    ends = Counter(event for event, _ in _ended(servers[0]))
    doubled = sum(count > 1 for count in runs.values())
    print(  # noqa: T201 - the figures of a run that is asked for
        f"\n{rounds} rounds of {COPIES} copies, {PROCESSES} processes, ack={ack}: {len(runs)} runs,"
        f" {rounds - len(runs)} lost, {doubled} doubled; {took:.1f} s, {statuses[503]} sent again"
    )
    assert runs == dict.fromkeys(events, 1)
    assert ends == dict.fromkeys(events, COPIES)


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_redis(redis_url, ack, tmp_path):
    """Over one Redis every event runs once, and its 49 other copies end as skips."""
    await _race(redis_url, tmp_path, ack, ROUNDS if ack == "first" else max(1, ROUNDS // 8))


@pytest.mark.parametrize("ack", ["first", "claimed"])
async def test_postgres(postgres_url, ack, tmp_path):
    """Over one PostgreSQL every event runs once, and its 49 other copies end as skips."""
    await _race(postgres_url, tmp_path, ack, ROUNDS if ack == "first" else max(1, ROUNDS // 8))
