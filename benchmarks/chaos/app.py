"""The served app: two sources over one store, a handler with an effect, and points to die at."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import random
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from webhook_dedup import Dedup, Policy, Retries, Source, WebhookDedup, event_of, open_store
from webhook_dedup.inbox import inbox_beside

from . import points
from .effects import InLedger, InTransaction
from .ledger import Ledger
from .points import Doom, Fate

HOST = "127.0.0.1"
SECRET = "chaos"
PATHS = {"first": "/first", "claimed": "/claimed"}
LEASE = 3.0
# So many attempts that kills do not use them up: a dead letter would count as lost.
RETRIES = Retries(attempts=50, initial=0.2, factor=1.5, maximum=2.0)
SHARE_OF_LONG_RUNS = 0.05

Verb = Callable[[Sequence[Any]], Awaitable[Any]]


@dataclass(frozen=True)
class Shared:
    """What all server processes of a trial are told.

    Attributes:
        store: URL of the store, with the inbox beside it.
        directory: Where ledger and logs are kept.
        concurrency: How many handlers a process runs at once.
        effects: URL of the database for effects, empty if they go to the ledger.
    """

    store: str
    directory: Path
    concurrency: int
    effects: str

    @property
    def effect(self) -> str:
        return "transaction" if self.effects else "ledger"

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    @property
    def calm(self) -> Path:
        """A file that is there once nobody is to die any more."""
        return self.directory / "calm"


@dataclass(frozen=True)
class Worker:
    """What one server process is told: what it shares, where it listens and where it dies."""

    shared: Shared
    port: int
    doom: Doom
    seed: int


def serve(worker: Worker) -> None:
    """Run one server process until it is killed or its parent is gone."""
    _keep_log(worker.shared.directory / f"log-{worker.port}")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    uvicorn.run(build(worker), host=HOST, port=worker.port, log_config=None, access_log=False)


def build(worker: Worker) -> Starlette:
    shared = worker.shared
    ledger = Ledger(shared.ledger)
    fate = Fate(worker.doom, ledger, shared.calm)
    store = open_store(shared.store)
    inbox = inbox_beside(store)
    inbox.put = _between(inbox.put, fate, points.BEFORE_PUT, points.AFTER_PUT)
    inbox.begin = _between(inbox.begin, fate, "", points.BEFORE_HANDLER)
    inbox.done = _between(inbox.done, fate, points.BEFORE_DONE, "")
    store.complete = _noting(store.complete, fate, ledger)
    sources = [
        Source("generic", name=ack, path=path, event_id="id", secret=SECRET, ack=ack)
        for ack, path in PATHS.items()
    ]
    policy = Policy(lease=LEASE, retries=RETRIES, max_in_flight=shared.concurrency)
    dedup = Dedup(store, sources=sources, inbox=inbox, policy=policy)
    effect = InTransaction(shared.effects, ledger, fate) if shared.effects else InLedger(ledger)
    handler = _handler(effect, ledger, fate, random.Random(worker.seed))
    app = Starlette(routes=[Route(path, handler, methods=["POST"]) for path in PATHS.values()])
    app.add_middleware(WebhookDedup, dedup=dedup)
    return app


def _handler(
    effect: InLedger | InTransaction, ledger: Ledger, fate: Fate, chance: random.Random
) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        event = event_of(request).id
        ledger.write("began", id=event)
        try:
            await asyncio.sleep(_duration(chance))
            fate.reach(points.IN_HANDLER, event)
            await effect.happen(event)
            await asyncio.sleep(_duration(chance))
        except asyncio.CancelledError:
            ledger.write("cut off", id=event)
            raise
        return Response("done")

    return handler


def _duration(chance: random.Random) -> float:
    """Mostly a moment, now and then so long that leases must be renewed."""
    if chance.random() < SHARE_OF_LONG_RUNS:
        return chance.uniform(LEASE / 2, LEASE)
    return chance.uniform(0.01, 0.1)


def _between(verb: Verb, fate: Fate, before: str, after: str) -> Verb:
    """Make a verb of an inbox a place to die before or after it."""

    async def passed(items: Sequence[Any], *more: Any) -> Any:
        fate.reach(before, items[0].event_id)
        answer = await verb(items, *more)
        fate.reach(after, items[0].event_id)
        return answer

    return passed


def _noting(complete: Verb, fate: Fate, ledger: Ledger) -> Verb:
    """Make completion a place to die before it, and note what came of it."""

    async def noted(done: Sequence[Any]) -> Sequence[bool]:
        events = [settlement.key.rpartition(":")[2] for settlement in done]
        fate.reach(points.BEFORE_COMPLETE, events[0])
        answers = await complete(done)
        for event, completed in zip(events, answers, strict=True):
            ledger.write("completed" if completed else "refused", id=event)
        return answers

    return noted


def _keep_log(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.WARNING, force=True, format="%(asctime)s %(message)s")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
