"""aiosqlite below SQLAlchemy: what waits for the one writer of a file is written together.

A file has one writer, and each commit waits for the disk. What the stores and inboxes of an engine
ask while a transaction is under way goes into the next one: one visit to the driver's thread, and
one commit, for all of it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Executable
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from ...errors import StoreUnavailable
from .direct import Ask, Texts, silent
from .faults import Fault, fault_of
from .layout import Sql, laid_out

__all__ = ["AiosqliteDriver"]

T = TypeVar("T")

_NOTHING: Sql = ("SELECT 1", ())
_AT_ONCE = 64  # other processes wait for the file meanwhile
_WAITED_IN_VAIN = {Fault.CONFLICT, Fault.AWAY}  # for a lock, the one connection, or room


class AiosqliteDriver:
    """A driver for SQLite. An error of one statement is told to all that went with it.

    Args:
        engine: Over aiosqlite.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._texts = Texts(engine.dialect)
        self._queues = _queues.setdefault(engine.sync_engine, _Queues())

    def is_free(self) -> bool:
        return True  # who comes while it writes joins the next transaction

    async def run(
        self,
        work: Callable[[Ask], Awaitable[T]],
        timeout: float,  # noqa: ARG002 - the database's own ends the wait for a lock
    ) -> T:
        return await work(self)

    async def finish(self) -> None:
        queue = self._queues.here()
        if queue.is_busy:
            with suppress(Exception):  # told to those whom it concerns
                await queue.ask(self._engine, _NOTHING, _fetched)

    async def rows(self, statement: Executable, parameters: Any) -> Sequence[Any]:
        text, names, constants = self._texts.of(statement)
        sql = laid_out(text, names, constants, parameters)
        return await self._queues.here().ask(self._engine, sql, _fetched)

    async def count(self, statement: Executable, parameters: Any) -> int:
        text, names, constants = self._texts.of(statement)
        sql = laid_out(silent(text), names, constants, parameters)
        return await self._queues.here().ask(self._engine, sql, _counted)


class _Job(Generic[T]):
    """A statement to execute, and who waits for its answer."""

    __slots__ = ("answer", "future", "sql")

    def __init__(
        self, sql: Sql, answer: Callable[[sqlite3.Cursor], T], future: asyncio.Future[T]
    ) -> None:
        self.sql = sql
        self.answer = answer
        self.future = future

    def do(self, connection: sqlite3.Connection) -> T:
        return self.answer(connection.execute(*self.sql))


class _Queue:
    """What waits for the writer of an engine on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waiting: list[_Job[Any]] = []
        self._task: asyncio.Task[None] | None = None
        self._loop = loop

    @property
    def is_busy(self) -> bool:
        return self._task is not None

    async def ask(
        self,
        engine: AsyncEngine,
        sql: Sql,
        answer: Callable[[sqlite3.Cursor], T],
    ) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(_Job(sql, answer, future))
        if self._task is None:
            self._task = self._loop.create_task(self._write(engine))
            self._task.add_done_callback(self._ended)
        return await future

    async def _write(self, engine: AsyncEngine) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            behind = len(self._waiting)
            if wanted := [job for job in group if not job.future.done()]:
                failure = await _together(engine, wanted)
                if failure is not None and fault_of(failure) in _WAITED_IN_VAIN:
                    # They have waited as long, and behind another group would once more.
                    _tell(self._waiting[:behind], failure)
                    del self._waiting[:behind]
            # Who waits for the connection through SQLAlchemy has it now.
            await asyncio.sleep(0)
        self._task = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Answer those whom a task left behind: one cancelled before it began runs no line."""
        if task is self._task:
            _tell(self._waiting, _cut_off())
            self._waiting = []
            self._task = None


class _Queues:
    """The queues of an engine. What waits on a loop that stands still is served when it goes on."""

    def __init__(self) -> None:
        self._by_loop: dict[asyncio.AbstractEventLoop, _Queue] = {}

    def here(self) -> _Queue:
        """Return that of the present event loop."""
        loop = asyncio.get_running_loop()
        queue = self._by_loop.get(loop)
        if queue is None:
            for ended in [other for other in list(self._by_loop) if other.is_closed()]:
                self._by_loop.pop(ended, None)  # what it has left behind nobody waits for
            queue = self._by_loop[loop] = _Queue(loop)
        return queue


_queues: WeakKeyDictionary[Engine, _Queues] = WeakKeyDictionary()


async def _together(engine: AsyncEngine, group: Sequence[_Job[Any]]) -> Exception | None:
    """Write and answer all of a group; return what it was told if that failed."""
    try:
        pooled = await engine.raw_connection()
        connection: Any = pooled.driver_connection
        try:
            # aiosqlite has no public word for several statements in one visit to its thread.
            answers = await connection._execute(_visit, connection._conn, group)  # noqa: SLF001 - see above
        finally:
            pooled.close()
    except Exception as exc:  # noqa: BLE001 - told to those who wait for it
        _tell(group, exc)
        return exc
    except BaseException:
        _tell(group, _cut_off())
        raise
    for job, answer in zip(group, answers, strict=True):
        if not job.future.done():
            job.future.set_result(answer)
    return None


def _cut_off() -> StoreUnavailable:
    return StoreUnavailable("sqlite: cut off; it may have happened or not")


def _tell(group: Sequence[_Job[Any]], exc: Exception) -> None:
    for job in group:
        if not job.future.done():
            job.future.set_exception(exc)


def _visit(connection: sqlite3.Connection, group: Sequence[_Job[Any]]) -> list[Any]:
    """Execute all in one transaction; a single statement is one by itself."""
    if len(group) == 1:
        return [group[0].do(connection)]
    connection.execute("BEGIN IMMEDIATE")
    try:
        answers = [job.do(connection) for job in group]
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
    return answers


def _fetched(cursor: sqlite3.Cursor) -> list[Any]:
    return cursor.fetchall()


def _counted(cursor: sqlite3.Cursor) -> int:
    return cursor.rowcount
