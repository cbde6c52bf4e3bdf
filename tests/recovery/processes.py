"""Server processes with the app of this room, what they are sent, and what they leave behind."""

from __future__ import annotations

import json
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.asgi.kit import signed
from tests.asgi.processes import APP, Served
from tests.asgi.wire import request
from webhook_dedup.inbox import inbox_beside
from webhook_dedup.model import Bid, Claim, Key
from webhook_dedup.stores import open_store

OWN_APP = "tests.recovery.app:app"


class Life(Served):
    """One server process; several in one directory share a ledger.

    Args:
        directory: Where ledger and log are kept.
        kind: The ASGI server.
        arguments: More of the server's own.
        options: What the app reads from its environment, in small letters.
    """

    def __init__(
        self,
        directory: Path,
        kind: str = "uvicorn",
        arguments: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        super().__init__(kind, directory, **options)
        self._command = [*(OWN_APP if part == APP else part for part in self._command), *arguments]

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def own(self, **wanted: Any) -> list[dict[str, Any]]:
        """The lines of the ledger that hold all of these and were written by this process."""
        return self.of(pid=self.process.pid, **wanted)


def delivery(event: str, **more: Any) -> bytes:
    """A signed request."""
    body = json.dumps({"id": event, **more}).encode()
    return request("/hook", body, signed(body))


@asynccontextmanager
async def opened(url: str):
    """``(store, inbox)`` at a URL, for a look behind the back of the processes."""
    store = open_store(url)
    inbox = inbox_beside(store)
    try:
        yield store, inbox
    finally:
        await inbox.aclose()
        await store.aclose()


async def standing(url: str, event: str) -> Claim:
    """How the claim of an event stands, told by a bid for it that must not be fresh."""
    async with opened(url) as (store, _):
        key = str(Key("webhook:hook", event))
        [claim] = await store.claim([Bid(key, "onlooker", 1.0)])
        return claim
