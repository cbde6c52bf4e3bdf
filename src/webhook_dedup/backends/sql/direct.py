"""Statements on the driver below SQLAlchemy, over its pool.

SQLAlchemy builds the statements, pools the connections and judges their errors. What is left out
for the engines this library makes is what it does around each statement, which costs a batch as
much as the driver's own work. An engine of the user's is spoken to by SQLAlchemy alone, so that
what he hangs on it (echo, events, tracing) sees everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy import ClauseElement, Executable
from sqlalchemy.engine import Dialect as SqlalchemyDialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["OURS", "Ask", "BySqlalchemy", "Columns", "Driver", "Texts", "is_ours", "silent"]

OURS = {"webhook_dedup_made_this": True}
"""Execution options that mark an engine as made by this library."""

T = TypeVar("T")


class Columns(dict[str, Sequence[Any]]):
    """The rows of a batch as columns of equal length, for a statement that inserts one row."""

    def as_rows(self) -> list[dict[str, Any]]:
        """Return each row by itself."""
        return [dict(zip(self, row, strict=True)) for row in zip(*self.values(), strict=True)]


class Ask(Protocol):
    """Executes statements, each of which commits. Errors of the driver pass unchanged."""

    async def rows(self, statement: Executable, parameters: Any) -> Sequence[Any]:
        """Return what a statement returns; the columns of its rows go by position."""

    async def count(self, statement: Executable, parameters: Any) -> int:
        """Return how many rows a statement with ``RETURNING`` would have returned."""


class Driver(Protocol):
    """The shortest way to a database."""

    def is_free(self) -> bool:
        """Whether work can begin without waiting for a connection."""

    async def run(self, work: Callable[[Ask], Awaitable[T]], timeout: float) -> T:
        """Do work; after so many seconds whatever is under way fails, where that is possible."""

    async def finish(self) -> None:
        """Wait for what is under way."""


def is_ours(engine: AsyncEngine) -> bool:
    """Whether this library made an engine: nobody else hangs anything on it."""
    return OURS.items() <= engine.get_execution_options().items()


class BySqlalchemy:
    """Leaves everything to SQLAlchemy."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, statement: Executable, parameters: Any) -> Sequence[Any]:
        given = parameters.as_rows() if isinstance(parameters, Columns) else parameters
        result = await self._connection.execute(statement, given)
        return result.all() if result.returns_rows else ()

    async def count(self, statement: Executable, parameters: Any) -> int:
        return len(await self.rows(statement, parameters))


class Texts:
    """The texts of statements in one dialect, compiled once, and their parameters in order."""

    def __init__(self, dialect: SqlalchemyDialect) -> None:
        self._dialect = dialect
        self._known: dict[Executable, tuple[str, Sequence[str], Mapping[str, Any]]] = {}

    def of(self, statement: Executable) -> tuple[str, Sequence[str], Mapping[str, Any]]:
        """Return its text, the names of its parameters as they stand there, and its constants."""
        known = self._known.get(statement)
        if known is None:
            compiled: Any = cast(ClauseElement, statement).compile(dialect=self._dialect)
            constants = {
                name: value for name, value in compiled.params.items() if value is not None
            }
            known = self._known[statement] = (str(compiled), compiled.positiontup, constants)
        return known


def silent(text: str) -> str:
    """Return the text of a statement without its ``RETURNING``, which stands last."""
    return text.rpartition(" RETURNING ")[0] or text
