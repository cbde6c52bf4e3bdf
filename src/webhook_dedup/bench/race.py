"""Whether a store grants each key exactly once, under a race of tasks and of processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice

from ..contracts import Store
from ..model import Bid, new_token
from .operations import LEASE, new_keys, opened

__all__ = ["Verdict", "race", "race_processes"]

KEYS = 2_000
COPIES = 4
AT_ONCE = 256
_HEAD_START = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a race for new keys.

    Attributes:
        keys: How many were raced for.
        claims: How many claims were made.
        missed: Claims granted beyond the first of a key: handlers that would have run twice.
        skipped: Keys granted to nobody: events that would have been lost.
    """

    keys: int
    claims: int
    missed: int
    skipped: int


async def race(store: Store) -> Verdict:
    """Let tasks of this process race for each key."""
    names = _names()
    granted = await asyncio.gather(*(_claim_all(store, names) for _ in range(COPIES)))
    return _judge(names, granted)


async def race_processes(url: str) -> Verdict:
    """Let processes race for each key, in batches that overlap."""
    names = _names()
    starts_at = time.time() + _HEAD_START
    context = multiprocessing.get_context("spawn")
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(COPIES, mp_context=context) as pool:
        racers = [
            loop.run_in_executor(pool, _race_here, url, names, starts_at) for _ in range(COPIES)
        ]
        return _judge(names, await asyncio.gather(*racers))


def _names() -> list[str]:
    return list(islice(new_keys("webhook:race"), KEYS))


def _race_here(url: str, names: Sequence[str], starts_at: float) -> list[str]:
    async def run() -> list[str]:
        async with opened(url) as store:
            await asyncio.sleep(max(0.0, starts_at - time.time()))
            return await _claim_all(store, names)

    return asyncio.run(run())


async def _claim_all(store: Store, names: Sequence[str]) -> list[str]:
    granted: list[str] = []
    for start in range(0, len(names), AT_ONCE):
        bids = [Bid(name, new_token(), LEASE) for name in names[start : start + AT_ONCE]]
        granted += [claim.key for claim in await store.claim(bids) if claim.fresh]
        await asyncio.sleep(0)
    return granted


def _judge(names: Sequence[str], granted: Sequence[Sequence[str]]) -> Verdict:
    times = Counter(name for part in granted for name in part)
    missed = sum(number - 1 for number in times.values())
    return Verdict(len(names), len(names) * len(granted), missed, len(names) - len(times))
