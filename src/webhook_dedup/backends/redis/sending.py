"""Commands packed by hand and sent over redis-py's own connections.

Its connecting, its log-in, TLS, Sentinel and parser stay; what is left out is what it does for each
argument of a command and around each command.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial
from types import FunctionType
from typing import Any, TypeVar, cast

import redis.asyncio.client
from redis import exceptions as driver
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.client import NEVER_DECODE

from .asking import Read, ask, reply, values
from .checkouts import checkouts_of
from .faults import may_be_replaced
from .resp import Word, packed

__all__ = ["Sender", "undisturbed"]

R = TypeVar("R")

_RAW = {NEVER_DECODE: True}  # the user's client may decode replies; results are bytes
_DISTURBANCES = (AttributeError, RuntimeError)
_READ_PLAINLY = {AbstractConnection.read_response, SentinelManagedConnection.read_response}


class Sender:
    """Sends commands and returns the server's answers, as bytes.

    Args:
        client: Where connections come from. A Cluster's, and one that sends in a way of its own (a
            fake, a tracer, a subclass that watches commands), is left to do so.
        connections: How many are used at once.

    Attributes:
        by_hand: Whether commands are packed here.
    """

    def __init__(self, client: Redis | RedisCluster, connections: int) -> None:
        self._client = client
        self.by_hand = _sends_plainly(client)
        if self.by_hand:
            self._checkouts = checkouts_of(cast(Redis, client), connections)

    async def send(self, command: Sequence[Word], **options: Any) -> Any:
        """Send a command, repeatedly where redis-py would; ``options`` are for redis-py."""
        if self.by_hand:
            return await self._converse(packed(command), reply)
        call = self._client.execute_command(*cast(Any, command), **_RAW, **options)
        return await undisturbed(self._client, call)

    async def get_all(self, commands: Sequence[bytes]) -> Sequence[bytes | None]:
        """Send packed commands at once, by hand; return the value that each of them finds."""
        return await self._converse(b"".join(commands), partial(values, len(commands)))

    async def _converse(self, words: bytes, read: Read[R]) -> R:
        connection = await self._checkouts.take()
        try:
            return await connection.retry.call_with_retry(
                partial(ask, connection, words, read), partial(_reconnect, connection)
            )
        except driver.RedisError as error:
            if isinstance(error, driver.TimeoutError) or may_be_replaced(error):
                await self._checkouts.renew()  # or each would fail a call of its own
            raise
        finally:
            await self._checkouts.give_back(connection)


async def undisturbed(client: Redis | RedisCluster, call: Awaitable[R]) -> R:
    """Wait for a call of redis-py's.

    Its Cluster closes all connections when it learns anew who holds what, also beneath calls that
    are under way; those then find parts of theirs gone.
    """
    try:
        return await call
    except _DISTURBANCES as error:
        mistaken = type(error) not in _DISTURBANCES or " loop" in str(error)  # used on another one
        if mistaken or not isinstance(client, RedisCluster):
            raise
        raise driver.ConnectionError(f"the connection was closed: {error}") from error


async def _reconnect(connection: AbstractConnection, _: BaseException) -> None:
    await connection.disconnect(nowait=True)


def _sends_plainly(client: Redis | RedisCluster) -> bool:
    if isinstance(client, RedisCluster):
        return False
    connection = client.connection_pool.connection_class
    return (
        _is_redis_pys(type(client).execute_command)
        and not client.single_connection_client
        and connection.send_command is AbstractConnection.send_command
        and connection.send_packed_command is AbstractConnection.send_packed_command
        and connection.read_response in _READ_PLAINLY
    )


def _is_redis_pys(execute: object) -> bool:
    """Whether it is redis-py's own function, and none that a tracer has put in its place."""
    return isinstance(execute, FunctionType) and execute.__globals__ is vars(redis.asyncio.client)
