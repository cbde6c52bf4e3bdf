"""The server processes: each is started again as soon as it is dead."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
from contextlib import suppress
from multiprocessing.context import ForkServerProcess

from tests.ports import free_port, reserve_port

from .app import Shared, Worker, serve
from .ledger import Ledger
from .points import Doom

LOOK_AGAIN = 0.02
START_AGAIN = 0.3  # after a start that failed because the store was away

_fork = multiprocessing.get_context("forkserver")
# What a worker would load only when it is used; so a restart takes moments, not seconds.
_fork.set_forkserver_preload(
    [
        "benchmarks.chaos.app",
        "aiosqlite",
        "asyncpg",
        "sqlalchemy.dialects.postgresql.asyncpg",
        "sqlalchemy.dialects.sqlite.aiosqlite",
        "webhook_dedup.transaction",
        "uvicorn.lifespan.on",
        "uvicorn.loops.auto",
        "uvicorn.protocols.http.auto",
        "uvicorn.protocols.websockets.auto",
        "webhook_dedup.inbox.redis",
        "webhook_dedup.inbox.sql",
        "webhook_dedup.stores.redis",
        "webhook_dedup.stores.sql",
    ]
)


class Place:
    """A port, and the process that serves it at present."""

    def __init__(self) -> None:
        self.port = reserve_port()
        self.process: ForkServerProcess | None = None
        self.frozen = False

    @property
    def pid(self) -> int | None:
        alive = self.process is not None and self.process.is_alive()
        return self.process.pid if alive else None

    def signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class Pool:
    """Keeps one process at each place, killed and joined when the block is left.

    Args:
        shared: What all of them are told.
        ledger: Takes a note of every process that started.
        count: How many there are.
        chance: Decides where each process dies.
    """

    def __init__(self, shared: Shared, ledger: Ledger, count: int, chance: random.Random) -> None:
        self._shared = shared
        self._ledger = ledger
        self._chance = chance
        self.places = [Place() for _ in range(count)]
        self.deaths = 0
        self.failed_starts = 0

    async def __aenter__(self):
        self._keepers = [asyncio.ensure_future(self._keep(place)) for place in self.places]
        return self

    async def __aexit__(self, *_: object) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for place in self.places:
            if place.process is not None:
                place.process.kill()
                place.process.join()
            free_port(place.port)

    async def _keep(self, place: Place) -> None:
        while True:
            self._start(place)
            while place.process.is_alive():  # noqa: ASYNC110 - nothing tells of a death
                await asyncio.sleep(LOOK_AGAIN)
            if place.process.exitcode == -signal.SIGKILL:
                self.deaths += 1
            else:
                self.failed_starts += 1
                await asyncio.sleep(START_AGAIN)

    def _start(self, place: Place) -> None:
        doom = Doom.draw(self._chance, self._shared.effect)
        worker = Worker(self._shared, place.port, doom, self._chance.getrandbits(32))
        place.process = _fork.Process(target=serve, args=(worker,), daemon=True)
        place.process.start()
        self._ledger.write("started", pid=place.process.pid, point=doom.point)
