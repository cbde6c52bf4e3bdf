"""What do copies cost, with and without the cache of keys known done?"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice

from webhook_dedup.bench.load import Operation
from webhook_dedup.bench.operations import LEASE, TTL, new_keys, opened
from webhook_dedup.coalesce import Coalescer
from webhook_dedup.model import Bid, Settlement, new_token
from webhook_dedup.stores import SeenCache

from .lab import Contestant, Lab, Row, compare, opening

KNOWN = 1_000


@asynccontextmanager
async def copies(url: str, share: float, cached: bool) -> AsyncIterator[Operation]:
    """Claim keys of which a share is done already; complete those that are new."""
    async with opened(url) as bare:
        store = SeenCache(bare) if cached else bare
        verbs, keys, dice = Coalescer(store), new_keys(), random.Random(1)
        known = list(islice(keys, KNOWN))
        claims = await store.claim([Bid(key, new_token(), LEASE) for key in known])
        await store.complete([Settlement(claim, TTL) for claim in claims])

        async def claim() -> None:
            key = dice.choice(known) if dice.random() < share else next(keys)
            if isinstance(store, SeenCache) and store.peek(key) is not None:
                return  # as the middleware asks it, before it bids
            answer = await verbs.claim(Bid(key, new_token(), LEASE))
            if answer.fresh:
                await verbs.complete(Settlement(answer, TTL))

        yield claim


async def ask(lab: Lab) -> list[Row]:
    rows: list[Row] = []
    for share in lab.scale.shares:
        contestants = [
            Contestant(
                f"webhook_dedup {name}{', seen-cache' if cached else ''}",
                opening(copies, url, share, cached),
                server,
            )
            for name, url, server in (
                ("redis", lab.redis.url, lab.redis),
                ("postgres", lab.postgres.url, lab.postgres),
                ("sqlite", lab.sqlite(), None),
            )
            for cached in (False, True)
        ]
        rows += await compare(lab, "duplicates", contestants, 64, share=share)
    return rows
