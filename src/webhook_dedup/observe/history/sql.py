"""The ledger in a SQL database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    Executable,
    Index,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...backends.sql.database import Database
from ...backends.sql.dialects import Dialect
from ...backends.sql.engines import open_engine
from ...backends.sql.schema import VersionedTable
from ...contracts import Sharing
from ...keys import printable
from .entry import Row
from .ledger import Wanted

__all__ = ["SqlLedger", "schema"]

VERSION = 1
_TABLE = "webhook_dedup_history"
_TIMEOUT = 10.0
_DATA = ("id", "source", "kinds", "reasons", "event_id", "digest", "data")
# Everywhere the same order, whatever the language of the database.
_Id = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def schema(table: str = _TABLE) -> VersionedTable:
    """Return the table of the history and its version."""
    return VersionedTable(table, VERSION, _entries, "what was recorded is not shown any more")


def _entries(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        Column("id", _Id, primary_key=True),
        Column("written", Double, nullable=False),
        Column("source", Text, nullable=False),
        Column("kinds", Text, nullable=False),
        Column("reasons", Text, nullable=False),
        Column("event_id", Text, nullable=False),
        Column("digest", LargeBinary, nullable=False),
        Column("data", Text, nullable=False),
        Index(f"{name}_written", "written"),
        Index(f"{name}_digest", "digest"),
    )


class SqlLedger:
    """Keeps a history in one table of SQLite or Postgres.

    Args:
        engine: The user's own engine; it stays open.
        create: Make the table if it is absent.
        table: Its name, with the database schema before a dot if need be.
        timeout: Seconds to wait for the database.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        create: bool = True,
        table: str = _TABLE,
        timeout: float = _TIMEOUT,
    ) -> None:
        entries = schema(table)
        self._database = Database(engine, entries, create=create, timeout=timeout)
        self._statements = _Statements(entries.table, self._database.dialect)
        self.name = self._database.dialect.name

    @classmethod
    def from_url(cls, url: str, *, create: bool = True) -> SqlLedger:
        """Open a ledger with an engine of its own."""
        engine, timeout = open_engine(url, _TIMEOUT)
        ledger = cls(engine, create=create, timeout=timeout)
        ledger._database.own(timeout)
        return ledger

    @classmethod
    def beside(cls, store: Sharing) -> SqlLedger:
        """Open a ledger on the engine of a store, in a table named like the store's."""
        table = f"{store.namespace.removesuffix('_claims')}_history"
        return cls(store.connection, table=table, create=getattr(store, "creates_tables", True))

    async def start(self) -> None:
        await self._database.start()

    async def write(self, rows: Sequence[Row]) -> None:
        asked = [dict(zip(_DATA, row[: len(_DATA)], strict=True)) for row in rows]
        parameters = self._database.dialect.rows(asked)

        async def write(connection: AsyncConnection) -> None:
            (await connection.execute(self._statements.write, parameters)).all()

        await self._database.work(write)

    async def find(self, wanted: Wanted, limit: int, below: str) -> Sequence[Row]:
        return await self._rows(self._statements.find(wanted, limit, below))

    async def of_event(self, digest: bytes, limit: int) -> Sequence[Row]:
        last = await self._rows(
            self._statements.of_event, {"event_digest": digest, "at_most": limit}
        )
        return last[::-1]

    async def since(self, written: float, limit: int) -> Sequence[Row]:
        return await self._rows(self._statements.since, {"begin": written, "at_most": limit})

    async def written(self, row_id: str) -> float:
        async def look(connection: AsyncConnection) -> float:
            moment = await connection.scalar(self._statements.written, {"row_id": row_id})
            return float(moment or 0.0)

        return await self._database.work(look)

    async def trim(self, keep: float, most: int, limit: int) -> int:
        async def trim(connection: AsyncConnection) -> int:
            parameters = {"keep": keep, "most": most, "at_most": limit}
            return (await connection.execute(self._statements.trim, parameters)).rowcount

        return await self._database.work(trim)

    async def aclose(self) -> None:
        await self._database.aclose()

    async def _rows(self, statement: Executable, parameters: Any = None) -> list[Row]:
        async def rows(connection: AsyncConnection) -> list[Row]:
            found = (await connection.execute(statement, parameters or {})).all()
            return [Row(*row) for row in found]

        return await self._database.work(rows)


class _Statements:
    """What is asked of the table."""

    def __init__(self, entries: Table, dialect: Dialect) -> None:
        self._entries = entries
        self._dialect = dialect
        self._row = [entries.c[name] for name in Row._fields]
        at_most: Any = bindparam("at_most")
        self.write = self._write()
        self.of_event = (
            select(*self._row)
            .where(entries.c.digest == bindparam("event_digest", type_=LargeBinary()))
            .order_by(entries.c.id.desc())
            .limit(at_most)
        )
        self.since = (
            select(*self._row)
            .where(entries.c.written >= bindparam("begin", type_=Double()))
            .order_by(entries.c.written, entries.c.id)
            .limit(at_most)
        )
        of_row = select(entries.c.written).where(entries.c.id == bindparam("row_id", type_=Text()))
        self.written = select(func.coalesce(of_row.scalar_subquery(), dialect.now))
        self.trim = self._trim(at_most)

    def _write(self) -> Executable:
        asked = {name: self._entries.c[name].type for name in _DATA}
        insert = self._dialect.insert(
            self._entries, asked, lambda row: {**row, "written": self._dialect.now}
        )
        # With RETURNING a batch is one statement, and one commit.
        kept = insert.on_conflict_do_nothing(index_elements=[self._entries.c.id])
        return kept.returning(self._entries.c.id)

    def find(self, wanted: Wanted, limit: int, below: str) -> Select[Any]:
        page = select(*self._row).where(*self._conditions(wanted))
        if below:
            page = page.where(self._entries.c.id < below)
        return page.order_by(self._entries.c.id.desc()).limit(limit)

    def _conditions(self, wanted: Wanted) -> Iterator[ColumnElement[bool]]:
        entries = self._entries.c
        if wanted.source is not None:
            yield entries.source == printable(wanted.source)
        if wanted.kind is not None:
            yield self._position(entries.kinds, f",{wanted.kind},")
        if wanted.reason is not None:
            yield self._position(entries.reasons, f",{wanted.reason},")
        if wanted.event_id is not None:
            part = func.lower(literal(printable(wanted.event_id), Text()))
            yield self._dialect.position(func.lower(entries.event_id), part) > 0
        if wanted.earliest:
            yield entries.id >= wanted.earliest
        if wanted.latest:
            yield entries.id < wanted.latest

    def _position(self, column: Column[str], part: str) -> ColumnElement[bool]:
        return self._dialect.position(column, literal(printable(part), Text())) > 0

    def _trim(self, at_most: Any) -> Executable:
        entries = self._entries.c
        # As subqueries they are evaluated once, so that the index on written serves.
        oldest: Any = select(
            self._dialect.now - bindparam("keep", type_=Double())
        ).scalar_subquery()
        # By id too, since rows may be written at the same instant.
        surplus = (
            select(entries.id)
            .order_by(entries.written.desc(), entries.id.desc())
            .offset(bindparam("most"))
            .limit(at_most)
        )
        out = (
            select(entries.id)
            .where(or_(entries.written < oldest, entries.id.in_(surplus)))
            .order_by(entries.written)
            .limit(at_most)
            # What another process deletes now is left to it.
            .with_for_update(skip_locked=True)
        )
        return delete(self._entries).where(self._dialect.picked(entries.id, out))
