"""What the tests of the SQL store share."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import create_async_engine

from webhook_dedup.model import Bid, Claim, Outcome, new_token
from webhook_dedup.stores.sql import SqlStore
from webhook_dedup.testing.store_rules.case import LONG_LEASE, a_key

PATIENCE = 60.0
TABLE = "webhook_dedup_claims"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/claims.db"
    return request.getfixturevalue("postgres_url")


@asynccontextmanager
async def opened(url, **options):
    """A store that is closed in the end."""
    store = SqlStore.from_url(url, **options)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def snapshot_engine(postgres_url):
    """An engine whose every transaction, a single statement's too, sees one snapshot."""
    engine = create_async_engine(
        postgres_url.replace("postgresql:", "postgresql+asyncpg:"),
        isolation_level="REPEATABLE READ",
        connect_args={"server_settings": {"default_transaction_isolation": "repeatable read"}},
    )
    try:
        yield engine
    finally:
        await engine.dispose()


@contextmanager
def impatient(room):
    """A store or inbox that gives up soon; opening one like that would fail on a busy machine."""
    connections = room._database._connections
    patience, connections._timeout = connections._timeout, 0.3
    yield
    connections._timeout = patience


def bids(count: int, lease: float = LONG_LEASE) -> list[Bid]:
    return [Bid(a_key(), new_token(), lease) for _ in range(count)]


def outcomes(claims: list[Claim]) -> set[Outcome]:
    return {claim.outcome for claim in claims}


@asynccontextmanager
async def statements_of(store):
    """Collect the SQL that a store sends, which it does through SQLAlchemy meanwhile."""
    sent: list[str] = []

    def note(conn, cursor, statement, *_):
        sent.append(statement)

    engine, connections = store.connection.sync_engine, store._database._connections
    driver, connections._driver = connections._driver, None
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        connections._driver = driver
        event.remove(engine, "before_cursor_execute", note)


async def driver_of(store):
    """The one connection of a store to its file, as the driver has it."""
    async with store.connection.connect() as connection:
        return (await connection.get_raw_connection()).driver_connection


@asynccontextmanager
async def statements_below(store):
    """Collect what SQLite is told on the connection of a store, as it begins with it."""
    told: list[str] = []
    driver = await driver_of(store)
    await driver.set_trace_callback(told.append)
    yield told
    await driver.set_trace_callback(None)


@contextmanager
def file_locked(path):
    """Hold a file as another program would that writes to it."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@asynccontextmanager
async def session(url):
    """A Postgres connection of the test's own."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def role(url, options):
    """The URL of another user of the same database."""
    name = f"test_{uuid.uuid4().hex}"
    async with session(url) as admin:
        await admin.execute(f"CREATE ROLE {name} PASSWORD 'secret' {options}")
        try:
            parts = urlsplit(url)
            address = parts.netloc.rpartition("@")[2]
            yield parts._replace(netloc=f"{name}:secret@{address}").geturl()
        finally:
            await admin.execute(f"DROP ROLE {name}")


async def until(holds):
    """Ask until it holds; a condition that never does fails the test."""
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def rows_of(store) -> int:
    async with store.connection.connect() as connection:
        return await connection.scalar(text(f"SELECT count(*) FROM {TABLE}"))
