"""Examines SQLite and Postgres."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection, Table, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.schema import CreateIndex

from ...backends.sql.dialects import dialect_of
from ...backends.sql.names import beside
from ...backends.sql.schema import VersionedTable
from ...contracts import Sharing
from ...errors import SchemaError, TableAbsent
from ...inbox.sql.schema import schema as inbox_schema
from ...observe.history.sql import schema as history_schema
from ...stores.sql.schema import schema as claims_schema
from .finding import Finding, Level, clock
from .writing import examine_writing

__all__ = ["examine_sql"]

_VERSIONS = {"sqlite": "SELECT sqlite_version()", "postgresql": "SHOW server_version"}
_NEARLY_ALL = 0.9


async def examine_sql(store: Sharing) -> list[Finding]:
    """Examine version, clock, connections, indexes, and whether it takes what an app writes."""
    engine: AsyncEngine = store.connection
    findings = []
    async with engine.connect() as connection:
        findings.append(await _version(connection))
        findings.append(await _clock(connection, engine))
        if engine.dialect.name == "postgresql":
            findings += await _connections(connection)
        tables = await connection.run_sync(_there, _tables(store.namespace))
        findings += await examine_writing(connection, tables)
        for table in tables:
            findings += await connection.run_sync(_indexes, table)
    findings += await _versions(engine, _tables(store.namespace)[1:])
    return findings


def _tables(claims: str) -> list[VersionedTable]:
    return [
        claims_schema(claims),
        inbox_schema(beside(claims, "inbox")),
        history_schema(beside(claims, "history")),
    ]


async def _version(connection: AsyncConnection) -> Finding:
    name = connection.dialect.name
    version = await connection.scalar(text(_VERSIONS[name]))
    return Finding(Level.OK, "version", f"{name} {version}")


async def _clock(connection: AsyncConnection, engine: AsyncEngine) -> Finding:
    sent = time.time()
    server = await connection.scalar(select(dialect_of(engine).now))
    return clock(float(server or 0.0), sent)


async def _connections(connection: AsyncConnection) -> list[Finding]:
    used = await connection.scalar(text("SELECT count(*) FROM pg_stat_activity"))
    most = await connection.scalar(text("SELECT current_setting('max_connections')::int"))
    if not used or not most or used < most * _NEARLY_ALL:
        return []
    return [
        Finding(
            Level.WARNING,
            "connections",
            f"{used} of {most} connections are taken",
            "raise max_connections, or put a pooler in between",
        )
    ]


def _there(connection: Connection, tables: Sequence[VersionedTable]) -> list[Table]:
    """Return those that are there; the others belong to what is not used."""
    there = inspect(connection)
    return [
        each.table for each in tables if there.has_table(each.table.name, schema=each.table.schema)
    ]


def _indexes(connection: Connection, table: Table) -> list[Finding]:
    """Compare the indexes of a table with those it was made with."""
    there = inspect(connection).get_indexes(table.name, schema=table.schema)
    found = {index["name"] for index in there}
    return [
        Finding(
            Level.WARNING,
            "indexes",
            f"index {index.name} of {table.name} is missing: calls get slower as it grows",
            f"run: {str(CreateIndex(index).compile(connection)).strip()}",
        )
        for index in sorted(table.indexes, key=lambda index: str(index.name))
        if index.name not in found
    ]


async def _versions(engine: AsyncEngine, tables: list[VersionedTable]) -> list[Finding]:
    """Notice tables of another release; those that are absent belong to what is not used."""
    findings = []
    for table in tables:
        try:
            await table.prepare(engine, dialect_of(engine), create=False)
        except TableAbsent:
            continue
        except SchemaError as exc:
            found, _, remedy = str(exc).partition(";")
            findings.append(Finding(Level.FAILURE, "tables", found, remedy.strip()))
        except SQLAlchemyError as exc:
            said, _, _ = str(exc).partition("\n")
            findings.append(Finding(Level.FAILURE, "tables", said, "see the log of the database"))
    return findings
