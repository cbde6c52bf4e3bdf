"""How many new keys can be claimed a second, and at what cost?"""

from __future__ import annotations

import time

from webhook_dedup.bench.operations import LEASE, claiming, new_keys, opened
from webhook_dedup.model import Bid, new_token

from .by_hand import all_by_hand
from .lab import Lab, Row, compare
from .ours import every_store


async def ask(lab: Lab) -> list[Row]:
    rows: list[Row] = []
    for tasks in lab.scale.tasks:
        contestants = every_store(lab, claiming) + all_by_hand(lab)
        rows += await compare(lab, "claims", contestants, tasks)
    return [*rows, await _batches_in_memory(lab)]


async def _batches_in_memory(lab: Lab) -> Row:
    """The memory store alone, without callers: batches of 64 new keys."""
    lab.tell("claims: batches of 64 in memory")
    keys = new_keys()
    taken = []
    async with opened("memory://") as store:
        for _ in range(500 * lab.scale.rounds):
            bids = [Bid(next(keys), new_token(), LEASE) for _ in range(64)]
            began = time.process_time()
            await store.claim(bids)
            taken.append(1e6 * (time.process_time() - began) / 64)
    taken.sort()
    return {
        "question": "memory batch",
        "who": "webhook_dedup memory",
        "client_us": taken[len(taken) // 2],
        "worst_us": taken[-1],
    }
