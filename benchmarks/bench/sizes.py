"""How many bytes does a key take?"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import asyncpg

from webhook_dedup.bench.operations import TTL, new_keys, opened
from webhook_dedup.contracts import Store
from webhook_dedup.model import Bid, Settlement, new_token

from .lab import Lab, Row

AT_ONCE = 1_000


async def complete_many(store: Store, number: int) -> None:
    """Claim so many keys, and make them done."""
    keys = new_keys()
    for _ in range(0, number, AT_ONCE):
        bids = [Bid(key, new_token(), TTL) for key in islice(keys, AT_ONCE)]
        claims = await store.claim(bids)
        await store.complete([Settlement(claim, TTL) for claim in claims if claim.fresh])


async def ask(lab: Lab) -> list[Row]:
    rows: list[Row] = []
    for number in lab.scale.keys:
        for name, measure in (("redis", _redis), ("postgres", _postgres), ("sqlite", _sqlite)):
            lab.tell(f"bytes per key: {name}, {number:,} keys")
            rows.append(_row(name, number, await measure(lab, number)))
        for name in ("memory", "bloom"):
            lab.tell(f"bytes per key: {name}, {number:,} keys")
            rows.append(_row(name, number, await asyncio.to_thread(_in_process, name, number)))
    return rows


def _row(name: str, number: int, size: float) -> Row:
    return {
        "question": "bytes per key",
        "who": f"webhook_dedup {name}",
        "keys": number,
        "bytes": size / number,
    }


async def _redis(lab: Lab, number: int) -> float:
    with lab.redis.client() as client:
        client.flushall()
        before = client.info("memory")["used_memory"]
        async with opened(lab.redis.url) as store:
            await complete_many(store, number)
        used = client.info("memory")["used_memory"] - before
        client.flushall()
    return used


async def _postgres(lab: Lab, number: int) -> float:
    async with opened(lab.postgres.url) as store:
        connection = await asyncpg.connect(lab.postgres.url)
        try:
            await connection.execute(f"TRUNCATE {store.namespace}")
            await complete_many(store, number)
            await connection.execute(f"VACUUM {store.namespace}")
            return await connection.fetchval(f"SELECT pg_total_relation_size('{store.namespace}')")
        finally:
            await connection.execute(f"TRUNCATE {store.namespace}")
            await connection.close()


async def _sqlite(lab: Lab, number: int) -> float:
    url = lab.sqlite()
    async with opened(url) as store:
        await complete_many(store, number)
    return await asyncio.to_thread(_size, Path(url.removeprefix("sqlite:///")))


def _size(path: Path) -> int:
    return path.stat().st_size


def _in_process(name: str, number: int) -> float:
    """Grow a process of its own, so that nothing else is counted."""
    command = [sys.executable, "-m", "benchmarks.bench.sizes", name, str(number)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


async def _grow(name: str, number: int) -> int:
    urls = {"memory": "memory://", "bloom": f"bloom://?capacity={number}&error_rate=1e-4"}
    async with opened(urls[name]) as store:
        gc.collect()
        before = _resident()
        await complete_many(store, number)
        gc.collect()
        return _resident() - before


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(asyncio.run(_grow(sys.argv[1], int(sys.argv[2]))))
