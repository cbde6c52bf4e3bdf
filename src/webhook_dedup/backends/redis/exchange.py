"""Commands packed by hand and sent over redis-py's own connections.

Its pool, its reconnecting, its log-in, TLS and Sentinel stay; what is left out is what it does for
each argument of a command and around each command.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.client import NEVER_DECODE

__all__ = ["Exchange", "Word"]

Word = str | bytes | int

_RAW = {NEVER_DECODE: True}  # the user's client may decode replies; results are bytes


class Exchange:
    """Sends single commands and returns the server's answers, as bytes.

    Args:
        client: Where connections come from. A Cluster's, and one that sends in a way of its own (a
            fake, a subclass that watches commands), is left to do so.
    """

    def __init__(self, client: Redis | RedisCluster) -> None:
        self._client = client
        self._by_hand = _sends_plainly(client)

    async def send(self, command: Sequence[Word], **options: Any) -> Any:
        """Send a command, repeatedly where redis-py would; ``options`` are for redis-py."""
        if not self._by_hand:
            return await self._client.execute_command(*cast(Any, command), **_RAW, **options)
        words = packed(command)
        pool = cast(Redis, self._client).connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's

        async def once() -> Any:
            await connection.send_packed_command(words)
            return await connection.read_response(disable_decoding=True)

        async def reconnect(_: BaseException) -> None:
            await connection.disconnect(nowait=True)

        try:
            return await connection.retry.call_with_retry(once, reconnect)
        finally:
            await pool.release(connection)


def packed(command: Iterable[Word]) -> bytes:
    """Write a command as the server reads it.

    https://redis.io/docs/latest/develop/reference/protocol-spec/
    """
    words = [word if type(word) is bytes else str(word).encode() for word in command]
    lines = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n%b" % (len(lines), b"".join(lines))


def _sends_plainly(client: Redis | RedisCluster) -> bool:
    if isinstance(client, RedisCluster):
        return False
    connection = client.connection_pool.connection_class
    return (
        type(client).execute_command is Redis.execute_command
        and not client.single_connection_client
        and connection.send_command is AbstractConnection.send_command
        and connection.send_packed_command is AbstractConnection.send_packed_command
    )
