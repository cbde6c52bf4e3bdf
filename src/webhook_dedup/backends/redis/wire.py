"""Commands and scripts on their way to Redis and back: one place that knows redis-py's habits."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from redis.asyncio import RedisCluster
from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError, ResponseError

from ...loop_binding import LoopBinding, bind_loop
from .checkouts import renew_pool
from .clients import Client, check_client, close_client, describe, room_for
from .faults import Translating, code_of, translate
from .resp import Word, set_new
from .script import Script
from .sending import Sender, undisturbed

__all__ = ["Answers", "ServerClock", "Wire"]

_KEYS_PER_SCRIPT = 128  # a script holds up the server: about 3 microseconds a key
_TURNS: WeakKeyDictionary[LoopBinding, asyncio.Semaphore] = WeakKeyDictionary()
_ANOTHER = b"another"  # after the name of no key makes another that is none
_RAW = {NEVER_DECODE: True}  # the user's client may decode replies; results are bytes


class Answers(NamedTuple):
    """What a script answers for some keys.

    Attributes:
        at: The server's time in milliseconds.
        codes: One character for each key, as the script means it.
        found: What it tells beside each code ``=``.
    """

    at: int
    codes: str
    found: Sequence[bytes]

    def each(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield for each key its code and what was found."""
        found = iter(self.found)
        return ((code, next(found) if code == "=" else None) for code in self.codes)


class ServerClock:
    """The server's wall clock, reckoned from this process's monotonic one."""

    _GOOD_FOR = 60.0
    _GOOD_WITHIN = 0.005

    def __init__(self) -> None:
        self._offset = 0.0
        self._error = math.inf
        self._learned_at = -math.inf

    def learn(self, server_time: float, sent: float, received: float) -> None:
        """Note what time it was on the server at some point between two of this process.

        A look that is not as close as one from not long ago is of no use.
        """
        error = (received - sent) / 2
        if error < self._error or received - self._learned_at > self._GOOD_FOR / 2:
            self._offset = server_time - (sent + received) / 2
            self._error = error
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

    Args:
        client: An asyncio client of redis-py.
        user: The class that needs it, for what is said of a wrong one.
        connections: How many commands may be under way at once.

    Attributes:
        client: As given.
        where: Where it connects to, for messages.
        clock: What time it is on the server.

    Raises:
        ConfigError: The client is a blocking one, or none of redis-py's.
    """

    def __init__(self, client: Client, user: str, connections: int) -> None:
        check_client(client, user)
        self.clock = ServerClock()
        self.client = client
        self.where = describe(client)
        self._owned = False
        self._translating = Translating(self.where)
        self._connections = room_for(client, connections)
        self._binding: LoopBinding | None = None
        self._sender = Sender(client, self._connections)
        self._clustered = self._one_key_per_script = isinstance(client, RedisCluster)

    @property
    def _turns(self) -> asyncio.Semaphore:
        binding = self._binding
        if binding is None or not binding.here:
            binding = self.bind_loop()
        return _TURNS[binding]

    def bind_loop(self) -> LoopBinding:
        """Bind the client to the present event loop, for as long as that one runs.

        Raises:
            ConfigError: It is bound to another one that runs.
        """
        client = self.client
        renew = bool if isinstance(client, RedisCluster) else partial(renew_pool, client)
        self._binding = binding = bind_loop(client, "redis", renew)
        _TURNS.setdefault(binding, asyncio.Semaphore(self._connections))
        return binding

    def own(self) -> None:
        """Take over the client: it is closed in the end."""
        self._owned = True

    async def aclose(self) -> None:
        """Close the client unless it is the user's."""
        if self._owned:
            await close_client(self.client)

    @property
    def sets_at_once(self) -> int:
        """How many keys :meth:`set_new` takes at once."""
        return sys.maxsize if self._sender.by_hand else 1

    async def set_new(
        self, keys: Sequence[bytes], values: Sequence[bytes], expiries: Sequence[bytes]
    ) -> Sequence[bytes | None]:
        """Set absent keys for so many milliseconds; return what those hold that exist.

        Raises:
            OldServer: It does not know the command.
            WrongType: One of the keys holds no string.
        """
        with self._translating:
            if self._sender.by_hand:
                commands = list(map(set_new, keys, values, expiries))
                async with self._turns:
                    return await self._sender.get_all(commands)
            (key,), (value,), (expiry,) = keys, values, expiries
            command: list[Word] = ["SET", key, value, "NX", "GET", "PX", expiry]
            return [await self._send(command, get=True)]

    async def delete(self, key: bytes) -> bool:
        """Delete a key; say whether it was there."""
        with self._translating:
            return bool(await self._send(["DEL", key]))

    async def info(self) -> list[dict[str, Any]]:
        """Return what the server, or each primary of a cluster, says of itself."""
        with self._translating:
            async with self._turns:
                if isinstance(self.client, RedisCluster):
                    answer = await self.client.info(target_nodes=RedisCluster.PRIMARIES)
                    return [answer] if "redis_version" in answer else list(answer.values())
                return [await self.client.info()]

    async def setting(self, name: str) -> list[str | None]:
        """Return a setting of the server, or of each primary of a cluster.

        Raises:
            StoreError: The server does not tell this user.
        """
        with self._translating:
            async with self._turns:
                if isinstance(self.client, RedisCluster):
                    primaries = RedisCluster.PRIMARIES
                    answer = await self.client.config_get(name, target_nodes=primaries)
                    answers: list[Any] = [answer] if name in answer else [*answer.values()]
                    return [each.get(name) for each in answers]
                return [(await self.client.config_get(name)).get(name)]

    async def call(self, script: Script, key: bytes, *arguments: Word) -> Any:
        """Run a script whose keys all begin with one that has a hash tag and is no key itself."""
        keys = self._named(key)
        with self._translating:
            return await self._evaluate(script, [len(keys), *keys, *arguments])

    def _named(self, key: bytes) -> Sequence[bytes]:
        """Return the keys that stand before a script for all those in their slot.

        While the slot moves from one node of a Cluster to another, each has some of its keys. With
        one name that is no key, the script would run on the node that takes the slot over, find
        what has arrived so far, and write beside what has not. With two it is told to try again.
        """
        return (key, key + _ANOTHER) if self._clustered else (key,)

    async def run(
        self, script: Script, keys: Sequence[bytes], words: Sequence[Word]
    ) -> list[Answers]:
        """Run a script for every key; return the answers in the order asked.

        The script takes any number of keys and, in ``words``, the same number of arguments for each
        of them, one key's after the other's. It answers with one string, since that is the cheapest
        to read: the server's time in milliseconds, a blank, and one character a key. Where one of
        them is ``=``, it answers with a list of this string and what it found for each. In a
        Cluster it is run with one key a call.
        """
        with self._translating:
            sent = time.monotonic()
            replies = await self._replies(script, keys, words)
            received = time.monotonic()
        answers = [_answers(reply) for reply in replies]
        self.clock.learn(answers[-1].at / 1000, sent, received)
        return answers

    async def _replies(
        self, script: Script, keys: Sequence[bytes], words: Sequence[Word]
    ) -> list[Any]:
        if len(keys) > 1 and self._one_key_per_script:
            return await self._pipeline(script, keys, words)
        try:
            calls = _calls(keys, words, _KEYS_PER_SCRIPT)
            return [await self._evaluate(script, call) for call in calls]
        except ResponseError as error:
            if len(keys) == 1 or code_of(error) != "CROSSSLOT":
                raise
            # A cluster that looks like one server, as some hosted ones do.
            self._one_key_per_script = True
            return await self._pipeline(script, keys, words)

    async def _evaluate(self, script: Script, call: Sequence[Word]) -> Any:
        try:
            return await self._send(["EVALSHA", script.sha, *call])
        except NoScriptError:
            # EVAL also leaves the script with this server, for the next time.
            return await self._send(["EVAL", script.text, *call])

    async def _pipeline(
        self, script: Script, keys: Sequence[bytes], words: Sequence[Word]
    ) -> list[Any]:
        calls = list(_calls(keys, words, 1))
        async with self._turns:
            pipeline = self.client.pipeline(transaction=False)
            for call in calls:
                pipeline.execute_command("EVALSHA", script.sha, *call, **_RAW)
            sent = pipeline.execute(raise_on_error=False)
            replies: list[Any] = await undisturbed(self.client, sent)
        for position, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                replies[position] = await self._evaluate(script, calls[position])
            elif isinstance(reply, Exception):
                raise translate(reply, self.where) from reply
        return replies

    async def _send(self, command: Sequence[Word], **options: Any) -> Any:
        async with self._turns:
            return await self._sender.send(command, **options)


def _calls(keys: Sequence[bytes], words: Sequence[Word], most: int) -> Iterator[Sequence[Word]]:
    """Yield what follows a script's name for every so many keys."""
    width = len(words) // len(keys)
    for start in range(0, len(keys), most):
        some = keys[start : start + most]
        yield [len(some), *some, *words[start * width : (start + most) * width]]


def _answers(reply: Any) -> Answers:
    """Take a script's reply apart."""
    told, *found = reply if isinstance(reply, list) else (reply,)
    at, _, codes = told.decode().partition(" ")
    return Answers(int(at), codes, found)
