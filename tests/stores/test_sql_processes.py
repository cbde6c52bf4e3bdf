"""Several processes on one database."""

import asyncio
import multiprocessing
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.stores import sql_support
from tests.stores.sql_support import session
from webhook_dedup.model import Bid, Settlement, new_token
from webhook_dedup.stores.sql import SqlStore
from webhook_dedup.testing.store_rules.case import LONG_LEASE

url = sql_support.url

PROCESSES = 4
TASKS = 25
KEYS = [f"key {number}" for number in range(40)]
BATCH = 8
ROUNDS = 12
PATIENCE = 120.0
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@pytest.fixture
def spawn():
    """Run a coroutine function in several processes that set out together."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(PROCESSES, context) as pool:
        barrier = manager.Barrier(PROCESSES, timeout=PATIENCE)

        def run(work, url):
            parts = [pool.submit(_enter, work, url, barrier, seed) for seed in range(PROCESSES)]
            return [part.result(PATIENCE) for part in parts]

        yield run


def _enter(work, url, barrier, seed):
    random.seed(seed)
    barrier.wait()
    return asyncio.run(work(url))


async def race(url):
    """Claim every key in every task, some at a time; return the keys that were granted."""
    store = SqlStore.from_url(url, timeout=PATIENCE)
    granted = await asyncio.gather(*(claim_all(store) for _ in range(TASKS)))
    await store.aclose()
    return [key for keys in granted for key in keys]


async def claim_all(store):
    keys = random.sample(KEYS, len(KEYS))
    granted = []
    for start in range(0, len(keys), BATCH):
        batch = [Bid(key, new_token(), LONG_LEASE) for key in keys[start : start + BATCH]]
        granted += [claim.key for claim in await store.claim(batch) if claim.fresh]
    return granted


async def churn(url):
    """Claim, renew, and settle overlapping batches, each in an order of its own."""
    store = SqlStore.from_url(url, timeout=PATIENCE)
    await asyncio.gather(*(churn_once(store) for _ in range(3)))
    await store.aclose()


async def churn_once(store):
    for _ in range(ROUNDS):
        keys = random.sample(KEYS, len(KEYS))
        claims = await store.claim([Bid(key, new_token(), LONG_LEASE) for key in keys])
        random.shuffle(claims)
        await store.renew(claims, LONG_LEASE)
        await store.complete([Settlement(claim, 0.01) for claim in claims[::2]])
        await store.release(claims)


def test_each_key_is_granted_to_one_process(url, spawn):
    """Many tasks of several processes that start at once on no tables: one FRESH a key."""
    granted = Counter(key for keys in spawn(race, url) for key in keys)
    assert granted == Counter(KEYS)


async def test_overlapping_batches_do_not_deadlock(postgres_url, spawn):
    """Batches that overlap in every order never wait for each other in a circle."""
    async with session(postgres_url) as connection:
        before = await connection.fetchval(DEADLOCKS)
        await asyncio.to_thread(spawn, churn, postgres_url)
        assert await connection.fetchval(DEADLOCKS) == before
