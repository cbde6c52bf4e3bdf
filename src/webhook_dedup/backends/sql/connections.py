"""Runs a store's work on a connection: bounded in time, repeated where that helps."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...errors import StoreUnavailable, WebhookDedupError
from .dialects import Dialect
from .faults import Fault, fault_of, translated

__all__ = ["Connections"]

T = TypeVar("T")

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
        self._store = dialect.name
        self._abandons = dialect.abandons
        self._timeout = timeout
        self._under_way: set[asyncio.Task[Any]] = set()

    async def work(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do work on a connection of its own. It may be done more than once."""

        async def once() -> T:
            async with self._engine.connect() as connection:
                return await work(connection)

        return await self.bounded(once)

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
            raise StoreUnavailable(f"{self._store}: no answer within {self._timeout:g} s")
        return task.result()

    async def finish(self) -> None:
        """Wait for work whose callers are gone."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

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
            await asyncio.sleep(pause * random.random())  # noqa: S311  # no secret
            pause *= 2
