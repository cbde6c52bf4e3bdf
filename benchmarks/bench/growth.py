"""Does a claim cost more when many keys are stored?

Each size is a place of its own (a database in Redis, a table, a file), all of them there at the
same time, so that they are measured in turns. What a turn claims is released after it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
)
from functools import partial
from itertools import islice

import asyncpg
import redis

from tests.servers import Server
from webhook_dedup.bench.operations import LEASE, new_keys
from webhook_dedup.coalesce import Coalescer
from webhook_dedup.contracts import Store
from webhook_dedup.model import Bid, Claim, new_token
from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.stores.sql import SqlStore

from .lab import Contestant, Lab, Row, compare, opening, plainly
from .ours import OURS

TASKS = 64
PORTION = 200_000
AT_ONCE = 1_000
BACK_TO_SIZE = 100_000  # below, a table would soon hold more that was released than is stored
# Postgres writes a page whole into its log when it is first changed after a checkpoint. Under a
# load that goes on for minutes that is rare: nearly every page of the index is changed once before.
KEYS_A_TOUCH = 70
# Done keys as the stores write them, of 45 characters, in the order of their digests, which are
# spread over the whole range.
FILL_REDIS = """
local value = 'done ' .. string.rep('t', 32) .. ' 1700000000000 - 9999999999999'
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  redis.call('SET', KEYS[1] .. string.format('%032x', i), value, 'PX', 864000000)
end
"""
FILL_POSTGRES = """
INSERT INTO {table} (digest, key, token, done, first_seen, expires_at)
SELECT decode(lpad(to_hex((n - CASE WHEN 2 * n < $3 THEN 0 ELSE $3 END) * $4), 16, '0')
              || left(md5(n::text), 16), 'hex'),
       'webhook:fill:' || lpad(n::text, 32, '0'), md5(n::text), true, 1700000000, 9999999999 + n
FROM generate_series($1::bigint, $2::bigint) AS n
"""
WITHOUT_INDEXES = """
ALTER TABLE {table} DROP CONSTRAINT {table}_pkey; DROP INDEX {table}_expires_at
"""
WITH_INDEXES = """
ALTER TABLE {table} ADD PRIMARY KEY (digest);
CREATE INDEX {table}_expires_at ON {table} (expires_at)
"""
FILL_SQLITE = """
INSERT INTO webhook_dedup_claims (digest, key, token, done, first_seen, expires_at)
VALUES (?, ?, ?, true, 1700000000, ?)
"""


class Claims:
    """Claims new keys, and releases what it claimed."""

    def __init__(self, store: Store, restore: Callable[[], Awaitable[None]] | None = None) -> None:
        self.store = store
        self.restore = restore
        self.verbs = Coalescer(store)
        self.keys = new_keys()
        self.held: list[Claim] = []

    async def __call__(self) -> None:
        claim = await self.verbs.claim(Bid(next(self.keys), new_token(), LEASE))
        assert claim.fresh
        self.held.append(claim)

    async def touch(self, number: int) -> None:
        """Claim so many keys in large batches, and release them."""
        for _ in range(0, number, AT_ONCE):
            bids = [Bid(key, new_token(), LEASE) for key in islice(self.keys, AT_ONCE)]
            self.held += await self.store.claim(bids)
        await self.release()

    async def release(self) -> None:
        held, self.held = self.held, []
        for start in range(0, len(held), AT_ONCE):
            await self.store.release(held[start : start + AT_ONCE])
        if self.restore is not None:
            await self.restore()


Filled = Callable[[Lab, int, int], AbstractAsyncContextManager[Claims]]


async def ask(lab: Lab) -> list[Row]:
    contestants = []
    async with AsyncExitStack() as stack:
        for name, (filled, server) in _kinds(lab).items():
            for place, number in enumerate(lab.scale.growth):
                lab.tell(f"growth: {name}, filling up to {number:,} keys")
                claims = await stack.enter_async_context(filled(lab, place, number))
                contestants.append(
                    Contestant(
                        f"{OURS} {name}", opening(plainly, claims), server,
                        {"keys": number}, claims.release,
                    )
                )  # fmt: skip
        lab.tell("growth: what was filled is written to the disk")
        await asyncio.to_thread(os.sync)  # else that goes on beneath what is measured
        return await compare(lab, "growth", contestants, TASKS)


def _kinds(lab: Lab) -> dict[str, tuple[Filled, Server | None]]:
    return {
        "redis": (_redis, lab.redis),
        "postgres": (_postgres, lab.postgres),
        "sqlite": (_sqlite, None),
    }


@asynccontextmanager
async def _redis(lab: Lab, place: int, number: int) -> AsyncIterator[Claims]:
    url = f"{lab.redis.url.rpartition('/')[0]}/{place + 1}"
    client = redis.Redis.from_url(url)
    store = RedisStore.from_url(url)
    try:
        for first, last in _portions(number, PORTION // 10):
            await asyncio.to_thread(
                client.eval, FILL_REDIS, 1, "webhook_dedup:k:webhook:fill:", first, last
            )
        await store.start()
        yield Claims(store)
    finally:
        await store.aclose()
        client.flushdb(asynchronous=True)
        client.close()


@asynccontextmanager
async def _postgres(lab: Lab, place: int, number: int) -> AsyncIterator[Claims]:
    table = f"growth_{place}_claims"
    store = SqlStore.from_url(lab.postgres.url, table=table)
    connection = await asyncpg.connect(lab.postgres.url)
    try:
        await store.start()
        await connection.execute(WITHOUT_INDEXES.format(table=table))
        for first, last in _portions(number, PORTION):
            values = (first, last, number, 2**63 // number)
            await connection.execute(FILL_POSTGRES.format(table=table), *values)
        await connection.execute(WITH_INDEXES.format(table=table))
        await connection.execute(f"VACUUM ANALYZE {table}")
        await connection.execute("CHECKPOINT")
        claims = Claims(store, partial(_vacuum, connection, table, number))
        await claims.touch(number // KEYS_A_TOUCH)
        yield claims
    finally:
        await store.aclose()
        await connection.execute(f"DROP TABLE {table}, {table}_version")
        await connection.close()


async def _vacuum(connection: asyncpg.Connection, table: str, number: int) -> None:
    if number < BACK_TO_SIZE:
        await connection.execute(f"VACUUM {table}")


@asynccontextmanager
async def _sqlite(lab: Lab, _: int, number: int) -> AsyncIterator[Claims]:
    url = lab.sqlite()
    store = SqlStore.from_url(url)
    try:
        await store.start()
        await asyncio.to_thread(_fill_sqlite, url.removeprefix("sqlite:///"), number)
        yield Claims(store)
    finally:
        await store.aclose()


def _fill_sqlite(path: str, number: int) -> None:
    step = 2**128 // number

    def row(n: int) -> tuple[bytes, str, str, float]:
        return (n * step).to_bytes(16, "big"), f"webhook:fill:{n:032}", f"{n:032x}", 1e10 + n

    with closing(sqlite3.connect(path)) as file:
        for first, last in _portions(number, PORTION):
            with file:
                file.executemany(FILL_SQLITE, map(row, range(first - 1, last)))


def _portions(number: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(1, number + 1, size):
        yield first, min(first + size - 1, number)
