"""The few places where SQLite and Postgres differ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    Function,
    LargeBinary,
    Select,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
    tuple_,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import NullType, TypeEngine

from ...errors import ConfigError
from ...keys import digest as digest_of
from .direct import Columns

__all__ = ["Asked", "Dialect", "Insert", "Pairs", "Rows", "advisory_lock", "dialect_of"]

T = TypeVar("T")

Insert = postgresql.Insert | sqlite.Insert
Rows = Sequence[Mapping[str, Any]]
Pairs = Sequence[tuple[bytes, str]]
Asked = Mapping[str, TypeEngine[Any]]
Values = Callable[[Mapping[str, ColumnElement[Any]]], dict[str, ColumnElement[Any]]]

# What takes any text; SQL_ASCII does, as it looks at none.
_ENCODINGS = {"UTF8", "SQL_ASCII"}
_RETURNING_SINCE = (3, 35)  # https://www.sqlite.org/lang_returning.html


class Dialect(Protocol):
    """How a batch of rows becomes one statement, and what time it is there."""

    name: str
    now: ColumnElement[float]
    """The database's clock as Unix time, read anew wherever it stands in a statement."""
    abandons: bool
    """Whether a statement may be abandoned on the client while it waits."""

    def insert(self, table: Table, asked: Asked, values: Values) -> Insert:
        """Insert rows of the columns in ``asked``, the first of which identifies a row.

        ``values`` makes columns of the table of them.
        """

    def columns(self, columns: Mapping[str, list[Any]], **common: Any) -> Mapping[str, Any]:
        """Return the parameters of :meth:`insert`, and what is the same for every row."""

    def rows(self, rows: Rows) -> Mapping[str, Any]:
        """Return what :meth:`columns` does, of rows instead of columns."""

    def among(self, table: Table) -> ColumnElement[bool]:
        """Match the digests of the parameter ``digests``."""

    def held(self, table: Table) -> ColumnElement[bool]:
        """Match pairs of digest and token, given by :meth:`pairs`."""

    def pairs(self, held: Pairs) -> dict[str, Any]:
        """Return the parameters of :meth:`held`."""

    def listed(self, column: Column[T], name: str) -> ColumnElement[bool]:
        """Match the values of a list that is the parameter ``name``."""

    def paired(self, item_id: Column[str], token: Column[str]) -> ColumnElement[bool]:
        """Match pairs of an id and a token, given by :meth:`id_pairs`."""

    def id_pairs(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return the parameters of :meth:`paired`."""

    def picked(self, column: Column[T], rows: Select[tuple[T]]) -> ColumnElement[bool]:
        """Match what a subquery picks, which is run exactly once, its locks and limit included."""

    def unhurried(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """Let a statement with this condition return before what it writes is on the disk.

        It is there a moment later. Until then a crash of the server itself may undo it.
        """

    def position(self, text: ColumnElement[str], part: ColumnElement[str]) -> Function[int]:
        """Return where a text contains a part, from 1; 0 where it does not."""

    def raw(self, column: Column[Any]) -> ColumnElement[Any]:
        """Return what is stored in a column of text or bytes, in a form that can always be read."""

    def exclusively(self, engine: AsyncEngine, name: str) -> AbstractAsyncContextManager[Any]:
        """Open a transaction that no other process is in at the same time under this name."""

    async def check(self, connection: AsyncConnection) -> None:
        """Refuse a database that cannot keep what it is given, or an engine that would undo it.

        Raises:
            ConfigError: The message says what to change.
        """


class Postgres:
    """Rows go as one array a column: the statement's text, and so its plan, is always the same."""

    name = "postgres"
    # EXTRACT would count in numeric, which takes twice as long.
    now: ColumnElement[float] = literal_column("date_part('epoch', clock_timestamp())", Double)
    abandons = True

    def insert(self, table: Table, asked: Asked, values: Values) -> Insert:
        source = _unnest(asked)
        columns = values(dict(source.c.items()))
        # Sorted, because two batches that lock their rows in different orders deadlock.
        chosen = select(*columns.values()).order_by(source.c[next(iter(asked))])
        return postgresql.insert(table).from_select(list(columns), chosen)

    def columns(self, columns: Mapping[str, list[Any]], **common: Any) -> Mapping[str, Any]:
        # A short array is filled up with NULL, and an empty one costs the driver nothing.
        given = {
            f"{name}s": values if _any_given(values) else [] for name, values in columns.items()
        }
        return given | common

    def rows(self, rows: Rows) -> Mapping[str, Any]:
        return self.columns(_turned(rows))

    def among(self, table: Table) -> ColumnElement[bool]:
        digests = bindparam("digests", type_=postgresql.ARRAY(LargeBinary))
        return table.c.digest == any_(digests)

    def held(self, table: Table) -> ColumnElement[bool]:
        source = _unnest({"digest": LargeBinary(), "token": Text()})
        return tuple_(table.c.digest, table.c.token).in_(select(source))

    def pairs(self, held: Pairs) -> dict[str, Any]:
        return {
            "digests": [digest for digest, _ in held],
            "tokens": [token for _, token in held],
        }

    def listed(self, column: Column[T], name: str) -> ColumnElement[bool]:
        return column == any_(bindparam(name, type_=postgresql.ARRAY(column.type)))

    def paired(self, item_id: Column[str], token: Column[str]) -> ColumnElement[bool]:
        source = _unnest({"id": Text(), "token": Text()})
        return tuple_(item_id, token).in_(select(source))

    def id_pairs(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        return {"ids": [item_id for item_id, _ in pairs], "tokens": [token for _, token in pairs]}

    def picked(self, column: Column[T], rows: Select[tuple[T]]) -> ColumnElement[bool]:
        # A subquery behind IN may be joined, and then run again for each row.
        return column == any_(func.array(rows.scalar_subquery()))

    def unhurried(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        # For this transaction only, which is this statement; as a subquery it is said once.
        setting = func.set_config(_quoted("synchronous_commit"), _quoted("off"), true())
        return and_(condition, select(setting).scalar_subquery() == _quoted("off"))

    def position(self, text: ColumnElement[str], part: ColumnElement[str]) -> Function[int]:
        return func.strpos(text, part)

    def raw(self, column: Column[Any]) -> ColumnElement[Any]:
        return column

    @asynccontextmanager
    async def exclusively(self, engine: AsyncEngine, name: str) -> AsyncIterator[AsyncConnection]:
        async with engine.connect() as connection:
            # A stricter level would read from before the lock was granted.
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                await connection.execute(advisory_lock(name))
                yield connection

    async def check(self, connection: AsyncConnection) -> None:
        encoding = (await connection.exec_driver_sql("SHOW server_encoding")).scalar()
        if encoding not in _ENCODINGS:
            raise ConfigError(
                f"the database is in {encoding}, which lacks characters that ids and errors may "
                "have: name another one, made by CREATE DATABASE … ENCODING 'UTF8' TEMPLATE "
                "template0"
            )


class Sqlite:
    """Rows go as one row of parameters each; there is only one writer, so nothing deadlocks."""

    name = "sqlite"
    now: ColumnElement[float] = literal_column("((julianday('now') - 2440587.5) * 86400.0)", Double)
    abandons = False  # the statement runs on in its thread, and holds its lock

    def insert(self, table: Table, asked: Asked, values: Values) -> Insert:
        columns = values({name: bindparam(name, type_=type_) for name, type_ in asked.items()})
        return sqlite.insert(table).values(columns)

    def columns(self, columns: Mapping[str, list[Any]], **common: Any) -> Mapping[str, Any]:
        number = len(next(iter(columns.values())))
        return Columns(columns, **{name: [value] * number for name, value in common.items()})

    def rows(self, rows: Rows) -> Mapping[str, Any]:
        return self.columns(_turned(rows))

    def among(self, table: Table) -> ColumnElement[bool]:
        return table.c.digest.in_(bindparam("digests", expanding=True))

    def held(self, table: Table) -> ColumnElement[bool]:
        return tuple_(table.c.digest, table.c.token).in_(bindparam("held", expanding=True))

    def pairs(self, held: Pairs) -> dict[str, Any]:
        return {"held": held}

    def listed(self, column: Column[T], name: str) -> ColumnElement[bool]:
        return column.in_(bindparam(name, expanding=True))

    def paired(self, item_id: Column[str], token: Column[str]) -> ColumnElement[bool]:
        pairs = tuple_(item_id, token).in_(bindparam("pairs", expanding=True))
        return and_(self.listed(item_id, "ids"), pairs)  # the index serves the ids

    def id_pairs(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        return {"ids": [item_id for item_id, _ in pairs], "pairs": pairs}

    def picked(self, column: Column[T], rows: Select[tuple[T]]) -> ColumnElement[bool]:
        return column.in_(rows)

    def unhurried(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        return condition

    def position(self, text: ColumnElement[str], part: ColumnElement[str]) -> Function[int]:
        return func.instr(text, part)

    def raw(self, column: Column[Any]) -> ColumnElement[Any]:
        # A cell may hold any type, and text that is none; the driver fails on it for all rows.
        return type_coerce(cast(column, LargeBinary), NullType()).label(column.name)

    @asynccontextmanager
    async def exclusively(
        self,
        engine: AsyncEngine,
        name: str,  # noqa: ARG002 - the whole file is locked
    ) -> AsyncIterator[AsyncConnection]:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                await connection.exec_driver_sql("ROLLBACK")
                raise
            await connection.exec_driver_sql("COMMIT")

    async def check(self, connection: AsyncConnection) -> None:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.exec_driver_sql("SELECT 1")
        driver: Any = (await connection.get_raw_connection()).driver_connection
        if driver.in_transaction:
            raise ConfigError(
                "this engine begins a transaction by itself (by a listener that emits BEGIN, or "
                "autocommit=False), and what the store writes would be rolled back: give it an "
                "engine of its own, or a URL"
            )


def dialect_of(engine: AsyncEngine) -> Dialect:
    """Return the dialect of an engine.

    Raises:
        ConfigError: It is neither SQLite nor Postgres, or an SQLite without ``RETURNING``.
    """
    name = engine.dialect.name
    if name == "postgresql":
        return Postgres()
    if name == "sqlite":
        _check_version(getattr(engine.dialect.dbapi, "sqlite_version_info", _RETURNING_SINCE))
        return Sqlite()
    raise ConfigError(f"{name} is not supported: use sqlite:///file.db or postgresql://…")


def advisory_lock(name: str) -> Select[Any]:
    """Return what makes Postgres keep out others who lock this name, until the transaction ends."""
    number = int.from_bytes(digest_of(name)[:8], "big", signed=True)
    return select(func.pg_advisory_xact_lock(number))


def _check_version(version: tuple[int, ...]) -> None:
    if version < _RETURNING_SINCE:
        text = ".".join(map(str, version))
        raise ConfigError(f"SQLite {text} is too old: Python must be linked with 3.35 or newer")


def _unnest(asked: Asked) -> TableValuedAlias:
    # Named unlike the columns: SQLAlchemy keeps those names for what an UPDATE sets.
    arrays = [bindparam(f"{name}s", type_=postgresql.ARRAY(kind)) for name, kind in asked.items()]
    columns = [column(name, kind) for name, kind in asked.items()]
    return func.unnest(*arrays).table_valued(*columns).render_derived(name="asked")


def _turned(rows: Rows) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _any_given(values: list[Any]) -> bool:
    return values[0] is not None or values.count(None) < len(values)


def _quoted(word: str) -> ColumnElement[str]:
    return literal_column(f"'{word}'", Text)
