"""The same claim as people write it by hand: one command or one statement each.

They do less: no token, no fencing, no fingerprint, and a retry after a lost reply is told that the
key exists.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosqlite
import asyncpg
import redis.asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from webhook_dedup.bench.load import Operation
from webhook_dedup.bench.operations import LEASE, new_keys

from .lab import Contestant, Lab, opening

CONNECTIONS = 16
TABLE = (
    "CREATE TABLE IF NOT EXISTS by_hand (key text PRIMARY KEY, gone_at double precision NOT NULL)"
)
NOW = "extract(epoch FROM clock_timestamp())"
UPSERT = f"""
INSERT INTO by_hand VALUES ($1, {NOW} + $2) ON CONFLICT (key)
DO UPDATE SET gone_at = excluded.gone_at WHERE by_hand.gone_at <= {NOW} RETURNING key
"""
SQLITE_UPSERT = """
INSERT INTO by_hand VALUES (?, ?) ON CONFLICT (key)
DO UPDATE SET gone_at = excluded.gone_at WHERE by_hand.gone_at <= ? RETURNING key
"""


@asynccontextmanager
async def redis_py(url: str) -> AsyncIterator[Operation]:
    """``SET key 1 NX EX`` over redis-py's pool, large enough never to be full."""
    keys = new_keys("byhand:bench")
    async with redis.asyncio.Redis.from_url(url, max_connections=1024) as client:

        async def claim() -> None:
            assert await client.set(next(keys), "1", nx=True, ex=int(LEASE))

        yield claim


@asynccontextmanager
async def redis_pair(url: str) -> AsyncIterator[Operation]:
    """Claim, and complete with a second ``SET``."""
    keys = new_keys("byhand:bench")
    async with redis.asyncio.Redis.from_url(url, max_connections=1024) as client:

        async def claim_and_complete() -> None:
            key = next(keys)
            assert await client.set(key, "held", nx=True, ex=int(LEASE))
            await client.set(key, "done", ex=3600)

        yield claim_and_complete


@asynccontextmanager
async def asyncpg_pool(url: str) -> AsyncIterator[Operation]:
    keys = new_keys("byhand:bench")
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        await pool.execute(TABLE)

        async def claim() -> None:
            assert await pool.fetchval(UPSERT, next(keys), LEASE)

        yield claim


@asynccontextmanager
async def sqlalchemy_pool(url: str) -> AsyncIterator[Operation]:
    keys = new_keys("byhand:bench")
    address = url.replace("postgresql", "postgresql+asyncpg")
    engine = create_async_engine(address, pool_size=CONNECTIONS, max_overflow=0)
    statement = text(UPSERT.replace("$1", ":key").replace("$2", "cast(:lease AS double precision)"))

    async def claim() -> None:
        async with engine.begin() as connection:
            answer = await connection.execute(statement, {"key": next(keys), "lease": LEASE})
            assert answer.scalar()

    async with engine.begin() as connection:
        await connection.execute(text(TABLE))
    try:
        yield claim
    finally:
        await engine.dispose()


@asynccontextmanager
async def aiosqlite_alone(url: str) -> AsyncIterator[Operation]:
    keys = new_keys("byhand:bench")
    path = url.removeprefix("sqlite:///")
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await connection.execute("PRAGMA journal_mode=WAL")
        await connection.execute("PRAGMA synchronous=FULL")
        await connection.execute(TABLE)

        async def claim() -> None:
            now = time.time()
            given = (next(keys), now + LEASE, now)
            async with connection.execute(SQLITE_UPSERT, given) as cursor:
                assert await cursor.fetchone()

        yield claim


def all_by_hand(lab: Lab) -> list[Contestant]:
    return [
        Contestant("redis-py SET NX", opening(redis_py, lab.redis.url), lab.redis),
        Contestant("asyncpg pool", opening(asyncpg_pool, lab.postgres.url), lab.postgres),
        Contestant("SQLAlchemy pool", opening(sqlalchemy_pool, lab.postgres.url), lab.postgres),
        Contestant("aiosqlite", opening(aiosqlite_alone, lab.sqlite())),
    ]
