"""This library's part of every comparison."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from webhook_dedup.bench.load import Operation
from webhook_dedup.bench.operations import opened
from webhook_dedup.contracts import Store

from .lab import Contestant, Lab, opening

OURS = "webhook_dedup"


@asynccontextmanager
async def through(url: str, operation: Callable[[Store], Operation]) -> AsyncIterator[Operation]:
    async with opened(url) as store:
        yield operation(store)


def every_store(lab: Lab, operation: Callable[[Store], Operation]) -> list[Contestant]:
    """Each store of this library, doing the same."""
    places = {
        "redis": (lab.redis.url, lab.redis),
        "postgres": (lab.postgres.url, lab.postgres),
        "sqlite": (lab.sqlite(), None),
        "memory": ("memory://", None),
        "bloom": ("bloom://?capacity=10000000", None),
    }
    return [
        Contestant(f"{OURS} {name}", opening(through, url, operation), server)
        for name, (url, server) in places.items()
    ]
