"""Makes what was written look as if it had been written long ago."""

from __future__ import annotations

from sqlalchemy import text

__all__ = ["age", "expiries"]


async def age(history, seconds):
    """Let all that a history keeps have been written so many seconds before."""
    ledger = history._ledger
    if ledger.name == "redis":
        written = ledger._base + b"written"
        for page_id in await ledger._wire.client.zrange(written, 0, -1):
            await ledger._wire.client.zincrby(written, -seconds * 1_000_000, page_id)
        return

    async def write(connection):
        table = ledger._statements._pages.name
        statement = text(f"UPDATE {table} SET written = written - :seconds")
        await connection.execute(statement, {"seconds": seconds})

    await ledger._database.work(write)


async def expiries(history):
    """The seconds for which each key of a history in Redis lasts; elsewhere nothing expires."""
    ledger = history._ledger
    if ledger.name != "redis":
        return {}
    client = ledger._wire.client
    keys = [key async for key in client.scan_iter(match=ledger._base + b"*", count=1000)]
    return {key: await client.ttl(key) for key in keys}
