"""asyncpg below SQLAlchemy: work on a connection lent by the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from .direct import Ask, Texts, silent

__all__ = ["AsyncpgDriver"]

T = TypeVar("T")


class AsyncpgDriver:
    """A driver whose connections are lent one at a time.

    Args:
        engine: Over asyncpg.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._texts = Texts(engine.dialect)
        self._lent = 0
        self._returned: asyncio.Future[None] | None = None

    def is_free(self) -> bool:
        pool = self._engine.sync_engine.pool  # which may be another after a dispose
        return isinstance(pool, QueuePool) and pool.checkedin() > 0

    async def run(self, work: Callable[[Ask], Awaitable[T]], timeout: float) -> T:
        pooled = await self._engine.raw_connection()
        self._lent += 1
        connection: Any = pooled.driver_connection
        watch = asyncio.get_running_loop().call_later(timeout, connection.terminate)
        try:
            answer = await work(_Asyncpg(connection, self._texts))
        except asyncio.CancelledError:
            pooled.invalidate()  # a statement may be under way on it
            raise
        finally:
            watch.cancel()
            pooled.close()
            self._lent -= 1
            if self._returned is not None and not self._lent:
                self._returned.set_result(None)
                self._returned = None
        # Whoever waits for the connection has it now: a caller that asks again and again, and
        # always finds it idle, would keep all others from it.
        await asyncio.sleep(0)
        return answer

    async def finish(self) -> None:
        if self._lent:
            if self._returned is None:
                self._returned = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._returned)


class _Asyncpg:
    def __init__(self, connection: Any, texts: Texts) -> None:
        self._connection = connection
        self._texts = texts

    async def rows(self, statement: Executable, parameters: Any) -> Sequence[Any]:
        text, names, constants = self._texts.of(statement)
        given = {**constants, **parameters}
        rows: Sequence[Any] = await self._connection.fetch(text, *map(given.get, names))
        return rows

    async def count(self, statement: Executable, parameters: Any) -> int:
        text, names, constants = self._texts.of(statement)
        given = {**constants, **parameters}
        # Rows that nobody reads would be sent, and made objects of.
        status: str = await self._connection.execute(silent(text), *map(given.get, names))
        return int(status.rpartition(" ")[2])
