"""Webhooks deduplicated at the edge, confirmations sent once by a real Celery worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from webhook_dedup import Source, WebhookDedup, once
from webhook_dedup.providers import sign

from ..asgi.kit import TestClient
from ..binaries import redis_binaries
from ..servers import RedisServer, wait_until

SECRET = "a secret"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def broker():
    """A Redis of the test's own: queues have names that are always the same."""
    with RedisServer(redis_binaries()[-1]) as server:
        yield server.url


@contextmanager
def working(broker, store, ledger):
    """Run a Celery worker with two processes; yield the environment of those who send tasks."""
    environment = {**os.environ, "BROKER": broker, "STORE": store, "LEDGER": str(ledger)}
    log = ledger.with_name("worker.log")
    with log.open("wb") as out:
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "--app", "tests.once.tasks", "worker"),
                *("--concurrency", "2", "--loglevel", "info", "--without-gossip"),
            ],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        wait_until(lambda: b" ready." in log.read_bytes(), what="the worker")
        yield
    finally:
        worker.terminate()
        worker.wait(30)


def shop(broker, store):
    """An app that hands each order to the worker."""
    from celery import Celery

    celery = Celery("shop", broker=broker)

    async def paid(request):
        event = await request.json()
        # A broker delivers at least once too: here each task is sent twice.
        for _ in range(2):
            celery.send_task("tests.once.tasks.confirm", [event["order"], event["dies"]])
        return Response("queued")

    app = Starlette(routes=[Route("/paid", paid, methods=["POST"])])
    source = Source("generic", name="paid", path="/paid", event_id="id", secret=SECRET)
    app.add_middleware(WebhookDedup, store=store, sources=[source])
    return app


def test_confirmations_are_sent_once(broker, lasting_url, tmp_path):
    """Every order is confirmed once, though events and tasks come twice and workers are killed."""
    ledger = tmp_path / "ledger"
    ledger.touch()
    orders = [f"{number}-{os.getpid()}" for number in range(6)]
    with working(broker, lasting_url, ledger), TestClient(shop(broker, lasting_url)) as client:
        for order in orders * 2:
            body = json.dumps({"id": f"evt_{order}", "order": order, "dies": order < "2"}).encode()
            headers = sign("generic", secret=SECRET, body=body)
            assert client.post("/paid", content=body, headers=headers).status_code == 200
        wait_until(lambda: len(ledger.read_text().split("\n")) > len(orders), what="all of them")
        _let_the_queue_run_dry(broker)
    keys = {
        order: once(lasting_url, f"order-{order}-confirmation").idempotency_key for order in orders
    }
    sent = Counter(ledger.read_text().splitlines())
    assert len(list(tmp_path.glob("*.killed"))) == 2
    assert sent == {f"{order} {key}": 1 for order, key in keys.items()}


def _let_the_queue_run_dry(broker):
    import redis

    with redis.Redis.from_url(broker) as client:
        quiet = lambda: not client.llen("celery") and not client.hlen("unacked")  # noqa: E731 - asked again and again
        wait_until(quiet, what="an empty queue")
