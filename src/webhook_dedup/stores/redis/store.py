"""The store itself: the verbs of the contract, one command or one script each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...backends.redis.address import Address
from ...backends.redis.connect import check_client, close_client, describe, open_client, room_for
from ...backends.redis.exchange import Word
from ...backends.redis.faults import OldServer, WrongType
from ...backends.redis.hazards import warn_of_hazards
from ...backends.redis.script import Script
from ...backends.redis.start import Start
from ...backends.redis.wire import Answer, Call, Client, Wire
from ...errors import StoreError
from ...keys import check_keys
from ...model import Bid, Claim, Outcome, Remembers, Settlement
from ..entry import Entry, answer, sight
from .scripts import CLAIM, COMPLETE, FOREIGN, LOOK, RELEASE, RENEW, YES
from .values import (
    fingerprint_field,
    held_value,
    milliseconds,
    parse,
    redis_key,
    result_tail,
    token_field,
)

__all__ = ["RedisStore"]


class RedisStore:
    """Keeps claims in Redis (6.2 or newer) or Valkey: alone, behind Sentinel, or a Cluster.

    Args:
        client: An asyncio client of redis-py. It stays the caller's: it is never closed here,
            and its own time-outs and retries apply.
        prefix: What every key in Redis begins with.
        connections: How many commands may be under way at once; the rest wait their turn.

    Raises:
        ConfigError: The client is a blocking one, or none of redis-py's.
    """

    name = "redis"
    remembers = Remembers.ALL

    def __init__(
        self, client: Client, *, prefix: str = "webhook_dedup:", connections: int = 8
    ) -> None:
        check_client(client, type(self).__name__)
        self._client = client
        self._owned = False
        self._prefix = prefix
        self._where = describe(client)
        self._wire = Wire(client, self._where, room_for(client, connections))
        self._knows_set_nx_get = True  # until the server says otherwise
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
    ) -> RedisStore:
        """Build a store with a client of its own.

        Args:
            url: ``redis://``, ``rediss://`` (TLS), ``unix://``, ``redis+sentinel://host:port
                [,host2:port2]/service[/db]`` or ``redis+cluster://host:port[,…]``; ``valkey``
                and ``valkeys`` mean the same as ``redis`` and ``rediss``. Options of redis-py
                may follow as a query, as may ``prefix``.
            prefix: What every key in Redis begins with.
            timeout: Seconds to wait for a connection or an answer.
            connections: How many commands may be under way at once.
            options: Passed to redis-py, for example ``ssl_ca_certs`` (with Sentinel also
                ``sentinel_username`` and ``sentinel_password``).

        Raises:
            ConfigError: The URL or an option cannot work.
        """
        address = Address.parse(url)
        prefix = address.query.pop("prefix", prefix if prefix is not None else "webhook_dedup:")
        client = open_client(address, timeout=timeout, connections=connections, **options)
        store = cls(client, prefix=prefix, connections=connections)
        store._owned = True
        return store

    def __repr__(self) -> str:
        return f"<RedisStore {self._where}>"

    @property
    def connection(self) -> Client:
        """The client, for an inbox beside this store."""
        return self._client

    @property
    def namespace(self) -> str:
        """The prefix of every key."""
        return self._prefix

    async def start(self) -> None:
        await self._start.demand()

    async def claim(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        check_keys(bid.key for bid in bids)
        await self._start.ready()
        if len(bids) == 1:
            claim = await self._claim_at_once(bids[0])
            if claim is not None:
                return [claim]
        return await self._claim_by_script(bids)

    async def complete(self, done: Sequence[Settlement]) -> Sequence[bool]:
        check_keys(settlement.key for settlement in done)
        return await self._settle(COMPLETE, [self._completion(settlement) for settlement in done])

    async def release(self, claims: Sequence[Claim]) -> Sequence[bool]:
        check_keys(claim.key for claim in claims)
        return await self._settle(RELEASE, [self._hold(claim) for claim in claims])

    async def renew(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        check_keys(claim.key for claim in claims)
        expiry = milliseconds(lease)
        return await self._settle(RENEW, [(*self._hold(claim), expiry) for claim in claims])

    async def look(self, keys: Sequence[str]) -> Sequence[Claim | None]:
        check_keys(keys)
        await self._start.ready()
        answers = await self._run(LOOK, [(redis_key(self._prefix, key),) for key in keys])
        return [
            None if each.found is None else sight(key, self._found(key, each.found), now=0.0)
            for key, each in zip(keys, answers, strict=True)
        ]

    async def forget(self, key: str) -> bool:
        check_keys([key])
        await self._start.ready()
        return await self._wire.delete(redis_key(self._prefix, key))

    async def aclose(self) -> None:
        if self._owned:
            await close_client(self._client)

    async def _check(self) -> None:
        """Log in and try the scripts on a key nobody holds."""
        probe = f"{self._prefix}start".encode("utf-8", "surrogatepass")
        await self._wire.run(RELEASE, [(probe, b"-")])
        await warn_of_hazards(self._client, self._wire, self._where)

    async def _claim_at_once(self, bid: Bid) -> Claim | None:
        """Claim with one plain command, or answer ``None`` when only the script can tell."""
        first_seen = self._wire.clock.now()
        if first_seen is None or not self._knows_set_nx_get:
            return None
        try:
            found = await self._wire.set_new(
                redis_key(self._prefix, bid.key),
                held_value(bid.token, first_seen, bid.fingerprint),
                milliseconds(bid.lease),
            )
        except OldServer:
            self._knows_set_nx_get = False
            return None
        except WrongType as error:
            raise self._foreign(redis_key(self._prefix, bid.key)) from error
        if found is None:
            return _fresh(bid, round(first_seen, 3))
        entry = self._parse(bid.key, found)
        # How much is left of a lease is not written in the value; of a TTL it is.
        return answer(entry, bid, min(first_seen, entry.expires_at)) if entry.done else None

    async def _claim_by_script(self, bids: Sequence[Bid]) -> list[Claim]:
        answers = await self._run(CLAIM, [self._bid(bid) for bid in bids])
        return [self._told(bid, each) for bid, each in zip(bids, answers, strict=True)]

    def _told(self, bid: Bid, told: Answer) -> Claim:
        if told.found is None:
            return _fresh(bid, told.at / 1000)
        return answer(self._found(bid.key, told.found), bid, now=0.0)

    def _found(self, key: str, found: bytes) -> Entry:
        """Take apart what a script found, with its expiry as the seconds that are left."""
        left, _, value = found.partition(b" ")
        entry = self._parse(key, value)
        entry.expires_at = max(0, int(left)) / 1000
        return entry

    async def _settle(self, script: Script, calls: Sequence[Call]) -> list[bool]:
        await self._start.ready()
        return [answer.code == YES for answer in await self._run(script, calls)]

    async def _run(self, script: Script, calls: Sequence[Call]) -> list[Answer]:
        if not calls:
            return []
        answers = await self._wire.run(script, calls)
        for call, each in zip(calls, answers, strict=True):
            if each.code == FOREIGN:
                raise self._foreign(call[0])
        return answers

    def _bid(self, bid: Bid) -> Call:
        return (
            redis_key(self._prefix, bid.key),
            token_field(bid.token),
            fingerprint_field(bid.fingerprint),
            milliseconds(bid.lease),
        )

    def _hold(self, claim: Claim) -> Call:
        return (redis_key(self._prefix, claim.key), token_field(claim.token))

    def _completion(self, settlement: Settlement) -> Call:
        claim = settlement.claim
        return (
            *self._hold(claim),
            b"" if claim.first_seen is None else round(claim.first_seen * 1000),
            fingerprint_field(claim.fingerprint),
            milliseconds(settlement.ttl),
            result_tail(settlement.result),
        )

    def _parse(self, key: str, value: bytes) -> Entry:
        try:
            return parse(value)
        except ValueError as error:
            raise self._foreign(redis_key(self._prefix, key)) from error

    def _foreign(self, name: Word) -> StoreError:
        return StoreError(
            f"{self._where}: the key {name!r} holds something this library did not write; "
            "give the store a prefix of its own"
        )


def _fresh(bid: Bid, first_seen: float) -> Claim:
    return Claim(
        key=bid.key,
        token=bid.token,
        outcome=Outcome.FRESH,
        fingerprint=bid.fingerprint,
        first_seen=first_seen,
        remaining=bid.lease,
        holder=bid.token,
    )
