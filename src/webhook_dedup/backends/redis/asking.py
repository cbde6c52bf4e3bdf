"""One command on one of redis-py's connections, and the server's answer to it.

redis-py makes a task for each write and a time-out for each read. What cannot be written is not
answered either, so one alarm bounds both.
"""

# ruff: noqa: SLF001 - there is no other way to a connection's streams and parser

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from redis import exceptions as driver
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import SentinelManagedConnection

from .faults import code_of, may_be_replaced

__all__ = ["Read", "ask", "reply", "values"]

R = TypeVar("R")

Read = Callable[[AbstractConnection], Awaitable[R | driver.RedisError]]
"""Reads an answer to its end, also where it is an error."""

_WITH_PUSHES = 3  # the protocol in which messages may stand between answers
_NOTHING = b"$-1\r\n"
_AT_ONCE = 65536
_CUT_OFF = (OSError, EOFError, driver.ConnectionError)


async def ask(connection: AbstractConnection, words: bytes, read: Read[R]) -> R:
    """Send packed commands and read what the server answers.

    Raises:
        RedisError: As redis-py would; a connection that failed is closed.
    """
    if not connection.is_connected:
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
    writer = cast(asyncio.StreamWriter, connection._writer)
    loop = asyncio.get_running_loop()
    timeout = connection.socket_timeout
    alarm = None if timeout is None else loop.call_later(timeout, writer.transport.abort)
    try:
        writer.write(words)
        answer = await read(connection)
    except BaseException as error:
        # The answer may still come, and would be taken for the next command's.
        await connection.disconnect(nowait=True)
        if isinstance(error, _CUT_OFF):
            late = alarm is not None and alarm.when() <= loop.time()
            raise _explained(error, late=late) from error
        raise
    finally:
        if alarm is not None:
            alarm.cancel()
    if isinstance(answer, driver.RedisError):
        await _leave_replica(connection, answer)
        raise answer
    return answer


async def reply(connection: AbstractConnection) -> Any:
    """Read one answer, as bytes."""
    return await cast(Any, connection._parser).read_response(disable_decoding=True)


async def values(
    number: int, connection: AbstractConnection
) -> Sequence[bytes | None] | driver.RedisError:
    """Read so many answers, each a value or nothing; return the first error if there is one."""
    if int(connection.protocol) == _WITH_PUSHES:
        answers = [await reply(connection) for _ in range(number)]
    else:
        reader = cast(asyncio.StreamReader, connection._reader)
        begin = await reader.readexactly(len(_NOTHING) * number)  # no answer is shorter
        if begin == _NOTHING * number:
            return [None] * number
        parse_error = cast(Any, connection._parser).parse_error
        answers = await _taken_apart(begin, number, reader, parse_error)
    return next((each for each in answers if isinstance(each, driver.RedisError)), answers)


async def _taken_apart(
    begin: bytes,
    number: int,
    reader: asyncio.StreamReader,
    parse_error: Callable[[str], driver.RedisError],
) -> list[bytes | driver.RedisError | None]:
    """Take answers apart, whose beginning was read before, and read the rest of them."""
    answers: list[bytes | driver.RedisError | None] = []
    rest, at = begin, 0
    for _ in range(number):
        while (end := rest.find(b"\r\n", at)) < 0:
            rest, at = rest[at:] + await _more(reader), 0
        head, at = rest[at:end], end + 2
        if head == b"$-1":
            answers.append(None)
        elif head.startswith(b"$"):
            size = int(head[1:])
            missing = at + size + 2 - len(rest)
            if missing > 0:
                rest, at = rest[at:] + await reader.readexactly(missing), 0
            answers.append(rest[at : at + size])
            at += size + 2
        else:
            answers.append(parse_error(head[1:].decode()))
    return answers


async def _more(reader: asyncio.StreamReader) -> bytes:
    some = await reader.read(_AT_ONCE)
    if not some:
        raise EOFError("the server closed the connection")
    return some


def _explained(error: BaseException, *, late: bool) -> BaseException:
    if late:
        return driver.TimeoutError("no answer in time")
    if isinstance(error, driver.RedisError):
        return error
    return driver.ConnectionError(f"the connection was closed: {error}")


async def _leave_replica(connection: AbstractConnection, error: driver.RedisError) -> None:
    """Have the next connection ask the sentinels where the primary is, as redis-py does.

    Also where a script tells of it, in whose text Redis 6.2 buries the code.
    """
    if may_be_replaced(error):
        await connection.disconnect(nowait=True)
        if code_of(error) == "READONLY" and isinstance(connection, SentinelManagedConnection):
            raise driver.ConnectionError("the primary has become a replica") from error
