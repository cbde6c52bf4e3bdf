"""Statements on the driver below SQLAlchemy, over its pool.

SQLAlchemy builds the statements, pools the connections and judges their errors. What is left out
for the engines this library makes is what it does around each statement, which costs a batch as
much as the driver's own work. An engine of the user's is spoken to by SQLAlchemy alone, so that
what he hangs on it (echo, events, tracing) sees everything.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol, cast

from sqlalchemy import ClauseElement, Executable
from sqlalchemy.engine import Dialect as SqlalchemyDialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["OURS", "Ask", "Driver", "by_sqlalchemy", "driver_of", "is_ours"]

OURS = {"webhook_dedup_made_this": True}
"""Execution options that mark an engine as made by this library."""

Ask = Callable[[Executable, Any], Awaitable[Sequence[Any]]]
"""Executes a statement on an open connection; returns its rows, whose columns go by position."""

_EXPANDED = re.compile(r"__\[POSTCOMPILE_(\w+)\]")


def is_ours(engine: AsyncEngine) -> bool:
    """Whether this library made an engine: nobody else hangs anything on it."""
    return OURS.items() <= engine.get_execution_options().items()


async def by_sqlalchemy(
    connection: AsyncConnection, statement: Executable, parameters: Any
) -> Sequence[Any]:
    """Leave everything to SQLAlchemy."""
    result = await connection.execute(statement, parameters)
    return result.all() if result.returns_rows else ()


class Driver(Protocol):
    """How statements go to a driver."""

    cut_off_is_clean: bool
    """Whether its connection is as good as new when a statement on it is cancelled."""

    async def ask(self, connection: Any, statement: Executable, parameters: Any) -> Sequence[Any]:
        """Execute a statement on a connection of the driver. Its errors pass unchanged."""

    def cut(self, connection: Any) -> None:
        """Make whatever is under way on a connection fail."""


def driver_of(engine: AsyncEngine) -> Driver | None:
    """Return the shortest way to the database of an engine, if there is one below SQLAlchemy."""
    drivers: dict[str, Callable[[_Texts], Driver]] = {
        "asyncpg": _Asyncpg,
        "aiosqlite": _Aiosqlite,
    }
    driver = drivers.get(engine.dialect.driver) if is_ours(engine) else None
    return None if driver is None else driver(_Texts(engine.dialect))


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


class _Asyncpg:
    cut_off_is_clean = False

    def __init__(self, texts: _Texts) -> None:
        self._texts = texts

    async def ask(self, connection: Any, statement: Executable, parameters: Any) -> Sequence[Any]:
        text, names, constants = self._texts.of(statement)
        given = {**constants, **parameters}
        rows: Sequence[Any] = await connection.fetch(text, *map(given.get, names))
        return rows

    def cut(self, connection: Any) -> None:
        connection.terminate()


class _Aiosqlite:
    cut_off_is_clean = True  # its thread brings every statement to its end

    def __init__(self, texts: _Texts) -> None:
        self._texts = texts

    async def ask(self, connection: Any, statement: Executable, parameters: Any) -> Sequence[Any]:
        text, names, constants = self._texts.of(statement)
        if isinstance(parameters, Mapping):
            text, given = _expanded(text, names, {**constants, **parameters})
        else:
            text = _multiplied(text, len(parameters))
            given = [row[name] for row in parameters for name in names]
        # One visit to the driver's thread, where a cursor would cost four.
        rows: Sequence[Any] = await connection.execute_fetchall(text, given)
        return rows

    def cut(self, connection: Any) -> None:
        """Do nothing: the database's own time-out ends the wait for a lock."""


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
