"""The ledger in a SQL database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    Executable,
    Index,
    Integer,
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
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...backends.sql.database import Database
from ...backends.sql.dialects import Dialect
from ...backends.sql.engines import open_engine
from ...backends.sql.names import beside
from ...backends.sql.schema import OrderedText, VersionedTable
from ...contracts import Sharing
from ...keys import printable
from .ledger import EntryFilter
from .page import Kept, Page

__all__ = ["SqlLedger", "schema"]

VERSION = 1
_TABLE = "webhook_dedup_history"
_TIMEOUT = 10.0
_BETWEEN = "\n"  # the values in a column, which begins and ends with it
_ASKED = ("id", "size", "sources", "events", "kinds", "reasons", "data")


def schema(table: str) -> VersionedTable:
    """Return the table of the history and its version."""
    return VersionedTable(table, VERSION, _pages, "what was recorded is not shown any more")


def _pages(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        Column("id", OrderedText, primary_key=True),
        Column("written", Double, nullable=False),
        Column("size", Integer, nullable=False),
        Column("sources", Text, nullable=False),
        Column("events", Text, nullable=False),
        Column("kinds", Text, nullable=False),
        Column("reasons", Text, nullable=False),
        # Last, and long: what searches the others need not read it.
        Column("data", Text, nullable=False),
        # With all that trimming asks for.
        Index(f"{name}_written", "written", "id", "size"),
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
        pages = schema(table)
        self._database = Database(engine, pages, create=create, timeout=timeout)
        self._statements = _Statements(pages.table, self._database.dialect)
        self.name = self._database.dialect.name

    @classmethod
    def from_url(cls, url: str, *, create: bool) -> SqlLedger:
        """Open a ledger with an engine of its own."""
        opened = open_engine(url, _TIMEOUT)
        table = beside(opened.claims, "history") if opened.claims else _TABLE
        ledger = cls(opened.engine, create=create, table=table, timeout=opened.timeout)
        ledger._database.own()
        return ledger

    @classmethod
    def beside(cls, store: Sharing) -> SqlLedger:
        """Open a ledger on the engine of a store, in a table named like the store's."""
        table = beside(store.namespace, "history")
        return cls(store.connection, table=table, create=getattr(store, "creates_tables", True))

    async def start(self) -> None:
        await self._database.start()

    async def write(self, pages: Sequence[Page], keep: float | None) -> None:  # noqa: ARG002 - rows stay until they are deleted
        asked = self._database.dialect.rows([_columns(page) for page in pages])
        await self._database.rows(self._statements.write, asked)

    async def find(self, wanted: EntryFilter, limit: int, below: str) -> Sequence[Kept]:
        return await self._pages(self._statements.find(wanted, limit, below))

    async def of_event(self, event_id: str, limit: int, *, first: bool = False) -> Sequence[Kept]:
        asked = {"event": _value(event_id), "at_most": limit}
        if first:
            return await self._pages(self._statements.first_of_event, asked)
        return (await self._pages(self._statements.last_of_event, asked))[::-1]

    async def since(self, written: float, limit: int) -> Sequence[Kept]:
        return await self._pages(self._statements.since, {"begin": written, "at_most": limit})

    async def written(self, page_id: str) -> float:
        async def look(connection: AsyncConnection) -> float:
            moment = await connection.scalar(self._statements.written, {"page_id": page_id})
            return float(moment or 0.0)

        return await self._database.work(look)

    async def trim(self, keep: float, most: int, limit: int) -> int:
        async def trim(connection: AsyncConnection) -> int:
            parameters = {"keep": keep, "most": most, "at_most": limit}
            return (await connection.execute(self._statements.trim, parameters)).rowcount

        return await self._database.work(trim)

    async def aclose(self) -> None:
        await self._database.aclose()

    async def _pages(self, statement: Executable, parameters: Any = None) -> list[Kept]:
        async def pages(connection: AsyncConnection) -> list[Kept]:
            found = (await connection.execute(statement, parameters or {})).all()
            return [Kept(*row) for row in found]

        return await self._database.work(pages)


def _columns(page: Page) -> dict[str, Any]:
    return {
        "id": page.id,
        "size": page.size,
        "sources": _values(page.sources),
        "events": _values(page.events),
        "kinds": _values(page.kinds),
        "reasons": _values(page.reasons),
        "data": page.data,
    }


def _values(values: Iterable[str]) -> str:
    return f"{_BETWEEN}{_BETWEEN.join(map(printable, values))}{_BETWEEN}"


def _value(value: str) -> str:
    return _values([value])


class _Statements:
    """What is asked of the table."""

    def __init__(self, pages: Table, dialect: Dialect) -> None:
        self._pages = pages
        self._dialect = dialect
        self._kept = [pages.c[name] for name in Kept._fields]
        at_most: Any = bindparam("at_most")
        self.write = self._write()
        # Read through: an index of all ids would cost more with every event than this ever does.
        of_event = (
            select(*self._kept)
            .where(dialect.position(pages.c.events, bindparam("event", type_=Text())) > 0)
            .limit(at_most)
        )
        self.first_of_event = of_event.order_by(pages.c.id)
        self.last_of_event = of_event.order_by(pages.c.id.desc())
        self.since = (
            select(*self._kept)
            .where(pages.c.written >= bindparam("begin", type_=Double()))
            .order_by(pages.c.written, pages.c.id)
            .limit(at_most)
        )
        of_page = select(pages.c.written).where(pages.c.id == bindparam("page_id", type_=Text()))
        self.written = select(func.coalesce(of_page.scalar_subquery(), dialect.now))
        self.trim = self._trim(at_most)

    def _write(self) -> Executable:
        asked = {name: self._pages.c[name].type for name in _ASKED}
        insert = self._dialect.insert(
            self._pages, asked, lambda row: {**row, "written": self._dialect.now}
        )
        # With RETURNING a batch is one statement, and one commit.
        kept = insert.on_conflict_do_nothing(index_elements=[self._pages.c.id])
        return kept.returning(self._pages.c.id)

    def find(self, wanted: EntryFilter, limit: int, below: str) -> Select[Any]:
        page = select(*self._kept).where(*self._conditions(wanted))
        if below:
            page = page.where(self._pages.c.id < below)
        return page.order_by(self._pages.c.id.desc()).limit(limit)

    def _conditions(self, wanted: EntryFilter) -> Iterator[ColumnElement[bool]]:
        pages = self._pages.c
        if wanted.source is not None:
            yield self._holds(pages.sources, wanted.source)
        if wanted.kind is not None:
            yield self._holds(pages.kinds, wanted.kind)
        if wanted.reason is not None:
            yield self._holds(pages.reasons, wanted.reason)
        if wanted.event_id is not None:
            part = func.lower(literal(printable(wanted.event_id), Text()))
            yield self._dialect.position(func.lower(pages.events), part) > 0
        if wanted.earliest:
            yield pages.id >= wanted.earliest
        if wanted.latest:
            yield pages.id < wanted.latest

    def _holds(self, column: Column[str], value: str) -> ColumnElement[bool]:
        return self._dialect.position(column, literal(_value(value), Text())) > 0

    def _trim(self, at_most: Any) -> Executable:
        pages = self._pages.c
        # As subqueries they are evaluated once, so that the index on written serves.
        oldest: Any = select(
            self._dialect.now - bindparam("keep", type_=Double())
        ).scalar_subquery()
        # By id too, since pages may be written at the same instant.
        latest_first = (pages.written.desc(), pages.id.desc())
        later = func.sum(pages.size).over(order_by=latest_first) - pages.size
        counted = select(pages.id, later.label("later")).subquery()
        surplus = select(counted.c.id).where(counted.c.later >= bindparam("most", type_=Integer()))
        out = (
            select(pages.id)
            .where(or_(pages.written < oldest, pages.id.in_(surplus)))
            .order_by(pages.written)
            .limit(at_most)
            # What another process deletes now is left to it.
            .with_for_update(skip_locked=True)
        )
        return delete(self._pages).where(self._dialect.picked(pages.id, out))
