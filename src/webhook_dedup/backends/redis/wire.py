"""Commands and scripts on their way to Redis and back: one place that knows redis-py's habits."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from redis.asyncio import Redis, RedisCluster
from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError, ResponseError

from .exchange import Exchange, Word
from .faults import Translating, code_of, translate
from .script import Script

__all__ = ["Answer", "Call", "Client", "ServerClock", "Wire"]

Client = Redis | RedisCluster

_KEYS_PER_SCRIPT = 128  # a script holds up the server: about 3 microseconds a key
_TURNS: WeakKeyDictionary[Client, asyncio.Semaphore] = WeakKeyDictionary()
_RAW = {NEVER_DECODE: True}  # the user's client may decode replies; results are bytes


Call = Sequence[Word]
"""What a script is told of one key: the key, then its arguments."""


class Answer(NamedTuple):
    """What a script answers for one key.

    Attributes:
        code: One character, as the script means it.
        at: The server's time in milliseconds.
        found: What it tells beside the code ``=``.
    """

    code: str
    at: int
    found: bytes | None


class ServerClock:
    """The server's wall clock, reckoned from this process's monotonic one."""

    _GOOD_FOR = 60.0
    _GOOD_WITHIN = 0.005

    def __init__(self) -> None:
        self._offset = 0.0
        self._error = math.inf
        self._learned_at = -math.inf

    def learn(self, server_time: float, sent: float, received: float) -> None:
        """Note what time it was on the server at some point between two of this process."""
        self._offset = server_time - (sent + received) / 2
        self._error = (received - sent) / 2
        self._learned_at = received

    def now(self) -> float | None:
        """Unix time on the server to some milliseconds, or ``None`` when it must be asked."""
        now = time.monotonic()
        if self._error > self._GOOD_WITHIN or now - self._learned_at > self._GOOD_FOR:
            return None
        return now + self._offset


class Wire:
    """Sends to one client, with a bounded number of commands under way.

    The bound is kept here and not in the pool: redis-py's default pool raises when it is full,
    and its blocking one lets late comers overtake. All wires of one client share it.
    """

    def __init__(self, client: Client, where: str, connections: int) -> None:
        self.clock = ServerClock()
        self._client = client
        self._translating = Translating(where)
        self._where = where
        self._turns = _TURNS.setdefault(client, asyncio.Semaphore(connections))
        self._exchange = Exchange(client)
        self._one_key_per_script = isinstance(client, RedisCluster)

    async def set_new(self, key: bytes, value: bytes, expiry: int) -> bytes | None:
        """Set an absent key; return what an existing one holds."""
        with self._translating:
            found: bytes | None = await self._send(
                "SET", key, value, "NX", "GET", "PX", expiry, get=True
            )
        return found

    async def delete(self, key: bytes) -> bool:
        """Delete a key; say whether it was there."""
        with self._translating:
            return bool(await self._send("DEL", key))

    async def info(self) -> list[dict[str, Any]]:
        """Return what the server, or each primary of a cluster, says of itself."""
        with self._translating:
            if isinstance(self._client, RedisCluster):
                answer = await self._client.info(target_nodes=RedisCluster.PRIMARIES)
                return [answer] if "redis_version" in answer else list(answer.values())
            return [await self._client.info()]

    async def setting(self, name: str) -> list[str | None]:
        """Return a setting of the server, or of each primary of a cluster.

        Raises:
            StoreError: The server does not tell this user.
        """
        with self._translating:
            if isinstance(self._client, RedisCluster):
                answer = await self._client.config_get(name, target_nodes=RedisCluster.PRIMARIES)
                answers: list[Any] = [answer] if name in answer else [*answer.values()]
                return [each.get(name) for each in answers]
            return [(await self._client.config_get(name)).get(name)]

    async def call(self, script: Script, key: bytes, *arguments: Word) -> Any:
        """Run a script all of whose keys lie in the slot of one; return its answer."""
        with self._translating:
            return await self._evaluate(script, [1, key, *arguments])

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Answer]:
        """Run a script for every call; return one answer each, in the order of the calls.

        The script takes any number of keys and the same number of arguments for each of them. It
        answers with the server's time in milliseconds, one character a key, and one element more
        for each character that is ``=``: what is alike for most keys costs next to nothing to
        read. In a Cluster it is run with one key a call.
        """
        with self._translating:
            sent = time.monotonic()
            replies = await self._replies(script, calls)
            received = time.monotonic()
        self.clock.learn(replies[-1][0] / 1000, sent, received)
        return list(chain.from_iterable(map(_answers, replies)))

    async def _replies(self, script: Script, calls: Sequence[Call]) -> list[list[Any]]:
        if len(calls) > 1 and self._one_key_per_script:
            return await self._pipeline(script, calls)
        try:
            return [
                await self._evaluate(script, _rest(calls[start : start + _KEYS_PER_SCRIPT]))
                for start in range(0, len(calls), _KEYS_PER_SCRIPT)
            ]
        except ResponseError as error:
            if len(calls) == 1 or code_of(error) != "CROSSSLOT":
                raise
            # A cluster that looks like one server, as some hosted ones do.
            self._one_key_per_script = True
            return await self._pipeline(script, calls)

    async def _evaluate(self, script: Script, rest: list[Word]) -> Any:
        try:
            return await self._send("EVALSHA", script.sha, *rest)
        except NoScriptError:
            # EVAL also leaves the script with this server, for the next time.
            return await self._send("EVAL", script.text, *rest)

    async def _pipeline(self, script: Script, calls: Sequence[Call]) -> list[list[Any]]:
        async with self._turns:
            pipeline = self._client.pipeline(transaction=False)
            for call in calls:
                pipeline.execute_command("EVALSHA", script.sha, *_rest([call]), **_RAW)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        for position, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                replies[position] = await self._evaluate(script, _rest([calls[position]]))
            elif isinstance(reply, Exception):
                raise translate(reply, self._where) from reply
        return replies

    async def _send(self, *command: Word, **options: Any) -> Any:
        async with self._turns:
            return await self._exchange.send(command, **options)


def _rest(calls: Sequence[Call]) -> list[Word]:
    """Lay out what follows a script's name: the number of keys, the keys, the arguments."""
    rest: list[Word] = [len(calls)]
    rest += [call[0] for call in calls]
    for call in calls:
        rest += call[1:]
    return rest


def _answers(reply: list[Any]) -> Iterator[Answer]:
    """Take a script's reply apart."""
    at, codes, *details = reply
    found = iter(details)
    for code in codes.decode():
        yield Answer(code, at, next(found) if code == "=" else None)
