"""What is done to workers and store while the load runs. All of it is noted in the ledger."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable

from .app import LEASE
from .backends import Backend
from .cuts import Cutter
from .ledger import Ledger
from .workers import Place, Pool

Span = tuple[float, float]
Harming = Callable[[random.Random], Awaitable[None]]

BETWEEN_KILLS = (0.8, 3.0)
BETWEEN_FREEZES = (2.0, 5.0)
BETWEEN_OUTAGES = (0.8, 2.2)
BETWEEN_FULL_DISKS = (4.0, 9.0)
BETWEEN_CUTS = (0.3, 1.0)
FREEZE = (LEASE * 1.1, LEASE * 2)
# Nothing in between: whether such an outage ends a lease is decided by when it was last renewed.
SHORT, LONG = (0.1, LEASE / 5), (LEASE * 1.05, LEASE * 1.5)
SHARE_OF_LONG = 0.3


class Harm:
    """Harms at random times until it is cancelled, each kind on its own clock.

    Args:
        pool: The workers.
        backend: Their store.
        cutter: What their connections go through, if they have any.
        ledger: Takes the notes.
        seed: Decides when and how.
    """

    def __init__(
        self, pool: Pool, backend: Backend, cutter: Cutter | None, ledger: Ledger, seed: int
    ) -> None:
        self._pool = pool
        self._backend = backend
        self._cutter = cutter
        self._ledger = ledger
        self._seed = seed
        self._store = asyncio.Lock()  # one thing at a time is the matter with it
        self._killed = asyncio.Event()
        self._healed = asyncio.Event()

    async def struck(self) -> None:
        """Return when a process has been killed, and the store been away, at least once."""
        await asyncio.gather(self._killed.wait(), self._healed.wait())

    async def run(self) -> None:
        harms: list[tuple[str, Span, Harming]] = [
            ("kill", BETWEEN_KILLS, self._kill),
            ("freeze", BETWEEN_FREEZES, self._freeze),
            ("outage", BETWEEN_OUTAGES, self._outage),
        ]
        if not self._backend.lacking:
            harms.append(("full", BETWEEN_FULL_DISKS, self._full))
        if self._cutter is not None:
            harms.append(("cut", BETWEEN_CUTS, self._cut))
        await asyncio.gather(*(self._repeat(*harm) for harm in harms))

    async def _repeat(self, name: str, between: Span, harm: Harming) -> None:
        chance = random.Random(f"{name}-{self._seed}")
        while True:
            await asyncio.sleep(chance.uniform(*between))
            harming = asyncio.ensure_future(harm(chance))
            try:
                await asyncio.shield(harming)
            finally:
                # Never left half done: the frozen shall wake, and the store be there at the end.
                await asyncio.wait([harming])

    async def _kill(self, chance: random.Random) -> None:
        place = chance.choice(self._pool.places)
        if place.pid is not None and not place.frozen:  # what is frozen shall wake up
            self._ledger.write("kill", pid=place.pid, point="at random")
            place.signal(signal.SIGKILL)
            self._killed.set()

    async def _freeze(self, chance: random.Random) -> None:
        place, length = chance.choice(self._pool.places), chance.uniform(*FREEZE)
        if place.pid is not None:
            await self._freeze_for(place, place.pid, length)

    async def _freeze_for(self, place: Place, pid: int, length: float) -> None:
        self._ledger.write("frozen", pid=pid)
        place.frozen = True
        place.signal(signal.SIGSTOP)
        await asyncio.sleep(length)
        place.signal(signal.SIGCONT)
        place.frozen = False
        self._ledger.write("thawed", pid=pid)

    async def _outage(self, chance: random.Random) -> None:
        async with self._store:
            self._ledger.write("outage")
            await asyncio.to_thread(self._backend.fail)
            await asyncio.sleep(_length(chance))
            await asyncio.to_thread(self._backend.heal)
            self._ledger.write("healed")
            self._healed.set()

    async def _full(self, chance: random.Random) -> None:
        async with self._store:
            self._ledger.write("full")
            await asyncio.to_thread(self._backend.fill)
            await asyncio.sleep(_length(chance))
            await asyncio.to_thread(self._backend.empty)
            self._ledger.write("emptied")

    async def _cut(self, chance: random.Random) -> None:
        if self._cutter is not None and await self._cutter.cut_one(chance):
            self._ledger.write("cut")


def _length(chance: random.Random) -> float:
    return chance.uniform(*(LONG if chance.random() < SHARE_OF_LONG else SHORT))
