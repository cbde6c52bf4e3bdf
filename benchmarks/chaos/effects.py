"""What a handler does to the world: a line in the ledger, or a row in its own database."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Column, Integer, MetaData, Table, Text, func, make_url, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from webhook_dedup import claim_in
from webhook_dedup.transaction import create_table

from . import points
from .ledger import Ledger
from .points import Fate

EFFECTS = ("ledger", "transaction")

# Nothing keeps an event from having two rows, except that each transaction claims it first.
_rows = Table("effects", MetaData(), Column("id", Integer, primary_key=True), Column("event", Text))
_DRIVERS = {"postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
_PATIENCE = 10


def open_database(url: str) -> AsyncEngine:
    parsed = make_url(url)
    return create_async_engine(
        parsed.set(drivername=_DRIVERS[parsed.drivername]),
        pool_pre_ping=True,
        connect_args={"timeout": _PATIENCE},
    )


async def prepare(url: str) -> None:
    """Make the tables for effects in a transaction."""
    engine = open_database(url)
    async with engine.begin() as connection:
        await connection.run_sync(_rows.metadata.create_all)
        await create_table(connection)
    await engine.dispose()


async def count(url: str) -> Counter[str]:
    """How many rows each event has."""
    engine = open_database(url)
    async with engine.connect() as connection:
        grouped = select(_rows.c.event, func.count()).group_by(_rows.c.event)
        counts = (await connection.execute(grouped)).all()
    await engine.dispose()
    return Counter(dict(counts))


class InLedger:
    """An effect outside any transaction: it has happened when the line is written."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def happen(self, event: str) -> None:
        self._ledger.write("effect", id=event)


class InTransaction:
    """An effect in the handler's own database, in one transaction with the claim of its event."""

    def __init__(self, url: str, ledger: Ledger, fate: Fate) -> None:
        self._engine = open_database(url)
        self._ledger = ledger
        self._fate = fate

    async def happen(self, event: str) -> None:
        async with self._engine.begin() as connection:
            await claim_in(connection, event)
            await connection.execute(_rows.insert(), {"event": event})
            self._fate.reach(points.IN_TRANSACTION, event)
        self._ledger.write("effect", id=event)
