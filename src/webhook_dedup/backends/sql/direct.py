"""Statements on the driver below SQLAlchemy, over its pool.

SQLAlchemy builds the statements, pools the connections and judges their errors. What is left out
for the engines this library makes is what it does around each statement, which costs a batch as
much as the driver's own work. An engine of the user's is spoken to by SQLAlchemy alone, so that
what he hangs on it (echo, events, tracing) sees everything.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Any, cast

from sqlalchemy import ClauseElement, Executable
from sqlalchemy.engine import Dialect as SqlalchemyDialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["OURS", "Ask", "asking", "by_sqlalchemy", "is_ours"]

OURS = {"webhook_dedup_made_this": True}
"""Execution options that mark an engine as made by this library."""

Ask = Callable[[AsyncConnection, Executable, Any], Awaitable[Sequence[Any]]]
"""Executes a statement and returns its rows, whose columns go by position."""

_EXPANDED = re.compile(r"__\[POSTCOMPILE_(\w+)\]")


def is_ours(engine: AsyncEngine) -> bool:
    """Whether this library made an engine: nobody else hangs anything on it."""
    return OURS.items() <= engine.get_execution_options().items()


def asking(engine: AsyncEngine) -> Ask:
    """Return the shortest way to the rows of a statement on an engine."""
    ways = {"asyncpg": _by_asyncpg, "aiosqlite": _by_aiosqlite}
    way = ways.get(engine.dialect.driver) if is_ours(engine) else None
    return by_sqlalchemy if way is None else partial(way, _Texts(engine.dialect))


class _Texts:
    """The texts of statements in one dialect, compiled once, and their parameters in order."""

    def __init__(self, dialect: SqlalchemyDialect) -> None:
        self._dialect = dialect
        self._known: dict[Executable, tuple[str, Sequence[str], dict[str, Any]]] = {}

    def of(self, statement: Executable) -> tuple[str, Sequence[str], dict[str, Any]]:
        """Return its text, the names of its parameters as they stand there, and its constants."""
        known = self._known.get(statement)
        if known is None:
            compiled: Any = cast(ClauseElement, statement).compile(dialect=self._dialect)
            constants = {
                name: value for name, value in compiled.params.items() if value is not None
            }
            known = self._known[statement] = (str(compiled), compiled.positiontup, constants)
        return known


async def by_sqlalchemy(
    connection: AsyncConnection, statement: Executable, parameters: Any
) -> Sequence[Any]:
    """Leave everything to SQLAlchemy."""
    result = await connection.execute(statement, parameters)
    return result.all() if result.returns_rows else ()


async def _by_asyncpg(
    texts: _Texts, connection: AsyncConnection, statement: Executable, parameters: Any
) -> Sequence[Any]:
    text, names, constants = texts.of(statement)
    given = {**constants, **parameters}
    try:
        rows: Sequence[Any] = await _driver(connection).fetch(text, *map(given.get, names))
    except asyncio.CancelledError:
        _invalidate(connection)
        raise
    except Exception:  # noqa: BLE001  # told again by SQLAlchemy
        # It knows what an error means for its pool, and every statement may be repeated.
        return await by_sqlalchemy(connection, statement, parameters)
    return rows


async def _by_aiosqlite(
    texts: _Texts, connection: AsyncConnection, statement: Executable, parameters: Any
) -> Sequence[Any]:
    text, names, constants = texts.of(statement)
    if isinstance(parameters, Mapping):
        text, given = _expanded(text, names, {**constants, **parameters})
    else:
        text = _multiplied(text, len(parameters))
        given = [row[name] for row in parameters for name in names]
    try:
        # One visit to the driver's thread, where a cursor would cost four.
        rows: Sequence[Any] = await _driver(connection).execute_fetchall(text, given)
    except asyncio.CancelledError:
        _invalidate(connection)
        raise
    return rows


def _driver(connection: AsyncConnection) -> Any:
    assert connection.sync_connection is not None  # noqa: S101  # it is open
    return connection.sync_connection.connection.driver_connection


def _invalidate(connection: AsyncConnection) -> None:
    """Part with a connection that may be in the middle of an answer."""
    if connection.sync_connection is not None:
        connection.sync_connection.invalidate()


@lru_cache(maxsize=64)
def _multiplied(text: str, rows: int) -> str:
    """Give an insert of one row so many."""
    head, _, rest = text.partition(" VALUES ")
    values, _, tail = rest.partition(" ON CONFLICT ")
    return f"{head} VALUES {', '.join([values] * rows)} ON CONFLICT {tail}"


def _expanded(text: str, names: Sequence[str], given: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Give each list its place holders; lay out the parameters in their order."""
    lists = set(_EXPANDED.findall(text))
    values: list[Any] = []
    for name in names:
        value = given[name]
        flat = chain.from_iterable(value) if _is_pairs(value) else value
        values += flat if name in lists else [value]
    return _EXPANDED.sub(lambda match: _places(given[match[1]]), text), values


def _places(values: Sequence[Any]) -> str:
    if _is_pairs(values):
        return "VALUES " + ", ".join(["(?, ?)"] * len(values))
    return ", ".join("?" * len(values)) or "NULL"


def _is_pairs(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], tuple)
