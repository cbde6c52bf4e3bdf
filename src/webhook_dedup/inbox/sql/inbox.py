"""The inbox in a SQL database."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...backends.sql.database import Database
from ...backends.sql.engines import open_engine
from ...backends.sql.names import agreed, beside
from ...contracts import Sharing, Sought
from ...errors import StoreError
from ...keys import check_keys, digest
from ...model import Attempt, Item
from ..attempts import entry, note
from .durability import is_durable
from .portions import by_number, by_weight
from .rows import escaped, past_of, read_row, stand_in, values_of
from .schema import schema
from .search import Search
from .statements import BURIED, KEPT, PAST, RETRIED, Statements

__all__ = ["SqlInbox"]

T = TypeVar("T")

logger = logging.getLogger("webhook_dedup")

_TABLE = "webhook_dedup_inbox"
_TIMEOUT = 10.0
_TAKEN_AT_ONCE = 500
_HEAD, _BODY = map(list(KEPT).index, ("head", "body"))


class SqlInbox:
    """Keeps deliveries in one table of SQLite or Postgres, beside a store or alone.

    It is durable unless the server's or the engine's settings put commits off; :meth:`start` finds
    out and warns. Each verb is one statement and commits, on SQLite perhaps together with others
    that waited for the same file. Calls that meet a conflict or a connection that has died are
    repeated within ``timeout``.

    On Postgres ``begin`` and ``done`` do not wait for the disk. A crash of the server itself may
    take back those of its last moment: the items come due again, and their claims say that their
    events are done.

    Args:
        engine: The user's own engine; it stays open. Its isolation level makes no difference.
        create: Make the tables at start-up if they are absent.
        table: Name of the table, with the database schema before a dot if need be.
        timeout: Seconds to wait for the database before ``StoreUnavailable`` is raised. With an
            SQLite engine of the user's, its own busy timeout decides.

    Raises:
        ConfigError: The engine is neither SQLite nor Postgres, or SQLite in memory.
    """

    durable = True  # until the database is known to be otherwise

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        create: bool = True,
        table: str = _TABLE,
        timeout: float = _TIMEOUT,
    ) -> None:
        items = schema(table)
        self._database = Database(
            engine, items, create=create, timeout=timeout, check=self._look_around
        )
        dialect = self._database.dialect
        self.name = dialect.name
        self._statements = Statements(items.table, dialect)
        self._search = Search(items.table, self._statements.row, dialect)

    @classmethod
    def beside(cls, store: Sharing) -> SqlInbox:
        """Open an inbox on the engine of a store, in a table named like the store's.

        A store that may not make its table has an inbox that may not either.
        """
        table = beside(store.namespace, "inbox")
        return cls(store.connection, table=table, create=getattr(store, "creates_tables", True))

    @classmethod
    def from_url(
        cls, url: str, *, create: bool = True, table: str | None = None, timeout: float = _TIMEOUT
    ) -> SqlInbox:
        """Open an inbox with an engine of its own, which :meth:`aclose` disposes of.

        The URLs are those of :meth:`webhook_dedup.stores.sql.SqlStore.from_url`. A ``table`` in the
        query is that of the claims, and the inbox has the table that would lie beside it.

        Raises:
            ConfigError: The URL cannot be used; the message says what to write instead. Or it
                means another table than the argument.
            MissingExtra: The driver is not installed.
        """
        opened = open_engine(url, timeout)
        by_url = opened.claims and beside(opened.claims, "inbox")
        name = agreed(table, by_url) or _TABLE
        inbox = cls(opened.engine, create=create, table=name, timeout=opened.timeout)
        inbox._database.own()
        return inbox

    async def start(self) -> None:
        await self._database.start()

    async def put(self, items: Sequence[Item], lease: float) -> None:
        _check(items)
        if any(item.attempts or item.deferred or item.history for item in items):
            statement, names = self._statements.put, [*KEPT, *PAST]
            rows = [(*values_of(item), *past_of(item)) for item in items]
        else:
            statement, names = self._statements.put_new, list(KEPT)
            rows = list(map(values_of, items))
        for part in by_weight(rows, _weight):
            columns = dict(zip(names, map(list, zip(*part, strict=True)), strict=True))
            asked = self._database.dialect.columns(columns, lease=lease)
            await self._database.count(statement, asked)

    async def take(
        self, limit: int, lease: float, *, sources: Collection[str] | None = None
    ) -> Sequence[Item]:
        parameters: dict[str, Any] = {
            "limit": min(limit, _TAKEN_AT_ONCE),
            "lease": lease,
            "nonce": uuid.uuid4().hex,
        }
        statement = self._statements.take
        if sources is not None:
            statement = self._statements.take_of
            parameters["sources"] = list(map(escaped, sources))
        rows = await _ended(self._rows(statement, parameters))
        taken: list[Item] = []
        for row in sorted(rows, key=lambda row: row.came_due):
            try:
                taken.append(read_row(row))
            except ValueError as error:
                await self._set_aside(stand_in(row), str(error))
        return taken

    async def renew(self, items: Sequence[Item], lease: float) -> Sequence[bool]:
        return await self._batch(self._statements.renew, items, lease=lease)

    async def begin(self, items: Sequence[Item]) -> Sequence[bool]:
        return await self._batch(self._statements.begin, items)

    async def done(self, items: Sequence[Item]) -> None:
        _check(items)
        for part in by_number(items):
            ids = [escaped(item.id) for item in part]
            digests = [digest(item.key) for item in part if item.key]
            await self._database.rows(self._statements.done, {"ids": ids, "digests": digests})

    async def retry(self, item: Item, after: float, attempt: Attempt) -> bool:
        parameters = _failure(attempt) | {"after": after}
        return await self._end(self._statements.retry, item, parameters, RETRIED)

    async def defer(self, item: Item, after: float) -> bool:
        return bool(await self._ids(self._statements.defer, _hold(item) | {"after": after}))

    async def bury(self, item: Item, attempt: Attempt) -> bool:
        return await self._end(self._statements.bury, item, _failure(attempt), BURIED)

    async def next_due(self) -> float | None:
        rows = await self._rows(self._statements.next_due, {})
        return max(0.0, rows[0][0]) if rows else None

    async def find(self, sought: Sought, *, limit: int = 100, after: str = "") -> Sequence[Item]:
        rows = await self._rows(self._search.find(sought, limit, after), {})
        return list(map(_item, rows))

    async def get(self, item_id: str) -> Item | None:
        rows = await self._rows(self._statements.get, {"item_id": escaped(item_id)})
        return _item(rows[0]) if rows else None

    async def requeue(self, item_ids: Sequence[str]) -> int:
        return await self._touched(self._statements.requeue, item_ids)

    async def shelve(self, item_ids: Sequence[str], reason: str) -> int:
        parameters = _failure(note(reason)) | {"nonce": uuid.uuid4().hex}
        total = 0
        for part in by_number(_distinct(item_ids)):
            total += await self._shelve(parameters | {"ids": part})
        return total

    async def purge(self, item_ids: Sequence[str]) -> int:
        return await self._touched(self._statements.purge, item_ids)

    async def count(self, sought: Sought) -> int:
        (row,) = await self._rows(self._search.count(sought), {})
        return int(row[0])

    async def aclose(self) -> None:
        await self._database.aclose()

    async def _look_around(self, connection: AsyncConnection) -> None:
        self.durable = await is_durable(connection, self.name)

    async def _rows(self, statement: Executable, parameters: Any) -> Sequence[Any]:
        async def rows(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(statement, parameters)).all()

        return await self._database.work(rows)

    async def _ids(self, statement: Executable, parameters: Any) -> set[str]:
        return {item_id for (item_id,) in await self._database.rows(statement, parameters)}

    async def _batch(
        self, statement: Executable, items: Sequence[Item], **parameters: Any
    ) -> list[bool]:
        _check(items)
        answers: list[bool] = []
        for part in by_number(items):
            pairs = [(escaped(item.id), escaped(item.token)) for item in part]
            held = parameters | self._database.dialect.id_pairs(pairs)
            if await self._database.count(statement, held) == len(pairs):
                answers += [True] * len(pairs)
                continue
            obeyed = await self._ids(statement, held)  # the same again, to learn which
            answers += [item_id in obeyed for item_id, _ in pairs]
        return answers

    async def _end(
        self, statement: Executable, item: Item, parameters: Mapping[str, Any], verb: str
    ) -> bool:
        async def end(connection: AsyncConnection) -> bool:
            ended = await connection.execute(statement, {**hold, **parameters})
            if ended.all():
                return True
            # This may be the repetition of a call that ended the hold itself.
            return bool(await connection.scalar(self._statements.spent, hold) == verb)

        hold = _hold(item)
        return await self._database.work(end)

    async def _shelve(self, parameters: Mapping[str, Any]) -> int:
        async def shelve(connection: AsyncConnection) -> int:
            await connection.execute(self._statements.shelve, parameters)
            return await connection.scalar(self._statements.shelved, parameters) or 0

        return await self._database.work(shelve)

    async def _touched(self, statement: Executable, item_ids: Sequence[str]) -> int:
        total = 0
        for part in by_number(_distinct(item_ids)):
            total += len(await self._ids(statement, {"ids": part}))
        return total

    async def _set_aside(self, item: Item, reason: str) -> None:
        logger.error("%s: item %a is set aside: %s", self.name, item.id, reason)
        with suppress(StoreError):  # then it comes due again
            await self.bury(item, note(reason))


async def _ended(work: Coroutine[Any, Any, T]) -> T:
    """Await work to its end although its caller is cancelled.

    A take that is abandoned would keep its rows locked for a moment, and others pass them by.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _check(items: Sequence[Item]) -> None:
    check_keys(item.id for item in items)


def _weight(row: Sequence[Any]) -> int:
    return len(row[_HEAD]) + len(row[_BODY])


def _distinct(item_ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(escaped, item_ids)))


def _hold(item: Item) -> dict[str, str]:
    return {"item_id": escaped(item.id), "held_by": escaped(item.token)}


def _failure(attempt: Attempt) -> dict[str, str]:
    return {"entry": f"{entry(attempt)}\n", "error": escaped(attempt.error)}


def _item(row: Any) -> Item:
    try:
        return read_row(row)
    except ValueError:
        return stand_in(row)
