"""One table in one database: started once, worked on, closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Executable, StaticPool
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...errors import ConfigError, SchemaError, StoreError, StoreUnavailable
from ...loop_binding import LoopBinding, bind_loop
from .connections import Connections
from .dialects import dialect_of
from .direct import Ask, is_ours
from .engines import check_file
from .loops import renew_pool
from .schema import VersionedTable

__all__ = ["Database"]

T = TypeVar("T")
Check = Callable[[AsyncConnection], Awaitable[None]]


class Database:
    """Where a table lives.

    Args:
        engine: Where connections come from.
        schema: The table, made when it is absent and ``create`` says so.
        create: Make the table if it is absent.
        timeout: Seconds after which a call raises ``StoreUnavailable``.
        check: Looks at the database when the table is prepared; what it raises fails the start.

    Attributes:
        dialect: Of the engine.
        engine: As given.

    Raises:
        ConfigError: The engine is neither SQLite nor Postgres, or SQLite in memory, or all who ask
            it share one connection.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        schema: VersionedTable,
        *,
        create: bool,
        timeout: float,
        check: Check | None = None,
    ) -> None:
        check_file(engine.url)
        _check_pool(engine)
        self.dialect = dialect_of(engine)
        self.engine = engine
        self._schema = schema
        self._create = create
        self._check = check
        self._owned = False
        committing = (
            engine if is_ours(engine) else engine.execution_options(isolation_level="AUTOCOMMIT")
        )
        self._connections = Connections(committing, self.dialect, timeout)
        self._binding: LoopBinding | None = None
        self._starting: asyncio.Lock  # of the same loop as the connections
        self._started = False

    def own(self) -> None:
        """Take over the engine: it is disposed of in the end."""
        self._owned = True

    async def start(self) -> None:
        """Prepare the table; may be called again.

        Raises:
            ConfigError: It cannot work as configured, or is bound to another event loop.
            SchemaError: The table is absent and may not be made, or is of another version.
            StoreUnavailable: The database cannot be reached now.
        """
        self._bind_loop()
        async with self._starting:
            if self._started:
                return
            try:
                await self._connections.bounded(self._prepare)
            except (StoreUnavailable, SchemaError):
                raise
            except StoreError as exc:
                raise ConfigError(str(exc)) from exc
            self._started = True

    async def work(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do work on a connection that commits each statement. It may be done more than once."""
        if not self._ready:
            await self.start()
        return await self._connections.work(work)

    async def ask(self, work: Callable[[Ask], Awaitable[T]]) -> T:
        """Do work that only executes statements, each of which commits, the shortest way."""
        if not self._ready:
            await self.start()
        return await self._connections.ask(work)

    async def rows(self, statement: Executable, parameters: Any) -> Sequence[Any]:
        """Execute one statement; return its rows, whose columns go by position."""
        return await self.ask(lambda ask: ask.rows(statement, parameters))

    async def count(self, statement: Executable, parameters: Any) -> int:
        """Execute one statement with ``RETURNING``; say only how many rows it returned."""
        return await self.ask(lambda ask: ask.count(statement, parameters))

    async def aclose(self) -> None:
        """Wait for what is under way, and free what is not the user's."""
        await self._connections.finish()
        self._started = False
        if self._owned:
            await self.engine.dispose()

    @property
    def _ready(self) -> bool:
        return self._started and self._binding is not None and self._binding.here

    def _bind_loop(self) -> None:
        renew = partial(renew_pool, self.engine.sync_engine) if is_ours(self.engine) else bool
        binding = bind_loop(self.engine, self.dialect.name, renew)
        if binding is not self._binding:
            self._binding, self._starting = binding, asyncio.Lock()

    async def _prepare(self) -> None:
        async with self.engine.connect() as connection:
            await self.dialect.check(connection)
        await self._schema.prepare(self.engine, self.dialect, create=self._create)
        if self._check is not None:
            async with self.engine.connect() as connection:
                await self._check(connection)


def _check_pool(engine: AsyncEngine) -> None:
    """Refuse a pool that lends its connection to many at once.

    One of them would roll back what was committed for another.
    """
    if isinstance(engine.pool, StaticPool):
        raise ConfigError(
            "an engine with poolclass=StaticPool lends one connection to all at once, and loses "
            "what they write: leave poolclass= out"
        )
