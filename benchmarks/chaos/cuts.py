"""A proxy that loses single connections between the workers and their store."""

from __future__ import annotations

import asyncio
import random

from tests.proxy import Proxy


class Cutter(Proxy):
    """Cuts one connection after the other, with whatever is under way on it."""

    async def cut_one(self, chance: random.Random) -> bool:
        """Cut a connection, if one is open."""
        links = sorted(self._links, key=id)
        if not links:
            return False
        link = chance.choice(links)
        link.cancel()
        await asyncio.gather(link, return_exceptions=True)
        return True
