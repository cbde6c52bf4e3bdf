"""Databases, and SQLAlchemy's four ways into each."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, event
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from webhook_dedup.transaction import create_table

metadata = MetaData()
payments = Table(
    "payments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("event", Text, nullable=False),
)

DRIVERS = {
    "sqlite": {"sync": "sqlite", "async": "sqlite+aiosqlite"},
    "postgres": {"sync": "postgresql+psycopg", "async": "postgresql+asyncpg"},
}


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    """Makes URLs of one empty database: ``database("sync")``."""
    drivers = DRIVERS[request.param]
    if request.param == "sqlite":
        address = f":///{tmp_path}/shop.db"
    else:
        address = request.getfixturevalue("postgres_url").removeprefix("postgresql")
    return lambda way: drivers[way] + address


@pytest.fixture
def bare_engine(database):
    """A sync engine, with the payments but without the table of claims."""
    engine = begins_at_once(create_engine(database("sync")))
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(bare_engine):
    """A sync engine whose database is ready."""
    with bare_engine.begin() as connection:
        create_table(connection)
    return bare_engine


@pytest.fixture
async def async_engine(engine, database):
    """An async engine for the same database."""
    made = create_async_engine(database("async"))
    begins_at_once(made.sync_engine)
    yield made
    await made.dispose()


@pytest.fixture(params=["session", "connection"])
def opened(request, engine):
    """Opens a sync session or connection."""
    return engine.connect if request.param == "connection" else lambda: Session(engine)


@pytest.fixture(params=["session", "connection"])
def async_opened(request, async_engine):
    """Opens an async session or connection."""
    if request.param == "connection":
        return async_engine.connect
    return lambda: AsyncSession(async_engine)


def begins_at_once(engine):
    """On SQLite begin transactions when they begin, as its users are advised to."""
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def leave_transactions_alone(connection, _):
            connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def begin(connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
