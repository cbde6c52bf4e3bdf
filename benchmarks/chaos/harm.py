"""What is done to workers and store while the load runs. All of it is noted in the ledger."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable

from .app import LEASE
from .backends import Backend
from .ledger import Ledger
from .workers import Place, Pool

BETWEEN_KILLS = (1.0, 4.0)
BETWEEN_FREEZES = (2.0, 5.0)
FREEZE = (LEASE * 1.1, LEASE * 2)
BETWEEN_OUTAGES = (0.8, 2.2)
OUTAGE = (0.2, LEASE * 1.5)


class Harm:
    """Kills, freezes and outages at random times until it is cancelled, each on its own clock."""

    def __init__(self, pool: Pool, backend: Backend, ledger: Ledger, seed: int) -> None:
        self._pool = pool
        self._backend = backend
        self._ledger = ledger
        self._seed = seed

    async def run(self) -> None:
        await asyncio.gather(
            self._repeat("kill", BETWEEN_KILLS, self._kill),
            self._repeat("freeze", BETWEEN_FREEZES, self._freeze),
            self._repeat("outage", BETWEEN_OUTAGES, self._outage),
        )

    async def _repeat(
        self,
        name: str,
        between: tuple[float, float],
        harm: Callable[[random.Random], Awaitable[None]],
    ) -> None:
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
        self._ledger.write("outage")
        await asyncio.to_thread(self._backend.fail)
        await asyncio.sleep(chance.uniform(*OUTAGE))
        await asyncio.to_thread(self._backend.heal)
        self._ledger.write("healed")
