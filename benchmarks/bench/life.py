"""What does the whole durable life of an event cost: put, claim, begin, complete, done?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from webhook_dedup.bench.operations import living, opened

from .lab import Contestant, Lab, Row, compare, opening
from .ours import OURS, through
from .peers import dbos_workflows

LIVES = 6_400
AT_ONCE = 64


async def ask(lab: Lab) -> list[Row]:
    places = {
        "postgres": (lab.postgres.url, lab.postgres),
        "redis, appendfsync always": (lab.durable_redis.url, lab.durable_redis),
        "sqlite": (lab.sqlite(), None),
    }
    contestants = [
        Contestant(f"{OURS} {name}", opening(through, url, living), server)
        for name, (url, server) in places.items()
    ]
    dbos = Contestant(
        "DBOS workflow, postgres", opening(dbos_workflows, lab.postgres.url), lab.postgres
    )
    logged = [
        await _logged("redis", lab.durable_redis.url, lambda: asyncio.to_thread(_aof, lab)),
        await _logged("postgres", lab.postgres.url, lambda: _wal(lab)),
    ]
    return [*await compare(lab, "whole life", [*contestants, dbos], 64), *logged]


async def _logged(name: str, url: str, written: Callable[[], Awaitable[int]]) -> Row:
    """How many bytes the log of a server grows by for each life."""
    async with opened(url) as store:
        live = living(store)
        await live()
        before = await written()
        for _ in range(LIVES // AT_ONCE):
            await asyncio.gather(*(live() for _ in range(AT_ONCE)))
        size = await written() - before
    return {"question": "log of a life", "who": f"{OURS} {name}", "bytes": size / LIVES}


async def _wal(lab: Lab) -> int:
    connection = await asyncpg.connect(lab.postgres.url)
    try:
        return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
    finally:
        await connection.close()


def _aof(lab: Lab) -> int:
    with lab.durable_redis.client() as client:
        return client.info("persistence")["aof_current_size"]
