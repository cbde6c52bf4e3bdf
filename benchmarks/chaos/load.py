"""The sender: a provider that sends each event up to three times, each until it gets a 200."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence

import httpx

from webhook_dedup.providers import sign

from .app import HOST, PATHS, SECRET

LIGHTEST, HEAVIEST = 2, 8  # senders
PAUSE = 0.15
COPIES = 3
TRIES = 60
ANSWER_LIMIT = 3.0
OK = 200


class Sender:
    """Sends events over several connections to all ports.

    Args:
        ports: Where the server processes listen.
        handlers: How many handlers run at once; the fewer, the lighter the load.
        chance: Decides what is sent where and when.

    Attributes:
        acknowledged: Ids of the events that got a 200.
        answers: How often each status came, and ``"none"`` where none did.
        sent: How many events there were.
    """

    def __init__(self, ports: Sequence[int], handlers: int, chance: random.Random) -> None:
        self._ports = ports
        self._senders = max(LIGHTEST, min(handlers, HEAVIEST))
        self._pause = PAUSE * HEAVIEST / self._senders
        self._chance = chance
        self.acknowledged: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.sent = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop, then see those under way to their end."""
        # No connection is kept: a worker that runs a handler would make the next delivery wait.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=ANSWER_LIMIT, limits=limits) as client:
            await asyncio.gather(*(self._send_events(client, stop) for _ in range(self._senders)))

    async def _send_events(self, client: httpx.AsyncClient, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.sent += 1
            event, path = f"evt-{self.sent}", self._chance.choice(list(PATHS.values()))
            copies = self._chance.randint(1, COPIES)
            await asyncio.gather(*(self._deliver(client, event, path) for _ in range(copies)))
            await asyncio.sleep(self._chance.uniform(0, 2 * self._pause))

    async def _deliver(self, client: httpx.AsyncClient, event: str, path: str) -> None:
        body = json.dumps({"id": event}).encode()
        for _ in range(TRIES):
            url = f"http://{HOST}:{self._chance.choice(self._ports)}{path}"
            if await self._post(client, url, body) == OK:
                self.acknowledged.add(event)
                return
            await asyncio.sleep(self._chance.uniform(0.1, 0.5))

    async def _post(self, client: httpx.AsyncClient, url: str, body: bytes) -> int | None:
        signed = sign("generic", secret=SECRET, body=body)
        try:
            status = (await client.post(url, content=body, headers=signed)).status_code
        except httpx.HTTPError:
            status = None
        self.answers[str(status or "none")] += 1
        return status
