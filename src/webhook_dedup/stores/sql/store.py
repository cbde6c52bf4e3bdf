"""The store of claims in a SQL database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...backends.sql.database import Database
from ...backends.sql.direct import Ask
from ...backends.sql.engines import open_engine
from ...backends.sql.names import agreed
from ...keys import check_keys, digest
from ...model import Bid, Claim, Remembers, Settlement
from ..entry import Keyed
from .rounds import live_rows, settle
from .schema import schema
from .statements import SWEPT_AT_ONCE, Statements
from .sweeper import Sweeper
from .verbs import Verb, claiming, completing, releasing, renewing, sight

__all__ = ["SqlStore"]

T = TypeVar("T")
Asked = TypeVar("Asked", bound=Keyed)
Answer = TypeVar("Answer")

_TABLE = "webhook_dedup_claims"
_TIMEOUT = 10.0
_SWEEP_EVERY = 60.0
_PAUSE_BETWEEN_SWEEPS = 0.05
_KEYS_AT_ONCE = 1_000


class SqlStore:
    """Keeps claims in one table of SQLite or Postgres.

    Each verb is one multi-row statement, followed by a read of the keys it could not write; each
    statement commits. In an SQLite file that was opened by its URL, those that wait for one another
    commit together. Calls that meet a conflict or a connection that has died are repeated
    within ``timeout``.

    Args:
        engine: The user's own engine; it stays open. Its isolation level makes no difference.
        create: Make the tables at start-up if they are absent.
        table: Name of the table, with the database schema before a dot if need be.
        timeout: Seconds to wait for the database before ``StoreUnavailable`` is raised. With an
            SQLite engine of the user's, its own busy timeout decides.
        sweep_every: Seconds between sweeps of expired rows, give or take a quarter.

    Raises:
        ConfigError: The engine is neither SQLite nor Postgres, or SQLite in memory.
    """

    remembers = Remembers.ALL

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        create: bool = True,
        table: str = _TABLE,
        timeout: float = _TIMEOUT,
        sweep_every: float = _SWEEP_EVERY,
    ) -> None:
        self.creates_tables = create
        self._schema = schema(table)
        self._database = Database(engine, self._schema, create=create, timeout=timeout)
        self._dialect = self._database.dialect
        self.name = self._dialect.name
        self._statements = Statements(self._schema.table, self._dialect)
        self._sweeper = Sweeper(self.purge, sweep_every)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        create: bool = True,
        table: str | None = None,
        timeout: float = _TIMEOUT,
        sweep_every: float = _SWEEP_EVERY,
    ) -> SqlStore:
        """Open a store with an engine of its own, which :meth:`aclose` disposes of.

        ``sqlite:///file.db``, ``postgresql://user@host/database`` (asyncpg, with libpq's
        parameters such as ``sslmode``) or ``postgresql+psycopg://…``. A ``timeout`` in the query
        goes before the argument; a ``table`` in it may stand for the argument.

        Raises:
            ConfigError: The URL cannot be used; the message says what to write instead. Or it
                names another table than the argument.
            MissingExtra: The driver is not installed.
        """
        opened = open_engine(url, timeout)
        store = cls(
            opened.engine,
            create=create,
            table=agreed(table, opened.claims) or _TABLE,
            timeout=opened.timeout,
            sweep_every=sweep_every,
        )
        store._database.own()
        return store

    @property
    def connection(self) -> AsyncEngine:
        """The engine, for an inbox beside this store."""
        return self._database.engine

    @property
    def namespace(self) -> str:
        """The name of the table."""
        return self._schema.name

    async def start(self) -> None:
        await self._database.start()
        self._sweeper.start()

    async def claim(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        return await self._settle(claiming(self._statements, self._dialect), bids)

    async def complete(self, done: Sequence[Settlement]) -> Sequence[bool]:
        return await self._settle(completing(self._statements, self._dialect), done)

    async def release(self, claims: Sequence[Claim]) -> Sequence[bool]:
        return await self._settle(releasing(self._statements, self._dialect), claims)

    async def renew(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        return await self._settle(renewing(self._statements, self._dialect, lease), claims)

    async def look(self, keys: Sequence[str]) -> Sequence[Claim | None]:
        check_keys(keys)
        digests = [digest(key) for key in keys]
        reading = partial(live_rows, read=self._statements.read, digests=digests)
        live = await self._ask(reading)
        return [sight(key, live.get(each)) for key, each in zip(keys, digests, strict=True)]

    async def forget(self, key: str) -> bool:
        forgetting = {"digests": [digest(key)]}
        rows = await self._ask(lambda ask: ask.rows(self._statements.forget, forgetting))
        return any(was_live for (was_live,) in rows)

    async def purge(self) -> int:
        """Delete the expired rows now, some at a time; return how many there were."""
        total = 0
        while True:
            swept = await self._database.work(self._sweep)
            total += swept
            if swept < SWEPT_AT_ONCE:
                return total
            await asyncio.sleep(_PAUSE_BETWEEN_SWEEPS)

    async def _sweep(self, connection: AsyncConnection) -> int:
        return (await connection.execute(self._statements.sweep)).rowcount

    async def aclose(self) -> None:
        await self._sweeper.stop()
        await self._database.aclose()

    async def _settle(self, verb: Verb[Asked, Answer], batch: Sequence[Asked]) -> list[Answer]:
        check_keys(asked.key for asked in batch)
        answers: list[Answer] = []
        for start in range(0, len(batch), _KEYS_AT_ONCE):
            part = batch[start : start + _KEYS_AT_ONCE]
            work = partial(settle, verb=verb, read=self._statements.read, batch=part)
            answers += await self._ask(work)
        return answers

    async def _ask(self, work: Callable[[Ask], Awaitable[T]]) -> T:
        done = await self._database.ask(work)
        self._sweeper.start()  # unless it runs: a store need not be started by hand
        return done
