"""Connections of a pool that are kept from one command to the next."""

from __future__ import annotations

from time import monotonic
from typing import Any, cast
from weakref import WeakKeyDictionary, WeakSet

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection

__all__ = ["Checkouts", "checkouts_of", "own", "renew_pool"]

_KEPT_FOR = 10.0


class Checkouts:
    """Takes connections from a pool and keeps them, as a check-out costs more than a command.

    Each is handed in now and then, so that the pool may do with it what it does with all.

    Args:
        pool: Whose connections they are. Closing it closes those that are kept, too.
        most: How many are kept while nobody uses them.
    """

    def __init__(self, pool: ConnectionPool, most: int) -> None:
        self._pool = pool
        self._most = most
        self._kept: list[AbstractConnection] = []
        self._until: dict[AbstractConnection, float] = {}

    async def take(self) -> AbstractConnection:
        """Return a connection that nobody else uses; it may have to be connected."""
        while self._kept:
            connection = self._kept.pop()
            if monotonic() < self._until[connection]:
                await _let_go_if_closed(connection)
                return connection
            await self._hand_in(connection)
        return await self._check_out()

    async def give_back(self, connection: AbstractConnection) -> None:
        """Keep a connection for the next command, or hand it in."""
        if len(self._kept) < self._most:
            self._kept.append(connection)
        else:
            await self._hand_in(connection)

    async def renew(self) -> None:
        """Have all that is idle connect anew: it leads to the same server as one that failed."""
        # Redis-py has no public word for what a pool has made.
        idle = getattr(self._pool, "_available_connections", ())
        for connection in (*self._kept, *idle):
            await connection.disconnect(nowait=True)

    def forget(self) -> None:
        """Leave what is kept to an event loop that is closed."""
        self._kept.clear()
        self._until.clear()

    async def _check_out(self) -> AbstractConnection:
        pool: Any = self._pool  # redis-py leaves it without types
        connection: AbstractConnection = await pool.get_connection()
        self._until[connection] = monotonic() + _KEPT_FOR
        try:
            await _let_go_if_closed(connection)
            await connection.check_health()  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException:
            await self._hand_in(connection)
            raise
        return connection

    async def _hand_in(self, connection: AbstractConnection) -> None:
        del self._until[connection]
        await self._pool.release(connection)


_CHECKOUTS: WeakKeyDictionary[Redis, Checkouts] = WeakKeyDictionary()
_OURS: WeakSet[Redis] = WeakSet()
_OF_PARENTS: list[AbstractConnection] = []


def own(client: Redis) -> None:
    """Note that a client was made here, so that nobody else waits for its connections."""
    _OURS.add(client)


def checkouts_of(client: Redis, at_once: int) -> Checkouts:
    """Return what is checked out of a client's pool; all who use the client share it.

    Args:
        client: Whose pool it is. Of one that was not made here nothing is kept: the user may have
            sized it for all his own needs.
        at_once: How many are used at once.
    """
    if client not in _CHECKOUTS:
        pool = client.connection_pool
        most = pool.max_connections - at_once if client in _OURS else 0
        _CHECKOUTS[client] = Checkouts(pool, most)
    return _CHECKOUTS[client]


def renew_pool(client: Redis) -> None:
    """Leave the connections of a client to an event loop of the past, if it was made here."""
    if client in _OURS:
        pool = cast(Any, client.connection_pool)  # redis-py leaves it without types
        # Redis-py has no public word for what a pool has made.
        made = (*pool._available_connections, *pool._in_use_connections)  # noqa: SLF001 - see above
        _OF_PARENTS.extend(filter(_is_of_open_loop, made))
        pool.reset()
        if client in _CHECKOUTS:
            _CHECKOUTS[client].forget()


def _is_of_open_loop(connection: AbstractConnection) -> bool:
    """Whether its loop is not closed: that of the process which this one was forked from.

    The collector would close it, and the parent's loop hear of it no more: the two share their
    poll.
    """
    reader: Any = connection._reader  # noqa: SLF001 - neither it nor its reader tells
    return reader is not None and not reader._loop.is_closed()  # noqa: SLF001 - see above


async def _let_go_if_closed(connection: AbstractConnection) -> None:
    """Have a connection made again that the server has closed while it was idle."""
    reader = connection._reader  # noqa: SLF001 - redis-py itself only finds out by reading
    if reader is not None and reader.at_eof():
        await connection.disconnect(nowait=True)
