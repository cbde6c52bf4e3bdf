"""The inbox itself: one script a batch for every verb."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import aclosing, suppress
from typing import Any

from ...backends.redis.clients import Client
from ...backends.redis.connect import open_client
from ...backends.redis.hazards import warn_of_hanging
from ...backends.redis.start import Start
from ...backends.redis.wire import Wire
from ...contracts import Sharing, Sought
from ...errors import StoreUnavailable
from ...keys import check_keys
from ...model import Attempt, Item
from ..attempts import entry, note
from .durability import is_durable
from .pages import Pages
from .rows import decoded, encoded, fields, microseconds, read_row, stand_in
from .scripts import (
    BEGIN,
    BURY,
    DEFER,
    DONE,
    NEXT_DUE,
    PURGE,
    PUT,
    RENEW,
    REQUEUE,
    RETRY,
    SHELVE,
    TAKE,
)
from .table import ROOM, Table, base_of

__all__ = ["RedisInbox"]

logger = logging.getLogger("webhook_dedup")

_TAKEN_AT_ONCE = 1000
_PASSED_AT_ONCE = 1000


class RedisInbox:
    """Keeps deliveries in Redis (6.2 or newer) or Valkey: alone, behind Sentinel, or a Cluster.

    All keys of one inbox lie in one slot of a Cluster. It is durable only with ``appendonly yes``,
    ``appendfsync always`` and no eviction; :meth:`start` finds out and warns where it is not.
    ``take`` and ``find`` read bodies in portions: ``take`` may hand over fewer items than are due.

    Args:
        client: An asyncio client of redis-py. It stays the caller's: it is never closed here,
            and its own time-outs and retries apply.
        prefix: What every key in Redis begins with.
        connections: How many commands may be under way at once; the rest wait their turn.

    Raises:
        ConfigError: The client is a blocking one, or none of redis-py's.
    """

    name = "redis"

    def __init__(
        self, client: Client, *, prefix: str = "webhook_dedup:", connections: int = 8
    ) -> None:
        self.durable = False  # until the server is known to be
        self._wire = Wire(client, type(self).__name__, connections)
        self._table = Table(self._wire, base_of(prefix))
        self._pages = Pages(self._table)
        self._start = Start(self._check)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str | None = None,
        timeout: float = 5.0,
        connections: int = 8,
        **options: Any,
    ) -> RedisInbox:
        """Build an inbox with a client of its own.

        Args:
            url: As :meth:`webhook_dedup.stores.redis.RedisStore.from_url` reads it.
            prefix: What every key in Redis begins with.
            timeout: Seconds to wait for a connection or an answer.
            connections: How many commands may be under way at once.
            options: Passed to redis-py.

        Raises:
            ConfigError: The URL or an option cannot work.
        """
        client, prefix = open_client(
            url, prefix, timeout=timeout, connections=connections, **options
        )
        inbox = cls(client, prefix=prefix, connections=connections)
        inbox._wire.own()
        return inbox

    @classmethod
    def beside(cls, store: Sharing) -> RedisInbox:
        """Build an inbox on the client of a store, under the same prefix."""
        return cls(store.connection, prefix=store.namespace)

    def __repr__(self) -> str:
        return f"<RedisInbox {self._wire.where}>"

    async def start(self) -> None:
        self._wire.bind_loop()
        await self._start.demand()

    async def put(self, items: Sequence[Item], lease: float) -> None:
        _check(items)
        held_for = microseconds(lease)
        await self._table.run(PUT, (fields(item, held_for) for item in items))

    async def take(
        self, limit: int, lease: float, *, sources: Collection[str] | None = None
    ) -> Sequence[Item]:
        if limit < 1 or (sources is not None and not sources):
            return []
        limit = number = min(limit, _TAKEN_AT_ONCE)
        wanted = list(map(encoded, sources or ()))
        first = 0
        while True:
            dealt, passed, taken = await self._take(limit, lease, first, number, wanted)
            if taken or not dealt:  # what cannot be read must not hide what is due behind it
                return taken
            if passed:  # nor what came from others
                first, number = first + passed, _PASSED_AT_ONCE

    async def renew(self, items: Sequence[Item], lease: float) -> Sequence[bool]:
        _check(items)
        held_for = microseconds(lease)
        return await self._table.run(RENEW, ((*_hold(item), held_for) for item in items))

    async def begin(self, items: Sequence[Item]) -> Sequence[bool]:
        _check(items)
        return await self._table.run(BEGIN, map(_hold, items))

    async def done(self, items: Sequence[Item]) -> None:
        _check(items)
        await self._table.run(DONE, ((encoded(item.id), encoded(item.key)) for item in items))

    async def retry(self, item: Item, after: float, attempt: Attempt) -> bool:
        _check([item])
        call = (*_hold(item), microseconds(after), _line(attempt))
        return (await self._table.run(RETRY, [call]))[0]

    async def defer(self, item: Item, after: float) -> bool:
        _check([item])
        return (await self._table.run(DEFER, [(*_hold(item), microseconds(after))]))[0]

    async def bury(self, item: Item, attempt: Attempt) -> bool:
        _check([item])
        return (await self._table.run(BURY, [(*_hold(item), _line(attempt))]))[0]

    async def next_due(self) -> float | None:
        left = await self._table.call(NEXT_DUE)
        return None if left is None else int(left) / 1_000_000

    async def find(self, sought: Sought, *, limit: int = 100, after: str = "") -> Sequence[Item]:
        found: list[Item] = []
        async with aclosing(self._pages.ids(sought, after)) as ids:
            while len(found) < limit:
                some = await _next(ids, limit - len(found))
                if not some:
                    break
                found += [_item(row) for row in await self._table.rows(some)]
        return found

    async def get(self, item_id: str) -> Item | None:
        rows = await self._table.rows([encoded(item_id)])
        return _item(rows[0]) if rows else None

    async def requeue(self, item_ids: Sequence[str]) -> int:
        return sum(await self._table.run(REQUEUE, [(each,) for each in _distinct(item_ids)]))

    async def shelve(self, item_ids: Sequence[str], reason: str) -> int:
        nonce, line = uuid.uuid4().hex.encode(), _line(note(reason))
        calls = [(each, nonce, line) for each in _distinct(item_ids)]
        return sum(await self._table.run(SHELVE, calls))

    async def purge(self, item_ids: Sequence[str]) -> int:
        return sum(await self._table.run(PURGE, [(each,) for each in _distinct(item_ids)]))

    async def count(self, sought: Sought) -> int:
        return await self._pages.count(sought)

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def _check(self) -> None:
        """Log in, try a script, and find out what a crash of the server would cost."""
        await self._table.call(NEXT_DUE)
        warn_of_hanging(self._wire)
        self.durable = await is_durable(self._wire)

    async def _take(
        self, limit: int, lease: float, first: int, number: int, wanted: Sequence[bytes]
    ) -> tuple[int, int, list[Item]]:
        """Take once, of so many due ids from the first on; return the items that can be read.

        Before them it says how many ids were dealt with, and how many of these passed by.
        """
        nonce = uuid.uuid4().hex
        asked = (limit, microseconds(lease), nonce, ROOM, first, number)
        dealt, rows, foreign, passed = await self._table.call(TAKE, *asked, *wanted)
        for item_id in foreign:
            logger.error("%s", self._table.foreign(item_id))
        taken = []
        for row in rows:
            try:
                taken.append(read_row(row))
            except ValueError as error:
                await self._set_aside(row, str(error))
        return dealt, passed, taken

    async def _set_aside(self, row: Sequence[Any], reason: str) -> None:
        item_id, token, *_ = row
        logger.error("%s: item %a is set aside: %s", self._wire.where, decoded(item_id), reason)
        with suppress(StoreUnavailable):  # then it comes due again
            await self._table.run(BURY, [(item_id, token, _line(note(reason)))])


def _check(items: Sequence[Item]) -> None:
    check_keys([item.id for item in items])


def _distinct(item_ids: Sequence[str]) -> list[bytes]:
    return [encoded(each) for each in dict.fromkeys(item_ids)]


def _hold(item: Item) -> tuple[bytes, bytes]:
    return encoded(item.id), encoded(item.token)


def _line(attempt: Attempt) -> bytes:
    return entry(attempt).encode()


def _item(row: Sequence[Any]) -> Item:
    try:
        return read_row(row)
    except ValueError:
        return stand_in(row)


async def _next(ids: AsyncIterator[bytes], number: int) -> list[bytes]:
    some: list[bytes] = []
    while len(some) < number:
        try:
            some.append(await anext(ids))
        except StopAsyncIteration:
            break
    return some
