"""What got its 200 is run although its process is killed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.ports import HOST, free_port, reserve_port
from tests.servers import RedisServer, wait_until
from webhook_dedup.contracts import Sought
from webhook_dedup.inbox import inbox_beside
from webhook_dedup.providers import sign
from webhook_dedup.stores import open_store

SECRET = "a test's secret"
DURABLE = ["--appendonly", "yes", "--appendfsync", "always"]


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def store(request, tmp_path):
    """Every store beside which the inbox is durable."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/webhooks.db"
    elif request.param == "postgres":
        yield request.getfixturevalue("postgres_url")
    else:
        from tests.binaries import redis_binaries

        with RedisServer(redis_binaries()[0], args=DURABLE) as server:
            yield server.url


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger"
    path.touch()
    return path


def ran(ledger: Path) -> Counter:
    return Counter(ledger.read_text().split())


@contextmanager
def served(store, ledger, die_at=""):
    """Serve the app in a process of its own; yield its URL and the process."""
    port = reserve_port()
    command = [sys.executable, "-m", "uvicorn", "tests.recovery.app:app", "--host", HOST]
    environment = {**os.environ, "STORE": store, "LEDGER": str(ledger), "DIE_AT": die_at}
    process = subprocess.Popen(
        [*command, "--port", str(port), "--no-access-log"],
        cwd=Path(__file__).parents[2],
        env=environment,
    )
    try:
        wait_until(lambda: _listens(port), what="the server")
        yield f"http://{HOST}:{port}/hook", process
    finally:
        process.kill()
        process.wait()
        free_port(port)


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def deliver(url, event) -> int:
    body = json.dumps({"id": event}).encode()
    headers = sign("generic", secret=SECRET, body=body)
    return httpx.post(url, content=body, headers=headers, timeout=10).status_code


def test_killed_inside_a_handler(store, ledger):
    """Events acknowledged by a process that is killed are run by the next one, and no other is."""
    tag = uuid.uuid4().hex
    acknowledged = []
    with served(store, ledger, die_at="run:5") as (url, process):
        for number in range(50):
            event = f"{tag}-{number}"
            try:
                status = deliver(url, event)
            except httpx.HTTPError:  # killed before its answer was out
                break
            assert status == 200
            acknowledged.append(event)
        process.wait(10)
    assert acknowledged

    with served(store, ledger) as (url, _):
        wait_until(lambda: set(acknowledged) <= set(ran(ledger)), what="a run of each")
        after = f"{tag}-after"
        assert deliver(url, after) == 200
        wait_until(lambda: after in ran(ledger), what="a new event")
        time.sleep(2.5)  # longer than any lease: what would run twice has had its time
    counts = ran(ledger)
    assert [event for event, runs in counts.items() if runs > 2] == []
    doubled = [event for event, runs in counts.items() if runs == 2]
    assert len(doubled) <= 1, "only the event whose handler was cut off may run again"


async def test_event_that_kills_its_process_is_buried(store, ledger):
    """After its attempts a poisonous delivery is kept for a person, and the rest go on."""
    tag = uuid.uuid4().hex
    poison, sound = f"{tag}-poison", f"{tag}-sound"
    for _ in range(5):
        with served(store, ledger, die_at=f"event:{poison}") as (url, process):
            if poison not in ran(ledger):
                with suppress(httpx.HTTPError):
                    deliver(url, poison)
            try:
                process.wait(4)
            except subprocess.TimeoutExpired:
                break
    with served(store, ledger) as (url, process):
        assert deliver(url, sound) == 200
        wait_until(lambda: sound in ran(ledger), what="the sound event")
        assert process.poll() is None
    assert ran(ledger)[poison] == 3

    claims = open_store(store)
    inbox = inbox_beside(claims)
    try:
        [dead] = await inbox.find(Sought(state="dead", event_id=poison))
        assert dead.attempts == 3
        assert json.loads(dead.delivery.body) == {"id": poison}
    finally:
        await inbox.aclose()
        await claims.aclose()
