"""Runs a store's work on a connection: bounded in time, repeated where that helps."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import QueuePool

from ...errors import StoreUnavailable, WebhookDedupError
from .aiosqlite_driver import AiosqliteDriver
from .asyncpg_driver import AsyncpgDriver
from .dialects import Dialect
from .direct import Ask, BySqlalchemy, Driver, is_ours
from .faults import IF_HELD, Fault, fault_of, is_of_a_replica, translated

__all__ = ["Connections"]

T = TypeVar("T")

_DRIVERS: dict[str, Callable[[AsyncEngine], Driver]] = {
    "asyncpg": AsyncpgDriver,
    "aiosqlite": AiosqliteDriver,
}
_REPEATS = {Fault.CONFLICT: 5, Fault.LOST: 1}
_PAUSE = 0.01


class Connections:
    """The one door to the database. Whatever goes wrong behind it comes out translated.

    Args:
        engine: Where connections come from.
        dialect: Of the engine.
        timeout: Seconds after which a call raises ``StoreUnavailable``.
    """

    def __init__(self, engine: AsyncEngine, dialect: Dialect, timeout: float) -> None:
        self._engine = engine
        self._driver = _driver_of(engine)
        self._store = dialect.name
        self._abandons = dialect.abandons
        self._timeout = timeout
        self._under_way: set[asyncio.Task[Any]] = set()

    async def work(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do work on a connection of its own. It may be done more than once."""
        return await self.bounded(partial(self._through_sqlalchemy, work))

    async def ask(self, work: Callable[[Ask], Awaitable[T]]) -> T:
        """Do work that only executes statements. It may be done more than once."""
        if self._driver is None:
            return await self.bounded(partial(self._asking_sqlalchemy, work))
        if not self._driver.is_free():
            return await self.bounded(partial(self._on_the_driver_or_not, self._driver, work))
        began = time.monotonic()
        try:
            # In the caller's own task: one of its own would cost as much as the statement.
            return await self._driver.run(work, self._timeout)
        except WebhookDedupError:
            raise
        except Exception as exc:
            if time.monotonic() - began >= self._timeout:
                raise self._no_answer() if self._abandons else translated(exc, self._store) from exc
        return await self.bounded(partial(self._asking_sqlalchemy, work))

    async def _through_sqlalchemy(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self._engine.connect() as connection:
            try:
                return await work(connection)
            except DBAPIError as exc:
                if is_of_a_replica(exc):  # the address may mean another server by now
                    await connection.invalidate()
                raise

    async def _asking_sqlalchemy(self, work: Callable[[Ask], Awaitable[T]]) -> T:
        return await self._through_sqlalchemy(lambda connection: work(BySqlalchemy(connection)))

    async def _on_the_driver_or_not(self, driver: Driver, work: Callable[[Ask], Awaitable[T]]) -> T:
        try:
            return await driver.run(work, self._timeout)
        except WebhookDedupError:
            raise
        except Exception:  # noqa: BLE001 - told again by SQLAlchemy
            # It knows what an error means for its pool, and every statement may be repeated.
            return await self._asking_sqlalchemy(work)

    async def bounded(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Attempt something until it succeeds, cannot succeed, or time is up."""
        task = asyncio.create_task(self._repeated(attempt))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        if not self._abandons:
            # A cancellation would leave the cursor half read, and with it the file's lock.
            return await asyncio.shield(task)
        try:
            # Not by wait_for, which before Python 3.12 may swallow a cancellation.
            done, _ = await asyncio.wait([task], timeout=self._timeout)
        finally:
            task.cancel()
        if not done:
            raise self._no_answer()
        return task.result()

    async def finish(self) -> None:
        """Wait for what is under way, also for callers that are gone."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._driver is not None:
            await self._driver.finish()

    def _no_answer(self) -> StoreUnavailable:
        said = f"{self._store}: no answer within {self._timeout:g} s"
        if _is_lent_out(self._engine):
            said += f", and no connection of its engine was free; {IF_HELD}"
        return StoreUnavailable(said)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, for its caller may be gone

    async def _repeated(self, attempt: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + self._timeout
        repeats = dict(_REPEATS)
        pause = _PAUSE
        while True:
            try:
                return await attempt()
            except WebhookDedupError:
                raise
            except Exception as exc:
                fault = fault_of(exc)
                repeats[fault] = repeats.get(fault, 0) - 1
                if repeats[fault] < 0 or time.monotonic() > deadline:
                    raise translated(exc, self._store) from exc
            await asyncio.sleep(pause * random.random())  # noqa: S311 - no secret
            pause *= 2


def _driver_of(engine: AsyncEngine) -> Driver | None:
    """Return the shortest way to the database of an engine, if there is one below SQLAlchemy."""
    driver = _DRIVERS.get(engine.dialect.driver) if is_ours(engine) else None
    return None if driver is None else driver(engine)


def _is_lent_out(engine: AsyncEngine) -> bool:
    """Whether all that an engine of the user's keeps is in use, perhaps by his handlers."""
    pool = engine.sync_engine.pool
    return (
        not is_ours(engine)
        and isinstance(pool, QueuePool)
        and not pool.checkedin()
        and pool.checkedout() >= pool.size()
    )
