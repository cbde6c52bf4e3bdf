"""A script that does something once while its store is away: ``script.py DOOR SECONDS``."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading

from webhook_dedup import Dedup, once, operation
from webhook_dedup.testing import FailingStore

operation.SETTLE_PATIENCE = 0.1


def main(door: str, seconds: float) -> None:
    logging.basicConfig(level=logging.INFO)
    store = FailingStore()
    store.away("complete")
    back = threading.Timer(seconds, store.back)
    back.daemon = True
    back.start()
    dedup = Dedup(store)
    if door == "sync":
        with once.sync(dedup, "letter", lease=2) as first:
            assert first
    else:
        asyncio.run(send(dedup))


async def send(dedup: Dedup) -> None:
    async with once(dedup, "letter", lease=2) as first:
        assert first


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
