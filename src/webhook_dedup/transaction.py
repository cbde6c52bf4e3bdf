"""``claim_in``: the claim is a row in the user's own database, in the user's own transaction.

The stores never touch its table. :func:`claims_table` puts it into your ``MetaData``, for Alembic
and ``create_all``; :func:`create_table` makes it here and now.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar, cast, overload

from .backends.sql.dialects import Dialect, advisory_lock, dialect_of
from .backends.sql.faults import Fault, fault_of
from .errors import AlreadyDone, ConfigError, SchemaError
from .keys import digest, printable
from .operation import key_text
from .policy import DAY, Duration, seconds

# What is above knows the remedy where SQLAlchemy is missing.
# isort: split
from sqlalchemy import (
    ClauseElement,
    Column,
    ColumnElement,
    Connection,
    Double,
    Index,
    LargeBinary,
    MetaData,
    ScalarSelect,
    Table,
    Text,
    bindparam,
    delete,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.dml import ReturningInsert

__all__ = ["TABLE", "claim_in", "claims_table", "create_table", "purge_claims"]

T = TypeVar("T")

Async: TypeAlias = "AsyncSession | AsyncConnection | async_scoped_session[Any]"
Sync: TypeAlias = "Session | Connection | scoped_session[Any]"

TABLE = "webhook_dedup_claimed"
REMEMBERED = 30 * DAY  # longer than any provider goes on delivering


@overload
def claim_in(
    target: Async, key: str | int, *, ttl: Duration = ..., table: str = ...
) -> Coroutine[Any, Any, None]: ...
@overload
def claim_in(target: Sync, key: str | int, *, ttl: Duration = ..., table: str = ...) -> None: ...
def claim_in(
    target: Async | Sync, key: str | int, *, ttl: Duration = REMEMBERED, table: str = TABLE
) -> Coroutine[Any, Any, None] | None:
    """Claim a key in the transaction that does the work.

    The row commits or rolls back together with the business rows beside it, so that effects in
    this database happen exactly once, whatever dies in between::

        async with session.begin():
            await claim_in(session, event.id)  # no await on a sync session or connection
            session.add(Payment(...))

    Claim first, before anything is read or written. While the first transaction is open, a second
    claimer of the key waits for its end: if it commits, the second one gets :class:`AlreadyDone`,
    if it rolls back, the key. So keep the transaction short, and bound the wait by a
    ``lock_timeout`` (Postgres) or the driver's ``timeout`` (SQLite, where every writer waits).

    Errors of the database pass unchanged: at REPEATABLE READ and SERIALIZABLE a claimer that waited
    gets a serialization failure (40001), on SQLite one that waited too long "database is locked".
    Roll back and run the transaction again, as ever; it then finds the key done.

    Args:
        target: A session or connection of SQLAlchemy, sync or async, on Postgres or SQLite. On an
            async one the claim is to be awaited.
        key: What is done, the event's id for example. Text or an integer.
        ttl: How long it is remembered, 30 days unless given.
        table: Name of the table, with the database schema before a dot if need be.

    Raises:
        AlreadyDone: A transaction that claimed the key has committed. Nothing was written and this
            transaction is whole. Raised out of a handler of this library, it ends the event as
            done.
        SchemaError: The table is absent; the message has the statements that make it.
        ConfigError: The key is blank, the target is none, the connection commits each statement by
            itself, or the claim stands in a savepoint of SQLite that has no transaction around it:
            its driver begins none before the first statement that writes.
    """
    text, lasting = key_text(key, "claim_in"), seconds(ttl, "ttl")
    work = functools.partial(_claim, key=text, ttl=lasting, table=table)
    return _within(target, "claim_in", work)


@overload
def purge_claims(
    target: Async, *, limit: int = ..., table: str = ...
) -> Coroutine[Any, Any, int]: ...
@overload
def purge_claims(target: Sync, *, limit: int = ..., table: str = ...) -> int: ...
def purge_claims(
    target: Async | Sync, *, limit: int = 10_000, table: str = TABLE
) -> Coroutine[Any, Any, int] | int:
    """Delete claims past their ``ttl``, in the caller's transaction; return how many there were.

    They are claimed anew in any case: this frees the room. Run it now and then, with a commit
    after each call, until fewer than ``limit`` are gone.
    """
    return _within(target, "purge_claims", lambda connection: _purge(connection, limit, table))


@overload
def create_table(target: Async, *, table: str = ...) -> Coroutine[Any, Any, None]: ...
@overload
def create_table(target: Sync, *, table: str = ...) -> None: ...
def create_table(target: Async | Sync, *, table: str = TABLE) -> Coroutine[Any, Any, None] | None:
    """Make the table of claims unless it is there, in the caller's transaction.

    Several processes may do so at once, on Postgres if each commits soon::

        async with engine.begin() as connection:
            await create_table(connection)
    """
    return _within(target, "create_table", lambda connection: _create(connection, table))


def claims_table(metadata: MetaData, name: str = TABLE) -> Table:
    """Add the table of claims to a ``MetaData`` of yours, so that your migrations make it."""
    schema, _, bare = name.rpartition(".")
    return Table(
        bare,
        metadata,
        Column("digest", LargeBinary, primary_key=True),
        Column("key", Text, nullable=False),
        Column("claimed_at", Double, nullable=False),
        Column("expires_at", Double, nullable=False),
        Index(f"{bare}_expires_at", "expires_at"),
        schema=schema or None,
    )


@functools.cache
def _table(name: str) -> Table:
    return claims_table(MetaData(), name)


def _within(
    target: Async | Sync, name: str, work: Callable[[Connection], T]
) -> Coroutine[Any, Any, T] | T:
    """Do work on the connection of a target, or return what does when it is awaited.

    Python warns by its ``name`` of one that is not awaited.
    """
    if isinstance(target, async_scoped_session):
        return _within(target(), name, work)
    if isinstance(target, AsyncSession):
        return _called(name, target.run_sync(lambda session: work(session.connection())))
    if isinstance(target, AsyncConnection):
        return _called(name, target.run_sync(work))
    if isinstance(target, Connection):
        return work(target)
    if not isinstance(target, (Session, scoped_session)):
        raise ConfigError(
            f"{name} needs a session or connection of SQLAlchemy, which has the transaction that "
            f"does the work, got {target!a}; open one from an engine or sessionmaker, such as "
            f"'with Session(engine) as session, session.begin():', and pass that"
        )
    return work(target.connection())


def _called(name: str, working: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    named: Any = working
    named.__name__ = named.__qualname__ = name
    return working


def _claim(connection: Connection, *, key: str, ttl: float, table: str) -> None:
    if not connection.in_transaction():
        connection.begin()  # as its first statement would
    _check_transaction(connection)
    row = {"digest": digest(key), "key": printable(key), "ttl": ttl}
    now = _dialect_of(connection).now
    try:
        claimed = connection.execute(_insert(connection.dialect.name, now, table), row).first()
    except DBAPIError as exc:
        if fault_of(exc) is not Fault.SCHEMA:
            raise
        raise SchemaError(
            f"table {table} is absent; make it with create_table, with your migrations "
            f"(claims_table), or by hand:\n{_ddl(connection, table)}"
        ) from exc
    if claimed is None:
        raise AlreadyDone(key)


def _check_transaction(connection: Connection) -> None:
    """Refuse a connection on which the claim would not end with the transaction it stands in."""
    commits = _sqlite_commits if connection.dialect.name == "sqlite" else _server_commits
    if commits(connection):
        raise ConfigError(
            "claim_in needs a transaction, and this connection commits each statement by itself; "
            "leave isolation_level='AUTOCOMMIT' out, and autocommit=True of a driver"
        )
    if connection.dialect.name == "sqlite" and not _has_begun(connection):
        raise ConfigError(
            "claim_in stands in a savepoint, and SQLite's driver has begun no transaction around "
            "it, so that the end of the savepoint would commit the claim for good. Claim before "
            "begin_nested(), or have SQLAlchemy emit BEGIN: see transactions with SQLite on "
            "https://docs.sqlalchemy.org/en/20/dialects/sqlite.html"
        )


def _server_commits(connection: Connection) -> bool:
    return getattr(connection.connection.dbapi_connection, "autocommit", False) is True


def _sqlite_commits(connection: Connection) -> bool:
    driver: Any = connection.connection.driver_connection
    if getattr(driver, "autocommit", None) is True:  # from Python 3.12 on
        return True
    if driver.isolation_level is not None:
        return False
    if connection.in_nested_transaction():  # which SQLite takes for a transaction by itself
        return not _emits_begin(connection)
    return not driver.in_transaction


def _has_begun(connection: Connection) -> bool:
    """Whether a transaction of SQLite was begun for sure before the savepoints that are open.

    Its driver, left to itself, begins one with the first statement that writes. Whether there was
    one cannot be seen any more, so it does not count: a claim comes first in any case.
    """
    driver: Any = connection.connection.driver_connection
    return (
        not connection.in_nested_transaction()
        or getattr(driver, "autocommit", None) is False
        or (driver.isolation_level is None and _emits_begin(connection))
    )


def _emits_begin(connection: Connection) -> bool:
    """Whether somebody listens for the beginning of transactions, as SQLAlchemy's recipe does."""
    return bool(connection.dispatch.begin)


def _dialect_of(connection: Connection) -> Dialect:
    return dialect_of(cast(Any, connection))  # which has a ``dialect`` as engines have


@functools.cache
def _insert(dialect: str, now: ColumnElement[float], name: str) -> ReturningInsert[Any]:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    claims = _table(name)
    # Read anew where it stands: behind another's lock the row's own times grow old.
    times = {"claimed_at": now, "expires_at": now + bindparam("ttl", type_=Double())}
    identity = {name: bindparam(name, type_=claims.c[name].type) for name in ("digest", "key")}
    return (
        insert(claims)
        .values(identity | times)
        .on_conflict_do_update(
            index_elements=[claims.c.digest], set_=times, where=claims.c.expires_at <= now
        )
        .returning(claims.c.digest)
    )


def _purge(connection: Connection, limit: int, name: str) -> int:
    claims, dialect = _table(name), _dialect_of(connection)
    # As a subquery the clock is read once, so that the index on expires_at serves.
    started: ScalarSelect[float] = select(dialect.now).scalar_subquery()
    expired = (
        select(claims.c.digest)
        .where(claims.c.expires_at <= started)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(
        delete(claims).where(dialect.picked(claims.c.digest, expired))
    ).rowcount


def _create(connection: Connection, name: str) -> None:
    if connection.dialect.name == "postgresql":  # where two that make it at once collide
        connection.execute(advisory_lock(name))
    _table(name).create(connection, checkfirst=True)


def _ddl(connection: Connection, name: str) -> str:
    claims = _table(name)
    statements: list[ClauseElement] = [
        CreateTable(claims),
        *(CreateIndex(index) for index in claims.indexes),
    ]
    texts = (str(statement.compile(dialect=connection.dialect)) for statement in statements)
    return "\n".join(f"{text.strip()};" for text in texts)
